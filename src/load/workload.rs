//! What is asked: commands, their mix, and the synthetic source of them.

use super::keys::Popularity;
use super::sizes::Size;
use cache::base::random::Random;

/// What a request does to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Read.
    Get,
    /// Write.
    Set,
    /// Remove.
    Delete,
    /// Change the time to live.
    Touch,
}

impl Verb {
    /// All of them, in the order of their numbers.
    pub const ALL: [Verb; 4] = [Verb::Get, Verb::Set, Verb::Delete, Verb::Touch];

    /// Its name on the command line, in JSON and as a tag.
    pub fn name(self) -> &'static str {
        ["get", "set", "delete", "touch"][self as usize]
    }
}

/// One thing to ask of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What.
    pub command: Verb,
    /// The key's number.
    pub key: u32,
    /// Bytes of its value (set; and the set that follows a miss of a trace).
    pub value_bytes: u32,
    /// Seconds to live, 0 = for ever (set and touch).
    pub ttl_s: u32,
}

/// Shares of the commands.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    /// Upper ends of each command's share of 0..1, in the order of [`Verb::ALL`].
    until: [f64; 4],
}

impl std::str::FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Mix, String> {
        let wrong = || format!("`{text}` is not a mix (example: get:95,set:5; also delete, touch)");
        let mut weights = [0.0; 4];
        for part in text.split(',') {
            let (name, weight) = part.split_once(':').ok_or_else(wrong)?;
            let command = Verb::ALL.into_iter().find(|c| c.name() == name.trim()).ok_or_else(wrong)?;
            let weight: f64 = weight.trim().parse().map_err(|_| wrong())?;
            if !(0.0..=1e9).contains(&weight) {
                return Err(wrong());
            }
            weights[command as usize] += weight;
        }
        let sum: f64 = weights.iter().sum();
        if sum <= 0.0 {
            return Err(wrong());
        }
        let mut end = 0.0;
        let until = weights.map(|w| {
            end += w / sum;
            end
        });
        Ok(Mix { until })
    }
}

impl Mix {
    /// Draws a command.
    #[inline]
    pub fn draw(&self, random: &mut Random) -> Verb {
        let u = random.unit();
        match self.until.iter().position(|&end| u < end) {
            Some(at) => Verb::ALL[at],
            // Rounding may leave the last end a hair below 1: the last command with a share takes it.
            None => {
                Verb::ALL[(0..4).rev().find(|&i| i == 0 || self.until[i] > self.until[i - 1]).unwrap_or(0)]
            }
        }
    }

    /// The share of a command, in 0..=1.
    pub fn share(&self, command: Verb) -> f64 {
        let at = command as usize;
        self.until[at] - if at == 0 { 0.0 } else { self.until[at - 1] }
    }
}

/// A source of asks drawn from a seed.
#[derive(Clone, Debug)]
pub struct Synthetic {
    /// Its own stream: what is asked does not depend on when, nor on what comes back.
    pub random: Random,
    /// Which command.
    pub mix: Mix,
    /// Which key.
    pub popularity: Popularity,
    /// How large its value is.
    pub value_size: Size,
    /// Seconds to live, 0 = for ever.
    pub ttl_s: u32,
    /// Asks that are left.
    pub left: u64,
}

impl Synthetic {
    /// The next ask; `None` after the last.
    #[inline]
    pub fn draw(&mut self) -> Option<Ask> {
        self.left = self.left.checked_sub(1)?;
        let command = self.mix.draw(&mut self.random);
        let key = self.popularity.draw(&mut self.random);
        let value_bytes = if command == Verb::Set { self.value_size.of(key) } else { 0 };
        Some(Ask { command, key, value_bytes, ttl_s: self.ttl_s })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::keys::Distribution;

    #[test]
    fn a_mix_is_drawn_in_its_shares() {
        let mix: Mix = "get:90, set:5,delete:3,touch:2".parse().unwrap();
        let mut random = Random::new(1);
        let mut counts = [0; 4];
        for _ in 0..100_000 {
            counts[mix.draw(&mut random) as usize] += 1;
        }
        for (count, want) in counts.into_iter().zip([90_000, 5_000, 3_000, 2_000]) {
            assert!((want - 500..want + 500).contains(&count), "{counts:?}");
        }
        assert!((mix.share(Verb::Set) - 0.05).abs() < 1e-9);
        for text in ["", "get", "get:x", "put:1", "get:0", "get:-1"] {
            assert!(text.parse::<Mix>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_same_seed_asks_the_same() {
        let asks = |seed| {
            let mut source = Synthetic {
                random: Random::new(seed),
                mix: "get:9,set:1".parse().unwrap(),
                popularity: Popularity::new(&Distribution::Zipf(0.99), 1000, 0, 1),
                value_size: Size::parse_value("etc", 1).unwrap(),
                ttl_s: 0,
                left: 1000,
            };
            let asks: Vec<Ask> = std::iter::from_fn(|| source.draw()).collect();
            assert_eq!(asks.len(), 1000);
            asks
        };
        assert_eq!(asks(1), asks(1));
        assert_ne!(asks(1), asks(2));
    }
}
