//! A thousand clients that hardly read, and a thousand that hardly write: others are served as ever, memory is bounded, and when they
//! go on all is right. Connections that are idle, and those beyond the limit. All on a clock that the test moves.

use crate::support::in_process::{InProcess, Size};
use cache::base::clock::Clock;
use sherwood::limits::{NEWCOMER_WAIT_MS, STREAM_KEPT_BYTES_MAX};
use sherwood::net::StreamPeer;
use sherwood::net::sim::{Faults, Link, SimPort, StreamFaults, Wire};
use sherwood::net::stream::Quota;
use sherwood::stats::counters::{OwnerCounters, WorkerCounters};
use sherwood::worker::{StreamSetup, Worker};
use std::sync::Arc;
use std::time::Duration;

const SLOW: usize = 1_000;
const WORKERS: usize = 2;

pub(super) struct Town {
    pub(super) clock: Clock,
    pub(super) workers: Vec<Worker<SimPort>>,
    pub(super) wires: Vec<Wire>,
    owners: Vec<Arc<OwnerCounters>>,
    pub(super) bystander: Link,
}

impl Town {
    pub(super) fn new(memory_bytes: usize, faults: StreamFaults, setup: StreamSetup) -> Town {
        let clock = Clock::manual(1_000_000_000);
        let size = Size { workers: WORKERS, memory_bytes, keys: 4_000, is_cramped: false };
        let faults = (Faults::default(), faults);
        let InProcess { workers, wires, owners, .. } =
            InProcess::with_streams(7, size, faults, setup, &clock, |_| true);
        let bystander = wires[0].connect(StreamPeer::Unix);
        Town { clock, workers, wires, owners, bystander }
    }

    pub(super) fn connect(&self, count: usize) -> Vec<Link> {
        (0..count).map(|i| self.wires[i % WORKERS].connect(StreamPeer::Unix)).collect()
    }

    pub(super) fn tick(&mut self, rounds: u32) {
        for _ in 0..rounds {
            self.workers.iter_mut().for_each(|worker| _ = worker.tick().unwrap());
            self.clock.advance(Duration::from_micros(50));
        }
    }

    pub(super) fn sum(&self, pick: fn(&WorkerCounters) -> u64) -> u64 {
        self.workers.iter().map(|worker| pick(worker.counters())).sum()
    }

    pub(super) fn owned(&self, pick: fn(&OwnerCounters) -> u64) -> u64 {
        self.owners.iter().map(|owner| pick(owner)).sum()
    }

    /// Somebody else is answered within so many ticks, whatever the others do.
    pub(super) fn others_are_served(&mut self, ticks: u32) {
        self.bystander.write(b"set other 0 0 5\r\nvalue\r\nget other absent\r\n");
        let mut reply = Vec::new();
        for _ in 0..ticks {
            self.tick(1);
            reply.extend(self.bystander.read(usize::MAX));
        }
        let want = "STORED\\r\\nVALUE other 0 5\\r\\nvalue\\r\\nEND\\r\\n";
        assert_eq!(reply.escape_ascii().to_string(), want);
    }

    /// Of connections that are over nothing is kept.
    pub(super) fn nothing_is_left(&mut self) {
        self.bystander.reset();
        self.tick(1_000);
        for wire in &self.wires {
            let left = wire.streams();
            assert_eq!((left.open, left.held_buffers, left.unsent_bytes), (0, 0, 0), "{left:?}");
        }
        assert_eq!(self.sum(|worker| worker.curr_connections.get()), 0);
        assert_eq!(self.owned(|owner| owner.unfinished_items.get() + owner.unfinished_bytes.get()), 0);
    }
}

#[test]
fn a_thousand_clients_that_do_not_read_harm_nobody() {
    const VALUE_BYTES: usize = 4_000;
    let sockets = StreamFaults { socket_bytes: 10_000, ..StreamFaults::default() };
    let mut town = Town::new(64 << 20, sockets, StreamSetup::default());
    let value = "v".repeat(VALUE_BYTES);
    town.bystander.write(format!("set big 0 0 {VALUE_BYTES}\r\n{value}\r\n").as_bytes());
    town.tick(4);
    assert_eq!(town.bystander.read(usize::MAX), b"STORED\r\n");
    let slow = town.connect(SLOW);
    for round in 0..10 {
        slow.iter().for_each(|link| {
            (0..5).for_each(|i| link.write(format!("get big k{}\r\n", round * 5 + i).as_bytes()))
        });
        town.others_are_served(12);
    }
    assert_eq!(town.sum(|worker| worker.streams_stuck.get()), SLOW as u64, "each is stopped once");
    for wire in &town.wires {
        let now = wire.streams();
        assert_eq!(now.held_buffers, 0, "receive buffers are for those who read");
        let of_one_turn = 2 * 50 * (VALUE_BYTES + 30);
        assert!(now.unsent_bytes_max < of_one_turn, "{now:?}");
    }
    let want = format!("VALUE big 0 {VALUE_BYTES}\r\n{value}\r\nEND\r\n").repeat(50);
    let mut replies = vec![Vec::new(); SLOW];
    for _ in 0..200 {
        slow.iter().zip(&mut replies).for_each(|(link, reply)| reply.extend(link.read(3_000)));
        town.tick(1);
    }
    town.others_are_served(12);
    slow.iter().for_each(Link::end);
    for _ in 0..2_000 {
        slow.iter().zip(&mut replies).for_each(|(link, reply)| reply.extend(link.read(usize::MAX)));
        town.tick(1);
        if slow.iter().all(Link::is_over) {
            break;
        }
    }
    assert!(slow.iter().all(Link::is_over));
    let right = replies.iter().filter(|reply| **reply == want.as_bytes()).count();
    assert_eq!(right, SLOW, "the replies of all are whole, and in order");
    town.nothing_is_left();
}

#[test]
fn a_thousand_clients_that_write_byte_by_byte_harm_nobody() {
    let mut town = Town::new(64 << 20, StreamFaults::default(), StreamSetup::default());
    let slow = town.connect(SLOW);
    let command = |i: usize| format!("set k{i:04} 0 0 60\r\n{}\r\nget k{i:04}\r\n", "v".repeat(60));
    let commands: Vec<String> = (0..SLOW).map(command).collect();
    for at in 0..commands[0].len() {
        for (link, command) in slow.iter().zip(&commands) {
            link.write(&command.as_bytes()[at..at + 1]);
        }
        if at % 16 > 0 {
            town.tick(1);
            continue;
        }
        town.others_are_served(12);
        let held: usize = town.wires.iter().map(|wire| wire.streams().held_buffers).sum();
        assert_eq!(held, 0, "bytes of commands that are cut are kept elsewhere");
    }
    town.tick(50);
    for (i, link) in slow.iter().enumerate() {
        let want = format!("STORED\r\nVALUE k{i:04} 0 60\r\n{}\r\nEND\r\n", "v".repeat(60));
        assert_eq!(link.read(usize::MAX), want.as_bytes(), "client {i}");
        link.reset();
    }
    town.nothing_is_left();
}

/// Some send far more than a tick does: receive buffers are there for others all the same.
#[test]
fn long_pipelines_leave_receive_buffers_to_others() {
    const GETS: usize = 120_000;
    let mut town = Town::new(16 << 20, StreamFaults::default(), StreamSetup::default());
    let greedy = town.connect(24);
    let pipeline = b"get absent\r\n".repeat(GETS);
    greedy.iter().for_each(|link| link.write(&pipeline));
    let replies = |greedy: &[Link]| greedy.iter().map(|link| link.read(usize::MAX).len()).sum::<usize>();
    let mut came = 0;
    for _ in 0..12 {
        town.others_are_served(6);
        came += replies(&greedy);
    }
    assert!(greedy.iter().any(|link| link.unreceived() > 0), "they are not done yet");
    assert_eq!(town.sum(|worker| worker.stream_buffers_empty.get()), 0);
    for _ in 0..1_000 {
        town.tick(1);
        came += replies(&greedy);
    }
    assert_eq!(came, greedy.len() * GETS * b"END\r\n".len());
    greedy.iter().for_each(Link::reset);
    town.nothing_is_left();
}

/// Long values hold memory while they come: those that there is none for wait, those that stop coming are given up.
#[test]
fn a_thousand_long_values_come_slowly() {
    const VALUE_BYTES: usize = 20_000;
    let mut town = Town::new(64 << 20, StreamFaults::default(), StreamSetup::default());
    let slow = town.connect(SLOW);
    let value = "v".repeat(VALUE_BYTES);
    for (i, link) in slow.iter().enumerate() {
        link.write(format!("set k{i:04} 0 0 {VALUE_BYTES}\r\n").as_bytes());
    }
    town.tick(20);
    let mut at = 0;
    while at < VALUE_BYTES {
        let bytes = 500.min(VALUE_BYTES - at);
        // Every tenth stops in the middle.
        let writing = |i: &usize| !i.is_multiple_of(10) || at < VALUE_BYTES / 2;
        (0..SLOW).filter(writing).for_each(|i| slow[i].write(&value.as_bytes()[at..at + bytes]));
        at += bytes;
        town.others_are_served(8);
        assert!(
            town.owned(|owner| owner.unfinished_bytes.get()) <= (64 << 20) / 16,
            "a 16th of memory at most"
        );
    }
    (0..SLOW).filter(|i| !i.is_multiple_of(10)).for_each(|i| slow[i].write(b"\r\n"));
    let stored = |slow: &[Link], town: &mut Town| {
        let mut stored = 0;
        for _ in 0..3_000 {
            town.tick(1);
            stored += slow.iter().filter(|link| link.read(usize::MAX) == b"STORED\r\n").count();
        }
        stored
    };
    let before = stored(&slow, &mut town);
    assert!(town.owned(|owner| owner.unfinished_waits.get()) > 0, "not all have room at once");
    assert!(town.sum(|worker| worker.streams_over_memory.get()) == 0);
    // Those that stopped are given up, and make room for the others.
    town.clock.advance(Duration::from_secs(62));
    let after = stored(&slow, &mut town);
    assert_eq!(before + after, SLOW - SLOW / 10, "{before} before, {after} after");
    assert_eq!(town.sum(|worker| worker.idle_kicks.get()), SLOW as u64 / 10);
    const { assert!(SLOW * VALUE_BYTES < STREAM_KEPT_BYTES_MAX, "what waits is kept") };
    slow.iter().for_each(Link::reset);
    town.nothing_is_left();
}

#[test]
fn idle_connections_end_and_those_beyond_the_limit_are_told() {
    let setup = StreamSetup { quota: Arc::new(Quota::new(21)), idle_timeout_s: 10, ..StreamSetup::default() };
    let mut town = Town::new(16 << 20, StreamFaults::default(), setup);
    town.tick(4);
    let idle = town.connect(20);
    town.tick(4);
    let more = town.connect(5);
    more.iter().for_each(|link| link.write(b"set a 0 0 1\r\nx\r\n"));
    town.tick(8);
    assert!(more.iter().all(|link| link.read(usize::MAX).is_empty()), "another one may be about to end");
    town.clock.advance(Duration::from_millis(NEWCOMER_WAIT_MS));
    town.tick(8);
    for link in &more {
        assert_eq!(link.read(usize::MAX), b"ERROR Too many open connections\r\n");
        assert!(link.is_over());
    }
    for _ in 0..5 {
        town.clock.advance(Duration::from_secs(4));
        town.others_are_served(8);
    }
    assert!(idle.iter().all(Link::is_over), "they are hung up on");
    assert!(!town.bystander.is_over(), "who asks now and then is not idle");
    assert_eq!(town.sum(|worker| worker.idle_kicks.get()), 20);
    assert_eq!(town.sum(|worker| worker.rejected_connections.get()), 5);
    let again = town.connect(1);
    again[0].write(b"get a\r\n");
    town.tick(8);
    assert_eq!(
        again[0].read(usize::MAX),
        b"END\r\n",
        "there is room again, and what was refused was not done"
    );
    again[0].reset();
    town.nothing_is_left();
}
