//! A cache that does not evict: what it has stored stays until a client deletes it or its time is over, and what has no room is refused.

use super::*;

/// Stores a value, or is refused; where memory is under grace the tick is waited for.
fn set(single: &mut SingleOwner, key: u64, value: &[u8], due_ms: u64) -> bool {
    let key = key.to_le_bytes();
    let store = Store { due_ms, ..Store::new(Mode::Set, &key, value) };
    for _ in 0..100 {
        match single.owner.store(&mut single.pin, &store, single.now).map(|stored| stored.outcome) {
            Ok(outcome) => {
                assert_eq!(outcome, Outcome::Stored);
                return true;
            }
            Err(WriteError::Blocked(Blocked::OnGrace)) => drop(single.tick()),
            Err(error) => {
                assert_eq!(error, WriteError::OutOfMemory);
                return false;
            }
        }
    }
    panic!("a store of {} bytes waits for ever", value.len());
}

/// Stores keys from `first` on until one is refused; says how many were stored.
fn fill(single: &mut SingleOwner, first: u64, value: &[u8], due_ms: u64) -> u64 {
    let mut stored = 0;
    while set(single, first + stored, value, due_ms) {
        stored += 1;
        if stored % 64 == 0 {
            single.tick();
        }
    }
    stored
}

fn all_are_there(single: &SingleOwner, keys: std::ops::Range<u64>, value: &[u8]) {
    let gone = keys.filter(|&key| single.value_of(key).as_deref() != Some(value)).count();
    assert_eq!(gone, 0, "keys that were stored are gone");
}

fn nothing_was_evicted(single: &SingleOwner) {
    let counters = &single.counters;
    let evicted = [
        &counters.evicted_by_policy,
        &counters.evicted_by_pressure,
        &counters.evicted_by_crowding,
        &counters.evicted_by_growth,
    ];
    assert_eq!(evicted.map(|counter| counter.get()), [0; 4]);
}

#[test]
fn what_is_stored_stays_and_what_is_new_is_refused() {
    for value_bytes in [10, 100, 1_000, 20_000, 100_000] {
        let mut single = SingleOwner::of(16 << 20, 128, false);
        let value = vec![9; value_bytes];
        let stored = fill(&mut single, 0, &value, 0);
        single.tick();
        let slab_bytes = single.pool.slab_pages() * single.pool.layout().page_bytes;
        let percent = single.counters.item_bytes.get() as usize * 100 / slab_bytes;
        assert!(percent > 70, "{stored} values of {value_bytes} bytes: {percent} % of memory");
        (0..1_000).for_each(|_| _ = single.tick());
        for key in 1_000_000..1_001_000 {
            set(&mut single, key, &value, 0);
        }
        all_are_there(&single, 0..stored, &value);
        nothing_was_evicted(&single);
        assert!(!single.tick(), "an owner that can do nothing sleeps");
    }
}

#[test]
fn what_is_deleted_makes_room() {
    let mut single = SingleOwner::of(16 << 20, 128, false);
    let value = [7; 500];
    let stored = fill(&mut single, 0, &value, 0);
    for key in 0..1_000 {
        assert!(single.remove(key));
    }
    let more = fill(&mut single, 1 << 32, &value, 0);
    assert!((900..1_100).contains(&more), "{more} in the room of 1000");
    all_are_there(&single, 1_000..stored, &value);
    nothing_was_evicted(&single);
}

/// Whatever its size, the room of what is dead is found: of the same size at once, of another after the walk that follows.
#[test]
fn what_expires_or_is_flushed_makes_room() {
    let mut single = SingleOwner::of(16 << 20, 128, false);
    let (small, large) = ([7; 500], [8; 3_000]);
    let due_ms = single.now.ms() + 1_000_000_000;
    let stored = fill(&mut single, 0, &small, due_ms);
    single.now.ns += 1_000_001_000_000_000;
    let again = fill(&mut single, 1 << 32, &small, 0);
    assert!(again * 100 > stored * 90, "{again} of {stored}");
    nothing_was_evicted(&single);

    single.owner.flush(None).unwrap();
    while single.tick() {}
    let larger = fill(&mut single, 2 << 32, &large, 0);
    assert!(larger * 6 * 100 > stored * 70, "{larger} of {stored} / 6");
    all_are_there(&single, 2 << 32..(2 << 32) + larger, &large);
    nothing_was_evicted(&single);
}

/// An index that was sized for larger items grows while there is room for it, and then it is what refuses.
#[test]
fn a_crowded_index_refuses_and_loses_nothing() {
    let mut single = SingleOwner::of(8 << 20, 1 << 20, false);
    let stored = fill(&mut single, 0, b"x", 0);
    assert!(stored > 50_000, "{stored}");
    all_are_there(&single, 0..stored, b"x");
    nothing_was_evicted(&single);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Stores, joins and deletes of all sizes in little memory against a map: each value is there, to the byte, whatever was refused.
    #[test]
    fn nothing_that_was_stored_is_ever_gone(
        ops in prop::collection::vec((0u64..300, 0u8..12, 0u32..14), 300..1200),
        memory_mib in 2usize..6,
        mean_item_bytes in prop_oneof![Just(64usize), Just(1 << 20)],
    ) {
        let mut single = SingleOwner::of(memory_mib << 20, mean_item_bytes, false);
        let mut model: HashMap<u64, Vec<u8>> = HashMap::new();
        for (i, (key, what, size)) in ops.into_iter().enumerate() {
            let bytes = (3usize << size) + i * 37 % 100;
            let value: Vec<u8> = (0..bytes).map(|at| (at as u64 * 31 + key + i as u64) as u8).collect();
            match what {
                0..=2 => prop_assert_eq!(single.remove(key), model.remove(&key).is_some()),
                3 => drop(single.tick()),
                _ => {
                    if set(&mut single, key, &value, 0) {
                        model.insert(key, value);
                    }
                }
            }
            if i % 50 == 0 {
                for (key, value) in &model {
                    prop_assert!(single.value_of(*key).is_some_and(|found| found == *value), "key {}", key);
                }
            }
        }
        (0..100).for_each(|_| _ = single.tick());
        for (key, value) in &model {
            prop_assert!(single.value_of(*key).is_some_and(|found| found == *value), "key {}", key);
        }
        nothing_was_evicted(&single);
    }
}

/// What is overwritten gives its room back, so a full cache takes new values for the keys that it has.
#[test]
fn a_full_cache_takes_new_values_for_its_keys() {
    for value_bytes in [100, 5_000, 60_000] {
        let mut single = SingleOwner::of(16 << 20, 128, false);
        let stored = fill(&mut single, 0, &vec![1; value_bytes], 0);
        let newer = vec![2; value_bytes];
        for round in 0..3 {
            for key in 0..stored.min(500) {
                assert!(set(&mut single, key, &newer, 0), "{value_bytes} bytes, key {key} in round {round}");
            }
            single.tick();
        }
        all_are_there(&single, 0..stored.min(500), &newer);
        nothing_was_evicted(&single);
    }
}

/// What a refused store would have replaced is gone at once, also where nothing more can be retired; it counts as no command.
#[test]
fn what_a_refused_store_would_have_replaced_goes_whatever_waits_for_grace() {
    let mut single = SingleOwner::of(64 << 20, 128, true);
    single.set(1, b"old");
    single.set(2, b"older");
    single.owner.remove_replaced(&mut single.pin, &1u64.to_le_bytes(), single.now);
    single.owner.remove_replaced(&mut single.pin, &3u64.to_le_bytes(), single.now);
    assert_eq!((single.value_of(1), single.value_of(2).as_deref()), (None, Some(&b"older"[..])));
    // No tick, so nothing that is overwritten is free.
    let mut overwritten = 0;
    while single.owner.contents().memory.can_retire() {
        let key = 100u64.to_le_bytes();
        single.owner.store(&mut single.pin, &Store::new(Mode::Set, &key, b"x"), single.now).unwrap();
        overwritten += 1;
        assert!(overwritten < 1 << 20, "there is always room to retire more");
    }
    single.owner.remove_replaced(&mut single.pin, &2u64.to_le_bytes(), single.now);
    assert_eq!(single.value_of(2), None);
    let counters = &single.counters;
    let counted = [&counters.delete_hits, &counters.delete_misses, &counters.cmd_touch, &counters.touch_hits];
    assert_eq!(counted.map(|counter| counter.get()), [0; 4]);
    assert!(single.try_store(2, b"new", Mode::Add, 0) == Outcome::Stored);
    assert_eq!(single.value_of(2).as_deref(), Some(&b"new"[..]));
}
