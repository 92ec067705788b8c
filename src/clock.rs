//! Time as a parameter: the system's clocks in the product, a hand-moved one in tests and simulation.
//!
//! A tick reads the clock once and passes [`Now`] down; nothing below a worker asks the system for time.

use crate::sync::{Arc, AtomicU64, Ordering};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One reading of the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic nanoseconds since the server epoch (its start).
    pub ns: u64,
    /// Seconds since 1970, for absolute memcached expiry times.
    pub unix_s: u64,
}

impl Now {
    /// Milliseconds since the server epoch, rounded down. Never 0 (the epoch starts 1 ms in),
    /// because a deadline of 0 means "none".
    pub fn ms(self) -> u64 {
        self.ns / 1_000_000 + 1
    }

    /// Whole seconds since the server epoch.
    pub fn s(self) -> u64 {
        self.ns / 1_000_000_000
    }
}

/// Where [`Now`] comes from.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The system's monotonic clock; the epoch is the moment of [`Clock::system`].
    System {
        /// The server epoch on the monotonic clock.
        epoch: Instant,
        /// The server epoch as seconds since 1970.
        epoch_unix: Duration,
    },
    /// A clock that moves only when told to: nanoseconds since the epoch.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that starts now.
    pub fn system() -> Clock {
        let epoch_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock::System { epoch: Instant::now(), epoch_unix }
    }

    /// A clock that stands at `ns` until [`Clock::advance`].
    pub fn manual(ns: u64) -> Clock {
        Clock::Manual(Arc::new(AtomicU64::new(ns)))
    }

    /// Reads the clock.
    pub fn now(&self) -> Now {
        match self {
            Clock::System { epoch, epoch_unix } => {
                let since = epoch.elapsed();
                Now { ns: since.as_nanos() as u64, unix_s: (*epoch_unix + since).as_secs() }
            }
            Clock::Manual(ns) => {
                // Relaxed: a test's own thread moves it; no memory is published through it.
                let ns = ns.load(Ordering::Relaxed);
                Now { ns, unix_s: Self::MANUAL_EPOCH_UNIX_S + ns / 1_000_000_000 }
            }
        }
    }

    /// Processor time of this thread, in ns: what passes here while another thread has the processor is not in it. A call of the
    /// kernel, some 200 ns.
    pub fn thread_cpu_ns(&self) -> u64 {
        match self {
            Clock::System { .. } => {
                let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap_or(TimeSpec::new(0, 0));
                Duration::from(time).as_nanos() as u64
            }
            Clock::Manual(_) => self.ns(),
        }
    }

    /// Monotonic nanoseconds since the epoch: what [`Clock::now`] tells, for measuring within a tick.
    #[inline]
    pub fn ns(&self) -> u64 {
        match self {
            Clock::System { epoch, .. } => epoch.elapsed().as_nanos() as u64,
            // Relaxed: see `now`.
            Clock::Manual(ns) => ns.load(Ordering::Relaxed),
        }
    }

    /// The wall time at which a manual clock's epoch stands.
    pub const MANUAL_EPOCH_UNIX_S: u64 = 1_700_000_000;

    /// Moves a manual clock forward; the system's clock moves by itself.
    pub fn advance(&self, by: Duration) {
        if let Clock::Manual(ns) = self {
            // Relaxed: see `now`.
            ns.fetch_add(by.as_nanos() as u64, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(0);
        assert_eq!(clock.now(), clock.now());
        assert_eq!(clock.now().ms(), 1);
        clock.advance(Duration::from_millis(2500));
        assert_eq!(clock.now().ms(), 2501);
        assert_eq!(clock.now().s(), 2);
        assert_eq!(clock.now().unix_s, Clock::MANUAL_EPOCH_UNIX_S + 2);
    }
}
