//! Pressure: no memory is free and a SET is here. It takes a victim now, without asking the policy.
//!
//! 1. Retired memory whose grace is over is freed.
//! 2. A class without pages is a guest in a larger class, up to twice the size.
//! 3. A class that deserves more pages, because the class with the most has colder items, takes one of the free pages that
//!    are kept in reserve, and the mover empties a page of that other class.
//! 4. Else, and meanwhile, items of the class itself go: of [`PRESSURE_SAMPLE`] that follow the class's hand (a clock over
//!    pages), expired ones first, then those that were read longest ago. Sampled LRU, as in Redis.
//!
//! Victims are under grace. Where no other worker is awake that is over at once; else the SET waits for a tick
//! ([`Blocked::OnGrace`]), the only wait there is.

use crate::base::clock::Now;
use crate::base::item_ref::ItemRef;
use crate::limits::{
    FREE_PAGES_PER_OWNER, PAGE_SAMPLE, PAGES_SAMPLE, PRESSURE_EVICT, PRESSURE_EVICT_BYTES, PRESSURE_SAMPLE,
    TICK_RECLAIM_MAX,
};
use crate::memory::class::{CLASSES_MAX, Class};
use crate::memory::grace::Pin;
use crate::memory::{OwnedSlot, Size};
use crate::shard::error::{Blocked, WriteError};
use crate::shard::owner::Owner;

/// Chunks that every page has at least.
const CHUNKS_OF_PAGE_MIN: u32 = 60;

/// Where the search for victims stands.
pub struct Pressure {
    /// Page and slot, per class.
    hands: Box<[(u32, u32)]>,
    sample: Vec<(u64, ItemRef)>,
}

impl Pressure {
    pub(super) fn new() -> Pressure {
        Pressure {
            hands: vec![(0, 0); CLASSES_MAX].into_boxed_slice(),
            sample: Vec::with_capacity(PRESSURE_SAMPLE),
        }
    }
}

impl Owner {
    /// Room for an item: its slot, and the chunks of its value, which the slab keeps until the item is published. Call it
    /// before looking at any item: what it evicts may be that item.
    ///
    /// # Errors
    /// [`Blocked::OnGrace`] when victims are on their way, and what says that memory cannot hold so much.
    pub(super) fn allocate(&mut self, pin: &mut Pin, size: Size, now: Now) -> Result<OwnedSlot, WriteError> {
        let shape = size.shape(self.slab.chunk_sizes());
        let bytes = shape.bytes_in_slot(size.fixed_bytes());
        let layout = self.slab.pool().layout();
        // Half of the pages at most: other items have to be somewhere while it is stored.
        let is_too_large =
            size.bytes() > self.slab.pool().slab_pages() / self.shards().count() * layout.page_bytes / 2;
        if bytes > layout.item_bytes_max() || is_too_large {
            return Err(WriteError::TooLarge);
        }
        let mut slot = self.allocate_slot(pin, Class::of(bytes), now)?;
        if shape.chunks > 0 {
            self.slab.begin_chunks(&mut slot);
            for _ in 0..shape.chunks {
                match self.allocate_slot(pin, Class::CHUNK, now) {
                    Ok(chunk) => self.slab.add_chunk(&slot, chunk),
                    Err(error) => {
                        self.slab.abandon(slot);
                        return Err(error);
                    }
                }
            }
        }
        Ok(slot)
    }

    fn allocate_slot(&mut self, pin: &mut Pin, class: Class, now: Now) -> Result<OwnedSlot, WriteError> {
        if self.slab.retired().is_full() {
            self.reclaim_now(pin);
        }
        if self.slab.retired().is_full() {
            return Err(Blocked::OnGrace.into());
        }
        match self.allocate_without_evicting(class) {
            Some(slot) => Ok(slot),
            None => self.allocate_under_pressure(pin, class, now),
        }
    }

    /// A slot that costs nobody anything. The last free pages are for classes that have none.
    fn allocate_without_evicting(&mut self, class: Class) -> Option<OwnedSlot> {
        let is_reserve = self.slab.pool().free_pages() <= self.free_pages_wanted();
        match self.slab.pages_of(class) {
            0 => self.slab.allocate_class(class).or_else(|| self.slab.allocate_near(class)),
            _ if is_reserve => self.slab.allocate_in_class(class),
            _ => self.slab.allocate_class(class),
        }
    }

    #[cold]
    fn allocate_under_pressure(
        &mut self,
        pin: &mut Pin,
        class: Class,
        now: Now,
    ) -> Result<OwnedSlot, WriteError> {
        for _ in 0..Self::PRESSURE_ROUNDS_MAX {
            self.reclaim_now(pin);
            if let Some(slot) = self.allocate_without_evicting(class) {
                return Ok(slot);
            }
            if self.slab.retired().is_full() {
                break;
            }
            let deserves_a_page = self.deserves_a_page(class, now);
            if deserves_a_page && let Some(slot) = self.slab.allocate_class(class) {
                return Ok(slot);
            }
            // Until the page is here, its own items give way, no more of them than need be.
            let count = if deserves_a_page { 1 } else { PRESSURE_EVICT };
            if self.evict_coldest(class, count, now) == 0 {
                break;
            }
            self.reclaim_now(pin);
            if self.slab.retired_slots_of(class) > 0 {
                // Others may still read what was evicted: more of that would not help sooner.
                break;
            }
        }
        self.reclaim_now(pin);
        match self.allocate_without_evicting(class) {
            Some(slot) => Ok(slot),
            // Nothing of this owner's can be evicted: other owners have all pages.
            None if self.slab.used_slots() == 0 => Err(WriteError::OutOfMemory),
            None => Err(Blocked::OnGrace.into()),
        }
    }

    const PRESSURE_ROUNDS_MAX: usize = 4;

    /// Frees what nobody can read any more. To make that more, what `pin` has lent is let go.
    pub(super) fn reclaim_now(&mut self, pin: &mut Pin) {
        pin.quiescent();
        self.slab.reclaim(&self.grace, TICK_RECLAIM_MAX);
    }

    /// Whether the class should grow: it has no page, or the coldest items of the class with the most pages are colder
    /// than its own. Then the mover empties one of those pages, and a free page of the reserve may be taken.
    fn deserves_a_page(&mut self, class: Class, now: Now) -> bool {
        let Some(richest) = self.richest_class(class) else { return true };
        let coldest = self.coldest(class, now);
        let is_colder = coldest.is_none_or(|own| self.coldest(richest, now).is_some_and(|other| other < own));
        if is_colder && self.slab.closed_pages() < FREE_PAGES_PER_OWNER {
            self.mover.ask_for_a_page_of(richest);
        }
        is_colder
    }

    /// When the coldest of some items of a class was last used, in s since the server epoch plus 1; 0 = it is dead.
    fn coldest(&mut self, class: Class, now: Now) -> Option<u64> {
        // The hand stays: this is a look, not a turn.
        let hand = self.pressure.hands[class.index()];
        self.sample_class(class, now);
        self.pressure.hands[class.index()] = hand;
        self.pressure.sample.iter().map(|&(last_access, _)| last_access).min()
    }

    /// Evicts the coldest of some items of a class, at most `count` and as many bytes as room is made for in advance; says
    /// how many items.
    pub(super) fn evict_coldest(&mut self, class: Class, count: usize, now: Now) -> usize {
        self.sample_class(class, now);
        let mut sample = std::mem::take(&mut self.pressure.sample);
        sample.sort_unstable_by_key(|&(last_access, _)| last_access);
        let (mut evicted, mut dead, mut bytes) = (0, 0, 0);
        for &(last_access, at) in &sample {
            let is_enough =
                evicted == count || bytes >= PRESSURE_EVICT_BYTES || self.slab.retired().is_full();
            // Nothing that lives goes where something dead has gone.
            if is_enough || (dead > 0 && last_access > 0) {
                break;
            }
            let item_bytes = self.slab.item(at).bytes();
            if self.evict(at) {
                (evicted, bytes) = (evicted + 1, bytes + item_bytes);
                dead += (last_access == 0) as usize;
            }
        }
        self.pressure.sample = sample;
        self.counters.evicted_by_pressure.add((evicted - dead) as u64);
        self.counters.expired.add(dead as u64);
        evicted
    }

    /// Fills the sample with items behind the class's hand and when each was last used (expired: never).
    fn sample_class(&mut self, class: Class, now: Now) {
        self.pressure.sample.clear();
        let pages = self.slab.pool().layout().pages as u32;
        let (mut page, mut slot) = self.pressure.hands[class.index()];
        let mut passed = 0;
        while passed <= pages && self.pressure.sample.len() < PRESSURE_SAMPLE {
            let next = match self.slab.class_of(page as usize) {
                Some(other) if other == class => self.slab.next_used_slot(page as usize, slot as usize),
                _ => None,
            };
            if let Some((_, used)) = next {
                let at = self.slab.item_of(used);
                let item = self.slab.item(at);
                let last_access = if self.shard().is_live(&item, now) { 1 + item.last_access_s() } else { 0 };
                self.pressure.sample.push((last_access, at));
            }
            match next {
                Some((index, _)) if class != Class::CHUNK => slot = index as u32 + 1,
                // Neighbouring chunks are of one item: the hand takes one of a page, another in the next round.
                _ => {
                    page = (page + 1) % pages;
                    passed += 1;
                    slot = match class {
                        Class::CHUNK if page == 0 => (slot + 1) % CHUNKS_OF_PAGE_MIN,
                        Class::CHUNK => slot,
                        _ => 0,
                    };
                }
            }
        }
        self.pressure.hands[class.index()] = (page, slot);
    }

    /// The class that has the most pages, other than `class`.
    pub(super) fn richest_class(&self, class: Class) -> Option<Class> {
        (0..CLASSES_MAX)
            .map(Class::from_index)
            .filter(|&other| other != class && self.slab.pages_of(other) > 0)
            .max_by_key(|&other| self.slab.pages_of(other))
    }

    /// The open page of a class whose items were used longest ago, of some that follow the class's hand. A page of items with
    /// chunks is none: with each of its hundred heads a long value would go, dozens of pages for one.
    pub(super) fn coldest_page(&self, class: Class) -> Option<usize> {
        let pages = self.slab.pool().layout().pages;
        let hand = self.pressure.hands[class.index()].0 as usize;
        let is_open = |&page: &usize| self.slab.class_of(page) == Some(class) && !self.slab.is_closed(page);
        let last_use = |page: usize| {
            let mut from = 0;
            let items = std::iter::from_fn(|| {
                let (index, used) = self.slab.next_used_slot(page, from)?;
                from = index + 1;
                let item = self.slab.item(self.slab.item_of(used));
                let is_dear = class != Class::CHUNK && item.shape().chunks > 0;
                Some((is_dear, item.last_access_s()))
            });
            items.take(PAGE_SAMPLE).max()
        };
        let is_cheap = |page: &usize| last_use(*page).is_none_or(|(is_dear, _)| !is_dear);
        let candidates = (hand..pages).chain(0..hand).filter(is_open).take(PAGES_SAMPLE).filter(is_cheap);
        candidates.min_by_key(|&page| last_use(page))
    }
}
