//! A filled table to measure: index and slab in mapped memory, keys that are computed, not stored.

use numa::{Huge, Region, RegionRequest};
use sherwood::hash::KeyHash;
use sherwood::memory::class::Class;
use sherwood::memory::{Items, Layout, PagePool, Parts, Slab, Value};
use sherwood::table::{Lookup, SlotMemory, Table, Upsert, Writer};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The table and what belongs to it.
pub struct Field {
    pub table: Arc<Table>,
    pub writer: Writer,
    pub items: Items,
    pub slab: Slab,
    pub hash: KeyHash,
    pub count: u64,
    /// Keys are numbered; those below were replaced already.
    pub oldest: u64,
    pub key_bytes: usize,
    pub value: Vec<u8>,
    pub pages: String,
    index_bytes: usize,
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

/// The key of a number: its digits in base 16, scattered, so that keys share no long prefix.
pub fn key(number: u64, buffer: &mut [u8]) {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for chunk in buffer.chunks_mut(8) {
        let bytes = state.to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
        state = (state ^ state >> 31).wrapping_mul(0xd6e8_feb8_6659_fd93);
    }
}

impl Field {
    pub fn new(count: u64, key_bytes: usize, value_bytes: usize, load: f64, huge: Huge) -> Field {
        let lines = (count as f64 / load / 8.0).ceil() as u64;
        let index_bytes = Table::slots_for(lines) * 8;
        let index = map("index", index_bytes, huge);
        let slot_bytes = Class::of(24 + key_bytes + value_bytes).slot_bytes();
        let slab_bytes = (count as usize + count as usize / 50 + 100_000) * slot_bytes;
        let slab_region = Arc::new(map("slab", slab_bytes.next_multiple_of(2 << 20), huge));
        let pages = slab_region.report().granted_kind.to_string();
        let layout = Layout::of(slab_region.bytes(), 1);
        let items = Items::in_region(slab_region);
        let slab = Slab::new(items.clone(), PagePool::new(layout, 0));
        let table = Table::new(Arc::new(Slots(index)), 0, lines);
        let writer = table.writer().expect("the one writer");
        let value = (0..value_bytes).map(|i| i as u8).collect();
        let hash = KeyHash::new(1);
        let mut field = Field {
            table,
            writer,
            items,
            slab,
            hash,
            count,
            oldest: 0,
            key_bytes,
            value,
            pages,
            index_bytes,
        };
        (0..count).for_each(|number| field.insert(number));
        field
    }

    pub fn insert(&mut self, number: u64) {
        let mut buffer = [0u8; 64];
        let key_bytes = &mut buffer[..self.key_bytes];
        key(number, key_bytes);
        let hash = self.hash.hash(key_bytes);
        self.insert_hashed(number, Lookup { key: key_bytes, hash });
    }

    /// Stores an item under a key whose hash is known.
    pub fn insert_hashed(&mut self, number: u64, Lookup { key, hash }: Lookup<'_>) {
        let parts = Parts {
            key,
            value: [self.value[..].into(), Value::EMPTY],
            flags: 0,
            cas: number,
            deadline_ms: 0,
            generation: 0,
            now_s: 0,
        };
        let slot = self.slab.allocate(parts.size().bytes()).expect("room for all");
        self.items.write(slot.at, slot.slot_bytes, &[], &parts);
        match self.writer.upsert(&self.items, hash, key, slot.at) {
            Upsert::Inserted => {}
            // One reader at most, and it is this thread: what is replaced is free at once.
            Upsert::Replaced(old) => self.slab.release(old),
            Upsert::Evicted(item) => panic!("{item:?} was crowded out"),
        }
    }

    /// Brings what writes of these keys will touch into the cache.
    pub fn warm(&self, numbers: std::ops::Range<u64>) {
        let mut keys = [[0u8; 64]; 32];
        let keys = &mut keys[..(numbers.end - numbers.start) as usize];
        numbers.zip(keys.iter_mut()).for_each(|(number, buffer)| key(number, &mut buffer[..self.key_bytes]));
        let keys = keys.iter().map(|buffer| &buffer[..self.key_bytes]);
        let lookups: Vec<_> = keys.map(|key| Lookup { key, hash: self.hash.hash(key) }).collect();
        self.table.warm(&self.items, &lookups);
    }

    pub fn remove(&mut self, number: u64) {
        let mut buffer = [0u8; 64];
        let key_bytes = &mut buffer[..self.key_bytes];
        key(number, key_bytes);
        let hash = self.hash.hash(key_bytes);
        let gone = self.writer.remove(&self.items, hash, key_bytes).expect("a key that is there");
        self.slab.release(gone);
    }

    pub fn index_bytes_per_item(&self) -> f64 {
        self.index_bytes as f64 / self.count as f64
    }
}
