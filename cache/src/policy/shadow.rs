//! A shadow cache: queues over sampled keys, without items. It answers one question: what would this arm have hit?
//!
//! ```text
//! hash ─▶ heads ─▶ node ─ chain ─▶ node        nodes are on the lists of `Queues`, as in the real cache
//! ```
//!
//! Cost: 28 bytes an entry, O(1) an access. Two keys of equal 32-bit hash are one to it.

use super::adapt::Arm;
use super::contest::Judge;
use super::list::List;
use super::node::{NONE, Node, Segment, Space};
use super::queues::Queues;

const GROWTH: usize = 64;

/// One shadow cache.
#[derive(Clone, Debug)]
pub struct Shadow {
    entries: Entries,
    queues: Queues,
    free: List,
}

/// What a sampled access brings.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Upper 32 bits of the key hash.
    pub hash: u32,
    /// What the item takes, in units of 16 bytes.
    pub units: u32,
    /// Low 32 bits of the deadline that the item has now; 0 = none.
    pub deadline: u32,
    /// Milliseconds since the server epoch, low 32 bits.
    pub now: u32,
    /// Accesses that it stands for.
    pub weight: u32,
}

impl Shadow {
    /// An empty one.
    pub fn new(budget_units: u64, arm: &Arm) -> Shadow {
        Shadow {
            entries: Entries { nodes: Vec::new(), rest: Vec::new(), heads: vec![NONE; 16].into() },
            queues: Queues::new(budget_units, arm.window_permille, arm.protected_permille),
            free: List::new(Segment::Free),
        }
    }

    /// Changes the shares; what it holds moves as items come and go.
    pub fn set_arm(&mut self, arm: &Arm) {
        self.queues.set_shares(arm.window_permille, arm.protected_permille);
    }

    /// One access; whether it hit.
    pub fn access(&mut self, sample: &Sample, judge: &Judge) -> bool {
        if let Some(n) = self.entries.find(sample.hash) {
            let rest = &mut self.entries.rest[n as usize];
            let expired = rest.deadline != 0 && (rest.deadline.wrapping_sub(sample.now) as i32) <= 0;
            rest.deadline = sample.deadline;
            self.queues.hit(&mut self.entries, n);
            return !expired;
        }
        let n = self.take(sample);
        self.queues.insert(&mut self.entries, n);
        while self.queues.is_over() {
            match self.queues.evict(&mut self.entries, judge) {
                Some(loser) => self.drop_entry(loser.node()),
                None => break,
            }
        }
        false
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.entries.nodes.capacity() * size_of::<Node>()
            + self.entries.rest.capacity() * size_of::<Rest>()
            + self.entries.heads.len() * 4
    }

    fn take(&mut self, sample: &Sample) -> u32 {
        let n = match self.free.pop_back(&mut self.entries) {
            Some(n) => n,
            None => self.entries.grow(),
        };
        self.entries.fill(n, sample);
        n
    }

    fn drop_entry(&mut self, n: u32) {
        self.entries.unchain(n);
        self.free.push_front(&mut self.entries, n);
    }
}

/// The nodes, and a hash table through them.
#[derive(Clone, Debug)]
struct Entries {
    nodes: Vec<Node>,
    rest: Vec<Rest>,
    heads: Box<[u32]>,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    units: u32,
    deadline: u32,
    chain: u32,
}

impl Entries {
    fn head_of(&self, hash: u32) -> usize {
        (hash.wrapping_mul(0x9e37_79b9) >> (32 - self.heads.len().trailing_zeros())) as usize
    }

    fn find(&self, hash: u32) -> Option<u32> {
        let mut n = self.heads[self.head_of(hash)];
        while n != NONE {
            if self.nodes[n as usize].hash == hash {
                return Some(n);
            }
            n = self.rest[n as usize].chain;
        }
        None
    }

    fn grow(&mut self) -> u32 {
        let n = self.nodes.len() as u32;
        if self.nodes.len() == self.nodes.capacity() {
            // In small steps, not by doubling: a dozen shadows share less than a megabyte.
            self.nodes.reserve_exact(GROWTH);
            self.rest.reserve_exact(GROWTH);
        }
        self.nodes.push(Node::default());
        self.rest.push(Rest { units: 0, deadline: 0, chain: NONE });
        if self.nodes.len() > 2 * self.heads.len() {
            let old = std::mem::take(&mut self.heads);
            self.heads = vec![NONE; old.len() * 2].into();
            for mut at in old {
                while at != NONE {
                    let next = self.rest[at as usize].chain;
                    self.chain(at);
                    at = next;
                }
            }
        }
        n
    }

    fn fill(&mut self, n: u32, sample: &Sample) {
        self.nodes[n as usize].hash = sample.hash;
        self.rest[n as usize] = Rest { units: sample.units, deadline: sample.deadline, chain: NONE };
        self.chain(n);
    }

    fn chain(&mut self, n: u32) {
        let head = self.head_of(self.nodes[n as usize].hash);
        self.rest[n as usize].chain = std::mem::replace(&mut self.heads[head], n);
    }

    fn unchain(&mut self, n: u32) {
        let head = self.head_of(self.nodes[n as usize].hash);
        let after = self.rest[n as usize].chain;
        if self.heads[head] == n {
            self.heads[head] = after;
            return;
        }
        let mut at = self.heads[head];
        while self.rest[at as usize].chain != n {
            at = self.rest[at as usize].chain;
        }
        self.rest[at as usize].chain = after;
    }
}

impl Space for Entries {
    fn node(&self, n: u32) -> &Node {
        &self.nodes[n as usize]
    }

    fn node_mut(&mut self, n: u32) -> &mut Node {
        &mut self.nodes[n as usize]
    }

    fn units(&self, n: u32) -> u32 {
        self.rest[n as usize].units
    }

    fn deadline(&self, n: u32) -> u32 {
        self.rest[n as usize].deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Goal;
    use crate::policy::adapt::ARMS;
    use crate::policy::sketch::Sketch;
    use proptest::prelude::*;

    proptest! {
        /// It holds what fits, finds what it holds, and its table agrees with its lists.
        #[test]
        fn a_shadow_stays_within_its_budget(
            arm in 0..ARMS.len(),
            accesses in prop::collection::vec((0u32..300, 1u32..9), 1..2000),
        ) {
            let mut sketch = Sketch::new(100, 1);
            let mut shadow = Shadow::new(100, &ARMS[arm]);
            for (key, units) in accesses {
                let hash = key.wrapping_mul(0x9e37_79b9);
                sketch.increment(hash);
                let judge =
                    Judge { sketch: &sketch, rule: ARMS[arm].rule, goal: Goal::Objects, now: 0, turnover_ms: 0 };
                let known = shadow.entries.find(hash).is_some();
                let hit = shadow.access(&Sample { hash, units, deadline: 0, now: 0, weight: 1 }, &judge);
                prop_assert_eq!(hit, known);
                prop_assert!(!shadow.queues.is_over());
                let chained = (0..300u32).filter(|k| shadow.entries.find(k.wrapping_mul(0x9e37_79b9)).is_some());
                prop_assert_eq!(chained.count(), shadow.queues.count());
            }
        }
    }
}
