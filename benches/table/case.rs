//! One row of the table: what is asked, of which keys, how many at a time.

use crate::field::{Field, key};
use crate::reference;
use sherwood::io::sim::Random;
use sherwood::table::{Found, Lookup};
use std::time::{Duration, Instant};

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// Reads only.
    Reads,
    /// So many percent of the operations replace the value of a key.
    Writes(u8),
    /// Deletes the oldest key and inserts a fresh one.
    Replace,
}

/// A row.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub batch: usize,
    pub misses: bool,
    pub mix: Mix,
    pub zipf: bool,
    pub is_reference: bool,
}

/// Keys that are prepared before the clock starts, for one stretch of work.
const STRETCH: usize = 8192;

impl Case {
    pub fn hits(name: &'static str, batch: usize) -> Case {
        Case { name, batch, misses: false, mix: Mix::Reads, zipf: false, is_reference: false }
    }

    pub fn reference(self) -> Case {
        Case { is_reference: true, ..self }
    }

    pub fn zipf(self) -> Case {
        Case { zipf: true, ..self }
    }

    /// Operations a second over about `time`, and a digest of what was copied. Keys are made outside the clock.
    pub fn run(&self, field: &mut Field, time: Duration, seed: u64) -> (f64, u64) {
        let mut random = Random::new(seed << 8 | 1);
        let (mut operations, mut digest, mut spent) = (0u64, 0u64, Duration::ZERO);
        let mut keys = vec![0u8; STRETCH * field.key_bytes];
        while spent < time {
            let numbers: Vec<u64> = (0..STRETCH).map(|_| self.draw(field, &mut random)).collect();
            for (number, buffer) in numbers.iter().zip(keys.chunks_mut(field.key_bytes)) {
                key(*number, buffer);
            }
            let begun = Instant::now();
            let (done, sum) = match self.mix {
                _ if self.is_reference => reference::run(field, &mut random, STRETCH),
                Mix::Replace => replace(field, STRETCH as u64),
                _ => self.stretch(field, &keys, &numbers, &mut random),
            };
            spent += begun.elapsed();
            operations += done;
            digest = digest.wrapping_add(sum);
        }
        (operations as f64 / spent.as_secs_f64(), digest)
    }

    fn draw(&self, field: &Field, random: &mut Random) -> u64 {
        if self.misses {
            return (1 << 40) + random.next_u64() % (1 << 40);
        }
        let rank = if self.zipf {
            // Zipf 0.99 by inversion of its continuous twin: close enough to exercise the caches.
            let uniform = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
            let n = field.count as f64;
            let x = (1.0 + uniform * (n.powf(0.01) - 1.0)).powf(100.0);
            (x as u64).min(field.count - 1)
        } else {
            random.below(field.count)
        };
        field.oldest + rank
    }

    fn stretch(&self, field: &mut Field, keys: &[u8], numbers: &[u64], random: &mut Random) -> (u64, u64) {
        let mut digest = 0u64;
        let mut copied = [0u8; 1024];
        let mut lookups: Vec<Lookup<'_>> = Vec::with_capacity(self.batch);
        let key_bytes = field.key_bytes;
        for (at, block) in keys.chunks(self.batch * key_bytes).enumerate() {
            lookups.clear();
            for (i, key) in block.chunks(key_bytes).enumerate() {
                if let Mix::Writes(percent) = self.mix
                    && random.chance(percent)
                {
                    field.insert(numbers[at * self.batch + i]);
                    continue;
                }
                lookups.push(Lookup { key, hash: field.hash.hash(key) });
            }
            let items = &field.items;
            field.table.find_batch(items, &lookups, |_, found| match found {
                Found::Hit(at) => {
                    let value = items.get(at).value();
                    copied[..value.len()].copy_from_slice(value);
                    digest = digest.wrapping_add(copied[7] as u64);
                }
                Found::Miss => digest = digest.wrapping_add(1),
                Found::Unsettled => panic!("the writer is this thread"),
            });
        }
        (numbers.len() as u64, digest)
    }
}

fn replace(field: &mut Field, count: u64) -> (u64, u64) {
    for _ in 0..count {
        let oldest = field.oldest;
        field.remove(oldest);
        field.insert(oldest + field.count);
        field.oldest += 1;
    }
    (count, field.oldest)
}
