//! The order of commands: what a socket sends takes effect in the order in which it sends it, key by key, within one worker.
//! Once a get overtook the set before it, on an idle server with one worker already.

use crate::support::batch::{frame, get, op, results, set, statuses};
use crate::support::peer::Peer;
use crate::support::stepped::Stepped;
use crate::support::{KINDS, config};
use cache::base::random::Random;
use protocol::batch::{Code, Status};
use protocol::steer::{owner, steer};
use sherwood::server::Server;
use sherwood::worker::Access;
use std::collections::HashMap;

/// A text datagram with this id.
fn text(id: u16, body: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes()[..], &[0, 0, 0, 1, 0, 0], body].concat()
}

/// All that a worker sent, in one datagram each, by their ids.
fn replies(stepped: &Stepped, worker: usize) -> HashMap<u16, Vec<u8>> {
    let datagrams = std::iter::from_fn(|| stepped.receive(worker));
    datagrams.map(|reply| (u16::from_be_bytes([reply[0], reply[1]]), reply[8..].to_vec())).collect()
}

#[test]
fn a_get_sees_the_set_and_the_delete_before_it() {
    for (io, workers) in KINDS {
        let server = Server::start(config(io, workers), &|_| ()).unwrap();
        let mut peer = Peer::new(server.addr());
        for round in 0..300 {
            // Keys of every shard.
            let (key, value) = (format!("k{}", round % 7), format!("{round:06}"));
            peer.send(format!("set {key} 0 0 6 noreply\r\n{value}\r\n").as_bytes());
            let got = peer.ask(format!("get {key}\r\n").as_bytes());
            let want = format!("VALUE {key} 0 6\r\n{value}\r\nEND\r\n");
            assert_eq!(got, want.as_bytes(), "{io:?}, {workers} workers, round {round}");
            peer.send(format!("delete {key} noreply\r\n").as_bytes());
            assert_eq!(
                peer.ask(format!("mg {key} v\r\n").as_bytes()),
                b"EN\r\n",
                "{io:?}, {workers} workers"
            );
        }
        server.stop().unwrap();
    }
}

/// A server that executes one command after the other, as far as [`draw`] draws them.
#[derive(Default)]
struct Model {
    numbers: HashMap<String, u64>,
}

impl Model {
    /// A line of commands, and what it is answered.
    fn draw(&mut self, random: &mut Random) -> (String, String) {
        let key = |random: &mut Random| format!("k{}", random.below(6));
        let (one, number) = (key(random), random.below(1_000_000));
        match random.below(12) {
            0 | 1 => {
                self.numbers.insert(one.clone(), number);
                let text = number.to_string();
                (format!("set {one} 0 0 {} noreply\r\n{text}\r\n", text.len()), String::new())
            }
            2 => {
                self.numbers.insert(one.clone(), number);
                let text = number.to_string();
                (format!("ms {one} {}\r\n{text}\r\n", text.len()), "HD\r\n".into())
            }
            3 => {
                self.numbers.remove(&one);
                (format!("delete {one} noreply\r\n"), String::new())
            }
            4 => match self.numbers.get_mut(&one) {
                Some(number) => {
                    *number += 1;
                    (format!("incr {one} 1\r\n"), format!("{number}\r\n"))
                }
                None => (format!("incr {one} 1\r\n"), "NOT_FOUND\r\n".into()),
            },
            5 => (format!("gat 0 {one}\r\n"), format!("{}END\r\n", self.value(&one))),
            6 => {
                let two = key(random);
                let answer = format!("{}{}END\r\n", self.value(&one), self.value(&two));
                (format!("get {one} {two}\r\n"), answer)
            }
            7 => match self.numbers.get(&one) {
                Some(number) => {
                    (format!("mg {one} v T0\r\n"), format!("VA {}\r\n{number}\r\n", number.to_string().len()))
                }
                None => (format!("mg {one} v T0\r\n"), "EN\r\n".into()),
            },
            8 if random.below(8) == 0 => {
                self.numbers.clear();
                ("flush_all\r\n".into(), "OK\r\n".into())
            }
            8 => {
                // Several in one datagram.
                let (first, second) = (self.draw(random), self.draw(random));
                (first.0 + &second.0, first.1 + &second.1)
            }
            _ => (format!("get {one}\r\n"), format!("{}END\r\n", self.value(&one))),
        }
    }

    fn value(&self, key: &str) -> String {
        let Some(number) = self.numbers.get(key) else { return String::new() };
        format!("VALUE {key} 0 {}\r\n{number}\r\n", number.to_string().len())
    }
}

/// Bursts of everything on few keys, without waiting for an answer: all answers are those of one command after the other.
#[test]
fn a_burst_is_executed_as_it_was_sent() {
    for (io, workers) in KINDS {
        let server = Server::start(config(io, workers), &|_| ()).unwrap();
        let mut peer = Peer::new(server.addr());
        let (mut model, mut random) = (Model::default(), Random::new(7));
        for burst in 0..60 {
            let mut wanted = HashMap::new();
            for _ in 0..50 {
                let (line, answer) = model.draw(&mut random);
                let id = peer.send(line.as_bytes());
                if !answer.is_empty() {
                    wanted.insert(id, (line, answer));
                }
            }
            let got = peer.replies(wanted.len());
            for (id, (line, answer)) in wanted {
                let got = got[&id].escape_ascii().to_string();
                assert_eq!(
                    got,
                    answer.as_bytes().escape_ascii().to_string(),
                    "{io:?} {workers} {burst}: {line}"
                );
            }
        }
        server.stop().unwrap();
    }
}

/// The same without threads: the order of ticks is drawn, so a fault can be repeated.
#[test]
fn a_burst_is_executed_as_it_was_sent_whoever_ticks() {
    let mut held = 0;
    for seed in 0..60 {
        let mut stepped = Stepped::of(1 + seed as usize % 3, Access::default());
        let (mut model, mut random) = (Model::default(), Random::new(seed));
        let (mut wanted, mut got) = (HashMap::new(), HashMap::new());
        for id in 0..400 {
            let (line, answer) = model.draw(&mut random);
            stepped.send(0, &text(id, line.as_bytes()));
            wanted.insert(id, (line, answer));
            while random.below(4) == 0 {
                stepped.tick(random.below(stepped.workers() as u64) as usize);
            }
            got.extend(replies(&stepped, 0));
        }
        while !(0..30).all(|_| {
            stepped.settle();
            stepped
                .receive(0)
                .map(|reply| got.insert(u16::from_be_bytes([reply[0], reply[1]]), reply[8..].to_vec()))
                .is_none()
        }) {}
        for (id, (line, answer)) in wanted {
            let got = got.get(&id).map_or(String::new(), |body| body.escape_ascii().to_string());
            assert_eq!(got, answer.as_bytes().escape_ascii().to_string(), "seed {seed}, {id}: {line}");
        }
        held += stepped.worker(0).counters().held.get();
    }
    assert!(held > 100, "{held} datagrams were held: nothing was tried");
}

/// Frames of one shard keep the order, as text does.
#[test]
fn a_frame_sees_the_frame_before_it() {
    for workers in [1, 2] {
        let mut stepped = Stepped::of(workers, Access::default());
        let keys: Vec<String> =
            (0..100).map(|i| format!("key{i}")).filter(|key| owner(steer(key.as_bytes()), 2) == 1).collect();
        let home = workers - 1;
        for round in 0..20 {
            let value = format!("{round}");
            for key in &keys {
                stepped.send(home, &frame(&[set(key, &value)]));
                stepped.send(home, &frame(&[get(key)]));
            }
            stepped.settle();
            for answer in std::iter::from_fn(|| stepped.receive(home)) {
                let result = &results(&answer[8..])[0];
                assert!(result.status == Status::Done || result.value == value.as_bytes(), "{result:?}");
            }
        }
        let many: Vec<_> = keys.iter().map(|key| op(Code::Delete, key)).collect();
        stepped.send(home, &frame(&many));
        stepped.send(home, &frame(&[get(&keys[0])]));
        stepped.settle();
        let answers: Vec<_> =
            std::iter::from_fn(|| stepped.receive(home)).map(|reply| statuses(&reply[8..])).collect();
        assert!(answers.contains(&vec![Status::Missing]), "{answers:?}");
    }
}

/// What waits for memory holds up what came behind it: of values that replace each other none comes back.
#[test]
fn no_older_value_comes_back_under_memory_pressure() {
    for workers in [1, 2] {
        let mut stepped = Stepped::of(workers, Access::default());
        let (mut random, mut id, mut waited) = (Random::new(5), 0u16, 0);
        let mut last = [0u32; 40];
        for round in 1..3_000u32 {
            let key = random.below(last.len() as u64) as usize;
            let length = [100, 700, 5_000, 30_000][random.below(4) as usize];
            let value = format!("{round:08}{}", "x".repeat(length));
            last[key] = round;
            stepped.send(
                0,
                &text(id, format!("set k{key} 0 0 {} noreply\r\n{value}\r\n", value.len()).as_bytes()),
            );
            // Others fill the memory.
            let filler = "y".repeat(length);
            stepped.send_from(
                0,
                Stepped::client(7),
                &text(id, format!("set f{round} 0 0 {length} noreply\r\n{filler}\r\n").as_bytes()),
            );
            stepped.send(0, &text(id, format!("mg k{key} s v\r\n").as_bytes()));
            if random.below(3) == 0 {
                (0..workers).for_each(|worker| stepped.tick(worker));
            }
            for (port, reply) in std::iter::from_fn(|| stepped.receive_with_port(0)) {
                // The first datagram of a hit says which value it is.
                let is_head = port != 7 && reply[2..4] == [0, 0] && reply[8..].starts_with(b"VA ");
                let asked = u16::from_be_bytes([reply[0], reply[1]]);
                if is_head {
                    let line = reply[8..].iter().position(|&byte| byte == b'\n').unwrap();
                    let number = std::str::from_utf8(&reply[8 + line + 1..][..8]).unwrap();
                    assert_eq!(
                        number.parse::<u32>().unwrap() as u16,
                        asked + 1,
                        "an older value, or a newer one"
                    );
                }
            }
            id = round as u16;
            waited = stepped.worker(0).counters().suspended.get();
        }
        (0..20).for_each(|_| stepped.settle());
        while stepped.receive(0).is_some() {}
        for (key, &round) in last.iter().enumerate().filter(|&(_, &round)| round > 0) {
            stepped.send(0, &text(1, format!("get k{key}\r\n").as_bytes()));
            stepped.settle();
            let datagrams: Vec<_> = std::iter::from_fn(|| stepped.receive(0)).collect();
            let head = datagrams.iter().find(|datagram| datagram[2..4] == [0, 0]).expect("a first datagram");
            let found = head.windows(8).any(|bytes| bytes == format!("{round:08}").as_bytes());
            assert!(found || head[8..] == *b"END\r\n", "{}", head.escape_ascii());
        }
        assert!(workers == 1 || waited > 100, "{waited} datagrams waited");
    }
}

/// A read whose answer needs a larger buffer goes back for it. Those behind it once passed it when its worker took longer than
/// 10 ms, so that the read told of what was sent behind it.
#[test]
fn a_read_that_went_for_room_keeps_its_place_however_long_that_takes() {
    let mut stepped = Stepped::new();
    let key = Stepped::key_of(1, 0);
    let value = "A".repeat(6_000);
    let bodies = [
        format!("set {key} 0 0 {} noreply\r\n{value}\r\n", value.len()),
        format!("gat 0 {key}\r\n"),
        format!("set {key} 0 0 1 noreply\r\nB\r\n"),
    ];
    for (id, body) in bodies.iter().enumerate() {
        stepped.send(0, &text(id as u16, body.as_bytes()));
    }
    stepped.tick(0);
    stepped.tick(0);
    // Its owner finds no room for the answer; then only the owner has a turn, for a long time.
    for _ in 0..10 {
        stepped.tick(1);
        stepped.advance(std::time::Duration::from_millis(5));
    }
    for _ in 0..20 {
        stepped.tick(0);
        stepped.tick(1);
    }
    let mut told = Vec::new();
    while let Some(reply) = stepped.receive(0) {
        assert_eq!(reply[..2], [0, 1], "only the read is answered");
        told.extend_from_slice(&reply[8..]);
    }
    // Its datagrams come in any order; "VALUE" has an A, too.
    let letters = told.iter().filter(|&&byte| byte == b'A').count();
    assert_eq!(letters, value.len() + 1, "{}", told[..told.len().min(60)].escape_ascii());
}
