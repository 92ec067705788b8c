//! The shards of a process as every worker sees them, and which of them owns a key.

use crate::clock::Now;
use crate::hash::{KeyHash, owner, steer};
use crate::memory::{Item, Items};
use crate::sync::{Arc, AtomicU32, Ordering};
use crate::table::Table;

/// What is shared of one shard.
pub struct Shard {
    /// Key hash → item.
    pub table: Arc<Table>,
    /// Items of another generation are flushed. Written by the owner, read by all.
    generation: AtomicU32,
}

/// All shards of the process.
pub struct Shards {
    shards: Box<[Shard]>,
    items: Items,
    hash: KeyHash,
}

impl Shards {
    /// One shard for each table, over one memory.
    pub fn new(tables: Vec<Arc<Table>>, items: Items, hash: KeyHash) -> Arc<Shards> {
        let shard = |table| Shard { table, generation: AtomicU32::new(0) };
        Arc::new(Shards { shards: tables.into_iter().map(shard).collect(), items, hash })
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
        !state.expired(now.ms()) && state.generation() == self.generation()
    }

    /// The generation that stores get now.
    #[inline]
    pub fn generation(&self) -> u32 {
        // Acquire: pairs with the Release in `flush`; a reader that sees a flush sees the stores before it.
        self.generation.load(Ordering::Acquire)
    }

    /// Makes every item of the shard stale at once. Owner only; says whether the generations have wrapped, in which
    /// case items of the oldest may come back to life unless the owner removes them.
    pub(super) fn flush(&self) -> bool {
        let next = (self.generation() + 1) & crate::memory::State::GENERATION_MAX;
        // Release: pairs with the Acquire in `generation`.
        self.generation.store(next, Ordering::Release);
        next == 0
    }
}
