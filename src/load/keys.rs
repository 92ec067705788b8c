//! Keys: which one is asked for next (popularity), and how a key's number becomes its bytes.
//!
//! A key is a number in `0..keys` everywhere inside the load generator; only the encoder sees bytes. Popular ranks
//! are scattered over the numbers by a bijection, so that a filled cache does not hold the hot keys side by side.

use crate::random::Random;
use super::sizes::Size;
use super::zipf::Zipf;
use crate::config::limits::KEY_BYTES_MAX;

/// How popular each key is.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    /// Every key alike.
    Uniform,
    /// Zipf's law with this exponent.
    Zipf(f64),
    /// This share of the keys gets that share of the requests.
    Hotspot(f64, f64),
    /// One after the other, from the first again at the end.
    Sequential,
}

impl std::str::FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Distribution, String> {
        let wrong =
            || format!("`{text}` is not a distribution (uniform, zipf:0.99, hotspot:0.1:0.9, sequential)");
        let parts: Vec<&str> = text.split(':').collect();
        let number = |at: usize| parts[at].parse::<f64>().map_err(|_| wrong());
        match (parts[0], parts.len()) {
            ("uniform", 1) => Ok(Distribution::Uniform),
            ("sequential", 1) => Ok(Distribution::Sequential),
            ("zipf", 2) if (0.0..=10.0).contains(&number(1)?) => Ok(Distribution::Zipf(number(1)?)),
            ("hotspot", 3) => {
                let (keys, requests) = (number(1)?, number(2)?);
                let valid = keys > 0.0 && keys <= 1.0 && (0.0..=1.0).contains(&requests);
                if valid { Ok(Distribution::Hotspot(keys, requests)) } else { Err(wrong()) }
            }
            _ => Err(wrong()),
        }
    }
}

/// Draws keys in `0..keys`.
#[derive(Clone, Debug)]
pub struct Popularity {
    keys: u64,
    kind: Kind,
    scatter: u64,
}

#[derive(Clone, Debug)]
enum Kind {
    Uniform,
    Zipf(Zipf),
    Hotspot { hot: u64, share: f64 },
    Sequential { next: u64, step: u64 },
}

impl Popularity {
    /// Popularity over `keys` ≥ 1 keys. Thread `part` of `parts` takes every `parts`-th key of a sequence.
    pub fn new(distribution: &Distribution, keys: u64, part: u64, parts: u64) -> Popularity {
        assert!(keys >= 1 && part < parts);
        let kind = match *distribution {
            Distribution::Uniform => Kind::Uniform,
            Distribution::Zipf(exponent) => Kind::Zipf(Zipf::new(keys, exponent)),
            Distribution::Hotspot(hot, share) => {
                Kind::Hotspot { hot: ((keys as f64 * hot) as u64).clamp(1, keys), share }
            }
            Distribution::Sequential => Kind::Sequential { next: part % keys, step: parts },
        };
        Popularity { keys, kind, scatter: coprime(keys) }
    }

    /// The next key.
    #[inline]
    pub fn draw(&mut self, random: &mut Random) -> u32 {
        let rank = match &mut self.kind {
            Kind::Uniform => return random.below(self.keys) as u32,
            Kind::Sequential { next, step } => {
                let key = *next;
                *next = (*next + *step) % self.keys;
                return key as u32;
            }
            Kind::Zipf(zipf) => zipf.draw(random),
            Kind::Hotspot { hot, share } => {
                let (hot, share) = (*hot, *share);
                let cold = self.keys - hot;
                if cold == 0 || random.unit() < share { random.below(hot) } else { hot + random.below(cold) }
            }
        };
        // Keys are below 2^32 and so is the factor: no overflow.
        (rank * self.scatter % self.keys) as u32
    }
}

/// A factor without a common divisor with `keys`, so that multiplying by it modulo `keys` is a bijection;
/// near the golden section, so that neighbours land far apart.
fn coprime(keys: u64) -> u64 {
    let start = ((keys as f64 * 0.618_033_988_75) as u64).max(1);
    (start..).find(|&f| gcd(f, keys) == 1).expect("every number has a coprime above it")
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The bytes of every key.
#[derive(Clone, Debug)]
pub struct KeySpace {
    /// The number written for each key; empty: the key's own number.
    names: std::sync::Arc<[u64]>,
    keys: u64,
    size: Size,
    digits_min: usize,
}

impl KeySpace {
    /// Keys `0..keys` written as their numbers, each `size` bytes long.
    ///
    /// # Errors
    /// No keys, too many, or more keys than the size has hexadecimal digits for.
    pub fn numbered(keys: u64, size: Size) -> Result<KeySpace, String> {
        if keys == 0 || keys > u32::MAX as u64 {
            return Err(format!("--keys {keys}: between 1 and {}", u32::MAX));
        }
        KeySpace::checked(std::sync::Arc::from([]), keys, size, keys - 1)
    }

    /// Keys that are written as the numbers in `names` (a trace's).
    ///
    /// # Errors
    /// As [`KeySpace::numbered`].
    pub fn named(names: Vec<u64>, size: Size) -> Result<KeySpace, String> {
        let (keys, largest) = (names.len() as u64, names.iter().copied().max().unwrap_or(0));
        if keys == 0 || keys > u32::MAX as u64 {
            return Err(format!("{keys} keys in the trace: between 1 and {}", u32::MAX));
        }
        KeySpace::checked(names.into(), keys, size, largest)
    }

    fn checked(
        names: std::sync::Arc<[u64]>,
        keys: u64,
        size: Size,
        largest: u64,
    ) -> Result<KeySpace, String> {
        let digits_min = (64 - largest.leading_zeros()).div_ceil(4).max(1) as usize;
        if let Size::Fixed(bytes) = size
            && (bytes as usize) < digits_min
        {
            return Err(format!("--key-size {bytes} is too short: these keys need {digits_min} bytes"));
        }
        if size.largest().is_some_and(|bytes| bytes as usize > KEY_BYTES_MAX) {
            return Err(format!("--key-size: a key has at most {KEY_BYTES_MAX} bytes"));
        }
        Ok(KeySpace { names, keys, size, digits_min })
    }

    /// Keys there are.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Writes a key's bytes to the front of `out` and returns them: hexadecimal, zeros before it.
    #[inline]
    pub fn write<'a>(&self, key: u32, out: &'a mut KeyBuffer) -> &'a [u8] {
        let bytes = (self.size.of(key) as usize).clamp(self.digits_min, KEY_BYTES_MAX);
        let mut number = if self.names.is_empty() { key as u64 } else { self.names[key as usize] };
        let text = &mut out[..bytes];
        for byte in text.iter_mut().rev() {
            *byte = b"0123456789abcdef"[(number & 15) as usize];
            number >>= 4;
        }
        text
    }
}

/// Room for one key.
pub type KeyBuffer = [u8; KEY_BYTES_MAX];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn counts(distribution: Distribution, keys: u64) -> Vec<u64> {
        let mut popularity = Popularity::new(&distribution, keys, 0, 1);
        let mut random = Random::new(5);
        let mut counts = vec![0; keys as usize];
        for _ in 0..100_000 {
            counts[popularity.draw(&mut random) as usize] += 1;
        }
        counts
    }

    #[test]
    fn shares_are_what_the_name_says() {
        assert!(counts(Distribution::Uniform, 10).iter().all(|c| (9_500..10_500).contains(c)));
        assert!(counts(Distribution::Sequential, 10).iter().all(|&c| c == 10_000));
        let mut hot = counts(Distribution::Hotspot(0.1, 0.9), 100);
        hot.sort_unstable_by(|a, b| b.cmp(a));
        assert!((89_000..91_000).contains(&hot[..10].iter().sum::<u64>()));
        let mut zipf = counts(Distribution::Zipf(1.0), 100);
        zipf.sort_unstable_by(|a, b| b.cmp(a));
        assert!((18_500..20_000).contains(&zipf[0]), "1 / H(100) = 19.3 %, got {}", zipf[0]);
    }

    #[test]
    fn scattering_is_a_bijection() {
        for keys in [1u64, 2, 10, 97, 1000, 4096] {
            let factor = coprime(keys);
            let all: HashSet<u64> = (0..keys).map(|k| k * factor % keys).collect();
            assert_eq!(all.len() as u64, keys);
        }
    }

    #[test]
    fn keys_differ_and_have_their_size() {
        for size in ["16", "6-40", "etc", "usr"] {
            let size = Size::parse_key(size, 1).unwrap();
            let space = KeySpace::numbered(5000, size).unwrap();
            let mut buffer = [0; KEY_BYTES_MAX];
            let texts: HashSet<Vec<u8>> = (0..5000).map(|k| space.write(k, &mut buffer).to_vec()).collect();
            assert_eq!(texts.len(), 5000);
            assert!(texts.iter().all(|t| t.len() >= 4 && t.iter().all(u8::is_ascii_graphic)));
        }
        assert!(KeySpace::numbered(1_000_000, Size::Fixed(4)).is_err());
        assert!(KeySpace::numbered(10, Size::Fixed(251)).is_err());
    }

    #[test]
    fn distributions_parse() {
        assert_eq!("zipf:0.99".parse(), Ok(Distribution::Zipf(0.99)));
        assert_eq!("hotspot:0.1:0.9".parse(), Ok(Distribution::Hotspot(0.1, 0.9)));
        for text in ["", "zipf", "zipf:x", "hotspot:0:1", "pareto", "uniform:1"] {
            assert!(text.parse::<Distribution>().is_err(), "{text}");
        }
    }
}
