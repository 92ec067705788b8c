//! Time as a parameter: the system's clocks in the product, a hand-moved one in tests and simulation.
//!
//! A tick reads the clock once and passes [`Now`] down; nothing below a worker asks the system for time.
//!
//! ```text
//! ns       CLOCK_BOOTTIME: never set, and goes on while the machine is suspended      times to live, waits, measures
//! unix_s   CLOCK_REALTIME, read again in each tick: whatever it is set to             seals, cookies, absolute times
//! ```
//! An absolute expiry time becomes a time to live when the item is stored: setting the clock later does not move it.

use crate::base::sync::{Arc, AtomicU64, Ordering};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

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
    /// The system's clocks.
    System {
        /// The server epoch, the moment of [`Clock::system`], on the clock that is never set.
        epoch: Duration,
    },
    /// A clock that moves only when told to.
    Manual(Arc<Hands>),
}

/// Where a manual clock stands.
#[derive(Debug)]
pub struct Hands {
    /// Nanoseconds since the epoch.
    ns: AtomicU64,
    /// The wall time of the epoch, in seconds since 1970.
    epoch_unix_s: AtomicU64,
}

impl Clock {
    /// A clock that starts now.
    pub fn system() -> Clock {
        Clock::System { epoch: read(ClockId::CLOCK_BOOTTIME) }
    }

    /// A clock that stands at `ns` until [`Clock::advance`].
    pub fn manual(ns: u64) -> Clock {
        let epoch_unix_s = AtomicU64::new(Self::MANUAL_EPOCH_UNIX_S);
        Clock::Manual(Arc::new(Hands { ns: AtomicU64::new(ns), epoch_unix_s }))
    }

    /// Reads the clock.
    pub fn now(&self) -> Now {
        let ns = self.ns();
        match self {
            // The coarse clock is a few ms late, and is read in a few ns.
            Clock::System { .. } => Now { ns, unix_s: read(ClockId::CLOCK_REALTIME_COARSE).as_secs() },
            Clock::Manual(hands) => {
                // Relaxed: a test's own thread moves it; no memory is published through it.
                let epoch_unix_s = hands.epoch_unix_s.load(Ordering::Relaxed);
                Now { ns, unix_s: epoch_unix_s.wrapping_add(ns / 1_000_000_000) }
            }
        }
    }

    /// Processor time of this thread, in ns: what passes here while another thread has the processor is not in it. A call of the
    /// kernel, some 200 ns.
    pub fn thread_cpu_ns(&self) -> u64 {
        match self {
            Clock::System { .. } => read(ClockId::CLOCK_THREAD_CPUTIME_ID).as_nanos() as u64,
            Clock::Manual(_) => self.ns(),
        }
    }

    /// Monotonic nanoseconds since the epoch: what [`Clock::now`] tells, for measuring within a tick.
    #[inline]
    pub fn ns(&self) -> u64 {
        match self {
            Clock::System { epoch } => read(ClockId::CLOCK_BOOTTIME).saturating_sub(*epoch).as_nanos() as u64,
            // Relaxed: see `now`.
            Clock::Manual(hands) => hands.ns.load(Ordering::Relaxed),
        }
    }

    /// The wall time at which a manual clock's epoch stands.
    pub const MANUAL_EPOCH_UNIX_S: u64 = 1_700_000_000;

    /// Moves a manual clock forward; the system's clock moves by itself.
    pub fn advance(&self, by: Duration) {
        if let Clock::Manual(hands) = self {
            // Relaxed: see `now`.
            hands.ns.fetch_add(by.as_nanos() as u64, Ordering::Relaxed);
        }
    }

    /// Sets the wall time of a manual clock forward or back, as an operator does; nothing else moves.
    pub fn set_wall(&self, by_s: i64) {
        if let Clock::Manual(hands) = self {
            // Relaxed: see `now`. Two's complement: adding a negative number wraps to the right one.
            hands.epoch_unix_s.fetch_add(by_s as u64, Ordering::Relaxed);
        }
    }
}

/// A clock of the system that always exists; zero where it does not.
fn read(clock: ClockId) -> Duration {
    Duration::from(clock_gettime(clock).unwrap_or(TimeSpec::new(0, 0)))
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
        let before = clock.now();
        clock.set_wall(-3600);
        assert_eq!(clock.now(), Now { ns: before.ns, unix_s: before.unix_s - 3600 });
    }

    #[test]
    fn the_system_clock_begins_at_its_epoch_and_knows_the_wall_time() {
        let (clock, wall) = (Clock::system(), std::time::SystemTime::UNIX_EPOCH);
        let first = clock.now();
        assert!(first.ns < 60_000_000_000 && clock.ns() >= first.ns);
        let wall_s = wall.elapsed().unwrap().as_secs();
        assert!(wall_s.abs_diff(first.unix_s) < 60, "{wall_s} and {}", first.unix_s);
    }
}
