//! Reads are never answered `busy`, however many are under way: they wait. Requests of more than 2 KiB once needed one of 16
//! buffers where a key was another worker's, and 6 % of 64 in flight were refused. Stores may be refused; what they hold up
//! is bounded.

use crate::support::batch::{frame, op, results};
use crate::support::stepped::Stepped;
use protocol::batch::{Code, Operation, Status};
use sherwood::limits::{
    LARGE_REQUESTS_RESERVED, PENDING_REQUESTS_MAX, POOL_WAIT_MS, READ_POOL_WAIT_MS, TURN_WORK_UNITS,
};
use sherwood::stats::counters::WorkerCounters;
use sherwood::worker::Access;
use std::collections::HashMap;
use std::time::Duration;

const CLIENTS: u16 = 4;
/// Keys of a long request.
const KEYS: usize = 250;

/// A text datagram with this id.
fn text(id: u16, body: &str) -> Vec<u8> {
    [&id.to_be_bytes()[..], &[0, 0, 0, 1, 0, 0], body.as_bytes()].concat()
}

/// A frame with this id.
fn numbered(id: u16, operations: &[Operation<'_>]) -> Vec<u8> {
    let mut datagram = frame(operations);
    datagram[..2].copy_from_slice(&id.to_be_bytes());
    datagram
}

/// Two workers with a value under each key.
fn stepped(keys: &[String], value: &str) -> Stepped {
    let mut stepped = Stepped::of(2, Access::default());
    for key in keys {
        stepped.send(0, &text(1, &format!("set {key} 0 0 {} noreply\r\n{value}\r\n", value.len())));
    }
    (0..10).for_each(|_| stepped.settle());
    stepped
}

fn keys() -> Vec<String> {
    (0..KEYS).map(|i| format!("key{i:03}")).collect()
}

/// Whole bodies by port and id, put together from datagrams.
#[derive(Default)]
struct Replies {
    parts: HashMap<(u16, u16), Vec<Vec<u8>>>,
    whole: usize,
}

impl Replies {
    fn take(&mut self, stepped: &Stepped) {
        while let Some((port, datagram)) = stepped.receive_with_port(0) {
            let word = |at: usize| u16::from_be_bytes([datagram[at], datagram[at + 1]]) as usize;
            let parts = self.parts.entry((port, word(0) as u16)).or_insert_with(|| vec![Vec::new(); word(4)]);
            assert!(parts[word(2)].is_empty(), "answered twice");
            parts[word(2)] = datagram[8..].to_vec();
            self.whole += parts.iter().all(|part| !part.is_empty()) as usize;
        }
    }

    fn bodies(self) -> impl Iterator<Item = ((u16, u16), Vec<u8>)> {
        self.parts.into_iter().map(|(who, parts)| (who, parts.concat()))
    }
}

fn counter(stepped: &Stepped, figure: fn(&WorkerCounters) -> u64) -> u64 {
    (0..stepped.workers()).map(|worker| figure(stepped.worker(worker).counters())).sum()
}

/// Lets the first worker tick a quarter of a millisecond apart, and the other one every second time, until so many are answered.
fn tick_slowly(stepped: &mut Stepped, replies: &mut Replies, count: usize) {
    for tick in 0..2_000_000 {
        stepped.tick(0);
        if tick % 2 == 0 {
            stepped.tick(1);
        }
        stepped.advance(Duration::from_micros(250));
        replies.take(stepped);
        if replies.whole == count {
            return;
        }
    }
    panic!("{} of {count} are answered", replies.whole);
}

#[test]
fn long_reads_wait_for_a_slow_owner() {
    let keys = keys();
    let lines = |line: &str| keys.iter().map(|key| line.replace('K', key)).collect::<String>();
    let touch: Vec<_> = keys.iter().map(|key| op(Code::GetAndTouch, key)).collect();
    let requests = |id| {
        [
            text(id, &format!("gat 0 {}\r\n", keys.join(" "))),
            text(id + 1, &lines("mg K v N30\r\n")),
            text(id + 2, &lines("mg K v R30 t\r\n")),
            text(id + 3, &lines("mg K v T0\r\n")),
            numbered(id + 4, &touch),
        ]
    };
    let mut stepped = stepped(&keys, "four");
    let mut sent = 0;
    for round in 0..24 {
        for client in 0..CLIENTS {
            for request in requests(round * 5) {
                stepped.send_from(0, Stepped::client(1 + client), &request);
                sent += 1;
            }
        }
    }
    let mut replies = Replies::default();
    tick_slowly(&mut stepped, &mut replies, sent);
    for ((port, id), body) in replies.bodies() {
        let found = match id % 5 {
            4 => results(&body)
                .iter()
                .filter(|got| got.status == Status::Value && got.value == b"four")
                .count(),
            _ => body.windows(8).filter(|part| part == b"\r\nfour\r\n").count(),
        };
        assert_eq!(found, KEYS, "client {port}, request {id}: {}", body[..body.len().min(80)].escape_ascii());
    }
    assert_eq!(counter(&stepped, |counters| counters.busy.get() + counters.reads_dropped.get()), 0);
    // More came than there are buffers for, or nothing was tried.
    assert!(counter(&stepped, |counters| counters.deferred.get()) > 20);
}

/// A short request can have a long reply before it has to go to another worker.
#[test]
fn short_reads_with_long_replies_wait_for_a_slow_owner() {
    let (mine, theirs) = (Stepped::key_of(0, 0), Stepped::key_of(1, 0));
    let mut stepped = stepped(&[mine.clone(), theirs.clone()], &"v".repeat(20_000));
    const SENT: usize = 150;
    for id in 0..SENT as u16 {
        let line = match id % 2 {
            0 => format!("gat 0 {mine} {theirs} {mine} {theirs}\r\n"),
            _ => format!("mg {mine} v\r\nmg {theirs} v N30\r\nmg {mine} v T0\r\nmg {theirs} v R30\r\n"),
        };
        stepped.send_from(0, Stepped::client(1 + id), &text(id, &line));
    }
    let mut replies = Replies::default();
    tick_slowly(&mut stepped, &mut replies, SENT);
    for (_, body) in replies.bodies() {
        assert!((80_000..81_000).contains(&body.len()), "{}", body[..body.len().min(80)].escape_ascii());
    }
    assert_eq!(counter(&stepped, |counters| counters.busy.get() + counters.reads_dropped.get()), 0);
}

/// Plain reads behind stores of the same client go to the owner, too; stores may be refused, and are if the owner does not tick.
#[test]
fn stores_are_refused_in_time_and_reads_beside_them_are_not() {
    let keys = keys();
    let mut stepped = stepped(&keys, "four");
    let padding = " ".repeat(2_100);
    let (mut sent, mut reads) = (0, Vec::new());
    for id in 0..400u16 {
        let (key, client) = (&keys[id as usize % KEYS], Stepped::client(1 + id % CLIENTS));
        // Longer than a small buffer takes.
        let line = match id % 4 {
            0 => format!("get{padding}{}\r\n", keys.join(" ")),
            1 => format!("gat 0{padding}{key} {}\r\n", keys[7]),
            _ => format!("set {key}{padding} 0 0 4\r\nfour\r\n"),
        };
        if id % 4 < 2 {
            reads.push((1 + id % CLIENTS, id));
        }
        stepped.send_from(0, client, &text(id, &line));
        sent += 1;
    }
    // The owner does not tick for a while.
    let mut replies = Replies::default();
    for _ in 0..5 * POOL_WAIT_MS {
        stepped.tick(0);
        stepped.advance(Duration::from_millis(1));
        replies.take(&stepped);
    }
    tick_slowly(&mut stepped, &mut replies, sent);
    let bodies: HashMap<_, _> = replies.bodies().collect();
    for read in reads {
        let body = &bodies[&read];
        assert!(
            body.ends_with(b"four\r\nEND\r\n"),
            "{read:?}: {}",
            body[..body.len().min(80)].escape_ascii()
        );
    }
    let refused = bodies.values().filter(|body| *body == b"SERVER_ERROR busy\r\n").count() as u64;
    assert_eq!(refused, counter(&stepped, |counters| counters.busy.get()));
}

/// Where the owner does not tick at all, a read is dropped in the end, as if the network had lost it, and still not refused; those
/// behind it are served.
#[test]
fn a_read_that_waits_in_vain_is_dropped() {
    let keys = keys();
    let mut stepped = stepped(&keys, "four");
    let theirs = Stepped::key_of(1, 0);
    const SENT: usize = PENDING_REQUESTS_MAX + 30;
    for client in 0..SENT as u16 {
        stepped.send_from(0, Stepped::client(1_000 + client), &text(1, &format!("gat 0 {theirs}\r\n")));
    }
    stepped.tick(0);
    stepped.tick(0);
    stepped.send_from(0, Stepped::client(7), &text(2, "get n\r\n"));
    let mut ticks = 0;
    while !std::iter::from_fn(|| stepped.receive_with_port(0)).any(|(port, _)| port == 7) {
        stepped.tick(0);
        stepped.advance(Duration::from_millis(1));
        ticks += 1;
    }
    assert!((READ_POOL_WAIT_MS..READ_POOL_WAIT_MS + 10).contains(&ticks), "{ticks} ms");
    let dropped = counter(&stepped, |counters| counters.reads_dropped.get()) as usize;
    // Some pending requests are kept for long replies.
    assert!((30..30 + LARGE_REQUESTS_RESERVED + 1).contains(&dropped), "{dropped}");
    (0..20).for_each(|_| stepped.settle());
    let answered =
        std::iter::from_fn(|| stepped.receive(0)).filter(|reply| reply[8..].ends_with(b"END\r\n")).count();
    assert_eq!((answered, counter(&stepped, |counters| counters.busy.get())), (SENT - dropped, 0));
}

/// Stores that a turn has room for.
const TURN: u64 = TURN_WORK_UNITS as u64 / 2;

/// A datagram with many stores of one key.
fn heavy(count: usize) -> Vec<u8> {
    text(1, &"set a 0 0 0 noreply\r\n\r\n".repeat(count))
}

fn stored(stepped: &Stepped) -> u64 {
    (0..stepped.workers()).map(|worker| stepped.owned(worker).cmd_set.get()).sum()
}

/// Of more heavy datagrams than there are buffers, those that find none wait, and are refused in the end, but never done in one
/// go: a light client waits for a bounded piece of work only.
#[test]
fn heavy_stores_without_a_buffer_are_not_done_in_one_go() {
    const HEAVY: u16 = 100;
    for workers in [1, 2] {
        let mut stepped = Stepped::of(workers, Access::default());
        for client in 0..HEAVY {
            stepped.send_from(0, Stepped::client(1_000 + client), &heavy(2_600));
        }
        (0..2).for_each(|_| (0..workers).for_each(|worker| stepped.tick(worker)));
        // Behind an inbox that is not empty.
        stepped.send_from(0, Stepped::client(7), &text(2, "get n\r\n"));
        let (mut before, mut most, mut ticks) = (stored(&stepped), 0, 0);
        while !std::iter::from_fn(|| stepped.receive_with_port(0)).any(|(port, _)| port == 7) {
            (0..workers).for_each(|worker| stepped.tick(worker));
            stepped.advance(Duration::from_millis(1));
            let now = stored(&stepped);
            (most, before, ticks) = (most.max(now - before), now, ticks + 1);
            assert!(ticks < 3 * POOL_WAIT_MS, "the light client waits for more than {ticks} ticks");
        }
        // A piece of each datagram, and some of those that wait.
        let bound = (HEAVY as u64 + 20) * TURN;
        assert!(most < bound, "{most} stores in one tick, of {} in all", HEAVY as u64 * 2_600);
        assert!(counter(&stepped, |counters| counters.busy.get()) > 0);
    }
}

/// A store that wants no reply gets none, whatever keeps it from being done: no buffer to forward it in, to hold it in, or to
/// suspend it in.
#[test]
fn a_refused_store_that_wants_no_reply_gets_none() {
    let keys = keys();
    let padding = " ".repeat(2_100);
    let mut stepped = stepped(&keys, "four");
    for id in 0..400u16 {
        let key = &keys[id as usize / 8 % KEYS];
        let store = format!("set {key}{padding} 0 0 4 noreply\r\nfour\r\n");
        // Of two commands: what comes behind on the same key is held.
        stepped.send_from(0, Stepped::client(1 + id % CLIENTS), &text(id, &store.repeat(2)));
    }
    stepped.send_from(0, Stepped::client(1), &heavy(2_600));
    let mut answered = 0;
    // The owner of half of the keys does not tick for a while.
    for _ in 0..5 * POOL_WAIT_MS {
        stepped.tick(0);
        stepped.advance(Duration::from_millis(1));
        answered += std::iter::from_fn(|| stepped.receive_with_port(0)).count();
    }
    let refused = counter(&stepped, |counters| counters.busy.get());
    assert!(refused > 0 && counter(&stepped, |counters| counters.held.get()) > 0);
    for _ in 0..100 {
        (0..2).for_each(|worker| stepped.tick(worker));
        answered += std::iter::from_fn(|| stepped.receive_with_port(0)).count();
    }
    assert_eq!(answered, 0, "{refused} were refused");
}

#[test]
fn what_is_suspended_has_a_bounded_share_of_a_tick() {
    const HEAVY: u16 = 40;
    let mut stepped = Stepped::of(1, Access::default());
    (0..HEAVY).for_each(|client| stepped.send_from(0, Stepped::client(1_000 + client), &heavy(2_600)));
    (0..2).for_each(|_| stepped.tick(0));
    assert!(stored(&stepped) >= HEAVY as u64 * (TURN - 1), "all have begun");
    let (mut before, mut most) = (stored(&stepped), 0);
    for _ in 0..100 {
        stepped.tick(0);
        (most, before) = (most.max(stored(&stepped) - before), stored(&stepped));
    }
    assert_eq!(before, HEAVY as u64 * 2_600);
    assert!((TURN..20 * TURN).contains(&most), "{most} stores in one tick");
}
