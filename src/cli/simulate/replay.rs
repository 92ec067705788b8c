//! A trace through the shipping policy: a little owner that stores, reads, and executes every command at once.
//!
//! ```text
//! Record ─▶ index: key → slot ─ hit ──▶ Hit ──▶ policy ─ advance ─▶ commands ─▶ slots freed
//!                             └ miss ─▶ Store ─▶
//! ```
//!
//! By items every record is a read of weight 1, without size, TTL and op. By bytes a size takes whole units of 16
//! bytes, deadlines count, only reads are counted, and a miss stores with the size and TTL of its record.
//! There is no header, no size class and no grace period: the figure is the policy's, not the memory's.

use crate::load::trace::{Op, Record};
use cache::base::hash::KeyHash;
use cache::base::item_ref::ItemRef;
use cache::base::random::Random;
use cache::memory::item::Access;
use cache::policy::{CommandBuffer, Goal, Policy, PolicyConfig, PolicyKind, PolicyStats, build};
use cache::ring::record::{ChunkUnits, Deadline, Event, Hit, PolicyCommand, Verdict};
use cache::shard::SecondChances;
use std::collections::HashMap;

/// Length of a page, in units: small, because every size has pages of its own.
const PAGE_UNITS: u64 = 1 << 12;
/// Longest slot, in units.
const SLOT_UNITS_MAX: u32 = 1 << 17;
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
    let mut replay = Replay::new(setup, mean_bytes);
    for record in records {
        match setup.capacity {
            Capacity::Items(_) => replay.read(record.key, 1, 1, 0, 1),
            Capacity::Bytes(_) => replay.record(record, setup.value_bytes),
        }
    }
    replay.outcome.policy = replay.policy.stats();
    replay.outcome
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
    outcome: ReplayResult,
}

impl Replay {
    fn new(setup: &Setup, mean_item_bytes: u64) -> Replay {
        let budget_bytes = match setup.capacity {
            Capacity::Items(items) => items * ItemRef::UNIT_BYTES as u64,
            Capacity::Bytes(bytes) => bytes,
        };
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
            outcome: ReplayResult::default(),
        }
    }

    fn record(&mut self, record: &Record, value_bytes: u32) {
        let bytes = size_of_record(record, value_bytes);
        let units = bytes.div_ceil(ItemRef::UNIT_BYTES as u32);
        let now_ms = record.t_ms as u64 + 1;
        let deadline_ms = if record.ttl_s == 0 { 0 } else { now_ms + record.ttl_s as u64 * 1000 };
        self.apply_commands(now_ms);
        match record.op {
            Op::Get => self.read(record.key, units, bytes, deadline_ms, now_ms),
            Op::Set => self.store(record.key, units, deadline_ms, now_ms),
            Op::Delete => {
                if let Some(slot) = self.index.remove(&record.key) {
                    self.policy.event(&Event::Delete { item: self.slots.free(slot) }, now_ms);
                }
            }
        }
    }

    fn read(&mut self, key: u64, units: u32, bytes: u32, deadline_ms: u64, now_ms: u64) {
        self.outcome.requests += 1;
        self.outcome.bytes += bytes as u64;
        match self.index.get(&key) {
            Some(&slot) => {
                self.outcome.hits += 1;
                self.outcome.bytes_hit += bytes as u64;
                let told = !self.loss.drops();
                let access = &mut self.slots.all[slot as usize].access;
                *access = access.read(now_ms / 1000, told);
                if told {
                    let hash = self.hash_of(key);
                    self.policy.hit(&Hit { item: self.slots.item(slot), hash, weight: self.hit_weight });
                }
            }
            None => self.store(key, units, deadline_ms, now_ms),
        }
    }

    fn store(&mut self, key: u64, units: u32, deadline_ms: u64, now_ms: u64) {
        // As an owner keeps long values: a slot of bounded length, the rest in chunks.
        let slot_units = units.min(SLOT_UNITS_MAX);
        let slot = self.slots.take(slot_units);
        let fresh = &mut self.slots.all[slot as usize];
        (fresh.key, fresh.deadline_ms, fresh.access) = (key, deadline_ms, Access::new(now_ms / 1000));
        let replaced = self.index.insert(key, slot).map(|old| self.slots.free(old));
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

    fn hash_of(&self, key: u64) -> u32 {
        (self.hash.hash(&key.to_le_bytes()) >> 32) as u32
    }
}

/// Places for items: pages of equal slots, never given back.
#[derive(Default)]
struct Slots {
    all: Vec<Slot>,
    free: HashMap<u32, Vec<u32>, foldhash::fast::FixedState>,
    /// First slot of a page.
    pages: Vec<u32>,
}

struct Slot {
    units_at: u64,
    units: u32,
    key: u64,
    deadline_ms: u64,
    access: Access,
}

impl Slot {
    fn second_chance(&self, PolicyCommand { item, verdict, .. }: PolicyCommand) -> Event {
        Event::SecondChance { item, deadline: Deadline::new(self.deadline_ms, self.units), verdict }
    }
}

impl Slots {
    fn take(&mut self, units: u32) -> u32 {
        if self.free.get(&units).is_none_or(Vec::is_empty) {
            self.add_page(units);
        }
        self.free.get_mut(&units).and_then(Vec::pop).expect("a page has slots")
    }

    fn add_page(&mut self, units: u32) {
        // Page 0 stays empty: reference 0 is no item.
        if self.pages.is_empty() {
            self.pages.push(0);
        }
        let first = self.pages.len() as u64 * PAGE_UNITS;
        let slots = (PAGE_UNITS / units as u64).max(1);
        let pages = (units as u64 * slots).div_ceil(PAGE_UNITS) as usize;
        let base = self.all.len() as u32;
        self.pages.extend(std::iter::repeat_n(base, pages));
        let free = self.free.entry(units).or_default();
        for i in 0..slots {
            free.push(base + i as u32);
            let units_at = first + i * units as u64;
            self.all.push(Slot { units_at, units, key: 0, deadline_ms: 0, access: Access::new(0) });
        }
    }

    fn free(&mut self, slot: u32) -> ItemRef {
        let units = self.all[slot as usize].units;
        self.free.entry(units).or_default().push(slot);
        self.item(slot)
    }

    fn item(&self, slot: u32) -> ItemRef {
        ItemRef::new(self.all[slot as usize].units_at).expect("a trace fits 1 TiB")
    }

    fn slot_of(&self, item: ItemRef) -> u32 {
        let base = self.pages[(item.units() / PAGE_UNITS) as usize];
        let slot = &self.all[base as usize];
        base + ((item.units() - slot.units_at) / slot.units as u64) as u32
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
