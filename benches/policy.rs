//! Records per second that one policy takes in, on one core.
//!
//! `cargo bench --bench policy`            1 M and 50 M items (about 1.2 GB)
//! `cargo bench --bench policy -- --smoke` 100 K items, a few records: CI runs it so that it cannot rot
//!
//! The mix is 90 hits to 10 stores of new keys; keys are Zipf-like (a quarter of the draws fall on 1/64 of the
//! items, the rest anywhere). Every store beyond the budget costs an eviction and its `Delete`. The sum printed at the
//! end depends on everything that was decided. Rates are by the processor time of this thread, so that a machine with other
//! work on it measures nearly the same.

use cache::base::clock::Clock;
use cache::base::item_ref::ItemRef;
use cache::base::random::Random;
use cache::policy::{CommandBuffer, Goal, Policy, PolicyConfig, PolicyKind, build};
use cache::ring::record::{ChunkUnits, Deadline};
use cache::ring::{Event, Hit};
use std::time::Duration;

const PAGE_UNITS: u64 = 1 << 17;
const SLOT_UNITS: u64 = 10;
/// Records of a round.
const BATCH: usize = 2048;
/// Records that the thread hands over at a time.
const CHUNK: usize = 256;

struct Bench {
    policy: Box<dyn Policy>,
    commands: CommandBuffer,
    events: Vec<Event>,
    slots: Vec<u32>,
    free: Vec<u32>,
    next_key: u32,
    random: Random,
    items: u64,
    work: u64,
}

impl Bench {
    fn new(items: u64) -> Bench {
        let slots = items + items / 16 + 1024;
        let config = PolicyConfig {
            budget_bytes: items * SLOT_UNITS * 16,
            page_units: PAGE_UNITS,
            pages: (slots / (PAGE_UNITS / SLOT_UNITS) + 2) as usize,
            mean_item_bytes: SLOT_UNITS * 16,
            seed: 1,
        };
        Bench {
            policy: build(PolicyKind::Wtinylfu, Goal::Objects, &config),
            commands: CommandBuffer::with_capacity(1024),
            events: Vec::new(),
            slots: vec![u32::MAX; slots as usize],
            free: (0..slots as u32).rev().collect(),
            next_key: 0,
            random: Random::new(1),
            items,
            work: 0,
        }
    }

    fn draw(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn item(slot: u32) -> ItemRef {
        let per_page = PAGE_UNITS / SLOT_UNITS;
        let (page, index) = (slot as u64 / per_page, slot as u64 % per_page);
        ItemRef::new((page + 1) * PAGE_UNITS + index * SLOT_UNITS).expect("a reference")
    }

    fn hash(key: u32) -> u32 {
        key.wrapping_mul(0x9e37_79b9)
    }

    /// Stores `count` new keys, beside what became of the last commands.
    fn make_events(&mut self, count: usize) {
        self.events.clear();
        for command in self.commands.as_slice() {
            let units = command.item.units();
            let slot = (units / PAGE_UNITS - 1) * (PAGE_UNITS / SLOT_UNITS) + units % PAGE_UNITS / SLOT_UNITS;
            self.slots[slot as usize] = u32::MAX;
            self.free.push(slot as u32);
            self.work = self.work.wrapping_mul(31).wrapping_add(units);
            self.events.push(Event::Delete { item: command.item });
        }
        for _ in 0..count {
            let slot = self.free.pop().expect("a sixteenth more slots than items");
            let key = self.next_key;
            self.next_key += 1;
            self.slots[slot as usize] = key;
            let deadline = Deadline::new(0, SLOT_UNITS as u32);
            let (item, hash) = (Self::item(slot), Self::hash(key));
            self.events.push(Event::Store { item, replaced: None, deadline, chunks: ChunkUnits::NONE, hash });
        }
    }

    fn make_hits(&mut self, hits: &mut Vec<Hit>) {
        hits.clear();
        while hits.len() < BATCH * 9 / 10 {
            let hot = self.draw(4) == 0;
            let slot = self.draw(if hot { self.items / 64 } else { self.items }) as u32;
            let key = self.slots[slot as usize];
            if key != u32::MAX {
                hits.push(Hit { item: Self::item(slot), hash: Self::hash(key), weight: 1 });
            }
        }
    }

    /// As the thread's round does it: events, hits, decisions.
    fn round(&mut self, hits: &[Hit]) -> Duration {
        let clock = Clock::system();
        let began_ns = clock.thread_cpu_ns();
        self.events.chunks(CHUNK).for_each(|events| self.policy.events(events, 1));
        hits.chunks(CHUNK).for_each(|hits| self.policy.hits(hits));
        self.commands.reset(1024);
        self.policy.advance(1, 8192, &mut self.commands);
        Duration::from_nanos(clock.thread_cpu_ns() - began_ns)
    }

    fn fill(&mut self) -> f64 {
        let mut time = Duration::ZERO;
        for _ in 0..self.items / BATCH as u64 {
            self.make_events(BATCH);
            time += self.round(&[]);
        }
        self.items as f64 / time.as_secs_f64() / 1e6
    }

    /// Takes in `records` hits and stores and returns millions a second; making them up is not in the time, and the deletes
    /// that follow from them are in the time but not counted.
    fn run(&mut self, records: u64) -> f64 {
        let mut hits = Vec::with_capacity(BATCH);
        let (mut time, mut done) = (Duration::ZERO, 0);
        while done < records {
            self.make_hits(&mut hits);
            self.make_events(BATCH / 10);
            time += self.round(&hits);
            done += (hits.len() + BATCH / 10) as u64;
        }
        done as f64 / time.as_secs_f64() / 1e6
    }
}

fn main() {
    let smoke = std::env::args().any(|arg| arg == "--smoke" || arg == "--test");
    let cases: &[(u64, u64)] =
        if smoke { &[(100_000, 100_000)] } else { &[(1_000_000, 20_000_000), (50_000_000, 20_000_000)] };
    for &(items, records) in cases {
        let mut bench = Bench::new(items);
        let fill = bench.fill();
        let mixed = bench.run(records);
        let stats = bench.policy.stats();
        println!(
            "{items} items: fill {fill:.1} M stores/s, mix {mixed:.1} M records/s, {:.2} bytes an item, work {:016x}",
            stats.memory_bytes as f64 / items as f64,
            bench.work
        );
    }
}
