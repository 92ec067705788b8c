//! Growth: an array of twice the lines, or of half, takes over, while all threads read and the owner writes.
//!
//! # Idea
//! A home is `hash × lines >> 64`, so keys stand in hash order at any size: the keys of home `h` go to the homes `2h` and
//! `2h + 1`, the next bit of the tag says which, and a doubling is one sequential stream that looks at no item.
//! Halving is the same stream the other way: homes `2h` and `2h + 1` become `h`, and the bit goes back to the tag.
//! Incremental growth with a moving front is linear hashing's (Litwin 1980), here over one doubling at a time.
//!
//! ```text
//! begin   the next array's memory is given; its lines and versions are set to zero, some a call
//! move    keys of homes watermark .. watermark + n are stored in the next array        (Release stores)
//!         the watermark advances                                                       (Release: readers go there)
//!         keys of those homes that stand behind the front, displaced, are cleared      (backward shifts, versions)
//! end     the next array is the array; the old one is retired: its memory is free after grace
//! ```
//!
//! # Why readers do not notice
//! A reader that loaded the watermark before it moved finds the key where it was, with the same item: old slots before
//! the front stay as they are until the array retires, which grace delays past that reader's tick. Where a key was
//! cleared from behind the front, the reader misses, asks for the watermark again (`Table::settle`), and sees it moved,
//! because the clearing store is a Release behind it. No slot that is behind the front belongs to a home before it, so
//! whoever looks for a key that has not moved never meets a reference that is not kept up to date.
//!
//! # Parameters, cost, bounds
//! `lines` per call bounds the work: 8 slots a line, two sequential streams. A doubling needs memory for an array of twice
//! the size beside the old one, which is returned; it spends one tag bit, so a table doubles [`DOUBLINGS_MAX`] times at most,
//! from the smallest size that it may have (`HALVINGS_MAX`): make it so large at first that this is enough
//! ([`Table::lines_to_reach`]). A key that finds no place in the next array (16 full lines in a row
//! at half the load, or at twice) is given up and reported: halve a table only when it is nearly empty.

use crate::base::item_ref::ItemRef;
use crate::base::sync::Ordering;
use crate::limits::PROBE_LINES_MAX;
use crate::table::probe::{Geometry, Probe};
use crate::table::shape::{DOUBLINGS_MAX, State};
use crate::table::slot::Slot;
use crate::table::stamp::Stamps;
use crate::table::view::{SlotIndex, View};
use crate::table::{LINE_SLOTS, Table, Writer};
use std::ops::Range;

/// A growth, or its opposite, that is under way.
#[derive(Debug)]
pub struct Growing {
    next: Geometry,
    next_doublings: u32,
    /// Words of the next array that are zero already, of all that it has.
    zeroed: usize,
    words: Range<usize>,
}

/// How far a growth is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Call again.
    UnderWay,
    /// The table has its new size. The words of the old array, counted from the start of the slot memory, are nobody's
    /// once grace has passed.
    Done {
        /// Words of slot memory.
        retired: Range<usize>,
    },
}

/// Words that one line of a call's work may set to zero: zeroing is cheaper than moving.
const ZERO_WORDS_PER_LINE: usize = 8 * LINE_SLOTS;

impl Writer {
    /// Words of slot memory that an array of twice the lines needs; `None` when the table can grow no more.
    pub fn words_to_grow(&self) -> Option<usize> {
        let lines = self.table.lines() * 2;
        let may = self.table.state().doublings() < DOUBLINGS_MAX && lines <= Geometry::LINES_MAX;
        (may && self.growing.is_none()).then(|| Table::slots_for(lines))
    }

    /// Words of slot memory that an array of half the lines needs; `None` when the table can halve no more.
    pub fn words_to_shrink(&self) -> Option<usize> {
        let may = self.table.state().doublings() > 0 && self.growing.is_none();
        may.then(|| Table::slots_for(self.table.lines() / 2))
    }

    /// Whether a growth, or its opposite, is under way.
    pub fn is_growing(&self) -> bool {
        self.growing.is_some()
    }

    /// Begins to grow into the words from `first_word` of the slot memory on, [`Writer::words_to_grow`] of them, which
    /// nobody else uses. They need not be zero.
    ///
    /// # Panics
    /// When the table cannot grow or grows already, or the words do not begin a line whose number is a multiple of 32.
    pub fn begin_growth(&mut self, first_word: usize) {
        let count = self.words_to_grow().expect("a table that may grow");
        self.begin(first_word, count, self.table.state().doublings() + 1);
    }

    /// Begins to shrink into the words from `first_word` of the slot memory on, [`Writer::words_to_shrink`] of them. Then it is
    /// all as with growth.
    ///
    /// # Panics
    /// As [`Writer::begin_growth`].
    pub fn begin_shrinking(&mut self, first_word: usize) {
        let count = self.words_to_shrink().expect("a table that may halve");
        self.begin(first_word, count, self.table.state().doublings() - 1);
    }

    fn begin(&mut self, first_word: usize, count: usize, next_doublings: u32) {
        self.changes += 1;
        assert!(first_word.is_multiple_of(LINE_SLOTS), "an array begins a line");
        let lines = self.table.lines << next_doublings;
        let next = Geometry::new(lines, first_word / LINE_SLOTS, next_doublings);
        // Relaxed: published by the Release store of the first watermark. Nobody uses what it was: an array of this number of
        // doublings retired before, and grace has passed since.
        self.table.bases[next_doublings as usize].store(next.base() as u64, Ordering::Relaxed);
        let words = first_word..first_word + count;
        assert!(words.end <= self.table.words().len(), "an array lies in the slot memory");
        self.growing = Some(Growing { next, next_doublings, zeroed: 0, words });
    }

    /// Grows by the work of about `lines` home lines. `lost` is told of items whose keys found no place.
    ///
    /// # Panics
    /// When no growth has begun.
    pub fn grow(&mut self, lines: u64, lost: impl FnMut(ItemRef)) -> Growth {
        self.changes += 1;
        let growing = self.growing.as_mut().expect("a growth that has begun");
        if growing.zeroed < growing.words.len() {
            let first = growing.words.start + growing.zeroed;
            let count = (growing.words.len() - growing.zeroed).min(lines as usize * ZERO_WORDS_PER_LINE);
            growing.zeroed += count;
            for word in &self.table.words()[first..first + count] {
                // Relaxed: published by the Release store of the first watermark.
                word.store(0, Ordering::Relaxed);
            }
            return Growth::UnderWay;
        }
        let (next, next_doublings) = (growing.next, growing.next_doublings);
        self.advance(next, next_doublings, lines, lost);
        let state = self.table.state();
        if state.watermark() < self.table.lines() {
            return Growth::UnderWay;
        }
        let old = self.table.shape().now();
        self.growing = None;
        // Release: as for the watermark; the next array is the array.
        self.table.state.store(State::settled(next_doublings).word(), Ordering::Release);
        let first = old.base() * LINE_SLOTS;
        Growth::Done { retired: first..first + Table::slots_for(old.lines()) }
    }

    /// Moves the keys of the next `lines` homes.
    fn advance(&mut self, next: Geometry, next_doublings: u32, lines: u64, mut lost: impl FnMut(ItemRef)) {
        let (state, now) = (self.table.state(), self.table.shape().now());
        let watermark = (state.watermark() + lines).min(now.lines());
        let first = now.base() + state.watermark() as usize;
        let front = now.base() + watermark as usize;
        let (from, to) = (self.view(now), self.view(next));
        let mut gone = 0;
        let grows = next_doublings > state.doublings();
        from.each_of_homes(first..front, |_, home, slot| {
            let (old, fragment) = (home - now.base(), slot.fragment());
            let probe = if grows {
                let home = next.base() + 2 * old + fragment.next_home_bit();
                Probe { home, fragment: fragment.doubled(home) }
            } else {
                let home = next.base() + old / 2;
                Probe { home, fragment: fragment.halved(home, old) }
            };
            let moved = Slot::new(probe.fragment, slot.item().expect("a key has an item"));
            if let Some(evicted) = to.insert(probe, to.next_line(probe.home, probe.home), moved) {
                lost(evicted);
                gone += 1;
            }
        });
        // Release: the stores of the next array come before; pairs with the Acquire in `Table::shape`.
        let moved = State::moving(state.doublings(), next_doublings, watermark);
        self.table.state.store(moved.word(), Ordering::Release);
        from.clear_homes_before(front);
        self.items -= gone;
    }
}

impl View<'_> {
    /// Calls `each` for every key whose home is one of `homes`, in the order of lines.
    fn each_of_homes(self, homes: Range<usize>, mut each: impl FnMut(SlotIndex, usize, Slot)) {
        for line in homes.start..homes.end + PROBE_LINES_MAX - 1 {
            for slot in 0..LINE_SLOTS {
                let place = SlotIndex { line, slot };
                let found = self.load(place);
                if !found.is_free() && homes.contains(&(line - found.displacement(line))) {
                    each(place, line - found.displacement(line), found);
                }
            }
        }
    }

    /// Clears the keys that stand at or behind line `front` and have homes before it.
    fn clear_homes_before(self, front: usize) {
        for line in front..front + PROBE_LINES_MAX - 1 {
            while let Some(place) = self.displaced(line)
                && line - self.load(place).displacement(line) < front
            {
                self.clear(place);
            }
        }
    }
}

impl Table {
    /// Words of slot memory that an array of `lines` home lines needs: slots, spare lines and versions, in whole lines.
    pub fn slots_for(lines: u64) -> usize {
        let lines = lines as usize + PROBE_LINES_MAX;
        (lines * LINE_SLOTS + Stamps::count(lines)).next_multiple_of(LINE_SLOTS)
    }
}
