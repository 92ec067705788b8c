//! Two hashes of a key, for two questions.
//!
//! ```text
//! key ──steer──▶ owner        fixed, specified byte by byte in docs/protocol.md: a client or the kernel computes it
//!     ──KeyHash──▶ home, tag  seeded per process: nobody outside can aim keys at one line
//! ```

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use siphasher::sip::SipHasher24;
use std::hash::{BuildHasher, Hasher};

/// The steer of a key: which shard owns it, see [`owner`].
///
/// For each 8-byte little-endian chunk (the last padded with zeros): `h = fold(h ^ chunk, MUL)`, from
/// `h = SEED ^ length`; at the end once more `fold(h, MUL)`. `fold(a, b)` is the exclusive or of the two
/// halves of the 128-bit product (the "folded multiply" of wyhash, W. Yi 2019). Cost: a multiply per 8 bytes.
pub fn steer(key: &[u8]) -> u64 {
    let mut h = STEER_SEED ^ key.len() as u64;
    let mut chunks = key.chunks_exact(8);
    for chunk in &mut chunks {
        h = fold(h ^ u64::from_le_bytes(chunk.try_into().expect("chunks_exact gives 8 bytes")), STEER_MUL);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut last = [0u8; 8];
        last[..rest.len()].copy_from_slice(rest);
        h = fold(h ^ u64::from_le_bytes(last), STEER_MUL);
    }
    fold(h, STEER_MUL)
}

/// The shard that owns a steer, of `owners` shards: multiply-shift of its upper 32 bits.
pub fn owner(steer: u64, owners: usize) -> usize {
    (((steer >> 32) * owners as u64) >> 32) as usize
}

const STEER_SEED: u64 = 0x5348_4552_574f_4f44; // "SHERWOOD"
const STEER_MUL: u64 = 0x9e37_79b9_7f4a_7c15; // 2^64 / golden ratio, odd

fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

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

/// Number `index` that a seed stands for. None tells anything of the seed, or of another one.
fn part(seed: u64, index: u64) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(seed, STEER_SEED);
    hasher.write_u64(index);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These values are part of docs/protocol.md: changing them breaks every steering client.
    #[test]
    fn steer_is_what_the_protocol_says() {
        let table: [(&[u8], u64); 5] = [
            (b"", 0x7d7a_3586_0e74_bef5),
            (b"a", 0xe9af_4639_63b7_8f6b),
            (b"key:1", 0x0f8a_30bf_3bc5_dc67),
            (b"12345678", 0x9186_e4df_0d91_b107),
            (b"user:1234567890:profile", 0x44f7_2401_2b07_1814),
        ];
        for (key, want) in table {
            assert_eq!(steer(key), want, "{}", key.escape_ascii());
        }
    }

    #[test]
    fn owners_are_balanced() {
        for owners in [1, 2, 3, 7, 64] {
            let mut counts = vec![0u32; owners];
            for i in 0..owners as u64 * 10_000 {
                counts[owner(steer(format!("key:{i}").as_bytes()), owners)] += 1;
            }
            assert!(counts.iter().all(|&c| (9_400..10_600).contains(&c)), "{owners}: {counts:?}");
        }
    }

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
