//! The mover: keeps some pages free, so that a size of which there is no page gets one at once.
//!
//! Memory calcifies when every page belongs to a class and the mix of sizes shifts: items of the new size have no page,
//! and the free slots of the old sizes are scattered. So when free pages run short, and a class has free slots for a
//! page's worth of items, the owner closes the sparsest page of such a class and empties it, a bounded number of items a
//! tick: each is copied to a free slot in another page, and its table slot pointed there.
//!
//! ```text
//! page 7, class 112, closed   █··█·█··   ─ copy, redirect, retire ─▶   ██████·█  page 3, class 112
//!                             grace over: the page is empty, and goes to the pool
//! ```
//! Pages of a run that a growing table wants (`PagePool::wanted`) are emptied the same way. The policy leaves some slots
//! free, so there is room to copy to. When it lags, and pressure wants a page of a class with colder items, that
//! class's coldest page is emptied by evicting what is in it.
//!
//! Cost: an item is a hash, a probe and a copy, some 200 ns; a tick does [`TICK_MOVE_ITEMS`] (twice as many when no page
//! is free at all) or [`TICK_MOVE_BYTES`]. Of a page that is emptied by evicting, [`TICK_EVICT_ITEMS`], up to 600 ns each, their table lines being cold: stores wait
//! for that page, and evict what is newer meanwhile. Slab rebalancing by emptying pages is memcached's `slab_automove`; copying
//! instead of evicting is what log-structured memory does (Rumble, Kejriwal & Ousterhout 2014).

use crate::base::clock::Now;
use crate::base::item_ref::ItemRef;
use crate::limits::{
    COMMAND_BATCH, FREE_PAGES_PER_OWNER, PRESSURE_EVICT, SPARSE_PERCENT, TICK_EVICT_ITEMS, TICK_MOVE_BYTES,
    TICK_MOVE_ITEMS,
};
use crate::memory::class::{CLASSES_MAX, Class};
use crate::memory::grace::Pin;
use crate::memory::{OwnedSlot, Used};
use crate::ring::Event;
use crate::shard::owner::{Owner, upper};
use arrayvec::ArrayVec;

/// Which page is being emptied.
#[derive(Debug, Default)]
pub struct Mover {
    at: Option<Task>,
    /// What was under way when pressure asked for a page.
    parked: Option<Task>,
    /// A page of this class is wanted by pressure.
    asked: Option<Class>,
    /// When to look for a sparse page again, in ms since the server epoch.
    next_search_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Task {
    page: usize,
    /// Next slot.
    slot: usize,
    /// Whether items are evicted, not copied.
    evicts: bool,
}

/// What became of an item that had to move.
enum Moved {
    /// Bytes copied; 0 when there was nothing to copy.
    Done(usize),
    /// Its class has no free slot.
    NoRoom(Class),
}

impl Mover {
    /// Empties a page of `class` soon.
    pub(super) fn ask_for_a_page_of(&mut self, class: Class) {
        self.asked = Some(class);
    }
}

impl Owner {
    /// Free pages that there should be, of all owners.
    pub(super) fn free_pages_wanted(&self) -> usize {
        FREE_PAGES_PER_OWNER * self.shards().count()
    }

    /// A tick's work; says whether there is more.
    pub(super) fn move_pages(&mut self, pin: &mut Pin, now: Now) -> bool {
        if self.mover.asked.is_some() && self.mover.parked.is_none() {
            // A store may be waiting: its page comes first.
            self.mover.parked = self.mover.at.take_if(|task| !task.evicts);
        }
        // A page that emptied by itself meanwhile, and was given away, may be anybody's, and open: no business of the mover's.
        let slab = &self.slab;
        let is_current = |task: &Task| slab.class_of(task.page).is_some() && slab.is_closed(task.page);
        self.mover.at = self.mover.at.filter(is_current);
        self.mover.parked = self.mover.parked.filter(is_current);
        let Some(mut task) = self.mover.at.or_else(|| self.next_task(now)) else { return false };
        if task.evicts {
            self.evict_page(&mut task);
            return true;
        }
        let is_short = self.slab.pool().free_pages() == 0;
        let items_max = if is_short { 2 * TICK_MOVE_ITEMS } else { TICK_MOVE_ITEMS };
        let mut bytes = 0;
        for _ in 0..items_max {
            if self.slab.retired().is_full() || bytes >= TICK_MOVE_BYTES {
                break;
            }
            let Some((index, used)) = self.slab.next_used_slot(task.page, task.slot) else {
                // What is left of the page is retired.
                self.counters.pages_moved.add(1);
                self.mover.at = None;
                return true;
            };
            match self.relocate(used, now) {
                Moved::Done(copied) => bytes += copied,
                Moved::NoRoom(class) => {
                    // Room that is on its way already comes first.
                    if self.slab.retired_slots_of(class) == 0 {
                        self.evict_coldest(class, PRESSURE_EVICT, now);
                    }
                    self.reclaim_now(pin);
                    if self.slab.free_slots_of(class) == 0 {
                        // Others may still read what was evicted.
                        break;
                    }
                    continue;
                }
            }
            task.slot = index + 1;
        }
        self.mover.at = Some(task);
        true
    }

    /// Evicts the next items of a page, as many as a tick may. Their homes in the table are asked for some at a time, so
    /// that these misses overlap; the items themselves lie side by side.
    fn evict_page(&mut self, task: &mut Task) {
        let mut left = TICK_EVICT_ITEMS;
        while left > 0 && !self.slab.retired().is_full() {
            let mut batch = ArrayVec::<(u32, ItemRef), COMMAND_BATCH>::new();
            while !batch.is_full()
                && let Some((index, used)) = self.slab.next_used_slot(task.page, task.slot)
            {
                let item = self.slab.item_of(used);
                let hash = self.shards().hash(self.slab.item(item).key());
                self.writer.table().prefetch_home(hash);
                batch.push((upper(hash), item));
                task.slot = index + 1;
            }
            if batch.is_empty() {
                // What is left of the page is retired.
                self.counters.pages_moved.add(1);
                self.mover.at = None;
                return;
            }
            left = left.saturating_sub(batch.len());
            let evicted = batch.into_iter().filter(|&(hash, item)| self.evict_hashed(hash, item)).count();
            self.counters.evicted_by_pressure.add(evicted as u64);
        }
        self.mover.at = Some(*task);
    }

    /// A cold page that pressure asked for, what was parked for one, a page of the wanted run, or a sparse one when free
    /// pages are short.
    fn next_task(&mut self, now: Now) -> Option<Task> {
        let is_open =
            |owner: &Owner, page| owner.slab.class_of(page).is_some() && !owner.slab.is_closed(page);
        let asked = self.mover.asked.take().and_then(|class| self.coldest_page(class));
        if asked.is_none() && self.mover.parked.is_some() {
            return self.mover.parked.take();
        }
        let (page, evicts) = match asked {
            // The chunks of one page are of up to 64 items, each with chunks in other pages: evicting all these would cost
            // dozens of pages for one. They are copied, and as many items go as make room for that.
            Some(page) => (page, self.slab.class_of(page) != Some(Class::CHUNK)),
            None => {
                let wanted = self.slab.pool().wanted().find(|&page| is_open(self, page));
                (wanted.or_else(|| self.sparse_page(now))?, false)
            }
        };
        self.slab.close_page(page);
        Some(Task { page, slot: 0, evicts })
    }

    /// The page with the smallest share of used slots whose items have room in other pages of their class; looked for
    /// once in a millisecond while free pages are short.
    fn sparse_page(&mut self, now: Now) -> Option<usize> {
        // Closed pages wait for grace, and are as good as free.
        let (free, coming) = (self.slab.pool().free_pages(), self.slab.closed_pages());
        let is_short = free + coming <= self.free_pages_wanted() && coming < FREE_PAGES_PER_OWNER;
        if !is_short || now.ms() < self.mover.next_search_ms {
            return None;
        }
        self.mover.next_search_ms = now.ms() + 1;
        let has_room: [bool; CLASSES_MAX] = std::array::from_fn(|i| {
            let class = Class::from_index(i);
            let free = self.slab.free_slots_of(class);
            free > 0 && free >= self.slab.slots_of(class).count
        });
        let share = |page: usize| {
            let class = self.slab.class_of(page).filter(|class| has_room[class.index()])?;
            // Not the page that is being filled: it would be filled again at once.
            let is_candidate = !self.slab.is_closed(page) && !self.slab.is_filling(page);
            let percent = self.slab.used_in(page) * 100 / self.slab.slots_of(class).count;
            (is_candidate && percent <= SPARSE_PERCENT).then_some((percent, page))
        };
        (0..self.slab.pool().layout().pages).filter_map(share).min().map(|(_, page)| page)
    }

    /// Copies what a slot holds to another page.
    fn relocate(&mut self, used: Used, now: Now) -> Moved {
        match used {
            Used::Item(from) => self.relocate_item(from, now),
            Used::Chunk(from) => self.relocate_chunk(from),
        }
    }

    fn relocate_item(&mut self, from: ItemRef, now: Now) -> Moved {
        let item = self.slab.item(from);
        let (is_live, class) = (self.shard().is_live(&item, now), Class::of(item.bytes_in_slot()));
        let hash = upper(self.shards().hash(item.key()));
        if !self.writer.holds(hash, from) {
            // Unlinked already: it waits for grace.
            return Moved::Done(0);
        }
        if !is_live {
            self.evict_hashed(hash, from);
            self.counters.expired.add(1);
            return Moved::Done(0);
        }
        let Some(mut slot) = self.room_for_a_copy(class) else { return Moved::NoRoom(class) };
        self.slab.copy(from, &mut slot);
        let (slot_bytes, to) = (slot.bytes(), slot.publish());
        self.renew(to);
        self.writer.redirect(hash, from, to);
        let units = (slot_bytes / ItemRef::UNIT_BYTES) as u32;
        self.events.send(Event::Move { from, to, units });
        self.slab.retire_slot(from);
        self.counters.items_moved.add(1);
        Moved::Done(slot_bytes)
    }

    /// A slot in a page that this owner has, or in one of the free pages if there are more than those kept in reserve: nothing
    /// is evicted for a copy while memory is free.
    fn room_for_a_copy(&mut self, class: Class) -> Option<OwnedSlot> {
        let room = self.slab.allocate_near(class);
        let is_reserve = self.slab.pool().free_pages() <= self.free_pages_wanted();
        room.or_else(|| if is_reserve { None } else { self.slab.allocate_class(class) })
    }

    fn relocate_chunk(&mut self, from: ItemRef) -> Moved {
        let at = self.slab.item_of(Used::Chunk(from));
        let hash = upper(self.shards().hash(self.slab.item(at).key()));
        if !self.writer.holds(hash, at) {
            return Moved::Done(0);
        }
        let Some(to) = self.room_for_a_copy(Class::CHUNK) else { return Moved::NoRoom(Class::CHUNK) };
        let slot_bytes = to.bytes();
        self.slab.move_chunk(from, to);
        self.slab.retire_slot(from);
        self.counters.items_moved.add(1);
        Moved::Done(slot_bytes)
    }
}
