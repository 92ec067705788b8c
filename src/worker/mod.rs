//! A worker: one thread, one session, one socket, one shard.
//!
//! ```text
//! tick   1 owner      free memory, execute the policy's commands, send again what it did not hear
//!        2 inbound    commands of other workers, answers to ours, datagrams that waited for memory
//!        3 requests   plain reads of all datagrams and connections in one table batch; the rest one after the other
//!        4 poll       all replies out, the next datagrams in: one entry into the kernel
//! ```
//! Each step is bounded. A worker alone sees port and session together; it waits for nobody but the kernel.

mod conversations;
mod crowd;
mod datagrams;
mod ending;
mod idle;
mod inbound;
mod kept;
mod long;
mod newcomers;
mod streams;
mod unsent;
mod values;

pub use crate::guard::Access;

use crate::guard::Guard;
use crate::limits::{DRAIN_MS, IDLE_WAIT_MS, STREAM_UNSENT_BYTES_MAX, VALUE_IDLE_S};
use crate::net::stream::{Demand, Handover, Quota, Roster};
use crate::net::{Inbox, Outbox, PollTimeout, Port, Traffic};
use crate::session::forward::pending::PendingRequest;
use crate::session::hits::Hits;
use crate::session::profiler::TickProfiler;
use crate::session::serial::{Administration, Executor, ExecutorParts};
use crate::session::stream::Conversation;
use crate::session::{Session, Wakeups};
use crate::stats::counters::WorkerCounters;
use cache::Participant;
use cache::base::clock::{Clock, Now};
use cache::base::sync::{Arc, AtomicBool, Ordering};
use cache::ring::MeshEnd;
use cache::shard::Owner;
use conversations::Conversations;
use datagrams::Unserved;
use std::time::Duration;

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

/// Work that runs on the worker's session between ticks: the policy, where it has no session of its own. It says how long it may be
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
    /// What else runs on its session.
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
    /// What administrators ask of the server.
    pub administration: Arc<dyn Administration>,
    /// About connections.
    pub streams: StreamSetup,
}

/// What workers are told of connections.
#[derive(Clone, Debug)]
pub struct StreamSetup {
    /// How many the server may have.
    pub quota: Arc<Quota>,
    /// How long one may be idle before it is closed, in s; 0 = for ever.
    pub idle_timeout_s: u64,
    /// Bytes of replies that peers have not taken, of a worker, before others get small replies only.
    pub unsent_bytes_max: usize,
    /// How long the end waits for peers to take what they were sent, in ms.
    pub drain_ms: u64,
    /// Those that another thread accepts for this worker.
    pub handover: Handover,
    /// Where they are listed.
    pub roster: Arc<Roster>,
    /// Those that wait for room for a long value, on all workers.
    pub demand: Demand,
}

impl StreamSetup {
    /// Whether a connection has been idle for too long. One that owes the rest of a value holds memory meanwhile.
    fn is_idle(&self, conversation: &Conversation, now: Now) -> bool {
        let idle_s = now.s().saturating_sub(conversation.active_s);
        let is_idle = self.idle_timeout_s > 0 && idle_s > self.idle_timeout_s;
        !conversation.waits_for_server() && (is_idle || idle_s > VALUE_IDLE_S && conversation.owes_value())
    }

    /// The same for another worker: connections that are handed over are its own.
    pub fn for_another_worker(&self) -> StreamSetup {
        StreamSetup { handover: Handover::default(), roster: Arc::default(), ..self.clone() }
    }
}

/// The quota of a server without a limit of its own.
impl Default for StreamSetup {
    fn default() -> StreamSetup {
        StreamSetup {
            quota: Arc::new(Quota::new(usize::MAX >> 1)),
            idle_timeout_s: 0,
            unsent_bytes_max: STREAM_UNSENT_BYTES_MAX,
            drain_ms: DRAIN_MS,
            handover: Default::default(),
            roster: Arc::default(),
            demand: Demand::default(),
        }
    }
}

/// A worker.
pub struct Worker<P> {
    port: P,
    inbox: Inbox,
    /// What of the inbox is left for the next tick.
    unserved: Unserved,
    outbox: Outbox,
    streams: Conversations,
    session: Session,
    background: Option<BackgroundTask>,
    clock: Clock,
    poll: Poll,
    idle_since_ns: Option<u64>,
}

impl<P: Port> Worker<P> {
    /// A worker that has not ticked yet.
    pub fn new(mut config: WorkerConfig<P>) -> Worker<P> {
        config.wakeups.connect(config.port.waker());
        let executor = Executor::new(ExecutorParts {
            owner: config.owner,
            pin: config.participant.pin(),
            hits: config.hits,
            counters: config.counters,
            profiler: config.profiler,
            value_bytes_max: config.value_bytes_max,
            administration: config.administration,
            guard: Guard::new(config.access, config.clock.now()),
        });
        Worker {
            outbox: config.port.outbox(),
            port: config.port,
            inbox: Inbox::default(),
            unserved: Unserved::new(),
            streams: Conversations::new(config.streams, config.value_bytes_max),
            session: Session::new(executor, config.mesh, config.wakeups),
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
        let has_more = self.session.executor_mut().begin_tick(now);
        let busy = self.poll_inbound(now)? | self.serve(now)?;
        self.counters().ticks.add((busy || has_more) as u64);
        let mut rest = Duration::MAX;
        if let Some(background) = &mut self.background {
            self.session.executor_mut().profiler().mark();
            rest = background(now);
            self.session.executor_mut().profiler().policy_done();
        }
        let timeout = self.poll_timeout(busy || has_more, rest, now);
        let datagrams = self.inbox.datagrams().len();
        self.session.executor_mut().profiler().work_done(busy || has_more, datagrams);
        self.poll_port(timeout)?;
        self.session.executor_mut().profiler().polled();
        Ok(busy)
    }

    /// Ticks until `stop`; then answers what has come in already, and sends it as long as peers take it, for a limited time.
    ///
    /// # Errors
    /// As [`Worker::tick`].
    pub fn run(mut self, stop: &AtomicBool) -> std::io::Result<()> {
        // Acquire: pairs with the Release store of whoever stops the server.
        while !stop.load(Ordering::Acquire) {
            self.tick()?;
        }
        self.drain()
    }

    const SPIN_NS: u64 = 50_000;

    fn poll_timeout(&mut self, busy: bool, rest: Duration, now: Now) -> PollTimeout {
        let rest = rest.min(self.streams.rest(now));
        if busy || !self.outbox.is_empty() || self.session.has_stalled() || self.streams.has_work() {
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
        let Worker { port, outbox, inbox, session, .. } = self;
        session.wake_due(port)?;
        if self.unserved.is_pending() {
            // The inbox keeps its datagrams.
            return self.flush();
        }
        let polled = match timeout {
            PollTimeout::None => port.poll(outbox, inbox, timeout),
            PollTimeout::Until(_) => session.asleep(|has_inbound| {
                // What came before the sleep flag was set has woken nobody.
                port.poll(outbox, inbox, if has_inbound { PollTimeout::None } else { timeout })
            }),
        };
        count_traffic(session.executor().counters(), polled?);
        Ok(())
    }

    /// Makes room for replies in the middle of a tick. The inbox keeps its datagrams.
    fn flush(&mut self) -> std::io::Result<()> {
        let traffic = self.port.flush(&mut self.outbox)?;
        count_traffic(self.counters(), traffic);
        Ok(())
    }

    /// What it counts.
    pub fn counters(&self) -> &Arc<WorkerCounters> {
        self.session.executor().counters()
    }

    /// Its shard.
    pub fn owner(&self) -> &Owner {
        self.session.executor().owner()
    }
}

fn count_traffic(counters: &WorkerCounters, traffic: Traffic) {
    if traffic == Traffic::default() {
        return;
    }
    counters.datagrams_sent.add(traffic.datagrams_sent);
    counters.bytes_written.add(traffic.bytes_written);
    counters.sends.add(traffic.sends);
    counters.send_failures.add(traffic.send_failures);
    counters.gso_fallbacks.add(traffic.gso_fallbacks);
    counters.receive_drops.add(traffic.receive_drops);
    counters.receive_buffers_empty.add(traffic.receive_buffers_empty);
    counters.refused_groups.add(traffic.refused_groups);
    counters.stream_sends.add(traffic.stream_sends);
    counters.stream_buffers_empty.add(traffic.stream_buffers_empty);
    counters.accept_failures.add(traffic.accept_failures);
}
