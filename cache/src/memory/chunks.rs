//! Chunks of long values, from the slab's side: gathered for an item, retired with it.
//!
//! An item that is cut is built head first: its slot, then its chunks one by one, each of which leads back to the slot
//! from the moment it is taken, so that pressure and the mover can ask any chunk in use for its item.

use crate::base::item_ref::ItemRef;
use crate::limits::VALUE_BYTES_LIMIT;
use crate::memory::class::Class;
use crate::memory::item::{Items, OwnedSlot, Parts};
use crate::memory::slab::Slab;
use crate::memory::slab_stats::Loss;

/// What a used slot holds. A chunk is bytes of a client's value: it has no header, so nothing may read it as an item. Whoever
/// walks over slots gets this and has to say what it wants: [`Slab::item_of`] leads from either to an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// An item, published, retired, or being built.
    Item(ItemRef),
    /// A chunk of an item's value.
    Chunk(ItemRef),
}

impl Slab {
    /// Most chunks of an item.
    pub(super) fn chunks_max(items: &Items) -> usize {
        items.chunks().shape(0, VALUE_BYTES_LIMIT).chunks
    }

    /// Begins an item whose value is cut; `slot` is its own.
    pub fn begin_chunks(&mut self, slot: &mut OwnedSlot) {
        debug_assert!(self.chunks.is_empty(), "one item is built at a time");
        self.items.write_blank(slot, false);
    }

    /// Adds a chunk, just allocated, to the item that is being built in `slot`.
    pub fn add_chunk(&mut self, slot: &OwnedSlot, chunk: OwnedSlot) {
        let chunk = chunk.publish();
        self.items.own_chunk(chunk, slot.at(), self.chunks.len());
        self.chunks.push(chunk);
    }

    /// Writes an item into the slot and the chunks that were taken for it. It is complete with [`Slab::complete`].
    ///
    /// # Panics
    /// When they are too small, or not as many as the value needs.
    pub fn write(&self, slot: &mut OwnedSlot, parts: &Parts<'_>) {
        self.items.write(slot, &self.chunks, parts);
    }

    /// The item of `bytes` that was written into `slot` has its chunks for good, and is about to be published.
    pub fn complete(&mut self, slot: OwnedSlot, bytes: usize) -> ItemRef {
        self.chunks.clear();
        let at = slot.publish();
        self.stats.of(self.class_at(at)).item_bytes.add(bytes as u64);
        at
    }

    /// An item was unlinked that no client deleted.
    pub fn note_loss(&self, at: ItemRef, loss: Loss) {
        self.stats.note_loss(self.class_at(at), &self.item(at), loss);
    }

    /// The item at `from` is at `to` now.
    pub fn note_moved(&self, from: ItemRef, to: ItemRef) {
        let bytes = self.item(to).bytes() as u64;
        self.stats.of(self.class_at(from)).item_bytes.sub(bytes);
        self.stats.of(self.class_at(to)).item_bytes.add(bytes);
    }

    /// Gives back a slot, and the chunks that were taken for the same item, which was not published.
    pub fn abandon(&mut self, slot: OwnedSlot) {
        while let Some(chunk) = self.chunks.pop() {
            self.release(chunk);
        }
        self.give_back(slot);
    }

    /// Copies an item of this owner's into another slot.
    pub fn copy(&self, from: ItemRef, slot: &mut OwnedSlot) {
        self.items.copy(self.item(from), slot);
    }

    /// Copies a chunk of an item of this owner's into another slot, and lets the item refer to the copy.
    pub fn move_chunk(&self, from: ItemRef, slot: OwnedSlot) {
        let (at, _) = self.items.owner_of_chunk(from);
        self.items.move_chunk(from, self.item(at), slot);
    }

    /// Retires an item that was just unlinked; its slot and its chunks are free after grace. The chunks come first: a chunk
    /// in use leads to an item that is still there.
    pub fn retire(&mut self, at: ItemRef) {
        for number in 0..self.item(at).shape().chunks {
            let chunk = self.item(at).value().chunk_ref(number);
            self.stats.of(Class::CHUNK).retired.add(1);
            self.retired.push(chunk);
        }
        self.stats.of(self.class_at(at)).item_bytes.sub(self.item(at).bytes() as u64);
        self.retire_slot(at);
    }

    /// The item that a used slot belongs to: itself, or the item whose chunk it is.
    pub fn item_of(&self, used: Used) -> ItemRef {
        match used {
            Used::Item(at) => at,
            Used::Chunk(chunk) => self.items.owner_of_chunk(chunk).0,
        }
    }

    /// Page of an item or a chunk.
    pub fn page_of(&self, at: ItemRef) -> usize {
        self.pool().layout().page_of(at)
    }
}
