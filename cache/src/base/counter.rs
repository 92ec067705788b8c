//! Counters with a single writer: the owner adds with a plain load and store, anybody reads.

use crate::base::sync::{AtomicU64, Ordering};

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

    /// Takes `n` away (a gauge).
    #[inline]
    pub fn sub(&self, n: u64) {
        self.add(n.wrapping_neg());
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

/// Declares a set of counters: a struct, and each counter's name and meaning for `stats` and the metrics.
#[macro_export]
macro_rules! counters {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct $name {
            $($(#[doc = $doc])* pub $field: $crate::base::counter::Counter,)*
        }

        impl $name {
            /// Name, meaning and counter, in order.
            pub fn list(&self) -> Vec<(&'static str, &'static str, &$crate::base::counter::Counter)> {
                vec![$((stringify!($field), concat!($($doc),*), &self.$field),)*]
            }
        }
    };
}
