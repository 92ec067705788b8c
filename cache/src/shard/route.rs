//! The shards of a process as every worker sees them. Which of them owns a key is for its users to say.

use crate::base::clock::Now;
use crate::base::hash::KeyHash;
use crate::base::sync::{Arc, AtomicU32, AtomicU64, Ordering};
#[cfg(not(any(loom, shuttle)))]
use crate::limits::GROW_LOAD_PERCENT;
#[cfg(not(any(loom, shuttle)))]
use crate::memory::class::Class;
use crate::memory::grace::{Grace, Protects};
use crate::memory::{Item, Items};
#[cfg(not(any(loom, shuttle)))]
use crate::memory::{Layout, PagePool};
use crate::shard::namespace::{Names, Namespace, Namespaces};
use crate::shard::number::{after, is_before};
use crate::shard::view::View;
use crate::table::{HALVINGS_MAX, SlotMemory, Table};

/// What is shared of one shard.
pub struct Shard {
    /// Key hash → item.
    pub(crate) table: Arc<Table>,
    /// What the next item is stored with, see `number`. The owner's own.
    number: AtomicU32,
    /// The number of the last flush and [`FLUSHED`]; 0 when no item can be from before it. Written by the owner, read by all.
    flushed: AtomicU32,
    namespaces: Namespaces,
}

/// All shards of the process.
pub struct Shards {
    shards: Box<[Shard]>,
    items: Items,
    hash: KeyHash,
    names: Option<Names>,
    grace: Arc<Grace>,
}

/// The words of the memory, among which the indexes lie: in pages that the pool gave away for them.
#[cfg(not(any(loom, shuttle)))]
struct IndexWords(Items);

#[cfg(not(any(loom, shuttle)))]
impl SlotMemory for IndexWords {
    fn slots(&self) -> &[AtomicU64] {
        self.0.words(0..self.0.bytes() / 8 * 8)
    }
}

impl Shards {
    /// `count` shards over one memory that is cut as `layout` says: an index of `lines` home lines for each, in the first
    /// pages, and a pool of the others. An index is never so small that it could not grow to hold all the smallest items that
    /// memory has room for.
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) fn lay_out(
        items: Items,
        layout: Layout,
        (count, lines): (usize, u64),
        hash: KeyHash,
        separator: Option<u8>,
        grace: Arc<Grace>,
    ) -> (Arc<Shards>, Arc<PagePool>) {
        let items = items.with_chunks(layout.chunks());
        let items_max = layout.pages * layout.page_bytes / count / Class::of(0).slot_bytes();
        let lines = lines.max(Table::lines_to_reach(items_max as u64, GROW_LOAD_PERCENT));
        let lines = lines.next_multiple_of(1 << HALVINGS_MAX);
        let index_pages = (Table::slots_for(lines) * size_of::<u64>()).div_ceil(layout.page_bytes);
        let words: Arc<dyn SlotMemory> = Arc::new(IndexWords(items.share()));
        let first_word = |shard: usize| shard * index_pages * layout.page_bytes / size_of::<u64>();
        let table = |shard| Table::new(Arc::clone(&words), first_word(shard), lines, HALVINGS_MAX);
        let tables = (0..count).map(table).collect();
        (Shards::new(tables, items, hash, separator, grace), PagePool::new(layout, count * index_pages))
    }

    /// One shard for each table, over one memory. With a `separator` keys have namespaces.
    pub(crate) fn new(
        tables: Vec<Arc<Table>>,
        items: Items,
        hash: KeyHash,
        separator: Option<u8>,
        grace: Arc<Grace>,
    ) -> Arc<Shards> {
        let names = separator.map(|separator| Names::new(separator, hash.clone()));
        let shard = |table| Shard {
            table,
            number: AtomicU32::new(0),
            flushed: AtomicU32::new(0),
            namespaces: Namespaces::new(names.clone()),
        };
        let shards = tables.into_iter().map(shard).collect();
        Arc::new(Shards { shards, items, hash, names, grace })
    }

    /// The namespace whose name this key is; `None` where keys have no namespaces, too.
    #[inline]
    pub fn namespace_named(&self, key: &[u8]) -> Option<Namespace> {
        self.names.as_ref()?.named(key)
    }

    /// Shard `index`.
    #[inline]
    pub fn shard(&self, index: usize) -> &Shard {
        &self.shards[index]
    }

    /// Shards of the process.
    pub fn count(&self) -> usize {
        self.shards.len()
    }

    /// The table's hash of a key.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hash.hash(key)
    }

    /// The shards as a pinned thread may read them.
    ///
    /// # Panics
    /// When the pin is of another cache.
    #[inline]
    pub fn view<'g>(&'g self, pin: &'g impl Protects) -> View<'g> {
        assert!(pin.protects(&self.grace), "a pin of this cache");
        View::new(self)
    }

    /// When retired memory may be used again.
    pub fn grace(&self) -> &Arc<Grace> {
        &self.grace
    }

    pub(super) fn all(&self) -> &[Shard] {
        &self.shards
    }

    #[inline]
    pub(crate) fn items(&self) -> &Items {
        &self.items
    }
}

impl Shard {
    /// Whether an item of this shard may still be served.
    #[inline]
    pub fn is_live(&self, item: &Item<'_>, now: Now) -> bool {
        let state = item.state();
        !state.expired(now.ms()) && !self.is_dead(item.key(), state.generation())
    }

    /// Whether an item with this key and number was flushed, or its namespace invalidated, since it was stored.
    #[inline]
    fn is_dead(&self, key: &[u8], number: u32) -> bool {
        // Acquire: pairs with the Release in `flush`; a reader that an answer told of a flush sees it.
        let flushed = self.flushed.load(Ordering::Acquire);
        flushed & FLUSHED != 0 && is_before(number, flushed & !FLUSHED)
            || self.namespaces.is_invalid(key, number)
    }

    /// The number that a store gets now. Owner only.
    #[inline]
    pub fn number(&self) -> u32 {
        // Relaxed: the owner reads what it wrote itself.
        self.number.load(Ordering::Relaxed)
    }

    /// Its namespaces.
    pub(super) fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Makes every item of the shard stale at once; returns the new number. Owner only.
    pub(super) fn flush(&self) -> u32 {
        let number = self.step();
        // Release: pairs with the Acquire in `is_dead`.
        self.flushed.store(number | FLUSHED, Ordering::Release);
        number
    }

    /// Makes every item of a namespace stale at once; returns the new number. Owner only.
    pub(super) fn invalidate(&self, namespace: Namespace) -> u32 {
        let number = self.step();
        self.namespaces.invalid.insert(namespace, number);
        number
    }

    /// No item from before this number is left, and no reader holds one: a flush that is not later says nothing any more.
    /// Owner only.
    pub(super) fn forget_flush(&self, number: u32) {
        // Relaxed: the owner reads what it wrote itself; to see the change late does no harm.
        let flushed = self.flushed.load(Ordering::Relaxed);
        if !is_before(number, flushed & !FLUSHED) {
            self.flushed.store(0, Ordering::Relaxed);
        }
    }

    fn step(&self) -> u32 {
        let number = after(self.number());
        // Relaxed: only the owner reads it.
        self.number.store(number, Ordering::Relaxed);
        number
    }
}

/// There was a flush.
const FLUSHED: u32 = 1 << 31;
