//! W-TinyLFU: a window for newcomers, a frequency contest for the main region.

use super::keeper::{Access, Order};
use super::node::Space;
use super::nodes::Nodes;
use super::queues::{Loser, Queues};
use super::sketch::Sketch;
use super::wheel::Wheel;
use super::{Goal, PolicyConfig, PolicyStats};

/// The order.
#[derive(Debug)]
pub struct TinyLfu {
    queues: Queues,
    sketch: Sketch,
    admitted: u64,
    rejected: u64,
}

impl TinyLfu {
    /// Without items.
    pub fn new(config: &PolicyConfig, _goal: Goal) -> TinyLfu {
        let items = (config.budget_bytes / config.mean_item_bytes.max(1)) as usize;
        TinyLfu {
            queues: Queues::new(0, 10),
            sketch: Sketch::new(items, config.seed),
            admitted: 0,
            rejected: 0,
        }
    }
}

impl Order for TinyLfu {
    fn resize(&mut self, budget_units: u64, items: usize) {
        self.queues.set_budget(budget_units);
        if items > 0 {
            self.sketch.set_entries(items);
        }
    }

    #[inline]
    fn access(&mut self, access: &Access) {
        self.sketch.increment(access.hash);
    }

    fn insert(&mut self, nodes: &mut Nodes, n: u32) {
        self.queues.insert(nodes, n);
    }

    #[inline]
    fn hit(&mut self, nodes: &mut Nodes, n: u32) {
        self.queues.hit(nodes, n);
    }

    fn remove(&mut self, nodes: &mut Nodes, n: u32) {
        self.queues.remove(nodes, n);
    }

    fn transfer(&mut self, nodes: &mut Nodes, from: u32, to: u32) {
        self.queues.transfer(nodes, from, to);
    }

    fn victim(&mut self, nodes: &mut Nodes, _wheel: &Wheel) -> Option<u32> {
        let sketch = &self.sketch;
        let wins = |nodes: &Nodes, candidate, victim| {
            sketch.estimate(nodes.node(candidate).hash) > sketch.estimate(nodes.node(victim).hash)
        };
        let loser = self.queues.evict(nodes, wins)?;
        match loser {
            Loser::Candidate(_) => self.rejected += 1,
            Loser::Victim(_) => self.admitted += 1,
            Loser::Surplus(_) => {}
        }
        Some(loser.node())
    }

    fn touch(&self, hash: u32) -> u32 {
        self.sketch.estimate(hash)
    }

    fn report(&self, stats: &mut PolicyStats) {
        stats.admitted = self.admitted;
        stats.rejected = self.rejected;
        stats.memory_bytes += self.sketch.bytes() as u64;
    }

    fn count(&self) -> (usize, u64) {
        (self.queues.count(), self.queues.units())
    }
}
