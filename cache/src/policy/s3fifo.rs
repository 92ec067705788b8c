//! S3-FIFO: three queues, no move on a hit.
//!
//! ```text
//! new ─▶ small (10 %) ─ read again? ─▶ main ─ read since? ─▶ main again
//!          │ no                          │ no
//!          ▼                             ▼
//!        ghost: hashes only            gone
//! seen in the ghost ─────────────────▶ main
//! ```
//!
//! Until the first eviction new items go to main once small is full, as in libCacheSim since 2024; in the paper small would take them
//! all. What filled the cache then gets as long a chance as main gives, and not that of a queue nine times too long.
//!
//! A hit only counts (to 3). Cost: O(1) amortized; one byte a node, and 8 bytes a ghost entry for as many as fit
//! the main queue. Source: Yang, Zhang, Qiu, Yue, Vinayak, "FIFO queues are all you need for cache eviction"
//! (SOSP 2023).

use super::list::List;
use super::node::{Segment, Space};
use super::nodes::Nodes;
use super::tracked::EvictionOrder;
use super::{PolicyConfig, PolicyStats};
use crate::ring::Verdict;

/// Share of the budget that the small queue may take, in 1/10.
const SMALL_TENTHS: u64 = 1;
/// Reads that are counted.
const READS_MAX: u8 = 3;
/// Reads in the small queue that take an item to main.
const READS_TO_MAIN: u8 = 2;
/// Entries of a ghost bucket.
const WAYS: usize = 4;

/// The order.
#[derive(Debug)]
pub struct S3Fifo {
    small: List,
    main: List,
    reads: Vec<u8>,
    ghost: Vec<[(u32, u32); WAYS]>,
    ghost_stamp: u32,
    /// Entries that the ghost has room for.
    ghost_max: u32,
    budget_units: u64,
    /// Nothing had to go since the queues were empty.
    is_filling: bool,
    promoted: u64,
    rejected: u64,
}

impl S3Fifo {
    /// Without items; the ghost has room by the configured budget and mean size.
    pub fn new(config: &PolicyConfig) -> S3Fifo {
        let items = (config.budget_bytes / config.mean_item_bytes.max(1)) as usize;
        let ghost_entries = (items * 9 / 10).clamp(1, 1 << 28);
        S3Fifo {
            small: List::new(Segment::Window),
            main: List::new(Segment::Probation),
            reads: Vec::new(),
            ghost: vec![[(0, 0); WAYS]; (ghost_entries * 2).div_ceil(WAYS)],
            ghost_stamp: ghost_entries as u32,
            ghost_max: ghost_entries as u32,
            budget_units: 0,
            is_filling: true,
            promoted: 0,
            rejected: 0,
        }
    }

    /// Units that the small queue may take.
    fn small_max(&self) -> u64 {
        (self.budget_units * SMALL_TENTHS / 10).max(1)
    }

    fn reads(&mut self, n: u32) -> &mut u8 {
        if n as usize >= self.reads.len() {
            self.reads.resize(n as usize + 1, 0);
        }
        &mut self.reads[n as usize]
    }

    fn remember_in_ghost(&mut self, hash: u32) {
        self.ghost_stamp = self.ghost_stamp.wrapping_add(1);
        let stamp = self.ghost_stamp;
        let oldest = self.bucket(hash).iter_mut().max_by_key(|entry| stamp.wrapping_sub(entry.1));
        *oldest.expect("a bucket has entries") = (hash, stamp);
    }

    /// Whether the ghost knows a hash; it forgets it.
    fn recall(&mut self, hash: u32) -> bool {
        // As many as fit the main queue with items as large as they are, whatever was guessed: a longer memory takes
        // to main what a cache of this size cannot keep.
        let items = (self.small.count() + self.main.count()) as u32;
        let alive = (items / 10 * 9 + items % 10 * 9 / 10).clamp(1, self.ghost_max);
        let (stamp, forgotten) = (self.ghost_stamp, self.ghost_max);
        let mut entries = self.bucket(hash).iter_mut();
        match entries.find(|entry| entry.0 == hash && stamp.wrapping_sub(entry.1) < alive) {
            Some(entry) => {
                entry.1 = stamp.wrapping_sub(forgotten);
                true
            }
            None => false,
        }
    }

    fn bucket(&mut self, hash: u32) -> &mut [(u32, u32); WAYS] {
        let at = (hash.wrapping_mul(0x9e37_79b9) as u64 * self.ghost.len() as u64) >> 32;
        &mut self.ghost[at as usize]
    }

    fn list_of(&mut self, nodes: &Nodes, n: u32) -> &mut List {
        match nodes.node(n).segment() {
            Segment::Window => &mut self.small,
            _ => &mut self.main,
        }
    }
}

impl EvictionOrder for S3Fifo {
    fn resize(&mut self, budget_units: u64) {
        self.budget_units = budget_units;
    }

    fn insert(&mut self, nodes: &mut Nodes, n: u32) {
        *self.reads(n) = 0;
        let (items, units) = self.count();
        self.is_filling |= items == 0;
        let is_room_in_main = self.is_filling
            && self.small.units() >= self.small_max()
            && units + nodes.units(n) as u64 <= self.budget_units;
        match self.recall(nodes.node(n).hash) || is_room_in_main {
            true => self.main.push_front(nodes, n),
            false => self.small.push_front(nodes, n),
        }
    }

    /// To main, as a read in either queue would have had it.
    fn restore(&mut self, nodes: &mut Nodes, n: u32, _verdict: Verdict) {
        *self.reads(n) = 0;
        self.main.push_front(nodes, n);
    }

    fn hit(&mut self, _nodes: &mut Nodes, n: u32) {
        let reads = self.reads(n);
        *reads = READS_MAX.min(*reads + 1);
    }

    fn remove(&mut self, nodes: &mut Nodes, n: u32) {
        self.list_of(nodes, n).remove(nodes, n);
    }

    fn transfer(&mut self, nodes: &mut Nodes, from: u32, to: u32) {
        let reads = *self.reads(from);
        *self.reads(to) = reads;
        let list = self.list_of(nodes, from);
        list.remove(nodes, from);
        list.push_front(nodes, to);
    }

    fn victim(&mut self, nodes: &mut Nodes) -> Option<(u32, Verdict)> {
        self.is_filling = false;
        loop {
            if self.small.units() > self.small_max() || self.main.count() == 0 {
                let n = self.small.pop_back(nodes)?;
                if *self.reads(n) < READS_TO_MAIN {
                    self.rejected += 1;
                    self.remember_in_ghost(nodes.node(n).hash);
                    return Some((n, Verdict::Reject));
                }
                self.promoted += 1;
                *self.reads(n) = 0;
                self.main.push_front(nodes, n);
            } else {
                let n = self.main.pop_back(nodes)?;
                if *self.reads(n) == 0 {
                    return Some((n, Verdict::Evict));
                }
                // Each round trip costs a read that was counted, so the loop is short on average.
                *self.reads(n) -= 1;
                self.main.push_front(nodes, n);
            }
        }
    }

    fn report(&self, stats: &mut PolicyStats) {
        stats.promoted = self.promoted;
        stats.rejected = self.rejected;
        stats.window_permille = SMALL_TENTHS * 100;
        stats.memory_bytes += (self.reads.capacity() + size_of_val(&*self.ghost)) as u64;
    }

    fn walk(&self, nodes: &Nodes) -> Vec<u32> {
        self.small.iter(nodes).chain(self.main.iter(nodes)).collect()
    }

    fn count(&self) -> (usize, u64) {
        (self.small.count() + self.main.count(), self.small.units() + self.main.units())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::item_ref::ItemRef;
    use crate::policy::tracked::TrackedPolicy;
    use crate::policy::{CommandBuffer, Policy};
    use crate::ring::record::{ChunkUnits, Deadline, Event};

    /// Items of one unit, 100 at most; keys are numbers, and so are their places.
    struct Cache {
        policy: TrackedPolicy<S3Fifo>,
        evicted: Vec<u64>,
    }

    impl Cache {
        fn new() -> Cache {
            let config = PolicyConfig {
                budget_bytes: 1600,
                page_units: 1 << 10,
                pages: 64,
                mean_item_bytes: 16,
                seed: 1,
            };
            Cache { policy: TrackedPolicy::new(&config, S3Fifo::new(&config)), evicted: Vec::new() }
        }

        fn store(&mut self, key: u64) {
            self.policy.event(
                &Event::Store {
                    item: ItemRef::new((1 << 10) + key).unwrap(),
                    replaced: None,
                    deadline: Deadline::new(0, 1),
                    chunks: ChunkUnits::NONE,
                    hash: key as u32 * 77,
                },
                1,
            );
            let mut commands = CommandBuffer::with_capacity(100);
            self.policy.advance(1, usize::MAX, &mut commands);
            for command in commands.as_slice() {
                self.delete(command.item.units() - (1 << 10));
                self.evicted.push(command.item.units() - (1 << 10));
            }
        }

        fn delete(&mut self, key: u64) {
            self.policy.event(&Event::Delete { item: ItemRef::new((1 << 10) + key).unwrap() }, 1);
        }
    }

    /// Of the 100 that fill it, the first 10 are in small, and only they give way to what comes then.
    #[test]
    fn what_fills_the_cache_goes_to_main_once_small_is_full() {
        let mut cache = Cache::new();
        (0..150).for_each(|key| cache.store(key));
        let expected: Vec<u64> = (0..10).chain(100..140).collect();
        assert_eq!(cache.evicted, expected);
    }

    #[test]
    fn a_cache_that_was_emptied_fills_in_the_same_way() {
        let mut cache = Cache::new();
        (0..150).for_each(|key| cache.store(key));
        let live: Vec<u64> = (10..100).chain(140..150).collect();
        live.into_iter().for_each(|key| cache.delete(key));
        cache.evicted.clear();
        (200..350).for_each(|key| cache.store(key));
        let expected: Vec<u64> = (200..210).chain(300..340).collect();
        assert_eq!(cache.evicted, expected);
    }
}
