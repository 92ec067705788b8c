//! A cache, wired: shards over one memory, what their owners are made of, and the round of the policy that serves them.
//!
//! ```text
//! Cache::builder() ─ build ─▶ Cache        what all threads share: tables and items, to read
//!                             OwnerParts   one a shard, for the one thread that writes it
//!                             Participant  one a shard's thread: pinned, it may read all shards
//!                             hits         one a shard's thread: what it read goes to the policy
//!                             Round        the policy: on a thread of its own, or between others' work
//! ```
//! Which shard owns a key is for the user to say: a thread hands writes to the owner that it means, and finds them there.

use crate::base::hash::KeyHash;
use crate::base::sync::Arc;
use crate::limits::{COMMAND_RING_RECORDS, EVENT_RING_RECORDS, HIT_RING_RECORDS, LOAD_PERCENT, SHARDS_MAX};
use crate::memory::grace::{Grace, Participant};
use crate::memory::{Items, Layout, PagePool, Slab};
use crate::policy::hot_key_snapshot::HotKeySnapshot;
use crate::policy::popularity::Popularity;
use crate::policy::thread::Round;
use crate::policy::{Counters, Goal, Link, PolicyConfig, PolicyKind, build};
use crate::reader::Reader;
use crate::ring::{Hit, Producer, ring};
use crate::shard::Shards;
use crate::shard::events::Events;
use crate::shard::owner::OwnerParts;
use crate::table::Table;
use std::ops::Range;

/// Wakes the owner of a shard for whom the policy has commands.
pub type Wake = Box<dyn Fn() + Send>;

/// What a cache shall be like.
pub struct Builder {
    shards: usize,
    readers: usize,
    memory: Memory,
    mean_item_bytes: usize,
    index_lines: Option<u64>,
    value_bytes_max: usize,
    seed: u64,
    namespace_separator: Option<u8>,
    policy: (PolicyKind, Goal),
    evicts: bool,
    event_ring_records: usize,
    wakes: Vec<Wake>,
}

enum Memory {
    Heap(usize),
    Given(Items),
}

/// What all threads of a cache share.
#[derive(Clone)]
pub struct Cache {
    shards: Arc<Shards>,
    pool: Arc<PagePool>,
    /// Places of readers among the participants of grace.
    readers: Range<usize>,
}

/// A cache in its parts, each for the thread that uses it.
pub struct Built {
    /// What all share.
    pub cache: Cache,
    /// One a shard. Open each on its own thread: its memory is then near.
    pub owners: Vec<OwnerParts>,
    /// One a shard's thread: its part in reading. A pin of it is what the verbs of the owner want.
    pub participants: Vec<Participant>,
    /// One a shard's thread: its reads, for the policy.
    pub hits: Vec<Producer<Hit>>,
    /// The policy's work.
    pub round: Round,
    /// What each owner's policy counts.
    pub policies: Vec<Arc<Counters>>,
    /// The most read keys.
    pub hot_keys: Arc<HotKeySnapshot>,
}

impl Cache {
    /// A cache of one shard, 64 MiB on the heap, evicted by W-TinyLFU, unless the builder is told otherwise.
    pub fn builder() -> Builder {
        Builder {
            shards: 1,
            readers: 0,
            memory: Memory::Heap(64 << 20),
            mean_item_bytes: 128,
            index_lines: None,
            value_bytes_max: 1 << 20,
            seed: KeyHash::random_seed(),
            namespace_separator: None,
            policy: (PolicyKind::Wtinylfu, Goal::default()),
            evicts: true,
            event_ring_records: EVENT_RING_RECORDS,
            wakes: Vec::new(),
        }
    }

    /// Tables and items.
    pub fn shards(&self) -> &Arc<Shards> {
        &self.shards
    }

    /// Pages that nobody has.
    pub fn pool(&self) -> &Arc<PagePool> {
        &self.pool
    }

    /// The right to read of one thread; `None` when all that the builder was asked for are taken. Dropped, it can be taken again.
    pub fn reader(&self) -> Option<Reader> {
        let participant = self.readers.clone().find_map(|index| self.grace().participant(index))?;
        Some(Reader::new(Arc::clone(&self.shards), participant))
    }

    /// When retired memory may be used again.
    pub fn grace(&self) -> &Arc<Grace> {
        self.shards.grace()
    }
}

impl Builder {
    /// Shards, each with one owner that writes it; [`SHARDS_MAX`] at most.
    pub fn shards(self, shards: usize) -> Builder {
        Builder { shards, ..self }
    }

    /// Threads that read at the same time and own no shard ([`Cache::reader`]).
    pub fn readers(self, readers: usize) -> Builder {
        Builder { readers, ..self }
    }

    /// Memory of the heap for indexes and items, in bytes.
    pub fn memory_bytes(self, bytes: usize) -> Builder {
        Builder { memory: Memory::Heap(bytes), ..self }
    }

    /// Memory for indexes and items.
    pub fn memory(self, items: Items) -> Builder {
        Builder { memory: Memory::Given(items), ..self }
    }

    /// Size that items have on the mean, in bytes: a guess, by which index and policy are sized at first.
    pub fn mean_item_bytes(self, mean_item_bytes: usize) -> Builder {
        Builder { mean_item_bytes, ..self }
    }

    /// Home lines of each index at first, whatever the mean item is.
    pub fn index_lines(self, lines: u64) -> Builder {
        Builder { index_lines: Some(lines), ..self }
    }

    /// Longest value, in bytes.
    pub fn value_bytes_max(self, value_bytes_max: usize) -> Builder {
        Builder { value_bytes_max, ..self }
    }

    /// Hash and sampling follow from it. Whoever knows it can aim keys at one line of a table, so it is random unless given.
    pub fn seed(self, seed: u64) -> Builder {
        Builder { seed, ..self }
    }

    /// Keys have namespaces that end at this byte.
    pub fn namespace_separator(self, namespace_separator: Option<u8>) -> Builder {
        Builder { namespace_separator, ..self }
    }

    /// Who is evicted, and what counts as a good cache.
    pub fn policy(self, kind: PolicyKind, goal: Goal) -> Builder {
        Builder { policy: (kind, goal), ..self }
    }

    /// Whether a full cache evicts, as it does unless it is told otherwise; else it refuses new items
    /// ([`OutOfMemory`](crate::shard::WriteError::OutOfMemory)). Expired items go all the same.
    pub fn evicts(self, evicts: bool) -> Builder {
        Builder { evicts, ..self }
    }

    /// Events that an owner may have on their way to the policy.
    pub fn event_ring_records(self, event_ring_records: usize) -> Builder {
        Builder { event_ring_records, ..self }
    }

    /// How the policy wakes the owner of each shard; without them owners look for themselves.
    pub fn wakes(self, wakes: Vec<Wake>) -> Builder {
        Builder { wakes, ..self }
    }

    /// Cuts the memory and wires everything.
    ///
    /// # Panics
    /// Without shards or with more than [`SHARDS_MAX`], or with less memory than indexes and a few pages need.
    pub fn build(mut self) -> Built {
        let cache = self.lay_out();
        let (mut owners, mut hits, mut links, mut hit_ends) = (vec![], vec![], vec![], vec![]);
        let config = self.policy_config(&cache.pool);
        let mut wakes = std::mem::take(&mut self.wakes).into_iter();
        for index in 0..self.shards {
            let (events, events_end) = ring(self.event_ring_records);
            let (commands_end, commands) = ring(COMMAND_RING_RECORDS);
            let (hit, hit_end) = ring(HIT_RING_RECORDS);
            links.push(Link {
                events: events_end,
                commands: commands_end,
                wake: wakes.next().unwrap_or_else(|| Box::new(|| ())),
                policy: build(self.policy.0.where_evicting(self.evicts), self.policy.1, &config),
                counters: Arc::default(),
            });
            hits.push(hit);
            hit_ends.push(hit_end);
            owners.push(OwnerParts {
                index,
                shards: Arc::clone(&cache.shards),
                slab: Slab::new(cache.shards.items().share(), Arc::clone(&cache.pool)),
                events: Events::new(events, cache.pool.layout()),
                commands,
                counters: Arc::default(),
                evicts: self.evicts,
                value_bytes_max: self.value_bytes_max,
            });
        }
        let participants = (0..self.shards).filter_map(|index| cache.grace().participant(index)).collect();
        let policies = links.iter().map(|link| Arc::clone(&link.counters)).collect();
        let hot_keys = Arc::new(HotKeySnapshot::default());
        let popularity = Popularity::new(Arc::clone(&hot_keys), self.seed);
        let round = Round::new(config.page_units, config.pages, links, hit_ends, popularity);
        Built { cache, owners, participants, hits, round, policies, hot_keys }
    }

    fn lay_out(&mut self) -> Cache {
        assert!(self.shards > 0, "a cache has a shard");
        assert!(self.shards <= SHARDS_MAX, "{} shards: a cache has {SHARDS_MAX} at most", self.shards);
        let (items, layout) = match std::mem::replace(&mut self.memory, Memory::Heap(0)) {
            Memory::Given(items) => {
                let layout = Layout::of(items.bytes(), self.shards);
                (items, layout)
            }
            Memory::Heap(bytes) => {
                let layout = Layout::of(bytes, self.shards);
                (Items::on_heap(layout.pages * layout.page_bytes), layout)
            }
        };
        let lines = self.index_lines.unwrap_or_else(|| self.lines_for(items.bytes()));
        let hash = KeyHash::new(self.seed);
        let grace = Grace::new(self.shards + self.readers);
        let (shards, pool) =
            Shards::lay_out(items, layout, (self.shards, lines), hash, self.namespace_separator, grace);
        Cache { shards, pool, readers: self.shards..self.shards + self.readers }
    }

    /// Home lines of each index: so many that the memory, filled with items of the mean size, loads it as intended. Larger
    /// items load it less, and memory is wasted; many more items make it grow.
    fn lines_for(&self, memory_bytes: usize) -> u64 {
        let index_bytes_per_item = size_of::<u64>() * 100 / LOAD_PERCENT as usize;
        let items = memory_bytes / (self.mean_item_bytes + index_bytes_per_item);
        Table::lines_for((items / self.shards) as u64, LOAD_PERCENT)
    }

    fn policy_config(&self, pool: &PagePool) -> PolicyConfig {
        let layout = pool.layout();
        PolicyConfig {
            budget_bytes: pool.budget_bytes(self.shards),
            page_units: layout.page_units() as u64,
            pages: layout.pages,
            mean_item_bytes: self.mean_item_bytes as u64,
            seed: self.seed,
        }
    }
}
