//! Writing: the owner's side. One [`Writer`] per table; it needs no locks and waits for nobody.
//!
//! ```text
//! insert x, home 4    ┌ x takes the slot of the latest home in line 4, whose key y moves on to line 5, …
//!                     └ stored tail first: y's new slot, then x in its old one: a reader finds y at every moment
//! delete              a key of line 5 with home ≤ 4 moves into the hole, and so on: between two versions (`stamp`)
//! ```

use crate::base::item_ref::ItemRef;
use crate::base::sync::Arc;
use crate::limits::PROBE_LINES_MAX;
use crate::table::grow::Growing;
use crate::table::probe::{Geometry, Probe};
use crate::table::simd::{Kernel, Scanner};
use crate::table::slot::Slot;
use crate::table::view::{SlotIndex, View};
use crate::table::{Keys, Line, Table};

/// The right to write. `Send`, not `Clone`: one thread has it.
pub struct Writer {
    pub(super) table: Arc<Table>,
    pub(super) items: u64,
    pub(super) growing: Option<Growing>,
    /// Counts what was done to slots: a [`Place`] is good until the next of that.
    pub(super) changes: u64,
}

/// Where a key is, or would be, in the table as it is when it is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    located: Located,
    probe: Probe,
    array: Geometry,
    changes: u64,
}

impl Place {
    /// The item of the key, if it has one.
    #[inline]
    pub fn item(&self) -> Option<ItemRef> {
        match self.located {
            Located::At(_, item) => Some(item),
            Located::Absent(_) => None,
        }
    }
}

/// What an upsert did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upsert {
    /// The key is new.
    Inserted,
    /// The key had this item; it is unlinked now and may be retired.
    Replaced(ItemRef),
    /// The key is new, and there was no place within the probe bound: this item of another key is unlinked.
    Evicted(ItemRef),
}

/// Where a key is, or where it would be inserted.
#[derive(Clone, Copy, Debug)]
enum Located {
    At(SlotIndex, ItemRef),
    /// The first line with a free slot or a later home; `None` beyond the probe bound.
    Absent(Option<usize>),
}

impl Writer {
    pub(super) fn new(table: Arc<Table>) -> Writer {
        Writer { table, items: 0, growing: None, changes: 0 }
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
        self.place(keys, hash, key).item()
    }

    /// Where a key is, or would be.
    #[inline]
    pub fn place<K: Keys>(&self, keys: &K, hash: u64, key: &[u8]) -> Place {
        let (probe, array) = self.table.shape().locate(hash);
        Place { located: self.locate(keys, probe, key), probe, array, changes: self.changes }
    }

    /// Whether the table has not changed since a place in it was looked for.
    #[inline]
    pub fn is_current(&self, place: &Place) -> bool {
        place.changes == self.changes
    }

    /// Makes `item` the item of `key`. Its bytes are written already; readers may see it before this returns.
    pub fn upsert<K: Keys>(&mut self, keys: &K, hash: u64, key: &[u8], item: ItemRef) -> Upsert {
        self.put(self.place(keys, hash, key), item)
    }

    /// The same, of the key that a place was looked for.
    ///
    /// # Panics
    /// When the table has changed meanwhile.
    #[inline]
    pub fn put(&mut self, place: Place, item: ItemRef) -> Upsert {
        assert!(self.is_current(&place), "a place of the table as it is");
        self.changes += 1;
        let Place { located, probe, array, .. } = place;
        match located {
            Located::At(place, old) => {
                self.view(array).store(place, Slot::new(probe.fragment, item));
                Upsert::Replaced(old)
            }
            Located::Absent(line) => {
                let evicted = self.view(array).insert(probe, line, Slot::new(probe.fragment, item));
                self.items += evicted.is_none() as u64;
                evicted.map_or(Upsert::Inserted, Upsert::Evicted)
            }
        }
    }

    /// Whether an upsert of `key` would take the place of another key. Costs about as much as the upsert.
    pub fn would_evict<K: Keys>(&self, keys: &K, hash: u64, key: &[u8]) -> bool {
        let (probe, array) = self.table.shape().locate(hash);
        match self.locate(keys, probe, key) {
            Located::At(..) => false,
            Located::Absent(line) => self.view(array).would_evict(line),
        }
    }

    /// Removes a key; gives the item that it had, unlinked now.
    pub fn remove<K: Keys>(&mut self, keys: &K, hash: u64, key: &[u8]) -> Option<ItemRef> {
        let (probe, array) = self.table.shape().locate(hash);
        match self.locate(keys, probe, key) {
            Located::At(place, item) => {
                self.clear(place, array);
                Some(item)
            }
            Located::Absent(_) => None,
        }
    }

    /// Removes the slot that holds exactly `item`, near the home of a hash whose upper 32 bits are `upper`.
    /// Looks at no item; says whether there was such a slot.
    pub fn remove_item(&mut self, upper: u32, item: ItemRef) -> bool {
        let found = self.place_of(upper, item);
        found.inspect(|&(place, array)| self.clear(place, array));
        found.is_some()
    }

    /// Points the slot that holds exactly `from` to `to`, a copy of the same item; says whether there was one.
    pub fn redirect(&mut self, upper: u32, from: ItemRef, to: ItemRef) -> bool {
        let Some((place, array)) = self.place_of(upper, from) else { return false };
        self.changes += 1;
        let view = self.view(array);
        view.store(place, Slot::new(view.load(place).fragment(), to));
        true
    }

    /// Whether a slot holds exactly `item`.
    pub fn holds(&self, upper: u32, item: ItemRef) -> bool {
        self.place_of(upper, item).is_some()
    }

    fn place_of(&self, upper: u32, item: ItemRef) -> Option<(SlotIndex, Geometry)> {
        let shape = self.table.shape();
        let here = |array: Geometry, (first, last)| {
            self.view(array).place_of(first, last, item).map(|place| (place, array))
        };
        let (first, last) = shape.now().homes_of_upper(upper);
        let not_moved = || here(shape.now(), (first.max(shape.front()), last));
        let moved = || here(shape.next(), shape.next().homes_of_upper(upper));
        // The two possible homes may lie on either side of the watermark.
        let found = if last >= shape.front() { not_moved() } else { None };
        found.or_else(|| if first < shape.front() { moved() } else { None })
    }

    #[inline]
    fn locate<K: Keys>(&self, keys: &K, probe: Probe, key: &[u8]) -> Located {
        self.table.scanner.run(Locate { lines: self.table.all_lines(), keys, probe, key })
    }

    /// Frees a slot: displaced keys of the lines behind it move back, one a line.
    fn clear(&mut self, place: SlotIndex, array: Geometry) {
        self.items -= 1;
        self.changes += 1;
        self.view(array).clear(place);
    }

    #[inline]
    pub(super) fn view(&self, array: Geometry) -> View<'_> {
        View { lines: self.table.all_lines(), stamps: self.table.stamps(array) }
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
                return Located::At(SlotIndex { line: index, slot }, item);
            }
            if scan.last {
                return Located::Absent(Some(index));
            }
        }
        Located::Absent(None)
    }
}
