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
//! Pages of a run that a growing table wants (`PagePool::wanted`) are emptied the same way. A page into which a value is still coming
//! stays as it is; of the wanted run it is held, so that nothing more is allocated in it, and emptied when the value is there. The policy leaves some slots
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
use crate::shard::contents::{Contents, Memory, Moved, Why};
use crate::shard::owner::upper;
use crate::shard::pressure::Pressure;
use arrayvec::ArrayVec;

/// Which page is being emptied.
#[derive(Debug, Default)]
pub(super) struct Mover {
    at: Option<Task>,
    /// What was under way when pressure wanted a page.
    parked: Option<Task>,
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

/// How far a tick has come with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    More,
    Done,
    /// There is no room for what is in it, and nothing is evicted: it is in use again.
    Stuck,
}

impl Mover {
    /// A tick's work; says whether there is more.
    pub(super) fn step(
        &mut self,
        contents: &mut Contents,
        pressure: &mut Pressure,
        pin: &mut Pin,
        now: Now,
    ) -> bool {
        if pressure.wants_a_page() && self.parked.is_none() {
            // A store may be waiting: its page comes first.
            self.parked = self.at.take_if(|task| !task.evicts);
        }
        // A page that emptied by itself meanwhile, and was given away, may be anybody's, and open: no business of the mover's.
        let is_current = |task: &Task| contents.memory.is_emptying(task.page);
        self.at = self.at.filter(is_current);
        self.parked = self.parked.filter(is_current);
        let task = self.at.or_else(|| self.next_task(&mut contents.memory, pressure, now));
        let Some(mut task) = task else { return false };
        let progress = if task.evicts {
            evict_page(&mut task, contents)
        } else {
            copy_page(&mut task, contents, pressure, pin, now)
        };
        // What is left of a page that is done is retired.
        self.at = if progress == Progress::More { Some(task) } else { None };
        contents.outcomes.counters().pages_moved.add((progress == Progress::Done) as u64);
        progress != Progress::Stuck
    }

    /// A cold page that pressure wants, what was parked for one, a page of the wanted run, or a sparse one when free
    /// pages are short.
    fn next_task(&mut self, memory: &mut Memory, pressure: &mut Pressure, now: Now) -> Option<Task> {
        let cold = pressure.take_wanted_page(memory);
        if cold.is_none() && self.parked.is_some() {
            return self.parked.take();
        }
        let (page, evicts) = match cold {
            // The chunks of one page are of up to 64 items, each with chunks in other pages: evicting all these would cost
            // dozens of pages for one. They are copied, and as many items go as make room for that.
            Some(page) => (page, memory.slab().class_of(page) != Some(Class::CHUNK)),
            None => {
                let wanted = wanted_page(memory);
                (wanted.or_else(|| self.sparse_page(memory, now))?, false)
            }
        };
        memory.close_page(page);
        Some(Task { page, slot: 0, evicts })
    }

    /// The page with the smallest share of used slots whose items have room in other pages of their class; looked for
    /// once in a millisecond while free pages are short.
    fn sparse_page(&mut self, memory: &Memory, now: Now) -> Option<usize> {
        // Closed pages wait for grace, and are as good as free.
        let slab = memory.slab();
        let (free, coming) = (slab.pool().free_pages(), slab.closed_pages());
        let is_short = free + coming <= memory.free_pages_wanted() && coming < FREE_PAGES_PER_OWNER;
        if !is_short || now.ms() < self.next_search_ms {
            return None;
        }
        self.next_search_ms = now.ms() + 1;
        let has_room: [bool; CLASSES_MAX] = std::array::from_fn(|i| {
            let class = Class::from_index(i);
            let free = slab.free_slots_of(class);
            free > 0 && free >= slab.slots_of(class).count
        });
        let share = |page: usize| {
            let class = slab.class_of(page).filter(|class| has_room[class.index()])?;
            // Not the page that is being filled: it would be filled again at once.
            let is_candidate =
                !slab.is_closed(page) && !slab.is_filling(page) && slab.unfinished_in(page) == 0;
            let percent = slab.used_in(page) * 100 / slab.slots_of(class).count;
            (is_candidate && percent <= SPARSE_PERCENT).then_some((percent, page))
        };
        (0..slab.pool().layout().pages).filter_map(share).min().map(|(_, page)| page)
    }
}

/// A page of the wanted run that can be emptied now. Those that cannot yet are held.
fn wanted_page(memory: &mut Memory) -> Option<usize> {
    let mut wanted = memory.pool().wanted();
    if memory.slab().unfinished().pages > 0 {
        for page in wanted.clone() {
            if memory.is_open(page) && memory.slab().unfinished_in(page) > 0 {
                memory.hold_page(page);
            }
        }
    }
    wanted.find(|&page| memory.can_empty(page))
}

/// Copies the next items of a page to other pages, as many as a tick may.
fn copy_page(
    task: &mut Task,
    contents: &mut Contents,
    pressure: &mut Pressure,
    pin: &mut Pin,
    now: Now,
) -> Progress {
    let is_short = contents.memory.pool().free_pages() == 0;
    let items_max = if is_short { 2 * TICK_MOVE_ITEMS } else { TICK_MOVE_ITEMS };
    let mut bytes = 0;
    for _ in 0..items_max {
        if !contents.memory.can_retire() || bytes >= TICK_MOVE_BYTES {
            break;
        }
        let Some((number, used)) = contents.memory.slab().next_used_slot(task.page, task.slot) else {
            return Progress::Done;
        };
        match contents.relocate(used, now) {
            Moved::Done(copied) => bytes += copied,
            Moved::NoRoom(class) => {
                // Room that is on its way already comes first.
                if contents.memory.slab().retired_slots_of(class) == 0 {
                    pressure.evict_coldest(contents, class, PRESSURE_EVICT, now);
                }
                contents.memory.reclaim_now(pin);
                if is_stuck(&contents.memory, class) {
                    contents.memory.open_page(task.page);
                    return Progress::Stuck;
                }
                if contents.memory.slab().free_slots_of(class) == 0 {
                    // Others may still read what was evicted.
                    break;
                }
                continue;
            }
        }
        task.slot = number + 1;
    }
    Progress::More
}

/// Whether nothing that lives is evicted for items of a class, and no room comes: the page is to be used, as far as it is empty.
fn is_stuck(memory: &Memory, class: Class) -> bool {
    let is_coming = memory.slab().retired_slots_of(class) > 0 || memory.slab().free_slots_of(class) > 0;
    !memory.evicts() && !is_coming
}

/// Evicts the next items of a page, as many as a tick may. Their homes in the index are asked
/// for some at a time, so that these misses overlap; the items themselves lie side by side.
fn evict_page(task: &mut Task, contents: &mut Contents) -> Progress {
    let mut left = TICK_EVICT_ITEMS;
    while left > 0 && contents.memory.can_retire() {
        let Contents { index, memory, .. } = &mut *contents;
        let mut batch = ArrayVec::<(u32, ItemRef), COMMAND_BATCH>::new();
        while !batch.is_full()
            && let Some((number, used)) = memory.slab().next_used_slot(task.page, task.slot)
        {
            let item = memory.slab().item_of(used);
            let hash = index.hash(memory.item(item).key());
            index.prefetch_home(hash);
            batch.push((upper(hash), item));
            task.slot = number + 1;
        }
        if batch.is_empty() {
            return Progress::Done;
        }
        left = left.saturating_sub(batch.len());
        for (hash, item) in batch {
            contents.evict_hashed(hash, item, Why::Pressure);
        }
    }
    Progress::More
}
