//! Values that come in pieces: stored as if they had come at once, by what is there when the last piece has come.

use super::*;
use crate::limits::{UNFINISHED_PAGES_SHARE, UNFINISHED_SHARE};
use crate::memory::Unfinished;
use crate::memory::class::Class;

mod crowded;
mod model;
mod twins;

impl SingleOwner {
    /// Reserves room for a value, waiting ticks where memory is under grace, or held by others.
    fn reserve(&mut self, key: u64, value_bytes: usize, flags: u32) -> Unfinished {
        for _ in 0..100 {
            match self.try_reserve(key, value_bytes, flags) {
                Ok(unfinished) => return unfinished,
                Err(WriteError::Blocked(Blocked::OnGrace)) => drop(self.tick()),
                Err(error) => panic!("{value_bytes} bytes cannot be reserved: {error}"),
            }
        }
        panic!("room for {value_bytes} bytes is waited for for ever");
    }

    fn try_reserve(&mut self, key: u64, value_bytes: usize, flags: u32) -> Result<Unfinished, WriteError> {
        let reserve = Reserve { key: &key.to_le_bytes(), value_bytes, flags };
        self.owner.reserve(&mut self.pin, &reserve, self.now)
    }

    /// Publishes a value, again in the next tick where memory is under grace.
    fn publish(&mut self, mut unfinished: Unfinished, terms: &Terms) -> Outcome {
        for _ in 0..100 {
            match self.owner.publish(&mut self.pin, unfinished, terms, self.now) {
                Ok(stored) => return stored.outcome,
                Err(Unpublished { error: WriteError::Blocked(Blocked::OnGrace), unfinished: back }) => {
                    unfinished = back;
                    self.tick();
                }
                Err(Unpublished { error, .. }) => panic!("a value cannot be published: {error}"),
            }
        }
        panic!("a value waits for ever");
    }

    /// What unfinished values have, by each of the figures for it.
    fn unfinished_figures(&mut self) -> [u64; 3] {
        self.owner.contents().publish_figures();
        let tallies = SlabStats::read_all(&[self.owner.contents().memory.slab().stats()]);
        let by_class = tallies.iter().map(|(_, tally)| tally.unfinished * tally.slot_bytes).sum();
        [self.counters.unfinished_items.get(), self.counters.unfinished_bytes.get(), by_class]
    }

    /// Pages in which values are still coming are open, or held for a larger index, and never emptied; and the slots of these values
    /// are in no walk.
    fn check_pages(&self) {
        let slab = self.owner.contents().memory.slab();
        let with: Vec<_> =
            (0..self.pool.layout().pages).filter(|&page| slab.unfinished_in(page) > 0).collect();
        assert_eq!(slab.unfinished().pages, with.len());
        for page in with {
            assert!(!slab.is_closed(page) || slab.is_held(page), "page {page} is emptied under a value");
            let (mut from, mut met) = (0, 0);
            while let Some((number, _)) = slab.next_used_slot(page, from) {
                (from, met) = (number + 1, met + 1);
            }
            assert_eq!(met + slab.unfinished_in(page), slab.used_in(page));
        }
    }

    /// Whether all memory is back when every item is gone.
    fn is_empty(&mut self) -> bool {
        while self.tick() {}
        self.tick();
        let figures = [self.counters.used_bytes.get(), self.counters.item_bytes.get()];
        let pages = self.pool.free_pages() == self.pool.slab_pages();
        figures == [0; 2] && self.unfinished_figures() == [0; 3] && pages
    }
}

/// Bytes that tell where they belong.
fn value(seed: u64, bytes: usize) -> Vec<u8> {
    (0..bytes as u64).map(|i| ((i * 31 + seed * 7) >> 2) as u8 ^ seed as u8).collect()
}

/// Fills in a value, by pieces as long as `piece_bytes` at most.
fn fill(unfinished: &mut Unfinished, value: &[u8], piece_bytes: usize) {
    value.chunks(piece_bytes).for_each(|piece| assert_eq!(unfinished.fill(piece), piece.len()));
    assert_eq!((unfinished.missing(), unfinished.room().len(), unfinished.fill(b"more")), (0, 0, 0));
}

const SET: Terms = Terms {
    mode: Mode::Set,
    due_ms: 0,
    compare_cas: None,
    new_cas: None,
    takes_older: false,
    or_create_due_ms: None,
};

/// Of every shape, cut everywhere: nothing is found before it is published, and then the item is the one that a store makes.
#[test]
fn a_value_in_pieces_is_the_item_that_a_store_makes() {
    let mut single = SingleOwner::new(32 << 20, 4096);
    let chunks = single.owner.contents().memory.slab().chunk_sizes();
    let (payload, whole) = (chunks.payload_bytes(), single.pool.layout().page_bytes / 32);
    let around = |bytes: usize| bytes.saturating_sub(2)..bytes + 3;
    let sizes = (0..3).chain(around(100)).chain(around(whole - 36)).chain(around(whole));
    let sizes = sizes.chain(around(2 * payload)).chain(around(29 * payload)).chain([300_000, 2 << 20]);
    for (bytes, flags) in sizes.flat_map(|bytes| [(bytes, 0), (bytes, 0x0102_0304)]) {
        let bytes_of = value(bytes as u64, bytes);
        for piece_bytes in [1, payload - 1, payload, payload + 1, usize::MAX] {
            let mut unfinished = single.reserve(1, bytes, flags);
            assert_eq!((unfinished.key(), unfinished.flags()), (&1u64.to_le_bytes()[..], flags));
            fill(&mut unfinished, &bytes_of, piece_bytes);
            assert_eq!(single.value_of(1), None, "nobody finds what is not published");
            assert!(single.unfinished_figures().iter().all(|&figure| figure > 0));
            assert_eq!(single.publish(unfinished, &SET), Outcome::Stored);
            assert_eq!(single.unfinished_figures(), [0; 3]);
            let key = 2u64.to_le_bytes();
            let store = Store { flags, ..Store::new(Mode::Set, &key, &bytes_of) };
            single.owner.store(&mut single.pin, &store, single.now).map(|_| ()).unwrap();
            let look = |key: u64| {
                let found = single.owner.find(&key.to_le_bytes(), single.now).expect("stored");
                let item = found.item;
                let pieces: Vec<_> = item.value().pieces().map(<[u8]>::len).collect();
                assert_eq!((item.shape().chunks + 1, item.flags()), (pieces.len(), flags));
                (pieces, item.bytes(), item.bytes_in_slot(), item.state(), single.owner.slot_bytes(found.at))
            };
            assert_eq!(look(1), look(2), "{bytes} bytes, flags {flags}");
            assert_eq!(single.value_of(1).as_ref(), Some(&bytes_of), "{bytes} bytes by {piece_bytes}");
            assert!(single.remove(1) && single.remove(2));
            single.tick();
        }
        single.tick();
    }
    assert!(single.is_empty());
}

/// The largest value that there is.
#[test]
fn the_largest_value_comes_in_pieces() {
    let bytes = crate::limits::VALUE_BYTES_LIMIT;
    let mut single = SingleOwner::with_values_of(40 << 20, 4096, true, bytes);
    let long = value(3, bytes);
    assert_eq!(single.try_reserve(1, bytes + 1, 0).unwrap_err(), WriteError::TooLarge);
    let mut unfinished = single.reserve(1, bytes, 9);
    fill(&mut unfinished, &long, 60_000);
    assert_eq!(single.publish(unfinished, &SET), Outcome::Stored);
    assert_eq!(single.value_of(1), Some(long));
    let unfinished = single.reserve(1, bytes, 0);
    single.owner.abandon(unfinished);
    assert!(single.remove(1) && single.is_empty());
}

#[test]
fn no_slot_is_lost() {
    let mut single = SingleOwner::new(16 << 20, 4096);
    let sizes = [10, 3_000, 20_000, 100_000];
    for round in 0..10_000 {
        let unfinished = single.reserve(round, sizes[round as usize % sizes.len()], 0);
        single.owner.abandon(unfinished);
    }
    assert_eq!((single.counters.unfinished_abandoned.get(), single.counters.cmd_set.get()), (10_000, 0));
    assert!(single.is_empty());
    for round in 0..10_000 {
        let bytes = sizes[round as usize % sizes.len()];
        let mut unfinished = single.reserve(round % 100, bytes, 1);
        unfinished.advance(0);
        while unfinished.missing() > 0 {
            let room = unfinished.room().len();
            unfinished.advance(room);
        }
        assert_eq!(single.publish(unfinished, &SET), Outcome::Stored);
        single.tick();
    }
    let counters = &single.counters;
    assert_eq!((counters.cmd_set.get(), counters.total_items.get()), (10_000, 10_000));
    (0..100).for_each(|key| _ = single.remove(key));
    assert!(single.is_empty());
    // One that comes back to no owner is seen for as long as there are figures.
    drop(single.reserve(1, 100_000, 0));
    (0..100).for_each(|_| _ = single.tick());
    assert_eq!(single.unfinished_figures()[0], 1);
    assert!(!single.is_empty());
}

/// Bytes that the owner copies cost its tick time; a value that another thread has written does not.
#[test]
fn what_others_have_written_is_no_work_of_the_owner() {
    let mut single = SingleOwner::new(16 << 20, 4096);
    let mut unfinished = single.reserve(1, 50_000, 0);
    fill(&mut unfinished, &value(1, 50_000), 9_999);
    single.publish(unfinished, &SET);
    assert_eq!(single.owner.take_written_bytes(), 0);
    let mut unfinished = single.reserve(1, 50_000, 0);
    fill(&mut unfinished, &value(2, 50_000), 9_999);
    single.publish(unfinished, &Terms::new(Mode::Append));
    assert!(single.owner.take_written_bytes() > 100_000);
    assert_eq!(single.value_of(1), Some([value(1, 50_000), value(2, 50_000)].concat()));
}

#[test]
#[should_panic(expected = "all of it is there")]
fn a_value_that_is_not_there_is_not_published() {
    let mut single = SingleOwner::new(16 << 20, 4096);
    let mut unfinished = single.reserve(1, 50_000, 0);
    unfinished.fill(&[1; 49_999]);
    single.publish(unfinished, &SET);
}

/// A flush is about what was stored before it: a value that is published after it stays.
#[test]
fn a_value_that_is_published_after_a_flush_stays() {
    let mut single = SingleOwner::new(16 << 20, 4096);
    single.set(1, b"old");
    let mut unfinished = single.reserve(2, 50_000, 0);
    fill(&mut unfinished, &value(2, 50_000), 1_000);
    single.owner.flush(None).unwrap();
    (0..100).for_each(|_| _ = single.tick());
    assert_eq!(single.publish(unfinished, &SET), Outcome::Stored);
    (0..100).for_each(|_| _ = single.tick());
    assert_eq!((single.value_of(1), single.value_of(2)), (None, Some(value(2, 50_000))));
}

/// What values that are still coming hold is not in the policy's budget, so that it and not pressure makes room for them.
#[test]
fn the_policy_makes_room_for_what_is_coming() {
    let mut single = SingleOwner::new(64 << 20, 4096);
    let budget = |single: &mut SingleOwner| {
        let mut told = None;
        single.pin.quiescent();
        single.owner.tick(&mut single.pin, single.now, |_| ());
        single.events.drain(usize::MAX, |event| {
            if let Event::Budget { bytes } = event {
                told = Some(bytes);
            }
        });
        told
    };
    let before = budget(&mut single).expect("told at first");
    let unfinished = single.reserve(1, 2 << 20, 0);
    let with = budget(&mut single).expect("it has changed");
    assert!(with + (2 << 20) <= before && with + (3 << 20) >= before, "{before}, then {with}");
    single.owner.abandon(unfinished);
    assert_eq!(budget(&mut single), Some(before));
}
