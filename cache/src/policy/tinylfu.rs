//! W-TinyLFU that chooses its own parameters: queues, sketch, contest, and the shadow caches that compare the arms.
//!
//! What is one sample to the shadows: a hit, or a store (a write after a miss, or an overwrite). Under load hits are
//! sampled; stores never are.

use super::adapt::Adapt;
use super::contest::Judge;
use super::node::Space;
use super::nodes::Nodes;
use super::queues::{Loser, Queues};
use super::shadow::Sample;
use super::sketch::Sketch;
use super::tracked::EvictionOrder;
use super::{Goal, PolicyConfig, PolicyStats};
use crate::base::item_ref::ItemRef;
use crate::ring::Verdict;

/// The order.
#[derive(Debug)]
pub struct TinyLfu {
    queues: Queues,
    sketch: Sketch,
    adapt: Adapt,
    goal: Goal,
    budget_units: u64,
    /// Items that sketch and shadows are sized for, and the budget.
    items: usize,
    fitted_units: u64,
    turnover: Turnover,
    promoted: u64,
    rejected: u64,
}

/// How long the cache takes to be stored anew once.
#[derive(Debug, Default)]
struct Turnover {
    ms: u32,
    units: u64,
    since: u32,
    now: u32,
}

impl TinyLfu {
    /// Without items.
    pub fn new(config: &PolicyConfig, goal: Goal) -> TinyLfu {
        let budget_units = config.budget_bytes / ItemRef::UNIT_BYTES as u64;
        let items = (config.budget_bytes / config.mean_item_bytes.max(1)) as usize;
        let adapt = Adapt::new(budget_units, items);
        let arm = adapt.arm();
        TinyLfu {
            queues: Queues::new(budget_units, arm.window_permille, arm.protected_permille).with_guests(),
            sketch: Sketch::new(items, config.seed),
            adapt,
            goal,
            budget_units,
            items,
            fitted_units: budget_units,
            turnover: Turnover::default(),
            promoted: 0,
            rejected: 0,
        }
    }

    /// Sketch and shadows follow the number of items where the first guess of their size was wrong by half or more.
    fn fit(&mut self) {
        let items = self.queues.count();
        let full = self.queues.units() * 10 > self.budget_units * 9;
        if items > self.items + self.items / 2 || (full && items < self.items / 2) {
            self.refit(items);
        }
    }

    fn refit(&mut self, items: usize) {
        self.items = items.max(1);
        self.fitted_units = self.budget_units;
        self.sketch.set_entries(self.items);
        self.adapt.restart(self.budget_units, self.items);
    }
}

impl EvictionOrder for TinyLfu {
    fn resize(&mut self, budget_units: u64) {
        self.budget_units = budget_units;
        self.queues.set_budget(budget_units);
        // A budget that moves in small steps leaves sketch and shadows alone: they would forget what they have learned.
        if budget_units.abs_diff(self.fitted_units) * 8 > self.fitted_units {
            // By the mean of what is here: a guess scaled with each of many budgets would drift far from any item's size.
            let items = match (self.queues.count() as u64, self.queues.units()) {
                (0, _) => self.items as u64 * budget_units / self.fitted_units.max(1),
                (count, units) => count * budget_units / units.max(1),
            };
            self.refit(items as usize);
        }
    }

    #[inline]
    fn access(&mut self, hash: u32, weight: u32, now: u32) -> bool {
        self.turnover.now = now;
        for _ in 0..weight {
            self.sketch.increment(hash);
        }
        self.adapt.samples(hash)
    }

    fn sample(&mut self, sample: &Sample) {
        let judge = judge(&self.sketch, &self.adapt, self.goal, &self.turnover);
        if self.adapt.access(sample, &judge) {
            let arm = self.adapt.arm();
            self.queues.set_shares(arm.window_permille, arm.protected_permille);
        }
    }

    fn insert(&mut self, nodes: &mut Nodes, n: u32) {
        self.queues.insert(nodes, n);
        self.turnover.stored(nodes, n, self.budget_units);
        if self.turnover.units == 0 {
            self.fit();
        }
    }

    #[inline]
    fn hit(&mut self, nodes: &mut Nodes, n: u32) {
        self.queues.hit(nodes, n);
    }

    fn remove(&mut self, nodes: &mut Nodes, n: u32) {
        self.queues.remove(nodes, n);
    }

    fn restore(&mut self, nodes: &mut Nodes, n: u32, verdict: Verdict) {
        self.queues.restore(nodes, n, verdict);
    }

    fn transfer(&mut self, nodes: &mut Nodes, from: u32, to: u32) {
        self.queues.transfer(nodes, from, to);
    }

    fn victim(&mut self, nodes: &mut Nodes) -> Option<(u32, Verdict)> {
        let judge = judge(&self.sketch, &self.adapt, self.goal, &self.turnover);
        let loser = self.queues.evict(nodes, &judge)?;
        // Whoever stands at the ends now comes next: its counters, and its neighbour as the one after.
        for n in self.queues.tails().into_iter().flatten() {
            let node = nodes.node(n);
            self.sketch.prefetch(node.hash);
            nodes.prefetch(node.prev());
        }
        match loser {
            Loser::Candidate(_) => self.rejected += 1,
            Loser::Victim(_) => self.promoted += 1,
            Loser::Newcomer(_) | Loser::Surplus(_) => {}
        }
        Some((loser.node(), loser.verdict()))
    }

    #[inline]
    fn prefetch(&self, hash: u32) {
        self.sketch.prefetch(hash);
    }

    fn report(&self, stats: &mut PolicyStats) {
        stats.promoted = self.promoted;
        stats.rejected = self.rejected;
        stats.arm = self.adapt.chosen() as u64;
        stats.arm_changes = self.adapt.changes();
        stats.window_permille = self.adapt.arm().window_permille;
        stats.sampled_one_in = self.adapt.one_in() as u64;
        stats.memory_bytes += (self.sketch.bytes() + self.adapt.bytes()) as u64;
    }

    fn walk(&self, nodes: &Nodes) -> Vec<u32> {
        self.queues.walk(nodes)
    }

    fn count(&self) -> (usize, u64) {
        (self.queues.count(), self.queues.units())
    }
}

fn judge<'a>(sketch: &'a Sketch, adapt: &Adapt, goal: Goal, turnover: &Turnover) -> Judge<'a> {
    Judge { sketch, rule: adapt.arm().rule, goal, now: turnover.now, turnover_ms: turnover.ms }
}

impl Turnover {
    fn stored(&mut self, nodes: &Nodes, n: u32, budget_units: u64) {
        self.units += nodes.units(n) as u64;
        if self.units >= budget_units {
            self.ms = self.now.wrapping_sub(self.since);
            self.since = self.now;
            self.units = 0;
        }
    }
}
