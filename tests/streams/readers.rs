//! Peers that read slowly, or not at all, that write slowly, and that end one direction.

use crate::support::program::Serve;
use crate::support::stream::StreamClient;
use crate::{IOS, found, set, start, value, wait_until};
use std::io::Read;

/// More than the buffers of two sockets hold.
const REPLIES: usize = 300;
const VALUE_BYTES: usize = 100_000;

/// A connection that has asked for much and reads nothing.
fn one_that_does_not_read(server: &Serve) -> StreamClient {
    let mut client = StreamClient::tcp(server.addr);
    set(&mut client, "long", &value(1, VALUE_BYTES));
    let before = server.stat("streams_stuck");
    client.send(&b"get long\r\n".repeat(REPLIES));
    wait_until(server, "streams_stuck", |stuck| stuck > before);
    client
}

fn reads_everything(client: &mut StreamClient) {
    let want = found("long", &value(1, VALUE_BYTES));
    let mut reply = vec![0; want.len()];
    for number in 0..REPLIES {
        client.read_exact(&mut reply).unwrap();
        assert!(reply == want, "reply {number}");
    }
}

#[test]
fn replies_wait_for_a_peer_that_does_not_read_and_others_are_served() {
    for io in IOS {
        let server = start(io, &[]);
        let mut slow = one_that_does_not_read(&server);
        let mut other = StreamClient::tcp(server.addr);
        for number in 0..1_000 {
            assert_eq!(other.asks(&format!("set k 0 0 4\r\n{number:04}\r\n")), "STORED\r\n");
        }
        // Its commands behind what waits are kept, and answered in their order.
        slow.send(b"get k\r\n");
        reads_everything(&mut slow);
        assert_eq!(slow.until(b"END\r\n"), b"VALUE k 0 4\r\n0999\r\nEND\r\n");
        assert_eq!(slow.asks("mn\r\n"), "MN\r\n");
        assert_eq!(server.stat("streams_over_memory"), 0);
        server.terminate();
    }
}

#[test]
fn what_is_unread_is_sent_to_a_peer_that_sends_no_more() {
    for io in IOS {
        let server = start(io, &[]);
        let mut client = one_that_does_not_read(&server);
        client.end();
        reads_everything(&mut client);
        assert_eq!(client.rest(), b"");
        wait_until(&server, "curr_connections", |open| open == 0);
        server.terminate();
    }
}

#[test]
fn what_stands_before_the_end_is_answered() {
    for io in IOS {
        let server = start(io, &[]);
        for (sent, want) in [
            (
                &b"get a\r\nset a 0 0 1\r\nx\r\nget a\r\n"[..],
                &b"END\r\nSTORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"[..],
            ),
            // What is cut off is not done.
            (b"mn\r\ndelete a", b"MN\r\n"),
            (b"mn\r\nset a 0 0 10\r\nabc", b"MN\r\n"),
            (b"get a\r\nset a 0 0 100000\r\nabc", b"VALUE a 0 1\r\nx\r\nEND\r\n"),
            (b"", b""),
        ] {
            let mut client = StreamClient::tcp(server.addr);
            client.send(sent);
            client.end();
            assert_eq!(client.rest(), want, "{}", sent.escape_ascii());
        }
        wait_until(&server, "curr_connections", |open| open == 0);
        assert_eq!(server.stat("unfinished_items"), 0);
        server.terminate();
    }
}

/// Many that hold a piece of a command each, for as long as they like.
#[test]
fn peers_that_stop_within_a_command_hold_nothing_that_others_need() {
    for io in IOS {
        let server = start(io, &["--memory", "64MiB"]);
        let begun: [&[u8]; 4] =
            [b"get a", b"set a 0 0 5\r\nhel", b"set b 0 0 15000\r\nabc", b"mg a v\r\nms c 30000\r\nabc"];
        let mut slow: Vec<StreamClient> = (0..400).map(|_| StreamClient::tcp(server.addr)).collect();
        slow.iter_mut().enumerate().for_each(|(i, client)| client.send(begun[i % 4]));
        wait_until(&server, "curr_connections", |open| open == 400);
        let mut other = StreamClient::tcp(server.addr);
        set(&mut other, "long", &value(2, 200_000));
        assert_eq!(other.ask(b"get long\r\n"), found("long", &value(2, 200_000)));
        // They go on where they stopped.
        slow[0].send(b"\r\n");
        assert_eq!(slow[0].until(b"\r\n"), b"END\r\n");
        slow[1].send(b"lo\r\n");
        assert_eq!(slow[1].until(b"\r\n"), b"STORED\r\n");
        drop(slow);
        wait_until(&server, "curr_connections", |open| open == 1);
        wait_until(&server, "unfinished_items", |items| items == 0);
        server.terminate();
    }
}

#[test]
fn a_pipeline_without_end_does_not_starve_others() {
    for io in IOS {
        let server = start(io, &[]);
        let addr = server.addr;
        let pipeline = std::thread::spawn(move || {
            let mut client = StreamClient::tcp(addr);
            // 16 MB of misses.
            let commands = b"get none\r\n".repeat(10_000);
            let mut answered = 0;
            for _ in 0..160 {
                client.send(&commands);
                let mut replies = vec![0; b"END\r\n".len() * 10_000];
                client.read_exact(&mut replies).unwrap();
                answered += replies.chunks(5).filter(|reply| reply == b"END\r\n").count();
            }
            answered
        });
        let mut other = StreamClient::tcp(addr);
        let mut rounds = 0;
        while !pipeline.is_finished() {
            assert_eq!(other.asks("get a\r\n"), "END\r\n");
            rounds += 1;
        }
        assert_eq!(pipeline.join().unwrap(), 1_600_000);
        assert!(rounds > 20, "{rounds} replies to others meanwhile");
        server.terminate();
    }
}

/// As many peers as may have long replies under way read nothing of theirs. Others that want one wait, and hold nothing meanwhile that
/// other commands need; after a while they get it, because those that do not read are closed.
#[test]
fn long_replies_that_nobody_reads_do_not_stop_others() {
    for io in IOS {
        let server = start(io, &["--memory", "128MiB", "--value-max", "8MiB"]);
        let mut client = StreamClient::tcp(server.addr);
        let longest = value(1, 8 << 20);
        set(&mut client, "longest", &longest);
        let mut unread: Vec<StreamClient> = (0..8).map(|_| StreamClient::tcp(server.addr)).collect();
        unread.iter_mut().for_each(|client| client.send(&b"get longest\r\n".repeat(4)));
        wait_until(&server, "streams_stuck", |stuck| stuck >= 8);
        let mut waiting: Vec<StreamClient> = (0..100).map(|_| StreamClient::tcp(server.addr)).collect();
        // More than the receive buffers of a worker hold.
        let commands = [&b"get longest\r\n"[..], &b"get none\r\n".repeat(8_000)].concat();
        for client in &mut waiting {
            nix::sys::socket::setsockopt(&*client, nix::sys::socket::sockopt::SndBuf, &200_000).unwrap();
            client.send(&commands);
        }
        for number in 0..200 {
            assert_eq!(client.asks(&format!("set k 0 0 3\r\n{number:03}\r\n")), "STORED\r\n");
        }
        let mut first = waiting.swap_remove(0);
        drop(waiting);
        assert!(first.until(b"END\r\n") == found("longest", &longest));
        assert_eq!(first.receive(8_000 * 5), b"END\r\n".repeat(8_000));
        assert!(server.stat("streams_over_memory") > 0);
        drop((first, unread));
        wait_until(&server, "curr_connections", |open| open == 1);
        server.terminate();
    }
}

/// What stands behind a dump waits, and does not take the receive buffers of others.
#[test]
fn a_long_pipeline_behind_a_dump_leaves_others_their_buffers() {
    for io in IOS {
        let server = start(io, &["--memory", "64MiB"]);
        let mut client = StreamClient::tcp(server.addr);
        for first in (0..50_000).step_by(500) {
            let sets: String =
                (first..first + 500).map(|i| format!("set k{i} 0 0 1 noreply\r\nx\r\n")).collect();
            assert_eq!(client.asks(&sets), "");
        }
        let addr = server.addr;
        let ahead = std::thread::spawn(move || {
            let mut client = StreamClient::tcp(addr);
            let commands =
                [&b"lru_crawler metadump all\r\n"[..], &b"delete none noreply\r\n".repeat(300_000)].concat();
            client.send(&commands);
            let dump = client.until(b"END\r\n");
            assert_eq!(client.asks("mn\r\n"), "MN\r\n");
            dump.iter().filter(|&&byte| byte == b'\n').count()
        });
        while !ahead.is_finished() {
            assert_eq!(client.asks("get none\r\n"), "END\r\n");
        }
        assert_eq!(ahead.join().unwrap(), 50_001);
        server.terminate();
    }
}
