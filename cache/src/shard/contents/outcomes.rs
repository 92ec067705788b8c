//! What others hear of a shard's changes: events to the policy, counters to people. Where a change has both they are one
//! method, so that neither can be forgotten.

use crate::base::item_ref::ItemRef;
use crate::base::sync::Arc;
use crate::memory::slab_stats::Loss;
use crate::ring::{Deadline, Event, Verdict};
use crate::shard::OwnerCounters;
use crate::shard::events::Events;

/// Events and counters of one owner.
pub struct Outcomes {
    events: Events,
    counters: Arc<OwnerCounters>,
}

/// Why an item was removed; each is counted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A client deleted its key. Deletes are counted as commands, whatever they found.
    Deleted,
    /// The policy chose it.
    Policy,
    /// No memory was free.
    Pressure,
    /// Its deadline had passed, or it had been flushed.
    Expired,
    /// Its line of the index was crowded.
    Crowded,
    /// Its key found no place in an index that changed its size.
    LostInGrowth,
    /// It was of an old generation.
    Scrubbed,
}

impl Why {
    /// What it is to the size class of the item; `None` where a client wanted it.
    pub fn loss(self) -> Option<Loss> {
        match self {
            Why::Deleted => None,
            Why::Policy | Why::Pressure | Why::Crowded | Why::LostInGrowth => Some(Loss::Evicted),
            Why::Expired | Why::Scrubbed => Some(Loss::Expired),
        }
    }
}

impl Outcomes {
    pub(super) fn new(events: Events, counters: Arc<OwnerCounters>) -> Outcomes {
        Outcomes { events, counters }
    }

    /// What is counted; commands count themselves there.
    #[inline]
    pub fn counters(&self) -> &Arc<OwnerCounters> {
        &self.counters
    }

    /// An item was published; `store` is its event.
    pub(super) fn stored(&mut self, store: Event) {
        self.counters.total_items.add(1);
        self.events.send(store);
    }

    /// An item was unlinked.
    pub(super) fn removed(&mut self, item: ItemRef, why: Why) {
        self.events.send(Event::Delete { item });
        let counters = &self.counters;
        match why {
            Why::Deleted => {}
            Why::Policy => counters.evicted_by_policy.add(1),
            Why::Pressure => counters.evicted_by_pressure.add(1),
            Why::Expired => counters.expired.add(1),
            Why::Crowded => counters.evicted_by_crowding.add(1),
            Why::LostInGrowth => counters.evicted_by_growth.add(1),
            Why::Scrubbed => counters.scrubbed.add(1),
        }
    }

    /// An item has moved to a slot of `slot_bytes`.
    pub(super) fn moved(&mut self, from: ItemRef, to: ItemRef, slot_bytes: usize) {
        let units = (slot_bytes / ItemRef::UNIT_BYTES) as u32;
        self.events.send(Event::Move { from, to, units });
        self.counters.items_moved.add(1);
    }

    /// A chunk has moved: the policy knows items by their heads, and hears nothing.
    pub(super) fn chunk_moved(&mut self) {
        self.counters.items_moved.add(1);
    }

    /// Sends items again whose events were lost: see [`Events::catch_up`].
    pub(super) fn catch_up(&mut self, next: impl FnMut(usize, usize) -> Option<(usize, Option<Event>)>) {
        self.events.catch_up(&self.counters.event_resyncs, next);
    }

    /// A touch was executed. `found` is the item with its new deadline, if there was one; `is_use`: nothing else tells the
    /// policy that the item was used.
    #[inline]
    pub fn touched(&mut self, found: Option<(ItemRef, Deadline)>, is_use: bool) {
        self.counters.cmd_touch.add(1);
        let Some((item, deadline)) = found else {
            self.counters.touch_misses.add(1);
            return;
        };
        self.due(item, deadline, is_use);
        self.counters.touch_hits.add(1);
    }

    /// An item has another deadline.
    #[inline]
    pub fn due(&mut self, item: ItemRef, deadline: Deadline, is_use: bool) {
        self.events.send(Event::Touch { item, deadline, is_use });
    }

    /// An item that the policy wanted removed stays: it had been read without the policy's knowledge.
    pub fn kept(&mut self, item: ItemRef, deadline: Deadline, verdict: Verdict) {
        self.events.send(Event::SecondChance { item, deadline, verdict });
        self.counters.second_chances.add(1);
    }

    /// The owner may keep so many bytes from now on.
    pub fn budget_changed(&mut self, bytes: u64) {
        self.events.send(Event::Budget { bytes });
    }

    /// Whether events were lost that can be told again now.
    pub fn can_catch_up(&self) -> bool {
        self.events.can_catch_up()
    }

    /// Whether events were lost that have not been told again.
    #[cfg(test)]
    pub fn is_behind(&self) -> bool {
        self.events.is_behind()
    }
}
