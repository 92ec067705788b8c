//! Least recently used goes first. One list.

use super::PolicyStats;
use super::list::List;
use super::node::Segment;
use super::nodes::Nodes;
use super::tracked::EvictionOrder;
use crate::ring::Verdict;

/// The order.
#[derive(Debug)]
pub struct Lru {
    list: List,
}

impl Lru {
    /// Without items.
    pub fn new() -> Lru {
        Lru { list: List::new(Segment::Window) }
    }
}

impl Default for Lru {
    fn default() -> Lru {
        Lru::new()
    }
}

impl EvictionOrder for Lru {
    fn resize(&mut self, _budget_units: u64) {}

    fn insert(&mut self, nodes: &mut Nodes, n: u32) {
        self.list.push_front(nodes, n);
    }

    fn hit(&mut self, nodes: &mut Nodes, n: u32) {
        self.list.refresh(nodes, n);
    }

    fn remove(&mut self, nodes: &mut Nodes, n: u32) {
        self.list.remove(nodes, n);
    }

    fn transfer(&mut self, nodes: &mut Nodes, from: u32, to: u32) {
        self.list.remove(nodes, from);
        self.list.push_front(nodes, to);
    }

    fn victim(&mut self, nodes: &mut Nodes) -> Option<(u32, Verdict)> {
        self.list.pop_back(nodes).map(|n| (n, Verdict::Evict))
    }

    fn report(&self, stats: &mut PolicyStats) {
        stats.window_permille = 1000;
    }

    fn walk(&self, nodes: &Nodes) -> Vec<u32> {
        self.list.iter(nodes).collect()
    }

    fn count(&self) -> (usize, u64) {
        (self.list.count(), self.list.units())
    }
}
