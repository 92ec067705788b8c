//! The index of a shard: which item a key has, and whether that item may still be served.
//!
//! Changes that unlink an item are visible in this folder only: whoever unlinks retires and tells, see `Contents`.

use crate::base::clock::Now;
use crate::base::item_ref::ItemRef;
use crate::base::sync::Arc;
use crate::limits::GROW_LOAD_PERCENT;
use crate::memory::{Item, Slab};
use crate::shard::namespace::Stored;
use crate::shard::route::{Shard, Shards};
use crate::table::{Growth, Place, Upsert, Writer};

/// The table of a shard, with the right to write it.
pub struct Index {
    number: usize,
    shards: Arc<Shards>,
    writer: Writer,
    /// Namespaces that may have items.
    namespaces: Stored,
}

impl Index {
    /// The index of shard `number`.
    ///
    /// # Panics
    /// When the shard has an owner already.
    pub(super) fn new(number: usize, shards: Arc<Shards>) -> Index {
        let shard = shards.shard(number);
        let writer = shard.table.writer().expect("a shard has one owner");
        let namespaces = Stored::new(shard.namespaces());
        Index { number, shards, writer, namespaces }
    }

    /// Which shard.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The shard as others see it.
    #[inline]
    pub fn shard(&self) -> &Shard {
        self.shards.shard(self.number)
    }

    /// All shards.
    #[inline]
    pub fn shards(&self) -> &Arc<Shards> {
        &self.shards
    }

    /// The hash of a key.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.shards.hash(key)
    }

    /// The item of a key, dead or alive.
    #[inline]
    pub fn get(&self, slab: &Slab, hash: u64, key: &[u8]) -> Option<ItemRef> {
        self.writer.get(slab, hash, key)
    }

    /// Where a key is, or would be.
    #[inline]
    pub fn place(&self, slab: &Slab, hash: u64, key: &[u8]) -> Place {
        self.writer.place(slab, hash, key)
    }

    /// Whether nothing has changed since a place was looked for.
    #[inline]
    pub fn is_current(&self, place: &Place) -> bool {
        self.writer.is_current(place)
    }

    /// Whether an item may still be served.
    #[inline]
    pub fn is_live(&self, item: &Item<'_>, now: Now) -> bool {
        self.shard().is_live(item, now)
    }

    /// Whether exactly this item is under a key of which the hash has this upper half.
    pub fn holds(&self, upper: u32, item: ItemRef) -> bool {
        self.writer.holds(upper, item)
    }

    /// Asks the processor for the home line of a hash, without waiting.
    #[inline]
    pub fn prefetch_home(&self, hash: u64) {
        self.writer.table().prefetch_home(hash);
    }

    /// Items in it.
    #[inline]
    pub fn items(&self) -> u64 {
        self.writer.items()
    }

    /// Items that it has places for.
    pub fn capacity(&self) -> u64 {
        self.writer.table().capacity()
    }

    /// Whether it has so many items that it should grow.
    #[inline]
    pub fn is_loaded(&self) -> bool {
        self.items() * 100 > self.capacity() * GROW_LOAD_PERCENT
    }

    /// Words of the array that it would need to double; `None` when it cannot.
    pub fn words_to_grow(&self) -> Option<usize> {
        self.writer.words_to_grow()
    }

    /// Words of the array that it would need to halve; `None` when it cannot.
    pub fn words_to_shrink(&self) -> Option<usize> {
        self.writer.words_to_shrink()
    }

    /// Begins to move to an array of twice the size, from this word of the memory on.
    pub fn begin_growth(&mut self, first_word: usize) {
        self.writer.begin_growth(first_word);
    }

    /// Begins to move to an array of half the size, from this word of the memory on.
    pub fn begin_shrinking(&mut self, first_word: usize) {
        self.writer.begin_shrinking(first_word);
    }

    /// Namespaces that may have items.
    pub fn namespaces(&mut self) -> &mut Stored {
        &mut self.namespaces
    }

    /// Makes a living item as good as stored now.
    pub fn renew(&mut self, item: &Item<'_>) {
        let (state, number) = (item.state(), self.shard().number());
        if state.generation() != number {
            item.set_state(state.with_generation(number));
        }
        self.note_namespace(item.key());
    }

    #[inline]
    fn note_namespace(&mut self, key: &[u8]) {
        if let Some(namespace) = self.shard().namespaces().of(key) {
            self.namespaces.note(namespace);
        }
    }

    /// Whether [`Index::put`] would take the place of another key.
    pub(super) fn would_evict(&self, slab: &Slab, hash: u64, key: &[u8]) -> bool {
        self.writer.would_evict(slab, hash, key)
    }

    /// Puts an item under its key, whose place is current.
    pub(super) fn put(&mut self, place: Place, key: &[u8], item: ItemRef) -> Upsert {
        self.note_namespace(key);
        self.writer.put(place, item)
    }

    /// Removes a key; returns its item.
    pub(super) fn remove(&mut self, slab: &Slab, hash: u64, key: &[u8]) -> Option<ItemRef> {
        self.writer.remove(slab, hash, key)
    }

    /// Removes exactly this item; says whether it was there.
    pub(super) fn remove_item(&mut self, upper: u32, item: ItemRef) -> bool {
        self.writer.remove_item(upper, item)
    }

    /// Puts a copy of an item in its place.
    pub(super) fn redirect(&mut self, upper: u32, from: ItemRef, to: ItemRef) {
        self.writer.redirect(upper, from, to);
    }

    /// Moves the keys of about `lines` home lines; `lost` is given items whose keys found no place.
    pub(super) fn grow(&mut self, lines: u64, lost: impl FnMut(ItemRef)) -> Growth {
        self.writer.grow(lines, lost)
    }
}
