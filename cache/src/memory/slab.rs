//! The slab allocator of one owner: slots of size classes in pages, no atomics of its own, no search.
//!
//! Per class a list of pages with free slots; per page a bitmap in the page itself. Allocation takes the first clear
//! bit of the first page; release clears it. An empty page goes back to the pool that all owners share.
//!
//! Cost: a few words touched per allocation, all of them the owner's. Waste: see [`super::class`] (internal), at most
//! one partly filled page per class after filling (external); when the mix of sizes shifts, the mover empties pages.

#![allow(unsafe_code)]

use crate::base::item_ref::ItemRef;
use crate::base::sync::Ordering;
use crate::memory::chunks::Used;
use crate::memory::class::{CLASSES_MAX, Class};
use crate::memory::grace::Grace;
use crate::memory::item::{Chunks, Item, Items, OwnedSlot};
use crate::memory::page::{Layout, Slots};
use crate::memory::pool::PagePool;
use crate::memory::retired::Retired;
use crate::memory::slab_stats::SlabStats;
use crate::memory::unfinished::UnfinishedSlots;
use recycled::Recycled;
use std::sync::Arc;

const NO_PAGE: u32 = u32::MAX;

/// One owner's memory.
pub struct Slab {
    pub(super) items: Items,
    pool: Arc<PagePool>,
    layout: Layout,
    pages: Box<[Page]>,
    /// First page with free slots, per class.
    partial: [u32; CLASSES_MAX],
    pub(super) stats: Arc<SlabStats>,
    /// Free slots of pages that are not closed.
    class_free: [u32; CLASSES_MAX],
    pub(super) retired: Retired,
    /// Chunks that were taken for the item that is being built.
    pub(super) chunks: Vec<ItemRef>,
    pub(super) unfinished: UnfinishedSlots,
    recycled: Recycled,
    used_bytes: usize,
    used_slots: usize,
    pages_held: usize,
    closed_pages: usize,
    /// Bytes of pages that are in no slot.
    tail_bytes: usize,
    /// Classes that have pages.
    classes_used: usize,
}

#[derive(Clone, Copy, Debug)]
struct Page {
    class: Option<Class>,
    used: u32,
    /// Neighbours in the class's list of pages with free slots.
    previous: u32,
    next: u32,
    /// No clear bit in the bitmap words before this one.
    hint: u32,
    /// It is being emptied: nothing is allocated in it.
    closed: bool,
    /// It is closed, and will be emptied when the unfinished items in it are finished.
    held: bool,
    /// Slots of unfinished items.
    unfinished: u32,
}

const FREE_PAGE: Page = Page {
    class: None,
    used: 0,
    previous: NO_PAGE,
    next: NO_PAGE,
    hint: 0,
    closed: false,
    held: false,
    unfinished: 0,
};

impl Slab {
    /// A slab of memory that is wired by hand, as benches do.
    ///
    /// # Safety
    /// `pool` is the only pool of pages of `items`, and pages go from it to slabs over `items` only.
    pub unsafe fn over(items: &Items, pool: Arc<PagePool>) -> Slab {
        Slab::new(items.share(), pool)
    }

    /// An owner's slab, without pages yet. The builder makes one pool of the pages of one memory.
    pub(crate) fn new(items: Items, pool: Arc<PagePool>) -> Slab {
        let layout = pool.layout();
        assert!(layout.pages * layout.page_bytes <= items.bytes());
        Slab {
            layout,
            pages: vec![FREE_PAGE; layout.pages].into_boxed_slice(),
            partial: [NO_PAGE; CLASSES_MAX],
            stats: Arc::new(SlabStats::new(layout)),
            class_free: [0; CLASSES_MAX],
            retired: Retired::new(Self::chunks_max(&items) + 1),
            chunks: Vec::with_capacity(Self::chunks_max(&items)),
            unfinished: UnfinishedSlots::default(),
            recycled: Recycled::new(),
            items,
            used_bytes: 0,
            used_slots: 0,
            pages_held: 0,
            closed_pages: 0,
            tail_bytes: 0,
            classes_used: 0,
            pool,
        }
    }

    /// A slot for `bytes` bytes; `None` when neither a page of the class nor the pool has one.
    pub fn allocate(&mut self, bytes: usize) -> Option<OwnedSlot> {
        self.allocate_class(Class::of(bytes))
    }

    /// As [`Slab::allocate`], of a class.
    pub fn allocate_class(&mut self, class: Class) -> Option<OwnedSlot> {
        if self.class_free[class.index()] == 0 {
            self.take_page(class)?;
        }
        self.allocate_in_class(class)
    }

    /// As [`Slab::allocate_class`], in a page that this owner has: of the class, or of one that is larger, up to twice the
    /// size. Chunks are of one size.
    pub fn allocate_near(&mut self, class: Class) -> Option<OwnedSlot> {
        if class == Class::CHUNK {
            return self.allocate_in_class(class);
        }
        let near = class.index()..(class.index() + Class::PER_DOUBLING).min(Class::CHUNK.index());
        near.map(Class::from_index).find_map(|class| self.allocate_in_class(class))
    }

    /// A slot of exactly this class, in a page that this owner has.
    pub fn allocate_in_class(&mut self, class: Class) -> Option<OwnedSlot> {
        let at = match self.take_recycled(class) {
            Some(at) => at,
            None => self.take_clear(class)?,
        };
        let slot_bytes = self.layout.slots(class).slot_bytes;
        self.used_bytes += slot_bytes;
        self.used_slots += 1;
        self.stats.of(class).used.add(1);
        // SAFETY: the slot's bit was clear and is set now, or the slot was taken out of `recycled`. It came there, or its bit was cleared,
        // when it had never been published, or its grace was over; that happens again only by `release` and `recycle`.
        Some(unsafe { OwnedSlot::new(at, slot_bytes) })
    }

    /// A slot whose bit is clear, in a page of the class; the bit is set now.
    fn take_clear(&mut self, class: Class) -> Option<ItemRef> {
        let page = match self.partial[class.index()] {
            NO_PAGE => return None,
            page => page as usize,
        };
        let slots = self.layout.slots(class);
        let index = self.take_slot(page, &slots);
        self.class_free[class.index()] -= 1;
        Some(slots.item(&self.layout, page, index))
    }

    /// The item in a used slot of this owner's.
    ///
    /// # Panics
    /// When the page of `at` is not this owner's.
    #[inline]
    pub fn item(&self, at: ItemRef) -> Item<'_> {
        assert!(self.owns(at), "an item of a page of this owner");
        // SAFETY: only the owner of a page writes to it, beside the atomics of an item, and what it writes needs the slab
        // exclusively, or is a slot that no reference leads to. So the item does not change while the slab is borrowed.
        unsafe { self.items.get(at) }
    }

    /// Gives a slot back that was not published.
    pub fn give_back(&mut self, slot: OwnedSlot) {
        self.release(slot.publish());
    }

    /// Frees a slot at once: it was never published, or its grace is over.
    pub(super) fn release(&mut self, at: ItemRef) {
        let class = self.class_at(at);
        #[cfg(debug_assertions)]
        self.items.poison(at, self.layout.slots(class).slot_bytes);
        self.note_free(class);
        self.clear(at, class);
    }

    fn note_free(&mut self, class: Class) {
        self.used_bytes -= self.layout.slots(class).slot_bytes;
        self.used_slots -= 1;
        self.stats.of(class).used.sub(1);
    }

    /// Gives a slot that is free back to its page.
    fn clear(&mut self, at: ItemRef, class: Class) {
        let (page, slots) = (self.layout.page_of(at), self.layout.slots(class));
        let index = slots.index(&self.layout, at);
        let word = &self.items.words(slots.bitmap(&self.layout, page))[index / 64];
        // Relaxed: only the owner of a page touches its bitmap.
        let before = word.load(Ordering::Relaxed);
        assert!(before & 1 << (index % 64) != 0, "a slot is released once");
        word.store(before & !(1 << (index % 64)), Ordering::Relaxed);
        self.return_slot(page, class, index, &slots);
    }

    /// Whether the next item of its class goes into this page.
    pub fn is_filling(&self, page: usize) -> bool {
        self.pages[page].class.is_some_and(|class| self.partial[class.index()] == page as u32)
    }

    /// Slots of unfinished items in a page.
    pub fn unfinished_in(&self, page: usize) -> usize {
        self.pages[page].unfinished as usize
    }

    /// Counts of a page, for the slab's other rooms.
    pub(super) fn unfinished_of_page(&mut self, page: usize) -> &mut u32 {
        &mut self.pages[page].unfinished
    }

    /// Retires one slot that nothing leads to any more; it is free after grace. Of an item that was cut see
    /// [`Slab::retire`].
    pub fn retire_slot(&mut self, at: ItemRef) {
        self.stats.of(self.class_at(at)).retired.add(1);
        self.retired.push(at);
    }

    /// Stamps what was retired, frees what nobody can read any more, at most `max` slots, and gives them back to their pages.
    pub fn reclaim(&mut self, grace: &Grace, max: usize) -> usize {
        self.return_recycled();
        self.retired.close(grace);
        let mut count = 0;
        while count < max
            && let Some(at) = self.retired.pop(grace)
        {
            self.stats.of(self.class_at(at)).retired.sub(1);
            self.release(at);
            count += 1;
        }
        count
    }

    /// Retired items that wait for grace.
    pub fn retired(&self) -> &Retired {
        &self.retired
    }

    /// Size of the slot of an item of this owner, in bytes.
    pub fn slot_bytes(&self, at: ItemRef) -> usize {
        self.layout.slots(self.class_at(at)).slot_bytes
    }

    /// Whether the page of `at` belongs to this owner.
    pub fn owns(&self, at: ItemRef) -> bool {
        self.pages.get(self.layout.page_of(at)).is_some_and(|page| page.class.is_some())
    }

    /// The class of a page; `None` if this owner does not have it.
    pub fn class_of(&self, page: usize) -> Option<Class> {
        self.pages[page].class
    }

    /// Used slots of a page, retired items included.
    pub fn used_in(&self, page: usize) -> usize {
        self.pages[page].used as usize
    }

    /// The first used slot of `page` at or behind slot `from`: its number and what is there. What is retired is used as
    /// well; what belongs to unfinished items is passed over.
    pub fn next_used_slot(&self, page: usize, mut from: usize) -> Option<(usize, Used)> {
        loop {
            let (number, used) = self.next_taken_slot(page, from)?;
            // One page in a hundred has any.
            if self.pages[page].unfinished == 0 || !self.is_unfinished(used) {
                return Some((number, used));
            }
            from = number + 1;
        }
    }

    /// As [`Slab::next_used_slot`], of all slots that are not free.
    fn next_taken_slot(&self, page: usize, from: usize) -> Option<(usize, Used)> {
        let class = self.pages[page].class?;
        let slots = self.layout.slots(class);
        let words = self.items.words(slots.bitmap(&self.layout, page));
        let mut mask = !0u64 << (from % 64);
        for (i, word) in words.iter().enumerate().skip(from / 64) {
            // Relaxed: see `release`.
            let used = word.load(Ordering::Relaxed) & mask;
            if used != 0 {
                let index = i * 64 + used.trailing_zeros() as usize;
                let at = slots.item(&self.layout, page, index);
                return Some((index, if class == Class::CHUNK { Used::Chunk(at) } else { Used::Item(at) }));
            }
            mask = !0;
        }
        None
    }

    /// Slots of a page of `class`.
    pub fn slots_of(&self, class: Class) -> Slots {
        self.layout.slots(class)
    }

    /// Free slots of `class` in pages that this owner has and that are not closed.
    pub fn free_slots_of(&self, class: Class) -> usize {
        self.class_free[class.index()] as usize
    }

    /// Pages that `class` has.
    pub fn pages_of(&self, class: Class) -> usize {
        self.stats.of(class).pages.get() as usize
    }

    /// Slots of `class` that wait for grace.
    pub fn retired_slots_of(&self, class: Class) -> usize {
        self.stats.of(class).retired.get() as usize
    }

    /// Bytes of all used slots.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Bytes of this owner's pages that are in no slot: bitmaps, and what is left behind the last slot.
    pub fn tail_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// Classes that have pages.
    pub fn classes_used(&self) -> usize {
        self.classes_used
    }

    /// Used slots.
    pub fn used_slots(&self) -> usize {
        self.used_slots
    }

    /// Pages of this owner.
    pub fn pages_held(&self) -> usize {
        self.pages_held
    }

    /// What pages and slots are used for.
    pub fn stats(&self) -> &Arc<SlabStats> {
        &self.stats
    }

    /// The pages and their pool.
    pub fn pool(&self) -> &Arc<PagePool> {
        &self.pool
    }

    /// How values are cut.
    pub fn chunk_sizes(&self) -> Chunks {
        self.items.chunks()
    }

    /// Length of the memory that all owners share, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.items.bytes()
    }

    /// Asks the processor for the first `bytes` of the item at `at`, without waiting.
    #[inline]
    pub fn prefetch(&self, at: ItemRef, bytes: usize) {
        self.items.prefetch(at, bytes);
    }

    pub(super) fn class_at(&self, at: ItemRef) -> Class {
        self.pages[self.layout.page_of(at)].class.expect("a slot of a page of this owner")
    }

    fn take_page(&mut self, class: Class) -> Option<usize> {
        let page = self.pool.take()?;
        let slots = self.layout.slots(class);
        for word in self.items.words(slots.bitmap(&self.layout, page)) {
            // Relaxed: the page is this owner's alone; the pool's queue ordered the last owner's stores before.
            word.store(0, Ordering::Relaxed);
        }
        self.pages[page] = Page { class: Some(class), ..FREE_PAGE };
        self.classes_used += (self.pages_of(class) == 0) as usize;
        self.stats.of(class).pages.add(1);
        self.class_free[class.index()] += slots.count as u32;
        self.pages_held += 1;
        self.tail_bytes += self.layout.page_bytes - slots.count * slots.slot_bytes;
        self.list(page, class);
        Some(page)
    }

    /// Sets the first clear bit of a page's bitmap; the page has one.
    fn take_slot(&mut self, page: usize, slots: &Slots) -> usize {
        let words = self.items.words(slots.bitmap(&self.layout, page));
        let entry = &mut self.pages[page];
        let (i, bits) = words
            .iter()
            .enumerate()
            .skip(entry.hint as usize)
            // Relaxed: see `release`.
            .map(|(i, word)| (i, word.load(Ordering::Relaxed)))
            .find(|&(_, bits)| bits != !0)
            .expect("a listed page has a free slot");
        let bit = bits.trailing_ones() as usize;
        words[i].store(bits | 1 << bit, Ordering::Relaxed);
        entry.hint = i as u32;
        entry.used += 1;
        let full = entry.used as usize == slots.count;
        if full {
            let class = entry.class.expect("a page in use has a class");
            self.unlist(page, class);
        }
        i * 64 + bit
    }

    fn return_slot(&mut self, page: usize, class: Class, index: usize, slots: &Slots) {
        let entry = &mut self.pages[page];
        let was_full = entry.used as usize == slots.count;
        entry.used -= 1;
        entry.hint = entry.hint.min((index / 64) as u32);
        let (is_empty, is_closed) = (entry.used == 0, entry.closed);
        if was_full && !is_closed {
            self.list(page, class);
        }
        self.class_free[class.index()] += !is_closed as u32;
        if is_empty {
            if is_closed {
                self.closed_pages -= !self.let_go(page) as usize;
            } else {
                self.unlist(page, class);
                self.class_free[class.index()] -= slots.count as u32;
            }
            self.pages[page] = FREE_PAGE;
            self.stats.of(class).pages.sub(1);
            self.classes_used -= (self.pages_of(class) == 0) as usize;
            self.pages_held -= 1;
            self.tail_bytes -= self.layout.page_bytes - slots.count * slots.slot_bytes;
            self.pool.give_back(page);
        }
    }

    fn list(&mut self, page: usize, class: Class) {
        let first = std::mem::replace(&mut self.partial[class.index()], page as u32);
        self.pages[page].previous = NO_PAGE;
        self.pages[page].next = first;
        if first != NO_PAGE {
            self.pages[first as usize].previous = page as u32;
        }
    }

    fn unlist(&mut self, page: usize, class: Class) {
        let Page { previous, next, .. } = self.pages[page];
        match previous {
            NO_PAGE => self.partial[class.index()] = next,
            previous => self.pages[previous as usize].next = next,
        }
        if next != NO_PAGE {
            self.pages[next as usize].previous = previous;
        }
    }
}

mod closing;
mod recycled;
#[cfg(test)]
mod tests;
