//! What travels between workers and the policy. All records are `Copy`; sizes are asserted.
//!
//! `hash` is everywhere the **upper 32 bits** of the key hash: enough for the sketch, and enough for the owner to
//! find the home line again (to within one line), so an item's policy node needs 4 bytes of hash, not 8.

use crate::base::item_ref::ItemRef;

/// A read found this item. Lossy and sampled: the policy may see one in many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The item that was read.
    pub item: ItemRef,
    /// Upper 32 bits of its key hash.
    pub hash: u32,
    /// Reads that it stands for: itself and those that its worker left out since its last record.
    pub weight: u32,
}

/// Deadline and slot size in one word, so that [`Event`] stays at 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(u64);

impl Deadline {
    /// `deadline_ms`: milliseconds since the server epoch (44 bits), 0 = never.
    /// `slot_units`: the slab slot's size in units of 16 bytes (20 bits).
    pub fn new(deadline_ms: u64, slot_units: u32) -> Deadline {
        debug_assert!(deadline_ms >> 44 == 0 && slot_units >> 20 == 0);
        Deadline(deadline_ms << 20 | slot_units as u64)
    }

    /// Milliseconds since the server epoch; 0 = never.
    pub fn ms(self) -> u64 {
        self.0 >> 20
    }

    /// The slab slot's size, in units of 16 bytes.
    pub fn slot_units(self) -> u32 {
        (self.0 & 0xf_ffff) as u32
    }
}

/// What an item takes beside its slot: the chunks of a long value, in units of 16 bytes, 24 bits of them (256 MiB). Three
/// bytes, because so many are left of an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkUnits([u8; 3]);

impl ChunkUnits {
    /// The value lies in the item's slot.
    pub const NONE: ChunkUnits = ChunkUnits([0; 3]);

    /// So many; more than 24 bits can say count as the most that they can.
    pub fn new(units: u64) -> ChunkUnits {
        let [a, b, c, _] = (units.min((1 << 24) - 1) as u32).to_le_bytes();
        ChunkUnits([a, b, c])
    }

    /// Units of 16 bytes.
    pub fn get(self) -> u32 {
        let ChunkUnits([a, b, c]) = self;
        u32::from_le_bytes([a, b, c, 0])
    }
}

/// A change in what an owner holds. Never lost: see [`Event::Reset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An item became readable.
    Store {
        /// Where it lives.
        item: ItemRef,
        /// The item of the same key whose place it took, if there was one: that one is gone.
        replaced: Option<ItemRef>,
        /// Its deadline and the size of its slab slot.
        deadline: Deadline,
        /// What it takes beside that slot.
        chunks: ChunkUnits,
        /// Upper 32 bits of its key hash.
        hash: u32,
    },
    /// An item is gone: deleted, expired, evicted by a command or by pressure. May name an item that the
    /// policy no longer has.
    Delete {
        /// Where it was.
        item: ItemRef,
    },
    /// An item's deadline changed (touch).
    Touch {
        /// Where it lives.
        item: ItemRef,
        /// The new deadline.
        deadline: Deadline,
        /// Whether that was a use of the item, too. Where a read came with it (`gat`), a hit record tells of the use.
        is_use: bool,
    },
    /// An item was told to go, and stays: it was read, and no record had told so (see [`crate::memory::item::Access`]).
    SecondChance {
        /// Where it lives.
        item: ItemRef,
        /// Its deadline and the size of its slab slot.
        deadline: Deadline,
        /// Why it was told to go.
        verdict: Verdict,
    },
    /// The mover copied an item; same key, same value, new place, the same chunks.
    Move {
        /// Where it was.
        from: ItemRef,
        /// Where it is.
        to: ItemRef,
        /// The size of its slab slot there, in units of 16 bytes.
        units: u32,
    },
    /// The ring was full and events of this page were lost: forget every item whose reference is in
    /// `first..first + units`; a `Store` for each live one follows.
    Reset {
        /// First reference of the page.
        first: ItemRef,
        /// Length of the page, in units of 16 bytes.
        units: u64,
    },
    /// The bytes of slab slots that this owner may keep from now on, those of chunks included; the policy evicts down to it.
    Budget {
        /// Sum of slots and chunks, in bytes.
        bytes: u64,
    },
}

/// What the policy asks of an owner. A hint: the owner looks for a slot that holds exactly this reference near
/// the home of `hash`, and ignores (and counts) the command when there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyCommand {
    /// The item.
    pub item: ItemRef,
    /// Upper 32 bits of its key hash.
    pub hash: u32,
    /// Why.
    pub verdict: Verdict,
}

/// Why an item should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was not worth a place in the main region.
    Reject,
    /// It lost its place.
    Evict,
    /// Its deadline has passed; the owner checks that again.
    Expire,
}

const _: () = assert!(size_of::<Hit>() == 16);
const _: () = assert!(size_of::<Event>() == 32);
const _: () = assert!(size_of::<PolicyCommand>() == 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_the_longest_value_can_be_told() {
        let longest = crate::limits::VALUE_BYTES_LIMIT as u64 / 16 * 2;
        for units in [0, 1, 300, 1 << 20, longest] {
            assert_eq!(ChunkUnits::new(units).get() as u64, units);
        }
        assert_eq!(ChunkUnits::new(u64::MAX).get(), (1 << 24) - 1);
    }
}
