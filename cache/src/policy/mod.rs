//! Admission, eviction and expiry, on one background thread.
//!
//! ```text
//! owner ──Event──▶ ┌ TrackedPolicy ─────────────────────────────┐
//! worker ──Hit───▶ │ nodes   what is where, 12 B an item │ ──Command──▶ owner (a hint)
//! clock ─────────▶ │ wheel   when it expires             │
//!                  │ order   which goes first            │  order = tinylfu | s3fifo | lru
//!                  └─────────────────────────────────────┘
//! ```
//!
//! Reading order: [`node`], [`list`], [`nodes`]: where things are kept. [`sketch`], [`queues`], [`tinylfu`]: the
//! policy; [`shadow`], [`adapt`]: how it chooses its own parameters. [`chain`], [`wheel`]: expiry. [`tracked`]: what all
//! policies share; [`none`] is their absence. [`thread`]: the round that feeds them. [`hot`], [`distinct`], [`popularity`], [`hot_key_snapshot`]: what people are
//! told of keys; no policy looks at it.
//!
//! What it does not do: it never reads an item, the table or the clock, and it decides nothing a write has to wait
//! for. An item is readable the moment it is stored; one that is not worth its place is evicted when it leaves the
//! window.

pub mod adapt;
pub mod chain;
pub mod contest;
pub mod distinct;
pub mod hot;
pub mod hot_key_snapshot;
pub mod list;
pub mod lru;
pub mod node;
pub mod nodes;
pub mod none;
pub mod popularity;
pub mod queues;
pub mod s3fifo;
pub mod shadow;
pub mod sketch;
pub mod stats;
pub mod thread;
pub mod tinylfu;
pub mod tracked;
pub mod wheel;

pub use stats::{Counters, PolicyStats};
pub use thread::{Limits, Link, Progress, run_once};

use crate::ring::{Event, Hit, PolicyCommand};

/// Reads that one hit record counts as at most. Workers that sample, or drop records on a full ring, count what they left
/// out: stores are never left out, so without this a policy would believe that misses are more frequent than they are.
pub const HIT_WEIGHT_MAX: u32 = 16;

/// A policy of one owner. Single-threaded; time comes in with each call, in ms since the server epoch.
pub trait Policy: Send {
    /// Takes in what an owner did. Stale and repeated events are ignored and counted.
    fn event(&mut self, event: &Event, now_ms: u64);

    /// Takes in several, in this order.
    fn events(&mut self, events: &[Event], now_ms: u64);

    /// Takes in one read.
    fn hit(&mut self, hit: &Hit) {
        self.hits(std::slice::from_ref(hit));
    }

    /// Takes in a batch of reads.
    fn hits(&mut self, hits: &[Hit]);

    /// Fires the wheel and brings the owner under its budget, in at most `work_max` steps and as many commands as
    /// fit. Returns the steps done; less than `work_max` and room left in `commands` means that all is done.
    fn advance(&mut self, now_ms: u64, work_max: usize, commands: &mut CommandBuffer) -> usize;

    /// When [`Policy::advance`] will have work though nothing happens; `None` = not before an event.
    fn next_ms(&self) -> Option<u64>;

    /// What it did so far and holds now.
    fn stats(&self) -> PolicyStats;

    /// What it holds must fit together: every item on one list, sums right. For tests; O(items).
    ///
    /// # Panics
    /// With what does not fit.
    fn check(&self);
}

/// The order in which items go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyKind {
    /// Window, frequency contest, and parameters chosen by shadow caches.
    Wtinylfu,
    /// Small and main FIFO queues with a ghost (Yang et al., SOSP 2023).
    S3fifo,
    /// Least recently used goes first.
    Lru,
    /// Nobody decides: owners evict under pressure.
    None,
}

impl PolicyKind {
    /// What keeps the times to live where nothing is evicted: the plainest order, because nobody asks for it.
    pub fn where_evicting(self, evicts: bool) -> PolicyKind {
        if evicts || self == PolicyKind::None { self } else { PolicyKind::Lru }
    }
}

impl std::str::FromStr for PolicyKind {
    type Err = String;
    fn from_str(name: &str) -> Result<PolicyKind, String> {
        match name {
            "wtinylfu" => Ok(PolicyKind::Wtinylfu),
            "s3fifo" => Ok(PolicyKind::S3fifo),
            "lru" => Ok(PolicyKind::Lru),
            "none" => Ok(PolicyKind::None),
            other => Err(format!("unknown policy {other} (known: wtinylfu, s3fifo, lru, none)")),
        }
    }
}

impl std::fmt::Display for PolicyKind {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.pad(match self {
            PolicyKind::Wtinylfu => "wtinylfu",
            PolicyKind::S3fifo => "s3fifo",
            PolicyKind::Lru => "lru",
            PolicyKind::None => "none",
        })
    }
}

/// What counts as a good cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Goal {
    /// Most hits: a small item is worth as much as a large one, and costs less.
    #[default]
    Objects,
    /// Most bytes served: an item is worth its size.
    Bytes,
}

impl std::str::FromStr for Goal {
    type Err = String;
    fn from_str(name: &str) -> Result<Goal, String> {
        match name {
            "objects" => Ok(Goal::Objects),
            "bytes" => Ok(Goal::Bytes),
            other => Err(format!("unknown goal {other} (known: objects, bytes)")),
        }
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.pad(match self {
            Goal::Objects => "objects",
            Goal::Bytes => "bytes",
        })
    }
}

/// The frame a policy works in.
#[derive(Clone, Copy, Debug)]
pub struct PolicyConfig {
    /// Sum of slots and chunks that may stay, in bytes; changed later by `Event::Budget`.
    pub budget_bytes: u64,
    /// Length of a slab page, in units of 16 bytes.
    pub page_units: u64,
    /// Pages of the whole region.
    pub pages: usize,
    /// First guess of an item's slot size, in bytes; what is seen corrects it.
    pub mean_item_bytes: u64,
    /// Decides which keys share counters and which are sampled; equal seeds give equal results.
    pub seed: u64,
}

/// A policy of the given kind for one owner.
pub fn build(kind: PolicyKind, goal: Goal, config: &PolicyConfig) -> Box<dyn Policy> {
    match kind {
        PolicyKind::None => Box::new(none::NoPolicy),
        PolicyKind::Lru => Box::new(tracked::TrackedPolicy::new(config, lru::Lru::new())),
        PolicyKind::S3fifo => Box::new(tracked::TrackedPolicy::new(config, s3fifo::S3Fifo::new(config))),
        PolicyKind::Wtinylfu => {
            Box::new(tracked::TrackedPolicy::new(config, tinylfu::TinyLfu::new(config, goal)))
        }
    }
}

/// Where a policy puts its commands: as many as were given room for.
#[derive(Debug, Default)]
pub struct CommandBuffer {
    commands: Vec<PolicyCommand>,
    room: usize,
}

impl CommandBuffer {
    /// A buffer for at most `capacity` commands at a time.
    pub fn with_capacity(capacity: usize) -> CommandBuffer {
        CommandBuffer { commands: Vec::with_capacity(capacity), room: capacity }
    }

    /// Empties it and gives it room for `room` commands, at most the capacity it was made with.
    pub fn reset(&mut self, room: usize) {
        self.commands.clear();
        self.room = room.min(self.commands.capacity());
    }

    /// Commands that still fit.
    pub fn room(&self) -> usize {
        self.room - self.commands.len()
    }

    /// Adds a command.
    ///
    /// # Panics
    /// If there is no room: the caller asked first.
    pub fn push(&mut self, command: PolicyCommand) {
        assert!(self.room() > 0, "a command needs room");
        self.commands.push(command);
    }

    /// What was added since the last reset.
    pub fn as_slice(&self) -> &[PolicyCommand] {
        &self.commands
    }
}
