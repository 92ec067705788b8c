//! The index grows in time: no key that was just stored gives way to another one while memory is free.

use super::*;
use crate::limits::GROW_LOAD_PERCENT;

/// Stores keys until one has to wait; says how many were stored.
fn store_until_one_waits(single: &mut SingleOwner, keys: std::ops::Range<u64>) -> u64 {
    let mut stored = 0;
    for key in keys {
        let key = key.to_le_bytes();
        match single.owner.store(&mut single.pin, &Store::new(Mode::Set, &key, &[7; 4]), single.now) {
            Ok(stored) => assert_eq!(stored.outcome, Outcome::Stored),
            Err(error) => {
                assert_eq!(error, Blocked::OnGrace.into());
                break;
            }
        }
        stored += 1;
    }
    stored
}

fn kept(single: &SingleOwner, keys: std::ops::Range<u64>) -> u64 {
    keys.filter(|&key| single.value_of(key).is_some()).count() as u64
}

/// From the smallest index that there is, without a single tick: the inserts themselves make it grow, to half a million.
#[test]
fn inserts_pay_for_growth() {
    let mut single = SingleOwner::new(64 << 20, 1 << 20);
    let (count, first) = (600_000, single.owner.shard().table.capacity());
    assert_eq!(store_until_one_waits(&mut single, 0..count), count);
    let slots = single.owner.shard().table.capacity();
    assert!(slots * 85 > count * 100 && slots >= 64 * first, "{first} -> {slots} slots");
    assert_eq!(single.counters.evicted_by_crowding.get() + single.counters.evicted_by_growth.get(), 0);
    assert_eq!(kept(&single, 0..count), count);
}

/// Another owner is gathering its run, and does not come to an end: inserts go on while there are places, then they wait. No
/// key that was stored is gone.
#[test]
fn an_insert_waits_where_it_would_crowd_out_a_key() {
    let mut single = SingleOwner::new(16 << 20, 1 << 20);
    single.pool.want_run(2).expect("a run for somebody else");
    let capacity = single.owner.shard().table.capacity();
    let stored = store_until_one_waits(&mut single, 0..capacity);
    assert!(stored * 100 > capacity * GROW_LOAD_PERCENT, "{stored} of {capacity}");
    assert!(single.counters.growth_waits.get() == 1 && single.counters.evicted_by_crowding.get() == 0);
    assert_eq!(kept(&single, 0..stored), stored);
    // It comes to its end; the next insert finds a run.
    let run = (0..10).find_map(|_| {
        single.pool.collect_run();
        single.pool.take_run()
    });
    single.pool.return_run(run.expect("its pages are free"));
    (0..8).for_each(|_| _ = single.tick());
    assert_eq!(store_until_one_waits(&mut single, stored..stored + 50_000), 50_000);
    assert_eq!(kept(&single, 0..stored + 50_000), stored + 50_000);
    assert!(single.counters.table_doublings.get() >= 4 && single.counters.evicted_by_crowding.get() == 0);
}

/// Without free memory nothing is worth waiting for: a key gives way.
#[test]
fn an_insert_does_not_wait_where_memory_is_full() {
    let mut single = SingleOwner::new(16 << 20, 1 << 20);
    single.pool.want_run(2).expect("a run for somebody else");
    let capacity = single.owner.shard().table.capacity();
    let taken: Vec<_> = std::iter::from_fn(|| single.pool.take()).take(single.pool.layout().pages).collect();
    single.pool.give_back(taken[0]);
    single.pool.give_back(taken[1]);
    assert_eq!(store_until_one_waits(&mut single, 0..capacity), capacity);
    assert!(single.counters.evicted_by_crowding.get() > 0 && single.counters.growth_waits.get() == 0);
}
