//! Atomics, fences and cells: std's in the product, loom's or shuttle's in the models.
//!
//! Every other module takes its atomics from here, so that the models run the shipping code
//! (`tests/tidy.rs` checks it). A row per atomic is in `docs/concurrency.md`.

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(shuttle)]
pub use shuttle::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(any(loom, shuttle)))]
pub use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

// Reference counts are std's everywhere: they are not what the models check.
pub use std::sync::Arc;

/// Two cache lines: the adjacent-line prefetcher pulls pairs, so 64 bytes would still share.
#[repr(align(128))]
#[derive(Debug, Default)]
pub struct Padded<T>(pub T);

impl<T> std::ops::Deref for Padded<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Mistakes that `scripts/models` builds in on purpose, to see that the models find them. A shipped build has none, and nothing of
/// the question is left in its code. A fifth, `head_first`, is a function of its own: `table::mutant`.
pub mod mutant {
    const BUILT_IN: &str = if cfg!(sherwood_mutant = "no_validation") {
        "no_validation"
    } else if cfg!(sherwood_mutant = "no_bump") {
        "no_bump"
    } else if cfg!(sherwood_mutant = "no_fence") {
        "no_fence"
    } else if cfg!(sherwood_mutant = "no_grace") {
        "no_grace"
    } else {
        ""
    };

    /// Whether this build has the mistake of this name.
    #[inline(always)]
    pub fn is(name: &str) -> bool {
        name == BUILT_IN
    }
}

/// Tells the processor (or the model) that this thread is spinning.
pub fn spin() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(shuttle)]
    shuttle::thread::yield_now();
    #[cfg(not(any(loom, shuttle)))]
    std::hint::spin_loop();
}
