//! Versions of every key under `--verify`: what a read may return at the least.
//!
//! Each write of a key takes the next version. When a write is acknowledged and **no other write of that key was in
//! flight at any time of its own**, its version becomes the key's *floor*: a read sent later must not return an
//! older one. Overlapping writes raise no floor, since a server may apply them in either order. A lost write may be
//! applied at any later time, so after one the key's floor stays where it is for the rest of the run: this check
//! misses some stale reads and accuses nobody falsely. (A network that delivers an old set twice still can.)
//!
//! Shared by all threads: two words a key.

use cache::base::sync::{AtomicU32, AtomicU64, Ordering};

/// The versions of all keys.
pub struct Versions {
    writes: Vec<AtomicU64>,
    floors: Vec<AtomicU32>,
}

/// Word of a key: the version last given (upper half), writes in flight, two flags.
const GIVEN: u64 = 1 << 32;
const IN_FLIGHT: u64 = 1;
const IN_FLIGHT_MASK: u64 = (1 << 24) - 1;
const OVERLAPPED: u64 = 1 << 30;
const DOUBTED: u64 = 1 << 31;

impl Versions {
    /// Versions of `keys` keys, all at 0.
    pub fn new(keys: u64) -> Versions {
        Versions {
            writes: (0..keys).map(|_| AtomicU64::new(0)).collect(),
            floors: (0..keys).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// A write of `key` is about to be sent; its version.
    #[inline]
    pub fn begin_write(&self, key: u32) -> u32 {
        let word = self.update(key, |word| {
            let overlap = if word & IN_FLIGHT_MASK != 0 { OVERLAPPED } else { 0 };
            (word | overlap) + GIVEN + IN_FLIGHT
        });
        (word >> 32) as u32 + 1
    }

    /// The write of `version` was acknowledged.
    #[inline]
    pub fn acknowledged(&self, key: u32, version: u32) {
        let before = self.update(key, end);
        if before & IN_FLIGHT_MASK == 1 && before & (OVERLAPPED | DOUBTED) == 0 {
            // Release: pairs with the Acquire in `floor`; the read that sees this floor is sent after the reply.
            self.floors[key as usize].store(version, Ordering::Release);
        }
    }

    /// The write was refused: nothing was applied.
    pub fn refused(&self, key: u32) {
        self.update(key, end);
    }

    /// The write was lost: it may be applied at any time from now on, or never.
    pub fn lost(&self, key: u32) {
        self.update(key, |word| end(word) | DOUBTED);
    }

    /// The oldest version that a read sent now may return.
    #[inline]
    pub fn floor(&self, key: u32) -> u32 {
        // Acquire: see `acknowledged`.
        self.floors[key as usize].load(Ordering::Acquire)
    }

    /// Applies `change` and returns the word before it.
    fn update(&self, key: u32, change: impl Fn(u64) -> u64) -> u64 {
        let word = &self.writes[key as usize];
        // Relaxed loads: the exchange decides. AcqRel: orders a write's end before the next one's beginning.
        let mut before = word.load(Ordering::Relaxed);
        while let Err(now) =
            word.compare_exchange_weak(before, change(before), Ordering::AcqRel, Ordering::Relaxed)
        {
            before = now;
        }
        before
    }
}

/// A write is over; the last one out clears the mark of an overlap.
fn end(word: u64) -> u64 {
    let after = word - IN_FLIGHT;
    if after & IN_FLIGHT_MASK == 0 { after & !OVERLAPPED } else { after }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_acknowledged_write_raises_the_floor() {
        let versions = Versions::new(2);
        assert_eq!(versions.begin_write(1), 1);
        assert_eq!(versions.floor(1), 0);
        versions.acknowledged(1, 1);
        assert_eq!((versions.floor(0), versions.floor(1)), (0, 1));
        assert_eq!(versions.begin_write(1), 2);
    }

    #[test]
    fn overlapping_writes_raise_none_and_the_next_alone_does() {
        let versions = Versions::new(1);
        let (first, second) = (versions.begin_write(0), versions.begin_write(0));
        versions.acknowledged(0, second);
        versions.acknowledged(0, first);
        assert_eq!(versions.floor(0), 0);
        let third = versions.begin_write(0);
        versions.acknowledged(0, third);
        assert_eq!(versions.floor(0), 3);
    }

    #[test]
    fn after_a_lost_write_the_floor_stays() {
        let versions = Versions::new(1);
        versions.begin_write(0);
        versions.lost(0);
        let second = versions.begin_write(0);
        versions.acknowledged(0, second);
        assert_eq!(versions.floor(0), 0);
    }
}
