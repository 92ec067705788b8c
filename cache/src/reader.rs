//! A thread that reads a cache and writes none of it: a view of all shards, for as long as it holds a guard.
//!
//! An item is lent by a guard and lives no longer:
//!
//! ```compile_fail,E0597
//! # fn items(reader: &mut cache::Reader, now: cache::base::clock::Now) {
//! let item = {
//!     let guard = reader.enter();
//!     guard.get(0, b"key", now)
//! };
//! drop(item); // its memory may be another item's by now
//! # }
//! ```
//! A reader has one guard at a time, so nothing that it holds outlives the moment at which it lets go:
//!
//! ```compile_fail,E0499
//! # fn guards(reader: &mut cache::Reader) {
//! let (one, other) = (reader.enter(), reader.enter());
//! drop((one, other));
//! # }
//! ```

use crate::base::clock::Now;
use crate::base::sync::Arc;
use crate::limits::GET_BATCH_MAX;
use crate::memory::Item;
use crate::memory::grace::{Entered, Participant};
use crate::shard::{Look, Shards, View};
use crate::table::Lookup;
use arrayvec::ArrayVec;

/// A thread's right to read. One a thread; while it has no guard it holds nobody up. When it is dropped, another may take its
/// place.
pub struct Reader {
    shards: Arc<Shards>,
    participant: Participant,
}

/// A moment of reading. What owners retire meanwhile stays until the guard is dropped, so hold it for microseconds: stores
/// may have to wait for it.
pub struct Guard<'r> {
    shards: &'r Shards,
    entered: Entered<'r>,
}

/// What a reader finds under a key.
#[derive(Clone, Copy)]
pub enum Read<'g> {
    /// It is there.
    Hit(Item<'g>),
    /// It is not there.
    Miss,
    /// Keys moved each time that the table was looked at. Its owner knows; asked again, it is nearly always settled.
    Unsettled,
}

impl Reader {
    pub(crate) fn new(shards: Arc<Shards>, participant: Participant) -> Reader {
        Reader { shards, participant }
    }

    /// Begins to read.
    pub fn enter(&mut self) -> Guard<'_> {
        Guard { shards: &self.shards, entered: self.participant.enter() }
    }
}

impl Guard<'_> {
    /// Looks for a key in the shard that owns it. It leaves no trace: neither the item nor the policy learns of it.
    pub fn get(&self, shard: usize, key: &[u8], now: Now) -> Read<'_> {
        let view = self.shards.view(&self.entered);
        let look = view.find(&self.lookup(shard, key));
        read(view, shard, look, now)
    }

    /// Looks for many keys, each in the shard that owns it: while one waits for memory, others are on their
    /// way. `found(i, read)` is called once for each key, in order. It leaves no trace either.
    ///
    /// ```
    /// use cache::base::clock::Clock;
    /// use cache::shard::{Mode, Owner, Store};
    /// use cache::{Built, Cache, Read};
    ///
    /// let Built { cache, mut owners, mut participants, .. } =
    ///     Cache::builder().memory_bytes(16 << 20).readers(1).build();
    /// let (mut owner, mut pin) = (Owner::new(owners.remove(0)), participants.remove(0).pin());
    /// let now = Clock::system().now();
    /// owner.store(&mut pin, &Store::new(Mode::Set, b"one", b"1"), now).unwrap();
    ///
    /// let mut reader = cache.reader().unwrap();
    /// let guard = reader.enter();
    /// let mut values = Vec::new();
    /// guard.get_batch(&[(0, &b"one"[..]), (0, &b"two"[..])], now, |_, read| match read {
    ///     Read::Hit(item) => values.push(item.value().whole()),
    ///     Read::Miss | Read::Unsettled => values.push(None),
    /// });
    /// assert_eq!(values, [Some(&b"1"[..]), None]);
    /// ```
    ///
    /// # Panics
    /// When the cache has no such shard.
    pub fn get_batch<'g>(
        &'g self,
        keys: &[(usize, &[u8])],
        now: Now,
        mut found: impl FnMut(usize, Read<'g>),
    ) {
        let view = self.shards.view(&self.entered);
        for (part, first) in keys.chunks(GET_BATCH_MAX).zip((0..).step_by(GET_BATCH_MAX)) {
            let lookups: ArrayVec<Lookup<'_>, GET_BATCH_MAX> =
                part.iter().map(|&(shard, key)| self.lookup(shard, key)).collect();
            view.find_batch(&lookups, |i, look| found(first + i, read(view, part[i].0, look, now)));
        }
    }

    fn lookup<'k>(&self, shard: usize, key: &'k [u8]) -> Lookup<'k> {
        let shards = self.shards;
        assert!(shard < shards.count(), "no shard {shard} of {}", shards.count());
        Lookup { key, hash: shards.hash(key), table: shard as u8 }
    }
}

fn read<'g>(view: View<'g>, shard: usize, look: Look<'g>, now: Now) -> Read<'g> {
    match look {
        Look::Miss => Read::Miss,
        Look::Unsettled => Read::Unsettled,
        Look::Hit(lent) => {
            let item = lent.item();
            if view.is_live(shard, &item, now) { Read::Hit(item) } else { Read::Miss }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::{Mode, Owner, Store};
    use crate::{Built, Cache, Pin};

    #[test]
    fn what_a_guard_lends_stays_until_the_guard_is_dropped() {
        let Built { cache, mut owners, mut participants, .. } =
            Cache::builder().memory_bytes(16 << 20).readers(1).build();
        let mut owner = Owner::new(owners.pop().unwrap());
        let mut pin = participants.pop().unwrap().pin();
        let now = Now { ns: 1_000_000_000, unix_s: 1 };
        let tick = |owner: &mut Owner, pin: &mut Pin| {
            pin.quiescent();
            owner.tick(pin, now, |_| ());
        };
        let set = |owner: &mut Owner, pin: &mut Pin, value: &[u8]| {
            owner.store(pin, &Store::new(Mode::Set, b"key", value), now).map(|_| ()).unwrap();
        };
        let retired = |owner: &Owner| owner.counters().retired_items.get();
        set(&mut owner, &mut pin, b"first");
        for _ in 0..3 {
            let _reader = cache.reader().expect("the one before was given back");
            assert!(cache.reader().is_none(), "one was asked for");
        }
        let mut reader = cache.reader().unwrap();
        let guard = reader.enter();
        let Read::Hit(item) = guard.get(0, b"key", now) else { panic!("it is there") };
        set(&mut owner, &mut pin, b"second");
        (0..5).for_each(|_| tick(&mut owner, &mut pin));
        assert_eq!((item.value().whole(), retired(&owner)), (Some(&b"first"[..]), 1));
        drop(guard);
        (0..2).for_each(|_| tick(&mut owner, &mut pin));
        assert_eq!(retired(&owner), 0);
        let guard = reader.enter();
        let Read::Hit(item) = guard.get(0, b"key", now) else { panic!("it is there") };
        assert_eq!(item.value().whole(), Some(&b"second"[..]));
        assert!(matches!(guard.get(0, b"other", now), Read::Miss));
    }

    /// A place that is free holds nobody up, and one that is taken again waits for nothing that was retired before.
    #[test]
    fn a_dropped_reader_gives_its_place_back() {
        let Built { cache, .. } = Cache::builder().memory_bytes(16 << 20).readers(2).build();
        let grace = cache.grace();
        let kept = cache.reader().unwrap();
        for round in 0..100 {
            let mut reader = cache.reader().expect("the one before was dropped");
            assert!(cache.reader().is_none(), "two were asked for");
            let before = grace.retire();
            let guard = reader.enter();
            assert!(grace.passed(before) && grace.backlog_epochs() == 0, "round {round}");
            let retired = grace.retire();
            assert!(!grace.passed(retired), "the guard may hold what was retired");
            if round % 2 == 0 {
                drop(guard);
            } else {
                std::mem::forget(guard);
            }
            drop(reader);
            assert!(grace.passed(retired), "round {round}: a free place holds nobody up");
        }
        drop(kept);
        let both = (cache.reader(), cache.reader());
        assert!(both.0.is_some() && both.1.is_some() && cache.reader().is_none());
    }

    /// More keys than are looked up together, of two shards, every third of them never stored.
    #[test]
    fn a_batch_of_any_length_is_answered_in_order() {
        let Built { cache, owners, participants, .. } =
            Cache::builder().shards(2).memory_bytes(32 << 20).readers(1).build();
        let mut owners: Vec<_> = owners.into_iter().map(Owner::new).collect();
        let mut pins: Vec<_> = participants.into_iter().map(Participant::pin).collect();
        let now = Now { ns: 1_000_000_000, unix_s: 1 };
        let texts: Vec<_> = (0..2 * GET_BATCH_MAX + 1).map(|number| format!("key:{number}")).collect();
        for (number, text) in texts.iter().enumerate().filter(|(number, _)| number % 3 != 0) {
            let store = Store::new(Mode::Set, text.as_bytes(), text.as_bytes());
            owners[number % 2].store(&mut pins[number % 2], &store, now).map(|_| ()).unwrap();
        }
        let keys: Vec<_> =
            texts.iter().enumerate().map(|(number, text)| (number % 2, text.as_bytes())).collect();
        let mut reader = cache.reader().unwrap();
        let guard = reader.enter();
        let mut answers = Vec::new();
        guard.get_batch(&keys, now, |i, look| {
            assert_eq!(i, answers.len());
            answers.push(if let Read::Hit(item) = look { item.value().whole() } else { None });
        });
        let want = |(number, text): (usize, &'_ String)| (number % 3 != 0).then(|| text.clone().into_bytes());
        let want: Vec<_> = texts.iter().enumerate().map(want).collect();
        assert_eq!(answers.iter().map(|value| value.map(<[u8]>::to_vec)).collect::<Vec<_>>(), want);
    }
}
