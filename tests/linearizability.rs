//! Recorded histories against the register that a key should be: first the checker itself, then the table under threads.

mod history;

use history::{Answer, Asked, Memory, Operation, check};
use proptest::prelude::*;
use sherwood::item_ref::ItemRef;
use sherwood::random::Random;
use sherwood::table::{Found, Keys, Table, Upsert, Writer};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Every order of every subset: the definition, for histories of a handful of operations.
fn brute_force(operations: &[Operation], memory: Memory) -> bool {
    fn extend(rest: &[Operation], value: Option<u64>, memory: Memory) -> bool {
        // Nobody waits for what is left: done.
        if rest.iter().all(|op| op.returned.is_none()) {
            return true;
        }
        (0..rest.len()).any(|i| {
            let op = rest[i];
            // No other operation that is left may have returned before this one began.
            let is_first = rest.iter().all(|other| other.returned.is_none_or(|(at, _)| at >= op.invoked));
            let absent = value.is_none() || memory == Memory::Forgets;
            let after = match (op.asked, op.returned.map(|(_, answer)| answer)) {
                (Asked::Set(new), _) => Some(Some(new)),
                (Asked::Delete, Some(Answer::Deleted(true))) => value.is_some().then_some(None),
                (Asked::Delete, None | Some(Answer::Cleared)) => Some(None),
                (Asked::Delete, Some(_)) => absent.then_some(None),
                (Asked::Get, Some(Answer::Got(Some(seen)))) => (value == Some(seen)).then_some(value),
                (Asked::Get, Some(_)) => absent.then_some(None),
                (Asked::Get, None) => Some(value),
            };
            let mut others = rest.to_vec();
            others.remove(i);
            is_first && after.is_some_and(|value| extend(&others, value, memory))
        })
    }
    extend(operations, None, memory)
}

/// Histories of up to six operations in few moments: many overlap, and about half of them are wrong.
fn histories() -> impl Strategy<Value = Vec<Operation>> {
    let one = (0u8..8, 0u64..12, 0u64..5, 0u64..7, prop::bool::weighted(0.85));
    prop::collection::vec(one, 1..7).prop_map(|drawn| {
        let operation = |(i, (kind, invoked, takes, seen, answered)): (usize, (u8, u64, u64, u64, bool))| {
            let (asked, answer) = match kind {
                0..=2 => (Asked::Set(i as u64), Answer::Stored),
                3 if seen % 3 == 2 => (Asked::Delete, Answer::Cleared),
                3 => (Asked::Delete, Answer::Deleted(seen % 3 == 0)),
                _ => (Asked::Get, Answer::Got(seen.checked_sub(1))),
            };
            Operation { asked, invoked, returned: answered.then_some((invoked + takes, answer)) }
        };
        drawn.into_iter().enumerate().map(operation).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_checker_agrees_with_the_definition(history in histories()) {
        for memory in [Memory::Keeps, Memory::Forgets] {
            prop_assert_eq!(check(&history, memory).is_ok(), brute_force(&history, memory), "{:?}", memory);
        }
    }
}

#[test]
fn what_is_wrong_is_rejected() {
    let op =
        |asked, invoked, returned, answer| Operation { asked, invoked, returned: Some((returned, answer)) };
    let set = |value, at| op(Asked::Set(value), at, at + 1, Answer::Stored);
    let get = |value, at| op(Asked::Get, at, at + 1, Answer::Got(value));
    let delete = |hit, at| op(Asked::Delete, at, at + 1, Answer::Deleted(hit));
    let lost_set = |value, at| Operation { asked: Asked::Set(value), invoked: at, returned: None };
    use Memory::{Forgets, Keeps};
    let table: [(&str, Vec<Operation>, bool, bool); 9] = [
        ("read what was written", vec![set(1, 0), get(Some(1), 10)], true, true),
        ("a stale read", vec![set(1, 0), set(2, 10), get(Some(1), 20)], false, false),
        ("a false miss", vec![set(1, 0), get(None, 10)], false, true),
        ("back from the dead", vec![set(1, 0), get(None, 10), get(Some(1), 20)], false, false),
        ("back from a delete", vec![set(1, 0), delete(true, 10), get(Some(1), 20)], false, false),
        ("never written", vec![get(Some(9), 0)], false, false),
        ("read before it was written", vec![get(Some(1), 0), set(1, 10)], false, false),
        ("a late duplicate", vec![set(1, 0), lost_set(1, 0), set(2, 10), get(Some(1), 20)], true, true),
        ("new, old, new", vec![set(1, 0), lost_set(2, 5), get(Some(2), 10), get(Some(1), 20)], false, false),
    ];
    for (name, history, kept, forgotten) in table {
        assert_eq!(check(&history, Keeps).is_ok(), kept, "{name}");
        assert_eq!(check(&history, Forgets).is_ok(), forgotten, "{name}");
    }
}

/// Keys without items: the key is in the low bits of the reference, the version above.
struct Versions;

const VERSION_SHIFT: u32 = 8;

impl Keys for Versions {
    fn key_is(&self, at: ItemRef, key: &[u8]) -> bool {
        (at.units() & ((1 << VERSION_SHIFT) - 1)).to_le_bytes() == key
    }
    fn prefetch(&self, _at: ItemRef) {}
}

const KEYS: u64 = 96;
const WRITES: u64 = 30_000;

/// Crowded homes: sixteen lines' worth of keys in a table of sixteen lines, so inserts and deletes move neighbours.
fn hash(key: u64) -> u64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// Doublings in the course of the history, a line at a time between writes.
const DOUBLINGS: u32 = 2;

fn grow(writer: &mut Writer) {
    let doublings = (writer.table().lines() / 16).ilog2();
    if !writer.is_growing() && doublings < DOUBLINGS {
        writer.begin_growth(Table::first_word_after(16, doublings + 1));
    }
    if writer.is_growing() {
        writer.grow(1, |item| panic!("{item:?} is lost at half the load"));
    }
}

type Log = Vec<(u64, Operation)>;

/// One writer, two readers, a clock that all of them move: every key behaves as a register.
#[test]
fn the_table_is_a_register_per_key() {
    let table = Table::on_heap(16, DOUBLINGS);
    let mut writer = table.writer().unwrap();
    let (clock, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    // SeqCst: one order of all moments, which is what makes "before" mean something.
    let now = || clock.fetch_add(1, Ordering::SeqCst);
    let read = |seed: u64| {
        let (mut log, mut random) = (Log::new(), Random::new(seed));
        while !stop.load(Ordering::Relaxed) || log.len() < 1000 {
            let key = 1 + random.below(KEYS);
            let invoked = now();
            let found = table.find(&Versions, hash(key), &key.to_le_bytes());
            let got = match found {
                Found::Hit(at) => Some(at.units() >> VERSION_SHIFT),
                Found::Miss => None,
                // The owner would be asked; this read tells nothing.
                Found::Unsettled => continue,
            };
            log.push((
                key,
                Operation { asked: Asked::Get, invoked, returned: Some((now(), Answer::Got(got))) },
            ));
            if log.len() == 200_000 {
                break;
            }
        }
        log
    };
    let logs = std::thread::scope(|scope| {
        let readers = [scope.spawn(|| read(1)), scope.spawn(|| read(2))];
        let (mut log, mut random) = (Log::new(), Random::new(3));
        for version in 1..=WRITES {
            if version % (WRITES / 100) == 0 {
                grow(&mut writer);
            }
            let key = 1 + random.below(KEYS);
            let invoked = now();
            let (asked, answer) = if random.below(3) == 0 {
                let hit = writer.remove(&Versions, hash(key), &key.to_le_bytes()).is_some();
                (Asked::Delete, Answer::Deleted(hit))
            } else {
                let item = ItemRef::new(version << VERSION_SHIFT | key).unwrap();
                let done = writer.upsert(&Versions, hash(key), &key.to_le_bytes(), item);
                assert!(!matches!(done, Upsert::Evicted(_)), "room at this load");
                (Asked::Set(version), Answer::Stored)
            };
            log.push((key, Operation { asked, invoked, returned: Some((now(), answer)) }));
        }
        stop.store(true, Ordering::Relaxed);
        let mut logs = vec![log];
        logs.extend(readers.map(|reader| reader.join().unwrap()));
        logs
    });
    let all: Vec<_> = logs.into_iter().flatten().collect();
    for key in 1..=KEYS {
        let operations: Vec<_> = all.iter().filter(|(of, _)| *of == key).map(|&(_, op)| op).collect();
        check(&operations, Memory::Keeps).unwrap_or_else(|op| panic!("key {key}: nothing explains {op:?}"));
    }
}
