//! Every policy against a little owner that evicts, lags, lies and loses.

use super::RETRY_MS;
use crate::base::item_ref::ItemRef;
use crate::base::random::Random;
use crate::policy::{CommandBuffer, Goal, Policy, PolicyConfig, PolicyKind, PolicyStats, build};
use crate::ring::record::{ChunkUnits, Deadline, Event, Hit, Verdict};
use std::collections::HashMap;

const KINDS: [PolicyKind; 3] = [PolicyKind::Wtinylfu, PolicyKind::S3fifo, PolicyKind::Lru];
const PAGE_UNITS: u64 = 1 << 10;

fn config(budget_bytes: u64) -> PolicyConfig {
    PolicyConfig { budget_bytes, page_units: PAGE_UNITS, pages: 64, mean_item_bytes: 64, seed: 1 }
}

fn item(units: u64) -> ItemRef {
    ItemRef::new(units).expect("a reference")
}

fn store(at: ItemRef, units: u32, hash: u32, deadline_ms: u64) -> Event {
    Event::Store {
        item: at,
        replaced: None,
        deadline: Deadline::new(deadline_ms, units),
        chunks: ChunkUnits::NONE,
        hash,
    }
}

fn drain(policy: &mut dyn Policy, now_ms: u64) -> Vec<crate::ring::PolicyCommand> {
    let mut commands = CommandBuffer::with_capacity(100_000);
    let work = policy.advance(now_ms, usize::MAX, &mut commands);
    assert!(work < usize::MAX);
    commands.as_slice().to_vec()
}

#[test]
fn a_budget_is_kept_and_commands_name_live_items() {
    for kind in KINDS {
        let mut policy = build(kind, Goal::Objects, &config(16 * 100));
        let mut live = HashMap::new();
        for i in 0..1000u64 {
            let at = item(PAGE_UNITS + i);
            policy.event(&store(at, 1, i as u32 * 77, 0), 1);
            live.insert(at, i as u32 * 77);
            for command in drain(&mut *policy, 1) {
                assert_eq!(live.remove(&command.item), Some(command.hash), "{kind:?}");
                assert_ne!(command.verdict, Verdict::Expire);
                policy.event(&Event::Delete { item: command.item }, 1);
            }
            assert!(policy.stats().live_bytes <= 1600);
            policy.check();
        }
        assert_eq!(live.len(), 100, "{kind:?}");
        policy.event(&Event::Budget { bytes: 160 }, 1);
        assert_eq!(drain(&mut *policy, 1).len(), 90, "{kind:?}");
    }
}

#[test]
fn an_item_expires_at_its_deadline() {
    for kind in KINDS {
        let mut policy = build(kind, Goal::Objects, &config(1 << 20));
        policy.event(&store(item(2000), 4, 9, 5_000), 10);
        policy.event(&store(item(2004), 4, 8, 0), 10);
        assert_eq!(drain(&mut *policy, 4_999), []);
        let commands = drain(&mut *policy, 5_000);
        assert_eq!(commands.len(), 1, "{kind:?}");
        assert_eq!((commands[0].item, commands[0].verdict), (item(2000), Verdict::Expire));
        policy.event(&Event::Delete { item: item(2000) }, 5_001);
        assert_eq!(drain(&mut *policy, 90_000), []);
        assert_eq!(policy.stats().items, 1);
    }
}

#[test]
fn a_new_item_larger_than_the_window_stays_until_the_next_such_item_comes() {
    for kind in KINDS {
        let config = PolicyConfig { mean_item_bytes: 16, ..config(16 * 1000) };
        let mut policy = build(kind, Goal::Objects, &config);
        for i in 0..1000u64 {
            policy.event(&store(item(PAGE_UNITS + i), 1, i as u32, 0), 1);
            // Asked for so often that each wins any contest with what is new.
            policy.hits(&[Hit { item: item(PAGE_UNITS + i), hash: i as u32, weight: 8 }]);
        }
        assert_eq!(drain(&mut *policy, 1), [], "{kind:?}");
        let large = |i: u64| item(PAGE_UNITS * (2 + i));
        for i in 0..8 {
            policy.event(&store(large(i), 30, 10_000 + i as u32, 0), 2);
            let gone: Vec<ItemRef> = drain(&mut *policy, 2).iter().map(|command| command.item).collect();
            assert!(!gone.contains(&large(i)), "{kind:?}: item {i} was stored just now");
            gone.iter().for_each(|&item| policy.event(&Event::Delete { item }, 2));
            policy.check();
            let stats = policy.stats();
            assert!(stats.live_bytes <= 16 * 1000, "{kind:?}");
            if kind == PolicyKind::Wtinylfu && i > 0 {
                assert_eq!(gone, [large(i - 1)], "who was not read leaves for who is new");
            }
        }
    }
}

#[test]
fn a_touched_item_lives_on() {
    let mut policy = build(PolicyKind::Wtinylfu, Goal::Objects, &config(1 << 20));
    policy.event(&store(item(2000), 4, 9, 5_000), 10);
    policy.event(&Event::Touch { item: item(2000), deadline: Deadline::new(9_000, 4), is_use: true }, 4_000);
    assert_eq!(drain(&mut *policy, 8_999), []);
    assert_eq!(drain(&mut *policy, 9_000).len(), 1);
    // The owner had been touched once more before the command came: it keeps the item and says so.
    policy.event(&Event::Touch { item: item(2000), deadline: Deadline::new(12_000, 4), is_use: true }, 9_001);
    assert_eq!(policy.stats().items, 1);
    assert_eq!(drain(&mut *policy, 11_999), []);
    assert_eq!(drain(&mut *policy, 12_000).len(), 1);
}

#[test]
fn an_item_with_a_second_chance_is_as_one_that_was_read() {
    for kind in KINDS {
        let mut policy = build(kind, Goal::Objects, &config(16 * 100));
        (0..101).for_each(|i| policy.event(&store(item(PAGE_UNITS + i), 1, i as u32 * 77, 90_000), 1));
        let [told] = drain(&mut *policy, 1)[..] else { panic!("one has to go") };
        let (item, verdict) = (told.item, told.verdict);
        policy.event(&Event::SecondChance { item, deadline: Deadline::new(50_000, 1), verdict }, 1);
        policy.check();
        let stats = policy.stats();
        assert_eq!((stats.second_chances, stats.items, stats.pending_evictions), (1, 101, 0), "{kind:?}");
        let [other] = drain(&mut *policy, 1)[..] else { panic!("another has to go") };
        assert_ne!(other.item, item, "{kind:?}");
        // Its deadline is known.
        let due = drain(&mut *policy, 50_000);
        assert!(due.iter().any(|c| (c.item, c.verdict) == (item, Verdict::Expire)), "{kind:?}: {due:?}");
        // Of what is not told to go nothing changes.
        policy.event(&Event::SecondChance { item, deadline: Deadline::new(0, 1), verdict }, 50_000);
        policy.event(&Event::SecondChance { item, deadline: Deadline::new(0, 1), verdict }, 50_000);
        policy.check();
        assert_eq!(policy.stats().second_chances, 2, "{kind:?}");
    }
}

#[test]
fn a_command_without_an_answer_is_sent_again() {
    let mut policy = build(PolicyKind::Lru, Goal::Objects, &config(16));
    policy.event(&store(item(2000), 1, 1, 0), 10);
    policy.event(&store(item(2001), 1, 2, 0), 10);
    let first = drain(&mut *policy, 10);
    assert_eq!(first.len(), 1);
    assert_eq!(drain(&mut *policy, 9 + RETRY_MS), []);
    let mut again = drain(&mut *policy, 10 + RETRY_MS);
    again.extend(drain(&mut *policy, 10 + 2 * RETRY_MS));
    assert_eq!(again[0], first[0]);
    policy.event(&Event::Delete { item: first[0].item }, 4000);
    assert_eq!(drain(&mut *policy, 60_000), []);
}

#[test]
fn without_room_for_commands_nothing_is_lost() {
    let mut policy = build(PolicyKind::Wtinylfu, Goal::Objects, &config(16 * 10));
    for i in 0..50 {
        policy.event(&store(item(2000 + i), 1, i as u32, if i % 2 == 0 { 500 } else { 0 }), 10);
    }
    let mut commands = CommandBuffer::with_capacity(3);
    let mut given = 0;
    for _ in 0..40 {
        commands.reset(3);
        policy.advance(600, 1000, &mut commands);
        given += commands.as_slice().len();
        for command in commands.as_slice() {
            policy.event(&Event::Delete { item: command.item }, 600);
        }
    }
    assert_eq!(given, 40);
    policy.check();
}

/// One item in nine has chunks.
fn chunks_of(hash: u32) -> ChunkUnits {
    ChunkUnits::new(if hash.is_multiple_of(9) { 1 + hash as u64 % 40 } else { 0 })
}

/// The chunks of a long value weigh as its slot does: items go until both fit, and no more of them. They weigh as much after a
/// move, and another value in the same slot weighs what it has.
#[test]
fn an_item_weighs_its_chunks() {
    for kind in KINDS {
        let mut policy = build(kind, Goal::Objects, &config(16 * 1_000));
        let long = |i: u64, units: u64| Event::Store {
            item: item(PAGE_UNITS + 4 * i),
            replaced: None,
            deadline: Deadline::new(0, 4),
            chunks: ChunkUnits::new(units),
            hash: i as u32 * 77,
        };
        for i in 0..50 {
            policy.event(&long(i, 96), 1);
            let evicted = drain(&mut *policy, 1);
            assert_eq!(evicted.len(), (i >= 10) as usize, "{kind:?}: one for one, item {i}");
            evicted.iter().for_each(|told| policy.event(&Event::Delete { item: told.item }, 1));
        }
        assert_eq!(policy.stats().live_bytes, 16 * 1_000, "{kind:?}");
        let there = (0..50).find(|&i| {
            let before = policy.stats().stale;
            policy.event(
                &Event::Move { from: item(PAGE_UNITS + 4 * i), to: item(9 * PAGE_UNITS), units: 8 },
                1,
            );
            policy.stats().stale == before
        });
        assert!(
            there.is_some() && policy.stats().live_bytes == 16 * 1_004,
            "{kind:?}: a slot of 8 instead of 4"
        );
        policy.check();
        drain(&mut *policy, 1).iter().for_each(|told| policy.event(&Event::Delete { item: told.item }, 1));
        policy.event(&long(60, 50), 1);
        let before = policy.stats().live_bytes;
        policy.event(&long(60, 20), 1);
        assert_eq!(policy.stats().live_bytes, before - 16 * 30, "{kind:?}");
        policy.check();
    }
}

/// An owner's memory: which slots hold what. It loses commands, repeats deletes, moves items, resets pages.
struct Owner {
    random: Random,
    live: HashMap<u64, (u32, u32, u64)>,
    by_key: HashMap<u32, u64>,
    page_class: Vec<u32>,
}

impl Owner {
    fn free_slot(&mut self) -> Option<(u64, u32)> {
        let page = 1 + self.random.below(30);
        let units = self.page_class[page as usize];
        let at = page * PAGE_UNITS
            + 3 % units as u64
            + units as u64 * self.random.below(PAGE_UNITS / units as u64 - 1);
        (!self.live.contains_key(&at)).then_some((at, units))
    }

    fn take(&mut self, at: u64) -> bool {
        match self.live.remove(&at) {
            Some((hash, ..)) => self.by_key.remove(&hash).is_some(),
            None => false,
        }
    }

    fn step(&mut self, policy: &mut dyn Policy, now_ms: u64) {
        let key = self.random.below(3000) as u32;
        let hash = key.wrapping_mul(0x9e37_79b9);
        match self.random.below(100) {
            0..40 => {
                let Some(&at) = self.by_key.get(&hash) else { return self.store(policy, hash, now_ms) };
                policy.hit(&Hit { item: item(at), hash, weight: 1 });
            }
            40..70 => self.store(policy, hash, now_ms),
            70..75 => {
                if let Some(&at) = self.by_key.get(&hash) {
                    self.take(at);
                    policy.event(&Event::Delete { item: item(at) }, now_ms);
                }
            }
            75..80 => {
                let at = PAGE_UNITS + self.random.below(30 * PAGE_UNITS);
                if !self.live.contains_key(&at) {
                    policy.event(&Event::Delete { item: item(at) }, now_ms);
                }
                policy.hit(&Hit { item: item(at), hash, weight: 1 });
            }
            80..88 => {
                if let Some(&at) = self.by_key.get(&hash) {
                    let deadline_ms = self.deadline(now_ms);
                    let entry = self.live.get_mut(&at).expect("a live item");
                    entry.2 = deadline_ms;
                    let deadline = Deadline::new(deadline_ms, entry.1);
                    policy.event(&Event::Touch { item: item(at), deadline, is_use: hash & 1 == 0 }, now_ms);
                }
            }
            88..97 => {
                let from = self.by_key.get(&hash).copied();
                if let (Some(from), Some((to, units))) = (from, self.free_slot()) {
                    // The slot there may have another size.
                    let (hash, _, deadline_ms) = self.live.remove(&from).expect("a live item");
                    self.live.insert(to, (hash, units, deadline_ms));
                    self.by_key.insert(hash, to);
                    policy.event(&Event::Move { from: item(from), to: item(to), units }, now_ms);
                }
            }
            97..99 => self.reset(policy, now_ms),
            _ => self.empty_page(policy, now_ms),
        }
    }

    fn deadline(&mut self, now_ms: u64) -> u64 {
        match self.random.below(4) {
            0 => 0,
            1 => now_ms + self.random.below(300),
            2 => now_ms + self.random.below(100_000),
            _ => now_ms + self.random.below(1 << 31) * 8,
        }
    }

    fn store(&mut self, policy: &mut dyn Policy, hash: u32, now_ms: u64) {
        let Some((at, units)) = self.free_slot() else { return };
        let replaced = self.by_key.get(&hash).copied();
        if let Some(old) = replaced {
            self.take(old);
        }
        let deadline_ms = self.deadline(now_ms);
        self.live.insert(at, (hash, units, deadline_ms));
        self.by_key.insert(hash, at);
        let deadline = Deadline::new(deadline_ms, units);
        let chunks = chunks_of(hash);
        let replaced = replaced.map(item);
        policy.event(&Event::Store { item: item(at), replaced, deadline, chunks, hash }, now_ms);
    }

    /// Events of a page were lost: reset it, then name what is live.
    fn reset(&mut self, policy: &mut dyn Policy, now_ms: u64) {
        let page = 1 + self.random.below(30);
        let range = page * PAGE_UNITS..(page + 1) * PAGE_UNITS;
        let mut there: Vec<u64> = self.live.keys().copied().filter(|at| range.contains(at)).collect();
        there.sort_unstable();
        // One item goes, and its Delete is among the lost.
        if let Some(lost) = there.pop() {
            self.take(lost);
        }
        policy.event(&Event::Reset { first: item(range.start), units: PAGE_UNITS }, now_ms);
        for at in there {
            let (hash, units, deadline_ms) = self.live[&at];
            let deadline = Deadline::new(deadline_ms, units);
            policy.event(
                &Event::Store { item: item(at), replaced: None, deadline, chunks: chunks_of(hash), hash },
                now_ms,
            );
        }
    }

    /// The page goes to another size class; its last Deletes may be missing.
    fn empty_page(&mut self, policy: &mut dyn Policy, now_ms: u64) {
        let page = 1 + self.random.below(30);
        let range = page * PAGE_UNITS..(page + 1) * PAGE_UNITS;
        let mut there: Vec<u64> = self.live.keys().copied().filter(|at| range.contains(at)).collect();
        there.sort_unstable();
        let silent = self.random.below(4) == 0;
        for at in there {
            self.take(at);
            if !silent {
                policy.event(&Event::Delete { item: item(at) }, now_ms);
            }
        }
        if silent {
            policy.event(&Event::Reset { first: item(range.start), units: PAGE_UNITS }, now_ms);
        }
        self.page_class[page as usize] = 4 + self.random.below(20) as u32;
    }
}

/// Runs `steps` random operations and returns the figures; the policy must know exactly what the owner holds.
fn rough_life(kind: PolicyKind, steps: u64, seed: u64) -> PolicyStats {
    let budget_bytes = 16 * 6000;
    let mut policy = build(kind, Goal::Objects, &config(budget_bytes));
    let mut owner = Owner {
        random: Random::new(seed),
        live: HashMap::new(),
        by_key: HashMap::new(),
        page_class: (0..32).map(|page| 4 + page % 9).collect(),
    };
    let mut commands = CommandBuffer::with_capacity(64);
    let mut now_ms = 1;
    for step in 0..steps {
        owner.step(&mut *policy, now_ms);
        if owner.random.below(20) == 0 {
            now_ms += owner.random.below(50) + if owner.random.below(2000) == 0 { 40_000_000 } else { 0 };
            let room = owner.random.below(65) as usize;
            commands.reset(room);
            let work_max = 1 + owner.random.below(300) as usize;
            assert!(policy.advance(now_ms, work_max, &mut commands) <= work_max);
            for command in commands.as_slice() {
                let at = command.item.units();
                let Some(&(hash, _, deadline_ms)) = owner.live.get(&at) else { continue };
                let past = deadline_ms != 0 && deadline_ms <= now_ms;
                if hash == command.hash && command.verdict != Verdict::Expire && owner.random.below(10) == 0 {
                    let (item, verdict) = (command.item, command.verdict);
                    let deadline = Deadline::new(deadline_ms, owner.live[&at].1);
                    policy.event(&Event::SecondChance { item, deadline, verdict }, now_ms);
                    continue;
                }
                // One command in fifty is lost; the owner checks deadlines itself.
                if hash == command.hash
                    && owner.random.below(50) > 0
                    && (command.verdict != Verdict::Expire || past)
                {
                    owner.take(at);
                    policy.event(&Event::Delete { item: command.item }, now_ms);
                }
            }
        }
        if step % (steps / 20) == 0 {
            policy.check();
        }
    }
    // Peace: all time and room it needs, every command executed.
    let mut commands = CommandBuffer::with_capacity(100_000);
    for _ in 0..4 {
        now_ms += 2 * RETRY_MS;
        commands.reset(100_000);
        policy.advance(now_ms, usize::MAX, &mut commands);
        for command in commands.as_slice() {
            assert!(owner.take(command.item.units()), "{kind:?}: a command names a live item");
            policy.event(&Event::Delete { item: command.item }, now_ms);
        }
    }
    policy.check();
    let stats = policy.stats();
    assert_eq!(stats.items as usize, owner.live.len(), "{kind:?}: no item leaks, none is forgotten");
    assert_eq!(stats.pending_evictions, 0, "{kind:?}");
    assert_eq!(stats.untracked, 0, "{kind:?}");
    assert!(stats.live_bytes <= budget_bytes, "{kind:?}");
    assert!(
        owner.live.values().all(|&(_, _, deadline_ms)| deadline_ms == 0 || deadline_ms > now_ms),
        "{kind:?}"
    );
    stats
}

/// Operations of each policy's rough life; `scripts/policy-life` asks for more.
fn operations() -> u64 {
    std::env::var("SHERWOOD_POLICY_OPERATIONS")
        .map_or(350_000, |n| n.parse().expect("a number of operations"))
}

#[test]
fn a_rough_life_leaves_no_leak() {
    for kind in KINDS {
        let stats = rough_life(kind, operations(), 42);
        println!("{kind:?}: {stats:?}");
        assert!(
            stats.evicted > 1000 && stats.second_chances > 100 && stats.expired > 1000 && stats.repeated > 10,
            "it was rough: {stats:?}"
        );
    }
}

#[test]
fn equal_seeds_give_equal_results() {
    for kind in KINDS {
        let stats = |seed| rough_life(kind, 20_000, seed);
        assert_eq!(stats(7), stats(7));
        assert_ne!(stats(7), stats(8));
    }
}
