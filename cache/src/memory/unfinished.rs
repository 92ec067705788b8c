//! Unfinished items, from the slab's side: which slots they have, and in which pages.
//!
//! A slot of an unfinished item is written by another thread, so it stays where it is. [`Slab::next_used_slot`] passes over it, and
//! whoever wants to empty a page asks [`Slab::unfinished_in`] first. A blank header says what is unfinished: chunks lead to it.

use crate::base::item_ref::ItemRef;
use crate::memory::chunks::Used;
use crate::memory::class::Class;
use crate::memory::item::{Head, OwnedSlot, Size, Unfinished};
use crate::memory::slab::Slab;

/// What unfinished items of an owner have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnfinishedSlots {
    /// Items.
    pub items: usize,
    /// Bytes of their slots, chunks included.
    pub bytes: usize,
    /// Pages with slots of theirs.
    pub pages: usize,
}

impl Slab {
    /// What unfinished items have now.
    pub fn unfinished(&self) -> UnfinishedSlots {
        self.unfinished
    }

    /// Bytes of the slots that an item of this size takes, chunks included, where there are pages of its class.
    pub fn slot_bytes_for(&self, size: Size) -> usize {
        let (chunks, shape) = (self.chunk_sizes(), size.shape(self.chunk_sizes()));
        let own = Class::of(shape.bytes_in_slot(size.fixed_bytes())).slot_bytes();
        if shape.chunks > 0 { own + shape.chunks * chunks.slot_bytes() } else { own }
    }

    /// Begins an item in `slot`, and in the chunks that were taken for it, whose value comes later.
    ///
    /// # Panics
    /// When they are too small, or not as many as the value needs.
    pub fn reserve(&mut self, slot: OwnedSlot, key: &[u8], value_bytes: usize, flags: u32) -> Unfinished {
        let unfinished = self.items.reserve(slot, &self.chunks, (key, value_bytes, flags));
        self.chunks.clear();
        self.unfinished.items += 1;
        self.each_slot(&unfinished, |slab, at| slab.note_slot(at, true));
        unfinished
    }

    /// The value is there: the item is complete, and about to be published.
    ///
    /// # Panics
    /// When bytes of it are missing, or it is another slab's.
    pub fn finish(&mut self, unfinished: Unfinished, head: Head) -> OwnedSlot {
        self.note_end(&unfinished);
        self.items.finish(unfinished, head)
    }

    /// Frees what an unfinished item has.
    ///
    /// # Panics
    /// When it is another slab's.
    pub fn abandon_unfinished(&mut self, unfinished: Unfinished) {
        self.note_end(&unfinished);
        self.each_slot(&unfinished, |slab, at| slab.release(at));
    }

    /// Whether a used slot is an unfinished item's.
    pub(super) fn is_unfinished(&self, used: Used) -> bool {
        self.item(self.item_of(used)).key_bytes() == 0
    }

    fn note_end(&mut self, unfinished: &Unfinished) {
        assert!(unfinished.is_in(&self.items) && self.owns(unfinished.at()), "an item of this owner");
        self.unfinished.items -= 1;
        self.each_slot(unfinished, |slab, at| slab.note_slot(at, false));
    }

    /// Calls `each` for every slot of an unfinished item, its own last: the others are found through it.
    fn each_slot(&mut self, unfinished: &Unfinished, mut each: impl FnMut(&mut Slab, ItemRef)) {
        unfinished.chunk_refs().for_each(|chunk| each(self, chunk));
        each(self, unfinished.at());
    }

    /// A slot is an unfinished item's from now on, or not any more.
    fn note_slot(&mut self, at: ItemRef, is_unfinished: bool) {
        let (page, bytes) = (self.page_of(at), self.slot_bytes(at));
        let slots = self.unfinished_of_page(page);
        if is_unfinished {
            *slots += 1;
            let is_first = *slots == 1;
            self.unfinished.bytes += bytes;
            self.unfinished.pages += is_first as usize;
            self.stats.of(self.class_at(at)).unfinished.add(1);
        } else {
            *slots -= 1;
            let was_last = *slots == 0;
            self.unfinished.bytes -= bytes;
            self.unfinished.pages -= was_last as usize;
            self.stats.of(self.class_at(at)).unfinished.sub(1);
        }
    }
}
