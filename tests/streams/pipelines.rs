//! Pipelines of 100 MB, by a client that reads and by one that does not: the server's memory is bounded, and others are served.

use crate::support::program::Serve;
use crate::support::stream::StreamClient;
use crate::{IOS, set, start, value, wait_until};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::JoinHandle;

const PIPELINE_BYTES: usize = 100 << 20;
const KEY_BYTES: usize = 240;
/// Receive buffers of a worker (4 MiB), an outbox (4 MiB), what is left over of one tick's replies, and what the allocator keeps.
const GROWTH_BYTES_MAX: usize = 24 << 20;

pub fn resident_bytes(server: &Serve) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<usize>().unwrap() << 10
}

/// A server with values under keys as long as keys may nearly be, and the command that reads one.
fn server_and_get(io: &str, value_bytes: usize) -> (Serve, StreamClient, Vec<u8>) {
    let server = start(io, &[]);
    let mut other = StreamClient::tcp(server.addr);
    let key = "k".repeat(KEY_BYTES);
    set(&mut other, &key, &value(1, value_bytes));
    (server, other, format!("get {key}\r\n").into_bytes())
}

/// Sends the pipeline; says how many commands went before the connection was over.
fn send_all(mut stream: TcpStream, get: Vec<u8>) -> JoinHandle<usize> {
    std::thread::spawn(move || {
        let piece = get.repeat(1_000);
        let pieces = PIPELINE_BYTES / piece.len() + 1;
        (0..pieces).take_while(|_| stream.write_all(&piece).is_ok()).count() * 1_000
    })
}

/// Others are served so often, and the server grows no further than it may.
fn others_are_served(server: &Serve, other: &mut StreamClient, before: usize) {
    for number in 0..50 {
        assert_eq!(
            other.asks(&format!("set n 0 0 2\r\n{number:02}\r\nget n\r\n")).lines().nth(2),
            Some(&*format!("{number:02}"))
        );
    }
    let grown = resident_bytes(server).saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes more");
}

#[test]
fn a_client_that_never_reads_is_stopped_and_takes_bounded_memory() {
    for io in IOS {
        let (server, mut other, get) = server_and_get(io, 1_000);
        let before = resident_bytes(&server);
        let stream = TcpStream::connect(server.addr).unwrap();
        let sender = send_all(stream.try_clone().unwrap(), get);
        wait_until(&server, "streams_stuck", |stuck| stuck > 0);
        for _ in 0..10 {
            others_are_served(&server, &mut other, before);
        }
        assert!(!sender.is_finished(), "the server takes no more than it can answer");
        stream.shutdown(Shutdown::Both).unwrap();
        let sent = sender.join().unwrap();
        assert!(sent * 4 < PIPELINE_BYTES, "{sent} commands");
        drop(stream);
        wait_until(&server, "curr_connections", |open| open <= 2);
        server.terminate();
    }
}

#[test]
fn a_client_that_reads_gets_all_of_a_hundred_megabytes_and_others_are_served() {
    for io in IOS {
        let (server, mut other, get) = server_and_get(io, 10);
        let before = resident_bytes(&server);
        let mut stream = TcpStream::connect(server.addr).unwrap();
        let sender = send_all(stream.try_clone().unwrap(), get.clone());
        let commands = (PIPELINE_BYTES / (get.len() * 1_000) + 1) * 1_000;
        let reply = [b"VALUE ", &get[4..get.len() - 2], b" 0 10\r\n", &value(1, 10), b"\r\nEND\r\n"].concat();
        let reader = std::thread::spawn(move || {
            let (want, mut got) = (reply.repeat(1_000), vec![0; reply.len() * 1_000]);
            (0..commands / 1_000).all(|_| stream.read_exact(&mut got).is_ok() && got == want)
        });
        let mut rounds = 0;
        while !reader.is_finished() {
            others_are_served(&server, &mut other, before);
            rounds += 1;
        }
        assert!(reader.join().unwrap(), "every reply is right");
        assert_eq!(sender.join().unwrap(), commands);
        assert!(rounds > 0);
        server.terminate();
    }
}
