//! Hit records to the policy: lossy, sampled when the policy lags, never waited for.

use crate::config::limits::HIT_RING_RECORDS;
use crate::item_ref::ItemRef;
use crate::ring::{Hit, Producer};
use crate::stats::counters::WorkerCounters;

/// The producing end of a worker's hits.
pub struct Hits {
    ring: Producer<Hit>,
    /// One hit in so many is recorded.
    one_in: u32,
    skipped: u32,
}

impl Hits {
    /// Hits of one worker.
    pub fn new(ring: Producer<Hit>) -> Hits {
        Hits { ring, one_in: 1, skipped: 0 }
    }

    /// Once a tick: how much room there is decides how many hits are recorded. All while the ring is at most half
    /// full, one in four beyond, one in sixteen when it is nearly full: the policy sees a sample, not a burst.
    pub fn begin_tick(&mut self) {
        self.one_in = match HIT_RING_RECORDS.saturating_sub(self.ring.room()) {
            used if used <= HIT_RING_RECORDS / 2 => 1,
            used if used <= HIT_RING_RECORDS / 8 * 7 => 4,
            _ => 16,
        };
    }

    /// Records a hit, or not.
    #[inline]
    pub fn note(&mut self, item: ItemRef, hash: u64, counters: &WorkerCounters) {
        self.skipped += 1;
        if self.skipped < self.one_in {
            return;
        }
        self.skipped = 0;
        match self.ring.push(Hit { item, hash: (hash >> 32) as u32 }) {
            Ok(()) => counters.hit_records_sent.add(1),
            Err(_) => counters.hit_records_dropped.add(1),
        }
    }
}
