//! The namespaces of a shard that were invalidated, each with the number of its invalidation.
//!
//! ```text
//! hash of the name ─▶ set: │ header: floor · which tags there may be │ tag · number │ tag · number │ … 15 entries
//!                           one load, where nothing of the set was invalidated lately
//! ```
//! # Idea
//! A namespace without an entry is valid. An entry is needed only as long as items of the namespace from before its
//! invalidation are there; a walk over all items (`scrub`) removes those, and then the entry. So the table is as large as
//! the number of invalidations between two walks asks for, however many names there are.
//!
//! # Bounds
//! [`SETS`] sets of [`ENTRIES`], by a seeded hash; at most two walks' steps of invalidations are kept, four a set on
//! average. A set that is full forgets its entries and raises its floor: then all namespaces of that set, one of [`SETS`],
//! are invalidated. That is an early miss, never a stale answer. Two names with one tag (40 bits) and set do the same to each other.
//!
//! # Why readers see no mixture
//! The owner stores an entry before the header that says that there may be one, and a floor before it takes away the
//! entries that the floor is for. A reader that does not find the entry which the header promised looks at the header
//! again. An entry is taken away for good only when the items that it was for are under no reader's eyes any more.

use crate::base::sync::{AtomicU64, Ordering};
use crate::shard::namespace::Namespace;
use crate::shard::number::is_before;

/// Sets of a shard.
pub(super) const SETS: usize = 1 << SET_BITS;
const SET_BITS: u32 = 13;
/// Entries of a set.
const ENTRIES: usize = 15;

/// The invalidated namespaces of a shard. Written by the owner, read by all.
pub(super) struct Invalid {
    sets: Box<[Set]>,
}

#[repr(align(128))]
struct Set {
    /// Floor in the lower bits, see [`Header`].
    header: AtomicU64,
    /// Tag and number; 0 where there is none.
    entries: [AtomicU64; ENTRIES],
}

const NUMBER_BITS: u32 = 17;
const NUMBER: u64 = (1 << NUMBER_BITS) - 1;
/// There is a number, in a header or an entry.
const USED: u64 = 1 << NUMBER_BITS;
const TAG_SHIFT: u32 = NUMBER_BITS + 1;
/// Bits of a header, one for tags that leave one remainder.
const MARKS: u64 = 64 - TAG_SHIFT as u64;

impl Invalid {
    /// Nothing is invalidated. Without namespaces there are no sets.
    pub(super) fn new(has_names: bool) -> Invalid {
        let set = |_| Set { header: AtomicU64::new(0), entries: std::array::from_fn(|_| AtomicU64::new(0)) };
        Invalid { sets: (0..if has_names { SETS } else { 0 }).map(set).collect() }
    }

    /// Whether items of this namespace that have this number are dead.
    #[inline]
    pub(super) fn has(&self, namespace: Namespace, number: u32) -> bool {
        let (set, tag) = self.find(namespace);
        // Acquire: pairs with the Release stores of the owner; a reader that an answer told of an invalidation sees it.
        let header = set.header.load(Ordering::Acquire);
        if header & mark(tag) == 0 {
            return is_older(number, header);
        }
        // Acquire: if an entry is gone, the floor that it went for is seen below.
        let entry =
            set.entries.iter().map(|entry| entry.load(Ordering::Acquire)).find(|&entry| is_of(entry, tag));
        is_older(number, entry.unwrap_or(0)) || is_older(number, set.header.load(Ordering::Acquire))
    }

    /// Invalidates a namespace with this number, the latest there is. Owner only.
    pub(super) fn insert(&self, namespace: Namespace, number: u32) {
        let (set, tag) = self.find(namespace);
        let new = tag << TAG_SHIFT | USED | number as u64;
        // Relaxed: the owner reads what it wrote itself.
        let held = |entry: &&AtomicU64| is_of(entry.load(Ordering::Relaxed), tag);
        let is_free = |entry: &&AtomicU64| entry.load(Ordering::Relaxed) == 0;
        let header = set.header.load(Ordering::Relaxed);
        match set.entries.iter().find(held).or_else(|| set.entries.iter().find(is_free)) {
            Some(entry) => {
                // Release: see the module; pairs with the Acquire loads of `has`.
                entry.store(new, Ordering::Release);
                set.header.store(header | mark(tag), Ordering::Release);
            }
            None => {
                // Release: as above; the floor comes before the entries go.
                set.header.store(USED | number as u64, Ordering::Release);
                set.entries.iter().for_each(|entry| entry.store(0, Ordering::Release));
            }
        }
    }

    /// Forgets what set `index` has from before `number` and with it: the items are gone, and grace has passed. Owner only;
    /// `false` when there is no such set.
    pub(super) fn forget(&self, index: usize, number: u32) -> bool {
        let Some(set) = self.sets.get(index) else { return false };
        // Relaxed: the owner reads what it wrote itself.
        let header = set.header.load(Ordering::Relaxed);
        if header == 0 {
            return true;
        }
        let is_over = |word: u64| word != 0 && !is_before(number, (word & NUMBER) as u32);
        let mut marks = 0;
        for entry in &set.entries {
            let word = entry.load(Ordering::Relaxed);
            if is_over(word) {
                // Relaxed: nothing that it was for is left; to see it late does no harm.
                entry.store(0, Ordering::Relaxed);
            } else if word != 0 {
                marks |= mark(word >> TAG_SHIFT);
            }
        }
        let floor = header & (USED | NUMBER);
        let floor = if floor & USED != 0 && is_over(floor) { 0 } else { floor };
        // Release: as in `insert`, for the entries that stay.
        set.header.store(floor | marks, Ordering::Release);
        true
    }

    fn find(&self, Namespace(hash): Namespace) -> (&Set, u64) {
        let tag = hash & ((1 << 40) - 1);
        (&self.sets[(hash >> (64 - SET_BITS)) as usize], tag)
    }
}

/// The bit of a header that says that there may be an entry with this tag.
fn mark(tag: u64) -> u64 {
    1 << (TAG_SHIFT as u64 + tag % MARKS)
}

fn is_of(entry: u64, tag: u64) -> bool {
    entry & USED != 0 && entry >> TAG_SHIFT == tag
}

/// Whether a number is earlier than the one in a header or an entry, if there is one.
#[inline]
fn is_older(number: u32, word: u64) -> bool {
    word & USED != 0 && is_before(number, (word & NUMBER) as u32)
}

const _: () = assert!(TAG_SHIFT + 40 <= 64 && size_of::<Set>() == 128);

#[cfg(test)]
mod tests {
    use super::*;

    fn place(set: u64, tag: u64) -> Namespace {
        Namespace(set << (64 - SET_BITS) | tag)
    }

    #[test]
    fn a_namespace_is_invalid_for_earlier_numbers_only() {
        let invalid = Invalid::new(true);
        invalid.insert(place(3, 7), 100);
        assert!(invalid.has(place(3, 7), 99));
        assert!(!invalid.has(place(3, 7), 100));
        assert!(!invalid.has(place(3, 7 + MARKS), 99), "another one with the same mark");
        assert!(!invalid.has(place(3, 8), 99));
        assert!(!invalid.has(place(4, 7), 99));
        invalid.insert(place(3, 7), 105);
        assert!(invalid.has(place(3, 7), 104));
    }

    #[test]
    fn a_full_set_goes_as_a_whole_and_no_other() {
        let invalid = Invalid::new(true);
        let numbers = 100..100 + ENTRIES as u32 + 1;
        for number in numbers.clone() {
            assert!(!invalid.has(place(1, 9_999), 50));
            invalid.insert(place(1, number as u64), number);
        }
        for tag in numbers.map(u64::from).chain([9_999]) {
            assert!(invalid.has(place(1, tag), 100 + ENTRIES as u32 - 1), "{tag}");
            assert!(!invalid.has(place(1, tag), 100 + ENTRIES as u32), "{tag}");
            assert!(!invalid.has(place(2, tag), 50), "{tag}");
        }
    }

    #[test]
    fn what_a_walk_has_passed_is_forgotten() {
        let invalid = Invalid::new(true);
        (100..110).for_each(|number| invalid.insert(place(1, number as u64), number));
        assert!(invalid.forget(1, 104));
        for number in 100..110u32 {
            assert_eq!(invalid.has(place(1, number as u64), number - 1), number > 104, "{number}");
        }
        assert!(invalid.forget(1, 109));
        assert_eq!(invalid.sets[1].header.load(Ordering::Relaxed), 0);
        // A floor as well.
        (0..20).for_each(|i| invalid.insert(place(1, i), 200 + i as u32));
        assert!(invalid.has(place(1, 77), 200));
        assert!(invalid.forget(1, 300));
        assert!(!invalid.has(place(1, 77), 200));
        assert!(!invalid.forget(SETS, 300));
    }
}
