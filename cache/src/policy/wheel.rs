//! When does which item expire? A hierarchical timer wheel, 4 levels × 256 buckets, 1 ms base.
//!
//! Idea: an entry waits in a bucket of the level whose span covers its remaining time. When the cursor comes to a
//! bucket of an upper level, its entries cascade to lower ones; at level 0 they are due, to the millisecond.
//!
//! ```text
//! level 0   256 × 1 ms        ◀─ cascade ─ level 1   256 × 256 ms   ◀─ level 2   256 × 65.5 s   ◀─ level 3   256 × 4.66 h
//! overflow  deadlines beyond 49.7 days, looked through every 24.8 days
//! ```
//!
//! - An entry is 4 bytes: node and round. The deadline lies with the node ([`Nodes::deadline`]): 8 bytes an item in
//!   all. Entries live in chunks of 62, so a mass expiry streams through memory.
//! - Lazy cancel: a node's entry stands while the node is `armed` in that `round`. A later deadline leaves the entry
//!   where it is: it goes on when its bucket comes. An earlier one starts a new round with a new entry. A deleted
//!   item's entry stays for the next item of the slot. Two bits of round come again after four; the worst
//!   is an entry that is looked at once too often.
//! - Stale entries are swept out once they outnumber the valid ones.
//! - Cost: insert O(1), at most 4 cascades an entry; `advance` does at most `work_max` steps and carries on at the
//!   next call: an insert in between is placed relative to where the cursor is. Empty buckets are skipped by bitmap.
//! - Never early: an entry is due only when `cursor == deadline`. Late by what the caller's work limits cost.
//! - Source: Varghese and Lauck, "Hashed and hierarchical timing wheels" (SOSP 1987).

use super::chain::{Chain, Pool};
use super::node::{Segment, Space};
use super::nodes::Nodes;
use std::collections::BTreeMap;

const LEVELS: usize = 4;
const SLOTS: usize = 256;
const HORIZON_MS: u64 = 1 << 32;
const OVERFLOW_LOOK_MS: u64 = 1 << 31;
/// Stale entries that are never worth a sweep.
const STALE_MIN: usize = 4096;
const ROUND_SHIFT: u32 = 29;
const NODE_MASK: u32 = (1 << ROUND_SHIFT) - 1;

/// The wheel.
#[derive(Debug)]
pub struct Wheel {
    /// Everything up to here is due or behind us; in ms since the server epoch.
    cursor_ms: u64,
    buckets: Box<[Chain]>,
    occupied: [[u64; SLOTS / 64]; LEVELS],
    /// Deadline in ms by node, for those beyond the horizon. Ordered, so that equal runs give equal results.
    overflow: BTreeMap<u32, u64>,
    /// Entries of the buckets that the cursor reached, still to be looked at.
    reached: Chain,
    pool: Pool,
    armed: usize,
    sweep: Sweep,
}

/// Where the sweep for stale entries stands.
#[derive(Debug, Default)]
struct Sweep {
    active: bool,
    bucket: usize,
    chunks_left: usize,
}

impl Wheel {
    /// An empty wheel whose cursor stands at `now_ms`.
    pub fn new(now_ms: u64) -> Wheel {
        Wheel {
            cursor_ms: now_ms,
            buckets: vec![Chain::EMPTY; LEVELS * SLOTS].into(),
            occupied: [[0; SLOTS / 64]; LEVELS],
            overflow: BTreeMap::new(),
            reached: Chain::EMPTY,
            pool: Pool::new(),
            armed: 0,
            sweep: Sweep::default(),
        }
    }

    /// Gives node `n` a deadline in ms since the server epoch; 0 takes it away. A deadline in the past is due at the
    /// next [`Wheel::advance`].
    pub fn set(&mut self, nodes: &mut Nodes, n: u32, deadline_ms: u64) {
        if !self.overflow.is_empty() {
            self.overflow.remove(&n);
        }
        if deadline_ms == 0 {
            return nodes.set_deadline(n, 0);
        }
        let deadline_ms = deadline_ms.max(self.cursor_ms);
        if deadline_ms - self.cursor_ms >= HORIZON_MS {
            nodes.set_deadline(n, 0);
            self.overflow.insert(n, deadline_ms);
            return;
        }
        let low = low_of(deadline_ms);
        let pending = nodes.deadline(n);
        nodes.set_deadline(n, low);
        let from_cursor = |low: u32| low.wrapping_sub(self.cursor_ms as u32);
        if nodes.node(n).armed() && pending != 0 && from_cursor(pending) <= from_cursor(low) {
            return; // Its entry comes up no later than needed and will go on from there.
        }
        let entry = self.arm(nodes, n);
        self.place(entry, low);
    }

    /// Milliseconds until node `n` expires; `None` = never, or beyond the horizon.
    #[inline]
    pub fn remaining_ms(&self, nodes: &Nodes, n: u32) -> Option<u32> {
        match nodes.deadline(n) {
            0 => None,
            // Its entry was taken when it came due.
            _ if !nodes.node(n).armed() => Some(0),
            low => Some(low.wrapping_sub(self.cursor_ms as u32)),
        }
    }

    /// Deadline of node `n` in ms since the server epoch, not before the cursor; 0 = none.
    pub fn deadline_ms(&self, nodes: &Nodes, n: u32) -> u64 {
        match self.remaining_ms(nodes, n) {
            Some(remaining) => self.cursor_ms + remaining as u64,
            None => self.overflow.get(&n).copied().unwrap_or(0),
        }
    }

    /// Moves the cursor towards `now_ms`, appending nodes that are due to `due` until it holds `due_max`, in at most
    /// `work_max` steps. Returns the steps done. The caller decides whether there is a live item on a due node.
    pub fn advance(
        &mut self,
        nodes: &mut Nodes,
        now_ms: u64,
        work_max: usize,
        due: &mut Vec<u32>,
        due_max: usize,
    ) -> usize {
        let mut work = 0;
        while work < work_max && due.len() < due_max {
            if let Some(entry) = self.pool.pop(&mut self.reached) {
                work += 1;
                self.look_at(nodes, entry, due);
            } else if self.cursor_ms < now_ms {
                work += 1;
                self.step(nodes, now_ms);
            } else {
                break;
            }
        }
        if work < work_max {
            work += self.sweep(nodes, work_max - work);
        }
        work
    }

    /// How far the cursor is behind, in ms: the most by which a memory return is late.
    pub fn lag_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.cursor_ms)
    }

    /// The next moment at which [`Wheel::advance`] has work; `None` = never.
    pub fn next_ms(&self) -> Option<u64> {
        if !self.reached.is_empty() {
            return Some(self.cursor_ms);
        }
        let levels = (0..LEVELS).filter_map(|level| self.next_of_level(level));
        let overflow =
            (!self.overflow.is_empty()).then(|| (self.cursor_ms / OVERFLOW_LOOK_MS + 1) * OVERFLOW_LOOK_MS);
        levels.chain(overflow).min()
    }

    /// Entries held, valid and stale.
    pub fn entries(&self) -> usize {
        self.pool.entries() + self.overflow.len()
    }

    /// Bytes held, the nodes' deadlines apart.
    pub fn bytes(&self) -> usize {
        self.pool.bytes() + self.overflow.len() * 2 * size_of::<(u32, u64)>() + size_of_val(&*self.buckets)
    }

    fn arm(&mut self, nodes: &mut Nodes, n: u32) -> u32 {
        let node = nodes.node_mut(n);
        if node.armed() {
            node.next_round();
        } else {
            node.set_armed(true);
            self.armed += 1;
        }
        n | node.round() << ROUND_SHIFT
    }

    /// Puts an entry where its deadline belongs, seen from the cursor.
    fn place(&mut self, entry: u32, low: u32) {
        let remaining = low.wrapping_sub(self.cursor_ms as u32);
        if remaining == 0 {
            return self.pool.push(&mut self.reached, entry);
        }
        let level = (31 - remaining.leading_zeros()) as usize / 8;
        let slot = (low >> (8 * level)) as usize % SLOTS;
        self.occupied[level][slot / 64] |= 1 << (slot % 64);
        self.pool.push(&mut self.buckets[level * SLOTS + slot], entry);
    }

    /// Moves the cursor to the next moment at which something happens, at most to `now_ms`.
    fn step(&mut self, nodes: &mut Nodes, now_ms: u64) {
        let next = self.next_ms().unwrap_or(u64::MAX);
        if next > now_ms {
            self.cursor_ms = now_ms;
            return;
        }
        self.cursor_ms = next;
        if next.is_multiple_of(OVERFLOW_LOOK_MS) {
            self.look_through_overflow(nodes);
        }
        for level in (0..LEVELS).rev() {
            if next.trailing_zeros() as usize >= 8 * level {
                self.reach(level, (next >> (8 * level)) as usize % SLOTS);
            }
        }
    }

    fn reach(&mut self, level: usize, slot: usize) {
        self.occupied[level][slot / 64] &= !(1 << (slot % 64));
        let chain = std::mem::replace(&mut self.buckets[level * SLOTS + slot], Chain::EMPTY);
        self.pool.append(&mut self.reached, chain);
    }

    fn look_through_overflow(&mut self, nodes: &mut Nodes) {
        // The one step whose work is not bounded: once in 24.8 days, over items that live longer than 49.7.
        let cursor_ms = self.cursor_ms;
        let near = |_: &u32, deadline_ms: &mut u64| *deadline_ms - cursor_ms < HORIZON_MS;
        let near: Vec<(u32, u64)> = self.overflow.extract_if(.., near).collect();
        for (n, deadline_ms) in near {
            // A slot whose item went meanwhile is of no interest; its next item sets its own deadline.
            if nodes.node(n).segment() != Segment::Free {
                self.set(nodes, n, deadline_ms);
            }
        }
    }

    /// An entry whose bucket was reached: due, on its way, or of no worth any more.
    fn look_at(&mut self, nodes: &mut Nodes, entry: u32, due: &mut Vec<u32>) {
        if !valid(nodes, entry) {
            return;
        }
        let n = entry & NODE_MASK;
        match self.remaining_ms(nodes, n) {
            Some(remaining) if remaining > 0 && nodes.node(n).segment() != Segment::Free => {
                self.place(entry, nodes.deadline(n));
            }
            remaining => {
                nodes.node_mut(n).set_armed(false);
                self.armed -= 1;
                if remaining == Some(0) {
                    due.push(n);
                }
            }
        }
    }

    /// The next moment after the cursor at which a bucket of `level` is reached.
    fn next_of_level(&self, level: usize) -> Option<u64> {
        let at = self.cursor_ms >> (8 * level);
        let words = &self.occupied[level];
        let start = (at as usize + 1) % SLOTS;
        // Five looks: the rest of the first word, three whole words, the start of the first word.
        for look in 0..=SLOTS / 64 {
            let word = (start / 64 + look) % (SLOTS / 64);
            let mask = match look {
                0 => u64::MAX << (start % 64),
                4 => !(u64::MAX << (start % 64)),
                _ => u64::MAX,
            };
            let found = words[word] & mask;
            if found != 0 {
                let slot = word * 64 + found.trailing_zeros() as usize;
                let ahead = (slot + SLOTS - start) % SLOTS + 1;
                return Some((at + ahead as u64) << (8 * level));
            }
        }
        None
    }

    /// Drops stale entries, a chunk at a time, once they outnumber the valid ones; returns the steps done.
    fn sweep(&mut self, nodes: &Nodes, work_max: usize) -> usize {
        if !self.sweep.active {
            if self.pool.entries() < 2 * self.armed + STALE_MIN {
                return 0;
            }
            self.sweep = Sweep { active: true, bucket: 0, chunks_left: self.pool.length(&self.buckets[0]) };
        }
        let mut work = 0;
        while work + Pool::CHUNK_ENTRIES <= work_max {
            let bucket = &mut self.buckets[self.sweep.bucket];
            if self.sweep.chunks_left > 0 && !bucket.is_empty() {
                self.sweep.chunks_left -= 1;
                work += self.pool.filter_first(bucket, |entry| valid(nodes, entry));
                continue;
            }
            work += 1;
            self.sweep.bucket += 1;
            if self.sweep.bucket == self.buckets.len() {
                self.sweep.active = false;
                break;
            }
            self.sweep.chunks_left = self.pool.length(&self.buckets[self.sweep.bucket]);
        }
        work
    }
}

fn valid(nodes: &Nodes, entry: u32) -> bool {
    let node = nodes.node(entry & NODE_MASK);
    node.armed() && node.round() == entry >> ROUND_SHIFT
}

/// Low 32 bits of a deadline, never 0 (which means none): such a deadline comes 1 ms late, none comes early.
fn low_of(deadline_ms: u64) -> u32 {
    (deadline_ms as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::item_ref::ItemRef;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const NODES: u64 = 60;

    /// A wheel and its sorted model: deadline by node.
    struct Check {
        wheel: Wheel,
        nodes: Nodes,
        model: BTreeMap<u32, u64>,
        now_ms: u64,
    }

    impl Check {
        fn new(now_ms: u64) -> Check {
            let mut nodes = Nodes::new(64, 2);
            nodes.lay_out(ItemRef::new(64).unwrap(), 1).expect("nodes are to be had");
            for i in 0..NODES {
                let n = nodes.find(ItemRef::new(64 + i).unwrap()).unwrap();
                nodes.node_mut(n).set_segment(Segment::Window);
            }
            Check { wheel: Wheel::new(now_ms), nodes, model: BTreeMap::new(), now_ms }
        }

        fn set(&mut self, index: u64, deadline_ms: u64) {
            let n = self.nodes.find(ItemRef::new(64 + index % NODES).unwrap()).unwrap();
            self.wheel.set(&mut self.nodes, n, deadline_ms);
            match deadline_ms {
                0 => self.model.remove(&n),
                _ => self.model.insert(n, deadline_ms),
            };
        }

        /// Moves time and compares what expired. The wheel may be 1 ms late where the low 32 bits are 0.
        fn advance(&mut self, by_ms: u64, work_max: usize) {
            self.now_ms += by_ms;
            let mut due = Vec::new();
            while self.wheel.advance(&mut self.nodes, self.now_ms, work_max, &mut due, usize::MAX) >= work_max
            {
            }
            for n in due {
                let deadline_ms = self.model.remove(&n).expect("what expires had a deadline, once");
                assert!(deadline_ms <= self.now_ms, "early: {deadline_ms} at {}", self.now_ms);
            }
            let late = self.model.values().find(|&&deadline_ms| deadline_ms + 1 < self.now_ms);
            assert_eq!(late, None, "late at {}", self.now_ms);
        }
    }

    fn ttl() -> impl Strategy<Value = u64> {
        prop_oneof![
            Just(0),
            1u64..300,
            200u64..70_000,
            60_000u64..20_000_000,
            10_000_000u64..5_000_000_000,
            (1u64 << 32) - 3..(1 << 32) + 3,
            (1u64 << 32)..(1 << 36),
        ]
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(u64, u64),
        Past(u64),
        Clear(u64),
        Advance(u64, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0..NODES, ttl()).prop_map(|(n, ttl)| Step::Set(n, ttl)),
            1 => (0..NODES).prop_map(Step::Past),
            1 => (0..NODES).prop_map(Step::Clear),
            4 => (ttl(), 1usize..50).prop_map(|(by, work)| Step::Advance(by, work)),
        ]
    }

    proptest! {
        #[test]
        fn nothing_expires_early_late_or_twice(
            start in prop_oneof![0u64..1000, (1u64 << 31) - 500..(1 << 31) + 500, (1u64 << 32) - 70_000..(1 << 32) + 500],
            steps in prop::collection::vec(step(), 1..400),
        ) {
            let mut check = Check::new(start);
            for step in steps {
                match step {
                    Step::Set(n, ttl) => check.set(n, check.now_ms + ttl),
                    Step::Past(n) => check.set(n, check.now_ms / 2 + 1),
                    Step::Clear(n) => check.set(n, 0),
                    Step::Advance(by, work) => check.advance(by, work),
                }
            }
            check.advance(1 << 37, 1000);
            prop_assert!(check.model.is_empty(), "left: {:?}", check.model);
            prop_assert_eq!(check.wheel.armed, 0);
        }
    }

    #[test]
    fn bounded_work_is_carried_over() {
        let mut check = Check::new(0);
        (0..NODES).for_each(|n| check.set(n, 1000));
        let mut due = Vec::new();
        let mut calls = 0;
        while due.len() < NODES as usize {
            assert!(check.wheel.advance(&mut check.nodes, 2000, 7, &mut due, usize::MAX) <= 7);
            calls += 1;
        }
        assert!(calls >= NODES as usize / 7);
        assert!(check.wheel.advance(&mut check.nodes, 2000, 7, &mut due, usize::MAX) < 7);
        assert_eq!(check.wheel.lag_ms(2000), 0);
    }

    #[test]
    fn a_jump_of_years_costs_few_steps() {
        let mut check = Check::new(0);
        check.set(0, 50_000);
        let mut due = Vec::new();
        let work = check.wheel.advance(&mut check.nodes, 1 << 40, 1000, &mut due, usize::MAX);
        assert_eq!(due.len(), 1);
        assert!(work < 20, "{work}");
    }

    #[test]
    fn stale_entries_are_swept() {
        let mut check = Check::new(0);
        for round in 0..200_000u64 {
            // Alternating between a week and a minute leaves an entry in a far bucket each time.
            check.set(
                round,
                check.now_ms + if (round / NODES).is_multiple_of(2) { 604_800_000 } else { 60_000 },
            );
            if round % 100 == 0 {
                check.advance(1, 4096);
            }
        }
        let bound = 2 * NODES as usize + STALE_MIN + 100;
        assert!(check.wheel.entries() <= bound, "{} entries", check.wheel.entries());
    }
}
