//! Zipf's law over N ranks, exact, one draw in O(1) for any N.
//!
//! **Idea.** Rank k in 1..=N has probability proportional to h(k) = k^-s. Rejection-inversion (W. Hörmann,
//! G. Derflinger, "Rejection-inversion to generate variates from monotone discrete distributions", ACM TOMACS 6(3),
//! 1996) inverts the integral of h, which majorizes the histogram of h shifted by half a rank, and rejects the
//! little that sticks out:
//!
//! ```text
//!   h │█            H(x) = ∫ h     u uniform in (H(1.5) − h(1), H(N + 0.5)]
//!     │█▙           x = H⁻¹(u)     k = round(x)
//!     │██▙▖         accept when k − x ≤ shortcut, or u ≥ H(k + 0.5) − h(k)
//!     └────── k
//! ```
//!
//! **Parameters.** N ranks, exponent s ≥ 0 (0 is uniform; 1 is handled through `ln`, with series near it).
//! **Cost.** One logarithm and one exponential an attempt; 1.0 to 1.3 attempts a draw for every s and N. No table.
//! **Error.** None but that of f64: the distribution is Zipf's itself, not the popular approximation of Gray et al.
//! (SIGMOD 1994), which is several percent off at the first ranks.

use crate::base::random::Random;

/// A Zipf distribution over the ranks `0..ranks` (rank 0 is the most popular).
#[derive(Clone, Debug)]
pub struct Zipf {
    ranks: u64,
    exponent: f64,
    integral_first: f64,
    integral_last: f64,
    shortcut: f64,
}

impl Zipf {
    /// The distribution; `ranks` ≥ 1 and `exponent` ≥ 0, finite.
    pub fn new(ranks: u64, exponent: f64) -> Zipf {
        assert!(ranks >= 1 && exponent >= 0.0 && exponent.is_finite());
        let mut zipf = Zipf { ranks, exponent, integral_first: 0.0, integral_last: 0.0, shortcut: 0.0 };
        zipf.integral_first = zipf.integral(1.5) - 1.0;
        zipf.integral_last = zipf.integral(ranks as f64 + 0.5);
        zipf.shortcut = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.weight(2.0));
        zipf
    }

    /// Draws a rank in `0..ranks`.
    #[inline]
    pub fn draw(&self, random: &mut Random) -> u64 {
        loop {
            let u = self.integral_last + random.unit() * (self.integral_first - self.integral_last);
            let x = self.inverse(u);
            let k = (x + 0.5).floor().clamp(1.0, self.ranks as f64);
            if k - x <= self.shortcut || u >= self.integral(k + 0.5) - self.weight(k) {
                return k as u64 - 1;
            }
        }
    }

    fn weight(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// ∫ x^-s dx, chosen so that it is continuous in s at 1: ((x^(1-s)) − 1) / (1 − s).
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        expm1_over((1.0 - self.exponent) * log) * log
    }

    fn inverse(&self, y: f64) -> f64 {
        // −1 is the pole of ln(1 + t); rounding may step over it.
        let t = (y * (1.0 - self.exponent)).max(-1.0);
        (ln1p_over(t) * y).exp()
    }
}

/// (e^x − 1) / x, also at 0.
fn expm1_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x * 0.5 * (1.0 + x / 3.0) }
}

/// ln(1 + x) / x, also at 0.
fn ln1p_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x * (0.5 - x / 3.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chi-squared against theory over the first 50 ranks and the rest.
    fn check(ranks: u64, exponent: f64) {
        const DRAWS: u64 = 300_000;
        let zipf = Zipf::new(ranks, exponent);
        let mut random = Random::new(11);
        let head = ranks.min(50) as usize;
        let mut counts = vec![0u64; head + 1];
        for _ in 0..DRAWS {
            let rank = zipf.draw(&mut random);
            assert!(rank < ranks);
            counts[(rank as usize).min(head)] += 1;
        }
        let norm: f64 = (1..=ranks).map(|k| (k as f64).powf(-exponent)).sum();
        let mut rest = 1.0;
        let mut chi = 0.0;
        for (rank, &count) in counts[..head].iter().enumerate() {
            let p = (rank as f64 + 1.0).powf(-exponent) / norm;
            rest -= p;
            let want = p * DRAWS as f64;
            chi += (count as f64 - want).powi(2) / want;
        }
        if ranks as usize > head {
            let want = rest * DRAWS as f64;
            chi += (counts[head] as f64 - want).powi(2) / want;
        } else {
            assert_eq!(counts[head], 0);
        }
        // 99.99 % quantile of chi-squared with 50 degrees of freedom is 93.2; the seed is fixed.
        assert!(chi < 93.2, "N {ranks}, s {exponent}: chi² {chi}");
    }

    #[test]
    fn draws_follow_theory() {
        for ranks in [1, 2, 10, 1_000, 1_000_000] {
            for exponent in [0.0, 0.5, 0.9, 0.99, 1.0, 1.000_000_001, 1.2, 2.0] {
                check(ranks, exponent);
            }
        }
    }

    #[test]
    fn a_huge_key_space_costs_no_table() {
        let zipf = Zipf::new(1 << 40, 0.99);
        let mut random = Random::new(3);
        assert!((0..1000).any(|_| zipf.draw(&mut random) > 1 << 30));
    }
}
