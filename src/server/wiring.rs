//! The cache that a configuration asks for, and what each worker is given of it, before there are threads.

use crate::config::serve::Config;
use crate::limits::PENDING_REQUESTS_MAX;
use crate::session::Wakeups;
use crate::session::forward::pending::PendingRequest;
use crate::session::hits::Hits;
use cache::base::sync::Arc;
use cache::memory::{Items, PagePool};
use cache::policy::hot_key_snapshot::HotKeySnapshot;
use cache::policy::thread::Round;
use cache::policy::{Counters, PolicyKind};
use cache::ring::{Hit, MeshEnd, Producer, mesh};
use cache::shard::owner::OwnerParts;
use cache::{Built, Cache, Participant};

/// What one worker is given.
pub(super) struct WorkerParts {
    pub(super) owner: OwnerParts,
    pub(super) participant: Participant,
    pub(super) mesh: MeshEnd<Box<PendingRequest>>,
    pub(super) wakeups: Wakeups,
    pub(super) hits: Hits,
}

/// The parts of all workers, and of the policy.
pub(super) struct Wiring {
    /// In the order of the workers.
    pub(super) parts: Vec<WorkerParts>,
    pub(super) round: Round,
    pub(super) policies: Vec<Arc<Counters>>,
    pub(super) hot_keys: Arc<HotKeySnapshot>,
    pub(super) pool: Arc<PagePool>,
}

/// Connects `workers` workers over `items`.
pub(super) fn wire(config: &Config, items: Items, workers: usize) -> Wiring {
    let wakeups = Wakeups::for_workers(workers);
    let Built { cache, owners, participants, hits, round, policies, hot_keys } =
        build_cache(config, items, &wakeups);
    let ends = mesh(workers, PENDING_REQUESTS_MAX).into_iter().zip(wakeups);
    let owners = owners.into_iter().zip(participants).zip(hits);
    let parts = owners.zip(ends).map(|(((owner, participant), hits), (mesh, wakeups))| WorkerParts {
        owner,
        participant,
        mesh,
        wakeups,
        hits: hits_of(config, hits),
    });
    Wiring { parts: parts.collect(), round, policies, hot_keys, pool: Arc::clone(cache.pool()) }
}

/// The policy wakes owners through their workers.
fn build_cache(config: &Config, items: Items, wakeups: &[Wakeups]) -> Built {
    Cache::builder()
        .shards(wakeups.len())
        .memory(items)
        .mean_item_bytes(config.mean_item_bytes)
        .value_bytes_max(config.value_bytes_max)
        .seed(config.seed)
        .namespace_separator(config.namespace_separator)
        .policy(config.policy, config.policy_goal)
        .evicts(!config.no_eviction)
        .wakes(wakeups.iter().map(Wakeups::waker).collect())
        .build()
}

/// Without a policy nobody wants to know of reads.
fn hits_of(config: &Config, ring: Producer<Hit>) -> Hits {
    if config.policy == PolicyKind::None { Hits::untold() } else { Hits::new(ring) }
}
