//! Limits of connections: how many, how long idle, and without descriptors.

use crate::support::program::{PATIENCE, Program, SMALL, Serve, has, limit, limited, sherwood};
use crate::support::stream::StreamClient;
use crate::{IOS, set, start, value, wait_until};
use sherwood::limits::STREAM_KEPT_BYTES_MAX;
use std::process::Command;
use std::time::Instant;

#[test]
fn connections_beyond_the_limit_are_told_so_and_counted() {
    for io in IOS {
        let server = start(io, &["--max-connections", "20"]);
        let mut open: Vec<StreamClient> = (0..20).map(|_| StreamClient::tcp(server.addr)).collect();
        wait_until(&server, "curr_connections", |open| open == 20);
        for number in 1..=50 {
            let mut refused = StreamClient::tcp(server.addr);
            assert_eq!(refused.rest(), b"ERROR Too many open connections\r\n");
            assert_eq!(wait_until(&server, "rejected_connections", |rejected| rejected >= number), number);
        }
        assert!(open.iter_mut().all(|client| client.asks("mn\r\n") == "MN\r\n"));
        open.pop();
        wait_until(&server, "curr_connections", |open| open == 19);
        assert_eq!(StreamClient::tcp(server.addr).asks("mn\r\n"), "MN\r\n");
        assert_eq!(server.stat("max_connections"), 20);
        server.terminate();
    }
}

/// A pool at its size that renews its connections: each end comes right before the next beginning.
#[test]
fn a_connection_has_the_place_of_one_that_was_just_closed() {
    for io in IOS {
        let server = start(io, &["--max-connections", "8"]);
        let mut pool: Vec<StreamClient> = (0..8).map(|_| StreamClient::tcp(server.addr)).collect();
        assert!(pool.iter_mut().all(|client| client.asks("mn\r\n") == "MN\r\n"));
        for number in 0..200 {
            drop(pool.remove(number % 8));
            let mut next = StreamClient::tcp(server.addr);
            assert_eq!(next.asks("mn\r\n"), "MN\r\n", "{io}, connection {number}");
            pool.push(next);
        }
        assert_eq!(server.stat("rejected_connections"), 0);
        server.terminate();
    }
}

#[test]
fn idle_connections_are_closed_and_busy_ones_stay() {
    for io in IOS {
        let server = start(io, &["--idle-timeout", "1"]);
        let mut idle: Vec<StreamClient> = (0..30).map(|_| StreamClient::tcp(server.addr)).collect();
        let mut busy = StreamClient::tcp(server.addr);
        while server.stat("idle_kicks") < 30 {
            assert_eq!(busy.asks("mn\r\n"), "MN\r\n");
        }
        assert!(idle.iter_mut().all(|client| client.rest().is_empty()));
        assert_eq!(busy.asks("mn\r\n"), "MN\r\n");
        server.terminate();
    }
}

/// Descriptors run out while the server runs: accepts fail and are counted, what is open is served, and when descriptors are free
/// again those that wait are accepted. (A ring keeps the limit of when its accept was armed.)
#[test]
fn without_descriptors_accepts_wait_until_there_are() {
    if !has("prlimit") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for io in IOS {
        let path = folder.path().join(io);
        let options = ["--io", io, "--unix", path.to_str().unwrap()];
        let program = Program::run(limited(&["--nofile=4096"], &[SMALL, &options].concat()));
        let addr = program.ready();
        let mut first = StreamClient::tcp(addr);
        assert_eq!(first.asks("mn\r\n"), "MN\r\n");
        limit(program.pid(), &["--nofile=8:4096"]);
        let mut waiting: Vec<StreamClient> = (0..3).map(|_| StreamClient::tcp(addr)).collect();
        waiting.extend((0..3).map(|_| StreamClient::unix(&path)));
        waiting.iter_mut().for_each(|client| client.send(b"get a\r\n"));
        let counters = if io == "mmsg" {
            &["unix_accept_failures", "accept_failures"][..]
        } else {
            &["unix_accept_failures"]
        };
        for counter in counters {
            wait_until_of(&mut first, counter, |failures| failures > 0);
        }
        limit(program.pid(), &["--nofile=4096:4096"]);
        assert!(waiting.iter_mut().all(|client| client.until(b"END\r\n") == b"END\r\n"));
        let (status, said, _) = program.terminate();
        assert!(status.success(), "{said}");
    }
}

/// The same of a ring: the program may have few more files than it has itself, and many connect at once.
#[test]
fn a_ring_accepts_again_when_there_are_descriptors() {
    if !has("prlimit") || !has("setpriv") {
        return;
    }
    let unlimited = start("uring", &[]);
    let own = std::fs::read_dir(format!("/proc/{}/fd", unlimited.pid())).unwrap().count();
    unlimited.terminate();
    // More than it has when it is ready: while it starts it looks at some files.
    let nofile = format!("--nofile={0}:{0}", own + 6);
    let mut command = Command::new("setpriv");
    // Whoever may raise the limit would.
    command.args(["--bounding-set", "-sys_resource", "prlimit", &nofile, "--"]);
    command.arg(sherwood().get_program()).args(SMALL).args(["--io", "uring"]);
    let program = Program::run(command);
    let addr = program.ready();
    assert!(program.says("limit of open files").contains("--max-connections"));
    let mut first = StreamClient::tcp(addr);
    assert_eq!(first.asks("mn\r\n"), "MN\r\n");
    let began = Instant::now();
    while first.stat("accept_failures") == 0 {
        assert!(began.elapsed() < PATIENCE);
        // Some are refused, because the limit of connections is one; they are closed a tick later.
        let burst: Vec<StreamClient> = (0..30).map(|_| StreamClient::tcp(addr)).collect();
        drop(burst);
    }
    drop(first);
    loop {
        let mut again = StreamClient::tcp(addr);
        // Refused until the server has seen that the first is gone.
        if again.try_send(b"mn\r\n").is_ok() && again.until_or_end(b"MN\r\n").1 {
            break;
        }
        assert!(began.elapsed() < PATIENCE);
    }
    let (status, said, _) = program.terminate();
    assert!(status.success(), "{said}");
}

fn wait_until_of(client: &mut StreamClient, name: &str, is_right: impl Fn(u64) -> bool) {
    let began = Instant::now();
    while !is_right(client.stat(name)) {
        assert!(began.elapsed() < PATIENCE, "{name} stays {}", client.stat(name));
    }
}

/// What is kept of peers that do not read, or cut their commands, is bounded: beyond it some are closed.
#[test]
fn what_is_kept_of_connections_is_bounded() {
    for io in IOS {
        let server = start(io, &["--memory", "64MiB"]);
        // 15 KiB of a value that is not long enough to go into its item as it comes.
        let begun = [b"set k 0 0 16000\r\n".as_slice(), &[b'x'; 15_900]].concat();
        let mut slow = Vec::new();
        while server.stat("streams_over_memory") == 0 {
            assert!(slow.len() < 8_000, "nothing is bounded");
            for _ in 0..200 {
                let mut client = StreamClient::tcp(server.addr);
                // Refused, if it is beyond the bound.
                let _ = client.try_send(&begun);
                slow.push(client);
            }
        }
        assert!(slow.len() * 16_000 >= STREAM_KEPT_BYTES_MAX, "{} connections", slow.len());
        let mut other = StreamClient::tcp(server.addr);
        set(&mut other, "k", &value(1, 500));
        let over = server.stat("streams_over_memory");
        drop(slow);
        wait_until(&server, "curr_connections", |open| open == 1);
        // What they had is free for others.
        let again: Vec<StreamClient> = (0..200)
            .map(|_| {
                let mut client = StreamClient::tcp(server.addr);
                client.send(&begun);
                client
            })
            .collect();
        wait_until(&server, "curr_connections", |open| open == 201);
        assert_eq!(server.stat("streams_over_memory"), over);
        drop(again);
        terminate(server);
    }
}

fn terminate(server: Serve) {
    let (status, _) = server.terminate();
    assert!(status.success());
}
