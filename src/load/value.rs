//! Values that say whose they are, so that every one that comes back can be checked.
//!
//! ```text
//! 0            8          12         16           24
//! │ steer(key) │ version  │ length   │ checksum   │ noise[offset(key, version)..] …
//! ```
//! All little-endian. The checksum covers the three words before it; the noise is compared byte by byte, from an
//! offset that depends on key and version, so that a value torn between two versions or two keys cannot pass.
//! A value longer than a datagram has the noise of several offsets, one behind the other.
//! A value shorter than 24 bytes is noise alone and cannot be checked.

use crate::limits::DATAGRAM_BYTES_MAX;
use cache::base::random::{Random, mix};
use protocol::steer::steer;

/// Shortest value that can be checked, in bytes.
pub const CHECKED_BYTES_MIN: usize = 24;

/// Why a value is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Shorter than any value that we write.
    Short,
    /// Intact, but another key's.
    OtherKey,
    /// Length or checksum do not fit: never written by us, or damaged in front.
    Damaged,
    /// The front is intact and the rest is not its own.
    Torn,
}

/// Writes and checks values.
#[derive(Clone)]
pub struct Values {
    noise: std::sync::Arc<[u8]>,
}

const OFFSETS: usize = 4096;
/// Noise of a longer value begins anew after so many bytes, from another offset; no power of two, as a server's pieces may be.
const STRETCH_BYTES: usize = DATAGRAM_BYTES_MAX;

impl Default for Values {
    fn default() -> Values {
        let mut random = Random::new(0x7661_6c75_6573);
        let noise = (0..DATAGRAM_BYTES_MAX + OFFSETS).map(|_| random.bits() as u8).collect();
        Values { noise }
    }
}

impl Values {
    /// Appends the value of `key` at `version`, `bytes` long.
    #[inline]
    pub fn write(&self, key: &[u8], version: u32, bytes: usize, out: &mut Vec<u8>) {
        let owner = steer(key);
        if bytes < CHECKED_BYTES_MIN {
            out.extend_from_slice(&self.noise(owner, version, 0)[..bytes]);
            return;
        }
        out.extend_from_slice(&owner.to_le_bytes());
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(&(bytes as u32).to_le_bytes());
        out.extend_from_slice(&checksum(owner, version, bytes as u32).to_le_bytes());
        let (mut left, mut stretch) = (bytes - CHECKED_BYTES_MIN, 0);
        while left > 0 {
            let noise = self.noise(owner, version, stretch);
            out.extend_from_slice(&noise[..left.min(noise.len())]);
            left -= left.min(noise.len());
            stretch += 1;
        }
    }

    /// Checks that `value` is one of `key`'s, and returns its version.
    ///
    /// # Errors
    /// What is wrong with it.
    #[inline]
    pub fn check(&self, key: &[u8], value: &[u8]) -> Result<u32, Wrong> {
        let Some((front, rest)) = value.split_first_chunk::<CHECKED_BYTES_MIN>() else {
            return Err(Wrong::Short);
        };
        let word = |at: usize| u32::from_le_bytes(front[at..at + 4].try_into().expect("4 bytes"));
        let long = |at: usize| u64::from_le_bytes(front[at..at + 8].try_into().expect("8 bytes"));
        let (owner, version, bytes) = (long(0), word(8), word(12));
        if bytes as usize != value.len() || long(16) != checksum(owner, version, bytes) {
            return Err(Wrong::Damaged);
        }
        if owner != steer(key) {
            return Err(Wrong::OtherKey);
        }
        for (stretch, part) in (0..).zip(rest.chunks(STRETCH_BYTES)) {
            if part != &self.noise(owner, version, stretch)[..part.len()] {
                return Err(Wrong::Torn);
            }
        }
        Ok(version)
    }

    /// The noise of a stretch of a value.
    #[inline]
    fn noise(&self, owner: u64, version: u32, stretch: u64) -> &[u8] {
        let offset = mix(owner ^ (version as u64) << 32 ^ stretch) as usize % OFFSETS;
        &self.noise[offset..offset + STRETCH_BYTES]
    }
}

fn checksum(owner: u64, version: u32, bytes: u32) -> u64 {
    mix(owner ^ mix((version as u64) << 32 | bytes as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(key: &[u8], version: u32, bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        Values::default().write(key, version, bytes, &mut out);
        assert_eq!(out.len(), bytes);
        out
    }

    #[test]
    fn what_was_written_is_right() {
        let values = Values::default();
        for bytes in [24, 25, 100, 1400, 65_000, 65_531, 65_532, 1 << 20] {
            assert_eq!(values.check(b"k", &value(b"k", 7, bytes)), Ok(7));
        }
    }

    #[test]
    fn every_kind_of_wrong_is_named() {
        let values = Values::default();
        let good = value(b"k", 7, 1000);
        assert_eq!(values.check(b"k", &value(b"k", 7, 23)), Err(Wrong::Short));
        assert_eq!(values.check(b"j", &good), Err(Wrong::OtherKey));
        assert_eq!(values.check(b"k", &good[..999]), Err(Wrong::Damaged));
        let mut torn = good.clone();
        torn[500..].copy_from_slice(&value(b"k", 8, 1000)[500..]);
        assert_eq!(values.check(b"k", &torn), Err(Wrong::Torn));
        let mut long = value(b"k", 7, 200_000);
        long.swap(70_000, 140_001);
        assert_eq!(values.check(b"k", &long), Err(Wrong::Torn));
        for at in 0..1000 {
            let mut flipped = good.clone();
            flipped[at] ^= 1;
            assert!(values.check(b"k", &flipped).is_err(), "byte {at}");
        }
    }
}
