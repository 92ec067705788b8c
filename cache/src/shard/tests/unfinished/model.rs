//! Many values on their way at a time, beside everything else that an owner does, against a map; and filled by other threads.

use super::*;
use std::sync::mpsc;

/// A value on its way, how much of it has come, and which it is.
struct OnTheWay {
    unfinished: Unfinished,
    key: u64,
    value: Vec<u8>,
}

fn length(i: usize, size: u32) -> usize {
    ((3usize << size) + i * 37 % 100).min(200_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Stores, values in pieces, joins, deletes, flushes and ticks under pressure, with the mover and growth at work: a value is
    /// whole or gone, and after all is deleted and abandoned all memory is back.
    #[test]
    fn values_in_pieces_lose_nothing(
        ops in prop::collection::vec((0u64..120, 0u8..20, 0u32..16), 300..1_000),
        memory_mib in 4usize..9,
    ) {
        let mut single = SingleOwner::new(memory_mib << 20, 4096);
        let mut model: HashMap<u64, Vec<u8>> = HashMap::new();
        let mut coming: Vec<OnTheWay> = Vec::new();
        let mut published = 0;
        for (i, (key, what, size)) in ops.into_iter().enumerate() {
            let bytes = value(key + i as u64, length(i, size));
            match what {
                0 => {
                    let is_there = single.value_of(key).is_some();
                    // What was flushed is there to be removed.
                    prop_assert!(single.remove(key) || !is_there);
                    model.remove(&key);
                }
                1 if i % 5 == 0 => {
                    single.owner.flush(None).unwrap();
                    model.clear();
                }
                1 | 2 => drop(single.tick()),
                3..5 if !coming.is_empty() => {
                    let one = coming.swap_remove(i % coming.len());
                    single.owner.abandon(one.unfinished);
                }
                5..10 if !coming.is_empty() => {
                    let at = i % coming.len();
                    let OnTheWay { mut unfinished, key, value } = coming.swap_remove(at);
                    unfinished.fill(&value[value.len() - unfinished.missing()..]);
                    let mode = [Mode::Set, Mode::Add, Mode::Replace, Mode::Append][i % 4];
                    let before = single.value_of(key);
                    if mode == Mode::Append && before.as_ref().is_some_and(|old| old.len() + value.len() > 2 << 20) {
                        single.owner.abandon(unfinished);
                        continue;
                    }
                    let outcome = single.publish(unfinished, &Terms::new(mode));
                    published += 1;
                    if outcome == Outcome::Stored {
                        let joined = [before.filter(|_| mode == Mode::Append).unwrap_or_default(), value].concat();
                        prop_assert_eq!(single.value_of(key), Some(joined.clone()));
                        model.insert(key, joined);
                    }
                }
                10..16 => {
                    if let Ok(mut unfinished) = single.try_reserve(key, bytes.len(), i as u32 % 2) {
                        unfinished.fill(&bytes[..bytes.len() / 3]);
                        coming.push(OnTheWay { unfinished, key, value: bytes });
                    }
                }
                _ => {
                    single.set(key, &bytes);
                    model.insert(key, bytes);
                }
            }
            let held: usize = coming.iter().map(|one| one.value.len()).sum();
            let [items, bytes_held, by_class] = single.unfinished_figures();
            prop_assert_eq!((items, bytes_held), (coming.len() as u64, by_class));
            prop_assert!(bytes_held >= held as u64);
            single.check_pages();
            if i % 50 == 0 {
                for (key, value) in &model {
                    prop_assert!(single.value_of(*key).is_none_or(|found| found == *value), "key {}", key);
                }
            }
        }
        prop_assert!(published > 0 || single.counters.cmd_set.get() > 0);
        single.tick();
        let live = model.keys().filter(|&&key| single.value_of(key).is_some()).count() as u64;
        prop_assert!(single.counters.curr_items.get() >= live);
        coming.into_iter().for_each(|one| single.owner.abandon(one.unfinished));
        (0..120).for_each(|key| _ = single.remove(key));
        prop_assert!(single.is_empty());
        prop_assert_eq!(SlabStats::read_all(&[single.owner.contents().memory.slab().stats()]), []);
    }
}

/// Two threads fill what the owner reserves, a piece here and a piece there, while it stores under pressure; what it publishes
/// is what they wrote.
#[test]
fn other_threads_fill_what_the_owner_reserves() {
    let mut single = SingleOwner::new(16 << 20, 512);
    let (returns, returned) = mpsc::channel::<(u64, Unfinished)>();
    let fillers: Vec<_> = (0..2)
        .map(|_| {
            let (lends, lent) = mpsc::channel::<(u64, Unfinished)>();
            let returns = returns.clone();
            let thread = std::thread::spawn(move || {
                for (seed, mut unfinished) in lent {
                    let bytes = value(seed, unfinished.missing());
                    // One in eight does not come to its end.
                    let end = if seed % 8 == 0 { bytes.len() / 2 } else { bytes.len() };
                    bytes[..end].chunks(700).for_each(|piece| {
                        unfinished.fill(piece);
                        if piece[0] == 0 {
                            std::thread::yield_now();
                        }
                    });
                    returns.send((seed, unfinished)).unwrap();
                }
            });
            (lends, thread)
        })
        .collect();
    drop(returns);
    let (mut sent, mut ended, mut refused) = (0u64, 0, 0);
    while ended < 3_000 {
        let bytes = [5_000, 20_000, 90_000, 3_000][sent as usize % 4];
        match if sent < 3_000 { single.try_reserve(sent, bytes, 0) } else { Err(WriteError::TooLarge) } {
            Ok(unfinished) => {
                fillers[sent as usize % 2].0.send((sent, unfinished)).unwrap();
                sent += 1;
            }
            Err(_) => refused += 1,
        }
        for (seed, unfinished) in returned.try_iter() {
            ended += 1;
            if seed % 8 == 0 {
                single.owner.abandon(unfinished);
                continue;
            }
            let bytes = value(seed, unfinished.size().value_bytes());
            assert_eq!(single.publish(unfinished, &SET), Outcome::Stored);
            assert_eq!(single.value_of(seed), Some(bytes));
        }
        (0..4).for_each(|n| single.set(10_000 + (sent * 7 + n * 131) % 20_000, &value(n, 300)));
        single.tick();
    }
    for (lends, thread) in fillers {
        drop(lends);
        thread.join().unwrap();
    }
    assert!(refused > 0 && single.counters.evicted_by_pressure.get() > 0);
    assert_eq!(single.counters.unfinished_abandoned.get(), 3_000 / 8);
    (0..40_000).for_each(|key| _ = single.remove(key) && key % 100 == 0 && single.tick());
    assert!(single.is_empty());
}
