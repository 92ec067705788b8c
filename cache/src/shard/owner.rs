//! The owner of a shard: the one thread that writes it.

use crate::base::clock::Now;
use crate::base::item_ref::ItemRef;
use crate::base::sync::Arc;
use crate::limits::TICK_RECLAIM_MAX;
use crate::memory::grace::{Grace, Pin};
use crate::memory::item::{Chunks, Shape};
use crate::memory::{Item, OwnedSlot, Parts, Size, Slab, Used};
use crate::ring::{ChunkUnits, Consumer, Deadline, Event, PolicyCommand};
use crate::shard::OwnerCounters;
use crate::shard::SecondChances;
use crate::shard::error::Blocked;
use crate::shard::events::Events;
use crate::shard::growth::Growth;
use crate::shard::mover::Mover;
use crate::shard::pressure::Pressure;
use crate::shard::route::{Shard, Shards};
use crate::shard::scrub::Scrub;
use crate::table::{Upsert, Writer};

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
    pub index: usize,
    /// All shards.
    pub shards: Arc<Shards>,
    /// Its memory.
    pub slab: Slab,
    /// To the policy.
    pub events: Events,
    /// From the policy.
    pub commands: Consumer<PolicyCommand>,
    /// What it counts.
    pub counters: Arc<OwnerCounters>,
    /// Largest value, in bytes; appends may not exceed it.
    pub value_bytes_max: usize,
}

/// Everything that only the owner touches.
pub struct Owner {
    pub(super) index: usize,
    pub(super) shards: Arc<Shards>,
    pub(super) writer: Writer,
    pub(super) slab: Slab,
    pub(super) grace: Arc<Grace>,
    pub(super) events: Events,
    pub(super) commands: Consumer<PolicyCommand>,
    pub(super) pressure: Pressure,
    pub(super) mover: Mover,
    pub(super) growth: Growth,
    pub(super) scrub: Scrub,
    pub(super) counters: Arc<OwnerCounters>,
    item_bytes: usize,
    /// Bytes of items written since they were last asked for.
    written_bytes: usize,
    pub(super) value_bytes_max: usize,
    last_cas: u64,
    /// When the last tick began, in ns.
    pub(super) last_tick_ns: u64,
    pub(super) second_chances: SecondChances,
    /// When a delayed flush_all is due, in ms since the server epoch.
    flush_at_ms: Option<u64>,
}

/// An item that was written and is not published.
pub(super) struct Written {
    slot: OwnedSlot,
    size: Size,
    deadline_ms: u64,
    cas: u64,
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

impl Owner {
    /// The owner of shard `index`.
    ///
    /// # Panics
    /// When the shard has an owner already.
    pub fn new(config: OwnerParts) -> Owner {
        let OwnerParts { index, shards, slab, events, commands, counters, value_bytes_max } = config;
        let writer = shards.shard(index).table.writer().expect("a shard has one owner");
        let grace = Arc::clone(shards.grace());
        let pressure = Pressure::new();
        let scrub = Scrub::new(shards.shard(index).namespaces());
        Owner {
            index,
            shards,
            writer,
            slab,
            grace,
            events,
            commands,
            pressure,
            mover: Mover::default(),
            growth: Growth::default(),
            scrub,
            counters,
            item_bytes: 0,
            written_bytes: 0,
            value_bytes_max,
            last_cas: 0,
            last_tick_ns: 0,
            second_chances: SecondChances::default(),
            flush_at_ms: None,
        }
    }

    /// Which shard.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The shard as others see it.
    pub fn shard(&self) -> &Shard {
        self.shards.shard(self.index)
    }

    /// All shards.
    pub fn shards(&self) -> &Arc<Shards> {
        &self.shards
    }

    /// What it counts.
    pub fn counters(&self) -> &Arc<OwnerCounters> {
        &self.counters
    }

    /// The first thing of a tick: free memory, execute the policy's commands, move pages, send again what the policy did not hear. Says
    /// whether there is more of that, so that the next tick should come soon. What `pin` has lent is let go when memory is short. `done` is told when a stage is over.
    pub fn tick(&mut self, pin: &mut Pin, now: Now, mut done: impl FnMut(Stage)) -> bool {
        self.slab.reclaim(&self.grace, TICK_RECLAIM_MAX);
        done(Stage::Reclaim);
        if self.flush_at_ms.is_some_and(|at_ms| at_ms <= now.ms()) && self.flush_now().is_ok() {
            self.flush_at_ms = None;
        }
        self.scrub_on(now);
        let applied = self.apply_commands(now);
        done(Stage::PolicyCommands);
        // What waits for grace is free in the next tick, not when an idle worker has slept.
        let has_more = applied | self.grow(now) | self.move_pages(pin, now) | !self.slab.retired().is_empty();
        done(Stage::MovePages);
        self.catch_up_events();
        self.publish();
        has_more || self.events.can_catch_up()
    }

    /// The item of a key, if it may still be served.
    #[inline]
    pub fn find(&self, key: &[u8], now: Now) -> Option<Found<'_>> {
        let hash = self.shards().hash(key);
        self.find_hashed(hash, key, now).map(|(at, item)| Found { at, hash, item })
    }

    /// The same where the hash of the key is known.
    pub(super) fn find_hashed(&self, hash: u64, key: &[u8], now: Now) -> Option<(ItemRef, Item<'_>)> {
        let at = self.writer.get(&self.slab, hash, key)?;
        let item = self.slab.item(at);
        self.shard().is_live(&item, now).then_some((at, item))
    }

    /// Writes an item into a slot that has room for it.
    pub(super) fn write_item(&self, mut slot: OwnedSlot, parts: &Parts<'_>) -> Written {
        self.slab.write(&mut slot, parts);
        Written { slot, size: parts.size(), deadline_ms: parts.deadline_ms, cas: parts.cas }
    }

    /// Puts an item under its key, in place of the one that it may have; gives its place.
    pub(super) fn publish_item(&mut self, hash: u64, key: &[u8], written: Written) -> ItemRef {
        let Written { slot, size, deadline_ms, cas } = written;
        let slot_bytes = slot.bytes();
        let at = self.slab.complete(slot);
        self.last_cas += (cas == self.coming_cas()) as u64;
        self.note_stored(key);
        let (replaced, evicted) = match self.writer.upsert(&self.slab, hash, key, at) {
            Upsert::Inserted => (None, None),
            Upsert::Replaced(old) => (Some(old), None),
            Upsert::Evicted(victim) => (None, Some(victim)),
        };
        self.item_bytes += size.bytes();
        self.written_bytes += size.bytes();
        self.counters.total_items.add(1);
        self.events.send(Event::Store {
            item: at,
            replaced,
            deadline: deadline(deadline_ms, slot_bytes),
            chunks: chunk_units(self.slab.chunk_sizes(), size.shape(self.slab.chunk_sizes())),
            hash: upper(hash),
        });
        replaced.into_iter().for_each(|old| self.retire(old));
        if let Some(item) = evicted {
            self.counters.evicted_by_crowding.add(1);
            self.events.send(Event::Delete { item });
            self.retire(item);
        }
        at
    }

    /// Removes a key and its item.
    pub(super) fn remove(&mut self, hash: u64, key: &[u8]) -> bool {
        let Some(gone) = self.writer.remove(&self.slab, hash, key) else { return false };
        self.events.send(Event::Delete { item: gone });
        self.retire(gone);
        true
    }

    /// Removes an item of this owner, whatever its key; says whether the table had it.
    pub(super) fn evict(&mut self, victim: ItemRef) -> bool {
        let hash = self.shards.hash(self.slab.item(victim).key());
        self.evict_hashed(upper(hash), victim)
    }

    /// As [`Owner::evict`], without a look at the item.
    pub(super) fn evict_hashed(&mut self, upper: u32, victim: ItemRef) -> bool {
        let was_there = self.writer.remove_item(upper, victim);
        if was_there {
            self.events.send(Event::Delete { item: victim });
            self.retire(victim);
        }
        was_there
    }

    /// The cas number that the next item gets: unique in the process. It is used up when an item with it is published.
    pub(super) fn coming_cas(&self) -> u64 {
        self.last_cas * self.shards.count() as u64 + self.index as u64 + 1
    }

    /// Makes everything that this owner has stale: at once, or at a time in ms since the server epoch.
    ///
    /// # Errors
    /// [`Blocked::OnScrub`].
    pub fn flush(&mut self, due_ms: Option<u64>) -> Result<(), Blocked> {
        // A client's flush goes to every shard; one of them counts it.
        self.counters.cmd_flush.add((self.index == 0) as u64);
        if due_ms.is_none() {
            return self.flush_now();
        }
        self.flush_at_ms = due_ms;
        Ok(())
    }

    fn flush_now(&mut self) -> Result<(), Blocked> {
        if !self.scrub.may_step() {
            return Err(Blocked::OnScrub);
        }
        let number = self.shard().flush();
        self.scrub.note_step(number);
        Ok(())
    }

    pub(super) fn retire(&mut self, old: ItemRef) {
        self.item_bytes -= self.slab.item(old).bytes();
        self.slab.retire(old);
    }

    fn catch_up_events(&mut self) {
        let Owner { events, slab, writer, shards, counters, .. } = self;
        events.catch_up(&counters.event_resyncs, |page, slot| {
            let (index, used) = slab.next_used_slot(page, slot)?;
            // Chunks are told with the items that they belong to.
            let Used::Item(at) = used else { return Some((index, None)) };
            let item = slab.item(at);
            let hash = upper(shards.hash(item.key()));
            let store = writer.holds(hash, at).then(|| {
                let deadline = deadline(item.state().deadline_ms(), slab.slot_bytes(at));
                let chunks = chunk_units(slab.chunk_sizes(), item.shape());
                Event::Store { item: at, replaced: None, deadline, chunks, hash }
            });
            Some((index, store))
        });
    }

    fn publish(&self) {
        self.counters.curr_items.set(self.writer.items());
        self.counters.used_bytes.set(self.slab.used_bytes() as u64);
        self.counters.item_bytes.set(self.item_bytes as u64);
        self.counters.pages.set(self.slab.pages_held() as u64);
        self.counters.table_slots.set(self.writer.table().capacity());
        self.counters.retired_items.set(self.slab.retired().len() as u64);
    }

    /// Counts a store that begins to wait for memory which others may still read.
    pub fn note_grace_wait(&self) {
        self.counters.grace_waits.add(1);
    }

    /// Bytes of items written since the last call: what commands cost beside looking up their keys.
    #[inline]
    pub fn take_written_bytes(&mut self) -> usize {
        std::mem::take(&mut self.written_bytes)
    }

    /// Length of the slot of an item of this owner, in bytes.
    pub fn slot_bytes(&self, at: ItemRef) -> usize {
        self.slab.slot_bytes(at)
    }

    /// Length of the memory that all owners share, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.slab.memory_bytes()
    }

    /// Notes a read of an item, of which the policy learns or not, if it is still under a key of this hash.
    pub fn note_access(&self, at: ItemRef, hash: u64, now: Now, told: bool) {
        if self.writer.holds(upper(hash), at) {
            self.slab.item(at).note_access(now.s(), told);
        }
    }
}

/// The half of a key hash that travels in records.
#[inline]
pub fn upper(hash: u64) -> u32 {
    (hash >> 32) as u32
}

pub(super) fn deadline(deadline_ms: u64, slot_bytes: usize) -> Deadline {
    Deadline::new(deadline_ms, (slot_bytes / ItemRef::UNIT_BYTES) as u32)
}

/// What an item of this shape takes beside its slot.
fn chunk_units(chunks: Chunks, shape: Shape) -> ChunkUnits {
    ChunkUnits::new((shape.chunks * chunks.slot_bytes() / ItemRef::UNIT_BYTES) as u64)
}
