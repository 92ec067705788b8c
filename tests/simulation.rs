//! A whole server in one thread, from one seed: workers ticked in drawn order, a network that loses, repeats and reorders
//! datagrams, connections that come in pieces and break, a clock that moves when it is drawn, clients whose every answer is
//! checked.
//!
//! ```text
//! clients ──wire──▶ worker 0 ┐  mesh, sleep flags, policy (cooperative), one slab     each step one of:
//!         ◀─wire──  worker 1 ┘  all real; only port and clock are not               send · tick · deliver · wait
//! ```
//! What is checked: every key is a register (`history`: linearizable; values are unique, a request that arrived twice
//! counts as two), nothing is served beyond its time to live, no value is torn, every answer is one that the protocol
//! has for its request. Freed memory is poisoned in this build, so a value read too late would be seen.
//!
//! Replies to datagrams here fit one. A reply of several to a request that arrived twice may be put together from both
//! executions by any client; no server can help that.
//!
//! `scripts/simulation SEEDS` runs more seeds; a failure names its seed.

#[path = "simulation/endings.rs"]
mod endings;
mod history;
#[path = "simulation/holders.rs"]
mod holders;
#[path = "simulation/slow.rs"]
mod slow;
#[path = "simulation/streams.rs"]
mod streams;
mod support;
#[path = "simulation/tally.rs"]
mod tally;
#[path = "simulation/unread.rs"]
mod unread;

use cache::base::clock::Clock;
use cache::base::random::Random;
use cache::shard::Shards;
use history::{Answer, Asked, Memory, Operation, check};
use protocol::request::Commands;
use sherwood::limits::LONG_VALUE_BYTES;
use sherwood::net::PeerAddr;
use sherwood::net::sim::{Faults, SimPort, StreamFaults, Wire};
use sherwood::net::stream::Quota;
use sherwood::stats::counters::OwnerCounters;
use sherwood::worker::{StreamSetup, Worker};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use streams::{CONNECTIONS_MAX, FAULTS, STREAM_CLIENTS, StreamClient};
use support::in_process::{InProcess, Size};
use tally::Tally;

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
struct Scene {
    workers: usize,
    memory_bytes: usize,
    keys: u64,
    value_bytes_max: u64,
    /// Keys behind those that only connections have: their values are long.
    long_keys: u64,
    long_bytes_max: u64,
    faults: Faults,
    of_streams: StreamFaults,
    /// With little memory or times to live, values go by themselves.
    memory: Memory,
    steps: u64,
}

const ROOMY: Scene = Scene {
    workers: 3,
    memory_bytes: 24 << 20,
    keys: 24,
    value_bytes_max: 300,
    long_keys: 4,
    long_bytes_max: 100_000,
    faults: Faults { drop_percent: 2, duplicate_percent: 2, reorder_percent: 20 },
    of_streams: FAULTS,
    memory: Memory::Keeps,
    steps: 8_000,
};

const TIGHT: Scene = Scene {
    workers: 2,
    memory_bytes: 2 << 20,
    keys: 2_000,
    value_bytes_max: 1_200,
    long_keys: 20,
    long_bytes_max: 40_000,
    memory: Memory::Forgets,
    steps: 60_000,
    ..ROOMY
};

const ALONE: Scene = Scene { workers: 1, memory_bytes: 8 << 20, memory: Memory::Forgets, ..ROOMY };

#[test]
fn every_key_is_a_register_whatever_the_network_does() {
    let seeds: u64 = std::env::var("SHERWOOD_SIMULATION_SEEDS")
        .map_or(12, |text| text.parse().expect("SHERWOOD_SIMULATION_SEEDS is a number"));
    let first: u64 = std::env::var("SHERWOOD_SIMULATION_FIRST")
        .map_or(1, |text| text.parse().expect("SHERWOOD_SIMULATION_FIRST is a number"));
    let mut totals = Tally::default();
    for seed in first..first + seeds {
        for (name, scene) in [("roomy", ROOMY), ("tight", TIGHT), ("alone", ALONE)] {
            let run = std::panic::catch_unwind(|| World::new(seed, scene).run());
            match run {
                Ok(tally) => totals.add(&tally),
                Err(_) => panic!("scene {name}, seed {seed}: SHERWOOD_SIMULATION_FIRST={seed} repeats it"),
            }
        }
    }
    println!("{seeds} seeds: {totals:?}");
    // A simulation in which nothing happens proves nothing.
    assert!(totals.answers > 1000 * seeds && totals.hits > 300 * seeds && totals.forwarded > 100 * seeds);
    assert!(totals.twice > 20 * seeds && totals.unanswered > 20 * seeds && totals.evicted > 100 * seeds);
    assert!(totals.over_streams > 1000 * seeds && totals.long_values > 100 * seeds, "{totals:?}");
    assert!(totals.resets > 5 * seeds && totals.ended > 5 * seeds && totals.stuck > 20 * seeds, "{totals:?}");
    assert!(totals.turned_away > seeds && totals.abandoned > seeds, "{totals:?}");
    assert!(totals.doublings > seeds, "tables grow under way");
    assert!(totals.refused * 20 < totals.answers, "nearly all is served: {totals:?}");
}

/// The same seed gives the same run, to the last answer.
#[test]
fn a_seed_is_a_run() {
    let run = |seed| World::new(seed, ROOMY).run();
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

/// The judge can say no: values that little memory has evicted are no longer explained when nothing may be forgotten.
#[test]
#[should_panic(expected = "nothing explains")]
fn a_loss_is_noticed() {
    World::new(1, Scene { memory: Memory::Keeps, ..TIGHT }).run();
}

/// A request under way.
struct Request {
    id: u16,
    parts: Vec<(u64, Asked)>,
    /// A flush, or a namespace invalidated: it goes to all shards.
    clears: bool,
    invoked: u64,
    invoked_ms: u64,
    copies: usize,
}

struct Client {
    addr: PeerAddr,
    last_id: u16,
    waiting: Option<Request>,
}

/// What is known of a value: when it was surely gone, if it had a time to live.
#[derive(Clone, Copy)]
struct Life {
    ttl_s: u64,
    once: bool,
    stored_by_ms: Option<u64>,
    is_long: bool,
}

/// Keys are of a few namespaces, which are invalidated now and then.
const NAMESPACES: u64 = 4;

/// Two namespaces may share a generation; then one goes with the other, which is right, but not what is judged here.
fn are_apart(shards: &Shards) -> bool {
    let place = |namespace| {
        let request = format!("delete n{namespace}:\r\n");
        let command = Commands::new(request.as_bytes(), 0).next().expect("a command").expect("a delete");
        sherwood::session::execute::namespace::invalidated_by(&command, shards)
            .expect("the name of a namespace")
    };
    (0..NAMESPACES).all(|one| (0..one).all(|other| place(one) != place(other)))
}

fn name(key: u64) -> String {
    format!("n{}:k{key}", key % NAMESPACES)
}

struct World {
    scene: Scene,
    random: Random,
    clock: Clock,
    workers: Vec<Worker<SimPort>>,
    wires: Vec<Wire>,
    owners: Vec<Arc<OwnerCounters>>,
    clients: Vec<Client>,
    streams: Vec<StreamClient>,
    history: HashMap<u64, Vec<Operation>>,
    lives: Vec<Life>,
    step: u64,
    tally: Tally,
}

const CLIENTS: usize = 6;
/// Steps after which a client gives an answer up.
const PATIENCE_STEPS: u64 = 150;

impl World {
    fn new(seed: u64, scene: Scene) -> World {
        let clock = Clock::manual(1_000_000_000);
        let (workers, memory_bytes, keys) = (scene.workers, scene.memory_bytes, scene.keys);
        let size = Size { workers, memory_bytes, keys, is_cramped: true };
        let quota = Arc::new(Quota::new(CONNECTIONS_MAX));
        let setup = StreamSetup { quota, ..StreamSetup::default() };
        let faults = (scene.faults, scene.of_streams);
        let InProcess { workers, wires, owners, .. } =
            InProcess::with_streams(seed, size, faults, setup, &clock, are_apart);
        let client = |i| {
            let addr = PeerAddr::from(SocketAddr::from(([127, 0, 0, 1], 40_000 + i as u16)));
            Client { addr, last_id: 0, waiting: None }
        };
        World {
            workers,
            wires,
            owners,
            clients: (0..CLIENTS).map(client).collect(),
            streams: (0..STREAM_CLIENTS).map(|_| StreamClient::default()).collect(),
            history: HashMap::new(),
            lives: vec![Life { ttl_s: 0, once: false, stored_by_ms: None, is_long: false }],
            step: 0,
            tally: Tally::default(),
            random: Random::new(seed),
            scene,
            clock,
        }
    }

    fn run(mut self) -> Tally {
        while self.step < self.scene.steps {
            self.step += 1;
            match self.random.below(13) {
                10.. => self.step_stream(),
                0..3 => self.send(),
                3..7 => {
                    let worker = self.random.below(self.workers.len() as u64) as usize;
                    self.workers[worker].tick().unwrap();
                }
                7 => self.wait(),
                _ => self.deliver(),
            }
        }
        // What is under way arrives.
        self.end_streams();
        for round in 0.. {
            if round > 200 && self.streams_are_over() {
                break;
            }
            assert!(round < 10_000, "connections do not end");
            self.step += 1;
            for worker in &mut self.workers {
                worker.tick().unwrap();
            }
            self.clock.advance(Duration::from_micros(500));
            self.deliver();
        }
        for client in 0..CLIENTS {
            self.give_up(client);
        }
        self.judge();
        self.nothing_is_left_of_streams();
        let of_owner = |owner: &Arc<OwnerCounters>| {
            owner.evicted_by_policy.get() + owner.evicted_by_pressure.get() + owner.evicted_by_crowding.get()
        };
        self.tally.evicted = self.owners.iter().map(of_owner).sum();
        self.tally.doublings = self.owners.iter().map(|owner| owner.table_doublings.get()).sum();
        self.tally.expired = self.owners.iter().map(|owner| owner.expired.get()).sum();
        self.tally.forwarded = self.workers.iter().map(|worker| worker.counters().forwarded.get()).sum();
        self.tally.stuck = self.workers.iter().map(|worker| worker.counters().streams_stuck.get()).sum();
        self.tally.abandoned = self.owners.iter().map(|owner| owner.unfinished_abandoned.get()).sum();
        self.tally.crowded = self.owners.iter().map(|owner| owner.unfinished_waits.get()).sum();
        self.tally
    }

    fn wait(&mut self) {
        let us = match self.random.below(200) {
            0 if self.scene.memory == Memory::Forgets => 300_000,
            _ => self.random.below(300),
        };
        self.clock.advance(Duration::from_micros(us));
    }

    fn send(&mut self) {
        let client = self.random.below(CLIENTS as u64) as usize;
        if let Some(request) = &self.clients[client].waiting {
            if self.step > request.invoked + PATIENCE_STEPS {
                self.give_up(client);
            }
            return;
        }
        let (parts, text, clears) = self.draw();
        let wire = self.random.below(self.wires.len() as u64) as usize;
        let of_client = &mut self.clients[client];
        of_client.last_id = of_client.last_id.wrapping_add(1);
        let id = of_client.last_id;
        let mut datagram = vec![(id >> 8) as u8, id as u8, 0, 0, 0, 1, 0, 0];
        datagram.extend_from_slice(&text);
        let copies = self.wires[wire].send(of_client.addr, &datagram);
        let (invoked, invoked_ms) = (self.step, self.clock.now().ms());
        for &(key, asked) in &parts {
            if let Asked::Set(value) = asked {
                self.lives[value as usize].once = copies == 1;
            }
            if copies == 2 {
                let again = Operation { asked, invoked, returned: None };
                self.history.entry(key).or_default().push(again);
            }
        }
        self.tally.twice += (copies == 2) as u64;
        of_client.waiting = Some(Request { id, parts, clears, invoked, invoked_ms, copies });
    }

    fn draw(&mut self) -> (Vec<(u64, Asked)>, Vec<u8>, bool) {
        let key = self.random.below(self.scene.keys);
        if self.random.below(150) == 0 {
            let is_flush = self.random.chance(30);
            let cleared = (0..self.scene.keys + self.scene.long_keys)
                .filter(|other| is_flush || other % NAMESPACES == key % NAMESPACES);
            let text =
                if is_flush { "flush_all\r\n".into() } else { format!("delete n{}:\r\n", key % NAMESPACES) };
            return (cleared.map(|key| (key, Asked::Delete)).collect(), text.into_bytes(), true);
        }
        let (parts, text) = self.draw_of_key(key);
        (parts, text, false)
    }

    fn draw_of_key(&mut self, key: u64) -> (Vec<(u64, Asked)>, Vec<u8>) {
        let name = name(key);
        match self.random.below(10) {
            0..4 => {
                let ttl_s = match self.scene.memory {
                    Memory::Forgets if self.random.chance(20) => 1 + self.random.below(2),
                    _ => 0,
                };
                let unique = self.new_value(ttl_s, false);
                let value = self.value(unique);
                let line = match self.random.chance(50) {
                    true => format!("set {name} 0 {ttl_s} {}\r\n{value}\r\n", value.len()),
                    false => format!("ms {name} {} T{ttl_s}\r\n{value}\r\n", value.len()),
                };
                (vec![(key, Asked::Set(unique))], line.into_bytes())
            }
            4 => (vec![(key, Asked::Delete)], format!("delete {name}\r\n").into_bytes()),
            5 => {
                let last = (key + 1) % self.scene.keys;
                let keys = if self.scene.value_bytes_max < 500 { vec![key, last] } else { vec![key] };
                let words: String = keys.iter().map(|&key| format!(" {}", self::name(key))).collect();
                let parts = keys.into_iter().map(|key| (key, Asked::Get)).collect();
                (parts, format!("get{words}\r\n").into_bytes())
            }
            6 => (vec![(key, Asked::Get)], format!("mg {name} v\r\n").into_bytes()),
            _ => (vec![(key, Asked::Get)], format!("get {name}\r\n").into_bytes()),
        }
    }

    /// Makes up a value.
    fn new_value(&mut self, ttl_s: u64, is_long: bool) -> u64 {
        self.lives.push(Life { ttl_s, once: false, stored_by_ms: None, is_long });
        self.lives.len() as u64 - 1
    }

    /// A value that tells which it is, and whether it is whole.
    fn value(&self, unique: u64) -> String {
        let mixed = unique.wrapping_mul(0x9e37_79b9);
        let padding = match self.lives[unique as usize].is_long {
            true => LONG_VALUE_BYTES as u64 + mixed % self.scene.long_bytes_max,
            false => mixed % self.scene.value_bytes_max,
        };
        format!("{unique}:{}", "x".repeat(padding as usize))
    }

    fn deliver(&mut self) {
        self.deliver_streams();
        for wire in 0..self.wires.len() {
            while let Some((to, datagram)) = self.wires[wire].receive() {
                let client = self.clients.iter().position(|c| c.addr == to).expect("a client of ours");
                let id = u16::from_be_bytes([datagram[0], datagram[1]]);
                assert_eq!(datagram[2..8], [0, 0, 0, 1, 0, 0], "one datagram, reserved 0");
                if self.clients[client].waiting.as_ref().is_some_and(|request| request.id == id) {
                    let request = self.clients[client].waiting.take().expect("just seen");
                    self.answer(&request, &datagram[8..]);
                }
            }
        }
    }

    fn answer(&mut self, request: &Request, body: &[u8]) {
        let text = std::str::from_utf8(body).expect("text");
        self.tally.answers += 1;
        for byte in body {
            self.tally.digest = (self.tally.digest ^ *byte as u64).wrapping_mul(0x0100_0000_01b3);
        }
        if text.starts_with("SERVER_ERROR") {
            // Nothing was done, and of a copy of it nobody knows.
            self.tally.refused += 1;
            if request.clears {
                // Perhaps in some of the shards.
                self.forget(request);
            }
            return;
        }
        for &(key, asked) in &request.parts {
            let answer = match asked {
                Asked::Set(value) => {
                    assert!(text == "STORED\r\n" || text == "HD\r\n", "a set was answered with {text:?}");
                    self.lives[value as usize].stored_by_ms = Some(self.clock.now().ms());
                    Answer::Stored
                }
                Asked::Delete if request.clears => {
                    assert!(text == "OK\r\n" || text == "DELETED\r\n", "{text:?}");
                    Answer::Cleared
                }
                Asked::Delete => match text {
                    "DELETED\r\n" => Answer::Deleted(true),
                    "NOT_FOUND\r\n" => Answer::Deleted(false),
                    other => panic!("a delete was answered with {other:?}"),
                },
                Asked::Get => Answer::Got(self.read(key, text, request)),
            };
            let returned = Some((self.step, answer));
            let operation = Operation { asked, invoked: request.invoked, returned };
            self.history.entry(key).or_default().push(operation);
        }
    }

    /// The value of a key in an answer: whole, and not past its time.
    fn read(&mut self, key: u64, text: &str, request: &Request) -> Option<u64> {
        assert!(text.ends_with("END\r\n") || text.starts_with("VA ") || text == "EN\r\n", "{text:?}");
        let head = format!("VALUE {} 0 ", name(key));
        let rest = match text.find(&head) {
            Some(at) => &text[at + head.len()..],
            None if text.starts_with("VA ") => &text[3..],
            None => {
                self.tally.misses += 1;
                return None;
            }
        };
        let (length, rest) = rest.split_once("\r\n").expect("a line");
        let length: usize = length.trim().parse().expect("a length");
        let (unique, _) = rest.split_once(':').expect("a value of ours");
        let unique: u64 = unique.parse().expect("a value of ours");
        assert_eq!(&rest[..length], self.value(unique), "a torn value");
        let Life { ttl_s, once, stored_by_ms, .. } = self.lives[unique as usize];
        if let (1.., true, Some(by_ms)) = (ttl_s, once, stored_by_ms) {
            let gone_ms = by_ms + ttl_s * 1000;
            assert!(
                request.invoked_ms <= gone_ms,
                "served {} ms past its time",
                request.invoked_ms - gone_ms
            );
        }
        self.tally.hits += 1;
        Some(unique)
    }

    /// The answer will not be waited for: what arrived may have happened, or may yet happen.
    fn give_up(&mut self, client: usize) {
        let Some(request) = self.clients[client].waiting.take() else { return };
        self.tally.unanswered += 1;
        self.forget(&request);
    }

    /// What the request asked for may have happened, or may yet happen.
    fn forget(&mut self, request: &Request) {
        for &(key, asked) in request.parts.iter().filter(|_| request.copies > 0) {
            let operation = Operation { asked, invoked: request.invoked, returned: None };
            self.history.entry(key).or_default().push(operation);
        }
    }

    fn judge(&self) {
        for (key, operations) in &self.history {
            if let Err(operation) = check(operations, self.scene.memory) {
                let mut sorted = operations.clone();
                sorted.sort_unstable_by_key(|operation| operation.invoked);
                panic!("key {key}: nothing explains {operation:?} of {sorted:#?}");
            }
        }
    }
}
