//! Size classes: sixteen per doubling, so a slot is at most 6.25 % larger than the class below it.
//!
//! ```text
//! units of 16 bytes:  3 4 5 … 16 │ 17 18 19 … 32 │ 34 36 38 40 … 64 │ 68 72 …
//! ```
//! A class is a small number computed from the size with a shift and a leading-zero count; no table is needed.
//! Internal waste is below 1/17 of an item (3 % on average for sizes spread evenly), plus the rounding to 16 bytes. With
//! eight per doubling it was 1/9: an item of 4 KiB with its key took a slot of 4.5 KiB. More classes cost more pages that
//! are partly filled, one a class in use.

use crate::base::item_ref::ItemRef;
use crate::memory::item::HEADER_BYTES;

/// Index of a size class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class(u8);

/// Classes that exist: up to a page of 2 MiB, and that of chunks.
pub const CLASSES_MAX: usize = 225;

const UNITS_MIN: usize = (HEADER_BYTES + 1).div_ceil(ItemRef::UNIT_BYTES);

impl Class {
    /// Chunks of long values: slots of a 64th of a page. See [`crate::memory::item::Chunks`].
    pub const CHUNK: Class = Class(CLASSES_MAX as u8 - 1);

    /// Classes between a size and twice the size.
    pub const PER_DOUBLING: usize = 16;

    /// The smallest class whose slots hold `bytes`, at most 2 MiB.
    pub fn of(bytes: usize) -> Class {
        let units = bytes.div_ceil(ItemRef::UNIT_BYTES).max(UNITS_MIN);
        if units <= 32 {
            return Class(units as u8);
        }
        // With e = floor(log2(units - 1)), steps of 2^(e - 4) divide (2^e, 2^(e + 1)] in sixteen.
        let exponent = (units - 1).ilog2() as usize;
        let step = (units - 1) >> (exponent - 4); // 16..=31
        Class((32 + (exponent - 5) * Self::PER_DOUBLING + (step - 15)) as u8)
    }

    /// The class with this index.
    ///
    /// # Panics
    /// When the index is not below [`CLASSES_MAX`].
    pub fn from_index(index: usize) -> Class {
        assert!(index < CLASSES_MAX);
        Class(index as u8)
    }

    /// A small number, below [`CLASSES_MAX`].
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// Size of a slot, in units of 16 bytes; of chunks only the layout knows it.
    pub fn slot_units(self) -> usize {
        let index = self.index();
        if index <= 32 {
            return index.max(UNITS_MIN);
        }
        let (octave, step) = ((index - 33) / Self::PER_DOUBLING, (index - 33) % Self::PER_DOUBLING);
        (17 + step) << (octave + 1)
    }

    /// Size of a slot, in bytes.
    pub fn slot_bytes(self) -> usize {
        self.slot_units() * ItemRef::UNIT_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_its_size_and_grows_by_a_sixteenth() {
        let mut last = 0;
        for bytes in 25..2_000_000 {
            let class = Class::of(bytes);
            assert!(class.slot_bytes() >= bytes, "{bytes} in {}", class.slot_bytes());
            assert_eq!(Class::from_index(class.index()), class);
            if class.slot_bytes() != last {
                assert!(last == 0 || bytes > last, "classes are in order");
                if last >= 256 {
                    assert!(
                        class.slot_bytes() as f64 <= last as f64 * 1.0625,
                        "{last} -> {}",
                        class.slot_bytes()
                    );
                }
                last = class.slot_bytes();
            }
        }
    }

    #[test]
    fn the_design_example_rounds_to_160() {
        assert_eq!(Class::of(24 + 32 + 100).slot_bytes(), 160);
    }

    #[test]
    fn a_slot_size_is_its_own_class() {
        for index in UNITS_MIN..Class::CHUNK.index() {
            let class = Class::from_index(index);
            assert_eq!(Class::of(class.slot_bytes()), class);
        }
    }
}
