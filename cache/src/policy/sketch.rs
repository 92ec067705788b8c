//! How often was a key asked for lately? A count-min sketch of 4-bit counters that ages.
//!
//! Idea: four counters a key, chosen by hash; the estimate is the smallest. All four lie in one 64-byte block, so a
//! look costs one cache line. After `period` increments every counter is halved: old fame fades.
//!
//! ```text
//! hash ─ upper bits ─▶ block of 8 words          word 0 1 │ 2 3 │ 4 5 │ 6 7
//!      ─ mixed bits ─▶ in each row: word, nibble       row 0    1     2     3
//! ```
//!
//! - Parameters: `entries` (keys that should be told apart), counters an entry 16 while that fits [`FIXED_BYTES`],
//!   else [`COUNTERS_PER_ENTRY`]; never smaller than for 1024 entries. Period = 10 × entries.
//! - Cost: an increment or estimate is O(1) and touches one line; halving is spread over the increments that follow
//!   the end of a period, so no call does more than [`AGE_BLOCKS_MAX`] blocks.
//! - Error: an estimate is never below the truth (up to the cap of 15 and the halvings), and above it only by
//!   what other keys of its block put into all four of its counters.
//! - Sources: Cormode and Muthukrishnan, "An improved data stream summary: the count-min sketch" (2005); Einziger,
//!   Friedman, Manes, "TinyLFU" (ACM ToS 2017); the block layout is Caffeine's `FrequencySketch`.

use crate::base::prefetch;

/// The largest count.
pub const COUNT_MAX: u32 = 15;
/// Up to this size the sketch takes 16 counters an entry; it is part of the policy's fixed memory.
pub const FIXED_BYTES: usize = 256 << 10;
/// Counters an entry beyond [`FIXED_BYTES`]: 3 bytes an entry.
pub const COUNTERS_PER_ENTRY: usize = 6;
/// Blocks halved by one increment at most.
pub const AGE_BLOCKS_MAX: usize = 64;

const BLOCK_COUNTERS: usize = 128;
const ENTRIES_MIN: usize = 1024;
const HALF: u64 = 0x7777_7777_7777_7777;

/// The sketch.
#[derive(Debug)]
pub struct Sketch {
    blocks: Box<[Block]>,
    multiplier: u64,
    period: u64,
    increments: u64,
    /// Next block to halve; `blocks.len()` while no halving is under way.
    hand: usize,
    hand_step: usize,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Block([u64; 8]);

impl Sketch {
    /// A sketch that tells about `entries` keys apart; `seed` varies which keys share counters.
    pub fn new(entries: usize, seed: u64) -> Sketch {
        let generous = entries.max(ENTRIES_MIN) * 16 / BLOCK_COUNTERS;
        let lean = (entries * COUNTERS_PER_ENTRY).div_ceil(BLOCK_COUNTERS);
        let blocks = generous.min(FIXED_BYTES / size_of::<Block>()).max(lean);
        let mut sketch = Sketch {
            blocks: in_huge_pages(blocks, std::iter::repeat_n(Block::default(), blocks)),
            multiplier: (seed | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            period: 0,
            increments: 0,
            hand: blocks,
            hand_step: 0,
        };
        sketch.set_entries(entries);
        sketch
    }

    /// Changes the period to fit `entries` keys, and doubles the counters while they are too few.
    /// A key keeps its counts: block i of the old sketch becomes blocks 2i and 2i + 1.
    pub fn set_entries(&mut self, entries: usize) {
        while self.blocks.len() * BLOCK_COUNTERS * 2 < entries * COUNTERS_PER_ENTRY {
            let doubled = self.blocks.iter().flat_map(|&block| [block, block]);
            self.blocks = in_huge_pages(2 * self.blocks.len(), doubled);
            self.hand *= 2;
        }
        self.period = 10 * entries.max(1) as u64;
        // A halving is over within a sixteenth of an entry's share of increments, or at once when the sketch is tiny.
        self.hand_step = (self.blocks.len() * 16).div_ceil(entries.max(1)).clamp(1, AGE_BLOCKS_MAX);
    }

    /// Counts one access.
    #[inline]
    pub fn increment(&mut self, hash: u32) {
        let (block, mut bits) = self.place(hash);
        let words = &mut self.blocks[block].0;
        for row in 0..4 {
            let (word, shift) = counter(row, bits);
            if words[word] >> shift & 15 < COUNT_MAX as u64 {
                words[word] += 1 << shift;
            }
            bits >>= 8;
        }
        self.age();
    }

    /// Estimate of the accesses, 0..=15.
    #[inline]
    pub fn estimate(&self, hash: u32) -> u32 {
        let (block, mut bits) = self.place(hash);
        let words = &self.blocks[block].0;
        let mut least = COUNT_MAX as u64;
        for row in 0..4 {
            let (word, shift) = counter(row, bits);
            least = least.min(words[word] >> shift & 15);
            bits >>= 8;
        }
        least as u32
    }

    /// Asks for the line that an increment or estimate of this key will need.
    #[inline]
    pub fn prefetch(&self, hash: u32) {
        prefetch::read(&self.blocks[self.place(hash).0]);
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.blocks)
    }

    #[inline]
    fn place(&self, hash: u32) -> (usize, u64) {
        let mixed = (hash as u64 ^ 0x5bd1_e995).wrapping_mul(self.multiplier);
        let mixed = mixed ^ mixed >> 32;
        let block = ((mixed & 0xffff_ffff) * self.blocks.len() as u64) >> 32;
        (block as usize, mixed.wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32)
    }

    #[inline]
    fn age(&mut self) {
        self.increments += 1;
        if self.increments >= self.period {
            self.increments /= 2;
            self.hand = 0;
        }
        if self.hand < self.blocks.len() {
            let end = (self.hand + self.hand_step).min(self.blocks.len());
            for block in &mut self.blocks[self.hand..end] {
                for word in &mut block.0 {
                    *word = *word >> 1 & HALF;
                }
            }
            self.hand = end;
        }
    }
}

/// So many blocks, in huge pages where they fill some.
fn in_huge_pages(count: usize, blocks: impl Iterator<Item = Block>) -> Box<[Block]> {
    let mut memory = Vec::with_capacity(count);
    crate::base::huge::prefer_huge_pages(memory.spare_capacity_mut());
    memory.extend(blocks);
    memory.into()
}

/// Word and bit of the counter of `row`; each row has two words of the block to itself.
#[inline]
fn counter(row: usize, bits: u64) -> (usize, u64) {
    (2 * row + (bits & 1) as usize, (bits >> 1 & 15) * 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn an_estimate_is_never_below_the_truth(
            keys in prop::collection::vec(0u32..400, 1..3000), seed: u64,
        ) {
            // The period (10 240) is longer than the run, so nothing is halved.
            let mut sketch = Sketch::new(1024, seed);
            let mut truth: HashMap<u32, u32> = HashMap::new();
            for key in keys {
                let hash = key.wrapping_mul(0x9e37_79b9);
                sketch.increment(hash);
                *truth.entry(hash).or_default() += 1;
            }
            for (&hash, &count) in &truth {
                prop_assert!(sketch.estimate(hash) >= count.min(COUNT_MAX));
            }
        }
    }

    #[test]
    fn few_estimates_are_above_the_truth() {
        // As many keys as entries, 5 accesses each, at the leanest sizing that the server uses.
        let entries = 200_000;
        let mut sketch = Sketch::new(entries, 1);
        let hash = |key: u32| (key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[4..8].to_vec();
        let hash = |key: u32| u32::from_le_bytes(hash(key).try_into().unwrap());
        for _ in 0..5 {
            (0..entries as u32).for_each(|key| sketch.increment(hash(key)));
        }
        let above = (0..entries as u32).filter(|&key| sketch.estimate(hash(key)) > 5).count();
        let strangers = (0..entries as u32).filter(|&key| sketch.estimate(hash(key + (1 << 30))) > 0).count();
        println!("above the truth {above}, strangers known {strangers}, of {entries}");
        assert!(above * 100 < entries * 25, "{above} of {entries} estimates are too high");
        assert!(strangers * 100 < entries * 25, "{strangers} of {entries} strangers seem known");
    }

    #[test]
    fn counts_halve_after_a_period() {
        let mut sketch = Sketch::new(1024, 7);
        for _ in 0..COUNT_MAX + 5 {
            sketch.increment(42);
        }
        assert_eq!(sketch.estimate(42), COUNT_MAX);
        for other in 0..10 * 1024 {
            sketch.increment(u32::MAX - other);
        }
        assert!((7..=9).contains(&sketch.estimate(42)), "{}", sketch.estimate(42));
    }

    #[test]
    fn growth_keeps_the_counts() {
        let mut sketch = Sketch::new(1024, 7);
        (0..4).for_each(|_| sketch.increment(42));
        sketch.set_entries(1 << 20);
        assert_eq!(sketch.estimate(42), 4);
        assert!(sketch.bytes() * 2 <= (1 << 20) * COUNTERS_PER_ENTRY * 2);
    }
}
