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
};
use crate::memory::class::{CLASSES_MAX, Class};
use crate::memory::grace::Pin;
use crate::memory::{OwnedSlot, Size, Slab};
use crate::shard::contents::{Contents, Index, Memory, Why};
use crate::shard::error::{Blocked, WriteError};

/// Chunks that every page has at least.
const CHUNKS_OF_PAGE_MIN: u32 = 60;

/// Where the search for victims stands.
pub(super) struct Pressure {
    /// Page and slot, per class.
    hands: Box<[(u32, u32)]>,
    sample: Vec<(u64, ItemRef)>,
    /// A page should be emptied: another class deserves it.
    wanted: Option<Wanted>,
}

/// Which page should be emptied.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// The coldest of this class, for the other one.
    OfClass(Class, Class),
    /// The one that holds the least, of any class but this one: no class has pages to spare.
    Least(Class),
}

impl Pressure {
    const ROUNDS_MAX: usize = 4;

    pub(super) fn new() -> Pressure {
        Pressure {
            hands: vec![(0, 0); CLASSES_MAX].into_boxed_slice(),
            sample: Vec::with_capacity(PRESSURE_SAMPLE),
            wanted: None,
        }
    }

    /// Room for an item, which takes the place of another one or not: its slot, and the chunks of its value, which the slab keeps until the item is published. Call it
    /// before looking at any item: what it evicts may be that item.
    ///
    /// # Errors
    /// [`Blocked::OnGrace`] when victims are on their way, and what says that memory cannot hold so much.
    pub(super) fn allocate(
        &mut self,
        contents: &mut Contents,
        pin: &mut Pin,
        size: Size,
        is_overwrite: bool,
        now: Now,
    ) -> Result<OwnedSlot, WriteError> {
        let memory = &contents.memory;
        let shape = size.shape(memory.slab().chunk_sizes());
        let bytes = shape.bytes_in_slot(size.fixed_bytes());
        if is_too_large(memory, size) {
            return Err(WriteError::TooLarge);
        }
        let mut slot = self.allocate_slot(contents, pin, Class::of(bytes), is_overwrite, now)?;
        if shape.chunks > 0 {
            contents.memory.begin_chunks(&mut slot);
            for _ in 0..shape.chunks {
                match self.allocate_slot(contents, pin, Class::CHUNK, is_overwrite, now) {
                    Ok(chunk) => contents.memory.add_chunk(&slot, chunk),
                    Err(error) => {
                        contents.memory.abandon(slot);
                        return Err(error);
                    }
                }
            }
        }
        Ok(slot)
    }

    fn allocate_slot(
        &mut self,
        contents: &mut Contents,
        pin: &mut Pin,
        class: Class,
        is_overwrite: bool,
        now: Now,
    ) -> Result<OwnedSlot, WriteError> {
        let memory = &mut contents.memory;
        if !memory.can_retire() {
            memory.reclaim_now(pin);
        }
        if !memory.can_retire() {
            return Err(Blocked::OnGrace.into());
        }
        match memory.allocate_without_evicting(class) {
            Some(slot) => Ok(slot),
            None if memory.evicts() => self.allocate_by_evicting(contents, pin, class, now),
            None => match self.allocate_from_the_dead(contents, pin, class, now) {
                // What is overwritten gives its room back: the reserve lends it meanwhile.
                Err(WriteError::OutOfMemory) if is_overwrite => {
                    contents.memory.allocate_from_reserve(class).ok_or(WriteError::OutOfMemory)
                }
                done => done,
            },
        }
    }

    /// Where nothing that lives is evicted: a slot that was retired, or that a dead item leaves.
    #[cold]
    fn allocate_from_the_dead(
        &mut self,
        contents: &mut Contents,
        pin: &mut Pin,
        class: Class,
        now: Now,
    ) -> Result<OwnedSlot, WriteError> {
        for _ in 0..Self::ROUNDS_MAX {
            contents.memory.reclaim_now(pin);
            if let Some(slot) = contents.memory.allocate_without_evicting(class) {
                return Ok(slot);
            }
            if self.evict_coldest(contents, class, PRESSURE_EVICT, now) == 0 {
                break;
            }
        }
        // A page that is being emptied is free soon, or open again.
        let slab = contents.memory.slab();
        let is_coming = slab.retired_slots_of(class) > 0 || slab.closed_pages() > 0;
        Err(if is_coming { Blocked::OnGrace.into() } else { WriteError::OutOfMemory })
    }

    #[cold]
    fn allocate_by_evicting(
        &mut self,
        contents: &mut Contents,
        pin: &mut Pin,
        class: Class,
        now: Now,
    ) -> Result<OwnedSlot, WriteError> {
        for _ in 0..Self::ROUNDS_MAX {
            contents.memory.reclaim_now(pin);
            if let Some(slot) = contents.memory.allocate_without_evicting(class) {
                return Ok(slot);
            }
            if !contents.memory.can_retire() {
                break;
            }
            let deserves_a_page = self.deserves_a_page(&contents.index, &contents.memory, class, now);
            if deserves_a_page && let Some(slot) = contents.memory.allocate_from_reserve(class) {
                return Ok(slot);
            }
            // Until the page is here, its own items give way, no more of them than need be.
            let count = if deserves_a_page { 1 } else { PRESSURE_EVICT };
            if self.evict_coldest(contents, class, count, now) == 0 {
                break;
            }
            contents.memory.reclaim_now(pin);
            if contents.memory.slab().retired_slots_of(class) > 0 {
                // Others may still read what was evicted: more of that would not help sooner.
                break;
            }
        }
        contents.memory.reclaim_now(pin);
        match contents.memory.allocate_without_evicting(class) {
            Some(slot) => Ok(slot),
            None if nothing_comes(contents.memory.slab(), class) => Err(WriteError::OutOfMemory),
            None => Err(Blocked::OnGrace.into()),
        }
    }

    /// Whether the class should grow: it has no page, or the coldest items of the class with the most pages are colder
    /// than its own. Then the mover empties one of those pages, and a free page of the reserve may be taken.
    fn deserves_a_page(&mut self, index: &Index, memory: &Memory, class: Class, now: Now) -> bool {
        let Some(richest) = richest_class(memory.slab(), class) else { return true };
        let may_want = memory.slab().closed_pages() < FREE_PAGES_PER_OWNER;
        if memory.slab().pages_of(class) == 0 && memory.slab().pages_of(richest) <= FEW_PAGES {
            if may_want {
                self.wanted = Some(Wanted::Least(class));
            }
            return true;
        }
        let coldest = self.coldest(index, memory, class, now);
        let is_colder = coldest
            .is_none_or(|own| self.coldest(index, memory, richest, now).is_some_and(|other| other < own));
        if is_colder && may_want {
            self.wanted = Some(Wanted::OfClass(richest, class));
        }
        is_colder
    }

    /// When the coldest of some items of a class was last used, in s since the server epoch plus 1; 0 = it is dead.
    fn coldest(&mut self, index: &Index, memory: &Memory, class: Class, now: Now) -> Option<u64> {
        // The hand stays: this is a look, not a turn.
        let hand = self.hands[class.index()];
        self.sample_class(index, memory, class, now);
        self.hands[class.index()] = hand;
        self.sample.iter().map(|&(last_access, _)| last_access).min()
    }

    /// Evicts the coldest of some items of a class, where what lives is evicted, and else the dead: at most `count` and as many bytes as room is made for in advance; says
    /// how many items.
    pub(super) fn evict_coldest(
        &mut self,
        contents: &mut Contents,
        class: Class,
        count: usize,
        now: Now,
    ) -> usize {
        self.sample_class(&contents.index, &contents.memory, class, now);
        self.sample.sort_unstable_by_key(|&(last_access, _)| last_access);
        let (mut evicted, mut has_dead, mut bytes) = (0, false, 0);
        for &(last_access, at) in &self.sample {
            let is_enough =
                evicted == count || bytes >= PRESSURE_EVICT_BYTES || !contents.memory.can_retire();
            let is_dead = last_access == 0;
            // Nothing that lives goes where something dead has gone.
            let spares_the_living = has_dead || !contents.memory.evicts();
            if is_enough || (spares_the_living && !is_dead) {
                break;
            }
            let item_bytes = contents.memory.item(at).bytes();
            if contents.evict(at, if is_dead { Why::Expired } else { Why::Pressure }) {
                (evicted, bytes) = (evicted + 1, bytes + item_bytes);
                has_dead |= is_dead;
            }
        }
        evicted
    }

    /// Fills the sample with items behind the class's hand and when each was last used (expired: never).
    fn sample_class(&mut self, index: &Index, memory: &Memory, class: Class, now: Now) {
        self.sample.clear();
        let slab = memory.slab();
        let pages = slab.pool().layout().pages as u32;
        let (mut page, mut slot) = self.hands[class.index()];
        let mut passed = 0;
        while passed <= pages && self.sample.len() < PRESSURE_SAMPLE {
            let next = match slab.class_of(page as usize) {
                Some(other) if other == class => slab.next_used_slot(page as usize, slot as usize),
                _ => None,
            };
            if let Some((_, used)) = next {
                let at = slab.item_of(used);
                let item = slab.item(at);
                let last_access = if index.is_live(&item, now) { 1 + item.last_access_s() } else { 0 };
                self.sample.push((last_access, at));
            }
            match next {
                Some((number, _)) if class != Class::CHUNK => slot = number as u32 + 1,
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
        self.hands[class.index()] = (page, slot);
    }

    /// Whether a page should be emptied for a class that deserves it.
    pub(super) fn wants_a_page(&self) -> bool {
        self.wanted.is_some()
    }

    /// That page: the coldest of the class that should give one. It is asked for once.
    #[inline]
    pub(super) fn take_wanted_page(&mut self, memory: &Memory) -> Option<usize> {
        match self.wanted.take()? {
            Wanted::OfClass(richest, class) => match self.coldest_page(memory, richest) {
                // All its pages may have values that are still coming.
                None if memory.slab().unfinished().pages > 0 => least_page(memory, class),
                page => page,
            },
            Wanted::Least(class) => least_page(memory, class),
        }
    }

    /// The open page of a class whose items were used longest ago, of some that follow the class's hand. A page of items with
    /// chunks is none: with each of its hundred heads a long value would go, dozens of pages for one.
    fn coldest_page(&self, memory: &Memory, class: Class) -> Option<usize> {
        let slab = memory.slab();
        let pages = slab.pool().layout().pages;
        let hand = self.hands[class.index()].0 as usize;
        let is_open = |&page: &usize| slab.class_of(page) == Some(class) && memory.can_empty(page);
        let last_use = |page: usize| {
            let mut from = 0;
            let items = std::iter::from_fn(|| {
                let (number, used) = slab.next_used_slot(page, from)?;
                from = number + 1;
                let item = slab.item(slab.item_of(used));
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

/// Whether an item is larger than memory could hold: half of the pages at most, because other items have to be somewhere while
/// it is stored.
pub(super) fn is_too_large(memory: &Memory, size: Size) -> bool {
    let (layout, shape) = (memory.pool().layout(), size.shape(memory.slab().chunk_sizes()));
    shape.bytes_in_slot(size.fixed_bytes()) > layout.item_bytes_max()
        || size.bytes() > memory.pages_of_owner() * layout.page_bytes / 2
}

/// Whether no slot of a class will be free, whoever waits for it: other owners have all pages, or all that this one has are held
/// by values that are still coming, and no item of the class goes.
fn nothing_comes(slab: &Slab, class: Class) -> bool {
    let is_coming = slab.retired_slots_of(class) > 0 || slab.retired().is_full() || slab.closed_pages() > 0;
    !is_coming && slab.unfinished().pages == slab.pages_held()
}

/// Pages of a class that are too few to give one away for being cold: with little memory and many sizes each class has one or two.
const FEW_PAGES: usize = 2;

/// The open page that holds the fewest bytes, of any class but `class`. Chunks go with the items that they belong to.
fn least_page(memory: &Memory, class: Class) -> Option<usize> {
    let slab = memory.slab();
    let bytes = |page: usize| {
        let other = slab.class_of(page).filter(|&other| other != class && other != Class::CHUNK)?;
        let mut from = 0;
        let items = std::iter::from_fn(|| {
            let (number, used) = slab.next_used_slot(page, from)?;
            from = number + 1;
            Some(slab.item(slab.item_of(used)).shape().chunks)
        });
        let (count, chunks) = items.take(PAGE_SAMPLE).fold((0, 0), |(n, sum), chunks| (n + 1, sum + chunks));
        let chunk_bytes = chunks * slab.chunk_sizes().slot_bytes() / count.max(1);
        memory.can_empty(page).then(|| slab.used_in(page) * (slab.slots_of(other).slot_bytes + chunk_bytes))
    };
    (0..slab.pool().layout().pages).filter_map(|page| Some((bytes(page)?, page))).min().map(|(_, page)| page)
}

/// The class that has the most pages, other than `class`.
fn richest_class(slab: &Slab, class: Class) -> Option<Class> {
    (0..CLASSES_MAX)
        .map(Class::from_index)
        .filter(|&other| other != class && slab.pages_of(other) > 0)
        .max_by_key(|&other| slab.pages_of(other))
}
