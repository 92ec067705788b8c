//! The doorbell of a thread that may sleep: rung only when it does.
//!
//! Dekker's agreement: the consumer says that it sleeps, fences, looks at every ring once more, and only then blocks.
//! The producer pushes, fences, and looks whether the consumer sleeps. One of the two sees the other.
//!
//! ```text
//! consumer   sleeping = true ─ fence ─ rings empty? ─ block            producer   push ─ fence ─ sleeping? ─ ring
//! ```

use crate::sync::{Arc, AtomicBool, Ordering, fence};
use std::sync::OnceLock;

/// Rings at most once per sleep.
pub struct Doorbell {
    sleeping: AtomicBool,
    ring: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Doorbell {
    /// A bell that is not connected yet.
    pub fn new() -> Arc<Doorbell> {
        Arc::new(Doorbell { sleeping: AtomicBool::new(false), ring: OnceLock::new() })
    }

    /// What ringing does: an eventfd, a condition variable, nothing.
    pub fn connect(&self, ring: Box<dyn Fn() + Send + Sync>) {
        // A second connection would be a second owner of the thread; the first stays.
        let _ = self.ring.set(ring);
    }

    /// The consumer is about to block; it looks at its rings once more after this.
    pub fn will_sleep(&self) {
        // Relaxed: the fence orders it before the look at the rings.
        self.sleeping.store(true, Ordering::Relaxed);
        // SeqCst: Dekker with the fence in `after_push`.
        fence(Ordering::SeqCst);
    }

    /// The consumer is awake.
    pub fn awake(&self) {
        // Relaxed: a producer that sees it late rings once too often.
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// The producer has pushed.
    #[inline]
    pub fn after_push(&self) {
        // SeqCst: Dekker with the fence in `will_sleep`: the push is visible, or the sleeper is.
        if !cfg!(sherwood_mutant = "no_fence") {
            fence(Ordering::SeqCst);
        }
        // Relaxed: ordered by the fence.
        if self.sleeping.load(Ordering::Relaxed)
            && let Some(ring) = self.ring.get()
        {
            ring();
        }
    }
}

impl std::fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doorbell").field("sleeping", &self.sleeping).finish_non_exhaustive()
    }
}
