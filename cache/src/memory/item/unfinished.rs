//! An item whose value is still coming: its slot and its chunks are taken, and nothing leads to it.
//!
//! ```text
//! owner   reserve ── Unfinished ──┐                            ┌── finish: header, then a slot of the table leads to it
//!                                 ▼                            │   or: the slots are free again
//! another thread       room · advance · room · advance · … ── Unfinished
//! ```
//! Whoever has the handle writes the value, where it will stay. The owner of the pages writes everything else: until the item is
//! finished its header is a blank, so walks over the slots pass over it, and nobody moves it or takes its memory.
//! The handle travels by value. What moves it between threads (a ring, a join) orders the writes of the one before the reads of the other.

#![allow(unsafe_code)]

use super::value::CHUNK_HEADER_BYTES;
use super::{Access, Item, Items, OwnedSlot, Shape, Size, State, Value};
use crate::base::item_ref::ItemRef;
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_LIMIT};

/// An item that is reserved and not published: nobody else has its reference. It goes back to the owner that made it, to be
/// published or abandoned. One that is dropped keeps its memory until the process ends.
#[derive(Debug)]
#[must_use = "an unfinished item that goes back to no owner keeps its memory"]
pub struct Unfinished {
    items: Items,
    slot: OwnedSlot,
    /// Length of the key and of the value, as in the header of an item.
    lengths: u32,
    flags: u32,
    /// Bytes of the value that are there.
    filled: u32,
}

/// What an item gets when its value is there.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The unique number of this version.
    pub cas: u64,
    /// Milliseconds since the server epoch; 0 = never.
    pub deadline_ms: u64,
    /// The generation of its shard.
    pub generation: u32,
    /// Seconds since the server epoch.
    pub now_s: u64,
}

impl Unfinished {
    /// The key.
    pub fn key(&self) -> &[u8] {
        self.item().key()
    }

    /// The client's flags.
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// What the item needs.
    pub fn size(&self) -> Size {
        Size::of(self.item().key_bytes(), self.item().value_bytes(), self.flags)
    }

    /// Bytes of the value that are not there yet.
    pub fn missing(&self) -> usize {
        self.item().value_bytes() - self.filled as usize
    }

    /// The next bytes of the value that are not there yet, as far as they lie together; empty when all are there. What is in
    /// them before they are written is nothing of meaning.
    pub fn room(&mut self) -> &mut [u8] {
        let (offset, bytes) = self.next_piece();
        assert!(offset + bytes <= self.items.bytes);
        // SAFETY: in bounds (asserted), within the slot or a chunk of this item, behind the header and the references of the one
        // and the two words of the other. These bytes are this handle's alone: the owner took slot and chunks for it, never
        // touches a value between `reserve` and the return of the handle, and no table leads here.
        unsafe { std::slice::from_raw_parts_mut(self.items.base.add(offset), bytes) }
    }

    /// So many bytes of [`Unfinished::room`] were written.
    ///
    /// # Panics
    /// When there was not so much room.
    pub fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.next_piece().1, "{bytes} bytes are more than there was room for");
        self.filled += bytes as u32;
    }

    /// Copies the next bytes of the value, as many as are missing at most; returns how many.
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        let mut rest = &bytes[..bytes.len().min(self.missing())];
        let taken = rest.len();
        while !rest.is_empty() {
            let room = self.room();
            let (now, later) = rest.split_at(rest.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            self.advance(now.len());
            rest = later;
        }
        taken
    }

    /// The value. All of it must be there.
    pub(crate) fn value(&self) -> Value<'_> {
        debug_assert!(self.missing() == 0);
        self.item().value()
    }

    /// Its own slot.
    pub(crate) fn at(&self) -> ItemRef {
        self.slot.at()
    }

    /// Where its chunks are.
    pub(crate) fn chunk_refs(&self) -> impl Iterator<Item = ItemRef> {
        self.item().value().chunk_refs()
    }

    /// Whether it lies in this memory.
    pub(in crate::memory) fn is_in(&self, items: &Items) -> bool {
        std::ptr::eq(self.items.base, items.base)
    }

    /// The item as it will be: key, flags and the references to chunks are there already.
    fn item(&self) -> Item<'_> {
        // In bounds: `Items::reserve` has asserted it.
        let base = self.items.base.wrapping_add(self.slot.at().offset_bytes());
        Item { items: &self.items, base, lengths: self.lengths }
    }

    /// Where the next bytes of the value go, and how many lie together there.
    fn next_piece(&self) -> (usize, usize) {
        let (item, filled) = (self.item(), self.filled as usize);
        let Shape { chunks, rest_bytes } = item.shape();
        let payload = if chunks > 0 { self.items.chunks.payload_bytes() } else { 0 };
        if filled < chunks * payload {
            let (chunk, within) = (item.value().chunk_ref(filled / payload), filled % payload);
            return (chunk.offset_bytes() + CHUNK_HEADER_BYTES + within, payload - within);
        }
        let (end, left) = (self.slot.at().offset_bytes() + item.bytes_in_slot(), self.missing());
        debug_assert!(left <= rest_bytes);
        (end - left, left)
    }
}

impl Items {
    /// Begins an item whose value comes later: as [`Items::write`] does it, but for the value and what is decided when it is
    /// there.
    ///
    /// # Panics
    /// As [`Items::write`].
    pub(in crate::memory) fn reserve(
        &self,
        mut slot: OwnedSlot,
        chunks: &[ItemRef],
        (key, value_bytes, flags): (&[u8], usize, u32),
    ) -> Unfinished {
        assert!(!key.is_empty() && key.len() <= KEY_BYTES_MAX && value_bytes <= VALUE_BYTES_LIMIT);
        let (size, at) = (Size::of(key.len(), value_bytes, flags), slot.at());
        let shape = size.shape(self.chunks);
        assert!(shape.chunks == chunks.len(), "as many chunks as the value needs");
        assert!(shape.bytes_in_slot(size.fixed_bytes()) <= slot.bytes());
        self.write_blank(&mut slot, flags != 0);
        let cursor = self.write_key(at, key, flags);
        if !chunks.is_empty() {
            self.write_chunk_refs(at, cursor, chunks);
        }
        let lengths = (value_bytes as u32) << 8 | key.len() as u32;
        Unfinished { items: self.share(), slot, lengths, flags, filled: 0 }
    }

    /// Makes an item of what is there with its value, to be published.
    ///
    /// # Panics
    /// When bytes of the value are missing.
    pub(in crate::memory) fn finish(&self, unfinished: Unfinished, head: Head) -> OwnedSlot {
        assert!(unfinished.missing() == 0, "a value is published when all of it is there");
        let Unfinished { slot, lengths, flags, .. } = unfinished;
        let state = State::new(head.deadline_ms, head.generation, flags != 0);
        let (key_bytes, value_bytes) = ((lengths & 0xff) as usize, (lengths >> 8) as usize);
        self.write_header(slot.at(), head.cas, state, key_bytes, value_bytes, Access::new(head.now_s).0);
        slot
    }
}

impl From<Unfinished> for OwnedSlot {
    fn from(unfinished: Unfinished) -> OwnedSlot {
        unfinished.slot
    }
}
