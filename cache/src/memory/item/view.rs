//! One published item, as readers see it.

#![allow(unsafe_code)]

use super::{Access, FLAGS_BYTES, HEADER_BYTES, Items, Shape, State, Value};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A published item, borrowed within a tick.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    pub(super) items: &'a Items,
    pub(super) base: *const u8,
    pub(super) lengths: u32,
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
    pub fn value(&self) -> Value<'a> {
        let start = HEADER_BYTES + self.key_bytes() + self.flags_bytes();
        let shape = self.shape();
        if shape.chunks > 0 {
            return Value::of_chunks(*self, start, shape);
        }
        // SAFETY: as for `key`.
        Value::whole_of(unsafe { std::slice::from_raw_parts(self.base.add(start), self.value_bytes()) })
    }

    /// How the value is stored.
    #[inline]
    pub fn shape(&self) -> Shape {
        self.items.chunks.shape(self.key_bytes(), self.value_bytes())
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

    /// Bytes of header, key, flags and value.
    pub fn bytes(&self) -> usize {
        HEADER_BYTES + self.key_bytes() + self.flags_bytes() + self.value_bytes()
    }

    /// Bytes in the item's own slot: without what lies in chunks, with the references to them.
    #[inline]
    pub fn bytes_in_slot(&self) -> usize {
        self.shape().bytes_in_slot(HEADER_BYTES + self.key_bytes() + self.flags_bytes())
    }

    /// What stands in the item's own slot behind the header.
    pub(super) fn bytes_behind_header(&self) -> &'a [u8] {
        // SAFETY: `Items::get` checked the extent; immutable while the reference is protected.
        unsafe {
            std::slice::from_raw_parts(self.base.add(HEADER_BYTES), self.bytes_in_slot() - HEADER_BYTES)
        }
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
    pub(crate) fn set_state(&self, state: State) {
        // Release: pairs with the Acquire in `state`.
        self.state_word().store(state.0, Ordering::Release);
    }

    /// Seconds since the server epoch of the last access.
    pub fn last_access_s(&self) -> u64 {
        self.access().last_s()
    }

    /// Whether anybody has read the item since it was stored.
    pub fn fetched(&self) -> bool {
        self.access().fetched()
    }

    /// Whether it was read and the policy does not know; forgets that, so that it says so once.
    pub fn take_untold(&self) -> bool {
        let access = self.access();
        if access.untold() {
            // Relaxed: as in `access`; a read at this moment may lose its mark.
            self.access_word().store(access.with_second_chance().0, Ordering::Relaxed);
        }
        access.untold()
    }

    /// Notes an access, of which the policy learns or not. Writes only when the word changes: at most twice a second.
    #[inline]
    pub fn note_access(&self, now_s: u64, told: bool) {
        let old = self.access();
        let new = old.read(now_s, told);
        if old != new {
            // Relaxed: as in `access`; racing readers store equal or neighbouring seconds.
            self.access_word().store(new.0, Ordering::Relaxed);
        }
    }

    #[inline]
    fn access(&self) -> Access {
        // Relaxed: a hint for people, for pressure and for the policy; it publishes nothing.
        Access(self.access_word().load(Ordering::Relaxed))
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

    pub(super) fn access_word(&self) -> &AtomicU32 {
        // SAFETY: as for `state_word`; 4-byte aligned.
        unsafe { &*self.base.add(20).cast::<AtomicU32>() }
    }
}
