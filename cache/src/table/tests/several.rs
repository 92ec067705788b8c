//! One batch over several tables against std's maps, and beside writers that move keys.

use super::*;
use crate::limits::{READ_BATCH_MAX, SHARDS_MAX};

const KEYS: u64 = 300;

/// Tables of several sizes, that grow or shrink, with what is in them.
struct Many {
    tables: Vec<Arc<Table>>,
    writers: Vec<Writer>,
    models: Vec<HashMap<u64, ItemRef>>,
    crowd: u32,
}

impl Many {
    fn new(count: usize, crowd: u32) -> Many {
        let table = |i| if i % 2 == 0 { Table::on_heap(8u64 << (i % 3), 3) } else { shrinkable() };
        let tables: Vec<_> = (0..count).map(table).collect();
        let writers = tables.iter().map(|table| table.writer().unwrap()).collect();
        Many { tables, writers, models: vec![HashMap::new(); count], crowd }
    }

    /// The same key has another item in each table.
    fn apply(&mut self, number: usize, table: usize, op: &Op) {
        let (writer, model) = (&mut self.writers[table], &mut self.models[table]);
        let version = (number * self.tables.len() + table) as u64 % 4096;
        match *op {
            Op::Upsert(key) | Op::Redirect(key) => {
                let new = item(key, version);
                let done = writer.upsert(&Numbers, hash(key, self.crowd), &key.to_le_bytes(), new);
                model.insert(key, new);
                if let Upsert::Evicted(victim) = done {
                    model.remove(&(victim.units() & 0xff_ffff));
                }
            }
            Op::Remove(key) | Op::RemoveItem(key) => {
                writer.remove(&Numbers, hash(key, self.crowd), &key.to_le_bytes());
                model.remove(&key);
            }
            Op::Resize(lines) => {
                let lost = |gone: ItemRef| _ = model.remove(&(gone.units() & 0xff_ffff));
                if table.is_multiple_of(2) { grow(writer, lines, lost) } else { shrink(writer, lines, lost) }
            }
        }
    }

    /// Looks up these keys in these tables, and compares with the maps.
    fn check(&self, asked: &[(usize, u64)]) {
        let keys: Vec<_> = asked.iter().map(|(_, key)| key.to_le_bytes()).collect();
        let lookups: Vec<_> = asked
            .iter()
            .zip(&keys)
            .map(|(&(table, n), key)| Lookup { key, hash: hash(n, self.crowd), table: table as u8 })
            .collect();
        let mut answers = Vec::new();
        find_in(|table| &self.tables[table], &Numbers, &lookups, |i, found| answers.push((i, found)));
        let want = |(i, (table, key)): (usize, &(usize, u64))| {
            (i, self.models[*table].get(key).map_or(Found::Miss, |&item| Found::Hit(item)))
        };
        assert_eq!(answers, asked.iter().enumerate().map(want).collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Batches of any length, over any choice of the tables, between changes: hits, misses, displaced keys, moves half done.
    #[test]
    fn several_tables_are_several_maps(
        count in 1usize..6,
        crowd in 0u32..4,
        rounds in prop::collection::vec(
            (
                prop::collection::vec((0usize..6, op(KEYS)), 1..300),
                prop::collection::vec((0usize..6, 1..=KEYS + 20), 0..4 * READ_BATCH_MAX + 3),
            ),
            1..5,
        ),
    ) {
        let mut many = Many::new(count, crowd);
        for (ops, asked) in &rounds {
            for (number, (table, op)) in ops.iter().enumerate() {
                many.apply(number, table % count, op);
            }
            many.check(&asked.iter().map(|&(table, key)| (table % count, key)).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_batch_has_lookups_for_as_many_tables_as_there_may_be() {
    let mut many = Many::new(SHARDS_MAX, 0);
    for table in 0..SHARDS_MAX {
        many.apply(table, table, &Op::Upsert(7));
    }
    let asked: Vec<_> = (0..SHARDS_MAX).rev().flat_map(|table| [(table, 7), (table, 8)]).collect();
    many.check(&asked);
    many.check(&[]);
}

/// One table doubles, another one replaces everything but its static keys: a batch over both finds all static keys.
#[test]
fn a_batch_over_tables_that_move_keys_misses_none() {
    let (growing, churning) = (Table::on_heap(64, 3), Table::on_heap(64, 0));
    let (mut grower, mut churner) = (growing.writer().unwrap(), churning.writer().unwrap());
    let statics = 64 * LINE_SLOTS as u64 * 4 / 10;
    for key in 1..=2 * statics {
        for writer in [&mut grower, &mut churner] {
            writer.upsert(&Numbers, hash(key, 0), &key.to_le_bytes(), item(key, 0));
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_both(&stop, [&growing, &churning], statics));
        let mut newest = 2 * statics;
        while growing.state().doublings() < 3 || newest < 50 * statics {
            grow(&mut grower, 1, |_| panic!("no key is lost at half the load"));
            newest += 1;
            let oldest = newest - statics;
            assert!(churner.remove(&Numbers, hash(oldest, 0), &oldest.to_le_bytes()).is_some());
            churner.upsert(&Numbers, hash(newest, 0), &newest.to_le_bytes(), item(newest, 0));
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
}

/// Reads keys `1..=statics` of both tables in batches, and keys that were never there, until `stop`.
fn read_both(stop: &AtomicBool, tables: [&Table; 2], statics: u64) {
    let absent = 1 << 23;
    let numbers = (1..=statics).flat_map(|key| [key, absent + key]);
    let keys: Vec<_> = numbers.map(|key| (key, key.to_le_bytes())).collect();
    let asked = keys.iter().flat_map(|(n, key)| [0, 1].map(|table| Lookup { key, hash: hash(*n, 0), table }));
    let lookups: Vec<_> = asked.collect();
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) || rounds < 100 {
        for batch in lookups.chunks(3 * READ_BATCH_MAX + 1) {
            find_in(
                |table| tables[table],
                &Numbers,
                batch,
                |i, found| {
                    let number = u64::from_le_bytes(batch[i].key.try_into().unwrap());
                    match found {
                        Found::Hit(at) => {
                            assert_eq!(at.units() & 0xff_ffff, number, "a key that was never there")
                        }
                        Found::Miss => {
                            assert!(number > absent, "static key {number} of table {}", batch[i].table)
                        }
                        Found::Unsettled => {}
                    }
                },
            );
        }
        rounds += 1;
    }
}
