//! Values: whole in the item's slot, or cut into chunks when they are long.
//!
//! ```text
//! item   │ header │ key │ flags │ pad to 8 │ chunk 0 │ chunk 1 │ … │ rest of the value │      references of 8 bytes
//! chunk  │ item   │ number │ payload                                        │      a slot of 1/64 page
//! ```
//! A value of 1 MiB in one slot would waste up to half of a 2 MiB page; chunks of a 64th of a page fill pages to 98 %, and
//! what is left over is shorter than a chunk. An item is cut when it would take more than 1/32 of a page whole, so readers
//! know from the lengths alone. All chunks are full; the rest of the value stands in the item.
//!
//! The references are atomics because the mover may copy a chunk and store the new place (Release); a reader that loads
//! either (Acquire) reads the same bytes, and grace keeps both. The two words at the head of a chunk are its owner's: they
//! lead the mover and pressure from the chunk to its item.

#![allow(unsafe_code)]

use super::{FLAGS_BYTES, HEADER_BYTES, Item, Items, OwnedSlot};
use crate::base::item_ref::ItemRef;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes before the payload of a chunk.
pub const CHUNK_HEADER_BYTES: usize = 16;
const REF_BYTES: usize = 8;

/// How values are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// Bytes of a chunk's slot.
    slot_bytes: usize,
    /// Bytes up to which an item is whole.
    whole_bytes_max: usize,
}

/// How one value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Chunks of the value; 0 = it is whole.
    pub chunks: usize,
    /// Bytes of the value that stand in the item's slot.
    pub rest_bytes: usize,
}

/// What an item needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    key_bytes: usize,
    value_bytes: usize,
    flags_bytes: usize,
}

impl Size {
    /// Of an item with these parts; flags of 0 take no room.
    pub fn of(key_bytes: usize, value_bytes: usize, flags: u32) -> Size {
        Size { key_bytes, value_bytes, flags_bytes: if flags == 0 { 0 } else { FLAGS_BYTES } }
    }

    /// Bytes of header, key, flags and value.
    pub fn bytes(&self) -> usize {
        self.fixed_bytes() + self.value_bytes
    }

    /// Bytes of header, key and flags.
    pub fn fixed_bytes(&self) -> usize {
        HEADER_BYTES + self.key_bytes + self.flags_bytes
    }

    /// Bytes of the value.
    pub fn value_bytes(&self) -> usize {
        self.value_bytes
    }

    /// How the value is stored where values are cut as `chunks` says.
    pub fn shape(&self, chunks: Chunks) -> Shape {
        chunks.shape(self.key_bytes, self.value_bytes)
    }
}

impl Chunks {
    /// Every value is whole.
    pub const NEVER: Chunks = Chunks { slot_bytes: 0, whole_bytes_max: usize::MAX };

    /// For pages of `page_bytes` bytes.
    pub fn of_page(page_bytes: usize) -> Chunks {
        Chunks { slot_bytes: page_bytes / 64, whole_bytes_max: page_bytes / 32 }
    }

    /// Bytes of a chunk's slot.
    pub fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    /// Bytes of a value that a chunk holds.
    pub fn payload_bytes(&self) -> usize {
        self.slot_bytes - CHUNK_HEADER_BYTES
    }

    /// How a value is stored. It does not depend on the flags: they may come and go.
    #[inline]
    pub fn shape(&self, key_bytes: usize, value_bytes: usize) -> Shape {
        if HEADER_BYTES + key_bytes + FLAGS_BYTES + value_bytes <= self.whole_bytes_max {
            return Shape { chunks: 0, rest_bytes: value_bytes };
        }
        let payload = self.payload_bytes();
        Shape { chunks: value_bytes / payload, rest_bytes: value_bytes % payload }
    }
}

impl Shape {
    /// Bytes in the item's slot, of which `fixed_bytes` are header, key and flags.
    #[inline]
    pub fn bytes_in_slot(&self, fixed_bytes: usize) -> usize {
        match self.chunks {
            0 => fixed_bytes + self.rest_bytes,
            chunks => fixed_bytes.next_multiple_of(REF_BYTES) + chunks * REF_BYTES + self.rest_bytes,
        }
    }
}

/// A value, borrowed within a tick.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    chunked: Option<Chunked<'a>>,
    /// What stands in the item: all of it, if it is whole.
    rest: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
struct Chunked<'a> {
    items: &'a Items,
    refs: &'a [AtomicU64],
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Value<'a> {
        Value { chunked: None, rest: bytes }
    }
}

impl<'a> Value<'a> {
    /// No bytes.
    pub const EMPTY: Value<'static> = Value { chunked: None, rest: &[] };

    #[inline]
    pub(super) fn whole_of(bytes: &'a [u8]) -> Value<'a> {
        Value { chunked: None, rest: bytes }
    }

    /// The value of an item, cut as `shape` says; its key and flags end `fixed_bytes` behind the item's start.
    pub(super) fn of_chunks(item: Item<'a>, fixed_bytes: usize, shape: Shape) -> Value<'a> {
        let refs = fixed_bytes.next_multiple_of(REF_BYTES);
        // SAFETY: in bounds (`Items::get` checked `bytes_in_slot`); items are 16-byte aligned and `refs` is a multiple of
        // 8; only ever accessed as atomics after publication.
        let refs =
            unsafe { std::slice::from_raw_parts(item.base.add(refs).cast::<AtomicU64>(), shape.chunks) };
        // SAFETY: in bounds, as above; immutable while the reference is protected.
        let rest = unsafe { std::slice::from_raw_parts(refs.as_ptr_range().end.cast(), shape.rest_bytes) };
        Value { chunked: Some(Chunked { items: item.items, refs }), rest }
    }

    /// Length, in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        let chunked = self.chunked.map_or(0, |chunked| chunked.refs.len() * chunked.payload_bytes());
        chunked + self.rest.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes as one slice, if they lie together.
    #[inline]
    pub fn whole(&self) -> Option<&'a [u8]> {
        if self.chunked.is_none() { Some(self.rest) } else { None }
    }

    /// The bytes, in order.
    pub fn pieces(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (chunked, rest) = (self.chunked, self.rest);
        let of_chunk = move |chunk: ItemRef| {
            let chunked = chunked.expect("a value with chunks");
            let start = chunk.offset_bytes() + CHUNK_HEADER_BYTES;
            chunked.items.bytes_at(start, chunked.payload_bytes())
        };
        self.chunk_refs().map(of_chunk).chain(std::iter::once(rest))
    }

    /// Where the chunks are, in order.
    pub fn chunk_refs(&self) -> impl Iterator<Item = ItemRef> + use<'a> {
        self.chunked.map_or(&[][..], |chunked| chunked.refs).iter().map(chunk_in)
    }

    /// Where chunk `number` is.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn chunk_ref(&self, number: usize) -> ItemRef {
        chunk_in(&self.chunked.expect("a value with chunks").refs[number])
    }
}

fn chunk_in(word: &AtomicU64) -> ItemRef {
    // Acquire: pairs with the Release in `move_chunk`; the copy's bytes come before.
    ItemRef::new(word.load(Ordering::Acquire)).expect("a chunk is somewhere")
}

impl Chunked<'_> {
    fn payload_bytes(&self) -> usize {
        self.items.chunks.payload_bytes()
    }
}

impl Items {
    /// Writes a value into chunks and what is left behind their references. `cursor` is where key and flags end.
    pub(super) fn write_chunked<'v>(
        &self,
        at: ItemRef,
        cursor: usize,
        chunks: &[ItemRef],
        pieces: impl Iterator<Item = &'v [u8]>,
    ) {
        let refs = self.write_chunk_refs(at, cursor, chunks);
        let payload = self.chunks.payload_bytes();
        let start_of = |n: usize| match chunks.get(n) {
            Some(chunk) => chunk.offset_bytes() + CHUNK_HEADER_BYTES,
            None => refs + chunks.len() * REF_BYTES,
        };
        let mut written = 0;
        for mut piece in pieces {
            while !piece.is_empty() {
                let (chunk, within) = ((written / payload).min(chunks.len()), written % payload);
                let within = if chunk == chunks.len() { written - chunk * payload } else { within };
                let room = if chunk == chunks.len() { piece.len() } else { payload - within };
                let (now, later) = piece.split_at(piece.len().min(room));
                self.write_bytes(start_of(chunk) + within, now);
                written += now.len();
                piece = later;
            }
        }
    }

    /// Writes where the chunks of the item at `at` are, and in them whose they are; returns where the references begin.
    pub(super) fn write_chunk_refs(&self, at: ItemRef, cursor: usize, chunks: &[ItemRef]) -> usize {
        let refs = cursor.next_multiple_of(REF_BYTES);
        for (i, &chunk) in chunks.iter().enumerate() {
            self.own_chunk(chunk, at, i);
            self.write_bytes(refs + i * REF_BYTES, &chunk.units().to_ne_bytes());
        }
        refs
    }

    /// Notes in a chunk whose it is. Owner only.
    pub(in crate::memory) fn own_chunk(&self, chunk: ItemRef, item: ItemRef, number: usize) {
        let words = self.words(chunk.offset_bytes()..chunk.offset_bytes() + CHUNK_HEADER_BYTES);
        // Relaxed: only the owner looks at them.
        words[0].store(item.units(), Ordering::Relaxed);
        words[1].store(number as u64, Ordering::Relaxed);
    }

    /// The item of a chunk, and the chunk's number in it. Owner only.
    pub(in crate::memory) fn owner_of_chunk(&self, chunk: ItemRef) -> (ItemRef, usize) {
        let words = self.words(chunk.offset_bytes()..chunk.offset_bytes() + CHUNK_HEADER_BYTES);
        // Relaxed: see `own_chunk`.
        let item = ItemRef::new(words[0].load(Ordering::Relaxed)).expect("a chunk in use has an item");
        (item, words[1].load(Ordering::Relaxed) as usize)
    }

    /// Copies chunk `from` of `item` into `to` and lets the item refer to the copy. `from` is free after grace.
    ///
    /// # Panics
    /// When `item` is not cut.
    pub(in crate::memory) fn move_chunk(&self, from: ItemRef, item: Item<'_>, to: OwnedSlot) {
        let (at, number) = self.owner_of_chunk(from);
        let to = to.publish();
        let payload = self.chunks.payload_bytes();
        let bytes = self.bytes_at(from.offset_bytes() + CHUNK_HEADER_BYTES, payload);
        self.write_bytes(to.offset_bytes() + CHUNK_HEADER_BYTES, bytes);
        self.own_chunk(to, at, number);
        let refs = item.value().chunked.expect("a chunk's item has chunks").refs;
        // Release: pairs with the Acquire in `chunk_refs`.
        refs[number].store(to.units(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Parts;

    #[test]
    fn a_long_value_is_cut_and_read_in_order() {
        let value: Vec<u8> = (0..500u32).map(|i| (i * 7) as u8).collect();
        for (length, split, flags) in
            [(0, 0, 0), (73, 9, 0), (74, 0, 5), (96, 48, 0), (143, 144, 1), (144, 5, 0), (500, 250, 9)]
        {
            let items = Items::on_heap(1 << 20).with_chunks(Chunks { slot_bytes: 64, whole_bytes_max: 100 });
            let value = &value[..length];
            let (first, second) = value.split_at(split.min(length));
            let size = Size::of(3, length, flags);
            let shape = size.shape(items.chunks());
            assert_eq!(shape.chunks == 0, 24 + 3 + 4 + length <= 100, "{length}");
            // SAFETY: the memory is the test's alone, and made anew where places are used again.
            let slot =
                |unit: u64, bytes: usize| unsafe { OwnedSlot::new(ItemRef::new(unit).unwrap(), bytes) };
            // SAFETY: as above.
            let get = |at: ItemRef| unsafe { items.get(at) };
            let slot_bytes = shape.bytes_in_slot(size.fixed_bytes());
            let chunk = |n: usize| ItemRef::new(200 + 4 * n as u64).unwrap();
            let chunks: Vec<_> = (0..shape.chunks).map(chunk).collect();
            let parts = Parts {
                key: b"key",
                value: [first.into(), second.into()],
                flags,
                cas: 7,
                deadline_ms: 0,
                generation: 0,
                now_s: 3,
            };
            let mut built = slot(1, slot_bytes);
            items.write(&mut built, &chunks, &parts);
            let at = built.publish();
            let check = |at: ItemRef| {
                let item = get(at);
                assert_eq!((item.key(), item.flags(), item.value().len()), (&b"key"[..], flags, length));
                assert_eq!(item.bytes_in_slot(), slot_bytes);
                assert_eq!(item.value().pieces().flatten().copied().collect::<Vec<_>>(), value);
                item.value().chunk_refs().enumerate().for_each(|(i, chunk)| {
                    assert_eq!(items.owner_of_chunk(chunk), (at, i));
                });
            };
            check(at);
            if let Some(&last) = chunks.last() {
                items.move_chunk(last, get(at), slot(chunk(50).units(), 64));
                assert_eq!(get(at).value().chunk_refs().last(), Some(chunk(50)));
                check(at);
            }
            let mut copy = slot(60, slot_bytes);
            items.copy(get(at), &mut copy);
            check(copy.publish());
        }
    }
}
