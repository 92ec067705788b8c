//! The slow way, and all that executing commands takes: the shard's owner, the right to read the others, what a tick may
//! spend, and who is told.
//!
//! ```text
//! Executor ── run ──────────▶ commands, operations     a datagram's, one after the other: `Step` says where it stopped, and why
//!          ── execute_* ────▶                          a run of them for another worker, whose owner this is
//!          ── reading ──────▶ reads                    what answers plain reads, also those of the batch
//! ```
//! Not here: what becomes of a datagram that stopped (`forward`), and what stands behind it (`order`).

mod commands;
mod for_all;
pub(crate) mod operations;
mod permit;
pub mod position;
pub(crate) mod reads;
mod run;
mod streams;
pub(crate) mod values;
mod work;

pub(crate) use commands::Executed;
pub use position::Position;
pub(crate) use run::{First, Halt, Request, Step};

use crate::guard::{Admission, Guard, Right};
use crate::net::{Outbox, PeerAddr};
use crate::session::execute::{SettledRead, Stop};
use crate::session::hits::Hits;
use crate::session::profiler::TickProfiler;
use crate::stats::counters::WorkerCounters;
use cache::Pin;
use cache::base::clock::Now;
use cache::base::sync::Arc;
use cache::shard::{Owner, Shards, View};
use protocol::Error;
use protocol::steer;
use protocol::token::Tokens;
use work::Work;

/// What administrators ask of the server as a whole.
pub trait Administration: Send + Sync {
    /// What `stats` prints, for the words behind it; `None` for unknown words. It is asked within a tick, so it may look at items
    /// that it finds in the shards.
    fn stats(&self, _words: Tokens<'_>, _view: View<'_>) -> Option<Vec<u8>> {
        None
    }

    /// What `config get cluster` answers; `None` where no servers are named.
    fn cluster(&self) -> Option<Vec<u8>> {
        None
    }

    /// Ends the server, if clients may; says whether it will end.
    fn shut_down(&self) -> bool {
        false
    }
}

/// A server that tells nothing of itself.
impl Administration for () {}

/// Executes commands with what one worker has.
pub struct Executor {
    owner: Owner,
    /// Awake but while the worker sleeps.
    pin: Pin,
    shards: Arc<Shards>,
    hits: Hits,
    counters: Arc<WorkerCounters>,
    profiler: TickProfiler,
    value_bytes_max: usize,
    administration: Arc<dyn Administration>,
    /// What strangers may do.
    guard: Guard,
    /// What is left of the work that may be done at a stretch.
    work: Work,
}

/// What an executor is made of.
pub struct ExecutorParts {
    /// Its shard.
    pub owner: Owner,
    /// Its part in reading all shards, awake.
    pub pin: Pin,
    /// To the policy.
    pub hits: Hits,
    /// What the worker counts.
    pub counters: Arc<WorkerCounters>,
    /// How it measures itself.
    pub profiler: TickProfiler,
    /// Largest value, in bytes.
    pub value_bytes_max: usize,
    /// What administrators ask of the server.
    pub administration: Arc<dyn Administration>,
    /// What strangers may do.
    pub guard: Guard,
}

impl Executor {
    /// An executor that has done nothing.
    pub fn new(parts: ExecutorParts) -> Executor {
        let ExecutorParts { owner, pin, hits, counters, profiler, value_bytes_max, administration, guard } =
            parts;
        Executor {
            shards: Arc::clone(owner.shards()),
            owner,
            pin,
            hits,
            counters,
            profiler,
            value_bytes_max,
            administration,
            guard,
            work: Work::default(),
        }
    }

    /// The first thing of a tick: what was lent is let go, and the owner does its share of work. Says whether it has more.
    pub fn begin_tick(&mut self, now: Now) -> bool {
        let Executor { owner, pin, profiler, .. } = self;
        profiler.begin_tick(now);
        pin.quiescent();
        owner.tick(pin, now, |stage| profiler.owner_stage(stage))
    }

    /// Datagrams are about to be served: what the policy can hear of them follows from its ring.
    pub fn begin_datagrams(&mut self) {
        self.hits.begin_tick();
    }

    /// Lets go of everything while `wait` runs, which is shown the owner.
    pub fn asleep<R>(&mut self, wait: impl FnOnce(&Owner) -> R) -> R {
        let Executor { pin, owner, .. } = self;
        pin.asleep(|| wait(owner))
    }

    /// A request has its turn of work.
    pub fn begin_turn(&mut self) {
        self.work.begin_turn();
    }

    /// One command has its turn, or one key of it.
    pub fn begin_short_turn(&mut self) {
        self.work.begin_short_turn();
    }

    /// Units of work that were spent of the turn.
    pub fn spent(&self) -> u32 {
        self.work.spent()
    }

    /// Whether the turn is over.
    #[inline]
    pub fn is_spent(&self) -> bool {
        self.work.is_spent()
    }

    /// The shard that owns a key.
    #[inline]
    pub fn owner_of(&self, key: &[u8]) -> usize {
        steer::owner_of(key, self.shards.count())
    }

    /// The shard that is this worker's.
    #[inline]
    pub fn own_shard(&self) -> usize {
        self.owner.index()
    }

    /// All shards.
    #[inline]
    pub fn shards(&self) -> &Arc<Shards> {
        &self.shards
    }

    /// The owner of this worker's shard.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Largest value, in bytes.
    #[inline]
    pub fn value_bytes_max(&self) -> usize {
        self.value_bytes_max
    }

    /// What the worker counts.
    #[inline]
    pub fn counters(&self) -> &Arc<WorkerCounters> {
        &self.counters
    }

    /// How the worker measures itself.
    #[inline]
    pub fn profiler(&mut self) -> &mut TickProfiler {
        &mut self.profiler
    }

    /// What an address may do.
    pub fn right_of(&self, peer: &PeerAddr) -> Right {
        self.guard.right_of(peer)
    }

    /// What a datagram may do; `None` if it is refused.
    #[inline]
    pub fn judge(&mut self, peer: &PeerAddr, datagram: &[u8], now: Now) -> Option<Admission> {
        self.guard.judge(peer, datagram, now, &self.counters)
    }

    /// Answers a datagram of which nothing is served, with a challenge or an error; says whether it is one.
    pub fn answer_at_the_door(
        &mut self,
        peer: &PeerAddr,
        admission: &Admission,
        datagram: &[u8],
        outbox: &mut Outbox,
        now: Now,
    ) -> bool {
        self.guard.answer_at_the_door(peer, admission, datagram, outbox, now, &self.counters)
    }

    /// Ends the server, if clients may; says whether it will end.
    #[cold]
    fn shut_down(&self) -> bool {
        self.administration.shut_down()
    }

    /// Counts what a command came to, if it is refused with one of the errors that have a figure.
    fn note_stop(&self, done: Result<(), Stop>) {
        if let Err(Stop::Failed(error) | Stop::Silent(error)) = done {
            self.note_failure(error);
        }
    }

    /// Counts what a store came to, if it is one of the errors that have a figure.
    pub(crate) fn note_failure(&self, error: Error) {
        match error {
            Error::TooLargeForCache => self.counters.store_too_large.add(1),
            Error::OutOfMemory => self.counters.store_no_memory.add(1),
            _ => {}
        }
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
