//! The shards of a process as every worker sees them, and which of them owns a key.

use crate::clock::Now;
#[cfg(not(any(loom, shuttle)))]
use crate::config::limits::GROW_LOAD_PERCENT;
use crate::hash::{KeyHash, owner, steer};
#[cfg(not(any(loom, shuttle)))]
use crate::memory::class::Class;
use crate::memory::{Item, Items, State};
#[cfg(not(any(loom, shuttle)))]
use crate::memory::{Layout, PagePool};
use crate::protocol::request::Command;
use crate::shard::namespace::{Names, Namespaces, Place};
use crate::sync::{Arc, AtomicU32, Ordering};
use crate::table::{HALVINGS_MAX, SlotMemory, Table};

/// What is shared of one shard.
pub struct Shard {
    /// Key hash → item.
    pub table: Arc<Table>,
    /// Items of another generation are flushed. Written by the owner, read by all.
    generation: AtomicU32,
    namespaces: Namespaces,
}

/// All shards of the process.
pub struct Shards {
    shards: Box<[Shard]>,
    items: Items,
    hash: KeyHash,
    names: Option<Names>,
}

impl Shards {
    /// `count` shards over one memory that is cut as `layout` says: an index of `lines` home lines for each, in the first
    /// pages, and a pool of the others. An index is never so small that it could not grow to hold all the smallest items that
    /// memory has room for.
    #[cfg(not(any(loom, shuttle)))]
    pub fn lay_out(
        items: Items,
        layout: Layout,
        (count, lines): (usize, u64),
        hash: KeyHash,
        separator: Option<u8>,
    ) -> (Arc<Shards>, Arc<PagePool>) {
        let items = items.with_chunks(layout.chunks());
        let items_max = layout.pages * layout.page_bytes / count / Class::of(0).slot_bytes();
        let lines = lines.max(Table::lines_to_reach(items_max as u64, GROW_LOAD_PERCENT));
        let lines = lines.next_multiple_of(1 << HALVINGS_MAX);
        let index_pages = (Table::slots_for(lines) * size_of::<u64>()).div_ceil(layout.page_bytes);
        let words: Arc<dyn SlotMemory> = Arc::new(items.clone());
        let first_word = |shard: usize| shard * index_pages * layout.page_bytes / size_of::<u64>();
        let table = |shard| Table::new(Arc::clone(&words), first_word(shard), lines, HALVINGS_MAX);
        let tables = (0..count).map(table).collect();
        (Shards::new(tables, items, hash, separator), PagePool::new(layout, count * index_pages))
    }

    /// One shard for each table, over one memory. With a `separator` keys have namespaces.
    pub fn new(tables: Vec<Arc<Table>>, items: Items, hash: KeyHash, separator: Option<u8>) -> Arc<Shards> {
        let names = separator.map(|separator| Names::new(separator, hash.clone()));
        let shard = |table| Shard {
            table,
            generation: AtomicU32::new(0),
            namespaces: Namespaces::new(names.clone()),
        };
        let shards = tables.into_iter().map(shard).collect();
        Arc::new(Shards { shards, items, hash, names })
    }

    /// The namespace that a command invalidates, in all shards.
    #[inline]
    pub fn namespace_invalidated_by(&self, command: &Command<'_>) -> Option<Place> {
        self.names.as_ref()?.invalidated_by(command)
    }

    /// The shard that owns a key.
    #[inline]
    pub fn owner_of(&self, key: &[u8]) -> usize {
        // One shard is the common case on small machines; it needs no steer.
        if self.shards.len() == 1 { 0 } else { owner(steer(key), self.shards.len()) }
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

    /// A key of which only the upper 32 bits of its hash are known, if there is one. The caller is within a tick.
    pub fn key_of(&self, upper: u32) -> Option<&[u8]> {
        let has_hash = |item| (self.hash(self.items.get(item).key()) >> 32) as u32 == upper;
        let item = self.shards.iter().find_map(|shard| shard.table.find_near(upper, has_hash))?;
        Some(self.items.get(item).key())
    }

    /// The memory.
    #[inline]
    pub fn items(&self) -> &Items {
        &self.items
    }
}

impl Shard {
    /// Whether an item of this shard may still be served.
    #[inline]
    pub fn is_live(&self, item: &Item<'_>, now: Now) -> bool {
        let state = item.state();
        !state.expired(now.ms()) && state.generation() == self.generation(item.key())
    }

    /// The number that a store of this key gets now: the generations of the shard and of the key's namespace together.
    #[inline]
    pub fn generation(&self, key: &[u8]) -> u32 {
        // Acquire: pairs with the Release in `flush`; a reader that sees a flush sees the stores before it.
        let of_shard = self.generation.load(Ordering::Acquire);
        of_shard.wrapping_add(self.namespaces.generation(key)) & State::GENERATION_MAX
    }

    /// The generations of its namespaces.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Makes every item of the shard stale at once. Owner only; numbers wrap, see `namespace`.
    pub(super) fn flush(&self) {
        // Relaxed load: the owner reads what it wrote itself. Release: pairs with the Acquire in `generation`.
        let next = self.generation.load(Ordering::Relaxed).wrapping_add(1);
        self.generation.store(next, Ordering::Release);
    }
}
