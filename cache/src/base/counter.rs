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

/// What a figure may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Counts events since the start: only grows. `stats reset` sets it back.
    Counter,
    /// Says what is now: goes up and down, and is not reset.
    Gauge,
}

/// A figure as it was declared.
#[derive(Clone, Copy, Debug)]
pub struct Figure<'a> {
    /// Its name in `stats`.
    pub name: &'static str,
    /// What it is, for people.
    pub help: &'static str,
    /// What it may do.
    pub kind: Kind,
    /// Where it is.
    pub counter: &'a Counter,
}

/// A [`Figure`] of a field that was declared as `counter NAME` or `gauge NAME`.
#[doc(hidden)]
#[macro_export]
macro_rules! figure {
    ($self:ident, counter $field:ident, $help:expr) => {
        $crate::figure!($self, $field, $help, $crate::base::counter::Kind::Counter)
    };
    ($self:ident, gauge $field:ident, $help:expr) => {
        $crate::figure!($self, $field, $help, $crate::base::counter::Kind::Gauge)
    };
    ($self:ident, $field:ident, $help:expr, $kind:expr) => {
        $crate::base::counter::Figure {
            name: stringify!($field),
            help: $help.trim_ascii(),
            kind: $kind,
            counter: &$self.$field,
        }
    };
}

/// Declares a set of figures: a struct, and each one's kind (`counter` or `gauge`), name and meaning for `stats` and the metrics.
#[macro_export]
macro_rules! counters {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])* $kind:ident $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct $name {
            $($(#[doc = $doc])* pub $field: $crate::base::counter::Counter,)*
        }

        impl $name {
            /// Name, meaning and counter, in order.
            pub fn list(&self) -> Vec<(&'static str, &'static str, &$crate::base::counter::Counter)> {
                self.figures().into_iter().map(|figure| (figure.name, figure.help, figure.counter)).collect()
            }

            /// All figures with their kinds, in order.
            pub fn figures(&self) -> Vec<$crate::base::counter::Figure<'_>> {
                vec![$($crate::figure!(self, $kind $field, concat!($($doc),*)),)*]
            }
        }
    };
}
