//! Bounded work: no datagram keeps a worker from its other clients. One with 32,000 keys to touch once kept it for 2.5 s,
//! because each key was searched from the front.

use crate::support::batch::{frame, get};
use crate::support::stepped::Stepped;
use cache::base::clock::Clock;
use sherwood::worker::Access;
use std::time::Duration;

const HEAVY: u16 = 1_000;
const LIGHT: u16 = 2_000;

fn text(body: &[u8]) -> Vec<u8> {
    [&[0, 1, 0, 0, 0, 1, 0, 0], body].concat()
}

/// As many times `command` as a datagram holds.
fn full_of(command: &str) -> Vec<u8> {
    text(command.repeat(65_000 / command.len()).as_bytes())
}

/// The worst datagram of each command.
fn heavy() -> Vec<(&'static str, Vec<u8>)> {
    let keys = |head: &str| text(format!("{head}{}\r\n", " a".repeat(32_000)).as_bytes());
    vec![
        ("get", keys("get")),
        ("gets", keys("gets")),
        ("gat", keys("gat 0")),
        ("gats", keys("gats 0")),
        ("set", full_of("set a 0 0 0 noreply\r\n\r\n")),
        ("add", full_of("add a 0 0 0 noreply\r\n\r\n")),
        ("append", full_of("append big 0 0 1 noreply\r\nx\r\n")),
        ("prepend", full_of("prepend big 0 0 1 noreply\r\nx\r\n")),
        ("cas", full_of("cas a 0 0 0 1 noreply\r\n\r\n")),
        ("delete", full_of("delete a noreply\r\n")),
        ("incr", full_of("incr n 1 noreply\r\n")),
        ("touch", full_of("touch a 0 noreply\r\n")),
        ("mg", full_of("mg big v N30 q\r\n")),
        ("mg plain", full_of("mg a q\r\n")),
        ("ms", full_of("ms a 0 q\r\n\r\n")),
        ("md", full_of("md a q\r\n")),
        ("ma", full_of("ma n q\r\n")),
        ("me", full_of("me a\r\n")),
        ("mn", full_of("mn\r\n")),
        ("flush_all", full_of("flush_all 100 noreply\r\n")),
        ("stats", full_of("stats\r\n")),
        ("version", full_of("version\r\n")),
        ("quit", full_of("quit\r\n")),
        ("verbosity", full_of("verbosity 1 noreply\r\n")),
        ("blank lines", full_of("\n")),
        ("nonsense", full_of("z\n")),
        ("frame of gets", frame(&vec![get("a"); 1_024])),
    ]
}

/// A server with a value of 900 KB and a number.
fn stepped(workers: usize) -> Stepped {
    let mut stepped = Stepped::of(workers, Access::default());
    let part = "v".repeat(60_000);
    stepped.send(0, &text(format!("set big 0 0 {}\r\n{part}\r\n", part.len()).as_bytes()));
    for _ in 0..14 {
        stepped.send(0, &text(format!("append big 0 0 {}\r\n{part}\r\n", part.len()).as_bytes()));
        stepped.settle();
    }
    stepped.send(0, &text(b"set n 0 0 1\r\n1\r\n"));
    stepped.settle();
    while stepped.receive(0).is_some() {}
    stepped
}

#[test]
fn the_worst_datagram_of_each_command_leaves_room_for_others() {
    for workers in [1, 2] {
        for (name, datagram) in heavy() {
            let mut stepped = stepped(workers);
            // Four of them, and behind them somebody who asks for one thing.
            (0..4).for_each(|i| stepped.send_from(0, Stepped::client(HEAVY + i), &datagram));
            stepped.send_from(0, Stepped::client(LIGHT), &text(b"get n\r\n"));
            let mut ticks = 0;
            while !std::iter::from_fn(|| stepped.receive_with_port(0)).any(|(port, _)| port == LIGHT) {
                (0..workers).for_each(|worker| stepped.tick(worker));
                ticks += 1;
                assert!(ticks <= 3, "{name}: the other client waits longer than three ticks");
            }
            // What is left is done in the end, and nothing stays suspended.
            stepped.send_from(0, Stepped::client(HEAVY), &text(b"mn\r\n"));
            let is_fence = |(port, reply): &(u16, Vec<u8>)| *port == HEAVY && reply[8..] == *b"MN\r\n";
            while !std::iter::from_fn(|| stepped.receive_with_port(0)).any(|got| is_fence(&got)) {
                (0..workers).for_each(|worker| stepped.tick(worker));
                ticks += 1;
                assert!(ticks < 400_000, "{name} has no end");
            }
        }
    }
}

/// A datagram that has had its turn goes on behind what came later: other clients see no more of it than a turn.
#[test]
fn a_long_datagram_takes_many_ticks() {
    let mut stepped = stepped(1);
    let keys = " a".repeat(32_000);
    stepped.send_from(
        0,
        Stepped::client(HEAVY),
        &text(format!("gat 0{keys}\r\nset late 0 0 1\r\nx\r\n").as_bytes()),
    );
    let mut answered = 0;
    loop {
        stepped.send_from(0, Stepped::client(LIGHT), &text(b"get n\r\n"));
        stepped.tick(0);
        let ports: Vec<u16> =
            std::iter::from_fn(|| stepped.receive_with_port(0)).map(|(port, _)| port).collect();
        answered += ports.iter().filter(|&&port| port == LIGHT).count();
        if ports.contains(&HEAVY) {
            break;
        }
        assert!(answered < 1_000, "the long datagram has no end");
    }
    assert!(answered > 20, "{answered} answers meanwhile");
    assert!(stepped.worker(0).counters().yielded.get() > 20);
}

/// A get of the same client waits for the rest of what its datagram sent; those of others do not.
#[test]
fn what_yields_keeps_its_place() {
    let mut stepped = stepped(1);
    let keys = " a".repeat(30_000);
    stepped.send_from(
        0,
        Stepped::client(HEAVY),
        &text(format!("gat 0{keys}\r\nset late 0 0 1\r\nx\r\n").as_bytes()),
    );
    stepped.tick(0);
    stepped.send_from(0, Stepped::client(HEAVY), &[&[0, 2, 0, 0, 0, 1, 0, 0][..], b"get late\r\n"].concat());
    stepped.send_from(0, Stepped::client(LIGHT), &text(b"get late\r\n"));
    stepped.tick(0);
    stepped.tick(0);
    assert_eq!(stepped.receive_with_port(0), Some((LIGHT, text(b"END\r\n"))));
    (0..200).for_each(|_| stepped.tick(0));
    let mut got: Vec<Vec<u8>> =
        std::iter::from_fn(|| stepped.receive(0)).map(|reply| reply[8..].to_vec()).collect();
    got.sort_unstable();
    assert_eq!(got, [&b"END\r\nSTORED\r\n"[..], b"VALUE late 0 1\r\nx\r\nEND\r\n"]);
}

/// Long datagrams that wait for each other, more of them than there are buffers, are not done in one go either.
#[test]
fn a_chain_of_long_datagrams_is_done_piece_by_piece() {
    let datagram = text("append mid 0 0 1 noreply\r\nx\r\n".repeat(400).as_bytes());
    for workers in [1, 2] {
        let mut stepped = Stepped::of(workers, Access::default());
        stepped.send(
            0,
            &text(format!("set mid 0 0 30000\r\n{}\r\nset n 0 0 1\r\n1\r\n", "v".repeat(30_000)).as_bytes()),
        );
        stepped.settle();
        while stepped.receive(0).is_some() {}
        (0..24).for_each(|i| stepped.send_from(0, Stepped::client(HEAVY + i % 4), &datagram));
        stepped.send_from(0, Stepped::client(LIGHT), &text(b"get n\r\n"));
        let (mut longest, mut sum, mut ticks, mut waited) = (Duration::ZERO, Duration::ZERO, 0, None);
        while sum < Duration::from_millis(1) || ticks < 400 {
            let began = cpu_time();
            (0..workers).for_each(|worker| stepped.tick(worker));
            let took = cpu_time() - began;
            (longest, sum, ticks) = (longest.max(took), sum + took, ticks + 1);
            let is_answered =
                std::iter::from_fn(|| stepped.receive_with_port(0)).any(|(port, _)| port == LIGHT);
            waited = waited.or(is_answered.then_some(ticks));
            stepped.advance(Duration::from_millis(1));
        }
        assert!(waited.is_some_and(|ticks| ticks <= 15), "the other client waits {waited:?} ticks");
        assert!(longest * 3 < sum, "a tick of {longest:?}, of {sum:?} in all");
    }
}

/// A reply that is full ends with the error that says so, and what is behind is not done: once it was, and nobody was told.
#[test]
fn what_could_not_be_told_is_not_done() {
    for workers in [1, 2] {
        let mut stepped = stepped(workers);
        for command in ["mg big v\r\n", "get big\r\n", "gat 0 big\r\n"] {
            let late = "set late 0 0 1\r\nx\r\n";
            stepped.send(0, &text(format!("{}{late}", command.repeat(5_900)).as_bytes()));
            let mut got = Vec::new();
            for _ in 0..20_000 {
                (0..workers).for_each(|worker| stepped.tick(worker));
                got.extend(std::iter::from_fn(|| stepped.receive(0)));
            }
            got.sort_by_key(|datagram| (datagram[2], datagram[3]));
            assert!(!got.is_empty(), "{workers} workers, {command}: no answer");
            let body: Vec<u8> = got.iter().flat_map(|datagram| &datagram[8..]).copied().collect();
            let error = b"SERVER_ERROR object too large for udp\r\n";
            assert!(body.len() > 1_110_000 && body.ends_with(error), "{command}: {} bytes", body.len());
            stepped.send(0, &text(b"delete late\r\n"));
            stepped.settle();
            assert_eq!(stepped.receive(0), Some(text(b"NOT_FOUND\r\n")), "{command}");
        }
    }
}

/// Four times as many keys take about four times as long, not sixteen, also where every second one is another worker's.
#[test]
fn work_grows_with_the_length_of_a_datagram_only() {
    for workers in [1, 2] {
        let took = |count: usize| {
            let mut stepped = stepped(workers);
            let keys: String = (0..count).map(|i| if i % 2 == 0 { " a" } else { " b" }).collect();
            let datagram = text(format!("gat 0{keys}\r\n").as_bytes());
            let began = cpu_time();
            stepped.send_from(0, Stepped::client(HEAVY), &datagram);
            while stepped.receive(0).is_none() {
                (0..workers).for_each(|worker| stepped.tick(worker));
            }
            cpu_time() - began
        };
        let best = |count| (0..3).map(|_| took(count)).min().unwrap();
        let (few, many) = (best(4_000), best(32_000));
        assert!(many < few * 24, "{workers} workers: {few:?} for 4,000 keys, {many:?} for 32,000");
    }
}

/// Processor time of this thread.
fn cpu_time() -> Duration {
    Duration::from_nanos(Clock::system().thread_cpu_ns())
}
