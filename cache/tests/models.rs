//! Models of the shipping code: every interleaving of two threads under loom, many of three under shuttle.
//!
//! ```text
//! scripts/models            # both, and loom again with mistakes that it must find; some minutes, most of them to build
//! ```
//! Bounds: one segment, a handful of keys, one writer; loom with at most three preemptions (CDSChecker's bound, Norris &
//! Demsky 2013), shuttle with PCT (Burckhardt et al. 2010) over 2,000 schedules. Without the cfg this file is empty.
#![cfg(any(loom, shuttle))]

use cache::base::item_ref::ItemRef;
use cache::base::sync::{Arc, AtomicU64, Ordering};
use cache::memory::grace::Grace;
use cache::ring::{Full, SleepFlag, mesh, ring};
use cache::table::{Found, Growth, HomeItems, Keys, Position, Step, Table, Upsert};

#[cfg(loom)]
use loom::thread;
#[cfg(shuttle)]
use shuttle::thread;

#[cfg(loom)]
fn model(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 100_000;
    builder.preemption_bound = Some(3);
    builder.check(check);
}

#[cfg(shuttle)]
fn model(check: impl Fn() + Send + Sync + 'static) {
    shuttle::check_pct(check, 2_000, 3);
}

/// Keys without items: the key of item n is n itself.
struct Numbers;

impl Keys for Numbers {
    fn key_is(&self, at: ItemRef, key: &[u8]) -> bool {
        at.units().to_le_bytes() == key
    }
    fn prefetch(&self, _at: ItemRef) {}
}

/// Keys 1, 2, … of the first line: all have home 0, and tags of their own.
fn hash(key: u64) -> u64 {
    key << 44
}

fn item(key: u64) -> ItemRef {
    ItemRef::new(key).unwrap()
}

fn insert(writer: &mut cache::table::Writer, key: u64) {
    let done = writer.upsert(&Numbers, hash(key), &key.to_le_bytes(), item(key));
    assert_eq!(done, Upsert::Inserted);
}

fn find(table: &Table, key: u64) -> Found {
    table.find(&Numbers, hash(key), &key.to_le_bytes())
}

/// Two home lines, the first full and one key displaced: a delete from the first shifts the displaced key back, while
/// a reader looks for it. It is there all the time.
#[test]
fn a_backward_shift_hides_no_key() {
    model(|| {
        let table = Table::on_heap(2, 0);
        let mut writer = table.writer().unwrap();
        (1..=9).for_each(|key| insert(&mut writer, key));
        let reader = {
            let table = Arc::clone(&table);
            thread::spawn(move || assert_ne!(find(&table, 9), Found::Miss, "key 9 is there all the time"))
        };
        assert!(writer.remove(&Numbers, hash(1), &1u64.to_le_bytes()).is_some());
        reader.join().unwrap();
        assert_eq!(find(&table, 1), Found::Miss);
        assert_eq!(find(&table, 9), Found::Hit(item(9)));
    });
}

/// An insert displaces a key of a later home to the next line, while a reader looks for that key.
#[test]
fn a_displacement_hides_no_key() {
    // Home 1 of two lines: the upper half of the hashes.
    const LATE: u64 = 1 << 19;
    model(|| {
        let table = Table::on_heap(2, 0);
        let mut writer = table.writer().unwrap();
        (1..=8).for_each(|key| insert(&mut writer, key));
        (0..8).for_each(|key| insert(&mut writer, LATE + key));
        let reader = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                for key in [LATE, LATE + 1] {
                    assert_ne!(find(&table, key), Found::Miss, "key {key} is there all the time");
                }
            })
        };
        // Home 0 is full: the newcomer takes a slot of line 1, whose key moves on.
        insert(&mut writer, 9);
        reader.join().unwrap();
        assert_eq!(find(&table, 9), Found::Hit(item(9)));
    });
}

/// A key that is absent is missed, a key that is replaced is found as one of its items.
#[test]
fn a_replaced_key_is_old_or_new() {
    model(|| {
        let table = Table::on_heap(1, 0);
        let mut writer = table.writer().unwrap();
        insert(&mut writer, 1);
        let reader = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                assert_eq!(find(&table, 1), Found::Hit(item(1)));
                assert_ne!(find(&table, 3), Found::Hit(item(1)));
            })
        };
        insert(&mut writer, 2);
        assert!(writer.redirect((hash(1) >> 32) as u32, item(1), item(1)));
        reader.join().unwrap();
    });
}

/// A reader of a key that stays, and of one that is not there.
fn read_beside(table: &Arc<Table>) -> thread::JoinHandle<()> {
    let table = Arc::clone(table);
    thread::spawn(move || {
        assert_ne!(find(&table, 2), Found::Miss, "key 2 is there all the time");
        assert!(!matches!(find(&table, 9), Found::Hit(_)), "key 9 is not there");
    })
}

/// A table of one line doubles while a reader looks for a key that stays, and for one that is not there.
#[test]
fn growth_hides_no_key() {
    model(|| {
        let table = Table::on_heap(1, 1);
        let mut writer = table.writer().unwrap();
        (1..=3).for_each(|key| insert(&mut writer, key));
        writer.begin_growth(Table::first_word_after(1, 1));
        // The first call sets the new array to zero, which no reader looks at.
        assert_eq!(writer.grow(64, |_| ()), Growth::UnderWay);
        let reader = read_beside(&table);
        assert!(matches!(writer.grow(1, |_| ()), Growth::Done { .. }));
        assert!(writer.remove(&Numbers, hash(1), &1u64.to_le_bytes()).is_some());
        reader.join().unwrap();
        assert_eq!(find(&table, 1), Found::Miss);
        assert_eq!(find(&table, 2), Found::Hit(item(2)));
    });
}

/// A table of two lines halves under the same reader: two homes become one.
#[test]
fn shrinking_hides_no_key() {
    model(|| {
        const ALIGNMENT: usize = 8 << 5;
        let next = Table::slots_for(2).next_multiple_of(ALIGNMENT);
        // A line more, because a heap block need not begin a cache line.
        let words = next + Table::slots_for(1) + 7;
        let slots: Box<[AtomicU64]> = (0..words).map(|_| AtomicU64::new(0)).collect();
        let table = Table::new(Arc::new(slots), 0, 2, 1);
        let mut writer = table.writer().unwrap();
        (1..=3).for_each(|key| insert(&mut writer, key));
        writer.begin_shrinking(next);
        // The first call sets the new array to zero, which no reader looks at.
        assert_eq!(writer.grow(64, |_| ()), Growth::UnderWay);
        let reader = read_beside(&table);
        assert_eq!(writer.grow(1, |_| ()), Growth::UnderWay);
        assert!(matches!(writer.grow(1, |_| ()), Growth::Done { .. }));
        assert!(writer.remove(&Numbers, hash(1), &1u64.to_le_bytes()).is_some());
        reader.join().unwrap();
        assert_eq!(find(&table, 1), Found::Miss);
        assert_eq!(find(&table, 2), Found::Hit(item(2)));
    });
}

/// Walks over a whole table; says whether it has met the item of `key`, or cannot tell because keys moved too often.
fn walk_meets(table: &Table, key: u64) -> bool {
    let (mut position, mut items) = (Position::default(), HomeItems::new());
    loop {
        match table.walk_line(&mut position, &mut items) {
            Step::Read if items.contains(&item(key)) => return true,
            Step::Read => {}
            Step::Unsettled => return true,
            Step::End => return false,
        }
    }
}

/// A delete shifts a displaced key back while a walk reads the line that it comes to.
#[test]
fn a_backward_shift_hides_no_key_from_a_walk() {
    model(|| {
        let table = Table::on_heap(2, 0);
        let mut writer = table.writer().unwrap();
        (1..=9).for_each(|key| insert(&mut writer, key));
        let walker = {
            let table = Arc::clone(&table);
            thread::spawn(move || assert!(walk_meets(&table, 9), "key 9 is there all the time"))
        };
        assert!(writer.remove(&Numbers, hash(1), &1u64.to_le_bytes()).is_some());
        walker.join().unwrap();
    });
}

/// A table of one line doubles while a walk reads it: the key that stood behind the front is cleared there.
#[test]
fn growth_hides_no_key_from_a_walk() {
    model(|| {
        let table = Table::on_heap(1, 1);
        let mut writer = table.writer().unwrap();
        (1..=9).for_each(|key| insert(&mut writer, key));
        writer.begin_growth(Table::first_word_after(1, 1));
        // The first call sets the new array to zero, which no reader looks at.
        assert_eq!(writer.grow(64, |_| ()), Growth::UnderWay);
        let walker = {
            let table = Arc::clone(&table);
            thread::spawn(move || assert!(walk_meets(&table, 9), "key 9 is there all the time"))
        };
        assert!(matches!(writer.grow(1, |_| ()), Growth::Done { .. }));
        walker.join().unwrap();
    });
}

/// Insert, delete and growth by the owner against two readers: keys of both lines, one of them displaced.
#[cfg(shuttle)]
#[test]
fn growth_between_writes_hides_no_key() {
    const LATE: u64 = 1 << 19;
    model(|| {
        let table = Table::on_heap(2, 1);
        let mut writer = table.writer().unwrap();
        (1..=9).for_each(|key| insert(&mut writer, key));
        (0..3).for_each(|key| insert(&mut writer, LATE + key));
        writer.begin_growth(Table::first_word_after(2, 1));
        assert_eq!(writer.grow(64, |_| ()), Growth::UnderWay);
        let readers = [[9, LATE + 1], [LATE + 2, 8]].map(|keys| {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                for key in keys {
                    assert_ne!(find(&table, key), Found::Miss, "key {key} is there all the time");
                }
                assert!(!matches!(find(&table, 99), Found::Hit(_)), "key 99 is not there");
            })
        });
        insert(&mut writer, 10);
        assert_eq!(writer.grow(1, |_| ()), Growth::UnderWay);
        assert!(writer.remove(&Numbers, hash(1), &1u64.to_le_bytes()).is_some());
        insert(&mut writer, LATE + 3);
        assert!(matches!(writer.grow(1, |_| ()), Growth::Done { .. }));
        assert!(writer.remove(&Numbers, hash(LATE), &LATE.to_le_bytes()).is_some());
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        for key in [8, 9, 10, LATE + 1, LATE + 3] {
            assert_eq!(find(&table, key), Found::Hit(item(key)));
        }
    });
}

/// Memory is not reused while a reader that found it is within its tick.
#[test]
fn grace_outlasts_every_reader() {
    model(|| {
        let grace = Grace::new(2);
        let slot = Arc::new(AtomicU64::new(1));
        let memory = Arc::new(AtomicU64::new(1));
        let mut owner = grace.participant(0).expect("nobody has it").pin();
        let reader = {
            let (grace, slot, memory) = (Arc::clone(&grace), Arc::clone(&slot), Arc::clone(&memory));
            thread::spawn(move || {
                let mut pin = grace.participant(1).expect("nobody has it").pin();
                if slot.load(Ordering::Acquire) == 1 {
                    assert_eq!(memory.load(Ordering::Relaxed), 1, "reused under a reader");
                }
                pin.quiescent();
                if slot.load(Ordering::Acquire) == 1 {
                    assert_eq!(memory.load(Ordering::Relaxed), 1, "reused under a reader");
                }
                drop(pin);
            })
        };
        slot.store(0, Ordering::Release);
        let stamp = grace.retire();
        owner.quiescent();
        if grace.passed(stamp) {
            memory.store(2, Ordering::Relaxed);
        }
        reader.join().unwrap();
    });
}

/// Records arrive in order, each once; a full ring gives its record back.
#[test]
fn a_ring_carries_records_in_order() {
    model(|| {
        let (mut producer, mut consumer) = ring::<u64>(2);
        let sender = thread::spawn(move || {
            let mut sent = 0;
            for record in 1..=3 {
                match producer.push(record) {
                    Ok(()) => sent = record,
                    Err(Full(back)) => {
                        assert_eq!(back, record);
                        return sent;
                    }
                }
            }
            sent
        });
        let mut received = Vec::new();
        received.extend(consumer.pop());
        consumer.drain(2, |record| received.push(record));
        let sent = sender.join().unwrap();
        while let Some(record) = consumer.pop() {
            received.push(record);
        }
        assert_eq!(received, (1..=sent).collect::<Vec<_>>());
    });
}

/// A consumer says that it sleeps, and looks once more; a producer pushes, and looks whether it sleeps. If the consumer
/// has seen nothing, it was woken: there is no lost wake-up.
#[test]
fn a_sleeper_sees_the_record_or_is_woken() {
    model(|| {
        let flag = Arc::new(SleepFlag::new());
        let (mut producer, mut consumer) = ring::<u64>(1);
        let sender = {
            let flag = Arc::clone(&flag);
            thread::spawn(move || {
                producer.push(7).unwrap();
                flag.must_wake()
            })
        };
        flag.will_sleep();
        let seen = consumer.waiting() > 0;
        let rings = sender.join().unwrap();
        assert!(seen || rings, "it sleeps on, and its ring holds a record");
        flag.awake();
        assert_eq!(consumer.pop(), Some(7));
    });
}

/// The same through the mesh, with two askers: no request of either is slept over.
#[test]
fn a_worker_sleeps_over_nobodys_mail() {
    model(|| {
        let mut ends = mesh::<u64>(3, 1);
        let flag = Arc::new(SleepFlag::new());
        let mut owner = ends.remove(0);
        let askers: Vec<_> = ends
            .into_iter()
            .map(|mut end| {
                let flag = Arc::clone(&flag);
                thread::spawn(move || {
                    let me = end.index() as u64;
                    end.ask(0, me).unwrap();
                    flag.must_wake()
                })
            })
            .collect();
        flag.will_sleep();
        let seen = owner.has_inbound();
        let rings = askers.into_iter().map(|asker| asker.join().unwrap()).fold(false, |any, one| any | one);
        assert!(seen || rings, "it sleeps on, and there is mail");
        let mut from: Vec<_> = std::iter::from_fn(|| owner.next_request()).collect();
        from.sort_unstable();
        assert_eq!(from, [(1, 1), (2, 2)]);
    });
}
