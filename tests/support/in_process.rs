//! A whole server in one thread: workers on ports of the test's choice, their policy, a clock that the test moves.
//! Wired as `server::spawn` wires threads.

use super::config;
use cache::base::clock::Clock;
use cache::policy::thread::Round;
use cache::policy::{Counters, PolicyKind};
use cache::ring::mesh;
use cache::shard::owner::OwnerParts;
use cache::shard::{Owner, Shards};
use cache::table::Table;
use cache::{Built, Cache, Participant};
use sherwood::config::serve::Io;
use sherwood::limits;
use sherwood::net::Port;
use sherwood::net::sim::{Faults, SimPort, StreamFaults, Wire};
use sherwood::server::policy::cooperative;
use sherwood::session::Wakeups;
use sherwood::session::hits::Hits;
use sherwood::session::profiler::TickProfiler;
use sherwood::stats::counters::OwnerCounters;
use sherwood::worker::{BackgroundTask, StreamSetup, Worker, WorkerConfig};
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
pub struct InProcess {
    pub workers: Vec<Worker<SimPort>>,
    pub wires: Vec<Wire>,
    pub owners: Vec<Arc<OwnerCounters>>,
    /// What the policies publish, of a server that was made with one of choice.
    pub policies: Vec<Arc<Counters>>,
}

impl InProcess {
    /// A server on wires, its policy on the last worker's core, with the first hash seeds that are `wanted`.
    pub fn new(
        seed: u64,
        size: Size,
        faults: Faults,
        clock: &Clock,
        wanted: fn(&Shards) -> bool,
    ) -> InProcess {
        let wires: Vec<_> = (0..size.workers).map(|i| Wire::new(seed << 8 | i as u64, faults)).collect();
        let ports = wires.iter().map(|wire| SimPort::new(wire.clone()).unwrap()).collect();
        let Parts { seats, round, .. } = Parts::new(seed, size, clock, wanted);
        let (workers, owners) = seats.seat(ports, Some(cooperative(round)));
        InProcess { workers, wires, owners, policies: Vec::new() }
    }

    /// The same with connections of choice.
    pub fn with_streams(
        seed: u64,
        size: Size,
        faults: (Faults, StreamFaults),
        setup: StreamSetup,
        clock: &Clock,
        wanted: fn(&Shards) -> bool,
    ) -> InProcess {
        let wire = |i| Wire::with_streams(seed << 8 | i as u64, faults.0, faults.1);
        let wires: Vec<_> = (0..size.workers).map(wire).collect();
        let ports = wires.iter().map(|wire| SimPort::new(wire.clone()).unwrap()).collect();
        let Parts { mut seats, round, .. } = Parts::new(seed, size, clock, wanted);
        seats.streams = setup;
        let (workers, owners) = seats.seat(ports, Some(cooperative(round)));
        InProcess { workers, wires, owners, policies: Vec::new() }
    }

    /// The same with a policy of choice.
    pub fn with_policy(
        seed: u64,
        size: Size,
        faults: Faults,
        clock: &Clock,
        policy: PolicyKind,
    ) -> InProcess {
        let wires: Vec<_> = (0..size.workers).map(|i| Wire::new(seed << 8 | i as u64, faults)).collect();
        let ports = wires.iter().map(|wire| SimPort::new(wire.clone()).unwrap()).collect();
        let Parts { seats, round, policies } = Parts::with_policy(seed, size, clock, |_| true, Some(policy));
        let (workers, owners) = seats.seat(ports, Some(cooperative(round)));
        InProcess { workers, wires, owners, policies }
    }
}

/// A server of which the ports are missing, and who runs the policy.
pub struct Parts {
    pub seats: WorkerSetups,
    pub round: Round,
    pub policies: Vec<Arc<Counters>>,
}

/// What workers are made of, but for their ports.
pub struct WorkerSetups {
    owners: Vec<(OwnerParts, Participant, Hits)>,
    wakeups: Vec<Wakeups>,
    seed: u64,
    clock: Clock,
    pub streams: StreamSetup,
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
        let config = config(Io::Mmsg, size.workers);
        let (count, mean_item_bytes) = (size.workers, size.memory_bytes / size.keys as usize);
        let keys = if size.is_cramped { size.keys.min(4_000) / 8 } else { size.keys };
        let lines = Table::lines_for(keys / count as u64 + 8, limits::LOAD_PERCENT);
        let wakeups = Wakeups::for_workers(count);
        let build = |seed| {
            Cache::builder()
                .shards(count)
                .memory_bytes(size.memory_bytes)
                // As an operator guesses it, where the policy is of the test's choice.
                .mean_item_bytes(if policy.is_some() { mean_item_bytes } else { config.mean_item_bytes })
                .index_lines(lines)
                .value_bytes_max(config.value_bytes_max)
                .seed(seed)
                .namespace_separator(Some(b':'))
                .policy(policy.unwrap_or(config.policy), config.policy_goal)
                // A ring that is often full: what the policy did not hear it is told again, page by page.
                .event_ring_records(if size.is_cramped { 256 } else { limits::EVENT_RING_RECORDS })
                .wakes(wakeups.iter().map(Wakeups::waker).collect())
                .build()
        };
        let drawn = (0..).map(|i| build(seed << 8 | i)).find(|built| wanted(built.cache.shards()));
        let Built { owners, participants, hits, round, policies, .. } = drawn.expect("a seed");
        let owned = owners.into_iter().zip(participants).zip(hits);
        let owners =
            owned.map(|((owner, participant), hits)| (owner, participant, Hits::new(hits))).collect();
        let (clock, streams) = (clock.clone(), StreamSetup::default());
        Parts { seats: WorkerSetups { owners, wakeups, seed, clock, streams }, round, policies }
    }
}

impl WorkerSetups {
    /// The workers, each on its port, the last with `background` on its core.
    pub fn seat<P: Port>(
        self,
        ports: Vec<P>,
        mut background: Option<BackgroundTask>,
    ) -> (Vec<Worker<P>>, Vec<Arc<OwnerCounters>>) {
        let (count, config) = (ports.len(), config(Io::Mmsg, ports.len()));
        let counters = self.owners.iter().map(|(owner, ..)| Arc::clone(owner.counters())).collect();
        let pending_max = limits::PENDING_REQUESTS_MAX;
        let parts =
            self.owners.into_iter().zip(self.wakeups).zip(mesh(count, pending_max)).zip(ports).enumerate();
        let workers = parts.map(|(index, ((((owner, participant, hits), wakeups), mesh), port))| {
            Worker::new(WorkerConfig {
                port,
                owner: Owner::new(owner),
                participant,
                mesh,
                wakeups,
                hits,
                background: if index + 1 == count { background.take() } else { None },
                clock: self.clock.clone(),
                counters: Arc::default(),
                value_bytes_max: config.value_bytes_max,
                access: config.access.clone(),
                poll: config.poll,
                administration: Arc::new(()),
                streams: self.streams.for_another_worker(),
                profiler: TickProfiler::new(
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
