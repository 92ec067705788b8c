//! Who waits for room for a long value, on all workers: while somebody does, values that come too slowly are given up.

use cache::base::sync::{AtomicU64, Ordering};
use std::sync::Arc;

/// How many wait.
#[derive(Clone, Debug)]
pub struct Demand(Arc<AtomicU64>);

/// One of them. It waits until this is dropped.
#[derive(Debug)]
pub struct Waiting {
    demand: Demand,
    /// Since when, in ns since the server epoch.
    since_ns: u64,
}

impl Default for Demand {
    fn default() -> Demand {
        Demand(Arc::new(AtomicU64::new(0)))
    }
}

impl Demand {
    /// One more waits.
    pub fn wait(&self, since_ns: u64) -> Waiting {
        // Relaxed: nothing but the number itself is shared by it.
        self.0.fetch_add(1, Ordering::Relaxed);
        Waiting { demand: self.clone(), since_ns }
    }

    /// Whether anybody does.
    pub fn is_there(&self) -> bool {
        // Relaxed: as above. Whoever acts on it looks again about once a second.
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Waiting {
    /// How long it has waited, in ms; the time is in ns since the server epoch.
    pub fn waited_ms(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.since_ns) / 1_000_000
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Relaxed: as above.
        self.demand.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_lasts_while_somebody_waits() {
        let demand = Demand::default();
        let (first, second) = (demand.wait(1), demand.clone().wait(2));
        assert_eq!((first.waited_ms(2_000_001), demand.is_there()), (2, true));
        drop(first);
        assert!(demand.is_there());
        drop(second);
        assert!(!demand.is_there());
    }
}
