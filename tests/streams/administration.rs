//! Commands of administrators that need a connection.

use crate::support::program::PATIENCE;
use crate::support::stream::StreamClient;
use crate::{IOS, start};
use std::collections::BTreeSet;
use std::time::Instant;

/// While other items come and go, a dump lists every item that is there all the time, once, and others are served.
#[test]
fn a_dump_lists_all_items_that_stay() {
    const ITEMS: usize = 20_000;
    for io in IOS {
        let server = start(io, &["--workers", "2", "--memory", "64MiB"]);
        let mut client = StreamClient::tcp(server.addr);
        for first in (0..ITEMS).step_by(500) {
            let sets: String =
                (first..first + 500).map(|i| format!("set stays:{i} 0 0 1 noreply\r\nx\r\n")).collect();
            assert_eq!(client.asks(&sets), "");
        }
        let addr = server.addr;
        let dump = std::thread::spawn(move || {
            let mut client = StreamClient::tcp(addr);
            client.send(b"lru_crawler metadump all\r\nmn\r\n");
            let dump = client.until(b"END\r\n");
            assert_eq!(client.until(b"MN\r\n"), b"MN\r\n");
            String::from_utf8(dump).unwrap()
        });
        let mut rounds = 0;
        while !dump.is_finished() || rounds == 0 {
            let churn: String = (0..100)
                .map(|i| format!("set goes:{i} 0 0 1 noreply\r\ny\r\ndelete goes:{i} noreply\r\n"))
                .collect();
            assert_eq!(client.asks(&churn), "");
            rounds += 1;
        }
        let dump = dump.join().unwrap();
        let keys: Vec<&str> = dump.lines().filter_map(|line| line.strip_prefix("key=stays%3A")).collect();
        let numbers: BTreeSet<usize> =
            keys.iter().map(|key| key.split(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!((keys.len(), numbers.len()), (ITEMS, ITEMS), "{io}");
        server.terminate();
    }
}

#[test]
fn a_dump_to_a_peer_that_does_not_read_leaves_others_alone() {
    for io in IOS {
        let server = start(io, &["--memory", "64MiB"]);
        let mut client = StreamClient::tcp(server.addr);
        for first in (0..60_000).step_by(500) {
            let sets: String = (first..first + 500)
                .map(|i| format!("set some-longer-key:{i} 0 0 1 noreply\r\nx\r\n"))
                .collect();
            assert_eq!(client.asks(&sets), "");
        }
        let mut slow: Vec<StreamClient> = (0..3).map(|_| StreamClient::tcp(server.addr)).collect();
        for one in &mut slow {
            one.wants_little_room();
            one.send(b"lru_crawler metadump all\r\n");
        }
        for _ in 0..300 {
            assert_eq!(client.asks("get none\r\n"), "END\r\n");
        }
        drop(slow);
        let began = Instant::now();
        loop {
            let dump = client.asks("lru_crawler metadump hash\r\n");
            if !dump.starts_with("BUSY") {
                assert_eq!(dump.lines().count(), 60_001);
                break;
            }
            assert!(began.elapsed() < PATIENCE, "dumps of connections that are gone go on");
        }
        server.terminate();
    }
}

#[test]
fn clients_are_told_when_the_servers_of_the_cluster_change() {
    let folder = tempfile::tempdir().unwrap();
    let peers = folder.path().join("peers");
    for io in IOS {
        std::fs::write(&peers, "localhost|127.0.0.1 11211\n").unwrap();
        let server = start(io, &["--peers", peers.to_str().unwrap()]);
        let mut client = StreamClient::tcp(server.addr);
        let mut ask = || {
            let reply = client.asks("config get cluster\r\n");
            let mut lines = reply.lines();
            assert!(lines.next().unwrap().starts_with("CONFIG cluster 0 "), "{reply}");
            let version: u64 = lines.next().unwrap().parse().unwrap();
            (version, lines.next().unwrap().to_owned())
        };
        let (first, text) = ask();
        assert_eq!(text, "localhost|127.0.0.1|11211");
        std::fs::write(&peers, "localhost|127.0.0.1 11211\nother|127.0.0.2 11212\n").unwrap();
        let began = Instant::now();
        let (second, text) = loop {
            let (version, text) = ask();
            if version > first {
                break (version, text);
            }
            assert!(began.elapsed() < PATIENCE, "nothing changes");
        };
        assert_eq!(text, "localhost|127.0.0.1|11211 other|127.0.0.2|11212");
        // A file that is wrong changes nothing.
        std::fs::write(&peers, "nonsense nonsense nonsense\n").unwrap();
        assert_eq!(ask(), (second, text));
        server.terminate();
    }
}

#[test]
fn a_client_ends_the_server_where_that_is_allowed() {
    for io in IOS {
        let server = start(io, &["--allow-shutdown"]);
        let mut client = StreamClient::tcp(server.addr);
        client.send(b"set a 0 0 1\r\nx\r\nshutdown\r\n");
        assert_eq!(client.rest(), b"STORED\r\n");
        let (status, _) = server.wait();
        assert!(status.success());
    }
}
