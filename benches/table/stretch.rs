//! Work for one thread, prepared while no clock runs: which keys, and what is asked of each.

use cache::base::random::Random;

/// Operations of one stretch: long enough to time, short enough for the keys to stay in the second-level cache.
pub const STRETCH: usize = 8192;

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// Keys that are there.
    Hits,
    /// Keys that are not.
    Misses,
    /// So many percent of the operations store a value under a key that is there.
    Writes(u8),
    /// Each operation deletes the oldest key and inserts a fresh one.
    Replace,
}

/// Which keys are asked for, and how.
#[derive(Clone, Copy)]
pub struct Case {
    pub mix: Mix,
    pub zipf: bool,
    /// Lookups in flight, where the contestant can have more than one.
    pub batch: usize,
}

impl Case {
    pub fn name(&self) -> String {
        let mix = match self.mix {
            Mix::Hits => "hit".to_owned(),
            Mix::Misses => "miss".to_owned(),
            Mix::Writes(percent) => format!("{}/{percent}", 100 - percent),
            Mix::Replace => "replace".to_owned(),
        };
        format!("{mix}{}", if self.zipf { " zipf 0.99" } else { "" })
    }
}

/// A stretch of work.
pub struct Stretch {
    pub numbers: Vec<u64>,
    pub is_write: Vec<bool>,
    keys: Vec<u8>,
    /// The keys that take the place of `keys`; of [`Mix::Replace`] only.
    fresh: Vec<u8>,
    key_bytes: usize,
    items: u64,
}

impl Stretch {
    pub fn new(items: u64, key_bytes: usize) -> Stretch {
        Stretch {
            numbers: vec![0; STRETCH],
            is_write: vec![false; STRETCH],
            keys: vec![0; STRETCH * key_bytes],
            fresh: vec![0; STRETCH * key_bytes],
            key_bytes,
            items,
        }
    }

    /// Draws another stretch; `may_write` says whether this thread may write the key with that index. Keys below
    /// `oldest` have been replaced.
    pub fn draw(
        &mut self,
        case: &Case,
        oldest: u64,
        random: &mut Random,
        may_write: &dyn Fn(&Stretch, usize) -> bool,
    ) {
        for index in 0..STRETCH {
            self.is_write[index] = matches!(case.mix, Mix::Writes(percent) if random.chance(percent));
            loop {
                self.numbers[index] = match case.mix {
                    Mix::Replace => oldest + index as u64,
                    Mix::Misses => (1 << 40) + random.bits() % (1 << 40),
                    _ => oldest + self.rank(case, random),
                };
                key(self.numbers[index], &mut self.keys[index * self.key_bytes..][..self.key_bytes]);
                if !self.is_write[index] || may_write(self, index) {
                    break;
                }
            }
            if case.mix == Mix::Replace {
                let number = self.numbers[index] + self.items;
                key(number, &mut self.fresh[index * self.key_bytes..][..self.key_bytes]);
            }
        }
    }

    #[inline]
    pub fn key(&self, index: usize) -> &[u8] {
        &self.keys[index * self.key_bytes..][..self.key_bytes]
    }

    #[inline]
    pub fn fresh_key(&self, index: usize) -> &[u8] {
        &self.fresh[index * self.key_bytes..][..self.key_bytes]
    }

    fn rank(&self, case: &Case, random: &mut Random) -> u64 {
        if !case.zipf {
            return random.below(self.items);
        }
        // Zipf 0.99 by inversion of its continuous twin: close enough to exercise the caches.
        let uniform = random.unit();
        let x = (1.0 + uniform * ((self.items as f64).powf(0.01) - 1.0)).powf(100.0);
        (x as u64).min(self.items - 1)
    }
}

/// The key of a number: its digits, scattered, so that keys share no long prefix and neighbours in rank are strangers.
pub fn key(number: u64, buffer: &mut [u8]) {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for chunk in buffer.chunks_mut(8) {
        let bytes = state.to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
        state = (state ^ state >> 31).wrapping_mul(0xd6e8_feb8_6659_fd93);
    }
}
