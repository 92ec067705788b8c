//! An item: header, key and value in one slab slot, immutable once published.
//!
//! ```text
//! byte 0        8         16          20          24
//!      ┌────────┬─────────┬───────────┬───────────┬─────┬─────────────┬───────┐
//!      │ cas    │ state   │ lengths   │ access    │ key │ flags (0/4) │ value │
//!      └────────┴─────────┴───────────┴───────────┴─────┴─────────────┴───────┘
//!        u64      atomic    24 + 8 b    atomic
//! state:   deadline 44 bits (ms since the server epoch, 0 = never) · stale · win sent · has flags · generation 17 bits
//! access:  seconds since the epoch of the last access (30 bits) · untold · fetched
//! ```
//!
//! Key, value, flags and cas never change after an item is published; the state word is written by the owner only, the
//! access word by any reader, relaxed, when it changes. Readers copy bytes out within the tick in which they found
//! the reference; [`super::grace`] keeps the memory from reuse until then.
//!
//! This folder holds all raw access to slab memory. Who may read an item says a type: [`Lent`] is of a pinned thread's; the slab
//! lends the items of its own pages. Who may write a slot says another: [`OwnedSlot`], and [`Unfinished`] where the value comes
//! in pieces.

#![allow(unsafe_code)]

mod access;
mod lent;
mod owned;
mod state;
mod unfinished;
mod value;
mod view;

pub use access::Access;
pub use lent::Lent;
pub use owned::OwnedSlot;
pub use state::State;
pub use unfinished::{Head, Unfinished};
pub use value::{Chunks, Shape, Size, Value};
pub use view::Item;

use crate::base::item_ref::ItemRef;
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_LIMIT};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of the header before the key.
pub const HEADER_BYTES: usize = 24;
const FLAGS_BYTES: usize = 4;

/// The memory in which items live. Who has it has it alone: the crate shares it among the threads of one cache.
pub struct Items {
    base: *mut u8,
    bytes: usize,
    /// How values are cut that are too long for one slot.
    chunks: Chunks,
    /// Keeps the mapping alive.
    _backing: Arc<dyn Any + Send + Sync>,
}

// SAFETY: the pointer is into `_backing`, which outlives every clone; all access goes through the methods below,
// whose contracts (one writing owner before publication, immutability after it, grace before reuse) make it shared.
unsafe impl Send for Items {}
// SAFETY: as for Send.
unsafe impl Sync for Items {}

/// What a new item consists of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The key, 1..=250 bytes.
    pub key: &'a [u8],
    /// The value as up to two, stored one after the other (append and prepend join two).
    pub value: [Value<'a>; 2],
    /// The client's flags; 0 takes no room.
    pub flags: u32,
    /// The unique number of this version.
    pub cas: u64,
    /// Milliseconds since the server epoch; 0 = never.
    pub deadline_ms: u64,
    /// The generation of its shard: another one means flushed.
    pub generation: u32,
    /// Seconds since the server epoch.
    pub now_s: u64,
}

impl Parts<'_> {
    /// What the item needs.
    pub fn size(&self) -> Size {
        Size::of(self.key.len(), self.value[0].len() + self.value[1].len(), self.flags)
    }
}

impl Items {
    /// A view of `bytes` zeroed bytes at `base`, kept alive by `backing`.
    ///
    /// # Safety
    /// `base..base + bytes` is readable, writable and aligned to 16 as long as `backing` lives, and nothing but
    /// clones of this view touches it.
    pub unsafe fn new(base: *mut u8, bytes: usize, backing: Arc<dyn Any + Send + Sync>) -> Items {
        assert!(base.addr().is_multiple_of(ItemRef::UNIT_BYTES), "slab memory is 16-byte aligned");
        Items { base, bytes, chunks: Chunks::NEVER, _backing: backing }
    }

    /// The memory of a mapped region, which the items have for themselves.
    #[cfg(feature = "numa")]
    pub fn in_region(region: numa::Region) -> Items {
        let (base, bytes) = (region.as_ptr(), region.bytes());
        // SAFETY: the region is mapped, page-aligned, zero at first, and lives in the Arc, where nobody else gets at it.
        unsafe { Items::new(base, bytes, Arc::new(region)) }
    }

    /// The same memory for another thread of the same cache.
    pub(crate) fn share(&self) -> Items {
        Items {
            base: self.base,
            bytes: self.bytes,
            chunks: self.chunks,
            _backing: Arc::clone(&self._backing),
        }
    }

    /// Memory of the heap, for tests, models and the simulation.
    pub fn on_heap(bytes: usize) -> Items {
        let mut words = vec![0u128; bytes.div_ceil(16)].into_boxed_slice();
        let base = words.as_mut_ptr().cast();
        let bytes = words.len() * 16;
        // SAFETY: the box is 16-byte aligned, lives in the Arc, and nobody else keeps it.
        unsafe { Items::new(base, bytes, Arc::new(HeapBacking(words))) }
    }

    /// The same memory, in which values are cut as `chunks` says.
    pub fn with_chunks(self, chunks: Chunks) -> Items {
        Items { chunks, ..self }
    }

    /// How values are cut.
    pub fn chunks(&self) -> Chunks {
        self.chunks
    }

    /// Length of the memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Words of `range` (in bytes, both ends multiples of 8), for the page headers that only an owner touches.
    pub(crate) fn words(&self, range: std::ops::Range<usize>) -> &[AtomicU64] {
        assert!(
            range.start <= range.end
                && range.end <= self.bytes
                && (range.start | range.end).is_multiple_of(8)
        );
        // SAFETY: in bounds (asserted), aligned (base to 16, the range to 8), and atomics may be shared.
        unsafe {
            std::slice::from_raw_parts(self.base.add(range.start).cast(), (range.end - range.start) / 8)
        }
    }

    /// Builds an item in `slot`, its value cut into `chunks` as [`Chunks::shape`] says. The slab has taken the chunks for it.
    ///
    /// # Panics
    /// When a slot is outside the memory or too small, or the chunks are not as many as the value needs.
    pub(in crate::memory) fn write(&self, slot: &mut OwnedSlot, chunks: &[ItemRef], parts: &Parts<'_>) {
        let (at, slot_bytes) = (slot.at(), slot.bytes());
        let (key, size) = (parts.key, parts.size());
        assert!(!key.is_empty() && key.len() <= KEY_BYTES_MAX && size.value_bytes() <= VALUE_BYTES_LIMIT);
        let shape = self.chunks.shape(key.len(), size.value_bytes());
        assert!(shape.chunks == chunks.len(), "as many chunks as the value needs");
        assert!(
            shape.bytes_in_slot(size.fixed_bytes()) <= slot_bytes
                && at.offset_bytes() + slot_bytes <= self.bytes
        );
        let state = State::new(parts.deadline_ms, parts.generation, parts.flags != 0);
        self.write_header(at, parts.cas, state, key.len(), size.value_bytes(), Access::new(parts.now_s).0);
        let mut cursor = self.write_key(at, key, parts.flags);
        if let (true, Some(whole)) = (chunks.is_empty(), parts.value[0].whole())
            && parts.value[1].is_empty()
        {
            // Nearly every item.
            return self.write_bytes(cursor, whole);
        }
        let pieces = parts.value.iter().flat_map(|value| value.pieces());
        if chunks.is_empty() {
            for piece in pieces {
                self.write_bytes(cursor, piece);
                cursor += piece.len();
            }
        } else {
            self.write_chunked(at, cursor, chunks, pieces);
        }
    }

    /// Makes an empty item of a slot whose chunks are still being gathered, or whose value is still coming, so that whoever meets
    /// it, by itself or through a chunk, sees nothing. It is a blank: no published item is without a key.
    pub(in crate::memory) fn write_blank(&self, slot: &mut OwnedSlot, has_flags: bool) {
        let (at, slot_bytes) = (slot.at(), slot.bytes());
        assert!(slot_bytes >= HEADER_BYTES && at.offset_bytes() + slot_bytes <= self.bytes);
        // Used a moment ago, whatever the time: nobody takes it for cold.
        self.write_header(at, 0, State::new(0, 0, has_flags), 0, 0, u32::MAX);
    }

    /// Writes what stands between header and value; returns where it ends.
    #[inline]
    fn write_key(&self, at: ItemRef, key: &[u8], flags: u32) -> usize {
        let mut cursor = at.offset_bytes() + HEADER_BYTES;
        let flags_bytes = flags.to_ne_bytes();
        for piece in [key, if flags == 0 { &[] } else { &flags_bytes[..] }] {
            self.write_bytes(cursor, piece);
            cursor += piece.len();
        }
        cursor
    }

    fn write_header(&self, at: ItemRef, cas: u64, state: State, key: usize, value: usize, access: u32) {
        // SAFETY: in bounds (asserted by the callers), 16-byte aligned; the allocator gave the slot to this owner and no
        // reference to it is published, so nobody else reads or writes it.
        unsafe {
            let base = self.base.add(at.offset_bytes());
            base.cast::<u64>().write(cas);
            base.add(8).cast::<u64>().write(state.0);
            base.add(16).cast::<u32>().write((value as u32) << 8 | key as u32);
            base.add(20).cast::<u32>().write(access);
        }
    }

    /// Copies bytes into a slot that this owner has and nobody reads.
    fn write_bytes(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.bytes);
        // SAFETY: in bounds (asserted); not shared, as the callers say.
        unsafe { self.base.add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Bytes of a slot that do not change while it is published.
    fn bytes_at(&self, offset: usize, length: usize) -> &[u8] {
        assert!(offset + length <= self.bytes);
        // SAFETY: in bounds (asserted); immutable while the reference that led here is protected by grace.
        unsafe { std::slice::from_raw_parts(self.base.add(offset), length) }
    }

    /// Copies the slot of a published item into `slot`. Chunks stay where they are and belong to the copy from now on. What
    /// readers and the owner note in the item from now on is not in the copy.
    ///
    /// # Panics
    /// When the slot is outside the memory or too small.
    pub(in crate::memory) fn copy(&self, item: Item<'_>, slot: &mut OwnedSlot) {
        let (to, slot_bytes) = (slot.at(), slot.bytes());
        let bytes = item.bytes_in_slot();
        assert!(bytes <= slot_bytes && to.offset_bytes() + slot_bytes <= self.bytes);
        // Relaxed: a hint, see `last_access_s`. The state is the owner's, who calls this.
        let (state, access) = (item.state(), item.access_word().load(Ordering::Relaxed));
        self.write_header(to, item.cas(), state, item.key_bytes(), item.value_bytes(), access);
        self.write_bytes(to.offset_bytes() + HEADER_BYTES, item.bytes_behind_header());
        for (i, chunk) in item.value().chunk_refs().enumerate() {
            self.own_chunk(chunk, to, i);
        }
    }

    /// The item at `at`. Checked to lie inside the memory, whatever `at` says.
    ///
    /// # Safety
    /// While the item is borrowed nobody writes its slot but through it: `at` was read from a slot of the table by a thread
    /// that stays pinned meanwhile ([`Lent`]), or lies in a page of the caller's, who is its only writer ([`super::Slab::item`]).
    #[inline]
    pub unsafe fn get(&self, at: ItemRef) -> Item<'_> {
        let offset = at.offset_bytes();
        assert!(offset + HEADER_BYTES <= self.bytes, "item reference outside the slab");
        // SAFETY: the header is in bounds (asserted).
        let base = unsafe { self.base.add(offset) };
        // SAFETY: in bounds and aligned; `lengths` does not change, as the caller says.
        let lengths = unsafe { base.add(16).cast::<u32>().read() };
        let item = Item { items: self, base, lengths };
        assert!(offset + item.bytes_in_slot() <= self.bytes, "item reaches outside the slab");
        item
    }

    /// Asks the processor for the first `bytes` of the item at `at`, without waiting.
    #[inline]
    pub fn prefetch(&self, at: ItemRef, bytes: usize) {
        let offset = at.offset_bytes();
        for line in (offset..(offset + bytes).min(self.bytes)).step_by(64) {
            crate::base::prefetch::read(self.base.wrapping_add(line));
        }
    }

    /// Overwrites a slot with a pattern, so that a reader that breaks the grace rule is found by tests.
    #[cfg(debug_assertions)]
    pub(in crate::memory) fn poison(&self, at: ItemRef, slot_bytes: usize) {
        assert!(at.offset_bytes() + slot_bytes <= self.bytes);
        // SAFETY: in bounds (asserted); the slot is free, its grace period is over, so nobody reads it. The lengths
        // stay in bounds for a stray reader: the pattern is only written behind the header.
        unsafe {
            let base = self.base.add(at.offset_bytes());
            base.cast::<u64>().write(0xdead_dead_dead_dead);
            base.add(HEADER_BYTES).write_bytes(0xdd, slot_bytes - HEADER_BYTES);
        }
    }
}

impl std::fmt::Debug for Items {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Items")
            .field("bytes", &self.bytes)
            .field("chunks", &self.chunks)
            .finish_non_exhaustive()
    }
}

struct HeapBacking(#[expect(dead_code, reason = "held for its memory only")] Box<[u128]>);

#[cfg(test)]
mod tests {
    use super::*;

    fn parts<'a>(key: &'a [u8], value: &'a [u8], flags: u32) -> Parts<'a> {
        Parts {
            key,
            value: [value.into(), Value::EMPTY],
            flags,
            cas: 7,
            deadline_ms: 0,
            generation: 5,
            now_s: 3,
        }
    }

    /// A slot that nobody else has, in memory that is this test's alone.
    fn slot(unit: u64, bytes: usize) -> OwnedSlot {
        // SAFETY: the tests are the only users of their memory, and take each place once.
        unsafe { OwnedSlot::new(ItemRef::new(unit).unwrap(), bytes) }
    }

    fn get(items: &Items, at: ItemRef) -> Item<'_> {
        // SAFETY: the memory is the test's alone.
        unsafe { items.get(at) }
    }

    #[test]
    fn a_copy_is_the_same_item() {
        let items = Items::on_heap(4096);
        let (mut from, mut to) = (slot(1, 80), slot(100, 80));
        items.write(&mut from, &[], &parts(b"key", b"some value", 9));
        let item = get(&items, from.publish());
        item.set_state(item.state().with_deadline_ms(77));
        item.note_access(12, true);
        items.copy(item, &mut to);
        let copy = get(&items, to.publish());
        assert_eq!(
            (copy.key(), copy.value().whole(), copy.flags()),
            (&b"key"[..], Some(&b"some value"[..]), 9)
        );
        assert_eq!((copy.cas(), copy.state(), copy.last_access_s()), (7, item.state(), 12));
        assert!(copy.fetched());
    }

    #[test]
    fn what_is_written_is_read() {
        let items = Items::on_heap(1 << 16);
        for (unit, flags) in [(4, 0), (14, 1), (24, u32::MAX)] {
            let mut parts = parts(b"key", b"some value", flags);
            parts.value[1] = b" and more"[..].into();
            let mut slot = slot(unit, 128);
            items.write(&mut slot, &[], &parts);
            let item = get(&items, slot.publish());
            assert_eq!(item.key(), b"key");
            assert_eq!(item.value().whole(), Some(&b"some value and more"[..]));
            assert_eq!((item.flags(), item.cas(), item.last_access_s()), (flags, 7, 3));
            assert!(!item.fetched());
            item.note_access(9, true);
            assert!(item.fetched());
            assert_eq!(item.last_access_s(), 9);
        }
    }

    #[test]
    fn a_deadline_is_reached_not_passed() {
        let state = State::new(100, 9, false);
        assert!(!state.expired(99));
        assert!(state.expired(100));
        assert!(!State::new(0, 1, true).expired(u64::MAX >> 20));
        assert_eq!(state.with_stale(true).with_deadline_ms(5).deadline_ms(), 5);
        assert!(state.with_stale(true).with_deadline_ms(5).stale());
        assert_eq!(state.with_stale(true).with_deadline_ms(5).generation(), 9);
    }

    #[test]
    #[should_panic(expected = "outside the slab")]
    fn a_wild_reference_is_caught() {
        get(&Items::on_heap(1024), ItemRef::new(1 << 30).unwrap());
    }
}
