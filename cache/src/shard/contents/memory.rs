//! The memory of an owner: its slab, and grace, after which what was retired is free again.
//!
//! Whoever has it exclusively may take slots and give back what was not published. Retiring is visible in this folder only,
//! because an item must be unlinked before it is retired.

use crate::base::item_ref::ItemRef;
use crate::base::sync::Arc;
use crate::limits::{FREE_PAGES_PER_OWNER, TICK_RECLAIM_MAX};
use crate::memory::class::Class;
use crate::memory::grace::{Grace, Pin, Stamp};
use crate::memory::item::Shape;
use crate::memory::slab_stats::Loss;
use crate::memory::{Head, Item, OwnedSlot, PagePool, Size, Slab, Unfinished};
use crate::ring::{ChunkUnits, Deadline};

/// The slots of one owner, and when they may be used again.
pub struct Memory {
    slab: Slab,
    grace: Arc<Grace>,
    /// Owners that share the pool.
    owners: usize,
    /// Whether what lives may go for what is new.
    evicts: bool,
    /// Bytes of items that were published and not retired.
    item_bytes: usize,
}

/// To look at.
impl Memory {
    pub(super) fn new(slab: Slab, grace: Arc<Grace>, owners: usize, evicts: bool) -> Memory {
        Memory { slab, grace, owners, evicts, item_bytes: 0 }
    }

    /// Whether a full memory evicts items that live; if not, it refuses new ones.
    #[inline]
    pub fn evicts(&self) -> bool {
        self.evicts
    }

    /// Pages, classes and slots as they are.
    #[inline]
    pub fn slab(&self) -> &Slab {
        &self.slab
    }

    /// The item in a used slot.
    #[inline]
    pub fn item(&self, at: ItemRef) -> Item<'_> {
        self.slab.item(at)
    }

    /// The pages of all owners.
    #[inline]
    pub fn pool(&self) -> &Arc<PagePool> {
        self.slab.pool()
    }

    /// Owners that share the pool.
    pub fn owners(&self) -> usize {
        self.owners
    }

    /// Bytes of items that were published and not retired.
    pub fn item_bytes(&self) -> usize {
        self.item_bytes
    }

    /// Bytes that this owner may use for items.
    pub fn budget_bytes(&self) -> u64 {
        self.pool().budget_bytes(self.owners)
    }

    /// An owner's share of the pages that slabs have.
    pub fn pages_of_owner(&self) -> usize {
        self.pool().slab_pages() / self.owners
    }

    /// Free pages that there should be, of all owners.
    pub fn free_pages_wanted(&self) -> usize {
        FREE_PAGES_PER_OWNER * self.owners
    }

    /// Whether there are no more free pages than those that are kept in reserve.
    pub fn is_at_reserve(&self) -> bool {
        self.pool().free_pages() <= self.free_pages_wanted()
    }

    /// The same for new items. Where nothing is evicted, what stands in the way of a larger index needs room to move to.
    fn is_at_reserve_for_stores(&self) -> bool {
        let kept = if self.evicts { 0 } else { self.pool().missing_pages() };
        self.pool().free_pages() <= self.free_pages_wanted() + kept
    }

    /// Whether a page is this owner's, and slots are taken in it.
    pub fn is_open(&self, page: usize) -> bool {
        self.slab.class_of(page).is_some() && !self.slab.is_closed(page)
    }

    /// Whether a page is this owner's, and is being emptied.
    pub fn is_emptying(&self, page: usize) -> bool {
        self.slab.class_of(page).is_some() && self.slab.is_closed(page) && !self.slab.is_held(page)
    }

    /// Whether a page is this owner's, and may be emptied from now on: nobody writes in it.
    pub fn can_empty(&self, page: usize) -> bool {
        (self.is_open(page) || self.slab.is_held(page)) && self.slab.unfinished_in(page) == 0
    }

    /// How the policy is told when an item is due (in ms since the server epoch), with what its slot takes.
    #[inline]
    pub fn deadline(&self, at: ItemRef, due_ms: u64) -> Deadline {
        deadline(due_ms, self.slab.slot_bytes(at))
    }

    /// How the policy is told what an item takes beside its slot.
    #[inline]
    pub fn chunk_units(&self, shape: Shape) -> ChunkUnits {
        let chunk_bytes = self.slab.chunk_sizes().slot_bytes();
        ChunkUnits::new((shape.chunks * chunk_bytes / ItemRef::UNIT_BYTES) as u64)
    }

    /// Whether one more item may be retired, as large as it may be.
    #[inline]
    pub fn can_retire(&self) -> bool {
        !self.slab.retired().is_full()
    }

    /// When what was unlinked until now is free.
    pub fn grace_from_now(&self) -> Stamp {
        self.grace.retire()
    }

    /// Whether grace is over for what was unlinked before this stamp.
    pub fn is_over(&self, stamp: Stamp) -> bool {
        self.grace.passed(stamp)
    }
}

/// Slots that nobody else knows, and slots that nobody can read any more.
impl Memory {
    /// Whether this owner has its share of the pages, so that the last free ones are for others.
    fn has_its_share(&self) -> bool {
        self.owners > 1 && self.slab.pages_held() >= self.pages_of_owner()
    }

    /// A slot that costs nobody anything. The last free pages are for classes that have none, of owners that have less than their
    /// share: else the page that an owner empties for a class goes to another owner, until that one has all.
    pub fn allocate_without_evicting(&mut self, class: Class) -> Option<OwnedSlot> {
        match self.slab.pages_of(class) {
            0 if self.is_at_reserve() && self.has_its_share() => self.slab.allocate_near(class),
            0 => self.slab.allocate_class(class).or_else(|| self.slab.allocate_near(class)),
            _ if self.is_at_reserve_for_stores() => self.slab.allocate_in_class(class),
            _ => self.slab.allocate_class(class),
        }
    }

    /// A slot, for which a free page of the reserve may be taken by an owner that has less than its share.
    pub fn allocate_from_reserve(&mut self, class: Class) -> Option<OwnedSlot> {
        if self.has_its_share() {
            self.slab.allocate_in_class(class)
        } else {
            self.slab.allocate_class(class)
        }
    }

    /// A slot in a page that this owner has, or in one of the free pages if there are more than those kept in reserve: nothing
    /// is evicted for a copy while memory is free.
    pub fn allocate_for_copy(&mut self, class: Class) -> Option<OwnedSlot> {
        let slot = self.slab.allocate_near(class);
        slot.or_else(|| if self.is_at_reserve() { None } else { self.slab.allocate_class(class) })
    }

    /// Begins an item whose value is cut; `slot` is its own.
    pub fn begin_chunks(&mut self, slot: &mut OwnedSlot) {
        self.slab.begin_chunks(slot);
    }

    /// Adds a chunk to the item that is being built in `slot`.
    pub fn add_chunk(&mut self, slot: &OwnedSlot, chunk: OwnedSlot) {
        self.slab.add_chunk(slot, chunk);
    }

    /// Gives back a slot that was not published, with its chunks.
    pub fn abandon(&mut self, slot: OwnedSlot) {
        self.slab.abandon(slot);
    }

    /// Begins an item in `slot` and its chunks whose value comes later.
    pub fn reserve(&mut self, slot: OwnedSlot, key: &[u8], value_bytes: usize, flags: u32) -> Unfinished {
        self.slab.reserve(slot, key, value_bytes, flags)
    }

    /// The value of an item is there; it is about to be published.
    pub fn finish(&mut self, unfinished: Unfinished, head: Head) -> OwnedSlot {
        self.slab.finish(unfinished, head)
    }

    /// Gives back the slots of an item that is not published, whose value was to come later.
    pub fn abandon_unfinished(&mut self, unfinished: Unfinished) {
        self.slab.abandon_unfinished(unfinished);
    }

    /// Allocates nothing more in a page, so that it empties.
    pub fn close_page(&mut self, page: usize) {
        self.slab.close_page(page);
    }

    /// The same for a page that cannot be emptied before the values that are written in it are there.
    pub fn hold_page(&mut self, page: usize) {
        self.slab.hold_page(page);
    }

    /// Allocates in a page again that was to be emptied.
    pub fn open_page(&mut self, page: usize) {
        self.slab.open_page(page);
    }

    /// Once a tick: frees what nobody can read any more, a bounded number of slots. The stores of the tick get them first.
    pub fn recycle(&mut self) {
        self.slab.recycle(&self.grace, TICK_RECLAIM_MAX);
    }

    /// The same, for whoever needs more than free slots: pages, or other classes. To make it more, what `pin` has lent is let go.
    pub fn reclaim_now(&mut self, pin: &mut Pin) {
        pin.quiescent();
        self.slab.reclaim(&self.grace, TICK_RECLAIM_MAX);
    }

    /// Whether memory that was unlinked is not back in its pages yet.
    pub fn is_settling(&self) -> bool {
        !self.slab.retired().is_empty() || self.slab.has_recycled()
    }
}

/// Items on their way into the index, and out of it.
impl Memory {
    /// The item of this size in `slot` is written, and about to be published.
    pub(super) fn complete(&mut self, slot: OwnedSlot, size: Size) -> ItemRef {
        self.item_bytes += size.bytes();
        self.slab.complete(slot, size.bytes())
    }

    /// An item was unlinked: it is free after grace, with its chunks.
    pub(super) fn retire(&mut self, old: ItemRef) {
        self.item_bytes -= self.slab.item(old).bytes();
        self.slab.retire(old);
    }

    /// An item was unlinked that no client deleted.
    pub(super) fn note_loss(&self, item: ItemRef, loss: Loss) {
        self.slab.note_loss(item, loss);
    }

    /// The item at `from` was copied to `to`: its old slot is free after grace.
    pub(super) fn retire_copied(&mut self, from: ItemRef, to: ItemRef) {
        self.slab.note_moved(from, to);
        self.retire_moved(from);
    }

    /// Another slot has what was in this one: it is free after grace.
    pub(super) fn retire_moved(&mut self, from: ItemRef) {
        self.slab.retire_slot(from);
    }
}

/// As [`Memory::deadline`], of an item in a slot of this length.
#[inline]
pub(super) fn deadline(due_ms: u64, slot_bytes: usize) -> Deadline {
    Deadline::new(due_ms, (slot_bytes / ItemRef::UNIT_BYTES) as u32)
}
