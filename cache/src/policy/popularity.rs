//! What is popular: the hot keys and the number of different ones, fed by the records that the policies get.
//!
//! Reads come as hits, with the weight of what workers left out; stores count as keys, not as reads. A key that is asked
//! for and never there is in no record, and so in no figure here.
//!
//! Every record counts its key, but only one in [`HOT_ONE_IN`] on average goes into the sketch of hot keys, for itself and
//! for those before it: where the policy has no core of its own, all of them cost about 9 % of a worker's time by key. The
//! gaps are random, so that no key hides behind the pattern of a client's requests.

use crate::base::sample_gaps::SampleGaps;
use crate::base::sync::Arc;
use crate::limits::{HOT_KEYS_AGE_S, HOT_KEYS_MAX};
use crate::policy::distinct::Distinct;
use crate::policy::hot::HotKeys;
use crate::policy::hot_key_snapshot::{HotKeySnapshot, Popular};
use crate::ring::Hit;

/// The sketches of a process.
pub struct Popularity {
    hot: HotKeys,
    /// Records until the next that goes into `hot`, and the reads that it will stand for.
    hot_gap: u32,
    hot_weight: u32,
    gaps: SampleGaps,
    /// Up to the last full minute.
    since_start: Distinct,
    this_minute: Distinct,
    last_minute: u64,
    age_at_ms: u64,
    minute_ends_ms: u64,
    publish_at_ms: u64,
    snapshot: Arc<HotKeySnapshot>,
}

/// One record in so many goes into the sketch of hot keys, on average.
pub const HOT_ONE_IN: u32 = 4;
const PUBLISH_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60_000;

impl Popularity {
    /// Sketches that have seen nothing, and are published on `snapshot`.
    pub fn new(snapshot: Arc<HotKeySnapshot>, seed: u64) -> Popularity {
        Popularity {
            hot: HotKeys::new(seed),
            hot_gap: 0,
            hot_weight: 0,
            gaps: SampleGaps::new(seed),
            since_start: Distinct::default(),
            this_minute: Distinct::default(),
            last_minute: 0,
            age_at_ms: HOT_KEYS_AGE_S * 1_000,
            minute_ends_ms: MINUTE_MS,
            publish_at_ms: 0,
            snapshot,
        }
    }

    /// Takes in a read.
    #[inline]
    pub fn hit(&mut self, hit: &Hit) {
        self.key(hit.hash);
        self.hot_weight = self.hot_weight.saturating_add(hit.weight);
        match self.hot_gap {
            0 => {
                self.hot.note(hit.hash, self.hot_weight);
                (self.hot_weight, self.hot_gap) = (0, self.gaps.draw(HOT_ONE_IN));
            }
            _ => self.hot_gap -= 1,
        }
    }

    /// Takes in a key that was stored.
    #[inline]
    pub fn key(&mut self, hash: u32) {
        self.this_minute.note(hash);
    }

    /// Lets time pass: ages, and publishes once a second.
    pub fn advance(&mut self, now_ms: u64) {
        if now_ms >= self.age_at_ms {
            self.age_at_ms = now_ms + HOT_KEYS_AGE_S * 1_000;
            self.hot.age();
        }
        if now_ms >= self.minute_ends_ms {
            self.minute_ends_ms = now_ms + MINUTE_MS;
            self.last_minute = self.this_minute.estimate();
            self.since_start.merge(&self.this_minute);
            self.this_minute.clear();
        }
        if now_ms >= self.publish_at_ms {
            self.publish_at_ms = now_ms + PUBLISH_MS;
            self.publish();
        }
    }

    /// Publishes what is known now.
    pub fn publish(&self) {
        let mut all = self.since_start.clone();
        all.merge(&self.this_minute);
        self.snapshot.publish(&Popular {
            hot: self.hot.top(HOT_KEYS_MAX),
            reads: self.hot.reads(),
            distinct: all.estimate(),
            distinct_minute: self.last_minute,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::item_ref::ItemRef;
    use crate::base::random::{Random, mix};
    use crate::base::zipf::Zipf;

    #[test]
    fn what_is_seen_is_published_and_ages() {
        let snapshot = Arc::new(HotKeySnapshot::default());
        let mut popularity = Popularity::new(Arc::clone(&snapshot), 1);
        let item = ItemRef::new(9).unwrap();
        popularity.advance(1);
        // The first record counts, and the last ones wait for the next that does.
        popularity.hit(&Hit { item, hash: 0x8000_0001, weight: 40 });
        (0..5).for_each(|i| popularity.key(i << 20));
        popularity.advance(900);
        assert_eq!(snapshot.read(), Popular::default());
        popularity.advance(1_001);
        let seen = snapshot.read();
        assert_eq!((seen.reads, seen.distinct, seen.distinct_minute), (40, 6, 0));
        assert_eq!((seen.hot[0].hash, seen.hot[0].reads), (0x8000_0001, 40));
        popularity.advance(10_000);
        assert_eq!((snapshot.read().hot[0].reads, snapshot.read().reads), (20, 20));
        popularity.advance(60_000);
        assert_eq!((snapshot.read().distinct, snapshot.read().distinct_minute), (6, 6));
        popularity.advance(120_000);
        assert_eq!((snapshot.read().distinct, snapshot.read().distinct_minute), (6, 0));
    }

    /// The way that records go in the product: sampled, through the snapshot.
    #[test]
    fn of_ten_million_zipf_reads_the_top_hundred_are_found() {
        const READS: u64 = 10_000_000;
        let (zipf, mut random) = (Zipf::new(1_000_000, 0.99), Random::new(7));
        let snapshot = Arc::new(HotKeySnapshot::default());
        let mut popularity = Popularity::new(Arc::clone(&snapshot), 7);
        let mut counts = vec![0u32; 1_000_000];
        let hash = |rank: u64| (mix(rank) >> 32) as u32;
        for _ in 0..READS {
            let rank = zipf.draw(&mut random);
            counts[rank as usize] += 1;
            popularity.hit(&Hit { item: ItemRef::new(1).unwrap(), hash: hash(rank), weight: 1 });
        }
        popularity.publish();
        let seen = snapshot.read();
        let mut ranks: Vec<u64> = (0..1_000_000).collect();
        ranks.sort_unstable_by_key(|&rank| std::cmp::Reverse(counts[rank as usize]));
        let top: Vec<u32> = ranks[..HOT_KEYS_MAX].iter().map(|&rank| hash(rank)).collect();
        let found = seen.hot.iter().filter(|key| top.contains(&key.hash)).count();
        println!("{found} of the top {HOT_KEYS_MAX} are found");
        assert!(found * 100 >= 95 * HOT_KEYS_MAX, "{found}");
        assert!(READS - seen.reads < 10, "no read is lost: {}", seen.reads);
        let share = seen.hot[0].reads as f64 / counts[0] as f64;
        assert!((0.98..1.02).contains(&share), "{share}");
    }
}
