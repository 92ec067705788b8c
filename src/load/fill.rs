//! Filling a cache: every key set once, the lost ones again, a bounded number of rounds.

use super::sizes::Size;
use super::workload::{Ask, Verb};

/// Rounds over the keys that are still missing; then they are reported as unfilled.
pub const FILL_ROUNDS_MAX: u32 = 10;

/// One thread's share of the keys to fill.
pub struct Fill {
    keys: u64,
    parts: u64,
    next: u64,
    part: u64,
    done: Vec<u64>,
    size: Size,
    ttl_s: u32,
}

impl Fill {
    /// Every key of `0..keys` that belongs to thread `part` of `parts`.
    pub fn new(keys: u64, part: usize, parts: usize, size: Size, ttl_s: u32) -> Fill {
        let (part, parts) = (part as u64, parts as u64);
        let words = keys.div_ceil(parts).div_ceil(64) as usize;
        Fill { keys, parts, part, next: part, done: vec![0; words], size, ttl_s }
    }

    /// The next key of this round that is not filled.
    pub fn draw(&mut self) -> Option<Ask> {
        while self.next < self.keys {
            let key = self.next;
            self.next += self.parts;
            if !self.is_done(key) {
                let value_bytes = self.size.of(key as u32);
                return Some(Ask { command: Verb::Set, key: key as u32, value_bytes, ttl_s: self.ttl_s });
            }
        }
        None
    }

    /// The key's set was acknowledged.
    pub fn filled(&mut self, key: u32) {
        let at = key as u64 / self.parts;
        self.done[at as usize / 64] |= 1 << (at % 64);
    }

    /// Starts over, at the first key that is missing.
    pub fn restart(&mut self) {
        self.next = self.part;
    }

    /// Keys not filled yet.
    pub fn missing(&self) -> u64 {
        let mine = (self.keys + self.parts - 1 - self.part) / self.parts;
        mine - self.done.iter().map(|word| word.count_ones() as u64).sum::<u64>()
    }

    fn is_done(&self, key: u64) -> bool {
        let at = key / self.parts;
        self.done[at as usize / 64] >> (at % 64) & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_keys_come_again_and_filled_ones_do_not() {
        for (keys, parts) in [(10, 1), (10, 3), (1, 2), (130, 2)] {
            let mut total = 0;
            for part in 0..parts {
                let mut fill = Fill::new(keys, part, parts, Size::Fixed(1), 0);
                let mine: Vec<u32> = std::iter::from_fn(|| fill.draw()).map(|a| a.key).collect();
                assert_eq!(fill.missing(), mine.len() as u64);
                for key in &mine[..mine.len().saturating_sub(1)] {
                    fill.filled(*key);
                }
                fill.restart();
                assert_eq!(fill.draw().map(|a| a.key), mine.last().copied());
                assert_eq!(fill.draw(), None);
                total += mine.len();
            }
            assert_eq!(total as u64, keys);
        }
    }
}
