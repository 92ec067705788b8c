//! Workers, shards, rings and policy, connected: everything that threads share, before there are threads.

use crate::config::serve::Config;
use crate::limits::{COMMAND_RING_RECORDS, EVENT_RING_RECORDS, HIT_RING_RECORDS, PARCELS_MAX};
use crate::server::map::Memory;
use crate::server::policy::{self, OwnerEnds};
use crate::worker::Bells;
use crate::worker::hits::Hits;
use crate::worker::parcel::Parcel;
use cache::base::sync::Arc;
use cache::memory::Slab;
use cache::memory::grace::Grace;
use cache::policy::board::Board;
use cache::policy::thread::Round;
use cache::policy::{Counters, PolicyKind};
use cache::ring::{MeshEnd, mesh, ring};
use cache::shard::events::Events;
use cache::shard::owner::OwnerConfig;

/// What one worker is given.
pub(super) struct WorkerParts {
    pub(super) owner: OwnerConfig,
    pub(super) mesh: MeshEnd<Box<Parcel>>,
    pub(super) bells: Bells,
    pub(super) hits: Hits,
}

/// The parts of all workers, and of the policy.
pub(super) struct Wiring {
    /// In the order of the workers.
    pub(super) parts: Vec<WorkerParts>,
    pub(super) round: Round,
    pub(super) policies: Vec<Arc<Counters>>,
    pub(super) board: Arc<Board>,
}

/// Connects `workers` workers over `memory`.
pub(super) fn wire(config: &Config, memory: &Memory, workers: usize) -> Wiring {
    let Memory { shards, pool, .. } = memory;
    let grace = Grace::new(workers);
    let (mut parts, mut owner_ends, mut hit_ends) = (vec![], vec![], vec![]);
    let ends = mesh(workers, PARCELS_MAX).into_iter().zip(Bells::for_workers(workers));
    for (index, (mesh, bells)) in ends.enumerate() {
        let (events, events_end) = ring(EVENT_RING_RECORDS);
        let (commands_end, commands) = ring(COMMAND_RING_RECORDS);
        let (hits, hits_end) = ring(HIT_RING_RECORDS);
        owner_ends.push(OwnerEnds { events: events_end, commands: commands_end, wake: bells.alarm() });
        hit_ends.push(hits_end);
        let owner = OwnerConfig {
            index,
            shards: Arc::clone(shards),
            slab: Slab::new(shards.items().clone(), Arc::clone(pool)),
            member: grace.member(index),
            events: Events::new(events, pool.layout()),
            commands,
            counters: Arc::default(),
            value_bytes_max: config.value_bytes_max,
        };
        let hits = if config.policy == PolicyKind::None { Hits::untold() } else { Hits::new(hits) };
        parts.push(WorkerParts { owner, mesh, bells, hits });
    }
    let (round, policies, board) = policy::round(config, pool, owner_ends, hit_ends);
    Wiring { parts, round, policies, board }
}
