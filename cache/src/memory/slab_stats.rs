//! The slab stats of an owner's slab: what its pages and slots are used for, by size class. Written by the owner with plain
//! stores as it allocates and frees, read by whoever tells `stats`.
//!
//! ```text
//! page of a class   │ bitmap │ live │ live │ retired │ free │ live │ … │ what is too short for a slot │
//! ```
//! A reading is not a moment: a page that changes hands meanwhile may be in neither place. What an idle server tells adds
//! up exactly.

use crate::base::counter::Counter;
use crate::memory::class::{CLASSES_MAX, Class};
use crate::memory::item::Item;
use crate::memory::page::Layout;

/// One owner's counts.
#[derive(Debug)]
pub struct SlabStats {
    layout: Layout,
    classes: Box<[Counts]>,
}

/// Why an item went that no client deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It was alive.
    Evicted,
    /// Its time was over, or it had been flushed.
    Expired,
}

crate::counters! {
    /// Items of a class that no client deleted, and that are gone. Written by the owner only.
    Losses {
        /// Items that were alive.
        counter evicted,
        /// Of these, items that nobody had read since they were stored.
        counter evicted_unfetched,
        /// Of these, items that had a time to live.
        counter evicted_nonzero,
        /// Items whose time was over, or that had been flushed.
        counter expired,
        /// Of these, items that nobody had read since they were stored.
        counter expired_unfetched,
    }
}

impl Losses {
    fn note(&self, item: &Item<'_>, loss: Loss) {
        let (all, unfetched) = match loss {
            Loss::Evicted => (&self.evicted, &self.evicted_unfetched),
            Loss::Expired => (&self.expired, &self.expired_unfetched),
        };
        all.add(1);
        unfetched.add(!item.fetched() as u64);
        if loss == Loss::Evicted {
            self.evicted_nonzero.add((item.state().deadline_ms() != 0) as u64);
        }
    }
}

/// What an owner counts of a class.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) pages: Counter,
    /// Bytes of items that readers can find, headers included.
    pub(super) item_bytes: Counter,
    losses: Losses,
    /// Slots that are not free: live, unfinished and retired ones.
    pub(super) used: Counter,
    /// Slots of items whose values are still coming.
    pub(super) unfinished: Counter,
    /// Slots whose items are unlinked and wait for grace.
    pub(super) retired: Counter,
}

/// What was read of a class, of one owner or of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Bytes of a slot.
    pub slot_bytes: u64,
    /// Slots of a page.
    pub slots_of_page: u64,
    /// Pages of the class.
    pub pages: u64,
    /// Slots of items that readers can find, and of their chunks.
    pub live: u64,
    /// Slots of items whose values are still coming, and of their chunks.
    pub unfinished: u64,
    /// Slots of items that are unlinked and wait for grace.
    pub retired: u64,
    /// Bytes of items that readers can find, headers and chunks included.
    pub item_bytes: u64,
}

impl SlabStats {
    /// Nothing is used yet.
    pub(super) fn new(layout: Layout) -> SlabStats {
        SlabStats { layout, classes: (0..CLASSES_MAX).map(|_| Counts::default()).collect() }
    }

    #[inline]
    pub(super) fn of(&self, class: Class) -> &Counts {
        &self.classes[class.index()]
    }

    /// What the class has now.
    pub fn read(&self, class: Class) -> Tally {
        let (slots, counts) = (self.layout.slots(class), self.of(class));
        let (retired, unfinished) = (counts.retired.get(), counts.unfinished.get());
        Tally {
            slot_bytes: slots.slot_bytes as u64,
            slots_of_page: slots.count as u64,
            pages: counts.pages.get(),
            live: counts.used.get().saturating_sub(retired + unfinished),
            unfinished,
            retired,
            item_bytes: counts.item_bytes.get(),
        }
    }

    /// What went of the class.
    pub fn losses(&self, class: Class) -> &Losses {
        &self.of(class).losses
    }

    pub(super) fn note_loss(&self, class: Class, item: &Item<'_>, loss: Loss) {
        self.of(class).losses.note(item, loss);
    }

    /// The classes that have pages, of owners of the same layout together.
    pub fn read_all(owners: &[impl AsRef<SlabStats>]) -> Vec<(Class, Tally)> {
        let of_class = |class| {
            let mut tallies = owners.iter().map(|owner| owner.as_ref().read(class));
            let first = tallies.next()?;
            let all = tallies.fold(first, |all, one| Tally {
                pages: all.pages + one.pages,
                live: all.live + one.live,
                unfinished: all.unfinished + one.unfinished,
                retired: all.retired + one.retired,
                item_bytes: all.item_bytes + one.item_bytes,
                ..all
            });
            (all.pages > 0).then_some((class, all))
        };
        (0..CLASSES_MAX).map(Class::from_index).filter_map(of_class).collect()
    }
}

impl Tally {
    /// Slots that an item could have at once.
    pub fn free(&self) -> u64 {
        (self.pages * self.slots_of_page).saturating_sub(self.live + self.unfinished + self.retired)
    }
}
