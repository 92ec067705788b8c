//! The most read keys, from the hit records that come anyway.
//!
//! **Idea.** HeavyKeeper (J. Gong et al., "HeavyKeeper: an accurate algorithm for finding top-k elephant flows",
//! USENIX ATC 2018): rows of cells, each with one key and its count. A key counts in its cell of every row; a cell that
//! another key holds decays: with probability 1.08^-count its count drops by one, and at zero the newcomer has it. So
//! rare keys fight each other for cells, and can hardly take one from a frequent key.
//!
//! ```text
//! hash ─┬─ row 0   │ a 812 │ x 1 │ c 77 │ …      a read of y at a's cell: drops it with 1.08^-812 (never)
//!       └─ row 1   │ c 76  │ a 815 │ y 3 │ …     estimate = the largest of its cells
//! ```
//! There is no heap beside it: when somebody wants to know, all cells are looked at, which takes under 0.1 ms.
//!
//! **Parameters.** 2 rows of 4,096 cells of 8 bytes: 64 KiB. A record may stand for several reads (its weight).
//! **Age.** [`HotKeys::age`] halves all counts. Called every [`HOT_KEYS_AGE_S`] seconds, a steady key's count is 1 to 2
//! times what it is read in that time, and one that is read no more is forgotten soon.
//! **Cost.** Two cells, thus two cache lines, a record.
//! **Error.** Counts are never too high, but for two keys with equal hashes (32 bits) and the luck of a sample; too low by what a key lost to
//! others in *all* rows. Of a Zipf 0.99 stream of 10^7 over 10^6 keys it finds at least 95 of the true top 100 (test).
//!
//! Not here: who asks and what a key is called; here a key is half of its hash.
//!
//! [`HOT_KEYS_AGE_S`]: crate::limits::HOT_KEYS_AGE_S

use crate::base::random::Random;

const ROWS: usize = 2;
const ROW_BITS: u32 = 12;
/// Odd numbers, one a row, that spread the hash: the top bits of the products are the cells.
const SPREADS: [u32; ROWS] = [0x9e37_79b1, 0x85eb_ca77];
/// A count beyond this never decays: 1.08^-300 is 9 × 10^-11.
const DECAYING: usize = 300;
const DECAY: f64 = 1.08;

/// A key that is read often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotKey {
    /// Upper 32 bits of its key hash.
    pub hash: u32,
    /// Reads, aged.
    pub reads: u32,
}

#[derive(Clone, Copy, Default)]
struct Cell {
    hash: u32,
    count: u32,
}

const _: () = assert!(size_of::<Cell>() == 8);

/// The sketch.
pub struct HotKeys {
    rows: [Box<[Cell]>; ROWS],
    /// By count: the chance of a decay, in units of 2^-32.
    chances: [u32; DECAYING],
    reads: u64,
    random: Random,
}

impl HotKeys {
    /// A sketch that has seen nothing. Equal seeds give equal results.
    pub fn new(seed: u64) -> HotKeys {
        HotKeys {
            rows: std::array::from_fn(|_| vec![Cell::default(); 1 << ROW_BITS].into()),
            chances: std::array::from_fn(|count| (DECAY.powi(-(count as i32)) * u32::MAX as f64) as u32),
            reads: 0,
            random: Random::new(seed),
        }
    }

    /// Takes in a record that stands for `weight` reads.
    #[inline]
    pub fn note(&mut self, hash: u32, weight: u32) {
        self.reads += weight as u64;
        for row in 0..ROWS {
            let cell = &mut self.rows[row][place(row, hash)];
            if cell.count == 0 {
                *cell = Cell { hash, count: weight };
            } else if cell.hash == hash {
                cell.count = cell.count.saturating_add(weight);
            } else if let Some(&chance) = self.chances.get(cell.count as usize) {
                // One of `weight` trials: at most one decay, which is what matters for all but the smallest counts.
                if self.random.below(1 << 32) < chance as u64 * weight as u64 {
                    cell.count -= 1;
                }
            }
        }
    }

    /// Halves all counts.
    pub fn age(&mut self) {
        self.rows.iter_mut().flatten().for_each(|cell| cell.count /= 2);
        self.reads /= 2;
    }

    /// Reads taken in, aged as the counts are.
    pub fn reads(&self) -> u64 {
        self.reads
    }

    /// The `count_max` most read keys, the most read first.
    pub fn top(&self, count_max: usize) -> Vec<HotKey> {
        let mut all: Vec<HotKey> = (0..ROWS).flat_map(|row| self.first_found_in(row)).collect();
        let most_first = |key: &HotKey| (std::cmp::Reverse(key.reads), key.hash);
        if all.len() > count_max {
            all.select_nth_unstable_by_key(count_max, most_first);
            all.truncate(count_max);
        }
        all.sort_unstable_by_key(most_first);
        all
    }

    /// The keys of a row that no row before it has, with the best of their counts.
    fn first_found_in(&self, row: usize) -> impl Iterator<Item = HotKey> + '_ {
        let held = move |in_row: usize, hash| {
            let cell = &self.rows[in_row][place(in_row, hash)];
            (cell.hash == hash && cell.count > 0).then_some(cell.count)
        };
        self.rows[row].iter().filter(|cell| cell.count > 0).filter_map(move |cell| {
            let is_first = (0..row).all(|before| held(before, cell.hash).is_none());
            let reads = (row..ROWS).filter_map(|row| held(row, cell.hash)).max()?;
            is_first.then_some(HotKey { hash: cell.hash, reads })
        })
    }
}

#[inline]
fn place(row: usize, hash: u32) -> usize {
    (hash.wrapping_mul(SPREADS[row]) >> (32 - ROW_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::mix;
    use crate::base::zipf::Zipf;
    use std::collections::{HashMap, HashSet};

    const STREAM: usize = 10_000_000;

    fn key(rank: u64) -> u32 {
        (mix(rank) >> 32) as u32
    }

    /// The share of the true top `k` of a Zipf 0.99 stream over a million keys that is found.
    fn recall(k: usize, seed: u64, weight: u32) -> f64 {
        let (zipf, mut random) = (Zipf::new(1_000_000, 0.99), Random::new(seed));
        let mut keys = HotKeys::new(seed);
        let mut counts = vec![0u32; 1_000_000];
        for i in 0..STREAM {
            let rank = zipf.draw(&mut random);
            counts[rank as usize] += 1;
            if (i as u32).is_multiple_of(weight) {
                keys.note(key(rank), weight);
            }
        }
        let mut ranks: Vec<u64> = (0..1_000_000).collect();
        ranks.select_nth_unstable_by_key(k, |&rank| std::cmp::Reverse(counts[rank as usize]));
        let true_top: HashSet<u32> = ranks[..k].iter().map(|&rank| key(rank)).collect();
        let found = keys.top(k);
        assert_eq!(found.len(), k);
        assert!(found.is_sorted_by(|a, b| a.reads >= b.reads));
        found.iter().filter(|hot| true_top.contains(&hot.hash)).count() as f64 / k as f64
    }

    #[test]
    fn of_ten_million_zipf_reads_the_top_hundred_are_found() {
        let recall = recall(100, 1, 1);
        println!("recall of the top 100: {recall}");
        assert!(recall >= 0.95, "{recall}");
    }

    #[test]
    fn a_sample_of_one_in_four_finds_them_too() {
        let recall = recall(100, 2, 4);
        println!("recall of the top 100 from a quarter of the records: {recall}");
        assert!(recall >= 0.9, "{recall}");
    }

    #[test]
    fn a_count_is_never_too_high() {
        let (zipf, mut random) = (Zipf::new(50_000, 0.99), Random::new(3));
        let mut keys = HotKeys::new(3);
        let mut counts = HashMap::new();
        for _ in 0..300_000 {
            let rank = zipf.draw(&mut random);
            *counts.entry(key(rank)).or_insert(0u32) += 1;
            keys.note(key(rank), 1);
        }
        assert_eq!(keys.reads(), 300_000);
        for hot in keys.top(1_000) {
            assert!(hot.reads <= counts[&hot.hash], "{hot:?}");
        }
    }

    #[test]
    fn what_was_hot_is_forgotten() {
        let mut keys = HotKeys::new(4);
        (0..1_000).for_each(|_| keys.note(key(1), 1));
        assert_eq!(keys.top(5), [HotKey { hash: key(1), reads: 1_000 }]);
        for _ in 0..10 {
            keys.age();
            (0..10).for_each(|_| keys.note(key(2), 1));
        }
        assert_eq!(keys.top(1)[0].hash, key(2));
        assert!((10..=20).contains(&keys.top(1)[0].reads));
    }
}
