//! A standing attack: clients that send anything at all, churn of sizes across the borders of chunks with little memory and
//! small rings, two workers; and beside them honest clients, who notice nothing.
//!
//! What an honest client may see: its own value, whole, and the last one that it stored before it asked; or a miss, because
//! memory is little. What nobody may see: another key's value, a datagram longer than 1400 bytes, a counter that is wrong.
//! Freed memory is poisoned in this build.
//!
//! As long as `SHERWOOD_ATTACK_SECONDS` says (60 by default), seed after seed; a failure names its seed, and
//! `SHERWOOD_ATTACK_FIRST` repeats it. `scripts/attack` runs it for an hour.

mod support;

use cache::base::clock::Clock;
use cache::base::random::Random;
use protocol::batch::{Code, Operation};
use sherwood::net::PeerAddr;
use sherwood::net::sim::{Faults, SimPort, Wire};
use sherwood::stats::counters::{OwnerCounters, WorkerCounters};
use sherwood::worker::Worker;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::batch::{frame, op};
use support::in_process::{InProcess, Size};
use support::noise::{framed, words};

/// Steps of a seed.
const STEPS: u64 = 3_000;
/// What honest values begin with: no other client may ever get these bytes.
const MARK: &str = "honest-value-of";
const HONEST_PORT: u16 = 30_000;
const HONEST_CLIENTS: usize = 4;

#[test]
fn honest_clients_notice_nothing() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().expect(name));
    let end = Instant::now() + Duration::from_secs(number("SHERWOOD_ATTACK_SECONDS", 60));
    let mut seed = number("SHERWOOD_ATTACK_FIRST", 1);
    let mut total = Tally::default();
    while Instant::now() < end {
        let run = std::panic::catch_unwind(|| Field::new(seed).run());
        match run {
            Ok(tally) => total.add(&tally),
            Err(_) => panic!("seed {seed}: SHERWOOD_ATTACK_FIRST={seed} repeats it"),
        }
        seed += 1;
    }
    println!("{total:?}");
    // An attack in which nothing happens proves nothing.
    assert!(total.hits > 500 && total.hits * 2 > total.misses, "{total:?}");
    assert!(
        total.held > 50 && total.evicted > 1_000 && total.resyncs > 10 && total.refused > 1_000,
        "{total:?}"
    );
}

#[derive(Debug, Default)]
struct Tally {
    seeds: u64,
    datagrams: u64,
    hits: u64,
    misses: u64,
    held: u64,
    forwarded: u64,
    evicted: u64,
    resyncs: u64,
    refused: u64,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        let sums = [
            (&mut self.seeds, other.seeds),
            (&mut self.datagrams, other.datagrams),
            (&mut self.hits, other.hits),
            (&mut self.misses, other.misses),
            (&mut self.held, other.held),
            (&mut self.forwarded, other.forwarded),
            (&mut self.evicted, other.evicted),
            (&mut self.resyncs, other.resyncs),
            (&mut self.refused, other.refused),
        ];
        sums.into_iter().for_each(|(sum, more)| *sum += more);
    }
}

/// A server, those who attack it, and those who use it.
struct Field {
    random: Random,
    clock: Clock,
    workers: Vec<Worker<SimPort>>,
    wires: Vec<Wire>,
    owners: Vec<Arc<OwnerCounters>>,
    honest: Vec<Honest>,
    sent: u64,
    tally: Tally,
}

impl Field {
    fn new(seed: u64) -> Field {
        let clock = Clock::manual(1_000_000_000);
        let size = Size { workers: 2, memory_bytes: 6 << 20, keys: 4_000, is_cramped: true };
        let InProcess { workers, wires, owners, .. } =
            InProcess::new(seed, size, Faults::default(), &clock, |_| true);
        let honest = (0..HONEST_CLIENTS).map(|i| Honest::new(i, i % 2)).collect();
        let random = Random::new(seed);
        Field { random, clock, workers, wires, owners, honest, sent: 0, tally: Tally::default() }
    }

    fn run(mut self) -> Tally {
        for _ in 0..STEPS {
            match self.random.below(10) {
                0..4 => self.attack(),
                4..6 => self.use_honestly(),
                6..9 => {
                    let worker = self.random.below(self.workers.len() as u64) as usize;
                    self.workers[worker].tick().unwrap();
                }
                _ => self.clock.advance(Duration::from_micros(self.random.below(100))),
            }
            self.deliver();
        }
        // Datagrams of many keys of both shards, one behind the other, take their time; then all is done.
        let mut idle = 0;
        for _ in 0..100_000 {
            let mut is_busy = false;
            for worker in &mut self.workers {
                is_busy |= worker.tick().unwrap();
            }
            self.clock.advance(Duration::from_micros(50));
            self.deliver();
            idle = if is_busy { 0 } else { idle + 1 };
            if idle == 10 {
                break;
            }
        }
        self.judge();
        self.tally
    }

    fn send(&mut self, port: u16, wire: usize, datagram: &[u8]) {
        let peer = PeerAddr::from(SocketAddr::from(([127, 0, 0, 1], port)));
        self.sent += self.wires[wire].send(peer, datagram) as u64;
    }

    /// One to twenty datagrams of an attacker.
    fn attack(&mut self) {
        let (port, wire) = (1 + self.random.below(20) as u16, self.random.below(2) as usize);
        let repeats = if self.random.below(4) == 0 { 20 } else { 1 };
        for _ in 0..repeats {
            let mut datagram = draw(&mut self.random);
            if self.random.below(5) == 0 {
                damage(&mut self.random, &mut datagram);
            }
            self.send(port, wire, &datagram);
        }
    }

    fn use_honestly(&mut self) {
        let client = self.random.below(self.honest.len() as u64) as usize;
        if let Some(burst) = self.honest[client].draw(&mut self.random) {
            let (port, wire) = (self.honest[client].port, self.honest[client].wire);
            burst.iter().for_each(|datagram| self.send(port, wire, datagram));
        }
    }

    fn deliver(&mut self) {
        for wire in 0..self.wires.len() {
            while let Some((to, datagram)) = self.wires[wire].receive() {
                assert!(datagram.len() <= 1_400, "a datagram of {} bytes", datagram.len());
                match self.honest.iter_mut().find(|client| client.port == to.port()) {
                    Some(client) => client.receive(&datagram, &mut self.tally),
                    None => assert!(
                        !datagram.windows(MARK.len()).any(|bytes| bytes == MARK.as_bytes()),
                        "an honest client's value went to {to:?}"
                    ),
                }
            }
        }
    }

    fn judge(&mut self) {
        for client in &self.honest {
            assert!(
                client.under_way.is_empty(),
                "{} has no answer to {:?}",
                client.port,
                client.under_way.keys()
            );
        }
        let of = |figure: fn(&WorkerCounters) -> u64| -> u64 {
            self.workers.iter().map(|worker| figure(worker.counters())).sum()
        };
        assert_eq!(of(|counters| counters.datagrams_received.get()), self.sent);
        assert_eq!(
            of(|counters| counters.cmd_get.get()),
            of(|counters| counters.get_hits.get() + counters.get_misses.get())
        );
        assert_eq!(
            of(|counters| counters.forwarded.get()),
            of(|counters| counters.executed_for_others.get())
        );
        let owned = |figure: fn(&OwnerCounters) -> u64| -> u64 {
            self.owners.iter().map(|owner| figure(owner)).sum()
        };
        assert!(owned(|counters| counters.item_bytes.get()) <= owned(|counters| counters.used_bytes.get()));
        self.tally.seeds = 1;
        self.tally.datagrams = self.sent;
        self.tally.held = of(|counters| counters.held.get());
        self.tally.forwarded = of(|counters| counters.forwarded.get());
        self.tally.refused = of(|counters| {
            counters.refused_short.get()
                + counters.refused_fragments.get()
                + counters.refused_frames.get()
                + counters.refused_binary.get()
                + counters.protocol_errors.get()
        });
        self.tally.evicted = owned(|counters| {
            counters.evicted_by_policy.get()
                + counters.evicted_by_pressure.get()
                + counters.evicted_by_crowding.get()
        });
        self.tally.resyncs = owned(|counters| counters.event_resyncs.get());
    }
}

fn text(id: u16, body: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes()[..], &[0, 0, 0, 1, 0, 0], body].concat()
}

/// A length around one at which something changes: slots, chunks, pages, datagrams.
fn length(random: &mut Random) -> usize {
    let border = [1, 64, 512, 1_000, 2_048, 4_096, 8_192, 16_384, 32_768, 60_000][random.below(10) as usize];
    (border + random.below(200) as usize).saturating_sub(100)
}

/// A datagram of an attacker.
fn draw(random: &mut Random) -> Vec<u8> {
    let key = format!("k{}", random.below(300));
    let bytes = length(random);
    // Bytes that read as lengths, pointers and headers, if anybody reads them as such.
    let byte = [0xff, 0x00, 0x01, 0x7f, b'\n', b'x'][random.below(6) as usize];
    let value = vec![byte; bytes];
    let store = |verb: &str, rest: &str| {
        [format!("{verb} {key} 0 0 {bytes}{rest}\r\n").as_bytes(), &value, b"\r\n"].concat()
    };
    match random.below(20) {
        0..5 => text(1, &store("set", "")),
        5 => text(1, &store("append", " noreply")),
        6 => text(1, &store("prepend", "")),
        7 => text(
            1,
            format!("delete {key}\r\nget {key}\r\nset {key} 0 0 2 noreply\r\nok\r\nget {key}\r\n").as_bytes(),
        ),
        8 => text(
            1,
            format!(
                "gat {} {}\r\n",
                random.below(3),
                format!("{key} ").repeat(random.below(400) as usize + 1)
            )
            .as_bytes(),
        ),
        9 => text(1, format!("touch {key} 0 noreply\r\n").repeat(random.below(600) as usize + 1).as_bytes()),
        10 => text(
            1,
            format!("mg {key} v N30 R9 t k\r\nms {key} 1 I C1\r\nx\r\nmd {key} I\r\nmg {key} v\r\n")
                .as_bytes(),
        ),
        11 if random.below(100) == 0 => text(1, b"flush_all\r\n"),
        11 => text(1, format!("delete n{}:\r\n", random.below(50)).as_bytes()),
        12 => {
            let keys: Vec<String> = (0..30).map(|_| format!("k{}", random.below(300))).collect();
            let codes = [Code::Get, Code::GetAndTouch, Code::Delete, Code::Set, Code::Append, Code::Incr];
            let operations: Vec<Operation<'_>> = keys
                .iter()
                .map(|key| Operation {
                    value: &value[..bytes.min(500)],
                    ..op(codes[random.below(6) as usize], key)
                })
                .map(|operation| {
                    if operation.code.is_short() { Operation { value: b"", ..operation } } else { operation }
                })
                .collect();
            frame(&operations)
        }
        13 => text(1, &b"VALUE k1 0 5\r\nget a\r\nEND\r\n".repeat(1 + random.below(5) as usize)),
        14 | 15 => framed(random),
        _ => text(1, &words(random)),
    }
}

/// Changes, removes or repeats a few bytes.
fn damage(random: &mut Random, datagram: &mut Vec<u8>) {
    for _ in 0..=random.below(3) {
        let at = random.below(datagram.len() as u64) as usize;
        match random.below(4) {
            0 => datagram[at] = random.bits() as u8,
            1 => datagram.truncate(at.max(1)),
            2 => drop(datagram.remove(at)),
            _ if datagram.len() < 60_000 => datagram.extend_from_within(at..),
            _ => {}
        }
        if datagram.is_empty() {
            datagram.push(0);
        }
    }
}

/// A client that checks every answer.
struct Honest {
    port: u16,
    wire: usize,
    last_id: u16,
    /// Number of the last value stored, by key; 0 for none. What failed to be stored is not among them.
    stored: HashMap<String, u64>,
    numbers: u64,
    /// Requests of a burst, in the order in which they were sent, and the answers that came.
    under_way: HashMap<u16, (Asked, Option<Vec<u8>>)>,
    parts: HashMap<u16, Vec<Vec<u8>>>,
}

#[derive(Clone, Debug)]
enum Asked {
    Set(String, u64),
    Delete(String),
    Get(String),
}

impl Honest {
    fn new(number: usize, wire: usize) -> Honest {
        Honest {
            port: HONEST_PORT + number as u16,
            wire,
            last_id: 0,
            stored: HashMap::new(),
            numbers: 0,
            under_way: HashMap::new(),
            parts: HashMap::new(),
        }
    }

    /// A burst of requests, sent without waiting; `None` while one is under way.
    fn draw(&mut self, random: &mut Random) -> Option<Vec<Vec<u8>>> {
        if !self.under_way.is_empty() {
            return None;
        }
        let mut burst = Vec::new();
        // Few keys a burst, so that much of it is about the same one; of both shards.
        let first = random.below(5);
        for _ in 0..2 + random.below(12) {
            let key = format!("{}-{}", self.port, first + random.below(2));
            self.last_id = self.last_id.wrapping_add(1);
            let (asked, body) = match random.below(5) {
                0 | 1 => {
                    self.numbers += 1;
                    let value = value(&key, self.numbers, length(random).max(60));
                    let body = format!("set {key} 0 0 {}\r\n{value}\r\n", value.len());
                    (Asked::Set(key, self.numbers), body)
                }
                2 if random.below(3) == 0 => (Asked::Delete(key.clone()), format!("delete {key}\r\n")),
                2 => (Asked::Get(key.clone()), format!("gat 0 {key}\r\n")),
                3 => (Asked::Get(key.clone()), format!("mg {key} v\r\n")),
                _ => (Asked::Get(key.clone()), format!("get {key}\r\n")),
            };
            self.under_way.insert(self.last_id, (asked, None));
            burst.push(text(self.last_id, body.as_bytes()));
        }
        Some(burst)
    }

    fn receive(&mut self, datagram: &[u8], tally: &mut Tally) {
        let word = |at: usize| u16::from_be_bytes([datagram[at], datagram[at + 1]]);
        let (id, sequence, total) = (word(0), word(2) as usize, word(4) as usize);
        let parts = self.parts.entry(id).or_insert_with(|| vec![Vec::new(); total]);
        assert!(parts[sequence].is_empty(), "a datagram came twice");
        parts[sequence] = datagram[8..].to_vec();
        if parts.iter().any(Vec::is_empty) {
            return;
        }
        let body = self.parts.remove(&id).expect("just filled").concat();
        let (_, answer) = self.under_way.get_mut(&id).expect("an answer to a request that was not sent");
        assert!(answer.replace(body).is_none(), "answered twice");
        if self.under_way.values().all(|(_, answer)| answer.is_some()) {
            self.judge(tally);
        }
    }

    /// All of a burst is answered: it was executed as it was sent.
    fn judge(&mut self, tally: &mut Tally) {
        let mut burst: Vec<_> = std::mem::take(&mut self.under_way).into_iter().collect();
        // Ids wrap; a burst is short.
        burst.sort_by_key(|(id, _)| self.last_id.wrapping_sub(*id));
        for (id, (asked, answer)) in burst.into_iter().rev() {
            let answer = answer.expect("all are there");
            match asked {
                Asked::Set(key, number) if answer == b"STORED\r\n" => drop(self.stored.insert(key, number)),
                Asked::Set(..) => assert!(answer.starts_with(b"SERVER_ERROR"), "{}", answer.escape_ascii()),
                Asked::Delete(key) => {
                    let found = answer == b"DELETED\r\n";
                    assert!(found || answer == b"NOT_FOUND\r\n", "{}", answer.escape_ascii());
                    assert!(!found || self.stored.get(&key).is_some_and(|&number| number > 0));
                    self.stored.insert(key, 0);
                }
                Asked::Get(key) => self.judge_read(id, &key, &answer, tally),
            }
        }
    }

    fn judge_read(&mut self, id: u16, key: &str, answer: &[u8], tally: &mut Tally) {
        let is_miss = answer == b"END\r\n" || answer == b"EN\r\n";
        tally.misses += is_miss as u64;
        tally.hits += !is_miss as u64;
        if is_miss {
            return;
        }
        let number = self.stored.get(key).copied().unwrap_or(0);
        let line = answer.iter().position(|&byte| byte == b'\n').expect("a line") + 1;
        let head = std::str::from_utf8(&answer[..line]).expect("text");
        let bytes = head.trim_end().rsplit(' ').next().and_then(|word| word.parse::<usize>().ok());
        let bytes = bytes.unwrap_or_else(|| panic!("{}: request {id} is answered {head:?}", self.port));
        let got = &answer[line..line + bytes];
        let whole = value(key, number, bytes);
        assert!(
            number > 0 && got == whole.as_bytes(),
            "{}: request {id}: not value {number} of {key}, but {}",
            self.port,
            got[..got.len().min(60)].escape_ascii()
        );
    }
}

/// A value that tells whose it is, and whether it is whole.
fn value(key: &str, number: u64, bytes: usize) -> String {
    let unit = format!("{MARK} {key} {number} ");
    unit.repeat(bytes.div_ceil(unit.len()))[..bytes].to_owned()
}
