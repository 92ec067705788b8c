//! Retired: items that are unlinked but may still be read, in the order in which they were retired.

use crate::base::item_ref::ItemRef;
use crate::limits::RETIRED_ITEMS_MAX;
use crate::memory::grace::{Grace, Stamp};
use std::collections::VecDeque;

/// The retired items of one owner. Allocated once; [`Retired::is_full`] is a normal answer.
#[derive(Debug)]
pub struct Retired {
    items: VecDeque<ItemRef>,
    /// Batches in order: items retired before the stamp was taken.
    batches: VecDeque<(Stamp, usize)>,
    /// Items behind the last batch, not stamped yet.
    open: usize,
    /// Room that the largest item needs, with its chunks.
    margin: usize,
}

impl Retired {
    const BATCHES_MAX: usize = 1024;

    /// A queue for items of at most `slots_max` slots.
    pub fn new(slots_max: usize) -> Retired {
        assert!(slots_max < RETIRED_ITEMS_MAX);
        Retired {
            items: VecDeque::with_capacity(RETIRED_ITEMS_MAX),
            batches: VecDeque::with_capacity(Self::BATCHES_MAX),
            open: 0,
            margin: slots_max,
        }
    }

    /// Adds a slot of an item that was just unlinked.
    pub fn push(&mut self, item: ItemRef) {
        assert!(self.items.len() < RETIRED_ITEMS_MAX, "the owner asks before it retires");
        self.items.push_back(item);
        self.open += 1;
    }

    /// Stamps what was retired since the last call. Once a tick.
    pub fn close(&mut self, grace: &Grace) {
        if self.open > 0 && self.batches.len() < Self::BATCHES_MAX {
            self.batches.push_back((grace.retire(), std::mem::take(&mut self.open)));
        }
    }

    /// The next item that nobody can read any more.
    pub fn pop(&mut self, grace: &Grace) -> Option<ItemRef> {
        let (stamp, count) = self.batches.front_mut()?;
        if !grace.passed(*stamp) {
            return None;
        }
        *count -= 1;
        if *count == 0 {
            self.batches.pop_front();
        }
        self.items.pop_front()
    }

    /// Items that wait.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether there is no room for one more item now, as large as it may be.
    pub fn is_full(&self) -> bool {
        self.items.len() + self.margin > RETIRED_ITEMS_MAX
    }
}
