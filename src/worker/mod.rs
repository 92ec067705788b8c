//! A worker: one thread, one core, one socket, one shard.
//!
//! ```text
//! tick   1 owner      free memory, execute the policy's commands, send again what it did not hear
//!        2 inbound    commands of other workers, answers to ours, datagrams that waited for memory
//!        3 datagrams  plain reads of all of them in one table batch; the rest one after the other
//!        4 poll       all replies out, the next datagrams in: one entry into the kernel
//! ```
//! Each step is bounded. A worker alone sees io, protocol and shard; it waits for nobody but the kernel.

pub mod batch;
mod datagrams;
pub mod footprint;
mod for_all;
pub mod forward;
pub mod hits;
mod hold;
mod operations;
mod order;
pub mod pending;
mod permit;
pub mod position;
pub mod profiler;
mod reads;
mod refuse;
pub mod serial;
mod stalled;
pub mod wakeups;
mod work;

pub use crate::guard::Access;
pub use wakeups::Wakeups;

use crate::guard::Guard;
use crate::limits::{IDLE_WAIT_MS, LARGE_REQUEST_KEYS, PENDING_REQUESTS_MAX};
use crate::net::{Inbox, Outbox, PollTimeout, Port, Traffic};
use crate::session::SettledRead;
use crate::stats::counters::WorkerCounters;
use cache::base::clock::{Clock, Now};
use cache::base::sync::{Arc, AtomicBool, Ordering};
use cache::ring::MeshEnd;
use cache::shard::{Owner, Shards, View};
use cache::{Participant, Pin};
use datagrams::Unserved;
use footprint::Footprint;
use hits::Hits;
use order::Order;
use pending::{PendingRequest, RequestPool};
use profiler::TickProfiler;
use protocol::steer;
use stalled::Stalled;
use std::time::Duration;
use work::Work;

/// How a worker waits for datagrams.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Poll {
    /// Never sleeps.
    Busy,
    /// Spins for 50 µs, then sleeps.
    #[default]
    Adaptive,
    /// Sleeps at once.
    Block,
}

/// Tells what `stats` prints, for the word behind it; `None` for an unknown word. It is asked within a tick, so it may
/// look at items that it finds in the shards.
pub type StatsProvider = Arc<dyn Fn(&[u8], View<'_>) -> Option<Vec<u8>> + Send + Sync>;

/// Work that runs on the worker's core between ticks: the policy, where it has no core of its own. It says how long it may be
/// left alone while nothing happens.
pub type BackgroundTask = Box<dyn FnMut(Now) -> Duration + Send>;

/// What a worker is made of.
pub struct WorkerConfig<P> {
    /// Its way to the network.
    pub port: P,
    /// Its shard.
    pub owner: Owner,
    /// Its part in reading all shards.
    pub participant: Participant,
    /// Its ends of the mesh; its index is the worker's.
    pub mesh: MeshEnd<Box<PendingRequest>>,
    /// How it wakes the others.
    pub wakeups: Wakeups,
    /// To the policy.
    pub hits: Hits,
    /// What else runs on its core.
    pub background: Option<BackgroundTask>,
    /// Where time comes from.
    pub clock: Clock,
    /// What it counts.
    pub counters: Arc<WorkerCounters>,
    /// How it measures itself.
    pub profiler: TickProfiler,
    /// Largest value, in bytes.
    pub value_bytes_max: usize,
    /// Who may ask for what.
    pub access: Access,
    /// How it waits.
    pub poll: Poll,
    /// What `stats` prints.
    pub stats_provider: StatsProvider,
}

/// A worker.
pub struct Worker<P> {
    port: P,
    inbox: Inbox,
    /// What of the inbox is left for the next tick.
    unserved: Unserved,
    outbox: Outbox,
    core: Core,
    background: Option<BackgroundTask>,
    clock: Clock,
    poll: Poll,
    idle_since_ns: Option<u64>,
}

/// What a worker has beside its network: everything that commands need.
pub(crate) struct Core {
    pub(crate) owner: Owner,
    /// Awake but while the worker sleeps.
    pub(crate) pin: Pin,
    pub(crate) shards: Arc<Shards>,
    pub(crate) mesh: MeshEnd<Box<PendingRequest>>,
    pub(crate) wakeups: Wakeups,
    pub(crate) pool: RequestPool,
    pub(crate) hits: Hits,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) profiler: TickProfiler,
    pub(crate) value_bytes_max: usize,
    pub(crate) stats_provider: StatsProvider,
    /// What strangers may do.
    guard: Guard,
    /// Which keys of which clients are under way.
    order: Order,
    /// Commands of others that wait for our memory.
    stalled: Stalled,
    /// What is left of the work that may be done at a stretch.
    work: Work,
    /// What the datagram touches that is about to be served.
    traced: Footprint,
    /// Whether something was finished since held requests were looked at.
    has_finished: bool,
}

impl Core {
    /// The shard that owns a key.
    #[inline]
    pub(crate) fn owner_of(&self, key: &[u8]) -> usize {
        steer::owner_of(key, self.shards.count())
    }

    fn count_traffic(&self, traffic: Traffic) {
        if traffic == Traffic::default() {
            return;
        }
        let counters = &self.counters;
        counters.datagrams_sent.add(traffic.datagrams_sent);
        counters.bytes_written.add(traffic.bytes_written);
        counters.sends.add(traffic.sends);
        counters.send_failures.add(traffic.send_failures);
        counters.gso_fallbacks.add(traffic.gso_fallbacks);
        counters.receive_drops.add(traffic.receive_drops);
        counters.receive_buffers_empty.add(traffic.receive_buffers_empty);
        counters.refused_groups.add(traffic.refused_groups);
    }

    /// Counts the read of a command that the owner has executed, if it was one, and tells the policy of it, as of any other
    /// read.
    fn note_settled_read(&mut self, read: Option<SettledRead>, now: Now) {
        let Some(read) = read else { return };
        self.counters.cmd_get.add(1);
        let SettledRead::Hit { item, hash, leaves_trace } = read else {
            return self.counters.get_misses.add(1);
        };
        self.counters.get_hits.add(1);
        if leaves_trace {
            let told = self.hits.note(item, hash, &self.counters);
            self.owner.note_access(item, hash, now, told);
        }
    }
}

impl<P: Port> Worker<P> {
    /// A worker that has not ticked yet.
    pub fn new(mut config: WorkerConfig<P>) -> Worker<P> {
        let workers = config.mesh.workers();
        config.wakeups.connect(config.port.waker());
        Worker {
            outbox: config.port.outbox(),
            port: config.port,
            inbox: Inbox::default(),
            unserved: Unserved::new(),
            core: Core {
                shards: Arc::clone(config.owner.shards()),
                owner: config.owner,
                pin: config.participant.pin(),
                pool: RequestPool::for_workers(workers),
                mesh: config.mesh,
                wakeups: config.wakeups,
                hits: config.hits,
                counters: config.counters,
                profiler: config.profiler,
                value_bytes_max: config.value_bytes_max,
                stats_provider: config.stats_provider,
                guard: Guard::new(config.access, config.clock.now()),
                order: Order::new(),
                // Any number of them may be here at a time.
                stalled: Stalled::new((workers - 1) * PENDING_REQUESTS_MAX),
                work: Work::default(),
                traced: Footprint::with_capacity(LARGE_REQUEST_KEYS),
                has_finished: false,
            },
            background: config.background,
            clock: config.clock,
            poll: config.poll,
            idle_since_ns: None,
        }
    }

    /// One tick; says whether it did anything.
    ///
    /// # Errors
    /// The kernel refused the socket or the ring; the worker cannot go on.
    pub fn tick(&mut self) -> std::io::Result<bool> {
        let now = self.clock.now();
        self.core.profiler.begin_tick(now);
        let Core { owner, pin, profiler, .. } = &mut self.core;
        pin.quiescent();
        let has_more = owner.tick(pin, now, |stage| profiler.owner_stage(stage));
        let busy = self.poll_inbound(now)? | self.serve_datagrams(now);
        self.core.counters.ticks.add((busy || has_more) as u64);
        let mut rest = Duration::MAX;
        if let Some(background) = &mut self.background {
            self.core.profiler.mark();
            rest = background(now);
            self.core.profiler.policy_done();
        }
        let timeout = self.poll_timeout(busy || has_more, rest, now);
        self.core.profiler.work_done(busy || has_more, self.inbox.datagrams().len());
        self.poll_port(timeout)?;
        self.core.profiler.polled();
        Ok(busy)
    }

    /// Ticks until `stop`; then answers what has come in already.
    ///
    /// # Errors
    /// As [`Worker::tick`].
    pub fn run(mut self, stop: &AtomicBool) -> std::io::Result<()> {
        // Acquire: pairs with the Release store of whoever stops the server.
        while !stop.load(Ordering::Acquire) {
            self.tick()?;
        }
        // Drain: what was received and suspended is answered, what is still on the wire is lost, as UDP may.
        for _ in 0..Self::DRAIN_TICKS_MAX {
            if !self.tick()? {
                break;
            }
        }
        Ok(())
    }

    const DRAIN_TICKS_MAX: usize = 64;
    const SPIN_NS: u64 = 50_000;

    fn poll_timeout(&mut self, busy: bool, rest: Duration, now: Now) -> PollTimeout {
        if busy || !self.outbox.is_empty() || self.core.has_stalled() {
            self.idle_since_ns = None;
            return PollTimeout::None;
        }
        let since_ns = *self.idle_since_ns.get_or_insert(now.ns);
        match self.poll {
            Poll::Busy => PollTimeout::None,
            Poll::Adaptive if now.ns - since_ns < Self::SPIN_NS => PollTimeout::None,
            Poll::Adaptive | Poll::Block => PollTimeout::Until(rest.min(Duration::from_millis(IDLE_WAIT_MS))),
        }
    }

    /// Sends the outbox and fills the inbox; a worker that blocks says so to all who may need it.
    fn poll_port(&mut self, timeout: PollTimeout) -> std::io::Result<()> {
        self.core.wakeups.wake_due(&mut self.port, &self.core.counters)?;
        if self.unserved.is_pending() {
            // The inbox keeps its datagrams.
            return self.flush();
        }
        let Worker { port, outbox, inbox, core, .. } = self;
        let Core { pin, wakeups, mesh, owner, .. } = core;
        let polled = match timeout {
            PollTimeout::None => port.poll(outbox, inbox, timeout),
            PollTimeout::Until(_) => pin.asleep(|| {
                wakeups.will_sleep();
                // Requests and commands that came before the flag was set have woken nobody.
                let has_inbound = mesh.has_inbound() || owner.has_commands();
                let polled = port.poll(outbox, inbox, if has_inbound { PollTimeout::None } else { timeout });
                wakeups.awake();
                polled
            }),
        };
        core.count_traffic(polled?);
        Ok(())
    }

    /// Makes room for replies in the middle of a tick. The inbox keeps its datagrams.
    fn flush(&mut self) -> std::io::Result<()> {
        let traffic = self.port.flush(&mut self.outbox)?;
        self.core.count_traffic(traffic);
        Ok(())
    }

    /// What it counts.
    pub fn counters(&self) -> &Arc<WorkerCounters> {
        &self.core.counters
    }

    /// Its shard.
    pub fn owner(&self) -> &Owner {
        &self.core.owner
    }
}
