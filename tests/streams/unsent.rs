//! Replies that peers have not taken: bounded while the server runs, sent at its end, and a sign of life.

use crate::pipelines::resident_bytes;
use crate::support::program::Serve;
use crate::support::stream::StreamClient;
use crate::{IOS, found, set, start, value, wait_until};
use std::time::Duration;

const VALUE_BYTES: usize = 400_000;
const VALUES: usize = 8;

/// A server with values, and a UNIX socket: its buffers are small, so what peers do not read stays with the server.
fn server_with_values(io: &str, options: &[&str]) -> (Serve, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sock");
    let own = ["--unix", path.to_str().unwrap(), "--memory", "64MiB"];
    let server = start(io, &[&own[..], options].concat());
    let mut client = StreamClient::tcp(server.addr);
    (0..VALUES).for_each(|n| set(&mut client, &format!("b{n}"), &value(n, VALUE_BYTES)));
    (server, folder)
}

fn connect(folder: &tempfile::TempDir) -> StreamClient {
    StreamClient::unix(&folder.path().join("sock"))
}

/// Asks for all values, in so many rounds; returns the whole reply.
fn asks_for_all(client: &mut StreamClient, rounds: usize) -> Vec<u8> {
    let gets: String = (0..VALUES).map(|n| format!("get b{n}\r\n")).collect();
    // At once, so that the server receives all of it or nothing.
    client.send(gets.repeat(rounds).as_bytes());
    let reply: Vec<u8> = (0..VALUES).flat_map(|n| found(&format!("b{n}"), &value(n, VALUE_BYTES))).collect();
    reply.repeat(rounds)
}

#[test]
fn peers_that_do_not_read_cost_no_more_than_is_bounded() {
    // Of 64 MiB and one worker: an eighth, as much again for small replies, and an outbox.
    const UNSENT_BYTES_MAX: u64 = (2 * 8 + 4) << 20;
    for io in IOS {
        let (server, folder) = server_with_values(io, &[]);
        let before = resident_bytes(&server);
        let mut peers: Vec<StreamClient> = (0..100).map(|_| connect(&folder)).collect();
        let want: Vec<Vec<u8>> = peers.iter_mut().map(|peer| asks_for_all(peer, 1)).collect();
        wait_until(&server, "streams_unsent_limited", |limited| limited > 0);
        // Others are served, with what is long, too.
        let mut other = StreamClient::tcp(server.addr);
        for number in 0..200 {
            assert_eq!(other.asks(&format!("set k 0 0 3\r\n{number:03}\r\n")), "STORED\r\n");
            assert_eq!(other.ask(b"get k\r\nmn\r\n").len(), b"VALUE k 0 3\r\n000\r\nEND\r\nMN\r\n".len());
        }
        let unsent = server.stat("streams_unsent_bytes");
        assert!((1..=UNSENT_BYTES_MAX).contains(&unsent), "{unsent} bytes unsent");
        // Beside those: eight long replies, an outbox, and what the allocator keeps.
        let grown = resident_bytes(&server).saturating_sub(before);
        assert!(grown < UNSENT_BYTES_MAX as usize + (24 << 20), "{io}: {grown} bytes more");
        // Nothing was lost for who reads at last, unless it has held up others for too long.
        let readers: Vec<_> = peers
            .into_iter()
            .zip(want)
            .map(|(mut peer, want)| {
                std::thread::spawn(move || {
                    let (reply, is_whole) = peer.receive_up_to(want.len());
                    assert!(want.starts_with(&reply));
                    is_whole
                })
            })
            .collect();
        let count = readers.len();
        let whole = readers.into_iter().map(|reader| reader.join().unwrap() as usize);
        let whole: usize = whole.sum();
        let closed = server.stat("streams_over_memory") as usize;
        assert!(whole + closed >= count, "{io}: {whole} whole, {closed} closed");
        wait_until(&server, "streams_unsent_bytes", |unsent| unsent == 0);
        server.terminate();
    }
}

#[test]
fn who_reads_gets_all_that_it_was_to_be_sent_at_the_end() {
    for io in IOS {
        let (server, folder) = server_with_values(io, &[]);
        let mut reader = connect(&folder);
        let want = asks_for_all(&mut reader, 3);
        // And one that never reads: it holds the end up for a limited time.
        let mut silent = connect(&folder);
        asks_for_all(&mut silent, 1);
        wait_until(&server, "streams_stuck", |stuck| stuck >= 2);
        let end = std::thread::spawn(move || server.terminate());
        let (reply, is_whole) = reader.receive_up_to(want.len());
        assert!(is_whole && reply == want, "{io}: {} of {} bytes", reply.len(), want.len());
        let (status, took) = end.join().unwrap();
        assert!(status.success(), "{io}: {status}");
        assert!(took < Duration::from_secs(10), "{io}: {took:?}");
    }
}

#[test]
fn who_reads_is_not_idle() {
    for io in IOS {
        let (server, folder) = server_with_values(io, &["--idle-timeout", "1"]);
        let mut reader = connect(&folder);
        let want = asks_for_all(&mut reader, 4);
        let pieces = 6;
        let (mut reply, mut second) = (Vec::new(), server.stat("uptime"));
        for piece in 0..pieces {
            // A part of it in each second of the server.
            second = wait_until(&server, "uptime", |uptime| uptime > second);
            let bytes = want.len() * (piece + 1) / pieces - reply.len();
            let (part, is_whole) = reader.receive_up_to(bytes);
            assert!(is_whole, "{io}: cut after {} of {} bytes", reply.len() + part.len(), want.len());
            reply.extend(part);
        }
        assert!(reply == want, "{io}");
        server.terminate();
    }
}
