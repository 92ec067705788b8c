//! Pseudo-random numbers: one small seeded generator for sampling, simulation and load. Not for secrets.
//!
//! xoshiro256++ (Blackman & Vigna 2019), seeded by splitmix64 (Steele et al. 2014). It is thirty lines of our own and not a crate,
//! because `load --seed` must ask the same requests after a crate's update. Any seed is good, 0 included.

/// A stream of pseudo-random numbers; equal seeds give equal streams.
#[derive(Clone, Copy, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream of `seed`.
    pub const fn new(seed: u64) -> Random {
        Random {
            state: [
                mix(seed.wrapping_add(GOLDEN)),
                mix(seed.wrapping_add(GOLDEN.wrapping_mul(2))),
                mix(seed.wrapping_add(GOLDEN.wrapping_mul(3))),
                mix(seed.wrapping_add(GOLDEN.wrapping_mul(4))),
            ],
        }
    }

    /// The stream of `seed` for part `index` of something (a thread, a key): unrelated to its neighbours'.
    pub const fn part(seed: u64, index: u64) -> Random {
        Random::new(mix(seed ^ mix(index.wrapping_add(1))))
    }

    /// 64 random bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in `0..bound`; `bound` is at least 1. Multiply-shift: the bias is below bound / 2^64.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((self.bits() as u128 * bound as u128) >> 64) as u64
    }

    /// A number in `[0, 1)`, 53 bits of it.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u8) -> bool {
        self.below(100) < percent as u64
    }

    /// A number of the exponential distribution with mean 1.
    #[inline]
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// A number of the standard normal distribution (Box & Muller 1958, one of the pair).
    pub fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// 2^64 divided by the golden ratio: the step of splitmix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes 64 bits so that neighbours become strangers (the finalizer of splitmix64).
#[inline]
pub const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_streams() {
        let draw = |mut random: Random| std::array::from_fn::<u64, 8, _>(|_| random.bits());
        assert_eq!(draw(Random::new(7)), draw(Random::new(7)));
        assert_ne!(draw(Random::new(7)), draw(Random::new(8)));
        assert_eq!(draw(Random::part(7, 1)), draw(Random::part(7, 1)));
        assert_ne!(draw(Random::part(7, 1)), draw(Random::part(7, 2)));
    }

    /// `load --seed` and recorded simulations depend on the exact stream.
    #[test]
    fn the_stream_is_xoshiro256_plus_plus_seeded_by_splitmix64() {
        // First outputs for the state 1, 2, 3, 4: the reference vector of the rand_xoshiro crate.
        let mut random = Random { state: [1, 2, 3, 4] };
        let want = [41943041, 58720359, 3588806011781223, 3591011842654386];
        assert_eq!(std::array::from_fn::<u64, 4, _>(|_| random.bits()), want);
        // First outputs of splitmix64 for the seed 1234567: the reference vector of Rosetta Code.
        let want = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431];
        assert_eq!(Random::new(1_234_567).state, want);
    }

    #[test]
    fn numbers_keep_their_bounds() {
        for seed in [0, 1, u64::MAX] {
            let mut random = Random::new(seed);
            for bound in [1, 2, 3, 1000, 1 << 40, u64::MAX] {
                assert!((0..1000).all(|_| random.below(bound) < bound), "{seed}, {bound}");
            }
            assert!((0..1000).all(|_| (0.0..1.0).contains(&random.unit())));
            assert!((0..1000).all(|_| !random.chance(0) && random.chance(100)));
        }
    }

    #[test]
    fn numbers_are_spread_evenly() {
        for seed in [0, 1, 2, u64::MAX] {
            let (mut random, mut counts) = (Random::new(seed), [0u32; 16]);
            (0..160_000).for_each(|_| counts[random.below(16) as usize] += 1);
            // The standard deviation of each is 97; 6 of them are an error.
            assert!(counts.iter().all(|&count| count.abs_diff(10_000) < 600), "{seed}: {counts:?}");
            let ones: u32 = (0..10_000).map(|_| random.bits().count_ones()).sum();
            assert!(ones.abs_diff(320_000) < 2_400, "{seed}: {ones}");
        }
    }

    #[test]
    fn means_are_what_they_should_be() {
        let mut r = Random::new(1);
        let n = 200_000;
        let mean = |f: &mut dyn FnMut() -> f64| (0..n).map(|_| f()).sum::<f64>() / n as f64;
        assert!((mean(&mut || r.unit()) - 0.5).abs() < 0.005);
        assert!((mean(&mut || r.exponential()) - 1.0).abs() < 0.02);
        assert!(mean(&mut || r.normal()).abs() < 0.02);
        assert!((mean(&mut || r.below(10) as f64) - 4.5).abs() < 0.05);
    }
}
