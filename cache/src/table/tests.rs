//! The table against std's map, its order invariant, and readers against a full-speed writer.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

mod several;
mod walking;

/// Keys without items: the key of item n is n itself.
struct Numbers;

impl Keys for Numbers {
    fn key_is(&self, at: ItemRef, key: &[u8]) -> bool {
        // Versions of a key differ in the bits above 2^24.
        (at.units() & 0xff_ffff).to_le_bytes() == key
    }
    fn prefetch(&self, _at: ItemRef) {}
}

fn item(key: u64, version: u64) -> ItemRef {
    ItemRef::new(key | version << 24).unwrap()
}

/// A hash that fills few homes, so that runs are long, or a good one.
fn hash(key: u64, crowd: u32) -> u64 {
    let mixed = (key ^ key >> 7).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 31).wrapping_mul(0xd6e8_feb8_6659_fd93) << crowd >> crowd
}

impl Table {
    /// Keys stand in the order of their homes, none before its home or beyond the bound, no gaps before a displaced one.
    fn check_order(&self) {
        let shape = self.shape();
        let mut latest = 0;
        let mut gap_at = None;
        for line in shape.front()..shape.now().base() + self.lines() as usize + PROBE_LINES_MAX {
            let slots: Vec<_> =
                self.all_lines()[line].iter().map(|s| Slot::from_word(s.load(Ordering::Relaxed))).collect();
            let homes: Vec<_> =
                slots.iter().filter(|s| !s.is_free()).map(|s| line - s.displacement(line)).collect();
            for &home in &homes {
                assert!(line - home < PROBE_LINES_MAX);
                assert!(home >= latest || line == home, "line {line}: home {home} after {latest}");
                assert!(home == line || gap_at != Some(line - 1), "line {line}: displaced behind a gap");
            }
            if homes.len() < LINE_SLOTS {
                gap_at = Some(line);
            }
            latest = homes.iter().copied().max().unwrap_or(latest);
        }
    }
}

/// Grows by `lines` lines' work, at most three doublings in all; a crowd of keys may lose some.
fn grow(writer: &mut Writer, lines: u64, lost: impl FnMut(ItemRef)) {
    if !writer.is_growing() {
        let doublings = writer.table().state().doublings();
        if doublings == 3 {
            return;
        }
        let lines = writer.table().lines() >> doublings;
        writer.begin_growth(Table::first_word_after(lines, doublings + 1));
    }
    writer.grow(lines, lost);
}

/// A table of 64 lines that may halve twice, its arrays one behind the other.
fn shrinkable() -> Arc<Table> {
    let words = end_of_halves(3) + LINE_SLOTS - 1;
    let slots: Box<[AtomicU64]> = (0..words).map(|_| AtomicU64::new(0)).collect();
    Table::new(Arc::new(slots), 0, 64, 2)
}

/// First word behind the arrays of 64 lines, of half and of a quarter of that, so many of them.
fn end_of_halves(arrays: u32) -> usize {
    const ALIGNMENT: usize = LINE_SLOTS << probe::HOME_BITS;
    (0..arrays).map(|n| Table::slots_for(64 >> n).next_multiple_of(ALIGNMENT)).sum()
}

/// Shrinks by `lines` lines' work, down to a quarter of the lines; a crowd of keys may lose some.
fn shrink(writer: &mut Writer, lines: u64, lost: impl FnMut(ItemRef)) {
    if !writer.is_growing() {
        match writer.table().state().doublings() {
            0 => return,
            doublings => writer.begin_shrinking(end_of_halves(3 - doublings)),
        }
    }
    writer.grow(lines, lost);
}

#[derive(Clone, Debug)]
enum Op {
    Upsert(u64),
    Remove(u64),
    RemoveItem(u64),
    Redirect(u64),
    Resize(u64),
}

fn op(keys: u64) -> impl Strategy<Value = Op> {
    let key = 1..=keys;
    prop_oneof![
        3 => key.clone().prop_map(Op::Upsert),
        2 => key.clone().prop_map(Op::Remove),
        1 => key.clone().prop_map(Op::RemoveItem),
        1 => key.prop_map(Op::Redirect),
        1 => (1u64..20).prop_map(Op::Resize),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_is_a_map(
        crowd in 0u32..4,
        grows in any::<bool>(),
        ops in prop::collection::vec(op(300), 1..1200),
    ) {
        let table = if grows { Table::on_heap(32, 3) } else { shrinkable() };
        let resize = |writer: &mut Writer, lines, lost: &mut dyn FnMut(ItemRef)| match grows {
            true => grow(writer, lines, lost),
            false => shrink(writer, lines, lost),
        };
        let mut writer = table.writer().unwrap();
        let mut model: HashMap<u64, ItemRef> = HashMap::new();
        for (version, op) in ops.iter().enumerate() {
            let version = version as u64 % 4096;
            match *op {
                Op::Upsert(key) => {
                    let new = item(key, version);
                    match writer.upsert(&Numbers, hash(key, crowd), &key.to_le_bytes(), new) {
                        Upsert::Inserted => prop_assert_eq!(model.insert(key, new), None),
                        Upsert::Replaced(old) => prop_assert_eq!(model.insert(key, new), Some(old)),
                        Upsert::Evicted(victim) => {
                            prop_assert_eq!(model.insert(key, new), None);
                            prop_assert_eq!(model.remove(&(victim.units() & 0xff_ffff)), Some(victim));
                        }
                    }
                }
                Op::Remove(key) => {
                    let gone = writer.remove(&Numbers, hash(key, crowd), &key.to_le_bytes());
                    prop_assert_eq!(gone, model.remove(&key));
                }
                Op::RemoveItem(key) => {
                    let held = model.get(&key).copied().unwrap_or(item(key, 4095));
                    let gone = writer.remove_item((hash(key, crowd) >> 32) as u32, held);
                    prop_assert_eq!(gone, model.remove(&key).is_some());
                }
                Op::Redirect(key) => {
                    let held = model.get(&key).copied().unwrap_or(item(key, 4095));
                    let moved = writer.redirect((hash(key, crowd) >> 32) as u32, held, item(key, version));
                    prop_assert_eq!(moved, model.contains_key(&key));
                    model.entry(key).and_modify(|at| *at = item(key, version));
                }
                Op::Resize(lines) => resize(&mut writer, lines, &mut |gone| {
                    model.remove(&(gone.units() & 0xff_ffff));
                }),
            }
            prop_assert_eq!(writer.items(), model.len() as u64);
        }
        table.check_order();
        let keys: Vec<_> = (1..=300u64).map(u64::to_le_bytes).collect();
        let lookups: Vec<_> =
            keys.iter().zip(1..).map(|(key, n)| Lookup { key, hash: hash(n, crowd), table: 0 }).collect();
        let want = |i: usize| model.get(&(i as u64 + 1)).map_or(Found::Miss, |&item| Found::Hit(item));
        {
            let table = Arc::clone(&table);
            let mut answers = 0;
            table.find_batch(&Numbers, &lookups, |i, found| {
                assert_eq!(i, answers);
                assert_eq!(found, want(i));
                answers += 1;
            });
            prop_assert_eq!(answers, 300);
        }
        for (i, lookup) in lookups.iter().enumerate() {
            prop_assert_eq!(table.find(&Numbers, lookup.hash, lookup.key), want(i));
        }
    }
}

#[test]
fn a_crowded_insert_takes_the_place_of_another_key() {
    let table = Table::on_heap(4, 0);
    let mut writer = table.writer().unwrap();
    let mut crowded = 0;
    for key in 1..2000u64 {
        if let Upsert::Evicted(victim) =
            writer.upsert(&Numbers, hash(key, 0), &key.to_le_bytes(), item(key, 0))
        {
            crowded += 1;
            let gone = victim.units();
            assert_eq!(table.find(&Numbers, hash(gone, 0), &gone.to_le_bytes()), Found::Miss);
        }
        assert_eq!(table.find(&Numbers, hash(key, 0), &key.to_le_bytes()), Found::Hit(item(key, 0)));
        table.check_order();
    }
    assert!(crowded > 1000);
    assert_eq!(writer.items() + crowded, 1999);
}

#[test]
fn keys_are_the_same_when_all_bytes_are() {
    for length in 0..40 {
        let key: Vec<u8> = (0..length).collect();
        assert!(same(&key, &key.clone()));
        for at in 0..length as usize {
            let mut other = key.clone();
            other[at] ^= 0x80;
            assert!(!same(&key, &other), "byte {at} of {length}");
        }
        assert!(!same(&key, &[&key[..], b"x"].concat()));
    }
}

#[test]
fn there_is_one_writer() {
    let table = Table::on_heap(4, 0);
    assert!(table.writer().is_some());
    assert!(table.writer().is_none());
}

/// Static keys are always found while a writer replaces everything else, and lines per hit stay low.
#[test]
fn churn_hides_no_static_key() {
    let lines = 256;
    let table = Table::on_heap(lines, 0);
    let mut writer = table.writer().unwrap();
    let live = table.capacity() * 8 / 10;
    let statics = live / 2;
    for key in 1..=live {
        writer.upsert(&Numbers, hash(key, 0), &key.to_le_bytes(), item(key, 0));
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0u64;
            let mut unsettled = 0u64;
            while !stop.load(Ordering::Relaxed) || reads < 200_000 {
                let key = 1 + reads % statics;
                match table.find(&Numbers, hash(key, 0), &key.to_le_bytes()) {
                    Found::Hit(_) => {}
                    Found::Miss => panic!("static key {key} missed after {reads} reads"),
                    Found::Unsettled => unsettled += 1,
                }
                reads += 1;
            }
            (reads, unsettled)
        });
        for newest in live + 1..=101 * live {
            let oldest = newest - (live - statics);
            assert!(writer.remove(&Numbers, hash(oldest, 0), &oldest.to_le_bytes()).is_some());
            writer.upsert(&Numbers, hash(newest, 0), &newest.to_le_bytes(), item(newest, 0));
        }
        stop.store(true, Ordering::Relaxed);
        let (reads, unsettled) = reader.join().unwrap();
        assert!(unsettled * 10 < reads, "{unsettled} of {reads} reads unsettled");
    });
    table.check_order();
    let lines_per_hit = table.lines_per_hit();
    assert!(lines_per_hit <= 1.16, "{lines_per_hit} lines per hit after 100 replacements");
}

impl Table {
    fn lines_per_hit(&self) -> f64 {
        let (mut keys, mut lines) = (0, 0);
        let base = self.shape().now().base();
        for line in base..base + self.lines() as usize + PROBE_LINES_MAX {
            for slot in &self.all_lines()[line] {
                let slot = Slot::from_word(slot.load(Ordering::Relaxed));
                keys += !slot.is_free() as usize;
                lines += if slot.is_free() { 0 } else { 1 + slot.displacement(line) };
            }
        }
        lines as f64 / keys as f64
    }
}

/// Reads keys `1..=statics`, which stay, and others, which never were, until `stop`; 100,000 of each at least.
fn read_until(stop: &AtomicBool, table: &Table, statics: u64) {
    let mut reads = 0u64;
    while !stop.load(Ordering::Relaxed) || reads < 100_000 {
        let key = 1 + reads % statics;
        let found = table.find(&Numbers, hash(key, 0), &key.to_le_bytes());
        assert_ne!(found, Found::Miss, "static key {key} missed after {reads} reads");
        let key = statics * 100 + reads;
        let found = table.find(&Numbers, hash(key, 0), &key.to_le_bytes());
        assert!(!matches!(found, Found::Hit(_)), "key {key} was never there");
        reads += 1;
    }
}

/// A table doubles three times under a full-speed reader and between writes: nothing is lost, nothing is missed.
#[test]
fn growth_hides_no_key() {
    let table = Table::on_heap(64, 3);
    let mut writer = table.writer().unwrap();
    let statics = table.capacity() * 8 / 10;
    for key in 1..=statics {
        writer.upsert(&Numbers, hash(key, 0), &key.to_le_bytes(), item(key, 0));
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_until(&stop, &table, statics));
        let mut key = statics;
        while table.state().doublings() < 3 {
            grow(&mut writer, 1, |_| panic!("no key is lost at half the load"));
            // A newcomer and its end, ahead of the watermark or behind it.
            key = statics + 1 + key % statics;
            writer.upsert(&Numbers, hash(key, 0), &key.to_le_bytes(), item(key, 0));
            if !key.is_multiple_of(3) {
                assert!(writer.remove(&Numbers, hash(key, 0), &key.to_le_bytes()).is_some());
            }
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert_eq!(table.capacity(), 64 * 8 * 8);
    table.check_order();
    for key in 1..=statics {
        assert_eq!(writer.get(&Numbers, hash(key, 0), &key.to_le_bytes()), Some(item(key, 0)));
    }
}

/// The same the other way: a table halves twice.
#[test]
fn shrinking_hides_no_key() {
    let table = shrinkable();
    let mut writer = table.writer().unwrap();
    // Load 0.15, and 0.6 at the end.
    let statics = table.capacity() * 15 / 100;
    for key in 1..=statics {
        writer.upsert(&Numbers, hash(key, 0), &key.to_le_bytes(), item(key, 0));
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_until(&stop, &table, statics));
        while table.state().doublings() > 0 {
            shrink(&mut writer, 1, |_| panic!("no key is lost at this load"));
            let key = statics + 1;
            writer.upsert(&Numbers, hash(key, 0), &key.to_le_bytes(), item(key, 0));
            assert!(writer.remove(&Numbers, hash(key, 0), &key.to_le_bytes()).is_some());
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert_eq!((table.lines(), writer.words_to_shrink()), (16, None));
    table.check_order();
    for key in 1..=statics {
        assert_eq!(writer.get(&Numbers, hash(key, 0), &key.to_le_bytes()), Some(item(key, 0)));
    }
}

#[test]
fn a_table_grows_until_its_tags_say_too_little() {
    let table = Table::on_heap(1, DOUBLINGS_MAX);
    let mut writer = table.writer().unwrap();
    for doublings in 0..DOUBLINGS_MAX {
        assert_eq!(writer.words_to_grow(), Some(Table::slots_for(2 << doublings)));
        writer.begin_growth(Table::first_word_after(1, doublings + 1));
        assert_eq!(writer.words_to_grow(), None, "one growth at a time");
        while writer.grow(1 << 20, |_| ()) == Growth::UnderWay {}
    }
    assert_eq!(table.lines(), 1 << DOUBLINGS_MAX);
    assert_eq!(writer.words_to_grow(), None);
}
