//! Copying what a slot holds to another page, while it is read.

use crate::base::clock::Now;
use crate::base::item_ref::ItemRef;
use crate::memory::Used;
use crate::memory::class::Class;
use crate::shard::contents::{Contents, Why};
use crate::shard::owner::upper;

/// What became of a slot that had to be emptied.
pub enum Moved {
    /// Bytes copied; 0 when there was nothing to copy.
    Done(usize),
    /// Its class has no free slot.
    NoRoom(Class),
}

impl Contents {
    /// Copies what a slot holds to another page.
    pub fn relocate(&mut self, used: Used, now: Now) -> Moved {
        match used {
            Used::Item(from) => self.relocate_item(from, now),
            Used::Chunk(from) => self.relocate_chunk(from),
        }
    }

    fn relocate_item(&mut self, from: ItemRef, now: Now) -> Moved {
        let item = self.memory.item(from);
        let (is_live, class) = (self.index.is_live(&item, now), Class::of(item.bytes_in_slot()));
        let hash = upper(self.index.hash(item.key()));
        if !self.index.holds(hash, from) {
            // Unlinked already: it waits for grace.
            return Moved::Done(0);
        }
        if !is_live {
            self.evict_hashed(hash, from, Why::Expired);
            return Moved::Done(0);
        }
        let Some(mut slot) = self.memory.allocate_for_copy(class) else { return Moved::NoRoom(class) };
        self.memory.slab().copy(from, &mut slot);
        let (slot_bytes, to) = (slot.bytes(), slot.publish());
        // The walk that renews items may have passed the page that it goes to.
        self.index.renew(&self.memory.item(to));
        self.index.redirect(hash, from, to);
        self.outcomes.moved(from, to, slot_bytes);
        self.memory.retire_copied(from, to);
        Moved::Done(slot_bytes)
    }

    fn relocate_chunk(&mut self, from: ItemRef) -> Moved {
        let at = self.memory.slab().item_of(Used::Chunk(from));
        let hash = upper(self.index.hash(self.memory.item(at).key()));
        if !self.index.holds(hash, at) {
            return Moved::Done(0);
        }
        let Some(to) = self.memory.allocate_for_copy(Class::CHUNK) else {
            return Moved::NoRoom(Class::CHUNK);
        };
        let slot_bytes = to.bytes();
        self.memory.slab().move_chunk(from, to);
        self.memory.retire_moved(from);
        self.outcomes.chunk_moved();
        Moved::Done(slot_bytes)
    }
}
