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
//! | probe bound | 16 lines; an insert beyond it takes the place of another key, and says whose item that was |
//! | false key compares | 8 × 2^-17 per line and miss in a table of its first size |
//! | index | 8 B a slot: 10 B an item at load 0.8, plus 8 B per 64 lines of versions |
//!
//! The home is `hash × lines >> 64` (multiply-shift), so any number of lines will do, keys stand in hash order, and a
//! doubling is one sequential stream. The fragment kept in a slot is the home's 5 low bits, which tell the
//! displacement of a key at most 31 lines from its home, and the next 19 bits of the product as the tag.
//!
//! # Growing and shrinking (`grow`, `shape`)
//! A table that was sized for larger items than came doubles, and one that was sized for smaller items halves: the owner
//! streams keys into an array of twice or half the lines, behind a watermark that tells readers which array holds a home.
//! Items are not touched; a doubling spends one tag bit, a halving gives it back.
//!
//! # Walking (`walk`)
//! Over all keys, a few homes at a time, from any thread.
//!
//! Not here: hashing (`crate::base::hash`), items (`crate::memory`), expiry and commands (`crate::shard`).
//!
//! [`limits::MISS_ROUNDS_MAX`]: crate::limits::MISS_ROUNDS_MAX

pub mod batch;
pub mod grow;
#[cfg(sherwood_mutant = "head_first")]
mod mutant;
pub mod probe;
pub mod read;
pub mod shape;
pub mod simd;
pub mod slot;
pub mod stamp;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
mod view;
pub mod walk;
pub mod write;

pub use batch::{Lookup, find_in};
pub use grow::Growth;
pub use read::Found;
pub use slot::Slot;
pub use walk::{HomeItems, Position, Step};
pub use write::{Place, Upsert, Writer};

use crate::base::item_ref::ItemRef;
use crate::base::sync::{Arc, AtomicBool, AtomicU64, Ordering};
use crate::limits::PROBE_LINES_MAX;
use probe::Geometry;
use shape::{DOUBLINGS_MAX, Shape, State};
use stamp::Stamps;

/// Times that a table may halve from the size that it was made with. Each spends a bit of the tag from the start.
pub const HALVINGS_MAX: u32 = 2;

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

/// Whether two keys are equal: eight bytes at a time with an overlapping last chunk, inlined. A call of `memcmp` costs
/// as much as the comparison of a short key.
#[inline(always)]
pub fn same(a: &[u8], b: &[u8]) -> bool {
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

/// Where the slots live: lent by a mapped region, or owned (tests, models, the simulation). One memory may hold the
/// arrays of many tables, and what is not slots at all.
pub trait SlotMemory: Send + Sync {
    /// All words.
    fn slots(&self) -> &[AtomicU64];
}

impl SlotMemory for Box<[AtomicU64]> {
    fn slots(&self) -> &[AtomicU64] {
        self
    }
}

/// A table that many read and one writes.
pub struct Table {
    memory: Arc<dyn SlotMemory>,
    /// First word of the memory that starts a cache line.
    first: usize,
    /// Home lines of the smallest array that it may have.
    lines: u64,
    /// See [`State`].
    state: AtomicU64,
    /// First line of the array after each number of doublings.
    bases: [AtomicU64; DOUBLINGS_MAX as usize + 2],
    scanner: simd::Isa,
    writer_taken: AtomicBool,
}

impl Table {
    /// Home lines for `items` items at `load_percent`.
    pub fn lines_for(items: u64, load_percent: u64) -> u64 {
        (items * 100).div_ceil(load_percent * LINE_SLOTS as u64).max(1)
    }

    /// Home lines, at least, of a table that is to double, from there, until it holds `items` items at `load_percent`.
    pub fn lines_to_reach(items: u64, load_percent: u64) -> u64 {
        Self::lines_for(items, load_percent).div_ceil(1 << (DOUBLINGS_MAX - HALVINGS_MAX))
    }

    /// A table of `lines` home lines, whose array begins at word `first_word` of `memory` and is zero. It may halve `halvings`
    /// times from there.
    ///
    /// # Panics
    /// When the memory has no room for [`Table::slots_for`] words there, or they do not begin a line whose number is a
    /// multiple of 32, or the lines cannot be halved so often.
    pub fn new(memory: Arc<dyn SlotMemory>, first_word: usize, lines: u64, halvings: u32) -> Arc<Table> {
        let first = align_to_line(memory.slots());
        assert!(first_word.is_multiple_of(LINE_SLOTS), "an array begins a line");
        assert!(first + first_word + Self::slots_for(lines) <= memory.slots().len(), "memory for the array");
        assert!(
            lines.is_multiple_of(1 << halvings) && halvings <= HALVINGS_MAX,
            "{lines} lines halved {halvings} times"
        );
        // As if it had doubled before.
        let doublings = halvings;
        let now = Geometry::new(lines, first_word / LINE_SLOTS, doublings);
        let bases: [AtomicU64; DOUBLINGS_MAX as usize + 2] = std::array::from_fn(|_| AtomicU64::new(0));
        // Relaxed: the table is not shared yet.
        bases[doublings as usize].store(now.base() as u64, Ordering::Relaxed);
        Arc::new(Table {
            memory,
            first,
            lines: lines >> doublings,
            state: AtomicU64::new(State::settled(doublings).word()),
            bases,
            scanner: simd::Isa::detect(),
            writer_taken: AtomicBool::new(false),
        })
    }

    /// A table of its own memory with `lines` home lines, and room to double `doublings` times.
    pub fn on_heap(lines: u64, doublings: u32) -> Arc<Table> {
        // A line more, because a heap block need not begin a cache line.
        let words = Self::first_word_after(lines, doublings + 1) + LINE_SLOTS - 1;
        let slots: Box<[AtomicU64]> = (0..words).map(|_| AtomicU64::new(0)).collect();
        Self::new(Arc::new(slots), 0, lines, 0)
    }

    /// First word behind the arrays of a table that began with `lines` lines, when they stand one behind the other: where
    /// the array after `doublings` doublings begins.
    pub fn first_word_after(lines: u64, doublings: u32) -> usize {
        const ALIGNMENT: usize = LINE_SLOTS << probe::HOME_BITS;
        (0..doublings).map(|n| Self::slots_for(lines << n).next_multiple_of(ALIGNMENT)).sum()
    }

    /// The one writer; `None` if it was taken before.
    pub fn writer(self: &Arc<Table>) -> Option<Writer> {
        // AcqRel: a token, taken once; a second taker sees it taken.
        let taken = self.writer_taken.swap(true, Ordering::AcqRel);
        (!taken).then(|| Writer::new(Arc::clone(self)))
    }

    /// Home lines; while the table grows, of the array that it grows out of.
    pub fn lines(&self) -> u64 {
        self.lines << self.state().doublings()
    }

    /// Slots in home lines: the capacity that a load refers to.
    pub fn capacity(&self) -> u64 {
        self.lines() * LINE_SLOTS as u64
    }

    /// The slots of the array of now as they lie in memory, for benches that measure the memory itself.
    pub fn raw_slots(&self) -> &[AtomicU64] {
        let now = self.shape().now();
        self.all_lines()[now.base()..][..now.lines() as usize].as_flattened()
    }

    /// All lines of the slot memory. Ask once per batch or write: it is a call through the memory's owner.
    fn all_lines(&self) -> &[Line] {
        self.words().as_chunks().0
    }

    fn words(&self) -> &[AtomicU64] {
        &self.memory.slots()[self.first..]
    }

    /// The versions of an array.
    fn stamps(&self, array: Geometry) -> Stamps<'_> {
        let lines = array.lines() as usize + PROBE_LINES_MAX;
        let first = (array.base() + lines) * LINE_SLOTS;
        Stamps::new(&self.words()[first..first + Stamps::count(lines)], array.base())
    }

    #[inline]
    fn state(&self) -> State {
        // Acquire: pairs with the Release stores in `grow`; whoever sees a watermark sees the keys that it stands for.
        State::from_word(self.state.load(Ordering::Acquire))
    }

    /// Which array holds which key, now.
    #[inline]
    fn shape(&self) -> Shape {
        self.shape_of(self.state())
    }

    /// Which array holds which key in a state of this table.
    #[inline]
    fn shape_of(&self, state: State) -> Shape {
        let array = |doublings: u32| {
            // Relaxed: stored before the state that names it.
            let base = self.bases[doublings as usize].load(Ordering::Relaxed) as usize;
            Geometry::known(self.lines << doublings, base, doublings)
        };
        let now = array(state.doublings());
        // The same before the watermark moves.
        let next = array(state.next_doublings());
        Shape::new(now, next, state.watermark())
    }
}

/// Slots to skip so that lines are cache lines. The models' atomics are larger than 8 bytes and need no alignment.
fn align_to_line(slots: &[AtomicU64]) -> usize {
    if size_of::<AtomicU64>() != 8 {
        return 0;
    }
    (slots.as_ptr().addr().next_multiple_of(64) - slots.as_ptr().addr()) / 8
}
