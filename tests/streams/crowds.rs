//! Connections that wait for memory which others hold: their worker sleeps meanwhile.

use crate::support::program::Serve;
use crate::support::stream::StreamClient;
use crate::{IOS, set, start, value, wait_until};
use std::time::{Duration, Instant};

/// Processor time that a process has had.
fn processor_time(server: &Serve) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    // proc(5): behind the name, which may have spaces, utime and stime are the 12th and 13th.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let per_s = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).unwrap().unwrap() as u64;
    Duration::from_millis(ticks * 1_000 / per_s)
}

/// Until `idle` is hung up on, the server has hardly anything to do.
fn is_quiet_until_the_end_of(mut idle: StreamClient, server: &Serve) {
    let (before, began) = (processor_time(server), Instant::now());
    assert_eq!(idle.rest(), b"");
    let (used, took) = (processor_time(server) - before, began.elapsed());
    // One that spins uses all of the time. What it asks once a millisecond costs some 5 %.
    assert!(used < took / 3 + Duration::from_millis(100), "{used:?} of {took:?}");
}

#[test]
fn a_worker_sleeps_while_long_values_wait_for_room() {
    for (io, workers) in [("uring", "1"), ("mmsg", "1"), ("uring", "2")] {
        let server = start(io, &["--workers", workers, "--memory", "32MiB", "--idle-timeout", "1"]);
        let idle = StreamClient::tcp(server.addr);
        let mut clients: Vec<StreamClient> = (0..20).map(|_| StreamClient::tcp(server.addr)).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(format!("set k{number} 0 0 500000\r\nabc").as_bytes());
        }
        wait_until(&server, "long_values", |values| values == 20);
        wait_until(&server, "unfinished_waits", |waits| waits > 0);
        is_quiet_until_the_end_of(idle, &server);
        drop(clients);
        wait_until(&server, "unfinished_items", |items| items == 0);
        server.terminate();
    }
}

#[test]
fn values_that_come_too_slowly_make_room_for_others() {
    for io in IOS {
        let server = start(io, &["--workers", "1", "--memory", "32MiB"]);
        let mut slow: Vec<StreamClient> = (0..8).map(|_| StreamClient::tcp(server.addr)).collect();
        for (number, client) in slow.iter_mut().enumerate() {
            client.send(format!("set slow{number} 0 0 500000\r\nabc").as_bytes());
        }
        wait_until(&server, "unfinished_waits", |waits| waits > 0);
        let mut honest = StreamClient::tcp(server.addr);
        set(&mut honest, "whole", &value(1, 20_000));
        wait_until(&server, "slow_values", |given_up| given_up > 0);
        server.terminate();
    }
}

#[test]
fn a_worker_sleeps_while_a_long_reply_waits_for_memory() {
    for io in IOS {
        let options = ["--memory", "128MiB", "--value-max", "8MiB", "--idle-timeout", "1"];
        let server = start(io, &options);
        set(&mut StreamClient::tcp(server.addr), "longest", &value(1, 8 << 20));
        let idle = StreamClient::tcp(server.addr);
        let clients: Vec<StreamClient> = (0..12)
            .map(|_| {
                let mut client = StreamClient::tcp(server.addr);
                client.send(b"get longest\r\n");
                client
            })
            .collect();
        wait_until(&server, "streams_stuck", |stuck| stuck >= 8);
        is_quiet_until_the_end_of(idle, &server);
        drop(clients);
        wait_until(&server, "curr_connections", |open| open <= 1);
        server.terminate();
    }
}
