//! A walk over all items of a shard while its owner stores, deletes, moves and grows.

use super::*;
use crate::memory::class::Class;
use std::collections::{BTreeMap, HashSet};

/// How often a walk has met each key.
type Met = BTreeMap<u64, u32>;

impl SingleOwner {
    fn walk(&self, walk: &mut Walk, lines: usize, met: &mut Met) {
        let number = |key: &[u8]| u64::from_le_bytes(key.try_into().expect("keys are numbers"));
        let view = self.owner.shards().view(&self.pin);
        view.walk(walk, lines, self.now, |item| *met.entry(number(item.key())).or_default() += 1);
    }
}

/// Everything about an item that a listing shows.
#[test]
fn a_walk_shows_what_an_item_is() {
    let mut single = SingleOwner::new(16 << 20, 4096);
    let due_ms = single.now.ms() + 50_000;
    single.store(7, &[1; 100_000], Mode::Set, due_ms);
    single.set(8, b"short");
    single.store(9, b"over", Mode::Set, single.now.ms());
    single.set(10, b"flushed, and not");
    single.owner.find(&8u64.to_le_bytes(), single.now).unwrap().item.note_access(77, true);
    let mut unfinished = single
        .owner
        .reserve(&mut single.pin, &Reserve { key: b"12345678", value_bytes: 9, flags: 0 }, single.now)
        .unwrap();
    unfinished.fill(b"not there");
    let (mut walk, mut seen) = (Walk::new(0), Vec::new());
    assert_eq!((walk.shard(), walk.is_done()), (0, false));
    single.owner.shards().view(&single.pin).walk(&mut walk, usize::MAX, single.now, |item| {
        let class = Class::of(item.bytes_in_slot());
        let at = single.owner.find(item.key(), single.now).expect("it lives").at;
        assert_eq!(class.slot_bytes(), single.owner.slot_bytes(at));
        seen.push((
            item.key()[0],
            item.state().deadline_ms(),
            item.last_access_s(),
            item.fetched(),
            item.bytes(),
        ));
    });
    assert!(walk.is_done());
    seen.sort_unstable();
    let start_s = single.now.s();
    let head = 24 + 8;
    assert_eq!(
        seen,
        [
            (7, due_ms, start_s, false, head + 100_000),
            (8, 0, 77, true, head + 5),
            (10, 0, start_s, false, head + 16)
        ]
    );
    // Nothing is left of what a walk has passed.
    let mut met = Met::new();
    single.walk(&mut walk, 1_000, &mut met);
    assert_eq!(met, Met::new());
    single.owner.flush(None).unwrap();
    single.walk(&mut Walk::new(0), usize::MAX, &mut met);
    assert_eq!(met, Met::new());
    single.owner.abandon(unfinished);
}

/// A step looks at no more lines than it is given.
#[test]
fn a_walk_goes_on_where_it_was() {
    let mut single = SingleOwner::new(16 << 20, 256);
    (0..10_000).for_each(|key| single.set(key, &[5; 20]));
    let lines = single.owner.shard().table.lines() as usize;
    for step in [1, 7, 500] {
        let (mut walk, mut met, mut steps) = (Walk::new(0), Met::new(), 0);
        while !walk.is_done() {
            let before = met.len();
            single.walk(&mut walk, step, &mut met);
            assert!(met.len() - before <= step * crate::limits::HOME_ITEMS_MAX);
            steps += 1;
        }
        assert!(steps >= lines / step && steps <= lines / step + 2, "{steps} steps for {lines} lines");
        assert!(met.len() == 10_000 && met.values().all(|&times| times == 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Stores, deletes, values of other sizes that make the mover move, and an index that grows and halves, between the steps: what
    /// lives from the first step to the last is met, and what is met was there.
    #[test]
    fn a_walk_meets_what_lives(
        ops in prop::collection::vec((0u64..4_000, 0u8..10, 0u32..12), 500..3_000),
        step in 1usize..40,
        first in 100u64..4_000,
    ) {
        let mut single = SingleOwner::new(8 << 20, 16 << 10);
        (0..first).for_each(|key| single.set(key, &[5; 60]));
        let mut lives: HashSet<u64> = (0..first).filter(|&key| single.value_of(key).is_some()).collect();
        let (mut walk, mut met) = (Walk::new(0), Met::new());
        let mut was_there = lives.clone();
        for (i, (key, what, size)) in ops.into_iter().enumerate() {
            match what {
                0 | 1 => {
                    single.remove(key);
                    lives.remove(&key);
                }
                2 => _ = single.tick(),
                _ => {
                    // What was evicted meanwhile did not live all the time.
                    if single.value_of(key).is_none() {
                        lives.remove(&key);
                    }
                    single.set(key, &vec![size as u8; 10 << size]);
                    was_there.insert(key);
                }
            }
            if i % 4 == 0 {
                single.walk(&mut walk, step, &mut met);
            }
        }
        while !walk.is_done() {
            single.walk(&mut walk, step, &mut met);
        }
        lives.retain(|&key| single.value_of(key).is_some());
        let missed: Vec<_> = lives.iter().filter(|key| !met.contains_key(key)).collect();
        prop_assert!(missed.is_empty(), "{:?} live and were not met", missed);
        prop_assert!(met.keys().all(|key| was_there.contains(key)));
    }
}

/// A million small items after an index for few: it doubles several times while a walk is under way.
#[test]
fn a_walk_survives_growth() {
    let mut single = SingleOwner::new(32 << 20, 8192);
    (0..3_000).for_each(|key| single.set(key, &[1; 8]));
    let (mut walk, mut met) = (Walk::new(0), Met::new());
    for key in 3_000..150_000 {
        single.set(key, &[1; 8]);
        if key % 40 == 0 {
            single.walk(&mut walk, 1, &mut met);
            single.tick();
        }
    }
    assert!(single.counters.table_doublings.get() >= 3 && !walk.is_done());
    while !walk.is_done() {
        single.walk(&mut walk, 100, &mut met);
    }
    let lived = (0..3_000u64).filter(|&key| single.value_of(key).is_some()).collect::<Vec<_>>();
    assert!(lived.len() > 2_900, "{}", lived.len());
    assert!(lived.iter().all(|key| met[key] == 1), "each once, whatever the size of the index");
}
