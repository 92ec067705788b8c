//! Random gaps between samples. They avoid aliasing: with a fixed stride of 4, a client that always reads the same 20 keys would
//! report the same 5.

use crate::base::random::Random;

/// Draws gaps.
#[derive(Clone, Copy, Debug)]
pub struct SampleGaps {
    random: Random,
}

impl SampleGaps {
    /// Gaps that follow from `seed`.
    pub const fn new(seed: u64) -> SampleGaps {
        SampleGaps { random: Random::new(seed) }
    }

    /// What to leave out before the next sample, when one in `one_in` is taken on average: 0 to twice the mean.
    #[inline]
    pub fn draw(&mut self, one_in: u32) -> u32 {
        if one_in <= 1 {
            return 0;
        }
        self.random.below(2 * one_in as u64 - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_have_the_mean_that_is_asked_for() {
        let mut gaps = SampleGaps::new(7);
        for one_in in [1u32, 2, 4, 16] {
            let drawn: Vec<u32> = (0..100_000).map(|_| gaps.draw(one_in)).collect();
            let mean = drawn.iter().map(|&gap| gap as f64).sum::<f64>() / drawn.len() as f64;
            assert!((mean - (one_in as f64 - 1.0)).abs() < 0.02 * one_in as f64, "{one_in}: {mean}");
            assert!(drawn.iter().all(|&gap| gap <= 2 * (one_in - 1)));
        }
    }
}
