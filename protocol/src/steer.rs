//! Which shard owns a key: fixed, and specified byte by byte in docs/protocol.md, so that clients and the kernel compute it.

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

/// The shard that owns a key, of `owners` shards.
#[inline]
pub fn owner_of(key: &[u8], owners: usize) -> usize {
    // One shard is the common case on small machines; it needs no steer.
    if owners == 1 { 0 } else { owner(steer(key), owners) }
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
}
