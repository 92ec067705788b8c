//! The table: key hash → item reference, in 8-byte slots, read without locks by any thread, written by one owner.
//!
//! # Idea
//! Robin Hood hashing (Celis, Larson & Munro 1985) between cache lines: the *home* of a key is a line of 8 slots; keys
//! stand in the order of their homes, so a probe ends at the first line that has a free slot or a key of a later home.
//!
//! ```text
//!            line 4                    line 5                    line 6
//!   ┌──┬──┬──┬──┬──┬──┬──┬──┐ ┌──┬──┬──┬──┬──┬──┬──┬──┐ ┌──┬──┬──┬──┬──┬──┬──┬──┐
//!   │4 │4 │3 │4 │4 │3 │4 │4 │ │4 │5 │5 │4 │5 │5 │5 │  │ │6 │6 │  │  │  │  │  │  │   homes
//!   └──┴──┴──┴──┴──┴──┴──┴──┘ └──┴──┴──┴──┴──┴──┴──┴──┘ └──┴──┴──┴──┴──┴──┴──┴──┘
//!   a probe for home 4: line 4 (full, nothing later) ─▶ line 5 (has homes > 4: last line)
//!
//!   slot, one AtomicU64:  63 … 59 home, low bits │ 58 … 40 tag │ 39 … 36 spare │ 35 … 0 item reference, 16 B units
//! ```
//!
//! # Reading (`read`, `batch`)
//! *Hit*: a vector compare of a line hints at slots; the slot is loaded again (Acquire), the item's full key compared.
//! No version is read: items are immutable and under grace, so a key that compares equal is the answer.
//! *Miss*: inserts move keys to later lines, tail first, so a scan in ascending order with ordered loads cannot pass a
//! key that is present. Deletes move keys back and bump the version of their 64 lines; a miss is answered only by an
//! ordered scan between two equal, even versions (`stamp`). After [`limits::MISS_ROUNDS_MAX`] rounds the answer is
//! [`Found::Unsettled`]: the owner will know.
//!
//! # Writing (`write`)
//! One [`Writer`] per table. An insert displaces the key with the latest home of a full line, tail first; a delete
//! shifts later keys back at once: with tombstones lines per hit rise from 1.15 to 4.04 after three replacements.
//!
//! # Parameters, cost, bounds
//! | | |
//! |---|---|
//! | load | 0.75–0.80 intended, 0.85 at most |
//! | lines per hit at load 0.8 | 1.15 |
//! | probe bound | 16 lines; an insert beyond it says which item to evict |
//! | false key compares | 8 × 2^-19 per line and miss |
//! | index | 8 B a slot: 10 B an item at load 0.8, plus 4 B per 64 lines of versions |
//!
//! The home is `hash × lines >> 64` (multiply-shift), so any number of lines will do, keys stand in hash order, and a
//! doubling is one sequential stream. The fragment kept in a slot is the home's 5 low bits, which tell the
//! displacement of a key at most 31 lines from its home, and the next 19 bits of the product as the tag.
//!
//! Not here: hashing (`crate::hash`), items (`crate::memory`), expiry and commands (`crate::shard`).
//!
//! [`limits::MISS_ROUNDS_MAX`]: crate::config::limits::MISS_ROUNDS_MAX

pub mod batch;
#[cfg(sherwood_mutant = "head_first")]
mod mutant;
pub mod prefetch;
pub mod probe;
pub mod read;
pub mod simd;
pub mod slot;
pub mod stamp;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
pub mod write;

pub use batch::Lookup;
pub use read::Found;
pub use slot::Slot;
pub use write::{Crowded, Upsert, Writer};

use crate::config::limits::PROBE_LINES_MAX;
use crate::item_ref::ItemRef;
use crate::memory::item::Items;
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering};
use probe::Geometry;
use stamp::Stamps;

/// Slots of one line: a cache line.
pub const LINE_SLOTS: usize = 8;

/// One cache line of slots.
pub type Line = [AtomicU64; LINE_SLOTS];

/// How the table looks at keys: the items in the product, something smaller in the models.
pub trait Keys {
    /// Whether the item at `at` has exactly this key.
    fn key_is(&self, at: ItemRef, key: &[u8]) -> bool;
    /// Asks for the item's bytes without waiting for them.
    fn prefetch(&self, at: ItemRef);
}

impl Keys for Items {
    #[inline]
    fn key_is(&self, at: ItemRef, key: &[u8]) -> bool {
        same(self.get(at).key(), key)
    }

    #[inline]
    fn prefetch(&self, at: ItemRef) {
        // The header, the key and a short value; the length is not known before the first line is here.
        Items::prefetch(self, at, 192);
    }
}

/// Whether two keys are equal: eight bytes at a time with an overlapping last chunk, inlined. A call of `memcmp` costs
/// as much as the comparison of a short key.
#[inline(always)]
fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let (Some(a_last), Some(b_last)) = (a.last_chunk::<8>(), b.last_chunk::<8>()) else {
        return a.iter().zip(b).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0;
    };
    let word = |chunk: &[u8; 8]| u64::from_ne_bytes(*chunk);
    let whole = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
    whole.fold(word(a_last) ^ word(b_last), |diff, (a, b)| diff | (word(a) ^ word(b))) == 0
}

/// Where the slots live: lent by a mapped region, or owned (tests, models, the simulation).
pub trait SlotMemory: Send + Sync {
    /// The slots, zero at first.
    fn slots(&self) -> &[AtomicU64];
}

impl SlotMemory for Box<[AtomicU64]> {
    fn slots(&self) -> &[AtomicU64] {
        self
    }
}

/// A table that many read and one writes.
pub struct Table {
    memory: Box<dyn SlotMemory>,
    /// First slot of the memory that starts a cache line.
    first: usize,
    geometry: Geometry,
    stamps: Stamps,
    scanner: simd::Isa,
    writer_taken: AtomicBool,
}

impl Table {
    /// Slots that a table of `lines` home lines needs, the spare lines at its end included.
    pub fn slots_for(lines: u64) -> usize {
        (lines as usize + PROBE_LINES_MAX) * LINE_SLOTS
    }

    /// Home lines for `items` items at `load_percent`.
    pub fn lines_for(items: u64, load_percent: u64) -> u64 {
        (items * 100).div_ceil(load_percent * LINE_SLOTS as u64).max(1)
    }

    /// A table over `memory`, which is zero and begins a cache line.
    ///
    /// # Panics
    /// When the memory has no room for one home line and the spare lines.
    pub fn new(memory: Box<dyn SlotMemory>) -> Arc<Table> {
        let slots = memory.slots();
        let first = align_to_line(slots);
        let lines = ((slots.len() - first) / LINE_SLOTS)
            .checked_sub(PROBE_LINES_MAX)
            .filter(|&lines| lines > 0)
            .expect("memory for a home line and the spare lines");
        let stamps = Stamps::for_lines(lines + PROBE_LINES_MAX);
        Arc::new(Table {
            memory,
            first,
            geometry: Geometry::new(lines as u64),
            stamps,
            scanner: simd::Isa::detect(),
            writer_taken: AtomicBool::new(false),
        })
    }

    /// A table of its own memory with `lines` home lines.
    pub fn on_heap(lines: u64) -> Arc<Table> {
        // A line more, because a heap block need not begin a cache line.
        let count = Self::slots_for(lines) + LINE_SLOTS - 1;
        let slots: Box<[AtomicU64]> = (0..count).map(|_| AtomicU64::new(0)).collect();
        Self::new(Box::new(slots))
    }

    /// The one writer; `None` if it was taken before.
    pub fn writer(self: &Arc<Table>) -> Option<Writer> {
        // AcqRel: a token, taken once; a second taker sees it taken.
        let taken = self.writer_taken.swap(true, Ordering::AcqRel);
        (!taken).then(|| Writer::new(Arc::clone(self)))
    }

    /// Home lines.
    pub fn lines(&self) -> u64 {
        self.geometry.lines()
    }

    /// Slots in home lines: the capacity that a load refers to.
    pub fn capacity(&self) -> u64 {
        self.lines() * LINE_SLOTS as u64
    }

    /// All lines, home and spare. Ask once per batch or write: it is a call through the memory's owner.
    fn all_lines(&self) -> &[Line] {
        self.raw_slots().as_chunks().0
    }

    /// All slots as they lie in memory, for benches that measure the memory itself.
    pub fn raw_slots(&self) -> &[AtomicU64] {
        &self.memory.slots()[self.first..]
    }

    fn geometry(&self) -> &Geometry {
        &self.geometry
    }
}

/// Slots to skip so that lines are cache lines. The models' atomics are larger than 8 bytes and need no alignment.
fn align_to_line(slots: &[AtomicU64]) -> usize {
    if size_of::<AtomicU64>() != 8 {
        return 0;
    }
    (slots.as_ptr().addr().next_multiple_of(64) - slots.as_ptr().addr()) / 8
}
