//! Sizes of keys and values. A key keeps its size for the whole run: the size is a function of the key's number.
//!
//! `etc` and `usr` are the published mixes of two Facebook pools (B. Atikoglu, Y. Xu, E. Frachtenberg, S. Jiang,
//! M. Paleczny, "Workload analysis of a large-scale key-value store", SIGMETRICS 2012, section 5 and table 5):
//! *etc* keys follow a generalized extreme value distribution, values a generalized Pareto one with fourteen short
//! lengths of their own; *usr* keys have 16 or 21 bytes, values 2.

use crate::config::size;
use cache::base::random::{Random, mix};

/// How large a key or a value is, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Size {
    /// All alike.
    Fixed(u32),
    /// Uniform in `from..=to`.
    Range {
        /// Smallest.
        from: u32,
        /// Largest.
        to: u32,
        /// Seed of the draw.
        seed: u64,
    },
    /// Lognormal with the parameters of the underlying normal.
    LogNormal {
        /// Mean of the logarithm.
        mu: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
        /// Seed of the draw.
        seed: u64,
    },
    /// Key sizes of the pool *etc*.
    EtcKey {
        /// Seed of the draw.
        seed: u64,
    },
    /// Value sizes of the pool *etc*.
    EtcValue {
        /// Seed of the draw.
        seed: u64,
    },
    /// Key sizes of the pool *usr*.
    UsrKey {
        /// Seed of the draw.
        seed: u64,
    },
}

impl Size {
    /// A key's size: `16`, `16-40`, `etc`, `usr`.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse_key(text: &str, seed: u64) -> Result<Size, String> {
        match text {
            "etc" => Ok(Size::EtcKey { seed: mix(seed ^ 0x6b65) }),
            "usr" => Ok(Size::UsrKey { seed: mix(seed ^ 0x6b65) }),
            _ => Size::parse(text, mix(seed ^ 0x6b65)),
        }
    }

    /// A value's size: `100`, `10-1000`, `lognormal:MEAN:SIGMA` (mean in bytes), `etc`, `usr`.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse_value(text: &str, seed: u64) -> Result<Size, String> {
        match text {
            "etc" => Ok(Size::EtcValue { seed: mix(seed ^ 0x7661) }),
            "usr" => Ok(Size::Fixed(2)),
            _ => Size::parse(text, mix(seed ^ 0x7661)),
        }
    }

    fn parse(text: &str, seed: u64) -> Result<Size, String> {
        let wrong = || format!("`{text}` is not a size (100, 10-1000, lognormal:MEAN:SIGMA, etc, usr)");
        let bytes = |t: &str| size::count(t).ok().and_then(|n| u32::try_from(n).ok()).ok_or_else(wrong);
        if let Some(rest) = text.strip_prefix("lognormal:") {
            let (mean, sigma) = rest.split_once(':').ok_or_else(wrong)?;
            let mean: f64 = mean.parse().map_err(|_| wrong())?;
            let sigma: f64 = sigma.parse().map_err(|_| wrong())?;
            if !((1.0..=1e9).contains(&mean) && (0.0..=10.0).contains(&sigma)) {
                return Err(wrong());
            }
            // The mean of a lognormal is e^(mu + sigma²/2).
            return Ok(Size::LogNormal { mu: mean.ln() - sigma * sigma / 2.0, sigma, seed });
        }
        match text.split_once('-') {
            None => Ok(Size::Fixed(bytes(text)?)),
            Some((from, to)) => {
                let (from, to) = (bytes(from)?, bytes(to)?);
                if from > to { Err(wrong()) } else { Ok(Size::Range { from, to, seed }) }
            }
        }
    }

    /// The size that belongs to `key`, in bytes. Unbounded above for the long-tailed ones: the caller clamps.
    #[inline]
    pub fn of(&self, key: u32) -> u32 {
        match *self {
            Size::Fixed(bytes) => bytes,
            Size::Range { from, to, seed } => {
                let random = mix(seed ^ mix(key as u64 + 1));
                from + ((random as u128 * (to - from + 1) as u128) >> 64) as u32
            }
            Size::UsrKey { seed } => {
                if mix(seed ^ mix(key as u64 + 1)) & 1 == 0 {
                    16
                } else {
                    21
                }
            }
            Size::LogNormal { mu, sigma, seed } => {
                (mu + sigma * Random::part(seed, key as u64).normal()).exp().round().clamp(1.0, 4e9) as u32
            }
            Size::EtcKey { seed } => etc_key(Random::part(seed, key as u64).unit()),
            Size::EtcValue { seed } => etc_value(&mut Random::part(seed, key as u64)),
        }
    }

    /// The largest size, where there is one.
    pub fn largest(&self) -> Option<u32> {
        match *self {
            Size::Fixed(bytes) => Some(bytes),
            Size::Range { to, .. } => Some(to),
            Size::UsrKey { .. } => Some(21),
            _ => None,
        }
    }
}

/// Generalized extreme value, location 30.7984, scale 8.20449, shape 0.078688, by inversion.
fn etc_key(unit: f64) -> u32 {
    let e = -unit.max(1e-12).ln();
    (30.7984 + 8.20449 * (e.powf(-0.078688) - 1.0) / 0.078688).round().clamp(1.0, 250.0) as u32
}

/// Table 5: the shares of values of 0 to 14 bytes.
const ETC_SHORT: [f64; 15] = [
    0.00536, 0.00047, 0.17820, 0.09239, 0.00018, 0.02740, 0.00065, 0.00606, 0.00023, 0.00837, 0.00837,
    0.08989, 0.00092, 0.00326, 0.01980,
];

/// The short ones from the table, the others generalized Pareto: location 15, scale 214.476, shape 0.348238.
fn etc_value(random: &mut Random) -> u32 {
    let mut left = random.unit();
    for (bytes, share) in ETC_SHORT.iter().enumerate() {
        if left < *share {
            return bytes as u32;
        }
        left -= share;
    }
    let tail = (1.0 - random.unit()).powf(-0.348238) - 1.0;
    (15.0 + 214.476 * tail / 0.348238).min(4e9) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(size: &Size) -> f64 {
        (0..200_000).map(|k| size.of(k) as f64).sum::<f64>() / 200_000.0
    }

    #[test]
    fn means_are_the_published_ones() {
        for (text, want, tolerance) in [
            ("100", 100.0, 0.0),
            ("10-1000", 505.0, 5.0),
            ("lognormal:1000:1", 1000.0, 30.0),
            ("usr", 2.0, 0.0),
            // 56 % Pareto of mean 15 + 214.476 / (1 − 0.348238), the rest short.
            ("etc", 0.5584 * (15.0 + 329.1) + 2.5, 8.0),
        ] {
            let got = mean(&Size::parse_value(text, 1).unwrap());
            assert!((got - want).abs() <= tolerance, "{text}: {got} instead of {want}");
        }
        let key = mean(&Size::parse_key("etc", 1).unwrap());
        assert!((35.0..38.0).contains(&key), "{key}");
    }

    #[test]
    fn a_key_keeps_its_size() {
        let size = Size::parse_value("etc", 9).unwrap();
        assert!((0..1000).all(|k| size.of(k) == size.of(k)));
        assert_ne!(size.of(1), Size::parse_value("etc", 10).unwrap().of(1));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "x", "10-1", "lognormal:1", "lognormal:0:1", "-1"] {
            assert!(Size::parse_value(text, 1).is_err(), "{text}");
        }
    }
}
