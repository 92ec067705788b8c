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
use crate::memory::Item;
use crate::memory::grace::Participant;
use crate::shard::Shards;
use crate::table::Found;

/// A thread's right to read. One a thread; while it has no guard it holds nobody up.
pub struct Reader {
    shards: Arc<Shards>,
    participant: Participant,
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
    pub(crate) fn new(shards: Arc<Shards>, participant: Participant) -> Reader {
        Reader { shards, participant }
    }

    /// Begins to read.
    pub fn enter(&mut self) -> Guard<'_> {
        self.participant.online();
        Guard { reader: self }
    }
}

impl Guard<'_> {
    /// Looks for a key in the shard that owns it. It leaves no trace: neither the item nor the policy learns of it.
    pub fn get(&self, shard: usize, key: &[u8], now: Now) -> Look<'_> {
        let Reader { shards, .. } = self.reader;
        let shard = shards.shard(shard);
        match shard.table.find(shards.items(), shards.hash(key), key) {
            Found::Miss => Look::Miss,
            Found::Unsettled => Look::Unsettled,
            Found::Hit(at) => {
                let item = shards.items().get(at);
                if shard.is_live(&item, now) { Look::Hit(item) } else { Look::Miss }
            }
        }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.reader.participant.offline();
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
}
