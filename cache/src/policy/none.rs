//! No policy: nothing is told to go. Owners evict under pressure, by sampled age, and expired items go when their place is
//! wanted.
//!
//! For measuring what a policy costs (`scripts/measure policy-cost`), and for a cache that holds all that is ever stored.

use super::{CommandBuffer, Policy, PolicyStats};
use crate::ring::{Event, Hit};

/// Takes everything in and does nothing.
#[derive(Debug, Default)]
pub struct NoPolicy;

impl Policy for NoPolicy {
    fn event(&mut self, _event: &Event, _now_ms: u64) {}

    fn events(&mut self, _events: &[Event], _now_ms: u64) {}

    fn hits(&mut self, _hits: &[Hit]) {}

    fn advance(&mut self, _now_ms: u64, _work_max: usize, _commands: &mut CommandBuffer) -> usize {
        0
    }

    fn next_ms(&self) -> Option<u64> {
        None
    }

    fn stats(&self) -> PolicyStats {
        PolicyStats::default()
    }

    fn check(&self) {}
}
