//! Two owners: what one stores at once, the other reserves, fills and publishes. They answer alike and hold the same.

use super::*;

struct Twins {
    at_once: SingleOwner,
    in_pieces: SingleOwner,
    random: u64,
}

/// Everything that a client can see of an item.
type Seen = Option<(Vec<u8>, u32, u64, crate::memory::State, bool, usize)>;

fn seen(single: &SingleOwner, key: u64) -> Seen {
    let item = single.owner.find(&key.to_le_bytes(), single.now)?.item;
    let value = item.value().pieces().collect::<Vec<_>>().concat();
    Some((value, item.flags(), item.cas(), item.state(), item.fetched(), item.bytes_in_slot()))
}

impl Twins {
    fn next(&mut self, bound: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % bound
    }

    fn both(&mut self, mut act: impl FnMut(&mut SingleOwner)) {
        act(&mut self.at_once);
        act(&mut self.in_pieces);
    }

    /// Terms of any kind: cas numbers that are right, older, newer and none.
    fn terms(&mut self, key: u64) -> Terms {
        let modes = [Mode::Set, Mode::Set, Mode::Add, Mode::Replace, Mode::Append, Mode::Prepend];
        let cas = seen(&self.at_once, key).map_or(5, |(_, _, cas, ..)| cas);
        let compare_cas = [None, None, Some(cas), Some(cas + 1), Some(cas.saturating_sub(1)), Some(0)];
        let due_ms = [0, self.at_once.now.ms() + 1_000_000, self.at_once.now.ms()];
        Terms {
            mode: modes[self.next(6) as usize],
            due_ms: due_ms[self.next(3) as usize],
            compare_cas: compare_cas[self.next(6) as usize],
            new_cas: [None, Some(self.next(1 << 40))][self.next(2) as usize],
            takes_older: self.next(2) == 0,
            or_create_due_ms: [None, Some(0)][self.next(2) as usize],
        }
    }

    /// One store, at once and in pieces; other things happen while the pieces come.
    fn store(&mut self, i: u64) {
        let (key, flags) = (self.next(6), self.next(3) as u32);
        let bytes = [0, 7, 2_000, 5_000, 70_000][self.next(5) as usize];
        let mut unfinished = self.in_pieces.reserve(key, bytes, flags);
        fill(&mut unfinished, &value(i, bytes), 1 + self.next(9_999) as usize);
        let (other, what) = (if self.next(2) == 0 { key } else { self.next(6) }, self.next(6));
        self.both(|single| match what {
            0 => single.set(other, &value(other, 3_000)),
            1 => _ = single.remove(other),
            2 => single.owner.flush(None).unwrap(),
            3 => _ = single.tick(),
            4 => {
                let key = other.to_le_bytes();
                let remains =
                    Remains { is_stale: true, is_emptied: false, flags: 0, new_cas: None, due_ms: None };
                let delete = Delete { leaves: Some(remains), ..Delete::new(&key) };
                single.owner.delete(&mut single.pin, &delete, single.now).unwrap();
                single.owner.find(&key, single.now).inspect(|found| found.note_win_sent());
            }
            _ => {}
        });
        let terms = self.terms(key);
        let bytes_of = value(i, bytes);
        let key_bytes = key.to_le_bytes();
        let store = Store { value: &bytes_of, ..terms.store(&key_bytes, flags) };
        let single = &mut self.at_once;
        let at_once = single.owner.store(&mut single.pin, &store, single.now).map(|stored| stored.outcome);
        let single = &mut self.in_pieces;
        let in_pieces = single.owner.publish(&mut single.pin, unfinished, &terms, single.now);
        let in_pieces = in_pieces.map(|stored| stored.outcome).map_err(|unpublished| {
            let error = unpublished.error;
            self.in_pieces.owner.abandon(unpublished.unfinished);
            error
        });
        assert_eq!(in_pieces, at_once, "step {i}: {terms:?}");
    }
}

#[test]
fn a_publish_is_decided_as_a_store_is() {
    for seed in 1..=20 {
        let owner = || SingleOwner::with_values_of(32 << 20, 4096, seed % 2 == 0, 200_000);
        let mut twins = Twins { at_once: owner(), in_pieces: owner(), random: seed };
        for i in 0..300 {
            twins.store(i);
            for key in 0..6 {
                let (at_once, in_pieces) = (seen(&twins.at_once, key), seen(&twins.in_pieces, key));
                assert!(at_once == in_pieces, "seed {seed}, step {i}, key {key}");
            }
            if i % 3 == 0 {
                twins.both(|single| _ = single.tick());
            }
        }
        let figures = |single: &SingleOwner| {
            let of = &single.counters;
            let stores = [&of.cmd_set, &of.total_items, &of.cas_hits, &of.cas_misses, &of.cas_badval];
            stores.map(|counter| counter.get())
        };
        assert_eq!(figures(&twins.at_once), figures(&twins.in_pieces));
        assert!(figures(&twins.at_once).iter().all(|&figure| figure > 0), "every kind of answer");
        twins.both(|single| {
            (0..6).for_each(|key| _ = single.remove(key));
            assert!(single.is_empty());
        });
    }
}

/// While a reader keeps all that may be retired, nothing is published, and no value is lost by it.
#[test]
fn a_value_that_has_to_wait_comes_back() {
    for mode in [Mode::Set, Mode::Append] {
        let mut single = SingleOwner::new(16 << 20, 4096);
        let mut reader = single.cache.reader().expect("nobody reads");
        single.set(1, &value(1, 100_000));
        let mut unfinished = single.reserve(1, 100_000, 3);
        fill(&mut unfinished, &value(2, 100_000), 7_777);
        let guard = reader.enter();
        let key = 2u64.to_le_bytes();
        while single.owner.contents().memory.can_retire() {
            let store = Store::new(Mode::Set, &key, &[1; 10]);
            single.owner.store(&mut single.pin, &store, single.now).map(|_| ()).unwrap();
        }
        let figures = |single: &SingleOwner| {
            let of = &single.counters;
            [&of.cmd_set, &of.total_items].map(|counter| counter.get())
        };
        let before = (single.unfinished_figures(), figures(&single));
        for _ in 0..5 {
            let terms = Terms::new(mode);
            let published = single.owner.publish(&mut single.pin, unfinished, &terms, single.now);
            let back = published.err().expect("nothing can be retired");
            assert_eq!(back.error, Blocked::OnGrace.into());
            unfinished = back.unfinished;
            single.tick();
            assert_eq!((single.unfinished_figures(), figures(&single)), before);
        }
        assert_eq!(single.value_of(1), Some(value(1, 100_000)));
        drop(guard);
        assert_eq!(single.publish(unfinished, &Terms::new(mode)), Outcome::Stored);
        let old = if mode == Mode::Append { value(1, 100_000) } else { Vec::new() };
        assert_eq!(single.value_of(1), Some([old, value(2, 100_000)].concat()));
        assert!(single.remove(1) && single.remove(2) && single.is_empty());
    }
}
