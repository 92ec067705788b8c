//! A thread that reads a cache and writes none of it: a view of all shards, for as long as it holds a guard.
//!
//! An item is lent by a guard and lives no longer:
//!
//! ```compile_fail
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
//! ```compile_fail
//! # fn guards(reader: &mut cache::Reader) {
//! let (one, other) = (reader.enter(), reader.enter());
//! drop((one, other));
//! # }
//! ```

use crate::base::clock::Now;
use crate::base::sync::Arc;
use crate::limits::GET_BATCH_MAX;
use crate::memory::Item;
use crate::memory::grace::Participant;
use crate::shard::Shards;
use crate::table::{Found, Lookup};
use arrayvec::ArrayVec;
use crossbeam_queue::ArrayQueue;

/// A thread's right to read. One a thread; while it has no guard it holds nobody up. When it is dropped, another may take its
/// place.
pub struct Reader {
    shards: Arc<Shards>,
    /// Its part in grace, until it is dropped.
    participant: Option<Participant>,
    /// The parts in grace that no reader has.
    free: Arc<ArrayQueue<Participant>>,
}

/// A moment of reading. What owners retire meanwhile stays until the guard is dropped, so hold it for microseconds: stores
/// may have to wait for it.
pub struct Guard<'r> {
    reader: &'r Reader,
}

/// What became of a look at a key.
#[derive(Clone, Copy)]
pub enum Look<'g> {
    /// It is there.
    Hit(Item<'g>),
    /// It is not there.
    Miss,
    /// Keys moved each time that the table was looked at. Its owner knows; asked again, it is nearly always settled.
    Unsettled,
}

impl Reader {
    /// A reader with one of the parts in grace that are `free`, if there is one.
    pub(crate) fn take(shards: &Arc<Shards>, free: &Arc<ArrayQueue<Participant>>) -> Option<Reader> {
        let participant = free.pop()?;
        Some(Reader { shards: Arc::clone(shards), participant: Some(participant), free: Arc::clone(free) })
    }

    /// Begins to read.
    pub fn enter(&mut self) -> Guard<'_> {
        self.participant().online();
        Guard { reader: self }
    }

    fn participant(&self) -> &Participant {
        self.participant.as_ref().expect("it has its part in grace until it is dropped")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(participant) = self.participant.take() else { return };
        // A guard may have been forgotten. The queue orders: what the next reader stores comes behind this.
        participant.offline();
        self.free.push(participant).expect("room for the part of each reader");
    }
}

impl Guard<'_> {
    /// Looks for a key in the shard that owns it. It leaves no trace: neither the item nor the policy learns of it.
    pub fn get(&self, shard: usize, key: &[u8], now: Now) -> Look<'_> {
        let Reader { shards, .. } = self.reader;
        let found = shards.shard(shard).table.find(shards.items(), shards.hash(key), key);
        self.look(shard, found, now)
    }

    /// Looks for many keys, each in the shard that owns it: while one waits for memory, others are on their
    /// way. `found(i, look)` is called once for each key, in order. It leaves no trace either.
    ///
    /// ```
    /// use cache::base::clock::Clock;
    /// use cache::shard::{Mode, Owner, Store};
    /// use cache::{Built, Cache, Look};
    ///
    /// let Built { cache, mut owners, .. } = Cache::builder().memory_bytes(16 << 20).readers(1).build();
    /// let (mut owner, now) = (Owner::new(owners.pop().unwrap()), Clock::system().now());
    /// owner.store(&Store::new(Mode::Set, b"one", b"1"), now).unwrap();
    ///
    /// let mut reader = cache.reader().unwrap();
    /// let guard = reader.enter();
    /// let mut values = Vec::new();
    /// guard.get_batch(&[(0, &b"one"[..]), (0, &b"two"[..])], now, |_, look| match look {
    ///     Look::Hit(item) => values.push(item.value().whole()),
    ///     Look::Miss | Look::Unsettled => values.push(None),
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
        mut found: impl FnMut(usize, Look<'g>),
    ) {
        let Reader { shards, .. } = self.reader;
        let lookup = |&(shard, key): &(usize, _)| {
            assert!(shard < shards.count(), "no shard {shard} of {}", shards.count());
            Lookup { key, hash: shards.hash(key), table: shard as u8 }
        };
        for (part, first) in keys.chunks(GET_BATCH_MAX).zip((0..).step_by(GET_BATCH_MAX)) {
            let lookups: ArrayVec<Lookup<'_>, GET_BATCH_MAX> = part.iter().map(lookup).collect();
            shards.find_batch(&lookups, |i, answer| found(first + i, self.look(part[i].0, answer, now)));
        }
    }

    fn look(&self, shard: usize, found: Found, now: Now) -> Look<'_> {
        let Reader { shards, .. } = self.reader;
        match found {
            Found::Miss => Look::Miss,
            Found::Unsettled => Look::Unsettled,
            Found::Hit(at) => {
                let item = shards.items().get(at);
                if shards.shard(shard).is_live(&item, now) { Look::Hit(item) } else { Look::Miss }
            }
        }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.reader.participant().offline();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::{Mode, Owner, Store};
    use crate::{Built, Cache};

    #[test]
    fn what_a_guard_lends_stays_until_the_guard_is_dropped() {
        let Built { cache, mut owners, .. } = Cache::builder().memory_bytes(16 << 20).readers(1).build();
        let mut owner = Owner::new(owners.pop().unwrap());
        let now = Now { ns: 1_000_000_000, unix_s: 1 };
        let tick = |owner: &mut Owner| {
            owner.participant().quiescent();
            owner.tick(now, |_| ());
        };
        owner.participant().online();
        let set = |owner: &mut Owner, value: &[u8]| {
            owner.store(&Store::new(Mode::Set, b"key", value), now).map(|_| ()).unwrap();
        };
        let retired = |owner: &Owner| owner.counters().retired_items.get();
        set(&mut owner, b"first");
        let mut reader = cache.reader().unwrap();
        assert!(cache.reader().is_none(), "one was asked for");
        let guard = reader.enter();
        let Look::Hit(item) = guard.get(0, b"key", now) else { panic!("it is there") };
        set(&mut owner, b"second");
        (0..5).for_each(|_| tick(&mut owner));
        assert_eq!((item.value().whole(), retired(&owner)), (Some(&b"first"[..]), 1));
        drop(guard);
        (0..2).for_each(|_| tick(&mut owner));
        assert_eq!(retired(&owner), 0);
        let guard = reader.enter();
        let Look::Hit(item) = guard.get(0, b"key", now) else { panic!("it is there") };
        assert_eq!(item.value().whole(), Some(&b"second"[..]));
        assert!(matches!(guard.get(0, b"other", now), Look::Miss));
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
        let Built { cache, owners, .. } =
            Cache::builder().shards(2).memory_bytes(32 << 20).readers(1).build();
        let mut owners: Vec<_> = owners.into_iter().map(Owner::new).collect();
        let now = Now { ns: 1_000_000_000, unix_s: 1 };
        let texts: Vec<_> = (0..2 * GET_BATCH_MAX + 1).map(|number| format!("key:{number}")).collect();
        for (number, text) in texts.iter().enumerate().filter(|(number, _)| number % 3 != 0) {
            let store = Store::new(Mode::Set, text.as_bytes(), text.as_bytes());
            owners[number % 2].store(&store, now).map(|_| ()).unwrap();
        }
        let keys: Vec<_> =
            texts.iter().enumerate().map(|(number, text)| (number % 2, text.as_bytes())).collect();
        let mut reader = cache.reader().unwrap();
        let guard = reader.enter();
        let mut answers = Vec::new();
        guard.get_batch(&keys, now, |i, look| {
            assert_eq!(i, answers.len());
            answers.push(if let Look::Hit(item) = look { item.value().whole() } else { None });
        });
        let want = |(number, text): (usize, &'_ String)| (number % 3 != 0).then(|| text.clone().into_bytes());
        let want: Vec<_> = texts.iter().enumerate().map(want).collect();
        assert_eq!(answers.iter().map(|value| value.map(<[u8]>::to_vec)).collect::<Vec<_>>(), want);
    }
}
