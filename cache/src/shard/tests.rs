//! An owner by itself, with memory of the heap and no policy: pressure, mover and growth are all that it has.

use super::*;
use crate::base::clock::Now;
use crate::base::sync::Arc;
use crate::limits::EVENT_RING_RECORDS;
use crate::memory::grace::Pin;
use crate::memory::{PagePool, SlabStats};
use crate::ring::{Consumer, Event, PolicyCommand, Producer, Verdict, ring};
use crate::shard::OwnerCounters;
use crate::shard::events::Events;
use crate::shard::owner::{OwnerParts, upper};
use crate::table::Table;
use crate::{Built, Cache};
use proptest::prelude::*;
use std::collections::HashMap;

mod index;
mod pages;
mod refusing;
mod unfinished;
mod walk;

/// Load for which indexes are sized here. A number of its own: when a table grows decides which pages are free when, and so
/// how far the mover is when a phase of a test ends.
const INDEX_LOAD_PERCENT: u64 = 78;

struct SingleOwner {
    owner: Owner,
    pin: Pin,
    cache: Cache,
    pool: Arc<PagePool>,
    events: Consumer<Event>,
    commands: Producer<PolicyCommand>,
    counters: Arc<OwnerCounters>,
    now: Now,
}

impl SingleOwner {
    /// An owner of `memory_bytes`, its index sized for items of `mean_item_bytes`.
    fn new(memory_bytes: usize, mean_item_bytes: usize) -> SingleOwner {
        SingleOwner::of(memory_bytes, mean_item_bytes, true)
    }

    /// The same, which evicts or refuses what is new.
    fn of(memory_bytes: usize, mean_item_bytes: usize, evicts: bool) -> SingleOwner {
        SingleOwner::with_values_of(memory_bytes, mean_item_bytes, evicts, 2 << 20)
    }

    fn with_values_of(
        memory_bytes: usize,
        mean_item_bytes: usize,
        evicts: bool,
        value_bytes_max: usize,
    ) -> SingleOwner {
        let lines = Table::lines_for((memory_bytes / mean_item_bytes) as u64, INDEX_LOAD_PERCENT);
        let cache = Cache::builder()
            .memory_bytes(memory_bytes)
            .mean_item_bytes(mean_item_bytes)
            .index_lines(lines)
            .seed(1)
            .evicts(evicts)
            .readers(1)
            .value_bytes_max(value_bytes_max);
        let Built { cache, mut owners, mut participants, .. } = cache.build();
        let parts = owners.pop().expect("the owner of the one shard");
        let pin = participants.pop().expect("its part in reading").pin();
        let (pool, counters) = (Arc::clone(cache.pool()), Arc::clone(&parts.counters));
        // In place of the policy: a test hears the events, and gives the commands.
        let (events, consumer) = ring(EVENT_RING_RECORDS);
        let (commander, commands) = ring(16);
        let owner = Owner::new(OwnerParts { events: Events::new(events, pool.layout()), commands, ..parts });
        SingleOwner {
            owner,
            pin,
            cache,
            pool,
            events: consumer,
            commands: commander,
            counters,
            now: Now { ns: 1_000_000_000, unix_s: 1 },
        }
    }

    fn tick(&mut self) -> bool {
        self.now.ns += 10_000_000;
        self.pin.quiescent();
        let has_more = self.owner.tick(&mut self.pin, self.now, |_| ());
        self.events.drain(usize::MAX, |_| {});
        has_more
    }

    fn set(&mut self, key: u64, value: &[u8]) {
        self.store(key, value, Mode::Set, 0);
    }

    fn join(&mut self, key: u64, value: &[u8], mode: Mode) {
        self.store(key, value, mode, 0);
    }

    /// Stores a value, waiting a tick where memory is under grace.
    fn store(&mut self, key: u64, value: &[u8], mode: Mode, due_ms: u64) {
        assert_eq!(self.try_store(key, value, mode, due_ms), Outcome::Stored);
    }

    fn try_store(&mut self, key: u64, value: &[u8], mode: Mode, due_ms: u64) -> Outcome {
        let key = key.to_le_bytes();
        let store = Store { due_ms, ..Store::new(mode, &key, value) };
        for _ in 0..100 {
            match self.owner.store(&mut self.pin, &store, self.now).map(|stored| stored.outcome) {
                Ok(outcome) => return outcome,
                Err(WriteError::Blocked(Blocked::OnGrace)) => drop(self.tick()),
                Err(error) => panic!("a store of {} bytes failed: {error}", value.len()),
            }
        }
        panic!("a store of {} bytes waits for ever", value.len());
    }

    /// Removes a key, whether its item lives or not; says whether there was one.
    fn remove(&mut self, key: u64) -> bool {
        let (key, hash) = (key.to_le_bytes(), self.owner.shards().hash(&key.to_le_bytes()));
        self.owner.contents_mut().remove(hash, &key)
    }

    fn value_of(&self, key: u64) -> Option<Vec<u8>> {
        let found = self.owner.find(&key.to_le_bytes(), self.now);
        found.map(|found| found.item.value().pieces().collect::<Vec<_>>().concat())
    }
}

#[test]
fn a_table_that_was_sized_for_larger_items_grows() {
    let mut single = SingleOwner::new(64 << 20, 4096);
    let slots_before = single.owner.shard().table.capacity();
    let (count, value) = (100_000u64, [7; 40]);
    for key in 0..count {
        single.set(key, &value);
        if key % 8 == 0 {
            single.tick();
        }
    }
    while single.tick() {}
    let slots = single.owner.shard().table.capacity();
    assert!(slots > 4 * slots_before && slots * 85 > count * 100, "{slots_before} -> {slots}");
    let kept = (0..count).filter(|&key| single.value_of(key).is_some()).count() as u64;
    let crowded = single.counters.evicted_by_crowding.get();
    assert_eq!(kept + crowded + single.counters.evicted_by_pressure.get(), count);
    assert!(crowded < count / 100, "{crowded} evicted because a line was crowded");
    // The old arrays' pages are slab pages again.
    let index_pages = single.pool.layout().pages - single.pool.slab_pages();
    assert!(index_pages * single.pool.layout().page_bytes < (slots as usize * 8) * 3 / 2 + (2 << 20));
    assert_eq!(single.counters.table_doublings.get(), (slots / slots_before).ilog2() as u64);
}

/// Small items, then large ones: the index that the small ones needed gives its memory to the large ones, and takes it back.
#[test]
fn a_table_follows_the_number_of_items() {
    let memory_bytes = 16 << 20;
    let mut single = SingleOwner::new(memory_bytes, 104);
    let slots = |single: &SingleOwner| single.owner.shard().table.capacity();
    let (first, mut key) = (slots(&single), 0);
    for (value_bytes, wanted) in [(64, first..=first), (2 << 10, first / 4..=first / 2), (64, first..=first)]
    {
        let value = vec![3; value_bytes];
        for _ in 0..4 * memory_bytes / (value_bytes + 64) {
            key += 1;
            single.set(key, &value);
            if key % 16 == 0 || value_bytes > 1000 {
                single.tick();
            }
        }
        (0..5_000).for_each(|_| _ = single.tick());
        assert!(
            wanted.contains(&slots(&single)),
            "{} slots after values of {value_bytes} bytes",
            slots(&single)
        );
        let newest = (key - 50..key).filter(|&key| single.value_of(key).is_some()).count();
        assert!(newest >= 45, "{newest} of the newest 50 are there");
    }
    assert!(single.counters.table_halvings.get() > 0);
    assert_eq!(single.counters.table_halvings.get(), single.counters.table_doublings.get());
    assert_eq!(single.counters.evicted_by_growth.get(), 0);
}

/// The mix of sizes shifts, each phase many times the memory: no store fails, and the new size gets the memory, that of the
/// index it does not need included.
#[test]
fn memory_follows_the_mix_of_sizes() {
    let memory_bytes = 32 << 20;
    // An index that need not grow: its old pages would be free for a while.
    let mut single = SingleOwner::new(memory_bytes, 104);
    let mut key = 0;
    for value_bytes in [64, 4 << 10, 48 << 10, 200, 512 << 10, 1500] {
        let value = vec![value_bytes as u8; value_bytes];
        let times = if value_bytes < 1000 { 2 } else { 5 };
        let stores = times * memory_bytes / (value_bytes + 64);
        // A tick stores no more than a few datagrams carry.
        let mut carried = 0;
        for _ in 0..stores {
            key += 1;
            single.set(key, &value);
            carried += value_bytes + 64;
            while carried >= 16 << 10 {
                single.tick();
                carried -= 16 << 10;
            }
        }
        let slab_bytes = single.pool.slab_pages() * single.pool.layout().page_bytes;
        let live = single.counters.item_bytes.get() as usize;
        assert!(live * 100 > slab_bytes * 88, "{value_bytes}: {live} of {slab_bytes} bytes are items");
        // A tenth of what fits, as far as seconds tell old from new.
        let count = (memory_bytes / value_bytes / 10).min(50) as u64;
        let newest = (key - count..key).filter(|&key| single.value_of(key).is_some()).count() as u64;
        assert!(newest * 10 >= count * 8, "{value_bytes}: {newest} of the newest {count} are there");
    }
    assert!(single.counters.pages_moved.get() > 0);
}

/// No item that lives is evicted while there are expired ones, and these are counted as what they are.
#[test]
fn pressure_takes_expired_items_first() {
    // A roomy index: no line is crowded.
    let mut single = SingleOwner::new(16 << 20, 64);
    let value = [7; 64];
    let mut key = 0;
    while single.counters.evicted_by_pressure.get() == 0 {
        let due_ms = if key % 2 == 0 { 0 } else { single.now.ms() + 3_600_000 };
        single.store(key, &value, Mode::Set, due_ms);
        key += 1;
    }
    let (first, evicted) = (key, single.counters.evicted_by_pressure.get());
    single.now.ns += 3_600_000_000_000;
    single.tick();
    // Fresh items take the place of four in ten; five in ten are expired.
    (first..first + first * 2 / 5).for_each(|key| single.set(key, &value));
    assert_eq!(single.counters.evicted_by_pressure.get(), evicted);
    assert!(single.counters.expired.get() >= first * 3 / 10, "{} expired", single.counters.expired.get());
    let lost = (0..first).step_by(2).filter(|&key| single.value_of(key).is_none()).count() as u64;
    assert!(lost <= evicted, "{lost} of the items that live are gone, {evicted} before any had expired");
}

/// The policy wants three items evicted: one that it knows all reads of, one that was read without its knowledge, and one
/// of which such a read was followed by a record.
#[test]
fn an_item_that_was_read_untold_has_one_second_chance() {
    let mut single = SingleOwner::new(16 << 20, 64);
    (0..3).for_each(|key| single.set(key, &[1; 64]));
    let mut at = Vec::new();
    for (key, reads) in [(0u64, &[true][..]), (1, &[true, false]), (2, &[false, true])] {
        let (key, start) = (key.to_le_bytes(), single.now);
        let hash = single.owner.shards().hash(&key);
        for (second, &told) in reads.iter().enumerate() {
            let found = single.owner.find(&key, single.now).expect("stored");
            found.item.note_access(start.s() + second as u64, told);
            at.push(found.at);
        }
        let item = *at.last().unwrap();
        single.commands.push(PolicyCommand { item, hash: upper(hash), verdict: Verdict::Evict }).unwrap();
    }
    single.tick();
    assert_eq!((single.counters.second_chances.get(), single.counters.evicted_by_policy.get()), (1, 2));
    assert!(single.value_of(1).is_some() && single.value_of(0).is_none() && single.value_of(2).is_none());
    let hash = upper(single.owner.shards().hash(&1u64.to_le_bytes()));
    single.commands.push(PolicyCommand { item: at[1], hash, verdict: Verdict::Reject }).unwrap();
    single.tick();
    assert_eq!((single.counters.second_chances.get(), single.counters.evicted_by_policy.get()), (1, 3));
}

/// Every size in turn, so that most classes have hardly anything: rare sizes keep their items.
#[test]
fn a_rare_size_is_not_the_movers_prey() {
    let mut single = SingleOwner::new(16 << 20, 128);
    let rare: Vec<u64> = (0..20).collect();
    for &key in &rare {
        single.set(key, &vec![1; 1000 + 500 * key as usize]);
    }
    for key in 1000..400_000 {
        single.set(key, &[2; 100]);
        if key % 16 == 0 {
            single.tick();
            // Somebody reads the rare ones, so that pressure has no reason to take them.
            for key in &rare {
                let found = single.owner.find(&key.to_le_bytes(), single.now);
                found.inspect(|found| found.item.note_access(single.now.s(), true));
            }
        }
    }
    let evicted = single.counters.evicted_by_pressure.get();
    assert!(evicted > 100_000, "{evicted}");
    let kept = rare.iter().filter(|&&key| single.value_of(key).is_some()).count();
    assert!(kept >= 15, "{kept} of 20 rare items are left");
}

/// Long values beside short ones: read back whole, replaced, joined, deleted; all memory comes back.
#[test]
fn long_values_are_kept_in_chunks() {
    let mut single = SingleOwner::new(64 << 20, 4096);
    let value = |key: u64| -> Vec<u8> {
        let bytes = (key * 7919) % (1 << 20);
        (0..bytes).map(|i| ((i * key) >> 3) as u8).collect()
    };
    for round in 0..3 {
        for key in 1..40 {
            single.set(key, &value(key + round));
            single.set(1000 + key, &[1; 50]);
            single.tick();
        }
        for key in 1..40 {
            assert_eq!(single.value_of(key), Some(value(key + round)), "key {key}, round {round}");
        }
    }
    let before = single.value_of(1).unwrap();
    for piece in 0..10u8 {
        single.join(1, &[piece; 60_000], Mode::Append);
        single.join(1, &[piece; 5], Mode::Prepend);
        single.tick();
    }
    let joined = single.value_of(1).unwrap();
    assert_eq!(joined.len(), before.len() + 10 * 60_005);
    assert_eq!(joined[50..][..before.len()], before);
    assert!(joined.ends_with(&[9; 60_000]) && joined.starts_with(&[9, 9, 9, 9, 9, 8]));
    for key in (1..40).chain(1001..1040) {
        assert!(single.remove(key));
    }
    while single.tick() {}
    single.tick();
    assert_eq!((single.counters.used_bytes.get(), single.counters.item_bytes.get()), (0, 0));
    assert_eq!(single.pool.free_pages(), single.pool.slab_pages());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Stores, joins and deletes of all sizes under pressure, with the mover and growth at work, against a map: a value is
    /// whole or gone, figures agree with the table, and after everything is deleted all memory is back.
    #[test]
    fn an_owner_loses_no_memory(
        ops in prop::collection::vec((0u64..120, 0u8..12, 0u32..16), 200..900),
        memory_mib in 4usize..9,
    ) {
        let mut single = SingleOwner::new(memory_mib << 20, 4096);
        let mut model: HashMap<u64, Vec<u8>> = HashMap::new();
        for (i, (key, what, size)) in ops.into_iter().enumerate() {
            // 1 byte to 200 KiB, as many of each magnitude.
            let bytes = ((3usize << size) + i * 37 % 100).min(200_000);
            let value: Vec<u8> = (0..bytes).map(|at| (at as u64 * 31 + key + i as u64) as u8).collect();
            let there = single.value_of(key).is_some();
            match what {
                0..2 => {
                    prop_assert_eq!(single.remove(key), there);
                    model.remove(&key);
                }
                2 if there && model[&key].len() + bytes < 1 << 20 => {
                    // Room for it may cost the item that it is joined to; then nothing is stored.
                    if single.try_store(key, &value, Mode::Append, 0) == Outcome::Stored {
                        model.get_mut(&key).unwrap().extend_from_slice(&value);
                    }
                }
                3 => drop(single.tick()),
                _ => {
                    single.set(key, &value);
                    model.insert(key, value);
                }
            }
            if i % 50 == 0 {
                for (key, value) in &model {
                    prop_assert!(single.value_of(*key).is_none_or(|found| found == *value), "key {}", key);
                }
            }
        }
        single.tick();
        let live = model.keys().filter(|&&key| single.value_of(key).is_some()).count() as u64;
        prop_assert_eq!(single.counters.curr_items.get(), live);
        for key in model.into_keys() {
            single.remove(key);
        }
        while single.tick() {}
        single.tick();
        prop_assert_eq!((single.counters.used_bytes.get(), single.counters.item_bytes.get()), (0, 0));
        prop_assert_eq!(single.pool.free_pages(), single.pool.slab_pages());
        prop_assert_eq!(SlabStats::read_all(&[single.owner.contents().memory.slab().stats()]), []);
    }
}
