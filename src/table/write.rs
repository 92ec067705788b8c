//! Writing: the owner's side. One [`Writer`] per table; it needs no locks and waits for nobody.
//!
//! ```text
//! insert x, home 4    ┌ x takes the slot of the latest home in line 4, whose key y moves on to line 5, …
//!                     └ stored tail first: y's new slot, then x in its old one: a reader finds y at every moment
//! delete              a key of line 5 with home ≤ 4 moves into the hole, and so on: between two versions (`stamp`)
//! ```

use crate::config::limits::{DISPLACED_MAX, PROBE_LINES_MAX};
use crate::item_ref::ItemRef;
use crate::sync::{Arc, Ordering};
use crate::table::probe::Probe;
use crate::table::simd::{Kernel, Scanner};
use crate::table::slot::Slot;
use crate::table::stamp::Stamps;
use crate::table::{Keys, LINE_SLOTS, Line, Table};

/// The right to write. `Send`, not `Clone`: one thread has it.
pub struct Writer {
    table: Arc<Table>,
    items: u64,
}

/// What an upsert did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upsert {
    /// The key is new.
    Inserted,
    /// The key had this item; it is unlinked now and may be retired.
    Replaced(ItemRef),
}

/// There is no place within the probe bound. Removing `victim` makes room at the right place; then try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded {
    /// The item in the way.
    pub victim: ItemRef,
}

/// A slot's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    line: usize,
    slot: usize,
}

/// Where a key is, or where it would be inserted.
enum Located {
    At(Place, ItemRef),
    /// The first line with a free slot or a later home; `None` beyond the probe bound.
    Absent(Option<usize>),
}

impl Writer {
    pub(super) fn new(table: Arc<Table>) -> Writer {
        Writer { table, items: 0 }
    }

    /// The table that this writes.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Items in the table.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Looks a key up with the owner's certainty: no rounds, never unsettled.
    #[inline]
    pub fn get<K: Keys>(&self, keys: &K, hash: u64, key: &[u8]) -> Option<ItemRef> {
        match self.locate(keys, self.table.geometry().probe(hash), key) {
            Located::At(_, item) => Some(item),
            Located::Absent(_) => None,
        }
    }

    /// Makes `item` the item of `key`. Its bytes are written already; readers may see it before this returns.
    ///
    /// # Errors
    /// [`Crowded`] when the key is new and no slot within the probe bound can be freed by moving others.
    pub fn upsert<K: Keys>(
        &mut self,
        keys: &K,
        hash: u64,
        key: &[u8],
        item: ItemRef,
    ) -> Result<Upsert, Crowded> {
        let probe = self.table.geometry().probe(hash);
        match self.locate(keys, probe, key) {
            Located::At(place, old) => {
                self.view().store(place, Slot::new(probe.fragment, item));
                Ok(Upsert::Replaced(old))
            }
            Located::Absent(line) => {
                self.view().insert(probe, line, Slot::new(probe.fragment, item))?;
                self.items += 1;
                Ok(Upsert::Inserted)
            }
        }
    }

    /// Removes a key; gives the item that it had, unlinked now.
    pub fn remove<K: Keys>(&mut self, keys: &K, hash: u64, key: &[u8]) -> Option<ItemRef> {
        match self.locate(keys, self.table.geometry().probe(hash), key) {
            Located::At(place, item) => {
                self.clear(place);
                Some(item)
            }
            Located::Absent(_) => None,
        }
    }

    /// Removes the slot that holds exactly `item`, near the home of a hash whose upper 32 bits are `upper`.
    /// Looks at no item; says whether there was such a slot.
    pub fn remove_item(&mut self, upper: u32, item: ItemRef) -> bool {
        let place = self.place_of(upper, item);
        place.inspect(|&place| self.clear(place));
        place.is_some()
    }

    /// Points the slot that holds exactly `from` to `to`, a copy of the same item; says whether there was one.
    pub fn redirect(&mut self, upper: u32, from: ItemRef, to: ItemRef) -> bool {
        let place = self.place_of(upper, from);
        let view = self.view();
        place.inspect(|&place| view.store(place, Slot::new(view.load(place).fragment(), to)));
        place.is_some()
    }

    /// Whether a slot holds exactly `item`.
    pub fn holds(&self, upper: u32, item: ItemRef) -> bool {
        self.place_of(upper, item).is_some()
    }

    fn place_of(&self, upper: u32, item: ItemRef) -> Option<Place> {
        let (first, last) = self.table.geometry().homes_of_upper(upper);
        self.view().place_of(first, last, item)
    }

    #[inline]
    fn locate<K: Keys>(&self, keys: &K, probe: Probe, key: &[u8]) -> Located {
        self.table.scanner.run(Locate { lines: self.table.all_lines(), keys, probe, key })
    }

    /// Frees a slot: displaced keys of the lines behind it move back, one a line.
    fn clear(&mut self, place: Place) {
        self.items -= 1;
        self.view().clear(place, &self.table.stamps);
    }

    #[inline]
    fn view(&self) -> View<'_> {
        View { lines: self.table.all_lines() }
    }
}

/// All lines, as the owner sees them: what it loads it wrote itself.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    lines: &'a [Line],
}

impl View<'_> {
    fn place_of(self, first: usize, last: usize, item: ItemRef) -> Option<Place> {
        for line in first..last + PROBE_LINES_MAX {
            let mut end = false;
            for slot in 0..LINE_SLOTS {
                let found = self.load(Place { line, slot });
                if found.item() == Some(item) {
                    return Some(Place { line, slot });
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

    /// Stores `new` in `line`, moving the keys in its way to later lines, tail first.
    fn insert(self, probe: Probe, line: Option<usize>, new: Slot) -> Result<(), Crowded> {
        let Some(mut line) = line else {
            let place = Place { line: probe.home + PROBE_LINES_MAX - 1, slot: 0 };
            return Err(Crowded { victim: self.occupant(place) });
        };
        let mut path = [Place { line: 0, slot: 0 }; DISPLACED_MAX];
        let mut hops = 0;
        let free = loop {
            if let Some(slot) = self.free_slot(line) {
                break Place { line, slot };
            }
            let place = self.latest_home(line);
            let home = line - self.load(place).displacement(line);
            let next = self.next_line(home, line + 1);
            let (Some(next), true) = (next, hops < DISPLACED_MAX) else {
                return Err(Crowded { victim: self.occupant(place) });
            };
            path[hops] = place;
            hops += 1;
            line = next;
        };
        #[cfg(sherwood_mutant = "head_first")]
        return Ok(self.move_head_first(&path[..hops], free, new));
        // Tail first: every key is in its new slot before its old one is overwritten.
        let mut to = free;
        for &from in path[..hops].iter().rev() {
            self.store(to, self.load(from));
            to = from;
        }
        self.store(to, new);
        Ok(())
    }

    /// The first line, from `line` on, where a key of `home` may stand: it has a free slot or a later home.
    fn next_line(self, home: usize, line: usize) -> Option<usize> {
        (line..home + PROBE_LINES_MAX).find(|&line| {
            (0..LINE_SLOTS).any(|slot| {
                let found = self.load(Place { line, slot });
                found.is_free() || found.displacement(line) < line - home
            })
        })
    }

    fn free_slot(self, line: usize) -> Option<usize> {
        (0..LINE_SLOTS).find(|&slot| self.load(Place { line, slot }).is_free())
    }

    /// The slot of a full line whose key has the latest home.
    fn latest_home(self, line: usize) -> Place {
        let slot = (0..LINE_SLOTS).min_by_key(|&slot| self.load(Place { line, slot }).displacement(line));
        Place { line, slot: slot.expect("a line has slots") }
    }

    /// The key of `line` with the earliest home, if that is before `line` itself.
    fn displaced(self, line: usize) -> Option<Place> {
        (0..LINE_SLOTS)
            .map(|slot| Place { line, slot })
            .filter(|&place| !self.load(place).is_free() && self.load(place).displacement(line) > 0)
            .max_by_key(|&place| self.load(place).displacement(line))
    }

    fn clear(self, mut hole: Place, stamps: &Stamps) {
        let mut last = hole.line;
        while self.displaced(last + 1).is_some() {
            last += 1;
        }
        if last == hole.line {
            // Nothing moves: one store, and no reader can miss anything but the key itself.
            return self.store(hole, Slot::FREE);
        }
        let lines = hole.line..=last;
        stamps.begin_shift(lines.clone());
        while let Some(from) = if hole.line < last { self.displaced(hole.line + 1) } else { None } {
            self.store(hole, self.load(from));
            hole = from;
        }
        self.store(hole, Slot::FREE);
        stamps.end_shift(lines);
    }

    fn occupant(self, place: Place) -> ItemRef {
        self.load(place).item().expect("a full line has items")
    }

    #[inline]
    pub(super) fn load(self, place: Place) -> Slot {
        // Relaxed: the owner reads what it wrote itself.
        Slot::from_word(self.lines[place.line][place.slot].load(Ordering::Relaxed))
    }

    #[inline]
    pub(super) fn store(self, place: Place, slot: Slot) {
        // Release: publishes the item, and the stores before it (tail first; the odd version); pairs with the Acquire
        // slot loads in `read`.
        self.lines[place.line][place.slot].store(slot.word(), Ordering::Release);
    }
}

struct Locate<'a, K> {
    lines: &'a [Line],
    keys: &'a K,
    probe: Probe,
    key: &'a [u8],
}

impl<K: Keys> Kernel for Locate<'_, K> {
    type Output = Located;

    #[inline(always)]
    fn run<S: Scanner>(self, scanner: S) -> Located {
        for displacement in 0..PROBE_LINES_MAX {
            let index = self.probe.home + displacement;
            let line = &self.lines[index];
            let scan = scanner.scan(line, index, displacement, self.probe.fragment);
            if let Some((slot, item)) = Table::confirm(self.keys, line, scan.matches, self.probe, self.key) {
                return Located::At(Place { line: index, slot }, item);
            }
            if scan.last {
                return Located::Absent(Some(index));
            }
        }
        Located::Absent(None)
    }
}
