//! A filled table to measure: indexes and slabs in mapped memory, a shard for each thread, keys that are computed, not
//! stored. The one place that knows how a table is made and written.

#![allow(unsafe_code)]

use crate::contest::{Contestant, Seat};
use crate::ours;
use crate::stretch::{Stretch, key};
use cache::base::hash::KeyHash;
use cache::base::item_ref::ItemRef;
use cache::memory::class::Class;
use cache::memory::grace::{Grace, Participant, Pin};
use cache::memory::{Item, Items, Layout, PagePool, Parts, Slab, Value};
use cache::table::{Keys, Lookup, SlotMemory, Table, Upsert, Writer, same};
use numa::{Huge, Region, RegionRequest};
use protocol::steer::{owner, steer};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// What is measured.
#[derive(Clone, Copy)]
pub struct Size {
    pub items: u64,
    pub key_bytes: usize,
    pub value_bytes: usize,
    /// How full the indexes are.
    pub load: f64,
    pub huge: Huge,
    /// Threads, each with a shard of its own.
    pub threads: usize,
}

/// The shards, and how the memory was granted.
pub struct Field {
    pub shards: Vec<Shard>,
    pub pages: String,
    /// The grace of one more thread, which only reads.
    #[allow(dead_code, reason = "the bench of the rivals has no such thread")]
    pub reader: Option<Participant>,
    items: u64,
    index_bytes: usize,
}

/// What any thread may read.
pub struct View {
    pub tables: Vec<Arc<Table>>,
    pub items: Items,
    pub hash: KeyHash,
}

/// A thread's shard, with the right to write it.
pub struct Shard {
    pub view: Arc<View>,
    pub index: usize,
    writer: Writer,
    slab: Slab,
    grace: Arc<Grace>,
    part: Part,
    value: Vec<u8>,
}

/// A thread's part in grace.
enum Part {
    Asleep(Participant),
    Awake(Pin),
    /// Between the two.
    Changing,
}

struct Slots(Region);

impl SlotMemory for Slots {
    fn slots(&self) -> &[AtomicU64] {
        self.0.words()
    }
}

fn map(name: &'static str, bytes: usize, huge: Huge) -> Region {
    let request = RegionRequest { name, bytes, node: None, huge, mlock: false };
    let region = Region::map(&request).expect("memory");
    region.prefault(0..region.bytes(), &|_| ()).expect("memory");
    region
}

impl Field {
    pub fn new(size: Size) -> Field {
        let per_shard = size.items as f64 / size.threads as f64;
        let lines = (per_shard / size.load / 8.0).ceil() as u64;
        let index_bytes = Table::slots_for(lines) * 8;
        let tables: Vec<_> = (0..size.threads)
            .map(|_| Table::new(Arc::new(Slots(map("index", index_bytes, size.huge))), 0, lines, 0))
            .collect();
        let slot_bytes = Class::of(24 + size.key_bytes + size.value_bytes).slot_bytes();
        let slab_bytes = (size.items as usize + size.items as usize / 50 + 200_000) * slot_bytes;
        let slab_region = map("slab", slab_bytes.next_multiple_of(2 << 20), size.huge);
        let pages = slab_region.report().granted_kind.to_string();
        let layout = Layout::of(slab_region.bytes(), size.threads);
        let pool = PagePool::new(layout, 0);
        let items = Items::in_region(slab_region);
        let view = Arc::new(View { tables, items, hash: KeyHash::new(1) });
        let grace = Grace::new(size.threads + 1);
        let shard = |index| Shard {
            index,
            writer: view.tables[index].writer().expect("the one writer"),
            // SAFETY: the pool is made beside the memory, and the slabs of this field are all that take pages from it.
            slab: unsafe { Slab::over(&view.items, Arc::clone(&pool)) },
            grace: Arc::clone(&grace),
            part: Part::Asleep(grace.participant(index).expect("nobody has it")),
            value: (0..size.value_bytes).map(|i| i as u8).collect(),
            view: Arc::clone(&view),
        };
        let shards = (0..size.threads).map(shard).collect();
        let mut field = Field {
            shards,
            pages,
            reader: grace.participant(size.threads),
            items: size.items,
            index_bytes: index_bytes * size.threads,
        };
        let mut buffer = vec![0u8; size.key_bytes];
        for number in 0..size.items {
            key(number, &mut buffer);
            let owner = view.owner_of(&buffer);
            field.shards[owner]
                .insert(number, Lookup { key: &buffer, hash: view.hash.hash(&buffer), table: owner as u8 });
        }
        field
    }

    pub fn index_bytes_per_item(&self) -> f64 {
        self.index_bytes as f64 / self.items as f64
    }
}

impl Contestant for Field {
    fn seats(&mut self, _threads: usize) -> Vec<Box<dyn Seat + '_>> {
        self.shards.iter_mut().map(|shard| Box::new(ours::Ours(shard)) as Box<dyn Seat>).collect()
    }
}

impl View {
    /// The shard of a key, as the server finds it: one shard needs no steer.
    #[inline]
    pub fn owner_of(&self, key: &[u8]) -> usize {
        if self.tables.len() == 1 { 0 } else { owner(steer(key), self.tables.len()) }
    }

    /// The item at a place that was read from one of the tables since the last tick.
    #[inline]
    pub fn item(&self, at: ItemRef) -> Item<'_> {
        // SAFETY: the threads of the benches are awake while they read, and use no item behind their next tick.
        unsafe { self.items.get(at) }
    }
}

impl Keys for View {
    #[inline]
    fn key_is(&self, at: ItemRef, key: &[u8]) -> bool {
        same(self.item(at).key(), key)
    }

    #[inline]
    fn prefetch(&self, at: ItemRef) {
        self.items.prefetch(at, 192);
    }
}

impl Shard {
    /// Stores an item under a key of this shard; gives the number of another key that had to go for it. At load 0.9 a
    /// few do, as in the server.
    pub fn insert(&mut self, number: u64, Lookup { key, hash, .. }: Lookup<'_>) -> Option<u64> {
        let parts = Parts {
            key,
            value: [self.value[..].into(), Value::EMPTY],
            flags: 0,
            cas: number,
            deadline_ms: 0,
            generation: 0,
            now_s: 0,
        };
        let mut slot = self.slab.allocate(parts.size().bytes()).expect("room for all");
        self.slab.write(&mut slot, &parts);
        let at = self.slab.complete(slot, parts.size().bytes());
        let done = self.writer.upsert(&self.slab, hash, key, at);
        match done {
            Upsert::Inserted => {}
            Upsert::Replaced(gone) | Upsert::Evicted(gone) => self.slab.retire(gone),
        }
        match done {
            Upsert::Evicted(gone) => Some(self.slab.item(gone).cas()),
            _ => None,
        }
    }

    pub fn remove(&mut self, Lookup { key, hash, .. }: Lookup<'_>) {
        if let Some(gone) = self.writer.remove(&self.slab, hash, key) {
            self.slab.retire(gone);
        }
    }

    /// Between two batches nothing is held; what was retired long enough ago is free.
    pub fn tick(&mut self) {
        self.reclaim();
        // A reader that has lost its processor holds memory back: wait for it, as the server does.
        while self.slab.retired().len() > Self::RETIRED_MAX {
            std::thread::yield_now();
            self.reclaim();
        }
    }

    fn reclaim(&mut self) {
        if let Part::Awake(pin) = &mut self.part {
            pin.quiescent();
        }
        self.slab.reclaim(&self.grace, Self::RECLAIM_MAX);
    }

    const RECLAIM_MAX: usize = 256;
    const RETIRED_MAX: usize = 16_384;

    /// Awake: others wait for its ticks.
    pub fn online(&mut self) {
        self.part = match std::mem::replace(&mut self.part, Part::Changing) {
            Part::Asleep(participant) => Part::Awake(participant.pin()),
            part => part,
        };
    }

    /// Asleep: nobody waits for it.
    pub fn offline(&mut self) {
        self.part = match std::mem::replace(&mut self.part, Part::Changing) {
            Part::Awake(pin) => Part::Asleep(pin.unpin()),
            part => part,
        };
    }

    /// Whether a key of these is this shard's to write.
    pub fn owns(&self, stretch: &Stretch, index: usize) -> bool {
        self.view.owner_of(stretch.key(index)) == self.index
    }
}
