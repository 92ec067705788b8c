//! A whole server in one thread: workers on wires in memory, their policy on the last one's core, a clock that the test
//! moves. Wired as `server::spawn` wires threads.

use crate::support::config;
use sherwood::clock::Clock;
use sherwood::config::limits;
use sherwood::config::serve::Io;
use sherwood::hash::KeyHash;
use sherwood::io::sim::{Faults, SimPort, Wire};
use sherwood::memory::grace::Grace;
use sherwood::memory::{Items, Layout, Slab};
use sherwood::ring::{Doorbell, mesh, ring};
use sherwood::server::policy::{OwnerEnds, cooperative, round};
use sherwood::shard::events::Events;
use sherwood::shard::owner::OwnerConfig;
use sherwood::shard::{Owner, Shards};
use sherwood::stats::counters::OwnerCounters;
use sherwood::table::Table;
use sherwood::worker::hits::Hits;
use sherwood::worker::watch::Watch;
use sherwood::worker::{Worker, WorkerConfig};
use std::sync::Arc;

/// How large it is.
#[derive(Clone, Copy)]
pub struct Size {
    pub workers: usize,
    pub memory_bytes: usize,
    /// Keys that it should have room for in its indexes.
    pub keys: u64,
    /// Indexes that are too small all the same, so that inserts and deletes move keys, and that grow.
    pub is_cramped: bool,
}

/// The server, and the ends of its wires.
pub struct Whole {
    pub workers: Vec<Worker<SimPort>>,
    pub wires: Vec<Wire>,
    pub owners: Vec<Arc<OwnerCounters>>,
}

impl Whole {
    /// A server with the first hash seeds that are `wanted`.
    pub fn new(seed: u64, size: Size, faults: Faults, clock: &Clock, wanted: fn(&Shards) -> bool) -> Whole {
        let mut config = config(Io::Mmsg, size.workers);
        (config.seed, config.clock, config.memory_bytes) = (seed, clock.clone(), size.memory_bytes);
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
        let doorbells: Vec<_> = (0..count).map(|_| Doorbell::new()).collect();
        let (mut ends, mut hit_ends, mut seats) = (Vec::new(), Vec::new(), Vec::new());
        for (index, doorbell) in doorbells.iter().enumerate() {
            let (events, events_end) = ring(limits::EVENT_RING_RECORDS);
            let (commands_end, commands) = ring(limits::COMMAND_RING_RECORDS);
            let (hits, hit_end) = ring(limits::HIT_RING_RECORDS);
            let doorbell = Arc::clone(doorbell);
            ends.push(OwnerEnds { events: events_end, commands: commands_end, doorbell });
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
            seats.push((owner, Hits::new(hits)));
        }
        let (policy, ..) = round(&config, &pool, ends, hit_ends);
        let mut aside = Some(cooperative(policy));
        let wires: Vec<_> = (0..count).map(|i| Wire::new(seed << 8 | i as u64, faults)).collect();
        let owners = seats.iter().map(|(owner, _)| Arc::clone(&owner.counters)).collect();
        let parcels = limits::SMALL_PARCELS + limits::LARGE_PARCELS;
        let parts = seats.into_iter().zip(mesh(count, parcels)).zip(&wires).enumerate();
        let workers = parts.map(|(index, (((owner, hits), mesh), wire))| {
            let owner = Owner::new(owner);
            Worker::new(WorkerConfig {
                port: SimPort::new(wire.clone()).unwrap(),
                owner,
                mesh,
                doorbells: doorbells.clone(),
                hits,
                aside: if index + 1 == count { aside.take() } else { None },
                clock: clock.clone(),
                counters: Arc::default(),
                value_bytes_max: config.value_bytes_max,
                access: config.access.clone(),
                poll: config.poll,
                teller: Arc::new(|_, _| None),
                watch: Watch::new(
                    Arc::default(),
                    clock.clone(),
                    config.watch_one_in,
                    seed << 8 | index as u64,
                ),
            })
        });
        Whole { workers: workers.collect(), wires, owners }
    }
}
