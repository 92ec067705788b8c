//! How connections end: broken by their peers, and by the end of the server.

use crate::support::stream::StreamClient;
use crate::{IOS, start, value, wait_until};
use std::time::Duration;

#[test]
fn a_reset_within_a_line_or_a_value_leaves_nothing_behind() {
    for io in IOS {
        let server = start(io, &["--workers", "2", "--memory", "128MiB"]);
        let half = value(1, 500_000);
        for number in 0..60 {
            let mut client = StreamClient::tcp(server.addr);
            if number % 2 == 0 {
                // Others may be gone before they are accepted.
                assert_eq!(client.asks("mn\r\n"), "MN\r\n");
            }
            match number % 3 {
                0 => client.send(b"get a\r\ndelete b"),
                1 => client.send(format!("set k{number} 0 0 1048576\r\n").as_bytes()),
                _ => {
                    client.send(format!("ms k{number} 1048576 T0\r\n").as_bytes());
                    client.send(&half);
                }
            }
            client.reset();
        }
        wait_until(&server, "curr_connections", |open| open == 0);
        wait_until(&server, "unfinished_items", |items| items == 0);
        assert_eq!(server.stat("unfinished_bytes"), 0);
        assert_eq!(server.stat("curr_items"), 0);
        assert!(server.stat("unfinished_abandoned") > 0 && server.stat("long_values") > 0);
        // All of the memory is there for others.
        let mut client = StreamClient::tcp(server.addr);
        let whole = value(2, 1 << 20);
        for number in 0..40 {
            crate::set(&mut client, &format!("w{number}"), &whole);
        }
        server.terminate();
    }
}

/// SIGTERM while a thousand connections are busy: each gets whole replies in order and then the end, and the server ends in time.
#[test]
fn a_server_that_is_told_to_end_ends_with_a_thousand_busy_connections() {
    const CONNECTIONS: u64 = 1_000;
    for io in IOS {
        let server = start(io, &[]);
        let mut clients: Vec<StreamClient> =
            (0..CONNECTIONS).map(|_| StreamClient::tcp(server.addr)).collect();
        wait_until(&server, "curr_connections", |open| open == CONNECTIONS);
        let commands = b"mn\r\n".repeat(50);
        clients.iter_mut().for_each(|client| client.send(&commands));
        let (status, took) = server.terminate();
        assert!(status.success(), "{status}");
        assert!(took < Duration::from_secs(10), "{took:?}");
        for client in &mut clients {
            let replies = client.rest();
            assert!(replies.chunks(4).all(|reply| reply == b"MN\r\n"), "{}", replies.escape_ascii());
        }
    }
}

/// SIGTERM with more replies than the buffers of sockets hold: a peer that reads gets every byte of them, over two shards, although it has sent
/// more than the server receives.
#[test]
fn a_peer_that_reads_gets_all_replies_of_a_server_that_ends() {
    const PAIRS: usize = 50;
    for (io, workers) in [("uring", "1"), ("uring", "2"), ("mmsg", "2")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let server =
            start(io, &["--workers", workers, "--memory", "128MiB", "--unix", path.to_str().unwrap()]);
        let mut clients = [StreamClient::tcp(server.addr), StreamClient::unix(&path)];
        let values = [value(3, 200_000), value(4, 200_000)];
        crate::set(&mut clients[0], "a", &values[0]);
        crate::set(&mut clients[1], "b", &values[1]);
        // Once stuck all commands of a connection have been received.
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(&b"get a\r\nget b\r\n".repeat(PAIRS));
            wait_until(&server, "streams_stuck", |stuck| stuck > number as u64);
            client.send(b"get a\r\n");
        }
        let addr = server.addr;
        let end = std::thread::spawn(move || server.terminate());
        let readers = clients.map(|mut client| std::thread::spawn(move || client.rest()));
        let pair = [crate::found("a", &values[0]), crate::found("b", &values[1])].concat();
        for reader in readers {
            let replies = reader.join().unwrap();
            // The last command may have come in time.
            let (whole, rest) = replies.split_at(replies.len().min(pair.len() * PAIRS));
            assert_eq!(whole.len(), pair.len() * PAIRS, "{io}, {workers} workers");
            assert!(whole.chunks(pair.len()).all(|replies| replies == pair));
            assert!(rest.is_empty() || rest == crate::found("a", &values[0]));
        }
        let (status, took) = end.join().unwrap();
        assert!(status.success(), "{io}: {status}");
        assert!(took < Duration::from_secs(20), "{took:?}");
        assert!(std::net::TcpStream::connect(addr).is_err(), "nobody listens");
    }
}

/// What has come when a server is told to end is answered, also where the worker has not looked at it yet, and of connections that nobody has
/// accepted: the server stands still while all of that comes.
#[test]
fn what_has_come_is_answered_at_the_end() {
    use nix::sys::signal::{Signal, kill};
    const CONNECTIONS: usize = 40;
    for (io, workers) in [("uring", "1"), ("uring", "2"), ("mmsg", "2")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let server =
            start(io, &["--workers", workers, "--memory", "64MiB", "--unix", path.to_str().unwrap()]);
        let mut clients: Vec<StreamClient> =
            (0..CONNECTIONS).map(|_| StreamClient::tcp(server.addr)).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.asks("mn\r\n"), "MN\r\n"));
        kill(server.pid(), Signal::SIGSTOP).unwrap();
        clients.extend((0..CONNECTIONS / 2).map(|_| StreamClient::tcp(server.addr)));
        clients.extend((0..CONNECTIONS / 2).map(|_| StreamClient::unix(&path)));
        clients.iter_mut().for_each(|client| client.send(b"get a\r\nmn\r\n"));
        kill(server.pid(), Signal::SIGTERM).unwrap();
        kill(server.pid(), Signal::SIGCONT).unwrap();
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.rest(), b"END\r\nMN\r\n", "{io}, {workers} workers, client {number}");
        }
        let (status, _) = server.wait();
        assert!(status.success(), "{io}: {status}");
    }
}
