//! How many connections a server may have at once, shared by its workers.

use cache::base::sync::{AtomicU64, Ordering};

/// Connections that are open, and how many may be.
#[derive(Debug)]
pub struct Quota {
    open: AtomicU64,
    max: u64,
}

impl Quota {
    /// None is open.
    pub fn new(max: usize) -> Quota {
        Quota { open: AtomicU64::new(0), max: max as u64 }
    }

    /// Takes a place; says whether there was one.
    pub fn take(&self) -> bool {
        // Relaxed: nothing but the number itself is shared by it.
        let taken = self.open.fetch_add(1, Ordering::Relaxed);
        if taken >= self.max {
            self.give_back();
        }
        taken < self.max
    }

    /// Whether no place is taken.
    pub fn is_free(&self) -> bool {
        // Relaxed: as above.
        self.open.load(Ordering::Relaxed) == 0
    }

    /// Gives a place back.
    pub fn give_back(&self) {
        // Relaxed: as above.
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_places_are_taken_than_there_are() {
        let quota = Quota::new(2);
        assert_eq!([quota.take(), quota.take(), quota.take()], [true, true, false]);
        quota.give_back();
        assert_eq!([quota.take(), quota.take()], [true, false]);
        quota.give_back();
        assert!(!quota.is_free());
        quota.give_back();
        assert!(quota.is_free());
    }
}
