//! A small seeded generator: xoshiro256++ (Blackman & Vigna 2019), seeded by splitmix64.
//!
//! Our own thirty lines and not a crate, because "same seed, same requests" must survive a crate's update.
//! Not for secrets.

/// A stream of pseudo-random numbers; equal seeds give equal streams.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Random {
        let mut s = seed;
        Random { state: std::array::from_fn(|_| splitmix(&mut s)) }
    }

    /// The stream of `seed` for part `index` of something (a thread, a key): unrelated to its neighbours'.
    pub fn part(seed: u64, index: u64) -> Random {
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

/// Mixes 64 bits so that neighbours become strangers (the finalizer of splitmix64, Steele et al. 2014).
#[inline]
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mix(*state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_streams() {
        let draw = |seed| {
            let mut r = Random::new(seed);
            std::array::from_fn::<u64, 8, _>(|_| r.bits())
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn the_stream_is_xoshiro256_plus_plus() {
        // First outputs for the state 1, 2, 3, 4: the reference vector of the rand_xoshiro crate.
        let mut r = Random { state: [1, 2, 3, 4] };
        let want = [41943041, 58720359, 3588806011781223, 3591011842654386];
        assert_eq!(std::array::from_fn::<u64, 4, _>(|_| r.bits()), want);
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
