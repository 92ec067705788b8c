//! Walks over all keys: what is there all the time is seen, at any size of the table, and beside a writer.

use super::*;
use crate::base::sync::{AtomicBool, AtomicU64};
use std::collections::BTreeMap;

/// Walks by `lines` lines; counts how often each item was seen.
fn walk(table: &Table, position: &mut Position, lines: usize, seen: &mut BTreeMap<u64, u32>) -> Step {
    let mut items = HomeItems::new();
    for _ in 0..lines {
        match table.walk_line(position, &mut items) {
            Step::Read => {
                items.drain(..).for_each(|at| *seen.entry(at.units() & 0xff_ffff).or_default() += 1)
            }
            other => return other,
        }
    }
    Step::Read
}

fn put(writer: &mut Writer, key: u64, version: u64, crowd: u32) -> Option<ItemRef> {
    match writer.upsert(&Numbers, hash(key, crowd), &key.to_le_bytes(), item(key, version)) {
        Upsert::Evicted(victim) => Some(victim),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Keys that are there during the whole walk are seen, whatever is stored, removed, moved and resized between its steps; without
    /// a halving those that stay are seen once. What was never there is not seen.
    #[test]
    fn a_walk_sees_what_stays(
        crowd in 0u32..3,
        grows in any::<bool>(),
        count in 1u64..250,
        ops in prop::collection::vec((op(300), 0usize..4), 1..400),
    ) {
        let table = if grows { Table::on_heap(32, 3) } else { shrinkable() };
        let mut writer = table.writer().unwrap();
        let mut stays: std::collections::HashSet<u64> = (1..=count).collect();
        let mut was_there = stays.clone();
        for key in 1..=count {
            put(&mut writer, key, 0, crowd).inspect(|victim| _ = stays.remove(&(victim.units() & 0xff_ffff)));
        }
        let (mut position, mut seen, mut step) = (Position::default(), BTreeMap::new(), Step::Read);
        let before = table.state().doublings();
        for (version, (op, lines)) in ops.iter().enumerate() {
            let mut lost = Vec::new();
            match *op {
                Op::Upsert(key) => {
                    was_there.insert(key);
                    lost.extend(put(&mut writer, key, version as u64 % 4096, crowd));
                }
                Op::Remove(key) => {
                    lost.extend(writer.remove(&Numbers, hash(key, crowd), &key.to_le_bytes()));
                }
                Op::RemoveItem(_) => {}
                Op::Redirect(key) => {
                    if let Some(at) = writer.get(&Numbers, hash(key, crowd), &key.to_le_bytes()) {
                        let to = item(key, (version as u64 + 1) % 4096);
                        writer.redirect((hash(key, crowd) >> 32) as u32, at, to);
                    }
                }
                Op::Resize(lines) if grows => grow(&mut writer, lines, |item| lost.push(item)),
                Op::Resize(lines) => shrink(&mut writer, lines, |item| lost.push(item)),
            }
            lost.iter().for_each(|at| _ = stays.remove(&(at.units() & 0xff_ffff)));
            step = walk(&table, &mut position, *lines, &mut seen);
            prop_assert!(step != Step::Unsettled, "nobody writes meanwhile");
        }
        while step == Step::Read {
            step = walk(&table, &mut position, 7, &mut seen);
        }
prop_assert_eq!(walk(&table, &mut position, 1, &mut seen), Step::End);
        let missed: Vec<_> = stays.iter().filter(|key| !seen.contains_key(key)).collect();
        prop_assert!(missed.is_empty(), "{:?} were there and not seen", missed);
        prop_assert!(seen.keys().all(|key| was_there.contains(key)));
        if grows || table.state().doublings() == before && !writer.is_growing() {
            prop_assert!(stays.iter().all(|key| seen[key] == 1), "each once");
        }
    }
}

/// Walks again and again, and misses none of the keys that stay; once at least after `stop` was set.
fn walk_until(stop: &AtomicBool, table: &Table, stays: u64, walks: &AtomicU64) {
    let mut is_last = false;
    while !is_last {
        is_last = stop.load(Ordering::Relaxed);
        let (mut position, mut seen) = (Position::default(), BTreeMap::new());
        while walk(table, &mut position, 5, &mut seen) != Step::End {}
        let missed: Vec<_> = (1..=stays).filter(|key| !seen.contains_key(key)).collect();
        assert!(missed.is_empty(), "{missed:?} were there and not seen");
        walks.fetch_add(1, Ordering::Relaxed);
    }
}

/// Deletes shift keys back all the time, in a table that is as full as one may be: walks beside them miss none of those that stay.
#[test]
fn a_walk_beside_deletes_misses_nothing() {
    let table = Table::on_heap(16, 0);
    let mut writer = table.writer().unwrap();
    let (stays, passing) = (60, 44);
    (1..=stays).for_each(|key| assert_eq!(put(&mut writer, key, 0, 0), None));
    let (stop, walks) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let walker = scope.spawn(|| walk_until(&stop, &table, stays, &walks));
        let mut round = 0u64;
        while (walks.load(Ordering::Relaxed) < 20_000 || round < 200_000) && !walker.is_finished() {
            round += 1;
            let (new, gone) = (round * 7919 % passing, round * 104_729 % passing);
            put(&mut writer, stays + 1 + new, round % 4096, 0);
            let gone = stays + 1 + gone;
            writer.remove(&Numbers, hash(gone, 0), &gone.to_le_bytes());
        }
        stop.store(true, Ordering::Relaxed);
        walker.join().unwrap();
    });
}

/// A full table doubles a line at a time, and keys that stood behind the front are cleared there: walks beside it miss none.
#[test]
fn a_walk_beside_growth_misses_nothing() {
    for _ in 0..100 {
        let table = Table::on_heap(64, 3);
        let mut writer = table.writer().unwrap();
        let stays = table.capacity() * 8 / 10;
        (1..=stays).for_each(|key| assert_eq!(put(&mut writer, key, 0, 0), None));
        let (stop, walks) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let walker = scope.spawn(|| walk_until(&stop, &table, stays, &walks));
            while table.state().doublings() < 3 {
                grow(&mut writer, 1, |_| panic!("no key is lost at such a load"));
            }
            stop.store(true, Ordering::Relaxed);
            walker.join().unwrap();
        });
    }
}
