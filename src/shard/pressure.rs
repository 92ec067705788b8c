//! Pressure: no memory is free and a SET is here. It takes a victim now, without asking the policy.
//!
//! 1. Retired memory whose grace is over is freed.
//! 2. Items of the wanted class go: of [`PRESSURE_SAMPLE`] that follow the class's hand (a clock over pages), expired
//!    ones first, then those that were read longest ago. Sampled LRU, as in Redis.
//! 3. A class without pages takes one: the emptiest page of the class with the most pages is emptied.
//!
//! Victims are under grace. Where no other worker is awake that is over at once; else the SET waits for a tick
//! ([`Wait::ForGrace`]), the only wait there is.

use crate::clock::Now;
use crate::config::limits::{PRESSURE_EVICT, PRESSURE_SAMPLE};
use crate::item_ref::ItemRef;
use crate::memory::Allocation;
use crate::memory::class::{CLASSES_MAX, Class};
use crate::protocol::Error;
use crate::shard::owner::{Owner, Wait};
use crate::sync::Arc;

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
    /// A slot for `bytes` bytes. Call it before looking at any item: what it evicts may be that item.
    ///
    /// # Errors
    /// [`Wait::ForGrace`] when victims are on their way; [`Wait::Never`] when no page can hold so much.
    pub(super) fn allocate(&mut self, bytes: usize, now: Now) -> Result<Allocation, Wait> {
        if bytes > self.slab.pool().layout().item_bytes_max() {
            return Err(Wait::Never(Error::TooLargeForCache));
        }
        if self.slab.limbo().is_full() {
            self.breathe();
        }
        if self.slab.limbo().is_full() {
            return Err(Wait::ForGrace);
        }
        match self.slab.allocate(bytes) {
            Some(slot) => Ok(slot),
            None => self.allocate_under_pressure(bytes, now),
        }
    }

    #[cold]
    fn allocate_under_pressure(&mut self, bytes: usize, now: Now) -> Result<Allocation, Wait> {
        let class = Class::of(bytes);
        for _ in 0..Self::PRESSURE_ROUNDS_MAX {
            self.breathe();
            if let Some(slot) = self.slab.allocate(bytes) {
                return Ok(slot);
            }
            if self.slab.limbo().is_full() || !(self.relieve_class(class, now) || self.take_a_page_for(class))
            {
                break;
            }
        }
        self.breathe();
        match self.slab.allocate(bytes) {
            Some(slot) => Ok(slot),
            None if self.slab.limbo().is_empty() => Err(Wait::Never(Error::OutOfMemory)),
            None => Err(Wait::ForGrace),
        }
    }

    const PRESSURE_ROUNDS_MAX: usize = 4;

    /// Between two commands this worker holds no item: it may say so, and free what that allows.
    pub(super) fn breathe(&mut self) {
        self.member.quiescent();
        let grace = Arc::clone(self.member.grace());
        self.slab.reclaim(&grace, usize::MAX);
    }

    /// Evicts some items of a class; says whether it found any.
    fn relieve_class(&mut self, class: Class, now: Now) -> bool {
        // One page of many classes is not worth keeping for a class that fills it again and again.
        if self.slab.pages_of(class) == 0 {
            return false;
        }
        self.sample_class(class, now);
        let mut sample = std::mem::take(&mut self.pressure.sample);
        sample.sort_unstable_by_key(|&(last_access, _)| last_access);
        let mut evicted = 0;
        for &(_, at) in &sample {
            if evicted == PRESSURE_EVICT || self.slab.limbo().is_full() {
                break;
            }
            evicted += self.evict(at) as usize;
        }
        self.pressure.sample = sample;
        self.counters.evicted_by_pressure.add(evicted as u64);
        evicted > 0
    }

    /// Fills the sample with items behind the class's hand and when each was last used (expired: never).
    fn sample_class(&mut self, class: Class, now: Now) {
        self.pressure.sample.clear();
        let pages = self.slab.pool().layout().pages;
        let (mut page, mut slot) = self.pressure.hands[class.index()];
        let mut passed = 0;
        while passed <= pages && self.pressure.sample.len() < PRESSURE_SAMPLE {
            let used = match self.slab.class_of(page as usize) {
                Some(other) if other == class => self.slab.next_used(page as usize, slot as usize),
                _ => None,
            };
            let Some((index, at)) = used else {
                (page, slot) = ((page + 1) % pages as u32, 0);
                passed += 1;
                continue;
            };
            let item = self.slab.items().get(at);
            let last_access = if self.shard().is_live(&item, now) { 1 + item.last_access_s() } else { 0 };
            self.pressure.sample.push((last_access, at));
            slot = index as u32 + 1;
        }
        self.pressure.hands[class.index()] = (page, slot);
    }

    /// Empties the emptiest page of the class that has the most, other than `class`.
    fn take_a_page_for(&mut self, class: Class) -> bool {
        let richest = (0..CLASSES_MAX)
            .map(Class::from_index)
            .filter(|&other| other != class)
            .max_by_key(|&other| self.slab.pages_of(other))
            .filter(|&other| self.slab.pages_of(other) > 0);
        let Some(richest) = richest else { return false };
        let pages = 0..self.slab.pool().layout().pages;
        let emptiest = pages
            .filter(|&page| self.slab.class_of(page) == Some(richest))
            .min_by_key(|&page| self.slab.used_in(page))
            .expect("a class with pages has a page");
        self.counters.pages_reassigned.add(1);
        self.empty_page(emptiest);
        true
    }
}
