//! Values that are still coming where memory is short: they hold a share of it and no more, and nobody waits for them for ever.

use super::*;

impl SingleOwner {
    /// Reserves values of so many bytes until one has to wait.
    fn reserve_all(&mut self, bytes: usize) -> Vec<Unfinished> {
        let mut all = Vec::new();
        loop {
            match self.try_reserve(1_000_000 + all.len() as u64, bytes, 0) {
                Ok(unfinished) => all.push(unfinished),
                Err(WriteError::Blocked(Blocked::OnGrace)) => drop(self.tick()),
                Err(error) => {
                    assert_eq!(error, Blocked::OnUnfinished.into());
                    return all;
                }
            }
        }
    }

    fn share_bytes(&self) -> u64 {
        (self.pool.slab_pages() * self.pool.layout().page_bytes / UNFINISHED_SHARE) as u64
    }
}

/// Of any size, in an empty memory and in one that is full of long values, or of short ones.
#[test]
fn unfinished_values_hold_a_share_of_the_memory() {
    for (filled_with, bytes) in [(0, 1_000), (0, 100_000), (60_000, 10_000), (60_000, 100_000), (100, 30_000)]
    {
        let mut single = SingleOwner::new(32 << 20, 256);
        for key in 0..(48 << 20) / (filled_with + 100) as u64 {
            if filled_with > 0 {
                single.set(key, &value(key, filled_with));
            }
            if key % 64 == 0 {
                single.tick();
            }
        }
        let mut all = single.reserve_all(bytes);
        let [items, held, by_class] = single.unfinished_figures();
        assert_eq!((items, held), (all.len() as u64, by_class));
        let pages = single.owner.contents().memory.slab().unfinished().pages;
        let is_bounded_by_pages = pages + 50 > single.pool.slab_pages() / UNFINISHED_PAGES_SHARE;
        let is_full = held + 2 * bytes as u64 > single.share_bytes();
        assert!(is_full || is_bounded_by_pages, "{held} of {}, {pages} pages", single.share_bytes());
        assert!(held <= single.share_bytes() && pages <= single.pool.slab_pages() / UNFINISHED_PAGES_SHARE);
        assert_eq!(single.counters.unfinished_waits.get(), 1);
        // The one that waits does not come again.
        (0..11).for_each(|_| _ = single.tick());
        // Each that comes to its end makes room for another one.
        for round in 0..3 * all.len() as u64 {
            let mut unfinished = all.remove(0);
            unfinished.fill(&value(round, bytes));
            single.publish(unfinished, &SET);
            all.push(single.reserve(2_000_000 + round, bytes, 0));
            single.tick();
        }
        // Meanwhile every size can be stored, one after the other.
        for key in 0..4_000 {
            single.set(key, &value(key, 1 << (key % 17)));
            single.tick();
        }
        let [items, held, by_class] = single.unfinished_figures();
        assert_eq!((items, held), (all.len() as u64, by_class));
        all.into_iter().for_each(|unfinished| single.owner.abandon(unfinished));
        assert_eq!(single.unfinished_figures(), [0; 3]);
    }
}

/// Where free slots lie here and there, a few values lie in many pages: no more than half, so that a size which has no page gets one.
#[test]
fn half_of_the_pages_can_be_emptied() {
    let mut single = SingleOwner::new(32 << 20, 256);
    let mut keys = 0;
    while single.counters.evicted_by_pressure.get() < 1_000 {
        single.set(keys, &value(keys, 5_000));
        keys += 1;
        if keys % 16 == 0 {
            single.tick();
        }
    }
    (0..keys).step_by(16).for_each(|key| _ = single.remove(key));
    (0..3).for_each(|_| _ = single.tick());
    let all = single.reserve_all(10_000);
    let half = single.pool.slab_pages() / UNFINISHED_PAGES_SHARE;
    let slots = single.owner.contents().memory.slab().unfinished();
    assert!((half - 10..=half).contains(&slots.pages), "{} pages of {half}", slots.pages);
    assert!(slots.bytes < single.share_bytes() as usize * 2 / 3, "{}", slots.bytes);
    // Each of these sizes needs pages of its own, and gets as many as it needs.
    for bytes in [50, 300, 1_000, 3_000] {
        let (first, count) = (1_000_000 * bytes as u64, (4 << 20) / bytes as u64);
        for n in 0..count {
            single.set(first + n, &value(n, bytes));
            if n % 8 == 0 {
                single.tick();
            }
        }
        single.check_pages();
        let newest = count / 4;
        let kept = (count - newest..count).filter(|n| single.value_of(first + n).is_some()).count() as u64;
        assert!(kept * 10 > newest * 8, "{kept} of {newest} values of {bytes} bytes");
    }
    assert_eq!(single.owner.contents().memory.slab().unfinished(), slots);
    all.into_iter().for_each(|unfinished| single.owner.abandon(unfinished));
}

/// Nothing can be evicted and no page be emptied: the answer is that there is no memory, and not to wait for ever.
#[test]
fn a_store_is_refused_where_a_value_holds_every_page() {
    for evicts in [true, false] {
        let mut single = SingleOwner::of(8 << 20, 4096, evicts);
        let mut pages: Vec<_> = std::iter::from_fn(|| single.pool.take()).collect();
        (0..2).for_each(|_| single.pool.give_back(pages.pop().unwrap()));
        let unfinished = single.reserve(1, 100_000, 0);
        let bytes = value(1, 3_000);
        let store = Store::new(Mode::Set, b"of a class without a page", &bytes);
        for _ in 0..20 {
            single.tick();
            let answer = single.owner.store(&mut single.pin, &store, single.now).map(|stored| stored.outcome);
            assert_eq!(answer, Err(WriteError::OutOfMemory));
        }
        single.check_pages();
        pages.into_iter().for_each(|page| single.pool.give_back(page));
        let answer = single.owner.store(&mut single.pin, &store, single.now).map(|stored| stored.outcome);
        assert_eq!(answer, Ok(Outcome::Stored));
        single.owner.abandon(unfinished);
    }
}

/// Dozens of sizes, and not as many pages: the page that holds least is emptied, unless a value is still coming into it.
#[test]
fn the_emptiest_page_may_have_a_value_in_it() {
    let mut single = SingleOwner::new(4 << 20, 4096);
    let all: Vec<_> = (0..4).map(|n| single.reserve(n, 1_000 + 150 * n as usize, 0)).collect();
    for round in 0..20u64 {
        for n in 0..60u64 {
            single.set(100 + n, &value(n, 40 + 45 * ((n * 7 + round) % 60) as usize));
            single.tick();
            single.check_pages();
        }
    }
    assert!(single.counters.pages_moved.get() > 0);
    for (seed, mut unfinished) in (0..).zip(all) {
        let bytes = unfinished.missing();
        fill(&mut unfinished, &value(seed, bytes), 100);
        single.publish(unfinished, &SET);
        assert_eq!(single.value_of(seed), Some(value(seed, bytes)));
    }
}

/// One value is let in that is more than the share; then nothing is, until it has ended.
#[test]
fn one_value_is_always_let_in() {
    let mut single = SingleOwner::new(4 << 20, 4096);
    let bytes = 1 << 20;
    let unfinished = single.reserve(1, bytes, 0);
    assert!(single.unfinished_figures()[1] > single.share_bytes());
    for bytes in [10, 100_000, 1 << 20] {
        assert_eq!(single.try_reserve(2, bytes, 0).unwrap_err(), Blocked::OnUnfinished.into());
    }
    assert_eq!(single.counters.unfinished_waits.get(), 3);
    assert_eq!(single.try_reserve(2, 3 << 20, 0).unwrap_err(), WriteError::TooLarge);
    single.owner.abandon(unfinished);
    let unfinished = single.reserve(2, bytes, 0);
    single.owner.abandon(unfinished);
}

/// A long value waits, and short ones take what is left: it has its turn when those have ended that were there before it. When it
/// does not ask again, the others go on.
#[test]
fn a_long_value_is_not_starved_by_short_ones() {
    let mut single = SingleOwner::new(16 << 20, 4096);
    let (short, long) = (40_000, 900_000);
    let mut all = std::collections::VecDeque::from(single.reserve_all(short));
    (0..11).for_each(|_| _ = single.tick());
    let (before, mut let_in) = (all.len(), None);
    for tick in 0..200u64 {
        // From the 50th on the long one asks once a tick, before the others or behind them.
        if tick >= 50 && let_in.is_none() && tick % 2 == 0 {
            let_in = single.try_reserve(1, long, 0).ok();
        }
        all.pop_front().into_iter().for_each(|unfinished| single.owner.abandon(unfinished));
        for n in 0..3 {
            all.extend(single.try_reserve(3_000_000 + 3 * tick + n, short, 0));
        }
        if tick >= 50 && let_in.is_none() && tick % 2 == 1 {
            let_in = single.try_reserve(1, long, 0).ok();
        }
        assert!(tick >= 50 || all.len() + 1 >= before, "{} of {before}", all.len());
        single.tick();
    }
    single.owner.abandon(let_in.expect("it has had its turn"));
    all.extend(single.reserve_all(short));
    assert_eq!(single.try_reserve(2, long, 0).unwrap_err(), Blocked::OnUnfinished.into());
    all.pop_front().into_iter().for_each(|unfinished| single.owner.abandon(unfinished));
    (0..12).for_each(|_| _ = single.tick());
    all.push_back(single.reserve(3, short, 0));
    all.into_iter().for_each(|unfinished| single.owner.abandon(unfinished));
    assert!(single.is_empty());
}

/// One long value, in a memory where nearly every page has a chunk of it: a store of another size is stored or refused, and does not
/// wait for the value. When that has ended, it is stored.
#[test]
fn a_store_does_not_wait_for_a_value_that_does_not_come() {
    for evicts in [true, false] {
        let mut single = SingleOwner::of(4 << 20, 4096, evicts);
        let pages = single.pool.slab_pages();
        // Chunks of short long values fill all pages; then every second value goes, and a long one takes the gaps.
        let mut keys = 0;
        while single.pool.free_pages() > 0 && keys < 10_000 {
            let key = (keys as u64).to_le_bytes();
            let bytes = value(keys as u64, 5_000);
            let store = Store::new(Mode::Set, &key, &bytes);
            if single.owner.store(&mut single.pin, &store, single.now).is_err()
                && single.pool.free_pages() <= 2
            {
                break;
            }
            keys += 1;
        }
        (0..keys as u64).step_by(2).for_each(|key| _ = single.remove(key));
        single.tick();
        single.tick();
        let unfinished = single.reserve(1 << 40, 1 << 20, 0);
        assert!(single.owner.contents().memory.slab().unfinished().pages * 2 > pages, "it is everywhere");
        let mut refused = 0;
        for i in 0..400u64 {
            let bytes = value(i, 40 + 30 * i as usize);
            let key = (1 << 50 | i).to_le_bytes();
            let answer = (0..50).find_map(|_| {
                let store = Store::new(Mode::Set, &key, &bytes);
                match single.owner.store(&mut single.pin, &store, single.now).map(|_| ()) {
                    Err(WriteError::Blocked(_)) => {
                        single.tick();
                        None
                    }
                    answer => Some(answer),
                }
            });
            match answer.expect("an answer, and no endless wait") {
                Ok(()) => assert_eq!(single.value_of(1 << 50 | i), Some(bytes)),
                Err(error) => {
                    assert_eq!(error, WriteError::OutOfMemory);
                    refused += 1;
                }
            }
        }
        assert!(refused < 400);
        assert_eq!(unfinished.missing(), 1 << 20);
        single.owner.abandon(unfinished);
        if evicts {
            (0..400u64).for_each(|i| single.set(1 << 51 | i, &value(i, 40 + 30 * i as usize)));
        }
    }
}

/// Where nothing is evicted a value that has no room is refused, and what was stored stays.
#[test]
fn without_eviction_there_is_room_or_none() {
    let mut single = SingleOwner::of(8 << 20, 4096, false);
    let (bytes, mut stored, mut waits) = (50_000, 0, 0);
    let error = loop {
        match single.try_reserve(stored, bytes, 0) {
            Ok(mut unfinished) => {
                fill(&mut unfinished, &value(stored, bytes), 3_333);
                assert_eq!(single.publish(unfinished, &SET), Outcome::Stored);
                (stored, waits) = (stored + 1, 0);
            }
            Err(WriteError::Blocked(_)) => {
                waits += 1;
                assert!(waits < 1_000, "it waits for ever");
                single.tick();
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error, WriteError::OutOfMemory);
    assert!(stored * bytes as u64 > 5 << 20, "{stored}");
    assert!((0..stored).all(|key| single.value_of(key) == Some(value(key, bytes))));
    // What is there can be replaced, and what goes makes room.
    let mut unfinished = single.reserve(0, bytes, 0);
    fill(&mut unfinished, &value(7, bytes), 3_333);
    assert_eq!(single.publish(unfinished, &SET), Outcome::Stored);
    assert!(single.value_of(0) == Some(value(7, bytes)) && single.remove(1) && single.remove(2));
    (0..3).for_each(|_| _ = single.tick());
    let unfinished = single.reserve(stored, bytes, 0);
    single.owner.abandon(unfinished);
    assert_eq!(single.counters.evicted_by_pressure.get(), 0);
}

/// A larger index wants pages in which a value is still coming: they are held, and emptied when it is there.
#[test]
fn an_index_waits_for_a_value_in_its_pages() {
    let mut single = SingleOwner::new(16 << 20, 1 << 20);
    // The last pages are taken first by whoever takes many: fill memory with chunks, then let most go.
    let run = single.pool.want_run(4).expect("a run");
    // Nobody holds a page of it yet: it is in at once. An owner that has none waits for none.
    let free = single.pool.free_pages();
    (0..free).for_each(|_| single.pool.collect_run());
    single.pool.take_run().expect("all its pages are free");
    single.pool.return_run(run.clone());
    let mut all: Vec<_> = (0..single.pool.free_pages()).filter_map(|_| single.pool.take()).collect();
    // The pages of the run are the only free ones.
    all.retain(|page| {
        if run.contains(page) {
            single.pool.give_back(*page);
        }
        !run.contains(page)
    });
    let mut unfinished = single.reserve(1, 100_000, 0);
    let slab = single.owner.contents().memory.slab();
    let with_chunks: Vec<_> = run.clone().filter(|&page| slab.unfinished_in(page) > 0).collect();
    assert!(!with_chunks.is_empty());
    all.into_iter().for_each(|page| single.pool.give_back(page));
    let wanted = single.pool.want_run(4).expect("a run");
    assert_eq!(wanted, run);
    (0..free).for_each(|_| single.pool.collect_run());
    (0..50).for_each(|_| _ = single.tick());
    let slab = single.owner.contents().memory.slab();
    assert!(with_chunks.iter().all(|&page| slab.is_held(page)) && slab.closed_pages() == 0);
    assert!(single.pool.is_held_up() && !single.tick(), "there is nothing to do but to wait");
    assert!(single.pool.missing_pages() > 0 && single.pool.missing_pages() <= 4);
    // What is stored meanwhile goes elsewhere.
    (10..200).for_each(|key| single.set(key, &value(key, 10_000)));
    let slab = single.owner.contents().memory.slab();
    assert!((10..200u64).all(|key| {
        let at = single.owner.find(&key.to_le_bytes(), single.now).expect("stored").at;
        !run.contains(&slab.page_of(at))
    }));
    fill(&mut unfinished, &value(7, 100_000), 5_000);
    single.publish(unfinished, &SET);
    (0..50).for_each(|_| _ = single.tick());
    assert!(single.pool.missing_pages() == 0 && !single.pool.is_held_up());
    assert_eq!(single.pool.take_run(), Some(run.clone()));
    assert_eq!(single.value_of(1), Some(value(7, 100_000)), "it was copied, not evicted");
    single.pool.return_run(run);
    (0..200).for_each(|key| _ = single.remove(key));
    assert!(single.is_empty());
}

/// A page of which only unfinished slots are left is not mistaken for an empty one, nor for a sparse one, whatever its class.
#[test]
fn no_page_is_emptied_under_a_value() {
    let mut single = SingleOwner::new(8 << 20, 512);
    let mut all: Vec<_> = (0..3).map(|n| single.reserve(n, 40_000 + 30_000 * n as usize, 0)).collect();
    all.push(single.reserve(3, 3_000, 0));
    let places: Vec<_> = all.iter().map(|one| (one.at(), one.chunk_refs().collect::<Vec<_>>())).collect();
    for round in 0..30_000u64 {
        single.set(10 + round % 5_000, &value(round, [60, 300, 3_000, 20_000][(round >> 12) as usize % 4]));
        if round % 8 == 0 {
            single.tick();
            single.check_pages();
        }
    }
    assert!(single.counters.pages_moved.get() > 20, "{}", single.counters.pages_moved.get());
    assert!(single.counters.evicted_by_pressure.get() > 1_000);
    for (one, (at, chunks)) in all.iter().zip(&places) {
        assert_eq!((one.at(), &one.chunk_refs().collect::<Vec<_>>()), (*at, chunks));
        assert!(single.owner.contents().memory.slab().owns(*at));
    }
    for (seed, mut unfinished) in (0..).zip(all) {
        let bytes = unfinished.missing();
        fill(&mut unfinished, &value(seed, bytes), 1_234);
        single.publish(unfinished, &SET);
        assert_eq!(single.value_of(seed), Some(value(seed, bytes)));
    }
    assert_eq!(single.class_of_chunks(), Some(Class::CHUNK));
}

impl SingleOwner {
    fn class_of_chunks(&self) -> Option<Class> {
        let found = self.owner.find(&2u64.to_le_bytes(), self.now)?;
        let slab = self.owner.contents().memory.slab();
        slab.class_of(slab.page_of(found.item.value().chunk_refs().next()?))
    }
}
