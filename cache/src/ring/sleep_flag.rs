//! The sleep flag of a thread that may sleep: it is woken only when it does.
//!
//! Dekker's agreement: the consumer says that it sleeps, fences, looks at every ring once more, and only then blocks.
//! The producer pushes, fences, and looks whether the consumer sleeps. One of the two sees the other.
//!
//! ```text
//! consumer   sleeping = true ─ fence ─ rings empty? ─ block        producer   push ─ fence ─ sleeping? ─ ring, or later
//! ```
//! What ringing is, is not known here: an eventfd, a message from ring to ring.

use crate::base::sync::{AtomicBool, Ordering, fence, mutant};

/// Whether a consumer has to be woken.
#[derive(Debug)]
pub struct SleepFlag {
    sleeping: AtomicBool,
}

impl Default for SleepFlag {
    fn default() -> SleepFlag {
        SleepFlag::new()
    }
}

impl SleepFlag {
    /// The sleep flag of a consumer that is awake.
    pub fn new() -> SleepFlag {
        SleepFlag { sleeping: AtomicBool::new(false) }
    }

    /// The consumer is about to block; it looks at its rings once more after this.
    pub fn will_sleep(&self) {
        // Relaxed: the fence orders it before the look at the rings.
        self.sleeping.store(true, Ordering::Relaxed);
        // SeqCst: Dekker with the fence in `must_wake`.
        fence(Ordering::SeqCst);
    }

    /// The consumer is awake.
    pub fn awake(&self) {
        // Relaxed: a producer that sees it late rings once too often.
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// The producer has pushed: whether it must wake the consumer, now or when its own tick ends.
    #[inline]
    #[must_use]
    pub fn must_wake(&self) -> bool {
        // SeqCst: Dekker with the fence in `will_sleep`: the push is visible, or the sleeper is.
        if !mutant::is("no_fence") {
            fence(Ordering::SeqCst);
        }
        // Relaxed: ordered by the fence.
        self.sleeping.load(Ordering::Relaxed)
    }
}
