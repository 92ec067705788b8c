//! How many items an owner may spare that the policy wants evicted.
//!
//! An item that was read without a record is spared once ([`crate::memory::item::Access`]). Where nearly all reads go without,
//! nearly every item has been read, and to spare them all would evict nothing: so at most [`SPARES_PER_EVICTION`] go with each
//! item that is evicted, and at most [`SPARES_MAX`] can be saved up. The rest of a bad guess is the policy's.

use crate::limits::{SPARES_MAX, SPARES_PER_EVICTION};

/// What is left.
#[derive(Clone, Copy, Debug)]
pub struct Mercy {
    left: u32,
}

impl Default for Mercy {
    fn default() -> Mercy {
        Mercy { left: SPARES_MAX }
    }
}

impl Mercy {
    /// Whether one more may be spared.
    pub fn is_left(&self) -> bool {
        self.left > 0
    }

    /// One was spared.
    pub fn spared(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// One was evicted.
    pub fn evicted(&mut self) {
        self.left = (self.left + SPARES_PER_EVICTION).min(SPARES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mercy_runs_out_and_comes_back_with_evictions() {
        let mut mercy = Mercy::default();
        (0..SPARES_MAX).for_each(|_| mercy.spared());
        assert!(!mercy.is_left());
        mercy.evicted();
        (0..SPARES_PER_EVICTION).for_each(|_| {
            assert!(mercy.is_left());
            mercy.spared();
        });
        assert!(!mercy.is_left());
        (0..2 * SPARES_MAX).for_each(|_| mercy.evicted());
        assert_eq!(mercy.left, SPARES_MAX);
    }
}
