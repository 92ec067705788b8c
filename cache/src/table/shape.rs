//! The shape of a table at one moment: which array holds a key.
//!
//! ```text
//!             0            watermark                     lines
//! now         │ ░░░░ moved ░░░░ │ ███████ here ███████████ │
//! next        │ ████ here ██████████████ │ (zero)                                      │       twice the lines, or half
//!             0                    2 × watermark                                   2 × lines
//!
//! state, one AtomicU64:  63 … 8 watermark, home lines of `now` │ 7 … 4 doublings of `next` │ 3 … 0 doublings of `now`
//! ```
//! A key whose home in `now` is below the watermark is in `next`. Both arrays lie in one slot memory, so a home line is
//! a number of a line there, and whoever looks at lines need not know which array they are of.

use crate::table::probe::{Geometry, Probe};

/// Doublings that a table can have: below eight bits a tag says too little.
pub const DOUBLINGS_MAX: u32 = super::probe::TAG_BITS - 8;

const DOUBLINGS_BITS: u32 = 4;
const _: () = assert!(DOUBLINGS_MAX < 1 << DOUBLINGS_BITS);

/// The word that readers load: the watermark, and the numbers of doublings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(u64);

impl State {
    /// With this many doublings behind it, and all keys in the array of now.
    pub fn settled(doublings: u32) -> State {
        State::moving(doublings, doublings, 0)
    }

    /// With keys of homes below `watermark` in an array of another number of doublings.
    pub fn moving(doublings: u32, next_doublings: u32, watermark: u64) -> State {
        State(
            watermark << (2 * DOUBLINGS_BITS) | (next_doublings as u64) << DOUBLINGS_BITS | doublings as u64,
        )
    }

    /// From the word in memory.
    #[inline]
    pub fn from_word(word: u64) -> State {
        State(word)
    }

    /// The word in memory.
    pub fn word(self) -> u64 {
        self.0
    }

    /// Doublings so far.
    #[inline]
    pub fn doublings(self) -> u32 {
        (self.0 & ((1 << DOUBLINGS_BITS) - 1)) as u32
    }

    /// Doublings of the next array: one more or one less while keys move, else the same.
    #[inline]
    pub fn next_doublings(self) -> u32 {
        (self.0 >> DOUBLINGS_BITS & ((1 << DOUBLINGS_BITS) - 1)) as u32
    }

    /// Home lines of the array of now whose keys are in the next one.
    #[inline]
    pub fn watermark(self) -> u64 {
        self.0 >> (2 * DOUBLINGS_BITS)
    }
}

/// What a [`State`] means, ready for arithmetic.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    now: Geometry,
    next: Geometry,
    /// First line of `now` whose keys have not moved.
    front: usize,
}

impl Shape {
    /// The arrays of `now` and `next`, and how many home lines have moved.
    #[inline]
    pub fn new(now: Geometry, next: Geometry, watermark: u64) -> Shape {
        Shape { now, next, front: now.base() + watermark as usize }
    }

    /// Where a hash is to be looked for.
    #[inline]
    pub fn probe(&self, hash: u64) -> Probe {
        let probe = self.now.probe(hash);
        if probe.home < self.front { self.next.probe(hash) } else { probe }
    }

    /// The same, with the array in which that is.
    #[inline]
    pub fn locate(&self, hash: u64) -> (Probe, Geometry) {
        let probe = self.now.probe(hash);
        if probe.home < self.front { (self.next.probe(hash), self.next) } else { (probe, self.now) }
    }

    /// The array that holds what has not moved.
    #[inline]
    pub fn now(&self) -> Geometry {
        self.now
    }

    /// The array of another size; of meaning while keys move.
    pub fn next(&self) -> Geometry {
        self.next
    }

    /// First line of `now` whose keys have not moved.
    pub fn front(&self) -> usize {
        self.front
    }
}
