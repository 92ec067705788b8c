//! One row of the table: what is asked, of which keys, how many at a time.

use crate::field::{Field, key};
use crate::reference;
use nix::time::{ClockId, clock_gettime};
use sherwood::io::sim::Random;
use sherwood::table::{Found, Lookup};
use std::time::Duration;

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
            let begun = processor_time();
            let (done, sum) = match self.mix {
                _ if self.is_reference => reference::run(field, &mut random, STRETCH),
                Mix::Replace => replace(field, STRETCH as u64),
                _ => self.stretch(field, &keys, &numbers, &mut random),
            };
            spent += processor_time() - begun;
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
        let mut writes: Vec<(u64, Lookup<'_>)> = Vec::with_capacity(self.batch);
        let key_bytes = field.key_bytes;
        for (at, block) in keys.chunks(self.batch * key_bytes).enumerate() {
            lookups.clear();
            writes.clear();
            for (i, key) in block.chunks(key_bytes).enumerate() {
                let lookup = Lookup { key, hash: field.hash.hash(key) };
                match self.mix {
                    Mix::Writes(percent) if random.chance(percent) => {
                        writes.push((numbers[at * self.batch + i], lookup));
                    }
                    _ => lookups.push(lookup),
                }
            }
            let of_writes: Vec<_> = writes.iter().map(|&(_, lookup)| lookup).collect();
            field.table.warm(&field.items, &of_writes);
            let items = &field.items;
            field.table.find_batch(items, &lookups, |_, found| match found {
                Found::Hit(at) => {
                    let value = items.get(at).value().whole().expect("a short value");
                    copied[..value.len()].copy_from_slice(value);
                    digest = digest.wrapping_add(copied[7] as u64);
                }
                Found::Miss => digest = digest.wrapping_add(1),
                Found::Unsettled => panic!("the writer is this thread"),
            });
            writes.iter().for_each(|&(number, lookup)| field.insert_hashed(number, lookup));
        }
        (numbers.len() as u64, digest)
    }
}

/// Time that this thread had a processor: what others take from it on a busy machine does not count.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock").into()
}

/// Deletes and inserts in blocks, as a worker does with the writes of a tick: first everything is brought close.
fn replace(field: &mut Field, count: u64) -> (u64, u64) {
    const BLOCK: u64 = 32;
    for _ in 0..count / BLOCK {
        let numbers = field.oldest..field.oldest + BLOCK;
        field.warm(numbers.clone());
        field.warm(numbers.start + field.count..numbers.end + field.count);
        for number in numbers {
            field.remove(number);
            field.insert(number + field.count);
        }
        field.oldest += BLOCK;
    }
    (count, field.oldest)
}
