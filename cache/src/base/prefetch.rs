//! Prefetch: ask for a cache line now, use it some tens of nanoseconds later.

#![allow(unsafe_code)]

/// Asks for the cache line at `address`, into all levels. Any address will do: a prefetch cannot fault.
#[inline(always)]
pub fn read<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(any(loom, shuttle, miri))))]
    // SAFETY: PREFETCHT0 reads nothing architecturally and never faults (Intel SDM vol. 2B, PREFETCHh); SSE is part
    // of the x86-64 baseline.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(any(loom, shuttle, miri)))))]
    let _ = address;
}
