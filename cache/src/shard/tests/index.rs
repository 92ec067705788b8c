//! The index grows in time: no key that was just stored gives way to another one while memory is free.

use super::*;
use crate::limits::GROW_LOAD_PERCENT;

/// Stores keys until one has to wait; says how many were stored.
fn store_until_one_waits(lone: &mut Lone, keys: std::ops::Range<u64>) -> u64 {
    let mut stored = 0;
    for key in keys {
        let key = key.to_le_bytes();
        match lone.owner.store(&Store::new(Mode::Set, &key, &[7; 4]), lone.now) {
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

fn kept(lone: &Lone, keys: std::ops::Range<u64>) -> u64 {
    keys.filter(|&key| lone.value_of(key).is_some()).count() as u64
}

/// From the smallest index that there is, without a single tick: the inserts themselves make it grow, to half a million.
#[test]
fn inserts_pay_for_growth() {
    let mut lone = Lone::new(64 << 20, 1 << 20);
    let (count, first) = (600_000, lone.owner.shard().table.capacity());
    assert_eq!(store_until_one_waits(&mut lone, 0..count), count);
    let slots = lone.owner.shard().table.capacity();
    assert!(slots * 85 > count * 100 && slots >= 64 * first, "{first} -> {slots} slots");
    assert_eq!(lone.counters.evicted_by_crowding.get() + lone.counters.evicted_by_growth.get(), 0);
    assert_eq!(kept(&lone, 0..count), count);
}

/// Another owner is gathering its run, and does not come to an end: inserts go on while there are places, then they wait. No
/// key that was stored is gone.
#[test]
fn an_insert_waits_where_it_would_crowd_out_a_key() {
    let mut lone = Lone::new(16 << 20, 1 << 20);
    lone.pool.want_run(2).expect("a run for somebody else");
    let capacity = lone.owner.shard().table.capacity();
    let stored = store_until_one_waits(&mut lone, 0..capacity);
    assert!(stored * 100 > capacity * GROW_LOAD_PERCENT, "{stored} of {capacity}");
    assert!(lone.counters.growth_waits.get() == 1 && lone.counters.evicted_by_crowding.get() == 0);
    assert_eq!(kept(&lone, 0..stored), stored);
    // It comes to its end; the next insert finds a run.
    let run = (0..10).find_map(|_| {
        lone.pool.sift();
        lone.pool.take_run()
    });
    lone.pool.return_run(run.expect("its pages are free"));
    (0..8).for_each(|_| _ = lone.tick());
    assert_eq!(store_until_one_waits(&mut lone, stored..stored + 50_000), 50_000);
    assert_eq!(kept(&lone, 0..stored + 50_000), stored + 50_000);
    assert!(lone.counters.table_doublings.get() >= 4 && lone.counters.evicted_by_crowding.get() == 0);
}

/// Without free memory nothing is worth waiting for: a key gives way.
#[test]
fn an_insert_does_not_wait_where_memory_is_full() {
    let mut lone = Lone::new(16 << 20, 1 << 20);
    lone.pool.want_run(2).expect("a run for somebody else");
    let capacity = lone.owner.shard().table.capacity();
    let taken: Vec<_> = std::iter::from_fn(|| lone.pool.take()).take(lone.pool.layout().pages).collect();
    lone.pool.give_back(taken[0]);
    lone.pool.give_back(taken[1]);
    assert_eq!(store_until_one_waits(&mut lone, 0..capacity), capacity);
    assert!(lone.counters.evicted_by_crowding.get() > 0 && lone.counters.growth_waits.get() == 0);
}
