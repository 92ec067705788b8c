//! Hit records to the policy: lossy, sampled when the policy lags, never waited for.
//!
//! A record says how many reads it stands for: itself and those that were left out since the last one, by sampling or
//! because the ring was full. So the policy knows how often items are read although it hears of a part of it. An item
//! whose read was left out says so itself, when it is to be evicted (`memory::item::Access`).

use crate::limits::HIT_RING_RECORDS;
use crate::stats::counters::WorkerCounters;
use cache::base::item_ref::ItemRef;
use cache::base::sample_gaps::SampleGaps;
use cache::ring::{Hit, Producer};

/// The producing end of a worker's hits.
pub struct Hits {
    /// `None`: nobody wants to know.
    ring: Option<Producer<Hit>>,
    /// One hit in so many is recorded, on average.
    one_in: u32,
    /// Hits that are left out before the next record.
    gap: u32,
    gaps: SampleGaps,
    /// Hits that the next record stands for.
    weight: u32,
}

impl Hits {
    /// Hits of one worker.
    pub fn new(ring: Producer<Hit>) -> Hits {
        Hits { ring: Some(ring), ..Hits::untold() }
    }

    /// Hits that nobody wants to know of.
    pub fn untold() -> Hits {
        Hits { ring: None, one_in: 1, gap: 0, gaps: SampleGaps::new(1), weight: 0 }
    }

    /// Once a tick: how much room there is decides how many hits are recorded. All while the ring is at most half
    /// full, one in four beyond, one in sixteen when it is nearly full: the policy sees a sample, not a burst.
    pub fn begin_tick(&mut self) {
        let Some(ring) = &self.ring else { return };
        self.one_in = match HIT_RING_RECORDS.saturating_sub(ring.room()) {
            used if used <= HIT_RING_RECORDS / 2 => 1,
            used if used <= HIT_RING_RECORDS / 8 * 7 => 4,
            _ => 16,
        };
    }

    /// Records a hit, or not; says whether the policy knows all that it wants to know.
    #[inline]
    pub fn note(&mut self, item: ItemRef, hash: u64, counters: &WorkerCounters) -> bool {
        let Some(ring) = &mut self.ring else { return true };
        self.weight = self.weight.saturating_add(1);
        if self.gap > 0 && self.one_in > 1 {
            self.gap -= 1;
            return false;
        }
        self.gap = self.gaps.draw(self.one_in);
        match ring.push(Hit { item, hash: (hash >> 32) as u32, weight: self.weight }) {
            Ok(()) => {
                counters.hit_records_sent.add(1);
                self.weight = 0;
                true
            }
            Err(_) => {
                counters.hit_records_dropped.add(1);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache::ring::ring;

    #[test]
    fn records_stand_for_all_hits_however_few_there_is_room_for() {
        let (producer, mut consumer) = ring(HIT_RING_RECORDS);
        let (mut hits, counters) = (Hits::new(producer), WorkerCounters::default());
        let item = ItemRef::new(1).unwrap();
        let (mut noted, mut told, mut heaviest) = (0u64, 0u64, 0);
        for _ in 0..40 {
            hits.begin_tick();
            for _ in 0..4_096 {
                hits.note(item, 7 << 32, &counters);
                noted += 1;
            }
            // The policy takes less than comes.
            consumer.drain(512, |hit| {
                told += hit.weight as u64;
                heaviest = heaviest.max(hit.weight);
            });
        }
        consumer.drain(HIT_RING_RECORDS, |hit| told += hit.weight as u64);
        assert_eq!(told + hits.weight as u64, noted);
        assert!(heaviest >= 4, "{heaviest}");
        assert!(counters.hit_records_sent.get() < noted / 2);
    }
}
