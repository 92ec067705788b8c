//! What a shard holds: the index, the memory behind it, and the outcomes of which others hear.
//!
//! ```text
//!              publish · remove · evict · relocate · grow_table        each changes all three
//!                 │           │          │
//!               Index       Memory    Outcomes
//!   key → item, liveness    slots,    events to the policy,
//!                           grace     counters
//! ```
//! The three fields are open to the whole shard, because each is closed in itself: what they let others do alone leaves the
//! three in agreement (take a slot, close a page, look a key up). Steps that must happen together, such as unlinking an item,
//! retiring it and telling the policy, are visible in this folder only. So these methods are the only ways to change which
//! items the shard has.

mod cas;
mod index;
mod memory;
mod outcomes;
mod relocate;

pub use index::Index;
pub use memory::Memory;
pub use outcomes::{Outcomes, Why};
pub use relocate::Moved;

use crate::base::clock::Now;
use crate::base::item_ref::ItemRef;
use crate::base::sync::Arc;
use crate::memory::slab_stats::Loss;
use crate::memory::{Head, Item, OwnedSlot, Parts, Size, Slab, Unfinished, Used};
use crate::ring::Event;
use crate::shard::OwnerCounters;
use crate::shard::contents::cas::CasNumbers;
use crate::shard::contents::memory::deadline;
use crate::shard::events::Events;
use crate::shard::owner::upper;
use crate::shard::route::Shards;
use crate::table::{Growth, Place, Upsert};

/// What a shard holds. Its owner's alone.
pub struct Contents {
    /// Key → item.
    pub index: Index,
    /// Where items are.
    pub memory: Memory,
    /// What others hear.
    pub outcomes: Outcomes,
    cas: CasNumbers,
    /// Bytes of items written since they were last asked for.
    written_bytes: usize,
}

/// An item that was written and is not published.
pub struct Written {
    slot: OwnedSlot,
    size: Size,
    deadline_ms: u64,
    cas: u64,
    /// Bytes that this owner has written.
    written_bytes: usize,
}

impl Contents {
    /// What shard `number` holds at first: nothing.
    ///
    /// # Panics
    /// When the shard has an owner already.
    pub fn new(
        number: usize,
        shards: Arc<Shards>,
        slab: Slab,
        evicts: bool,
        (events, counters): (Events, Arc<OwnerCounters>),
    ) -> Contents {
        let (grace, count) = (Arc::clone(shards.grace()), shards.count());
        Contents {
            index: Index::new(number, shards),
            memory: Memory::new(slab, grace, count, evicts),
            outcomes: Outcomes::new(events, counters),
            cas: CasNumbers::new(number, count),
            written_bytes: 0,
        }
    }

    /// The item of a key, if it may still be served.
    pub fn find(&self, hash: u64, key: &[u8], now: Now) -> Option<(ItemRef, Item<'_>)> {
        let at = self.index.get(self.memory.slab(), hash, key)?;
        let item = self.memory.item(at);
        self.index.is_live(&item, now).then_some((at, item))
    }

    /// Where a key is in the index, or would be; good until the index changes ([`Contents::renew`]).
    #[inline]
    pub fn place(&self, hash: u64, key: &[u8]) -> Place {
        self.index.place(self.memory.slab(), hash, key)
    }

    /// The place of a key now, which was at `place` before.
    #[inline]
    pub fn renew(&self, place: Place, hash: u64, key: &[u8]) -> Place {
        if self.index.is_current(&place) { place } else { self.place(hash, key) }
    }

    /// The item at a place that is current, if it may still be served.
    #[inline]
    pub fn live(&self, place: &Place, now: Now) -> Option<Item<'_>> {
        let item = self.memory.item(place.item()?);
        self.index.is_live(&item, now).then_some(item)
    }

    /// Whether storing this key would take the place of another key in the index.
    pub fn would_crowd_out(&self, hash: u64, key: &[u8]) -> bool {
        self.index.would_evict(self.memory.slab(), hash, key)
    }

    /// The cas number that a command asks for, or the next one. That is used up when an item with it is published.
    pub fn cas_or(&self, asked: Option<u64>) -> u64 {
        asked.unwrap_or_else(|| self.cas.coming())
    }

    /// Writes an item into a slot that has room for it.
    #[inline]
    pub fn write(&self, mut slot: OwnedSlot, parts: &Parts<'_>) -> Written {
        self.memory.slab().write(&mut slot, parts);
        let size = parts.size();
        let written_bytes = size.bytes();
        Written { slot, size, deadline_ms: parts.deadline_ms, cas: parts.cas, written_bytes }
    }

    /// Makes an item of what was reserved for it, with the value that is there now.
    pub fn finish(&mut self, unfinished: Unfinished, head: Head) -> Written {
        let (size, Head { deadline_ms, cas, .. }) = (unfinished.size(), head);
        let slot = self.memory.finish(unfinished, head);
        Written { slot, size, deadline_ms, cas, written_bytes: 0 }
    }

    /// Puts an item under its key, in place of the one that it may have; returns where it is.
    pub fn publish(&mut self, hash: u64, key: &[u8], written: Written) -> ItemRef {
        self.publish_at(self.place(hash, key), hash, key, written)
    }

    /// The same, of a key whose place in the index is known, and current.
    pub fn publish_at(&mut self, place: Place, hash: u64, key: &[u8], written: Written) -> ItemRef {
        let Written { slot, size, deadline_ms, cas, written_bytes } = written;
        let deadline = deadline(deadline_ms, slot.bytes());
        let at = self.memory.complete(slot, size);
        self.cas.published(cas);
        self.written_bytes += written_bytes;
        let (replaced, crowded_out) = match self.index.put(place, key, at) {
            Upsert::Inserted => (None, None),
            Upsert::Replaced(old) => (Some(old), None),
            Upsert::Evicted(victim) => (None, Some(victim)),
        };
        let chunks = self.memory.chunk_units(size.shape(self.memory.slab().chunk_sizes()));
        self.outcomes.stored(Event::Store { item: at, replaced, deadline, chunks, hash: upper(hash) });
        replaced.into_iter().for_each(|old| self.memory.retire(old));
        if let Some(item) = crowded_out {
            self.gone(item, Why::Crowded);
        }
        at
    }

    /// Removes a key and its item; says whether there was one.
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> bool {
        let gone = self.index.remove(self.memory.slab(), hash, key);
        gone.inspect(|&item| self.gone(item, Why::Deleted));
        gone.is_some()
    }

    /// Removes an item, whatever its key; says whether the index had it.
    pub fn evict(&mut self, item: ItemRef, why: Why) -> bool {
        let hash = self.index.hash(self.memory.item(item).key());
        self.evict_hashed(upper(hash), item, why)
    }

    /// As [`Contents::evict`], without a look at the item.
    pub fn evict_hashed(&mut self, upper: u32, item: ItemRef, why: Why) -> bool {
        let was_there = self.index.remove_item(upper, item);
        if was_there {
            self.gone(item, why);
        }
        was_there
    }

    /// An item was unlinked from the index.
    fn gone(&mut self, item: ItemRef, why: Why) {
        self.outcomes.removed(item, why);
        why.loss().inspect(|&loss| self.memory.note_loss(item, loss));
        self.memory.retire(item);
    }

    /// Moves the keys of about `lines` home lines of an index that changes its size.
    pub fn grow_table(&mut self, lines: u64) -> Growth {
        let Contents { index, memory, outcomes, .. } = self;
        index.grow(lines, |item| {
            // Next to impossible: sixteen full lines in a row at 43 % load, or at 60 %.
            outcomes.removed(item, Why::LostInGrowth);
            memory.note_loss(item, Loss::Evicted);
            memory.retire(item);
        })
    }

    /// Tells the policy again of items whose events found no room, a bounded number.
    pub fn catch_up_events(&mut self) {
        let Contents { index, memory, outcomes, .. } = self;
        let slab = memory.slab();
        outcomes.catch_up(|page, slot| {
            let (number, used) = slab.next_used_slot(page, slot)?;
            // Chunks are told with the items that they belong to.
            let Used::Item(at) = used else { return Some((number, None)) };
            let item = slab.item(at);
            let hash = upper(index.hash(item.key()));
            let store = index.holds(hash, at).then(|| {
                let deadline = memory.deadline(at, item.state().deadline_ms());
                let chunks = memory.chunk_units(item.shape());
                Event::Store { item: at, replaced: None, deadline, chunks, hash }
            });
            Some((number, store))
        });
    }

    /// Updates the figures of what is there now.
    pub fn publish_figures(&self) {
        let (counters, slab) = (self.outcomes.counters(), self.memory.slab());
        counters.curr_items.set(self.index.items());
        counters.table_slots.set(self.index.capacity());
        counters.used_bytes.set(slab.used_bytes() as u64);
        counters.item_bytes.set(self.memory.item_bytes() as u64);
        counters.pages.set(slab.pages_held() as u64);
        counters.retired_items.set(slab.retired().len() as u64);
        counters.unfinished_items.set(slab.unfinished().items as u64);
        counters.unfinished_bytes.set(slab.unfinished().bytes as u64);
    }

    /// Bytes of items written since the last call.
    #[inline]
    pub fn take_written_bytes(&mut self) -> usize {
        std::mem::take(&mut self.written_bytes)
    }
}
