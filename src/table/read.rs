//! Reading one key, from any thread.

use crate::config::limits::{MISS_ROUNDS_MAX, PROBE_LINES_MAX};
use crate::item_ref::ItemRef;
use crate::sync::{Ordering, spin};
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
