//! All shards as a pinned thread may read them.

#![allow(unsafe_code)]

use crate::base::clock::Now;
use crate::base::item_ref::ItemRef;
use crate::memory::{Item, Lent, Slab};
use crate::shard::Shards;
use crate::table::{Found, Keys, Lookup, find_in, same};

/// All shards, for as long as the thread is pinned.
#[derive(Clone, Copy)]
pub struct View<'g> {
    shards: &'g Shards,
}

/// What became of a look at a key.
#[derive(Clone, Copy, Debug)]
pub enum Look<'g> {
    /// It is there, or an item that nobody may be served any more ([`View::is_live`]).
    Hit(Lent<'g>),
    /// It is not there.
    Miss,
    /// Keys moved each time that the table was looked at. Its owner knows; asked again, it is nearly always settled.
    Unsettled,
}

impl<'g> View<'g> {
    pub(super) fn new(shards: &'g Shards) -> View<'g> {
        View { shards }
    }

    /// Looks for a key in the shard that the look-up names by its table.
    #[inline]
    pub fn find(self, lookup: &Lookup<'_>) -> Look<'g> {
        let table = &self.shards.shard(lookup.table as usize).table;
        self.look(table.find(&self, lookup.hash, lookup.key))
    }

    /// The same for many keys, of any shards, in one pipeline; `found(i, look)` is called once for each, in order.
    #[inline]
    pub fn find_batch(self, lookups: &[Lookup<'_>], mut found: impl FnMut(usize, Look<'g>)) {
        let found = |i, answer| found(i, self.look(answer));
        match self.shards.all() {
            [shard] => shard.table.find_batch(&self, lookups, found),
            shards => find_in(|index| &shards[index].table, &self, lookups, found),
        }
    }

    /// Brings what a write of these keys will touch into the cache.
    #[inline]
    pub fn warm(self, shard: usize, lookups: &[Lookup<'_>]) {
        self.shards.shard(shard).table.warm(&self, lookups);
    }

    /// Whether an item of a shard may still be served.
    #[inline]
    pub fn is_live(self, shard: usize, item: &Item<'_>, now: Now) -> bool {
        self.shards.shard(shard).is_live(item, now)
    }

    /// A key of which only the upper 32 bits of its hash are known, if there is one.
    pub fn key_of(self, upper: u32) -> Option<&'g [u8]> {
        let has_hash = |at| (self.shards.hash(self.lend(at).item().key()) >> 32) as u32 == upper;
        let at = self.shards.all().iter().find_map(|shard| shard.table.find_near(upper, has_hash))?;
        Some(self.lend(at).item().key())
    }

    pub(super) fn shards(self) -> &'g Shards {
        self.shards
    }

    #[inline]
    fn look(self, found: Found) -> Look<'g> {
        match found {
            Found::Hit(at) => Look::Hit(self.lend(at)),
            Found::Miss => Look::Miss,
            Found::Unsettled => Look::Unsettled,
        }
    }

    /// Lends an item, of which a slot was read while this view was there.
    #[inline]
    pub(super) fn lend(self, at: ItemRef) -> Lent<'g> {
        // SAFETY: every reference that gets here was read from a slot of one of the shards' tables, by the methods of this view;
        // a view is made for a thread that is pinned for 'g (`Shards::view`).
        unsafe { Lent::new(self.shards.items(), at) }
    }
}

impl Keys for View<'_> {
    #[inline]
    fn key_is(&self, at: ItemRef, key: &[u8]) -> bool {
        same(self.lend(at).item().key(), key)
    }

    #[inline]
    fn prefetch(&self, at: ItemRef) {
        self.shards.items().prefetch(at, PREFETCH_BYTES);
    }
}

/// As the owner looks at the keys of its own shard.
impl Keys for Slab {
    #[inline]
    fn key_is(&self, at: ItemRef, key: &[u8]) -> bool {
        same(self.item(at).key(), key)
    }

    #[inline]
    fn prefetch(&self, at: ItemRef) {
        Slab::prefetch(self, at, PREFETCH_BYTES);
    }
}

/// The header, the key and a short value; the length is not known before the first line is here.
const PREFETCH_BYTES: usize = 192;
