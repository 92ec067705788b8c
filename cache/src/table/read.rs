//! Reading one key, from any thread.

use crate::base::item_ref::ItemRef;
use crate::base::sync::{Ordering, spin};
use crate::limits::{MISS_ROUNDS_MAX, PROBE_LINES_MAX};
use crate::table::probe::Probe;
use crate::table::simd::{Kernel, Scanner};
use crate::table::slot::Slot;
use crate::table::{Keys, Line, Table};

/// The answer to a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The key was present, with this item.
    Hit(ItemRef),
    /// The key was absent at some moment during the call.
    Miss,
    /// The owner shifted keys in every round; ask the owner.
    Unsettled,
}

impl Table {
    /// Looks up one key. `hash` is the table's key hash of `key`.
    ///
    /// The caller is within a tick: the item of a hit stays readable until the tick ends.
    #[inline]
    pub fn find<K: Keys>(&self, keys: &K, hash: u64, key: &[u8]) -> Found {
        let probe = self.shape().probe(hash);
        match self.scanner.run(FindHint { lines: self.all_lines(), keys, probe, key }) {
            Some(item) => Found::Hit(item),
            None => self.settle(keys, hash, key),
        }
    }

    /// The first item that is wanted among those whose home a hash with these upper 32 bits can have: a handful. It stays
    /// readable until the caller's tick ends. While the owner moves keys one may be missed.
    pub fn find_near(&self, upper: u32, is_wanted: impl Fn(ItemRef) -> bool) -> Option<ItemRef> {
        let shape = self.shape();
        let (first, last) = shape.now().homes_of_upper(upper);
        // The two possible homes may lie on either side of the watermark.
        let not_moved = || self.find_at_homes(first.max(shape.front()), last, &is_wanted);
        let moved = || {
            let (first, last) = shape.next().homes_of_upper(upper);
            self.find_at_homes(first, last, &is_wanted)
        };
        let found = if last >= shape.front() { not_moved() } else { None };
        found.or_else(|| if first < shape.front() { moved() } else { None })
    }

    fn find_at_homes(
        &self,
        first: usize,
        last: usize,
        is_wanted: impl Fn(ItemRef) -> bool,
    ) -> Option<ItemRef> {
        for index in first..last + PROBE_LINES_MAX {
            let mut end = false;
            for word in &self.all_lines()[index] {
                // Acquire: publishes the item's bytes; pairs with the writer's Release slot stores.
                let slot = Slot::from_word(word.load(Ordering::Acquire));
                let home = index.saturating_sub(slot.displacement(index));
                match slot.item() {
                    Some(item) if (first..=last).contains(&home) && is_wanted(item) => return Some(item),
                    // A home later than `last` means that no earlier home follows.
                    _ => end |= index >= last && (slot.is_free() || home > last),
                }
            }
            if end {
                break;
            }
        }
        None
    }

    /// The second scan of a miss: ordered, between two equal and even versions, in the array that has the key's home
    /// before and after.
    #[inline(never)]
    pub(super) fn settle<K: Keys>(&self, keys: &K, hash: u64, key: &[u8]) -> Found {
        for _ in 0..MISS_ROUNDS_MAX {
            let (probe, array) = self.shape().locate(hash);
            let last_line = probe.home + PROBE_LINES_MAX - 1;
            let stamps = self.stamps(array);
            let stamp = stamps.before(probe.home, last_line);
            if let Some(item) = self.scan_in_order(keys, probe, key) {
                return Found::Hit(item);
            }
            // A scan that met a slot of a move (Release) sees the watermark that was stored before it.
            if stamps.unchanged(stamp, probe.home, last_line) && self.shape().locate(hash).1 == array {
                return Found::Miss;
            }
            spin();
        }
        Found::Unsettled
    }

    /// Scans the lines of a probe in ascending order with ordered loads.
    pub(super) fn scan_in_order<K: Keys>(&self, keys: &K, probe: Probe, key: &[u8]) -> Option<ItemRef> {
        let lines = self.all_lines();
        for displacement in 0..PROBE_LINES_MAX {
            let index = probe.home + displacement;
            let mut last = false;
            for word in &lines[index] {
                // Acquire: pairs with the writer's Release slot stores. It publishes the item, and it orders the
                // scan: a key that an insert moved to a later line is there when its old slot shows another.
                let slot = Slot::from_word(word.load(Ordering::Acquire));
                match slot.item() {
                    Some(item) if slot.fragment() == probe.fragment && keys.key_is(item, key) => {
                        return Some(item);
                    }
                    _ => last |= slot.is_free() || slot.displacement(index) < displacement,
                }
            }
            if last {
                return None;
            }
        }
        None
    }

    /// The slots of a line that a scan hinted at, loaded again and compared in full.
    #[inline(always)]
    pub(super) fn confirm<K: Keys>(
        keys: &K,
        line: &Line,
        mut matches: u32,
        probe: Probe,
        key: &[u8],
    ) -> Option<(usize, ItemRef)> {
        while matches != 0 {
            let at = matches.trailing_zeros() as usize;
            matches &= matches - 1;
            if let Some(item) = candidate(line, at, probe)
                && keys.key_is(item, key)
            {
                return Some((at, item));
            }
        }
        None
    }
}

/// The item of slot `at`, if the slot still shows the probe's fragment.
#[inline(always)]
pub(super) fn candidate(line: &Line, at: usize, probe: Probe) -> Option<ItemRef> {
    // Acquire: publishes the item's bytes; pairs with the writer's Release slot stores.
    let slot = Slot::from_word(line[at].load(Ordering::Acquire));
    if slot.fragment() == probe.fragment { slot.item() } else { None }
}

/// The first scan: by hints.
pub(super) struct FindHint<'a, K> {
    pub(super) lines: &'a [Line],
    pub(super) keys: &'a K,
    pub(super) probe: Probe,
    pub(super) key: &'a [u8],
}

impl<K: Keys> Kernel for FindHint<'_, K> {
    type Output = Option<ItemRef>;

    #[inline(always)]
    fn run<S: Scanner>(self, scanner: S) -> Option<ItemRef> {
        for displacement in 0..PROBE_LINES_MAX {
            let index = self.probe.home + displacement;
            let line = &self.lines[index];
            let scan = scanner.scan(line, index, displacement, self.probe.fragment);
            if let Some((_, item)) = Table::confirm(self.keys, line, scan.matches, self.probe, self.key) {
                return Some(item);
            }
            if scan.last {
                break;
            }
        }
        None
    }
}
