//! One line against one fragment: AVX2, and a scalar twin.
//!
//! The vector scan reads the eight atomics of a line as plain memory. It is a hint only: what it says is loaded again
//! with Acquire and compared in full (`read`), and a miss that it suggests is confirmed by an ordered scan.
//! The scalar twin serves machines without AVX2, miri, loom and shuttle; tests compare the two.

#![allow(unsafe_code)]

use crate::base::sync::Ordering;
use crate::table::Line;
use crate::table::probe::Fragment;
#[cfg(all(target_arch = "x86_64", not(any(loom, shuttle, miri))))]
use crate::table::probe::HOME_BITS;
use crate::table::slot::Slot;

/// What a line shows to one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Bit i: slot i has the fragment.
    pub matches: u32,
    /// The probe ends here: there is a free slot, or a key of a later home.
    pub last: bool,
}

/// A way to scan a line.
pub trait Scanner: Copy {
    /// Compares the line, `displacement` lines behind the probe's home, with `fragment`.
    fn scan(self, line: &Line, index: usize, displacement: usize, fragment: Fragment) -> Scan;
}

/// Work that wants a scanner; written once, compiled for each instruction set.
pub trait Kernel {
    /// What the work gives.
    type Output;
    /// Does the work. Mark it `#[inline(always)]`, or it is not compiled for the instruction set.
    fn run<S: Scanner>(self, scanner: S) -> Self::Output;
}

/// The instruction sets that we know, best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Plain code.
    Scalar,
    /// 256-bit integer vectors.
    #[cfg(all(target_arch = "x86_64", not(any(loom, shuttle, miri))))]
    Avx2,
}

impl Isa {
    /// The best of this machine.
    pub fn detect() -> Isa {
        #[cfg(all(target_arch = "x86_64", not(any(loom, shuttle, miri))))]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
        {
            return Isa::Avx2;
        }
        Isa::Scalar
    }

    /// Runs `kernel` with this instruction set's scanner.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Isa::Scalar => kernel.run(Scalar),
            #[cfg(all(target_arch = "x86_64", not(any(loom, shuttle, miri))))]
            // SAFETY: `Isa::Avx2` is made by `detect` only, after it saw the features.
            Isa::Avx2 => unsafe { avx2::run(kernel) },
        }
    }
}

/// The scalar twin.
#[derive(Clone, Copy, Debug)]
pub struct Scalar;

impl Scanner for Scalar {
    #[inline(always)]
    fn scan(self, line: &Line, index: usize, displacement: usize, fragment: Fragment) -> Scan {
        let mut scan = Scan { matches: 0, last: false };
        for (i, slot) in line.iter().enumerate() {
            // Relaxed: a hint; `read` loads the slot again with Acquire.
            let slot = Slot::from_word(slot.load(Ordering::Relaxed));
            scan.matches |= ((slot.fragment() == fragment && !slot.is_free()) as u32) << i;
            scan.last |= slot.is_free() || slot.displacement(index) < displacement;
        }
        scan
    }
}

#[cfg(all(target_arch = "x86_64", not(any(loom, shuttle, miri))))]
mod avx2 {
    use super::*;
    use std::arch::x86_64::*;

    /// Runs the kernel as AVX2 code.
    ///
    /// # Safety
    /// The processor has AVX2, BMI1 and BMI2.
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
        kernel.run(Avx2(()))
    }

    /// Made by `run` only: the proof that AVX2 is there.
    #[derive(Clone, Copy, Debug)]
    pub(super) struct Avx2(());

    impl Scanner for Avx2 {
        #[inline(always)]
        fn scan(self, line: &Line, index: usize, displacement: usize, fragment: Fragment) -> Scan {
            let base: *const __m256i = line.as_ptr().cast();
            // SAFETY: the line is 64 readable bytes; loadu needs no alignment. The slots may be stored to meanwhile;
            // every aligned 8-byte lane is then the old or the new word (x86-64 does not tear them), and the result is
            // a hint. AVX2 is there: `self` proves it.
            let (low, high) = unsafe { (_mm256_loadu_si256(base), _mm256_loadu_si256(base.add(1))) };
            // SAFETY: register-only AVX2 instructions; AVX2 is there: `self` proves it.
            unsafe {
                let want = _mm256_set1_epi64x((fragment.in_slot() >> 40) as i64);
                let zero = _mm256_setzero_si256();
                let same = |v| _mm256_cmpeq_epi64(_mm256_srli_epi64::<40>(v), want);
                let free = |v| _mm256_cmpeq_epi64(v, zero);
                // (line - home) modulo 32 in the top bits of each lane: shift both up, subtract, shift back down.
                let here = _mm256_set1_epi64x((index << (64 - HOME_BITS)) as i64);
                let bound = _mm256_set1_epi64x(displacement as i64);
                let home = _mm256_set1_epi64x(!0 << (64 - HOME_BITS));
                let later = |v| {
                    let distance = _mm256_sub_epi64(here, _mm256_and_si256(v, home));
                    _mm256_cmpgt_epi64(bound, _mm256_srli_epi64::<{ 64 - HOME_BITS as i32 }>(distance))
                };
                let mask = |v| _mm256_movemask_pd(_mm256_castsi256_pd(v)) as u32;
                let free = mask(free(low)) | mask(free(high)) << 4;
                let matches = (mask(same(low)) | mask(same(high)) << 4) & !free;
                let later = mask(later(low)) | mask(later(high)) << 4;
                Scan { matches, last: (free | later) != 0 }
            }
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::base::item_ref::ItemRef;
    use crate::base::sync::AtomicU64;
    use crate::table::probe::Geometry;

    struct ScanOne<'a>(&'a Line, usize, usize, Fragment);

    impl Kernel for ScanOne<'_> {
        type Output = Scan;
        #[inline(always)]
        fn run<S: Scanner>(self, scanner: S) -> Scan {
            scanner.scan(self.0, self.1, self.2, self.3)
        }
    }

    /// Random lines of keys whose homes are around the line; both scanners must say the same.
    #[test]
    fn the_twins_agree() {
        let best = Isa::detect();
        let geometry = Geometry::new(1 << 20, 0, 0);
        let mut state = 1u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state ^ state >> 29
        };
        for round in 0..20_000 {
            let index = 5_000 + (random() % 64) as usize;
            let line: Line = std::array::from_fn(|_| {
                let home = index as u64 - random() % 20;
                let probe = geometry.probe(home << 44 | random() >> 20 & 0xfff_ffff_ffff);
                let free = random() % 16 == 0;
                let item = ItemRef::new(1 + random() % (1 << 35)).unwrap();
                AtomicU64::new(if free { 0 } else { Slot::new(probe.fragment, item).word() })
            });
            let wanted = Slot::from_word(line[round % 8].load(Ordering::Relaxed)).fragment();
            let displacement = (random() % 16) as usize;
            let ask = || ScanOne(&line, index, displacement, wanted);
            assert_eq!(Isa::Scalar.run(ask()), best.run(ask()), "round {round}");
        }
    }
}
