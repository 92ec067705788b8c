//! The hash of a key, seeded per process: nobody outside can aim keys at one line of a table.

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use siphasher::sip::SipHasher24;
use std::hash::{BuildHasher, Hasher};

/// The seeded hash that chooses home line and tag (foldhash, quality variant).
///
/// # Why all its numbers are secret
/// Foldhash multiplies the words of a key, each first combined by exclusive or with a number that it shares among its
/// hashers, and the public ones of [`SharedSeed::global_fixed`] serve an attacker: a key whose words equal them makes a
/// product zero, whatever the seed of the hasher is, so that any number of keys have one hash. Here those numbers are
/// random as well.
#[derive(Clone)]
pub struct KeyHash {
    seed: u64,
    shared: SharedSeed,
}

impl KeyHash {
    /// The hash for one process; equal seeds give equal hashes.
    pub fn new(seed: u64) -> KeyHash {
        KeyHash { seed: part(seed, 1), shared: SharedSeed::from_u64(part(seed, 2)) }
    }

    /// A seed that nobody can guess, from the process's own randomness.
    pub fn random_seed() -> u64 {
        std::hash::RandomState::new().build_hasher().finish()
    }

    /// Hash of a key. Its upper bits choose the home line.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(key);
        hasher.finish()
    }
}

/// What people are shown instead of the hash of a key: it names the key as long as the process lives, and says nothing of
/// where the key lies. Many hashes of known keys would tell the seed of [`KeyHash`], which is fast and no more; this one is
/// SipHash-2-4, which keeps its key.
#[derive(Clone, Copy)]
pub struct ShownHash {
    key: u64,
}

impl ShownHash {
    /// For a process with this seed, which is that of its [`KeyHash`].
    pub fn new(seed: u64) -> ShownHash {
        ShownHash { key: part(seed, 3) }
    }

    /// What is shown for the upper half of a key's hash.
    pub fn of(&self, upper: u32) -> u32 {
        (part(self.key, upper as u64) >> 32) as u32
    }
}

const PARTS: u64 = 0x5348_4552_574f_4f44; // "SHERWOOD"

/// Number `index` that a seed stands for. None tells anything of the seed, or of another one.
fn part(seed: u64, index: u64) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(seed, PARTS);
    hasher.write_u64(index);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_change_the_key_hash() {
        assert_ne!(KeyHash::new(1).hash(b"key"), KeyHash::new(2).hash(b"key"));
        assert_eq!(KeyHash::new(1).hash(b"key"), KeyHash::new(1).hash(b"key"));
    }

    /// Keys that end in the numbers that foldhash shares by default. With those, one product is zero: so is the hash, or a
    /// part of the key does not count.
    fn families() -> [Vec<Vec<u8>>; 3] {
        const LONG: [u8; 8] = [0xdd, 0x50, 0x7c, 0xc9, 0xb7, 0x29, 0xac, 0xc0];
        const SHORT: [u8; 8] = [0x17, 0x09, 0x47, 0xb5, 0xb5, 0xd5, 0x84, 0x3f];
        let family = |key: &dyn Fn(u64) -> Vec<u8>| (0..400).map(|i| key(i * 0x9e37_79b9)).collect();
        [
            family(&|i| [format!("{i:014x}").as_bytes(), &LONG, &LONG].concat()),
            family(&|i| [format!("{:08x}", i as u32).as_bytes(), &SHORT].concat()),
            family(&|i| [&i.to_le_bytes()[..], b"fixed..", &LONG, b"fixed.!!"].concat()),
        ]
    }

    #[test]
    fn no_key_has_one_hash_whatever_the_seed() {
        let with_public_numbers = |seed: u64, key: &[u8]| {
            let mut hasher = FoldHasher::with_seed(seed, SharedSeed::global_fixed());
            hasher.write(key);
            hasher.finish()
        };
        for (family, keys) in families().into_iter().enumerate() {
            for seed in [1, 2, 0x5bd1_e995_1234] {
                let different = |hash: &dyn Fn(&[u8]) -> u64| {
                    keys.iter().map(|key| hash(key)).collect::<std::collections::BTreeSet<_>>().len()
                };
                // The families are what they are said to be.
                let (ours, public) = (KeyHash::new(seed), |key: &[u8]| with_public_numbers(seed, key));
                assert_eq!(different(&public), 1, "family {family}");
                assert_eq!(different(&|key| ours.hash(key)), keys.len(), "family {family}");
                // The homes are spread as those of any keys: of 400 in 2^16 about one pair shares a home.
                assert!(different(&|key| ours.hash(key) >> 48) > 390, "family {family}");
            }
        }
    }

    #[test]
    fn what_is_shown_of_a_hash_is_stable_and_something_else() {
        let (shown, other) = (ShownHash::new(1), ShownHash::new(2));
        let upper = |i: u32| (KeyHash::new(1).hash(&i.to_le_bytes()) >> 32) as u32;
        for upper in (0..1000).map(upper) {
            assert_eq!(shown.of(upper), ShownHash::new(1).of(upper));
            assert_ne!(shown.of(upper), upper);
            assert_ne!(shown.of(upper), other.of(upper));
        }
        assert_ne!(shown.of(0), 0);
    }
}
