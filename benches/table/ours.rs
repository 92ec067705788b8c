//! Our table at work, as a worker uses it: reads in batches over all shards, writes to its own, a tick between batches.

use crate::contest::Seat;
use crate::field::Shard;
use crate::stretch::{Case, Mix, Stretch};
use arrayvec::ArrayVec;
use cache::base::random::Random;
use cache::table::{Found, Lookup};
use std::ops::Range;

type Lookups<'a> = ArrayVec<Lookup<'a>, BATCH_MAX>;

/// A thread's shard at work.
pub struct Ours<'a>(pub &'a mut Shard);

/// Largest batch that is measured.
pub const BATCH_MAX: usize = 64;

const VALUE_BYTES_MAX: usize = 128;

impl Seat for Ours<'_> {
    fn may_write(&self, stretch: &Stretch, index: usize) -> bool {
        self.0.owns(stretch, index)
    }

    fn resume(&mut self) {
        self.0.online();
    }

    fn pause(&mut self) {
        self.0.offline();
    }

    fn work(&mut self, case: &Case, stretch: &Stretch, part: Range<usize>, _random: &mut Random) -> u64 {
        let mut digest = 0u64;
        for first in part.clone().step_by(case.batch) {
            let indexes = first..(first + case.batch).min(part.end);
            digest = digest.wrapping_add(match case.mix {
                Mix::Replace => self.replace(stretch, indexes),
                Mix::Hits if case.batch == 1 => self.one(stretch, first),
                _ => self.batch(stretch, indexes),
            });
            self.0.tick();
        }
        digest
    }
}

impl Ours<'_> {
    /// A read alone, with nothing else in flight.
    fn one(&mut self, stretch: &Stretch, index: usize) -> u64 {
        let (view, key) = (&*self.0.view, stretch.key(index));
        match view.tables[view.owner_of(key)].find(view, view.hash.hash(key), key) {
            Found::Hit(at) => {
                let mut copied = [0u8; VALUE_BYTES_MAX];
                let value = view.item(at).value().whole().expect("a short value");
                copied[..value.len()].copy_from_slice(value);
                std::hint::black_box(&copied)[7] as u64
            }
            Found::Miss | Found::Unsettled => 1,
        }
    }

    fn batch(&mut self, stretch: &Stretch, indexes: Range<usize>) -> u64 {
        let view = &*self.0.view;
        let mut reads: [Lookups<'_>; 2] = Default::default();
        let (mut writes, mut numbers) = (Lookups::new(), ArrayVec::<u64, BATCH_MAX>::new());
        for index in indexes {
            let key = stretch.key(index);
            let lookup = Lookup { key, hash: view.hash.hash(key), table: 0 };
            if stretch.is_write[index] {
                writes.push(lookup);
                numbers.push(stretch.numbers[index]);
            } else {
                reads[view.owner_of(key)].push(lookup);
            }
        }
        view.tables[self.0.index].warm(view, &writes);
        let mut copied = [0u8; VALUE_BYTES_MAX];
        let mut digest = 0u64;
        let mut take = |found| match found {
            Found::Hit(at) => {
                let value = view.item(at).value().whole().expect("a short value");
                copied[..value.len()].copy_from_slice(value);
                digest = digest.wrapping_add(copied[7] as u64);
            }
            // Unsettled: the server would ask the owner. Never seen in hits, rare in misses under writes.
            Found::Miss | Found::Unsettled => digest = digest.wrapping_add(1),
        };
        for (table, reads) in view.tables.iter().zip(&reads) {
            match reads.as_slice() {
                [] => {}
                [one] => take(table.find(view, one.hash, one.key)),
                many => table.find_batch(view, many, |_, found| take(found)),
            }
        }
        for (&number, &lookup) in numbers.iter().zip(&writes) {
            self.0.insert(number, lookup);
        }
        digest
    }

    fn replace(&mut self, stretch: &Stretch, indexes: Range<usize>) -> u64 {
        let view = &*self.0.view;
        let lookup = |key| Lookup { key, hash: view.hash.hash(key), table: 0 };
        let old: Lookups<'_> = indexes.clone().map(|index| lookup(stretch.key(index))).collect();
        let new: Lookups<'_> = indexes.clone().map(|index| lookup(stretch.fresh_key(index))).collect();
        view.tables[0].warm(view, &old);
        view.tables[0].warm(view, &new);
        for ((index, &old), &new) in indexes.zip(&old).zip(&new) {
            self.0.remove(old);
            self.0.insert(stretch.numbers[index], new);
        }
        old.len() as u64
    }
}
