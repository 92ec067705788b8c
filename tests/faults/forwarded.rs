//! Commands that another worker executes: they get the same answer as those of one's own.

use crate::support::batch::{frame, op, results};
use crate::support::peer::Peer;
use crate::support::{KINDS, config};
use protocol::batch::{Code, Status};
use sherwood::config::serve::Io;
use sherwood::server::Server;

/// Values that a small buffer does not take are forwarded all the same: once a third of them was answered `busy`.
#[test]
fn no_read_is_busy_however_many_are_under_way() {
    for io in [Io::Mmsg, Io::Uring] {
        let server = Server::start(config(io, 2), &|_| ()).unwrap();
        let mut peer = Peer::new(server.addr());
        for i in 0..64 {
            assert_eq!(
                peer.ask(format!("set k{i} 0 0 100\r\n{}\r\n", "x".repeat(100)).as_bytes()),
                b"STORED\r\n"
            );
        }
        for command in ["mg K v t N30", "mg K v R30", "gat 0 K", "mg K v T0"] {
            for _ in 0..10 {
                for i in 0..128 {
                    let line = command.replace('K', &format!("k{}", i % 64));
                    peer.send(format!("{line}\r\n").as_bytes());
                }
                for (_, reply) in peer.replies(128) {
                    assert!(reply.windows(100).any(|part| part == [b'x'; 100]), "{}", reply.escape_ascii());
                }
            }
        }
        let busy = Peer::new(server.addr()).ask(b"stats\r\n");
        let busy = String::from_utf8(busy).unwrap();
        assert!(busy.contains("STAT busy 0\r\n"), "{busy}");
        server.stop().unwrap();
    }
}

/// The same of requests that a small buffer does not take: of 64 in flight 6 % were refused.
#[test]
fn no_long_read_is_busy_either() {
    const KEYS: usize = 250;
    for io in [Io::Mmsg, Io::Uring] {
        let server = Server::start(config(io, 2), &|_| ()).unwrap();
        let mut peer = Peer::new(server.addr());
        if !peer.wants_room_for(8 << 20) {
            return println!("SKIPPED: no permission for a socket buffer of 8 MiB");
        }
        let keys: Vec<String> = (0..KEYS).map(|i| format!("key{i:04}")).collect();
        for key in &keys {
            assert_eq!(peer.ask(format!("set {key} 0 0 9\r\nthe value\r\n").as_bytes()), b"STORED\r\n");
        }
        for _ in 0..5 {
            for _ in 0..64 {
                peer.send(format!("gat 0 {}\r\n", keys.join(" ")).as_bytes());
            }
            for (_, reply) in peer.replies(64) {
                let found = reply.windows(13).filter(|part| part == b"\r\nthe value\r\n").count();
                assert_eq!(found, KEYS, "{}", reply[..reply.len().min(80)].escape_ascii());
            }
        }
        let busy: u64 = server.figures().workers.iter().map(|worker| worker.busy.get()).sum();
        assert_eq!(busy, 0, "{io:?}");
        server.stop().unwrap();
    }
}

/// A value of 300 KB is the same from every address, whichever worker hears it; once a third of the sockets got an error,
/// and the touch was done all the same.
#[test]
fn a_large_value_is_the_same_from_every_address() {
    const BYTES: usize = 300_000;
    for (io, workers) in KINDS {
        let server = Server::start(config(io, workers), &|_| ()).unwrap();
        let mut peer = Peer::new(server.addr());
        let part = "v".repeat(BYTES / 6);
        assert_eq!(peer.ask(format!("set k 0 0 {}\r\n{part}\r\n", part.len()).as_bytes()), b"STORED\r\n");
        for _ in 0..5 {
            assert_eq!(
                peer.ask(format!("append k 0 0 {}\r\n{part}\r\n", part.len()).as_bytes()),
                b"STORED\r\n"
            );
        }
        let value = "v".repeat(BYTES);
        for _ in 0..14 {
            let mut peer = Peer::new(server.addr());
            if !peer.wants_room_for(8 * BYTES) {
                return println!("SKIPPED: no permission for a socket buffer of {} bytes", 8 * BYTES);
            }
            let classic = format!("VALUE k 0 {BYTES}\r\n{value}\r\nEND\r\n");
            let meta = format!("VA {BYTES}\r\n{value}\r\n");
            for (line, want) in [
                ("get k", &classic),
                ("gat 0 k", &classic),
                ("mg k v", &meta),
                ("mg k T0 v", &meta),
                ("mg k N30 v", &meta),
            ] {
                assert!(
                    peer.ask(format!("{line}\r\n").as_bytes()) == want.as_bytes(),
                    "{io:?}, {workers}: {line}"
                );
            }
            let body = peer.ask_frame(&frame(&[op(Code::GetAndTouch, "k")]));
            let result = &results(&body)[0];
            assert!(result.status == Status::Value && result.value == value.as_bytes(), "{io:?}, {workers}");
        }
        server.stop().unwrap();
    }
}

/// An answer that no message holds is one error line for the whole command, and nothing of the command is done that comes
/// behind the key which did not fit.
#[test]
fn what_no_message_holds_is_one_error_everywhere() {
    let error = b"SERVER_ERROR object too large for udp\r\n";
    for (io, workers) in KINDS {
        let server = Server::start(config(io, workers), &|_| ()).unwrap();
        let mut peer = Peer::new(server.addr());
        let part = "v".repeat(60_000);
        for key in ["big", "a"] {
            assert_eq!(peer.ask(format!("set {key} 0 0 60000\r\n{part}\r\n").as_bytes()), b"STORED\r\n");
        }
        for _ in 0..10 {
            assert_eq!(peer.ask(format!("append big 0 0 60000\r\n{part}\r\n").as_bytes()), b"STORED\r\n");
        }
        for _ in 0..8 {
            let mut peer = Peer::new(server.addr());
            for line in ["get big big a", "gets big big a", "gat 0 big big a", "get a big big"] {
                let got = peer.ask(format!("{line}\r\nversion\r\n").as_bytes());
                let (got, version) = got.split_at(error.len().min(got.len()));
                assert_eq!(got, error, "{io:?}, {workers}: {line}");
                assert!(version.starts_with(b"VERSION"), "{}", version.escape_ascii());
            }
        }
        server.stop().unwrap();
    }
}
