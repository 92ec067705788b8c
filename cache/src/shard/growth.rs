//! Growth of a shard's table, and its opposite: when it happens, and where its memory comes from.
//!
//! ```text
//! Settled ── load above 78 % ──▶ Gathering ── the run is in ──▶ Moving ── all keys moved ──▶ Retiring ── grace ──▶ Settled
//!         or memory full and      pages of a run of the pool     TICK_GROW_LINES a tick,      the old array's pages
//!         load below 30 %         are emptied by their owners    INSERT_GROW_LINES an insert  go to the pool
//! ```
//! Growth is paid for by inserts: each does its share ([`Growth::place`]), so that all keys have moved before the old
//! array is crowded, however seldom the owner ticks. While the memory of the larger array is still being gathered, an insert that
//! would take another key's place waits, if memory is free: the key that it would crowd out may have been stored a
//! moment ago. It does not wait where a page of that memory itself waits for a value that is still coming.
//!
//! When sizes shift from small to large the index is left nearly empty, and its pages are worth more to items: it halves, as
//! often as `table::HALVINGS_MAX` allows below its first size.
//!
//! The memory of an index is memory that items had: the pool gives a run of neighbouring pages, whoever holds one of them
//! empties it (`mover`), and every owner tells its policy the smaller budget. A table does not grow when the run
//! would take more than half of the pages that slabs have, nor when the items that fit beside the larger index would not
//! overload the present one: then items are evicted where lines are crowded, as before.

use crate::base::clock::Now;
use crate::limits::{
    FULL_LOAD_PERCENT, GROW_ASK_SLOTS, INSERT_GROW_LINES, INSERT_GROW_STEP_LINES, SHRINK_LOAD_PERCENT,
    TICK_GROW_LINES,
};
use crate::memory::PagePool;
use crate::memory::grace::{Pin, Stamp};
use crate::shard::budget::Budget;
use crate::shard::contents::{Contents, Index, Memory};
use crate::shard::error::{Blocked, WriteError};
use crate::table;
use std::ops::Range;

/// Where a growth stands.
#[derive(Debug, Default)]
pub(super) struct Growth {
    phase: Phase,
    /// When to ask for memory again, in ms since the server epoch, or with how many items.
    next_ask_ms: u64,
    next_ask_items: u64,
    /// Another owner gathers a run: ours comes next.
    is_queued: bool,
    /// Pages of the run that were in at the last tick.
    gathered_pages: usize,
    /// Free pages that inserts have looked at for the run.
    collected_pages: usize,
    /// Home lines that inserts owe.
    owed_lines: u64,
    budget: Budget,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Settled,
    Gathering(To),
    Moving(To),
    /// The pages of the old array, free after grace.
    Retiring(Stamp, Range<usize>),
}

/// To which size.
#[derive(Clone, Copy, Debug)]
enum To {
    Twice,
    Half,
}

const WORD_BYTES: usize = size_of::<u64>();
/// How long to wait after the pool had no run, in ms, unless many items have come.
const ASK_AGAIN_MS: u64 = 1000;
/// How long to wait while another owner gathers its run, in ms.
const ASK_NEXT_MS: u64 = 1;

impl Growth {
    /// A tick's work; says whether there is more.
    pub(super) fn step(&mut self, contents: &mut Contents, now: Now) -> bool {
        self.budget.announce(&contents.memory, &mut contents.outcomes, now);
        match &self.phase {
            Phase::Settled => self.consider(&contents.index, &contents.memory, now),
            &Phase::Gathering(to) => {
                self.gather(&mut contents.index, &contents.memory, to);
                // Where nothing is evicted, a page may have to wait for a delete, and not for the next tick.
                let pages = contents.memory.pool().gathered_pages();
                let has_moved = std::mem::replace(&mut self.gathered_pages, pages) != pages;
                // Nor is there anything to do while a page waits for a value that is still coming.
                let comes_soon = contents.memory.evicts() && !contents.memory.pool().is_held_up();
                has_moved || comes_soon || !matches!(self.phase, Phase::Gathering(_))
            }
            &Phase::Moving(to) => self.move_keys(contents, to, TICK_GROW_LINES),
            Phase::Retiring(..) => {
                self.end_retiring(&contents.memory);
                true
            }
        }
    }

    /// A place in the index for a key that may be new. Call it before looking at any item.
    ///
    /// # Errors
    /// [`Blocked::OnGrace`] when the key would take the place of another one although memory is free and a larger index is on
    /// its way; [`WriteError::OutOfMemory`] when it would, and nothing is evicted.
    #[inline]
    pub(super) fn place(
        &mut self,
        contents: &mut Contents,
        pin: &mut Pin,
        (hash, key): (u64, &[u8]),
        now: Now,
    ) -> Result<(), WriteError> {
        let is_quiet = matches!(self.phase, Phase::Settled) && !contents.index.is_loaded();
        match is_quiet {
            true if contents.memory.evicts() || !contents.would_crowd_out(hash, key) => Ok(()),
            true => Err(WriteError::OutOfMemory),
            false => self.place_in_growing(contents, pin, (hash, key), now),
        }
    }

    #[cold]
    fn place_in_growing(
        &mut self,
        contents: &mut Contents,
        pin: &mut Pin,
        (hash, key): (u64, &[u8]),
        now: Now,
    ) -> Result<(), WriteError> {
        self.grow_for_insert(contents, pin, now);
        let is_awaited = match self.phase {
            Phase::Settled => self.is_queued,
            Phase::Gathering(_) => !contents.memory.pool().is_held_up(),
            Phase::Moving(_) => true,
            Phase::Retiring(..) => contents.index.is_loaded(),
        };
        let (is_awaited, evicts) = (is_awaited && !contents.memory.is_at_reserve(), contents.memory.evicts());
        if evicts && !is_awaited || !contents.would_crowd_out(hash, key) {
            return Ok(());
        }
        if !is_awaited {
            return Err(WriteError::OutOfMemory);
        }
        if let Phase::Moving(to) = self.phase {
            // A tick's share at once: a small table is done with that.
            self.move_keys(contents, to, TICK_GROW_LINES);
            if !contents.would_crowd_out(hash, key) {
                return Ok(());
            }
        }
        contents.outcomes.counters().growth_waits.add(1);
        Err(Blocked::OnGrace.into())
    }

    /// An insert's share of the work.
    fn grow_for_insert(&mut self, contents: &mut Contents, pin: &mut Pin, now: Now) {
        let Contents { index, memory, .. } = &mut *contents;
        if matches!(self.phase, Phase::Settled) {
            self.consider(index, memory, now);
        }
        match self.phase {
            Phase::Settled => {}
            // What owners still hold of the run is emptied in ticks.
            Phase::Gathering(to) if self.collected_pages < memory.pool().layout().pages => {
                self.collected_pages += PagePool::COLLECT_PAGES_MAX;
                self.gather(index, memory, to);
            }
            Phase::Gathering(_) => {}
            Phase::Moving(to) => {
                self.owed_lines += INSERT_GROW_LINES;
                if self.owed_lines >= INSERT_GROW_STEP_LINES {
                    let lines = std::mem::take(&mut self.owed_lines);
                    self.move_keys(contents, to, lines);
                }
            }
            Phase::Retiring(..) if index.is_loaded() => {
                memory.reclaim_now(pin);
                self.end_retiring(memory);
            }
            Phase::Retiring(..) => {}
        }
    }

    /// Gives the old array's pages back, if nobody can read them any more.
    fn end_retiring(&mut self, memory: &Memory) {
        if let Phase::Retiring(stamp, run) = &self.phase
            && memory.is_over(*stamp)
        {
            memory.pool().return_run(run.clone());
            self.phase = Phase::Settled;
        }
    }

    fn consider(&mut self, index: &Index, memory: &Memory, now: Now) -> bool {
        if now.ms() < self.next_ask_ms && index.items() < self.next_ask_items {
            return false;
        }
        self.is_queued = false;
        let Some((words, to)) = self.wanted_size(index, memory) else { return false };
        let pool = memory.pool();
        let pages = (words * WORD_BYTES).div_ceil(pool.layout().page_bytes);
        let capacity = index.capacity();
        let is_worth_it = match to {
            // Where nothing is evicted, what the run holds needs room elsewhere.
            _ if !memory.evicts() => pool.free_pages() >= pages + memory.free_pages_wanted(),
            To::Twice => fitting_beside(index, memory, pages) * 100 > capacity * FULL_LOAD_PERCENT,
            To::Half => true,
        };
        let is_possible = is_worth_it && pages <= pool.slab_pages() / 2;
        let is_queued = is_possible && !pool.wanted().is_empty();
        if !is_possible || is_queued || pool.want_run(pages).is_none() {
            self.is_queued = is_queued;
            self.next_ask_ms = now.ms() + if is_queued { ASK_NEXT_MS } else { ASK_AGAIN_MS };
            self.next_ask_items = index.items() + capacity / GROW_ASK_SLOTS;
            return false;
        }
        (self.phase, self.collected_pages, self.owed_lines) = (Phase::Gathering(to), 0, 0);
        true
    }

    /// The words of the array that this table should have, if it should have another.
    fn wanted_size(&self, index: &Index, memory: &Memory) -> Option<(usize, To)> {
        if index.is_loaded() {
            return Some((index.words_to_grow()?, To::Twice));
        }
        let pool = memory.pool();
        // As many as the policy leaves free, and some.
        let left_free = pool.slab_pages() / 32 + self.budget.partial_pages() * memory.owners();
        let is_full = pool.free_pages() <= memory.free_pages_wanted().max(left_free);
        if is_full && index.items() * 100 < index.capacity() * SHRINK_LOAD_PERCENT {
            return Some((index.words_to_shrink()?, To::Half));
        }
        None
    }

    fn gather(&mut self, index: &mut Index, memory: &Memory, to: To) {
        let pool = memory.pool();
        pool.collect_run();
        if let Some(run) = pool.take_run() {
            let first_word = run.start * pool.layout().page_bytes / WORD_BYTES;
            match to {
                To::Twice => index.begin_growth(first_word),
                To::Half => index.begin_shrinking(first_word),
            }
            self.phase = Phase::Moving(to);
        }
    }

    fn move_keys(&mut self, contents: &mut Contents, to: To, lines: u64) -> bool {
        if let table::Growth::Done { retired } = contents.grow_table(lines) {
            let memory = &contents.memory;
            let page_words = memory.pool().layout().page_bytes / WORD_BYTES;
            let run = retired.start / page_words..retired.end.div_ceil(page_words);
            self.phase = Phase::Retiring(memory.grace_from_now(), run);
            let counters = contents.outcomes.counters();
            match to {
                To::Twice => counters.table_doublings.add(1),
                To::Half => counters.table_halvings.add(1),
            }
        }
        true
    }
}

/// Items that this owner could keep if its index had `pages` pages, half of which it has already: items of the size
/// that they have now.
fn fitting_beside(index: &Index, memory: &Memory, pages: usize) -> u64 {
    let slot_bytes = (memory.slab().used_bytes() as u64 / index.items().max(1)).max(1);
    let more_bytes = (pages.div_ceil(2) * memory.pool().layout().page_bytes) as u64;
    memory.budget_bytes().saturating_sub(more_bytes) / slot_bytes
}
