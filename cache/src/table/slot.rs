//! A slot: 24 bits of the hash and an item reference in one word. Zero is a free slot.

use crate::base::item_ref::ItemRef;
use crate::table::probe::Fragment;

/// The value of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u64);

impl Slot {
    /// A slot without an item.
    pub const FREE: Slot = Slot(0);

    /// A slot that leads to `item`.
    pub fn new(fragment: Fragment, item: ItemRef) -> Slot {
        Slot(fragment.in_slot() | item.units())
    }

    /// The word as it stands in memory.
    pub fn from_word(word: u64) -> Slot {
        Slot(word)
    }

    /// The word as it stands in memory.
    pub fn word(self) -> u64 {
        self.0
    }

    /// Whether there is no item.
    pub fn is_free(self) -> bool {
        self.0 == 0
    }

    /// The item; `None` in a free slot.
    pub fn item(self) -> Option<ItemRef> {
        ItemRef::new(self.0 & REFERENCE_MASK)
    }

    /// The hash fragment.
    pub fn fragment(self) -> Fragment {
        Fragment::from_slot(self.0)
    }

    /// Lines between the key's home and `line`, where this slot stands; below 32.
    pub fn displacement(self, line: usize) -> usize {
        self.fragment().displacement(line)
    }
}

const REFERENCE_MASK: u64 = (1 << ItemRef::BITS) - 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::probe::Geometry;

    #[test]
    fn a_slot_keeps_what_it_is_made_of() {
        let geometry = Geometry::new(1000, 0, 0);
        for hash in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            let probe = geometry.probe(hash);
            let item = ItemRef::new((1 << 36) - 1).unwrap();
            let slot = Slot::new(probe.fragment, item);
            assert_eq!(slot.item(), Some(item));
            assert_eq!(slot.fragment(), probe.fragment);
            for displacement in 0..32 {
                assert_eq!(slot.displacement(probe.home + displacement), displacement);
            }
        }
    }

    #[test]
    fn zero_is_free() {
        assert!(Slot::FREE.is_free());
        assert_eq!(Slot::FREE.item(), None);
    }
}
