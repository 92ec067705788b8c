//! An array as its owner sees it: Robin Hood order kept between lines, every store in the order that readers need.

use crate::base::item_ref::ItemRef;
use crate::base::sync::Ordering;
use crate::limits::{DISPLACED_MAX, PROBE_LINES_MAX};
use crate::table::probe::Probe;
use crate::table::slot::Slot;
use crate::table::stamp::Stamps;
use crate::table::{LINE_SLOTS, Line};

/// A slot's place. The line is counted from the start of the slot memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotIndex {
    pub(super) line: usize,
    pub(super) slot: usize,
}

/// The lines, and the versions of one array: what the owner loads it wrote itself.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) lines: &'a [Line],
    pub(super) stamps: Stamps<'a>,
}

/// The keys in the way of an insert, each of which moves to the place of the one behind it.
struct Path {
    places: [SlotIndex; DISPLACED_MAX],
    hops: usize,
    /// Where the last of them goes.
    end: SlotIndex,
    /// Whose place that is, where none within the bounds is free.
    victim: Option<ItemRef>,
}

impl View<'_> {
    pub(super) fn place_of(self, first: usize, last: usize, item: ItemRef) -> Option<SlotIndex> {
        for line in first..last + PROBE_LINES_MAX {
            let mut end = false;
            for slot in 0..LINE_SLOTS {
                let found = self.load(SlotIndex { line, slot });
                if found.item() == Some(item) {
                    return Some(SlotIndex { line, slot });
                }
                // A home later than `last` means that no earlier home follows.
                end |= line >= last && (found.is_free() || found.displacement(line) < line - last);
            }
            if end {
                return None;
            }
        }
        None
    }

    /// Stores `new`, whose key is absent, in `line`, moving the keys in its way to later lines, tail first. `line` is the
    /// first with a free slot or a later home, `None` beyond the probe bound. Where there is no room within the
    /// bounds, the key that finds no place is overwritten, and its item given.
    pub(super) fn insert(self, probe: Probe, line: Option<usize>, new: Slot) -> Option<ItemRef> {
        let Some(line) = line else {
            // Any key of the last line may go: none has a later home, and no later line has an earlier one.
            let place = SlotIndex { line: probe.home + PROBE_LINES_MAX - 1, slot: 0 };
            let victim = self.load(place).item();
            self.store(place, new);
            return victim;
        };
        let Path { places, hops, end, victim } = self.path_from(line);
        #[cfg(sherwood_mutant = "head_first")]
        return self.move_head_first(&places[..hops], end, new, victim);
        // Tail first: every key is in its new slot before its old one is overwritten.
        let mut to = end;
        for &from in places[..hops].iter().rev() {
            self.store(to, self.load(from));
            to = from;
        }
        self.store(to, new);
        victim
    }

    /// Whether an insert in `line`, as [`View::insert`] means it, would take the place of another key.
    pub(super) fn would_evict(self, line: Option<usize>) -> bool {
        line.is_none_or(|line| self.path_from(line).victim.is_some())
    }

    /// The keys that an insert in `line` moves to later lines.
    #[inline]
    fn path_from(self, mut line: usize) -> Path {
        let mut path = Path {
            places: [SlotIndex { line: 0, slot: 0 }; DISPLACED_MAX],
            hops: 0,
            end: SlotIndex { line, slot: 0 },
            victim: None,
        };
        loop {
            if let Some(slot) = self.free_slot(line) {
                path.end = SlotIndex { line, slot };
                return path;
            }
            let place = self.latest_home(line);
            let home = line - self.load(place).displacement(line);
            let next = self.next_line(home, line + 1);
            let (Some(next), true) = (next, path.hops < DISPLACED_MAX) else {
                (path.end, path.victim) = (place, self.load(place).item());
                return path;
            };
            path.places[path.hops] = place;
            path.hops += 1;
            line = next;
        }
    }

    /// The first line, from `line` on, where a key of `home` may stand: it has a free slot or a later home.
    pub(super) fn next_line(self, home: usize, line: usize) -> Option<usize> {
        (line..home + PROBE_LINES_MAX).find(|&line| {
            (0..LINE_SLOTS).any(|slot| {
                let found = self.load(SlotIndex { line, slot });
                found.is_free() || found.displacement(line) < line - home
            })
        })
    }

    fn free_slot(self, line: usize) -> Option<usize> {
        (0..LINE_SLOTS).find(|&slot| self.load(SlotIndex { line, slot }).is_free())
    }

    /// The slot of a full line whose key has the latest home.
    fn latest_home(self, line: usize) -> SlotIndex {
        let slot = (0..LINE_SLOTS).min_by_key(|&slot| self.load(SlotIndex { line, slot }).displacement(line));
        SlotIndex { line, slot: slot.expect("a line has slots") }
    }

    /// The key of `line` with the earliest home, if that is before `line` itself.
    pub(super) fn displaced(self, line: usize) -> Option<SlotIndex> {
        (0..LINE_SLOTS)
            .map(|slot| SlotIndex { line, slot })
            .filter(|&place| !self.load(place).is_free() && self.load(place).displacement(line) > 0)
            .max_by_key(|&place| self.load(place).displacement(line))
    }

    pub(super) fn clear(self, mut hole: SlotIndex) {
        let mut last = hole.line;
        while self.displaced(last + 1).is_some() {
            last += 1;
        }
        if last == hole.line {
            // Nothing moves: one store, and no reader can miss anything but the key itself.
            return self.store(hole, Slot::FREE);
        }
        let lines = hole.line..=last;
        self.stamps.begin_shift(lines.clone());
        while let Some(from) = if hole.line < last { self.displaced(hole.line + 1) } else { None } {
            self.store(hole, self.load(from));
            hole = from;
        }
        self.store(hole, Slot::FREE);
        self.stamps.end_shift(lines);
    }

    #[inline]
    pub(super) fn load(self, place: SlotIndex) -> Slot {
        // Relaxed: the owner reads what it wrote itself.
        Slot::from_word(self.lines[place.line][place.slot].load(Ordering::Relaxed))
    }

    #[inline]
    pub(super) fn store(self, place: SlotIndex, slot: Slot) {
        // Release: publishes the item, and the stores before it (tail first; the odd version); pairs with the Acquire
        // slot loads in `read`.
        self.lines[place.line][place.slot].store(slot.word(), Ordering::Release);
    }
}
