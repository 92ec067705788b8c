//! Memory, policy and index: what is kept, and for whom room is made.

mod budget;
mod chunk_pages;
mod heard;
mod index;

use crate::support::in_process::{InProcess, Size};
use cache::base::clock::Clock;
use cache::policy::PolicyKind;
use sherwood::net::PeerAddr;
use sherwood::net::sim::Faults;
use std::net::SocketAddr;
use std::time::Duration;

/// A whole server in this thread, on a clock that the test moves: what the machine does besides makes no difference.
struct World {
    whole: InProcess,
    clock: Clock,
    peer: PeerAddr,
    last_id: u16,
}

impl World {
    fn new(workers: usize, memory_bytes: usize, keys: u64, policy: PolicyKind) -> World {
        World::seeded(7, workers, memory_bytes, keys, policy)
    }

    fn seeded(seed: u64, workers: usize, memory_bytes: usize, keys: u64, policy: PolicyKind) -> World {
        let clock = Clock::manual(1_000_000_000);
        let size = Size { workers, memory_bytes, keys, is_cramped: false };
        let whole = InProcess::with_policy(seed, size, Faults::default(), &clock, policy);
        let peer = PeerAddr::from("127.0.0.1:4000".parse::<SocketAddr>().unwrap());
        World { whole, clock, peer, last_id: 0 }
    }

    /// Lets every worker have a turn, and time pass for the policy to have one.
    fn tick(&mut self) {
        self.clock.advance(Duration::from_micros(300));
        self.whole.workers.iter_mut().for_each(|worker| _ = worker.tick().unwrap());
    }

    /// Sends datagrams to a worker, all before it has a turn, and gives the bodies of the replies to them.
    fn ask_all(&mut self, worker: usize, datagrams: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let first = self.last_id.wrapping_add(1);
        for body in datagrams {
            self.last_id = self.last_id.wrapping_add(1);
            let mut datagram = body.clone();
            datagram[..2].copy_from_slice(&self.last_id.to_be_bytes());
            self.whole.wires[worker].send(self.peer, &datagram);
        }
        let mut replies: Vec<Vec<Option<Vec<u8>>>> = vec![Vec::new(); datagrams.len()];
        for _ in 0..10_000 {
            self.tick();
            while let Some((_, reply)) = self.whole.wires[worker].receive() {
                let field = |at: usize| u16::from_be_bytes([reply[at], reply[at + 1]]);
                let parts = &mut replies[field(0).wrapping_sub(first) as usize];
                parts.resize(field(4) as usize, None);
                parts[field(2) as usize] = Some(reply[8..].to_vec());
            }
            if replies.iter().all(|parts| !parts.is_empty() && parts.iter().all(Option::is_some)) {
                return replies
                    .into_iter()
                    .map(|parts| parts.into_iter().flatten().flatten().collect())
                    .collect();
            }
        }
        panic!("no answer from worker {worker}");
    }

    /// Sends one datagram with commands in text.
    fn ask(&mut self, worker: usize, body: &[u8]) -> Vec<u8> {
        self.ask_all(worker, &[framed(body)]).pop().unwrap()
    }

    fn set(&mut self, key: &str, value: &[u8]) {
        assert_eq!(self.ask(0, &set(key, value)), b"STORED\r\n", "{key}");
    }

    /// A figure of all workers.
    fn worker(&self, name: &str) -> u64 {
        let figure = |list: Vec<(&str, &str, &sherwood::stats::counters::Counter)>| {
            list.iter().find(|(found, ..)| *found == name).expect("a counter").2.get()
        };
        self.whole.workers.iter().map(|worker| figure(worker.counters().list())).sum()
    }

    /// A figure of all owners.
    fn owner(&self, name: &str) -> u64 {
        let lists = self.whole.owners.iter().map(|owner| owner.list());
        lists.map(|list| list.iter().find(|(found, ..)| *found == name).expect("a counter").2.get()).sum()
    }
}

/// A body in a frame whose request id is still to be set.
fn framed(body: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 0, 0, 1, 0, 0], body].concat()
}

fn set(key: &str, value: &[u8]) -> Vec<u8> {
    [format!("set {key} 0 0 {}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}
