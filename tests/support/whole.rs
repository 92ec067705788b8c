//! A whole server in one thread: workers on ports of the test's choice, their policy, a clock that the test moves.
//! Wired as `server::spawn` wires threads.

use super::config;
use cache::base::clock::Clock;
use cache::base::hash::KeyHash;
use cache::memory::grace::Grace;
use cache::memory::{Items, Layout, Slab};
use cache::policy::thread::Round;
use cache::policy::{Counters, PolicyKind};
use cache::ring::{mesh, ring};
use cache::shard::events::Events;
use cache::shard::owner::OwnerConfig;
use cache::shard::{Owner, Shards};
use cache::table::Table;
use sherwood::config::serve::Io;
use sherwood::io::Port;
use sherwood::io::sim::{Faults, SimPort, Wire};
use sherwood::limits;
use sherwood::server::policy::{OwnerEnds, cooperative, round};
use sherwood::stats::counters::OwnerCounters;
use sherwood::worker::hits::Hits;
use sherwood::worker::watch::Watch;
use sherwood::worker::{Aside, Bells, Worker, WorkerConfig};
use std::sync::Arc;

/// How large it is.
#[derive(Clone, Copy)]
pub struct Size {
    pub workers: usize,
    pub memory_bytes: usize,
    /// Keys that it should have room for in its indexes.
    pub keys: u64,
    /// Indexes that are too small all the same, so that inserts and deletes move keys, and that grow; small rings.
    pub is_cramped: bool,
}

/// The server, and the ends of its wires.
pub struct Whole {
    pub workers: Vec<Worker<SimPort>>,
    pub wires: Vec<Wire>,
    pub owners: Vec<Arc<OwnerCounters>>,
    /// What the policies publish, of a server that was made with one of choice.
    pub policies: Vec<Arc<Counters>>,
}

impl Whole {
    /// A server on wires, its policy on the last worker's core, with the first hash seeds that are `wanted`.
    pub fn new(seed: u64, size: Size, faults: Faults, clock: &Clock, wanted: fn(&Shards) -> bool) -> Whole {
        let wires: Vec<_> = (0..size.workers).map(|i| Wire::new(seed << 8 | i as u64, faults)).collect();
        let ports = wires.iter().map(|wire| SimPort::new(wire.clone()).unwrap()).collect();
        let Parts { seats, round, .. } = Parts::new(seed, size, clock, wanted);
        let (workers, owners) = seats.seat(ports, Some(cooperative(round)));
        Whole { workers, wires, owners, policies: Vec::new() }
    }

    /// The same with a policy of choice.
    pub fn with_policy(seed: u64, size: Size, faults: Faults, clock: &Clock, policy: PolicyKind) -> Whole {
        let wires: Vec<_> = (0..size.workers).map(|i| Wire::new(seed << 8 | i as u64, faults)).collect();
        let ports = wires.iter().map(|wire| SimPort::new(wire.clone()).unwrap()).collect();
        let Parts { seats, round, policies } = Parts::with_policy(seed, size, clock, |_| true, Some(policy));
        let (workers, owners) = seats.seat(ports, Some(cooperative(round)));
        Whole { workers, wires, owners, policies }
    }
}

/// A server of which the ports are missing, and who runs the policy.
pub struct Parts {
    pub seats: Seats,
    pub round: Round,
    pub policies: Vec<Arc<Counters>>,
}

/// What workers are made of, but for their ports.
pub struct Seats {
    owners: Vec<(OwnerConfig, Hits)>,
    bells: Vec<Bells>,
    seed: u64,
    clock: Clock,
}

impl Parts {
    /// A server with the first hash seeds that are `wanted`.
    pub fn new(seed: u64, size: Size, clock: &Clock, wanted: fn(&Shards) -> bool) -> Parts {
        Parts::with_policy(seed, size, clock, wanted, None)
    }

    /// The same with another policy than the one that servers have.
    pub fn with_policy(
        seed: u64,
        size: Size,
        clock: &Clock,
        wanted: fn(&Shards) -> bool,
        policy: Option<PolicyKind>,
    ) -> Parts {
        let mut config = config(Io::Mmsg, size.workers);
        (config.seed, config.clock, config.memory_bytes) = (seed, clock.clone(), size.memory_bytes);
        if let Some(policy) = policy {
            // As an operator guesses it.
            (config.policy, config.mean_item_bytes) = (policy, size.memory_bytes / size.keys as usize);
        }
        let count = size.workers;
        let layout = Layout::of(size.memory_bytes, count);
        let keys = if size.is_cramped { size.keys.min(4_000) / 8 } else { size.keys };
        let lines = Table::lines_for(keys / count as u64 + 8, limits::LOAD_PERCENT);
        let items = Items::on_heap(layout.pages * layout.page_bytes);
        let shards =
            |seed| Shards::lay_out(items.clone(), layout, (count, lines), KeyHash::new(seed), Some(b':'));
        let drawn = (0..).map(|i| shards(seed << 8 | i)).find(|(shards, _)| wanted(shards));
        let (shards, pool) = drawn.expect("a seed");
        let items = shards.items().clone();
        let grace = Grace::new(count);
        let bells = Bells::for_workers(count);
        let (mut ends, mut hit_ends, mut owners) = (Vec::new(), Vec::new(), Vec::new());
        for (index, bell) in bells.iter().enumerate() {
            // A ring that is often full: what the policy did not hear it is told again, page by page.
            let records = if size.is_cramped { 256 } else { limits::EVENT_RING_RECORDS };
            let (events, events_end) = ring(records);
            let (commands_end, commands) = ring(limits::COMMAND_RING_RECORDS);
            let (hits, hit_end) = ring(limits::HIT_RING_RECORDS);
            let wake = bell.alarm();
            ends.push(OwnerEnds { events: events_end, commands: commands_end, wake });
            hit_ends.push(hit_end);
            let owner = OwnerConfig {
                index,
                shards: Arc::clone(&shards),
                slab: Slab::new(items.clone(), Arc::clone(&pool)),
                member: grace.member(index),
                events: Events::new(events, layout),
                commands,
                counters: Arc::default(),
                value_bytes_max: config.value_bytes_max,
            };
            owners.push((owner, Hits::new(hits)));
        }
        let (round, policies, _) = round(&config, &pool, ends, hit_ends);
        Parts { seats: Seats { owners, bells, seed, clock: clock.clone() }, round, policies }
    }
}

impl Seats {
    /// The workers, each on its port, the last with `aside` on its core.
    pub fn seat<P: Port>(
        self,
        ports: Vec<P>,
        mut aside: Option<Aside>,
    ) -> (Vec<Worker<P>>, Vec<Arc<OwnerCounters>>) {
        let (count, config) = (ports.len(), config(Io::Mmsg, ports.len()));
        let counters = self.owners.iter().map(|(owner, _)| Arc::clone(&owner.counters)).collect();
        let parcels = limits::PARCELS_MAX;
        let parts = self.owners.into_iter().zip(self.bells).zip(mesh(count, parcels)).zip(ports).enumerate();
        let workers = parts.map(|(index, ((((owner, hits), bells), mesh), port))| {
            Worker::new(WorkerConfig {
                port,
                owner: Owner::new(owner),
                mesh,
                bells,
                hits,
                aside: if index + 1 == count { aside.take() } else { None },
                clock: self.clock.clone(),
                counters: Arc::default(),
                value_bytes_max: config.value_bytes_max,
                access: config.access.clone(),
                poll: config.poll,
                teller: Arc::new(|_, _| None),
                watch: Watch::new(
                    Arc::default(),
                    self.clock.clone(),
                    config.watch_one_in,
                    self.seed << 8 | index as u64,
                ),
            })
        });
        (workers.collect(), counters)
    }
}
