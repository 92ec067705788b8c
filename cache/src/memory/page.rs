//! Pages: equal pieces of the region, each free in the pool, an index's, or given to one class of one owner.
//!
//! ```text
//! page  ┌ bitmap of used slots ┬ slot 0 ┬ slot 1 ┬ …          the bitmap is as long as the class needs, in units of 16 B
//! ```

use crate::base::item_ref::ItemRef;
use crate::memory::class::Class;
use crate::memory::item::Chunks;
use std::ops::Range;

/// How a region is cut into pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of a page, a power of two.
    pub page_bytes: usize,
    /// Pages of the region.
    pub pages: usize,
}

impl Layout {
    /// Largest page, in bytes: a huge page.
    pub const PAGE_BYTES_MAX: usize = 2 << 20;
    /// Smallest page, in bytes: holds the largest item that fits a UDP request.
    pub const PAGE_BYTES_MIN: usize = 128 << 10;
    /// An owner should have at least this many pages: a hundred and more classes live side by side, each with a page that is
    /// partly filled, and a smaller page is emptied sooner.
    const PAGES_WANTED: usize = 1024;

    /// Pages of `bytes` bytes shared by `owners`: 2 MiB each, smaller when memory is small.
    pub fn of(bytes: usize, owners: usize) -> Layout {
        let mut page_bytes = Self::PAGE_BYTES_MAX;
        while page_bytes > Self::PAGE_BYTES_MIN && bytes / page_bytes < Self::PAGES_WANTED * owners {
            page_bytes /= 2;
        }
        Layout { page_bytes, pages: bytes / page_bytes }
    }

    /// Page of an item.
    #[inline]
    pub fn page_of(&self, at: ItemRef) -> usize {
        // A shift: the owner asks for each item that it looks at.
        at.offset_bytes() >> self.page_bytes.trailing_zeros()
    }

    /// Units of 16 bytes in a page.
    pub fn page_units(&self) -> usize {
        self.page_bytes / ItemRef::UNIT_BYTES
    }

    /// Where the slots of a page of `class` are.
    pub fn slots(&self, class: Class) -> Slots {
        let slot_bytes = match class {
            Class::CHUNK => self.chunks().slot_bytes(),
            class => class.slot_bytes(),
        };
        // A bitmap for as many slots as would fit without it: at most one word too long.
        let words = (self.page_bytes / slot_bytes).div_ceil(64);
        let header_bytes = (words * 8).next_multiple_of(ItemRef::UNIT_BYTES);
        Slots { slot_bytes, header_bytes, count: (self.page_bytes - header_bytes) / slot_bytes }
    }

    /// How long values are cut.
    pub fn chunks(&self) -> Chunks {
        Chunks::of_page(self.page_bytes)
    }

    /// Largest slot that a page can hold, in bytes.
    pub fn item_bytes_max(&self) -> usize {
        self.page_bytes - ItemRef::UNIT_BYTES
    }
}

/// The slots of a page of some class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Bytes of a slot.
    pub slot_bytes: usize,
    /// Bytes before the first slot.
    pub header_bytes: usize,
    /// Slots of a page.
    pub count: usize,
}

impl Slots {
    /// Bytes of the bitmap within the region, for page `page`.
    pub fn bitmap(&self, layout: &Layout, page: usize) -> Range<usize> {
        let start = page * layout.page_bytes;
        start..start + self.count.div_ceil(64) * 8
    }

    /// The item of slot `index`.
    pub fn item(&self, layout: &Layout, page: usize, index: usize) -> ItemRef {
        debug_assert!(index < self.count);
        let offset = page * layout.page_bytes + self.header_bytes + index * self.slot_bytes;
        ItemRef::new((offset / ItemRef::UNIT_BYTES) as u64)
            .expect("a header precedes every slot; 1 TiB at most")
    }

    /// The slot of an item.
    #[inline]
    pub fn index(&self, layout: &Layout, at: ItemRef) -> usize {
        ((at.offset_bytes() & (layout.page_bytes - 1)) - self.header_bytes) / self.slot_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_fill_a_page_without_overlap() {
        for page_bytes in [128 << 10, 2 << 20] {
            let layout = Layout { page_bytes, pages: 3 };
            for bytes in [25, 100, 160, 5000, 65_000] {
                let slots = layout.slots(Class::of(bytes));
                assert!(slots.count.div_ceil(64) * 8 <= slots.header_bytes);
                assert!(slots.header_bytes + slots.count * slots.slot_bytes <= page_bytes);
                for index in [0, slots.count / 2, slots.count - 1] {
                    let at = slots.item(&layout, 2, index);
                    assert_eq!((layout.page_of(at), slots.index(&layout, at)), (2, index));
                }
            }
        }
    }

    #[test]
    fn small_memories_have_small_pages() {
        assert_eq!(Layout::of(2 << 30, 1).page_bytes, 2 << 20);
        assert_eq!(Layout::of(256 << 20, 1).page_bytes, 256 << 10);
        assert_eq!(Layout::of(8 << 20, 2).page_bytes, 128 << 10);
    }
}
