//! Slots that were freed in this tick, for the stores of this tick: they are taken again without a look at their pages.
//!
//! ```text
//! retired ─ grace ─▶ recycled ─ a store of the class ─▶ in use          an overwrite frees a slot of the size that the next one needs
//!                        └─ the next tick ─▶ page
//! ```
//! A slot here is free, but its bit is set, as a retired one's is. What no store has taken goes back to its page before more is freed:
//! no page waits longer than a tick for its last slot.

use super::Slab;
use crate::base::item_ref::ItemRef;
use crate::limits::RECYCLED_SLOTS_MAX;
use crate::memory::class::{CLASSES_MAX, Class};
use crate::memory::grace::Grace;

const NONE: u16 = u16::MAX;

/// Free slots, by class; the last one that came is taken first.
#[derive(Debug)]
pub(super) struct Recycled {
    entries: Vec<Entry>,
    /// The last entry of each class that was not taken.
    last: Box<[u16]>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// `None` if it was taken.
    at: Option<ItemRef>,
    class: Class,
    previous: u16,
}

impl Recycled {
    pub(super) fn new() -> Recycled {
        Recycled {
            entries: Vec::with_capacity(RECYCLED_SLOTS_MAX),
            last: vec![NONE; CLASSES_MAX].into_boxed_slice(),
        }
    }

    fn is_full(&self) -> bool {
        self.entries.len() == RECYCLED_SLOTS_MAX
    }

    /// There is room.
    fn push(&mut self, at: ItemRef, class: Class) {
        let number = self.entries.len() as u16;
        let previous = std::mem::replace(&mut self.last[class.index()], number);
        self.entries.push(Entry { at: Some(at), class, previous });
    }

    #[inline]
    fn pop(&mut self, class: Class) -> Option<ItemRef> {
        let last = &mut self.last[class.index()];
        let entry = self.entries.get_mut(*last as usize)?;
        *last = entry.previous;
        entry.at.take()
    }
}

impl Slab {
    /// Once a tick: as [`Slab::reclaim`], but what is freed is for the stores of this tick first.
    pub fn recycle(&mut self, grace: &Grace, max: usize) {
        self.return_recycled();
        self.retired.close(grace);
        for _ in 0..max {
            let Some(at) = self.retired.pop(grace) else { return };
            let class = self.class_at(at);
            self.stats.of(class).retired.sub(1);
            // A chunk whose bit is set leads to its item, wherever it is, and that one is somebody else's by then.
            let is_chunk = class == Class::CHUNK;
            if is_chunk || self.recycled.is_full() || self.is_closed(self.page_of(at)) {
                self.release(at);
            } else {
                #[cfg(debug_assertions)]
                self.items.poison(at, self.layout.slots(class).slot_bytes);
                self.note_free(class);
                self.class_free[class.index()] += 1;
                self.recycled.push(at, class);
            }
        }
    }

    /// Whether slots were freed that are not back in their pages.
    pub fn has_recycled(&self) -> bool {
        !self.recycled.entries.is_empty()
    }

    /// A slot that was freed in this tick.
    #[inline]
    pub(super) fn take_recycled(&mut self, class: Class) -> Option<ItemRef> {
        loop {
            let at = self.recycled.pop(class)?;
            self.class_free[class.index()] -= 1;
            if !self.is_closed(self.page_of(at)) {
                return Some(at);
            }
            self.clear(at, class);
        }
    }

    /// Gives slots that nobody has taken back to their pages.
    pub(super) fn return_recycled(&mut self) {
        for number in 0..self.recycled.entries.len() {
            let Entry { at, class, .. } = self.recycled.entries[number];
            self.recycled.last[class.index()] = NONE;
            if let Some(at) = at {
                self.class_free[class.index()] -= 1;
                self.clear(at, class);
            }
        }
        self.recycled.entries.clear();
    }
}
