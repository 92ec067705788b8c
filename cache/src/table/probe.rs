//! From a hash to its home line and fragment, for an array of any number of lines.
//!
//! ```text
//! hash × lines =  …………… home …………… │ ……… tag, 19 bits ……… │ …      128 bits, the bar is at bit 64
//!                          └ 5 low bits ┘
//! ```
//! An array of twice the lines takes one bit more for the home; slots that come from the smaller array do not know the
//! bit that the tag gains at its lower end. So a table that has doubled `n` times leaves the `n` low bits of its tags 0, and
//! one that halves gets them back: a slot of the larger array knows every bit that the smaller one's needs.

/// Bits of the home that a fragment keeps; displacements stay below 2^5.
pub const HOME_BITS: u32 = 5;
/// Bits of the tag.
pub const TAG_BITS: u32 = 19;
const FRAGMENT_SHIFT: u32 = 40;
const FRAGMENT_MASK: u32 = (1 << (HOME_BITS + TAG_BITS)) - 1;

/// The 24 bits of the hash that a slot keeps: 5 low bits of the home, then 19 bits of tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment(u32);

impl Fragment {
    /// In the upper 24 bits of a word, the rest zero.
    #[inline]
    pub fn in_slot(self) -> u64 {
        (self.0 as u64) << FRAGMENT_SHIFT
    }

    /// From a slot's word.
    #[inline]
    pub fn from_slot(word: u64) -> Fragment {
        Fragment((word >> FRAGMENT_SHIFT) as u32)
    }

    /// Lines from the home to `line`, modulo 32.
    #[inline]
    pub fn displacement(self, line: usize) -> usize {
        (line as u32).wrapping_sub(self.0 >> TAG_BITS) as usize & ((1 << HOME_BITS) - 1)
    }

    /// The fragment of the same key in an array of twice the lines. `home` is the key's home in the new array.
    #[inline]
    pub fn doubled(self, home: usize) -> Fragment {
        Fragment(((home as u32) << TAG_BITS | (self.0 << 1) & ((1 << TAG_BITS) - 1)) & FRAGMENT_MASK)
    }

    /// The fragment of the same key in an array of half the lines. `home` is the key's home in the new array, `lost` the bit
    /// that a home loses: the lowest of the one that it had.
    #[inline]
    pub fn halved(self, home: usize, lost: usize) -> Fragment {
        let tag = (lost as u32 & 1) << (TAG_BITS - 1) | (self.0 & ((1 << TAG_BITS) - 1)) >> 1;
        Fragment(((home as u32) << TAG_BITS | tag) & FRAGMENT_MASK)
    }

    /// The highest bit of the tag: the one that a home in an array of twice the lines gains.
    #[inline]
    pub fn next_home_bit(self) -> usize {
        (self.0 >> (TAG_BITS - 1)) as usize & 1
    }
}

/// Where to look for a key.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Its home line, counted from the start of the slot memory.
    pub home: usize,
    /// What its slot shows.
    pub fragment: Fragment,
}

/// Where an array lies and how large it is, as the arithmetic of homes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    lines: u64,
    base: usize,
    fragment_mask: u32,
}

impl Geometry {
    /// Most home lines.
    pub const LINES_MAX: u64 = 1 << 32;

    /// An array of `lines` home lines that begins at line `base` of the slot memory, after `doublings` doublings.
    ///
    /// # Panics
    /// When there are no lines or too many, or `base` is not a multiple of 32.
    pub fn new(lines: u64, base: usize, doublings: u32) -> Geometry {
        assert!(lines > 0 && lines <= Self::LINES_MAX, "homes are found from the upper 32 bits of the hash");
        assert!(
            base.is_multiple_of(1 << HOME_BITS),
            "a fragment tells the line from the low bits of the home"
        );
        Self::known(lines, base, doublings)
    }

    /// As [`Geometry::new`], of an array that was checked before: readers make one a batch.
    #[inline]
    pub(super) fn known(lines: u64, base: usize, doublings: u32) -> Geometry {
        Geometry { lines, base, fragment_mask: FRAGMENT_MASK & !((1 << doublings) - 1) }
    }

    /// Home lines.
    #[inline]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// First line, counted from the start of the slot memory.
    #[inline]
    pub fn base(&self) -> usize {
        self.base
    }

    /// Home and fragment of a hash.
    #[inline]
    pub fn probe(&self, hash: u64) -> Probe {
        let product = hash as u128 * self.lines as u128;
        Probe {
            home: self.base + (product >> 64) as usize,
            fragment: Fragment((product >> (64 - TAG_BITS)) as u32 & self.fragment_mask),
        }
    }

    /// First and last line that can be the home of a hash whose upper 32 bits are `upper`; they differ by one at most.
    pub fn homes_of_upper(&self, upper: u32) -> (usize, usize) {
        let first = (upper as u64) << 32;
        (self.probe(first).home, self.probe(first | u32::MAX as u64).home)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_in_hash_order_and_cover_all_lines() {
        let geometry = Geometry::new(1013, 64, 0);
        assert_eq!(geometry.probe(0).home, 64);
        assert_eq!(geometry.probe(u64::MAX).home, 64 + 1012);
        let homes: Vec<_> = (0..100_000u64).map(|i| geometry.probe(i << 47).home).collect();
        assert!(homes.is_sorted());
    }

    #[test]
    fn the_upper_half_of_a_hash_finds_its_home() {
        let geometry = Geometry::new(123_456_789, 0, 0);
        for i in 0..10_000u64 {
            let hash = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let (first, last) = geometry.homes_of_upper((hash >> 32) as u32);
            assert!(last - first <= 1);
            assert!((first..=last).contains(&geometry.probe(hash).home));
        }
    }

    #[test]
    fn a_slot_finds_its_place_in_an_array_of_twice_the_lines() {
        let (small, large) = (Geometry::new(1013, 32, 2), Geometry::new(2026, 4096, 3));
        for i in 0..10_000u64 {
            let hash = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let (old, new) = (small.probe(hash), large.probe(hash));
            let home = large.base() + 2 * (old.home - small.base()) + old.fragment.next_home_bit();
            assert_eq!(home, new.home);
            assert_eq!(old.fragment.doubled(home), new.fragment);
        }
    }

    #[test]
    fn a_slot_finds_its_place_in_an_array_of_half_the_lines() {
        let (large, small) = (Geometry::new(2026, 4096, 3), Geometry::new(1013, 32, 2));
        for i in 0..10_000u64 {
            let hash = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let (old, new) = (large.probe(hash), small.probe(hash));
            let from = old.home - large.base();
            let home = small.base() + from / 2;
            assert_eq!(home, new.home);
            assert_eq!(old.fragment.halved(home, from), new.fragment);
        }
    }
}
