//! Records in batches: the memory that they will need is asked for ahead, so that its misses overlap.
//!
//! ```text
//! chunk k + 2    where is its node?  prefetch node, weight and counters
//! chunk k + 1    prefetch the node's neighbours on its list
//! chunk k        apply
//! ```
//!
//! A node of millions is in no cache: without this every record waits four times in turn, for the node, its two neighbours
//! and its counters. What was prefetched may be stale when its chunk is applied; then it was in vain, no more.

use super::{EvictionOrder, TrackedPolicy};
use crate::policy::Policy;
use crate::policy::node::NONE;
use crate::ring::{Event, Hit};

/// Records of a chunk: few enough for what they touch to stay in the first cache.
const CHUNK: usize = 16;
/// Chunks under way.
const STAGES: usize = 3;

impl<O: EvictionOrder> TrackedPolicy<O> {
    /// Takes in reads.
    pub(super) fn take_hits(&mut self, hits: &[Hit]) {
        // A hit lays out no page, so what is found holds until it is applied.
        let mut found = [[NONE; CHUNK]; STAGES];
        for step in 0..steps(hits) {
            for (n, hit) in found[step % STAGES].iter_mut().zip(chunk(hits, step)) {
                *n = self.nodes.find(hit.item).unwrap_or(NONE);
                self.nodes.prefetch(*n);
                self.order.prefetch(hit.hash);
            }
            for (&n, _) in found[(step + STAGES - 1) % STAGES].iter().zip(chunk(hits, step.wrapping_sub(1))) {
                self.nodes.prefetch_neighbours(n);
            }
            for (&n, hit) in found[(step + STAGES - 2) % STAGES].iter().zip(chunk(hits, step.wrapping_sub(2)))
            {
                self.apply(hit, n);
            }
        }
    }

    /// Takes in what an owner did.
    pub(super) fn take_events(&mut self, events: &[Event], now_ms: u64) {
        let mut found = [[NONE; CHUNK]; STAGES];
        for step in 0..steps(events) {
            for (n, event) in found[step % STAGES].iter_mut().zip(chunk(events, step)) {
                // The node that leaves its list: its neighbours will be needed, too.
                let leaves = match *event {
                    Event::Store { item, replaced, hash, .. } => {
                        self.nodes.prefetch_with_weight(self.nodes.find(item).unwrap_or(NONE));
                        self.order.prefetch(hash);
                        replaced
                    }
                    Event::Move { from, to, .. } => {
                        self.nodes.prefetch_with_weight(self.nodes.find(to).unwrap_or(NONE));
                        Some(from)
                    }
                    Event::Delete { item } | Event::Touch { item, .. } | Event::SecondChance { item, .. } => {
                        Some(item)
                    }
                    Event::Reset { .. } | Event::Budget { .. } => None,
                };
                *n = leaves.and_then(|item| self.nodes.find(item)).unwrap_or(NONE);
                self.nodes.prefetch_with_weight(*n);
            }
            for (&n, _) in found[(step + STAGES - 1) % STAGES].iter().zip(chunk(events, step.wrapping_sub(1)))
            {
                self.nodes.prefetch_neighbours(n);
            }
            for event in chunk(events, step.wrapping_sub(2)) {
                self.event(event, now_ms);
            }
        }
    }
}

fn steps<T>(records: &[T]) -> usize {
    records.len().div_ceil(CHUNK) + STAGES - 1
}

/// The chunk of this number; empty where there is none.
fn chunk<T>(records: &[T], number: usize) -> &[T] {
    let at = number.saturating_mul(CHUNK).min(records.len());
    &records[at..records.len().min(at.saturating_add(CHUNK))]
}
