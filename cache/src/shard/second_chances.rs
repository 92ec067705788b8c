//! How many items an owner may keep that the policy wants evicted.
//!
//! An item that was read without a hit record gets a second chance, once ([`crate::memory::item::Access`]). If most reads are
//! unreported, almost every victim looks recently used, and an owner that kept them all would evict nothing. It therefore gives
//! at most [`SECOND_CHANCES_PER_EVICTION`] for each item that it evicts, and saves up at most [`SECOND_CHANCES_MAX`].

use crate::limits::{SECOND_CHANCES_MAX, SECOND_CHANCES_PER_EVICTION};

/// How many are left.
#[derive(Clone, Copy, Debug)]
pub struct SecondChances {
    left: u32,
}

impl Default for SecondChances {
    fn default() -> SecondChances {
        SecondChances { left: SECOND_CHANCES_MAX }
    }
}

impl SecondChances {
    /// Whether one more item may stay.
    pub fn is_left(&self) -> bool {
        self.left > 0
    }

    /// An item stays.
    pub fn spend(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// An item was evicted.
    pub fn evicted(&mut self) {
        self.left = (self.left + SECOND_CHANCES_PER_EVICTION).min(SECOND_CHANCES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_chances_run_out_and_come_back_with_evictions() {
        let mut second_chances = SecondChances::default();
        (0..SECOND_CHANCES_MAX).for_each(|_| second_chances.spend());
        assert!(!second_chances.is_left());
        second_chances.evicted();
        (0..SECOND_CHANCES_PER_EVICTION).for_each(|_| {
            assert!(second_chances.is_left());
            second_chances.spend();
        });
        assert!(!second_chances.is_left());
        (0..2 * SECOND_CHANCES_MAX).for_each(|_| second_chances.evicted());
        assert_eq!(second_chances.left, SECOND_CHANCES_MAX);
    }
}
