//! From a hash to its home line and fragment, for a table of any number of lines.
//!
//! ```text
//! hash × lines =  …………… home …………… │ ……… tag, 19 bits ……… │ …      128 bits, the bar is at bit 64
//!                          └ 5 low bits ┘
//! ```

/// Bits of the home that a fragment keeps; displacements stay below 2^5.
pub const HOME_BITS: u32 = 5;
/// Bits of the tag.
pub const TAG_BITS: u32 = 19;
const FRAGMENT_SHIFT: u32 = 40;

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
}

/// Where to look for a key.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Its home line.
    pub home: usize,
    /// What its slot shows.
    pub fragment: Fragment,
}

/// The size of a table, as the arithmetic of homes.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    lines: u64,
}

impl Geometry {
    /// For `lines` home lines.
    pub fn new(lines: u64) -> Geometry {
        assert!(lines > 0 && lines <= 1 << 32, "homes are found from the upper 32 bits of the hash");
        Geometry { lines }
    }

    /// Home lines.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Home and fragment of a hash.
    #[inline]
    pub fn probe(&self, hash: u64) -> Probe {
        let product = hash as u128 * self.lines as u128;
        Probe {
            home: (product >> 64) as usize,
            fragment: Fragment((product >> (64 - TAG_BITS)) as u32 & ((1 << (HOME_BITS + TAG_BITS)) - 1)),
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
        let geometry = Geometry::new(1013);
        assert_eq!(geometry.probe(0).home, 0);
        assert_eq!(geometry.probe(u64::MAX).home, 1012);
        let homes: Vec<_> = (0..100_000u64).map(|i| geometry.probe(i << 47).home).collect();
        assert!(homes.is_sorted());
    }

    #[test]
    fn the_upper_half_of_a_hash_finds_its_home() {
        let geometry = Geometry::new(123_456_789);
        for i in 0..10_000u64 {
            let hash = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let (first, last) = geometry.homes_of_upper((hash >> 32) as u32);
            assert!(last - first <= 1);
            assert!((first..=last).contains(&geometry.probe(hash).home));
        }
    }
}
