//! A trace through the shipping policy: a little owner that stores, reads, and executes every command at once.
//!
//! ```text
//! Record ─▶ index: key → slot ─ hit ──▶ Hit ──▶ policy ─ advance ─▶ commands ─▶ slots freed
//!                             └ miss ─▶ Store ─▶
//! ```
//!
//! By items every record is a read of weight 1, without size, TTL and op. By bytes a size takes whole units of 16
//! bytes, deadlines count, only reads are counted, and a miss stores with the size and TTL of its record.
//! Without a policy the items of longest ago go, of a sample: `super::sampled`.
//! There is no header, no size class and no grace period: the figure is the policy's, not the memory's.

use super::sampled::SampledAge;
use super::slots::{PAGE_UNITS, Slots};
use crate::limits::TRACE_RECORDS_MAX;
use crate::load::trace::{Op, Record};
use cache::base::hash::KeyHash;
use cache::base::item_ref::ItemRef;
use cache::base::random::Random;
use cache::memory::item::Access;
use cache::policy::{CommandBuffer, Goal, Policy, PolicyConfig, PolicyKind, PolicyStats, build};
use cache::ring::record::{ChunkUnits, Deadline, Event, Hit, Verdict};
use cache::shard::SecondChances;
use std::collections::HashMap;

/// Longest slot, in units: so short that the slots of the longest trace fit what an [`ItemRef`] can name, whatever its items weigh.
const SLOT_UNITS_MAX: u32 = 1 << 7;
const _: () = assert!((TRACE_RECORDS_MAX as u64 + PAGE_UNITS) * (SLOT_UNITS_MAX as u64) < 1 << ItemRef::BITS);
/// Commands taken in one go.
const COMMANDS: usize = 64;

/// What the cache is bounded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// So many items of one size.
    Items(u64),
    /// So many bytes.
    Bytes(u64),
}

/// What is replayed.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The policy.
    pub kind: PolicyKind,
    /// What it should be good at.
    pub goal: Goal,
    /// How much the cache holds.
    pub capacity: Capacity,
    /// Share of the hit records that are lost on the way, in percent.
    pub loss_percent: f64,
    /// Size taken where the trace does not know it (1 or less), in bytes.
    pub value_bytes: u32,
    /// Size of an item that the policy expects, in bytes, as `serve --mean-item` tells it; else the mean of the records.
    pub mean_item_bytes: Option<u64>,
    /// Key hash, sampling and loss follow from it.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplayResult {
    /// Reads.
    pub requests: u64,
    /// Reads that found their item.
    pub hits: u64,
    /// Bytes asked for by reads.
    pub bytes: u64,
    /// Bytes of the reads that found their item.
    pub bytes_hit: u64,
    /// The policy's own figures at the end.
    pub policy: PolicyStats,
}

impl ReplayResult {
    /// Hits per read, 0..=1.
    pub fn hit_ratio(&self) -> f64 {
        self.hits as f64 / self.requests.max(1) as f64
    }

    /// Bytes hit per byte asked for, 0..=1.
    pub fn byte_hit_ratio(&self) -> f64 {
        self.bytes_hit as f64 / self.bytes.max(1) as f64
    }
}

/// Replays `records`.
pub fn replay(records: &[Record], setup: &Setup) -> ReplayResult {
    let mean_bytes = setup.mean_item_bytes.unwrap_or_else(|| mean_bytes(records, setup));
    let mut replay = Replay::new(setup, budget_bytes(records, setup), mean_bytes);
    for record in records {
        match setup.capacity {
            Capacity::Items(_) => replay.read(record.key, 1, 1, 0, 1),
            Capacity::Bytes(_) => replay.record(record, setup.value_bytes),
        }
    }
    replay.outcome.policy = replay.policy.stats();
    if let Some(sampled) = &replay.sampled {
        sampled.report(&mut replay.outcome.policy);
    }
    replay.outcome
}

/// What the cache holds, in bytes; no more than all records take, however much is asked for: a policy makes its sketch and
/// its shadows as large as its budget at once, and a cache that never evicts does not need them.
fn budget_bytes(records: &[Record], setup: &Setup) -> u64 {
    let unit_bytes = ItemRef::UNIT_BYTES as u64;
    let units_of = |record| size_of_record(record, setup.value_bytes).div_ceil(unit_bytes as u32) as u64;
    match setup.capacity {
        Capacity::Items(items) => items.min(records.len().max(1) as u64) * unit_bytes,
        Capacity::Bytes(bytes) => bytes.min((records.iter().map(units_of).sum::<u64>() * unit_bytes).max(1)),
    }
}

/// Mean size of the records, as an operator would guess it.
fn mean_bytes(records: &[Record], setup: &Setup) -> u64 {
    match setup.capacity {
        Capacity::Items(_) => ItemRef::UNIT_BYTES as u64,
        Capacity::Bytes(_) => {
            let sum: u64 =
                records.iter().map(|record| size_of_record(record, setup.value_bytes) as u64).sum();
            sum / records.len().max(1) as u64
        }
    }
}

fn size_of_record(record: &Record, value_bytes: u32) -> u32 {
    if record.size > 1 { record.size } else { value_bytes }
}

struct Replay {
    policy: Box<dyn Policy>,
    hit_weight: u32,
    commands: CommandBuffer,
    hash: KeyHash,
    index: HashMap<u64, u32, foldhash::fast::FixedState>,
    slots: Slots,
    loss: Loss,
    second_chances: SecondChances,
    /// What evicts where no policy does.
    sampled: Option<SampledAge>,
    /// Requests so far, of any kind.
    requests: u64,
    outcome: ReplayResult,
}

impl Replay {
    fn new(setup: &Setup, budget_bytes: u64, mean_item_bytes: u64) -> Replay {
        let config = PolicyConfig {
            budget_bytes,
            page_units: PAGE_UNITS,
            pages: 1 << 10,
            mean_item_bytes,
            seed: setup.seed,
        };
        Replay {
            policy: build(setup.kind, setup.goal, &config),
            // A worker counts the records that it could not send, so the policy knows what each stands for.
            hit_weight: (100.0 / (100.0 - setup.loss_percent).max(1.0)).round() as u32,
            commands: CommandBuffer::with_capacity(COMMANDS),
            hash: KeyHash::new(setup.seed),
            index: HashMap::default(),
            slots: Slots::default(),
            loss: Loss { random: Random::new(setup.seed), percent: setup.loss_percent },
            second_chances: SecondChances::default(),
            sampled: (setup.kind == PolicyKind::None)
                .then(|| SampledAge::new(budget_bytes / ItemRef::UNIT_BYTES as u64)),
            requests: 0,
            outcome: ReplayResult::default(),
        }
    }

    fn record(&mut self, record: &Record, value_bytes: u32) {
        let bytes = size_of_record(record, value_bytes);
        let units = bytes.div_ceil(ItemRef::UNIT_BYTES as u32);
        let now_ms = record.t_ms + 1;
        let deadline_ms = if record.ttl_s == 0 { 0 } else { now_ms + record.ttl_s as u64 * 1000 };
        self.apply_commands(now_ms);
        match record.op {
            Op::Get => self.read(record.key, units, bytes, deadline_ms, now_ms),
            Op::Set => self.store(record.key, units, deadline_ms, now_ms),
            Op::Delete => {
                if let Some(&slot) = self.index.get(&record.key) {
                    self.remove(slot, now_ms);
                }
            }
        }
    }

    fn read(&mut self, key: u64, units: u32, bytes: u32, deadline_ms: u64, now_ms: u64) {
        self.outcome.requests += 1;
        self.outcome.bytes += bytes as u64;
        self.requests += 1;
        match self.index.get(&key) {
            Some(&slot) if !self.slots.all[slot as usize].is_dead(now_ms) => {
                self.outcome.hits += 1;
                self.outcome.bytes_hit += bytes as u64;
                let told = !self.loss.drops();
                let read = &mut self.slots.all[slot as usize];
                (read.access, read.last_used) = (read.access.read(now_ms / 1000, told), self.requests);
                if told {
                    let hash = self.hash_of(key);
                    self.policy.hit(&Hit { item: self.slots.item(slot), hash, weight: self.hit_weight });
                }
            }
            _ => self.store(key, units, deadline_ms, now_ms),
        }
    }

    fn store(&mut self, key: u64, units: u32, deadline_ms: u64, now_ms: u64) {
        self.requests += 1;
        if !self.has_room(units, now_ms) {
            // As a server, which drops the old value of what it cannot store.
            return self.index.get(&key).copied().into_iter().for_each(|old| self.remove(old, now_ms));
        }
        // As an owner keeps long values: a slot of bounded length, the rest in chunks.
        let slot_units = units.min(SLOT_UNITS_MAX);
        let slot = self.slots.take(slot_units);
        let fresh = &mut self.slots.all[slot as usize];
        (fresh.key, fresh.deadline_ms, fresh.access) = (key, deadline_ms, Access::new(now_ms / 1000));
        (fresh.whole_units, fresh.last_used) = (units, self.requests);
        let old = self.index.insert(key, slot);
        let replaced = old.map(|old| self.free(old));
        let (item, hash) = (self.slots.item(slot), self.hash_of(key));
        let deadline = Deadline::new(deadline_ms, slot_units);
        let chunks = ChunkUnits::new((units - slot_units) as u64);
        self.policy.event(&Event::Store { item, replaced, deadline, chunks, hash }, now_ms);
        self.apply_commands(now_ms);
    }

    fn apply_commands(&mut self, now_ms: u64) {
        loop {
            self.commands.reset(COMMANDS);
            self.policy.advance(now_ms, usize::MAX, &mut self.commands);
            let mut has_stayed = false;
            for &command in self.commands.as_slice() {
                let at = self.slots.slot_of(command.item);
                let slot = &mut self.slots.all[at as usize];
                if command.verdict != Verdict::Expire {
                    if slot.access.untold() && self.second_chances.is_left() {
                        (slot.access, has_stayed) = (slot.access.with_second_chance(), true);
                        self.second_chances.spend();
                        self.policy.event(&slot.second_chance(command), now_ms);
                        continue;
                    }
                    self.second_chances.evicted();
                }
                self.index.remove(&slot.key);
                self.policy.event(&Event::Delete { item: self.slots.free(at) }, now_ms);
            }
            if self.commands.room() > 0 && !has_stayed {
                return;
            }
        }
    }

    /// Makes room where no policy does: as an owner under pressure, before the item is stored. `false` = it never fits.
    fn has_room(&mut self, units: u32, now_ms: u64) -> bool {
        while let Some(slot) =
            self.sampled.as_mut().and_then(|sampled| sampled.victim(&self.slots, units, now_ms))
        {
            self.remove(slot, now_ms);
        }
        self.sampled.as_mut().is_none_or(|sampled| sampled.take(units))
    }

    fn remove(&mut self, slot: u32, now_ms: u64) {
        self.index.remove(&self.slots.all[slot as usize].key);
        let item = self.free(slot);
        self.policy.event(&Event::Delete { item }, now_ms);
    }

    fn free(&mut self, slot: u32) -> ItemRef {
        if let Some(sampled) = &mut self.sampled {
            sampled.freed(self.slots.all[slot as usize].whole_units);
        }
        self.slots.free(slot)
    }

    fn hash_of(&self, key: u64) -> u32 {
        (self.hash.hash(&key.to_le_bytes()) >> 32) as u32
    }
}

/// Drops a share of the hit records; a seed repeats a run.
struct Loss {
    random: Random,
    percent: f64,
}

impl Loss {
    fn drops(&mut self) -> bool {
        self.percent > 0.0 && self.random.unit() * 100.0 < self.percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [PolicyKind; 4] =
        [PolicyKind::Wtinylfu, PolicyKind::S3fifo, PolicyKind::Lru, PolicyKind::None];

    fn setup(kind: PolicyKind, capacity: Capacity) -> Setup {
        Setup {
            kind,
            goal: Goal::Objects,
            capacity,
            loss_percent: 0.0,
            value_bytes: 100,
            mean_item_bytes: None,
            seed: 1,
        }
    }

    fn get(key: u64, size: u32) -> Record {
        Record { key, t_ms: 0, size, ttl_s: 0, op: Op::Get }
    }

    /// Keys of a hundred, the lower ones more often.
    fn skewed(count: u64) -> Vec<Record> {
        let mut random = Random::new(7);
        (0..count).map(|_| get((random.unit() * random.unit() * 100.0) as u64, 200)).collect()
    }

    #[test]
    fn a_cache_larger_than_the_trace_misses_each_key_once_and_takes_memory_for_the_trace_alone() {
        let records = skewed(2_000);
        let keys =
            records.iter().map(|record| record.key).collect::<std::collections::HashSet<_>>().len() as u64;
        for kind in KINDS {
            for size in [2_000, 1 << 20, 1_000_000_000_000_000] {
                for capacity in [Capacity::Items(size), Capacity::Bytes(size.saturating_mul(208))] {
                    let outcome = replay(&records, &setup(kind, capacity));
                    assert_eq!(
                        (outcome.requests, outcome.hits),
                        (2_000, 2_000 - keys),
                        "{kind} {capacity:?}"
                    );
                    let bytes = outcome.policy.memory_bytes;
                    assert!(bytes < 2 << 20, "{kind} {capacity:?}: {bytes} bytes");
                }
            }
        }
    }

    #[test]
    fn a_cache_of_more_than_a_terabyte_is_replayed() {
        let records: Vec<Record> = (0..600_000).chain(0..1_000).map(|key| get(key, u32::MAX)).collect();
        for kind in [PolicyKind::Lru, PolicyKind::None] {
            assert_eq!(replay(&records, &setup(kind, Capacity::Bytes(u64::MAX))).hits, 1_000, "{kind}");
        }
    }

    #[test]
    fn no_policy_is_lru_of_a_sample_and_so_lru_where_the_sample_is_all() {
        let records = skewed(5_000);
        for items in [1, 3, 50] {
            let hits = |kind| replay(&records, &setup(kind, Capacity::Items(items))).hits;
            assert_eq!(hits(PolicyKind::None), hits(PolicyKind::Lru), "{items} items");
        }
        let many: Vec<Record> = (0..30_000u64).map(|i| get(i * i % 7_919 % 1_000, 200)).collect();
        let ratio = |kind| replay(&many, &setup(kind, Capacity::Items(500))).hit_ratio();
        let (none, lru) = (ratio(PolicyKind::None), ratio(PolicyKind::Lru));
        assert!((none - lru).abs() < 0.05 && none < 0.9, "none {none}, lru {lru}");
    }

    #[test]
    fn without_a_policy_bytes_bound_the_cache_too_and_the_dead_go_first() {
        let none =
            |records: &[Record], bytes| replay(records, &setup(PolicyKind::None, Capacity::Bytes(bytes)));
        // Two fit, and 2 was used longest ago; 1 lives for a second.
        let mut records = [get(2, 160), get(1, 160), get(3, 160), get(2, 160), get(1, 160)];
        assert_eq!(none(&records, 320).hits, 0);
        assert_eq!(none(&records, 480).hits, 2);
        records[1].ttl_s = 1;
        records[2..].iter_mut().for_each(|record| record.t_ms = 2_000);
        let outcome = none(&records, 320);
        assert_eq!((outcome.hits, outcome.policy.expired), (1, 1), "1 was dead when 3 came");
        assert_eq!(none(&records, 480).hits, 1, "a dead item is no hit, though there is room");
        // What never fits takes the old value with it.
        let mut large = [get(1, 160), Record { op: Op::Set, ..get(1, 500) }, get(1, 160)];
        assert_eq!(none(&large, 320).hits, 0);
        large[1].size = 320;
        assert_eq!(none(&large, 320).hits, 1);
    }
}
