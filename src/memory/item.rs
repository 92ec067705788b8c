//! An item: header, key and value in one slab slot, immutable once published.
//!
//! ```text
//! byte 0        8         16          20          24
//!      ┌────────┬─────────┬───────────┬───────────┬─────┬─────────────┬───────┐
//!      │ cas    │ state   │ lengths   │ access    │ key │ flags (0/4) │ value │
//!      └────────┴─────────┴───────────┴───────────┴─────┴─────────────┴───────┘
//!        u64      atomic    24 + 8 b    atomic
//! state:   deadline 44 bits (ms since the server epoch, 0 = never) · stale · win sent · has flags · generation 17 bits
//! access:  seconds since the epoch of the last access (31 bits) · fetched
//! ```
//!
//! Key, value, flags and cas never change after [`Items::write`]; the state word is written by the owner only, the
//! access word by any reader, relaxed, when it changes. Readers copy bytes out within the tick in which they found
//! the reference; [`super::grace`] keeps the memory from reuse until then.
//!
//! This file holds all raw access to slab memory; the allocator and the mover above it are safe code.

#![allow(unsafe_code)]

use crate::config::limits::{KEY_BYTES_MAX, VALUE_BYTES_LIMIT};
use crate::item_ref::ItemRef;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Bytes of the header before the key.
pub const HEADER_BYTES: usize = 24;
const FLAGS_BYTES: usize = 4;

/// The memory in which items live: a view that any thread may hold.
#[derive(Clone)]
pub struct Items {
    base: *mut u8,
    bytes: usize,
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
    /// The value as up to two pieces, stored one after the other (append and prepend join two).
    pub value: [&'a [u8]; 2],
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
    /// Bytes that the item needs.
    pub fn bytes(&self) -> usize {
        item_bytes(self.key.len(), self.value[0].len() + self.value[1].len(), self.flags)
    }
}

/// Bytes of an item with these parts.
pub fn item_bytes(key_bytes: usize, value_bytes: usize, flags: u32) -> usize {
    HEADER_BYTES + key_bytes + if flags == 0 { 0 } else { FLAGS_BYTES } + value_bytes
}

impl Items {
    /// A view of `bytes` zeroed bytes at `base`, kept alive by `backing`.
    ///
    /// # Safety
    /// `base..base + bytes` is readable, writable and aligned to 16 as long as `backing` lives, and nothing but
    /// clones of this view touches it.
    pub unsafe fn new(base: *mut u8, bytes: usize, backing: Arc<dyn Any + Send + Sync>) -> Items {
        assert!(base.addr().is_multiple_of(ItemRef::UNIT_BYTES), "slab memory is 16-byte aligned");
        Items { base, bytes, _backing: backing }
    }

    /// The memory of a mapped region, which the items have for themselves.
    pub fn in_region(region: Arc<numa::Region>) -> Items {
        let (base, bytes) = (region.as_ptr(), region.bytes());
        // SAFETY: the region is mapped, page-aligned, zero at first, and lives in the Arc; its owner lends it here only.
        unsafe { Items::new(base, bytes, region) }
    }

    /// Memory of the heap, for tests, models and the simulation.
    pub fn on_heap(bytes: usize) -> Items {
        let mut words = vec![0u128; bytes.div_ceil(16)].into_boxed_slice();
        let base = words.as_mut_ptr().cast();
        let bytes = words.len() * 16;
        // SAFETY: the box is 16-byte aligned, lives in the Arc, and nobody else keeps it.
        unsafe { Items::new(base, bytes, Arc::new(HeapBacking(words))) }
    }

    /// Length of the memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Words of `range` (in bytes, both ends multiples of 8), for the page headers that only an owner touches.
    pub fn words(&self, range: std::ops::Range<usize>) -> &[AtomicU64] {
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

    /// Builds an item at `at`. The caller owns the slot: no reader can have its reference yet.
    ///
    /// # Panics
    /// When the slot of `slot_bytes` at `at` is outside the memory or too small for the parts.
    pub fn write(&self, at: ItemRef, slot_bytes: usize, parts: &Parts<'_>) {
        let (key, [first, second]) = (parts.key, parts.value);
        let value_bytes = first.len() + second.len();
        assert!(!key.is_empty() && key.len() <= KEY_BYTES_MAX && value_bytes <= VALUE_BYTES_LIMIT);
        assert!(parts.bytes() <= slot_bytes && at.offset_bytes() + slot_bytes <= self.bytes);
        let state = State::new(parts.deadline_ms, parts.generation, parts.flags != 0);
        let lengths = (value_bytes as u32) << 8 | key.len() as u32;
        // SAFETY: the slot is in bounds and large enough for all of it (asserted above); it is 16-byte aligned; the
        // allocator gave it to this owner and no reference to it is published, so nobody else reads or writes it.
        unsafe {
            let base = self.base.add(at.offset_bytes());
            base.cast::<u64>().write(parts.cas);
            base.add(8).cast::<u64>().write(state.0);
            base.add(16).cast::<u32>().write(lengths);
            base.add(20).cast::<u32>().write(access_word(parts.now_s, false));
            let mut cursor = base.add(HEADER_BYTES);
            let flags = parts.flags.to_ne_bytes();
            let flags = if parts.flags == 0 { &[][..] } else { &flags[..] };
            for piece in [key, flags, first, second] {
                cursor.copy_from_nonoverlapping(piece.as_ptr(), piece.len());
                cursor = cursor.add(piece.len());
            }
        }
    }

    /// Copies the published item at `from` into the slot of `slot_bytes` at `to`, which the caller owns as in
    /// [`Items::write`]. What readers and the owner note in `from` from now on is not in the copy.
    ///
    /// # Panics
    /// When the slot is outside the memory or too small.
    pub fn copy(&self, from: ItemRef, to: ItemRef, slot_bytes: usize) {
        let item = self.get(from);
        let bytes = item.bytes();
        assert!(bytes <= slot_bytes && to.offset_bytes() + slot_bytes <= self.bytes);
        // Relaxed: a hint, see `last_access_s`. The state is the owner's, who calls this.
        let (state, access) = (item.state(), item.access_word().load(Ordering::Relaxed));
        // SAFETY: both slots are in bounds (`get`, the assertion) and do not overlap: `to` is a free slot. What is read
        // as plain memory never changes after publication; the two atomic words are not, and `to` is nobody else's.
        unsafe {
            let base = self.base.add(to.offset_bytes());
            base.cast::<u64>().write(item.cas());
            base.add(8).cast::<u64>().write(state.0);
            base.add(16).cast::<u32>().write(item.lengths);
            base.add(20).cast::<u32>().write(access);
            let rest = item.base.add(HEADER_BYTES);
            base.add(HEADER_BYTES).copy_from_nonoverlapping(rest, bytes - HEADER_BYTES);
        }
    }

    /// The item at `at`. `at` was read from a slot in this tick, or belongs to the caller, who owns it.
    /// Checked to lie inside the memory, whatever `at` says.
    #[inline]
    pub fn get(&self, at: ItemRef) -> Item<'_> {
        let offset = at.offset_bytes();
        assert!(offset + HEADER_BYTES <= self.bytes, "item reference outside the slab");
        // SAFETY: the header is in bounds (asserted).
        let base = unsafe { self.base.add(offset) };
        // SAFETY: in bounds and aligned; `lengths` is immutable while `at` is protected by grace.
        let lengths = unsafe { base.add(16).cast::<u32>().read() };
        let item = Item { base, lengths, _memory: std::marker::PhantomData };
        assert!(offset + item.bytes() <= self.bytes, "item reaches outside the slab");
        item
    }

    /// Asks the processor for the first `bytes` of the item at `at`, without waiting.
    #[inline]
    pub fn prefetch(&self, at: ItemRef, bytes: usize) {
        let offset = at.offset_bytes();
        for line in (offset..(offset + bytes).min(self.bytes)).step_by(64) {
            crate::table::prefetch::read(self.base.wrapping_add(line));
        }
    }

    /// Overwrites a slot with a pattern, so that a reader that breaks the grace rule is found by tests.
    #[cfg(debug_assertions)]
    pub fn poison(&self, at: ItemRef, slot_bytes: usize) {
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

struct HeapBacking(#[expect(dead_code, reason = "held for its memory only")] Box<[u128]>);

/// A published item, borrowed within a tick.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    base: *const u8,
    lengths: u32,
    _memory: std::marker::PhantomData<&'a u8>,
}

impl<'a> Item<'a> {
    /// The key.
    #[inline]
    pub fn key(&self) -> &'a [u8] {
        // SAFETY: `Items::get` checked the extent; key bytes are immutable while the reference is protected.
        unsafe { std::slice::from_raw_parts(self.base.add(HEADER_BYTES), self.key_bytes()) }
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> &'a [u8] {
        let start = HEADER_BYTES + self.key_bytes() + self.flags_bytes();
        // SAFETY: as for `key`.
        unsafe { std::slice::from_raw_parts(self.base.add(start), self.value_bytes()) }
    }

    /// The client's flags.
    pub fn flags(&self) -> u32 {
        if self.flags_bytes() == 0 {
            return 0;
        }
        // SAFETY: as for `key`; the flags stand, unaligned, behind the key.
        let raw = unsafe { self.base.add(HEADER_BYTES + self.key_bytes()).cast::<[u8; 4]>().read() };
        u32::from_ne_bytes(raw)
    }

    /// The unique number of this version.
    #[inline]
    pub fn cas(&self) -> u64 {
        // SAFETY: in bounds and aligned; immutable while the reference is protected.
        unsafe { self.base.cast::<u64>().read() }
    }

    /// Bytes of the whole item.
    pub fn bytes(&self) -> usize {
        HEADER_BYTES + self.key_bytes() + self.flags_bytes() + self.value_bytes()
    }

    /// Length of the key, in bytes.
    #[inline]
    pub fn key_bytes(&self) -> usize {
        (self.lengths & 0xff) as usize
    }

    /// Length of the value, in bytes.
    #[inline]
    pub fn value_bytes(&self) -> usize {
        (self.lengths >> 8) as usize
    }

    /// The state word as it stands now.
    #[inline]
    pub fn state(&self) -> State {
        // Acquire: pairs with the owner's Release in `set_state`; a reader that sees a new deadline sees it whole.
        State(self.state_word().load(Ordering::Acquire))
    }

    /// Replaces the state word. Owner only.
    pub fn set_state(&self, state: State) {
        // Release: pairs with the Acquire in `state`.
        self.state_word().store(state.0, Ordering::Release);
    }

    /// Seconds since the server epoch of the last access.
    pub fn last_access_s(&self) -> u64 {
        // Relaxed: a hint for people and for pressure; it publishes nothing.
        (self.access_word().load(Ordering::Relaxed) >> 1) as u64
    }

    /// Whether anybody has read the item since it was stored.
    pub fn fetched(&self) -> bool {
        // Relaxed: as in `last_access_s`.
        self.access_word().load(Ordering::Relaxed) & 1 == 1
    }

    /// Notes an access; writes only when the word changes, at most once a second.
    #[inline]
    pub fn note_access(&self, now_s: u64) {
        let word = access_word(now_s, true);
        // Relaxed: as in `last_access_s`; racing readers store equal or neighbouring seconds.
        if self.access_word().load(Ordering::Relaxed) != word {
            self.access_word().store(word, Ordering::Relaxed);
        }
    }

    #[inline]
    fn flags_bytes(&self) -> usize {
        // Relaxed: the has-flags bit never changes after publication.
        let has_flags = State(self.state_word().load(Ordering::Relaxed)).has_flags();
        if has_flags { FLAGS_BYTES } else { 0 }
    }

    fn state_word(&self) -> &AtomicU64 {
        // SAFETY: in bounds (checked by `Items::get`), 8-byte aligned, only ever accessed as an atomic after
        // publication.
        unsafe { &*self.base.add(8).cast::<AtomicU64>() }
    }

    fn access_word(&self) -> &AtomicU32 {
        // SAFETY: as for `state_word`; 4-byte aligned.
        unsafe { &*self.base.add(20).cast::<AtomicU32>() }
    }
}

fn access_word(now_s: u64, fetched: bool) -> u32 {
    (now_s as u32) << 1 | fetched as u32
}

/// The owner-written word of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(u64);

impl State {
    const DEADLINE_MASK: u64 = (1 << 44) - 1;
    const STALE: u64 = 1 << 44;
    const WIN_SENT: u64 = 1 << 45;
    const HAS_FLAGS: u64 = 1 << 46;

    const GENERATION_SHIFT: u32 = 47;
    /// Largest generation; the next is 0 again.
    pub const GENERATION_MAX: u32 = (1 << 17) - 1;

    fn new(deadline_ms: u64, generation: u32, has_flags: bool) -> State {
        let flags = if has_flags { Self::HAS_FLAGS } else { 0 };
        State(deadline_ms & Self::DEADLINE_MASK | flags | (generation as u64) << Self::GENERATION_SHIFT)
    }

    /// The generation of the shard when the item was stored.
    #[inline]
    pub fn generation(self) -> u32 {
        (self.0 >> Self::GENERATION_SHIFT) as u32
    }

    /// Milliseconds since the server epoch; 0 = never.
    #[inline]
    pub fn deadline_ms(self) -> u64 {
        self.0 & Self::DEADLINE_MASK
    }

    /// Whether the deadline has passed at `now_ms`.
    #[inline]
    pub fn expired(self, now_ms: u64) -> bool {
        // A deadline of 0 wraps to the largest number: never.
        self.deadline_ms().wrapping_sub(1) < now_ms
    }

    /// Marked stale by a meta delete with I.
    pub fn stale(self) -> bool {
        self.0 & Self::STALE != 0
    }

    /// Somebody has been told that it won the right to refresh.
    pub fn win_sent(self) -> bool {
        self.0 & Self::WIN_SENT != 0
    }

    /// With another deadline (ms since the server epoch, 0 = never).
    pub fn with_deadline_ms(self, deadline_ms: u64) -> State {
        State(self.0 & !Self::DEADLINE_MASK | deadline_ms & Self::DEADLINE_MASK)
    }

    /// With the stale mark set or cleared.
    pub fn with_stale(self, stale: bool) -> State {
        State(if stale { self.0 | Self::STALE } else { self.0 & !Self::STALE })
    }

    /// With the win-sent mark set or cleared.
    pub fn with_win_sent(self, sent: bool) -> State {
        State(if sent { self.0 | Self::WIN_SENT } else { self.0 & !Self::WIN_SENT })
    }

    fn has_flags(self) -> bool {
        self.0 & Self::HAS_FLAGS != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts<'a>(key: &'a [u8], value: &'a [u8], flags: u32) -> Parts<'a> {
        Parts { key, value: [value, b""], flags, cas: 7, deadline_ms: 0, generation: 5, now_s: 3 }
    }

    #[test]
    fn a_copy_is_the_same_item() {
        let items = Items::on_heap(4096);
        let (from, to) = (ItemRef::new(1).unwrap(), ItemRef::new(100).unwrap());
        items.write(from, 80, &parts(b"key", b"some value", 9));
        items.get(from).set_state(items.get(from).state().with_deadline_ms(77));
        items.get(from).note_access(12);
        items.copy(from, to, 80);
        let copy = items.get(to);
        assert_eq!((copy.key(), copy.value(), copy.flags()), (&b"key"[..], &b"some value"[..], 9));
        assert_eq!((copy.cas(), copy.state(), copy.last_access_s()), (7, items.get(from).state(), 12));
        assert!(copy.fetched());
    }

    #[test]
    fn what_is_written_is_read() {
        let items = Items::on_heap(1 << 16);
        let at = ItemRef::new(4).unwrap();
        for flags in [0, 1, u32::MAX] {
            let mut parts = parts(b"key", b"some value", flags);
            parts.value[1] = b" and more";
            items.write(at, 128, &parts);
            let item = items.get(at);
            assert_eq!(item.key(), b"key");
            assert_eq!(item.value(), b"some value and more");
            assert_eq!((item.flags(), item.cas(), item.last_access_s()), (flags, 7, 3));
            assert!(!item.fetched());
            item.note_access(9);
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
        Items::on_heap(1024).get(ItemRef::new(1 << 30).unwrap());
    }
}
