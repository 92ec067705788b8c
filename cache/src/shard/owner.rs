//! The owner of a shard: the one thread that writes it.

use crate::base::clock::Now;
use crate::base::item_ref::ItemRef;
use crate::base::sync::Arc;
use crate::memory::grace::Pin;
use crate::memory::{Item, OwnedSlot, Size, Slab, SlabStats};
use crate::ring::{Consumer, PolicyCommand};
use crate::shard::OwnerCounters;
use crate::shard::command::Commands;
use crate::shard::contents::Contents;
use crate::shard::error::{Blocked, WriteError};
use crate::shard::events::Events;
use crate::shard::growth::Growth;
use crate::shard::mover::Mover;
use crate::shard::namespace::Namespace;
use crate::shard::pressure::Pressure;
use crate::shard::route::{Shard, Shards};
use crate::shard::scrub::Scrub;
use crate::shard::share::Share;

/// A part of an owner's tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Memory whose grace is over was freed.
    Reclaim,
    /// Items that a flush made stale were removed, and the policy's commands were executed.
    PolicyCommands,
    /// Keys of a growing table moved, items moved out of pages that are being emptied.
    MovePages,
}

/// What an owner is made of.
pub struct OwnerParts {
    /// Which shard.
    pub(crate) index: usize,
    /// All shards.
    pub(crate) shards: Arc<Shards>,
    /// Its memory.
    pub(crate) slab: Slab,
    /// To the policy.
    pub(crate) events: Events,
    /// From the policy.
    pub(crate) commands: Consumer<PolicyCommand>,
    /// What it counts.
    pub(crate) counters: Arc<OwnerCounters>,
    /// Whether a full memory evicts items that live.
    pub(crate) evicts: bool,
    /// Largest value, in bytes; appends may not exceed it.
    pub(crate) value_bytes_max: usize,
}

impl OwnerParts {
    /// Which shard.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What the owner counts.
    pub fn counters(&self) -> &Arc<OwnerCounters> {
        &self.counters
    }

    /// What pages and slots are used for.
    pub fn slab_stats(&self) -> &Arc<SlabStats> {
        self.slab.stats()
    }
}

/// What the shard holds, and what works on it. Each part keeps its own state, and takes the others that it needs as
/// arguments.
pub struct Owner {
    contents: Contents,
    pressure: Pressure,
    mover: Mover,
    growth: Growth,
    scrub: Scrub,
    commands: Commands,
    share: Share,
    value_bytes_max: usize,
    /// When a delayed flush_all is due, in ms since the server epoch.
    flush_at_ms: Option<u64>,
}

/// An item that was found by its key.
#[derive(Clone, Copy)]
pub struct Found<'a> {
    /// Where it is.
    pub at: ItemRef,
    /// The hash of its key.
    pub hash: u64,
    /// The item.
    pub item: Item<'a>,
}

impl Found<'_> {
    /// A reader has won the right to refresh the item: nobody else wins it from now on.
    pub fn note_win_sent(&self) {
        self.item.set_state(self.item.state().with_win_sent(true));
    }
}

impl Owner {
    /// The owner of shard `index`.
    ///
    /// # Panics
    /// When the shard has an owner already.
    pub fn new(config: OwnerParts) -> Owner {
        let OwnerParts { index, shards, slab, events, commands, counters, evicts, value_bytes_max } = config;
        Owner {
            contents: Contents::new(index, shards, slab, evicts, (events, counters)),
            pressure: Pressure::new(),
            mover: Mover::default(),
            growth: Growth::default(),
            scrub: Scrub::new(evicts),
            commands: Commands::new(commands),
            share: Share::default(),
            value_bytes_max,
            flush_at_ms: None,
        }
    }

    /// Which shard.
    pub fn index(&self) -> usize {
        self.contents.index.number()
    }

    /// The shard as others see it.
    pub fn shard(&self) -> &Shard {
        self.contents.index.shard()
    }

    /// All shards.
    pub fn shards(&self) -> &Arc<Shards> {
        self.contents.index.shards()
    }

    /// What it counts.
    pub fn counters(&self) -> &Arc<OwnerCounters> {
        self.contents.outcomes.counters()
    }

    /// The first thing of a tick: frees memory, executes the policy's commands, moves pages, and sends events again that were
    /// lost. Says whether more of that is left, so that the next tick should come soon. What `pin` has lent is let go when
    /// memory is short. `done` is called at the end of each stage.
    pub fn tick(&mut self, pin: &mut Pin, now: Now, mut done: impl FnMut(Stage)) -> bool {
        let Owner { contents, pressure, mover, growth, scrub, commands, flush_at_ms, .. } = self;
        contents.memory.recycle();
        done(Stage::Reclaim);
        let is_due = flush_at_ms.is_some_and(|at_ms| at_ms <= now.ms());
        if is_due && scrub.flush(&mut contents.index).is_ok() {
            *flush_at_ms = None;
        }
        scrub.step(contents, now);
        let applied = commands.apply(contents, now);
        done(Stage::PolicyCommands);
        // What waits for grace is free in the next tick, not when an idle worker has slept.
        let has_more = applied
            | growth.step(contents, now)
            | mover.step(contents, pressure, pin, now)
            // Stores are refused until what was flushed is gone.
            | (scrub.is_walking() && !contents.memory.evicts())
            | contents.memory.is_settling();
        done(Stage::MovePages);
        contents.catch_up_events();
        contents.publish_figures();
        has_more || contents.outcomes.can_catch_up()
    }

    /// Whether commands of the policy wait.
    pub fn has_commands(&self) -> bool {
        self.commands.is_waiting()
    }

    /// The item of a key, if it may still be served.
    #[inline]
    pub fn find(&self, key: &[u8], now: Now) -> Option<Found<'_>> {
        let hash = self.contents.index.hash(key);
        self.contents.find(hash, key, now).map(|(at, item)| Found { at, hash, item })
    }

    /// Makes everything that this owner has stale: at once, or at a time in ms since the server epoch.
    ///
    /// # Errors
    /// [`Blocked::OnScrub`].
    pub fn flush(&mut self, due_ms: Option<u64>) -> Result<(), Blocked> {
        // A client's flush goes to every shard; one of them counts it.
        self.counters().cmd_flush.add((self.index() == 0) as u64);
        if due_ms.is_none() {
            return self.scrub.flush(&mut self.contents.index);
        }
        self.flush_at_ms = due_ms;
        Ok(())
    }

    /// Invalidates a namespace.
    ///
    /// # Errors
    /// [`Blocked::OnScrub`].
    pub fn invalidate_namespace(&mut self, namespace: Namespace) -> Result<(), Blocked> {
        let had_items = self.scrub.invalidate(&mut self.contents.index, namespace)?;
        self.counters().namespaces_invalidated.add(had_items as u64);
        Ok(())
    }

    /// Counts a store that begins to wait for memory which others may still read.
    pub fn note_grace_wait(&self) {
        self.counters().grace_waits.add(1);
    }

    /// Bytes of items written since the last call: what commands cost beside looking up their keys.
    #[inline]
    pub fn take_written_bytes(&mut self) -> usize {
        self.contents.take_written_bytes()
    }

    /// Length of the slot of an item of this owner, in bytes.
    pub fn slot_bytes(&self, at: ItemRef) -> usize {
        self.contents.memory.slab().slot_bytes(at)
    }

    /// Length of the memory that all owners share, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.contents.memory.slab().memory_bytes()
    }

    /// Notes a read of an item, of which the policy learns or not, if it is still under a key of this hash.
    pub fn note_access(&self, at: ItemRef, hash: u64, now: Now, told: bool) {
        if self.contents.index.holds(upper(hash), at) {
            self.contents.memory.item(at).note_access(now.s(), told);
        }
    }
}

/// What verbs are made of.
impl Owner {
    /// What the shard holds.
    #[inline]
    pub(super) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The same, to change it.
    #[inline]
    pub(super) fn contents_mut(&mut self) -> &mut Contents {
        &mut self.contents
    }

    /// Longest value, in bytes.
    pub(super) fn value_bytes_max(&self) -> usize {
        self.value_bytes_max
    }

    /// A place in the index for a key that may be new. Call it before looking at any item.
    ///
    /// # Errors
    /// Those of [`Growth::place`].
    #[inline]
    pub(super) fn place_in_index(
        &mut self,
        pin: &mut Pin,
        hash: u64,
        key: &[u8],
        now: Now,
    ) -> Result<(), WriteError> {
        self.growth.place(&mut self.contents, pin, (hash, key), now)
    }

    /// Whether a value may come of a key of this hash, for which so many bytes of slots are needed.
    pub(super) fn lets_in_unfinished(&mut self, wanted: (u64, usize), now: Now) -> bool {
        self.share.lets_in(&self.contents.memory, wanted, now)
    }

    /// Whether it may, now that its slots are taken.
    pub(super) fn keeps_unfinished(&mut self, hash: u64, now: Now) -> bool {
        self.share.keeps(&self.contents.memory, hash, now)
    }

    /// Room for an item, which takes the place of another one or not. Call it before looking at any item: what it evicts may be that item.
    ///
    /// # Errors
    /// Those of [`Pressure::allocate`].
    #[inline]
    pub(super) fn allocate(
        &mut self,
        pin: &mut Pin,
        size: Size,
        is_overwrite: bool,
        now: Now,
    ) -> Result<OwnedSlot, WriteError> {
        self.pressure.allocate(&mut self.contents, pin, size, is_overwrite, now)
    }
}

/// The half of a key hash that travels in records.
#[inline]
pub fn upper(hash: u64) -> u32 {
    (hash >> 32) as u32
}
