//! One thread that reads the tables of several shards, as a worker does: one batch for each table, or one over all of them.
//!
//! ```text
//! apart       sort the lookups of a batch by table │ table 0: lines, items, compare │ table 1: lines, items, … │ copy values
//! together    all tables: lines, items, compare                                                                │ copy values
//! ```
//! Both copy the values afterwards, in the order of the lookups, as replies do.

use crate::contest::{self, Contestant, Round, Seat};
use crate::field::{Field, Size, View};
use crate::options::Options;
use crate::rows::{self, Row, Rows};
use crate::stretch::{Case, Mix, Stretch};
use arrayvec::ArrayVec;
use cache::base::random::Random;
use cache::table::{Found, Lookup, find_in};
use std::ops::Range;
use std::sync::Arc;

/// Lookups of a batch. A worker has 128 at most.
const BATCHES: [usize; 4] = [32, 64, 128, 256];
const BATCH_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 128;

type Lookups<'a> = ArrayVec<Lookup<'a>, BATCH_MAX>;
type Answers = [Found; BATCH_MAX];

/// The two ways to look up keys of several tables.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Apart,
    Together,
}

/// Measures `count` tables of as many items each as one table is asked to have.
pub fn measure(options: &Options, count: usize, rows: &mut Rows) {
    let one = options.size(count);
    let size = Size { items: one.items * count as u64, ..one };
    let field = Field::new(size);
    println!(
        "{count} tables of {} items, {}-byte keys, load {}, {} pages, one thread, {} rounds of {:?}",
        one.items, size.key_bytes, size.load, field.pages, options.rounds, options.time
    );
    rows.head();
    let size = Size { threads: 1, ..size };
    for case in cases().filter(|case| options.wants(&case.name())) {
        let (mut rates, mut digests) = ([Vec::new(), Vec::new()], [0u64; 2]);
        for seed in 0..options.rounds as u64 {
            let (items, key_bytes) = (size.items, size.key_bytes);
            let round = Round { items, key_bytes, threads: 1, time: options.time, seed };
            // In turn: what is faster because it comes second is so every other time.
            let ways = [Way::Apart, Way::Together];
            for index in [seed as usize % 2, 1 - seed as usize % 2] {
                let mut reader = Reader { view: Arc::clone(&field.shards[0].view), way: ways[index] };
                let (rate, digest) = contest::run(&mut reader, &case, &round, &mut 0);
                rates[index].push(rate);
                digests[index] = digests[index].wrapping_add(digest);
            }
        }
        for (index, way) in ["apart", "together"].iter().enumerate() {
            rows.put(&Row {
                size,
                pages: &field.pages,
                case: format!("{} of {count}", case.name()),
                who: way,
                batch: case.batch,
                rate: contest::median(&rates[index]),
                of_reference: None,
                of_ours: Some(rows::ratio(&rates[index], &rates[1])),
                bytes_per_item: None,
                digest: digests[index],
            });
        }
    }
}

fn cases() -> impl Iterator<Item = Case> {
    let mixes = [(Mix::Hits, false), (Mix::Hits, true), (Mix::Misses, false)];
    mixes.into_iter().flat_map(|(mix, zipf)| BATCHES.map(|batch| Case { mix, zipf, batch }))
}

struct Reader {
    view: Arc<View>,
    way: Way,
}

impl Contestant for Reader {
    fn seats(&mut self, _threads: usize) -> Vec<Box<dyn Seat + '_>> {
        vec![Box::new(Reader { view: Arc::clone(&self.view), way: self.way })]
    }
}

impl Seat for Reader {
    fn work(&mut self, case: &Case, stretch: &Stretch, part: Range<usize>, _random: &mut Random) -> u64 {
        let view = &*self.view;
        let mut digest = 0u64;
        for first in part.clone().step_by(case.batch) {
            let keys = (first..(first + case.batch).min(part.end)).map(|index| stretch.key(index));
            let lookup = |key| Lookup { key, hash: view.hash.hash(key), table: view.owner_of(key) as u8 };
            let lookups: Lookups<'_> = keys.map(lookup).collect();
            let mut answers = [Found::Miss; BATCH_MAX];
            match self.way {
                Way::Apart => apart(view, &lookups, &mut answers),
                Way::Together => {
                    find_in(|n| &view.tables[n], view, &lookups, |i, found| answers[i] = found);
                }
            }
            digest = digest.wrapping_add(copy(view, &answers[..lookups.len()]));
        }
        digest
    }
}

/// A batch for each table.
fn apart(view: &View, lookups: &Lookups<'_>, answers: &mut Answers) {
    for (number, table) in view.tables.iter().enumerate() {
        let (mut own, mut places) = (Lookups::new(), ArrayVec::<u8, BATCH_MAX>::new());
        for (i, lookup) in lookups.iter().enumerate().filter(|(_, lookup)| lookup.table as usize == number) {
            own.push(*lookup);
            places.push(i as u8);
        }
        table.find_batch(view, &own, |i, found| answers[places[i] as usize] = found);
    }
}

fn copy(view: &View, answers: &[Found]) -> u64 {
    let mut copied = [0u8; VALUE_BYTES_MAX];
    let mut digest = 0u64;
    for &answer in answers {
        digest = digest.wrapping_add(match answer {
            Found::Hit(at) => {
                let value = view.item(at).value().whole().expect("a short value");
                copied[..value.len()].copy_from_slice(value);
                copied[7] as u64
            }
            Found::Miss | Found::Unsettled => 1,
        });
    }
    digest
}
