//! Numbers that order stores and invalidations of one shard, 17 bits wide.
//!
//! An item has the number that its shard had when it was stored. Each flush and each invalidation of a namespace takes the
//! next number, and all items that it is about and that have an earlier one are dead. Numbers wrap, so "earlier" is the
//! arithmetic of serial numbers (RFC 1982): right for two numbers that are less than half of all apart. `scrub` keeps
//! them together.

use crate::memory::State;

/// Numbers that may lie between two that are compared.
pub(super) const DISTANCE_MAX: u32 = State::GENERATION_MAX / 2;

/// The next number.
pub(super) fn after(number: u32) -> u32 {
    number.wrapping_add(1) & State::GENERATION_MAX
}

/// Whether `number` is earlier than `other`.
#[inline]
pub(super) fn is_before(number: u32, other: u32) -> bool {
    (1..=DISTANCE_MAX).contains(&(other.wrapping_sub(number) & State::GENERATION_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_is_right_where_numbers_wrap() {
        for from in [0, 1, 70_000, State::GENERATION_MAX - 1, State::GENERATION_MAX] {
            let mut later = from;
            assert!(!is_before(from, from));
            for _ in 0..DISTANCE_MAX {
                later = after(later);
                assert!(is_before(from, later) && !is_before(later, from));
            }
        }
    }
}
