//! A histogram that one thread writes while any thread reads it.
//!
//! **Idea.** Log-linear buckets, as HdrHistogram's: values below 32 have a bucket each, and every power of two above is
//! cut into 32 equal ones. A bucket is a single-writer counter, so recording is arithmetic on the value's leading bits
//! and a plain load and store: no lock, no allocation, no locked instruction.
//!
//! ```text
//! value   0 1 2 … 31 │ 32 … 63 │ 64 66 … 126 │ 128 132 … │ …          ≥ 2^36: counted in the last bucket
//! bucket  0 1 2 … 31 │ 32 … 63 │ 64 65 … 95  │ 96 …      │ …  1023
//! ```
//!
//! **Parameters.** 5 bits of precision, 36 bits of range: nanoseconds up to 68 s, in 1,024 buckets (8 KiB).
//! **Cost.** Two to four nanoseconds, one or two cache lines.
//! **Error.** A quantile is told as the upper end of its bucket, at most 1/32 (3.2 %) above the value; sum and maximum
//! are exact.
//! **Reading** is not a moment: counts recorded meanwhile may be in the buckets and not yet in the sum. Such a reading
//! is right for people, and every later one contains it.
//!
//! Not here: what is measured (`times`), what is drawn (`histogram` and `view` have HdrHistogram's own format).

use super::counters::Counter;

const PRECISION_BITS: u32 = 5;
const RANGE_BITS: u32 = 36;
const STEPS: u64 = 1 << PRECISION_BITS;
const BUCKETS: usize = (RANGE_BITS - PRECISION_BITS + 1) as usize * STEPS as usize;

/// The largest value that is told apart.
pub const VALUE_MAX: u64 = (1 << RANGE_BITS) - 1;

/// Values of one kind, counted. Only one thread may record; any thread may read.
#[derive(Debug)]
pub struct LiveHistogram {
    buckets: Box<[Counter]>,
    sum: Counter,
    max: Counter,
}

impl Default for LiveHistogram {
    fn default() -> LiveHistogram {
        let buckets = (0..BUCKETS).map(|_| Counter::default()).collect();
        LiveHistogram { buckets, sum: Counter::default(), max: Counter::default() }
    }
}

impl LiveHistogram {
    /// Records `count` events of one value.
    #[inline]
    pub fn record(&self, value: u64, count: u64) {
        let value = value.min(VALUE_MAX);
        self.buckets[bucket(value)].add(count);
        self.sum.add(value * count);
        if value > self.max.get() {
            self.max.set(value);
        }
    }

    /// What was recorded so far.
    pub fn read(&self) -> Reading {
        Reading {
            buckets: self.buckets.iter().map(Counter::get).collect(),
            sum: self.sum.get(),
            max: self.max.get(),
        }
    }
}

/// What was recorded: by one thread, by several together, or between two readings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    buckets: Box<[u64]>,
    sum: u64,
    max: u64,
}

impl Default for Reading {
    fn default() -> Reading {
        Reading { buckets: vec![0; BUCKETS].into(), sum: 0, max: 0 }
    }
}

impl Reading {
    /// Adds another thread's events.
    pub fn merge(&mut self, other: &Reading) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(mine, theirs)| *mine += theirs);
        self.sum = self.sum.wrapping_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// The events since an earlier reading of the same histogram. Their maximum is known to within a bucket.
    pub fn since(&self, earlier: &Reading) -> Reading {
        let buckets: Box<[u64]> =
            self.buckets.iter().zip(&earlier.buckets).map(|(now, then)| now.saturating_sub(*then)).collect();
        let max = buckets.iter().rposition(|&count| count > 0).map_or(0, |at| upper(at).min(self.max));
        Reading { buckets, sum: self.sum.wrapping_sub(earlier.sum), max }
    }

    /// Events recorded.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The largest value.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The value that this share (0..=1) of the events did not exceed; 0 when there are none.
    pub fn quantile(&self, share: f64) -> u64 {
        let rank = ((share * self.count() as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (at, &count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(at).min(self.max);
            }
        }
        0
    }

    /// Events of at most `2^exponent - 1`: exact, because every power of two begins a bucket.
    pub fn count_below_power(&self, exponent: u32) -> u64 {
        let end = if exponent >= RANGE_BITS { BUCKETS } else { bucket(1 << exponent) };
        self.buckets[..end].iter().sum()
    }

    /// The reading of buckets that [`Reading::buckets`] told, and its maximum. The sum is known to within a bucket.
    pub fn of_buckets(max: u64, told: impl IntoIterator<Item = (u64, u64)>) -> Reading {
        let mut reading = Reading { max, ..Reading::default() };
        for (value, count) in told {
            let at = bucket(value.min(VALUE_MAX));
            reading.buckets[at] += count;
            reading.sum += lower(at).midpoint(upper(at)) * count;
        }
        reading
    }

    /// The smallest value of every bucket that has events, and how many.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.buckets.iter().enumerate().filter(|(_, count)| **count > 0).map(|(at, n)| (lower(at), *n))
    }

    /// The middle of every bucket that has events, and how many.
    pub fn values(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let middle = |at: usize| lower(at).midpoint(upper(at)).min(self.max);
        self.buckets.iter().enumerate().filter(|(_, count)| **count > 0).map(move |(at, n)| (middle(at), *n))
    }
}

#[inline]
fn bucket(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let shift = value.ilog2() - PRECISION_BITS;
    ((shift as usize) << PRECISION_BITS) + (value >> shift) as usize
}

/// The smallest value of a bucket.
fn lower(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket >> PRECISION_BITS).saturating_sub(1);
    (bucket - (shift << PRECISION_BITS)) << shift
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    lower(bucket + 1) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_value_is_in_a_bucket_of_its_size(value in 0..=VALUE_MAX) {
            let at = bucket(value);
            prop_assert!((lower(at)..=upper(at)).contains(&value));
            prop_assert!(upper(at) - lower(at) <= value / STEPS);
        }

        #[test]
        fn quantiles_agree_with_a_sorted_list(mut all in prop::collection::vec(0..20_000_000_000u64, 1..300)) {
            let histogram = LiveHistogram::default();
            all.iter().for_each(|&value| histogram.record(value, 1));
            all.sort_unstable();
            let reading = histogram.read();
            for share in [0.0, 0.5, 0.9, 0.99, 1.0] {
                let rank = ((share * all.len() as f64).ceil() as usize).clamp(1, all.len());
                let (want, got) = (all[rank - 1], reading.quantile(share));
                prop_assert!((want..=want + want / STEPS).contains(&got), "{share}: {got} instead of {want}");
            }
            prop_assert_eq!((reading.count(), reading.sum()), (all.len() as u64, all.iter().sum()));
            prop_assert_eq!(reading.max(), all[all.len() - 1]);
        }
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        assert_eq!((lower(0), upper(BUCKETS - 1)), (0, VALUE_MAX));
        for at in 1..BUCKETS {
            assert_eq!(lower(at), upper(at - 1) + 1);
            assert_eq!((bucket(lower(at)), bucket(upper(at))), (at, at));
        }
    }

    #[test]
    fn readings_add_up_and_subtract() {
        let (a, b) = (LiveHistogram::default(), LiveHistogram::default());
        a.record(100, 3);
        let early = a.read();
        a.record(7_000, 2);
        b.record(9, 1);
        let mut all = a.read();
        all.merge(&b.read());
        assert_eq!((all.count(), all.sum(), all.max()), (6, 14_309, 7_000));
        assert_eq!([4, 7, 13, 36].map(|e| all.count_below_power(e)), [1, 4, 6, 6]);
        let late = a.read().since(&early);
        assert_eq!((late.count(), late.sum(), late.max()), (2, 14_000, 7_000));
        assert_eq!(late.values().collect::<Vec<_>>(), [(6_975, 2)]);
        let told = Reading::of_buckets(all.max(), all.buckets());
        assert_eq!((&told.buckets, told.max()), (&all.buckets, 7_000));
        assert!((14_000..14_500).contains(&told.sum()));
        assert_eq!(Reading::default().quantile(0.5), 0);
    }

    #[test]
    fn what_is_too_long_counts_as_the_longest() {
        let histogram = LiveHistogram::default();
        histogram.record(u64::MAX, 1);
        assert_eq!(histogram.read().quantile(0.5), VALUE_MAX);
    }
}
