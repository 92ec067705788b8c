//! The item reference: where an item lives, as 36 bits.
//!
//! A foundation, because the table stores it, the memory hands it out and the policy names items by it,
//! and none of the three may know the others.

/// Place of an item in its process's slab memory, in units of 16 bytes from the start of the region.
/// 36 bits address 1 TiB. Zero is no item (`Option<ItemRef>` costs nothing more).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemRef(std::num::NonZeroU64);

impl ItemRef {
    /// Bits of a reference.
    pub const BITS: u32 = 36;
    /// Bytes of the unit that a reference counts.
    pub const UNIT_BYTES: usize = 16;

    /// The reference `units` × 16 bytes from the start of the region; `None` for 0 and beyond 36 bits.
    pub fn new(units: u64) -> Option<ItemRef> {
        if units >> Self::BITS != 0 {
            return None;
        }
        std::num::NonZeroU64::new(units).map(ItemRef)
    }

    /// Units of 16 bytes from the start of the region; in 1..2^36.
    pub fn units(self) -> u64 {
        self.0.get()
    }

    /// Bytes from the start of the region.
    pub fn offset_bytes(self) -> usize {
        self.0.get() as usize * Self::UNIT_BYTES
    }
}
