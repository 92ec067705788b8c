//! Counters with a single writer: the owner adds with a plain load and store, anybody reads.

use crate::sync::{AtomicU64, Ordering};

/// One counter. Only one thread may add; any thread may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. A load and a store, not a locked add: there is one writer.
    #[inline]
    pub fn add(&self, n: u64) {
        // Relaxed: a figure for people; it publishes nothing.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Replaces the figure (a gauge).
    #[inline]
    pub fn set(&self, n: u64) {
        // Relaxed: as in `add`.
        self.0.store(n, Ordering::Relaxed);
    }

    /// The figure now.
    #[inline]
    pub fn get(&self) -> u64 {
        // Relaxed: as in `add`.
        self.0.load(Ordering::Relaxed)
    }
}
