//! Huge pages for memory of the heap, where the cache is built with the crate that knows how to ask for them.

use std::mem::MaybeUninit;

/// Asks for huge pages behind `memory` where it fills some. It is a wish: without them the memory is as good.
#[inline]
pub fn prefer_huge_pages<T>(memory: &mut [MaybeUninit<T>]) {
    #[cfg(feature = "numa")]
    numa::prefer_huge_pages(memory);
    #[cfg(not(feature = "numa"))]
    let _ = memory;
}
