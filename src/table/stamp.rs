//! Versions that validate misses: one counter per 64 lines, odd while a backward shift is under way there.
//!
//! A sequence lock (Linux `include/linux/seqlock.h`) of which only misses read the sequence.

use crate::sync::{AtomicU32, Ordering};
use std::ops::RangeInclusive;

/// Lines that share one version.
pub const SEGMENT_LINES: usize = 64;

/// The versions of a table.
#[derive(Debug)]
pub struct Stamps {
    versions: Box<[AtomicU32]>,
}

/// What a scan of some lines saw before it began: at most two segments, because a probe is shorter than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    first: u32,
    last: u32,
}

impl Stamps {
    /// Versions for `lines` lines.
    pub fn for_lines(lines: usize) -> Stamps {
        let versions = (0..lines.div_ceil(SEGMENT_LINES)).map(|_| AtomicU32::new(0)).collect();
        Stamps { versions }
    }

    /// The versions of the segments of two lines, before a scan from one to the other.
    #[inline]
    pub fn before(&self, first_line: usize, last_line: usize) -> Stamp {
        // Acquire: the scan's loads come after; pairs with the Release in `end_shift`, so that a reader that sees the
        // new version sees the shifted slots.
        let first = self.versions[first_line / SEGMENT_LINES].load(Ordering::Acquire);
        let last = self.versions[last_line / SEGMENT_LINES].load(Ordering::Acquire);
        Stamp { first, last }
    }

    /// Whether nothing was shifted back in these lines since `stamp` was taken. All slot loads of the scan must have
    /// been Acquire: they order this load after themselves.
    #[inline]
    pub fn unchanged(&self, stamp: Stamp, first_line: usize, last_line: usize) -> bool {
        // Relaxed suffices after Acquire slot loads: a scan that saw a slot of a shift (Release) sees the odd version
        // that was stored before it.
        let first = self.versions[first_line / SEGMENT_LINES].load(Ordering::Relaxed);
        let last = self.versions[last_line / SEGMENT_LINES].load(Ordering::Relaxed);
        cfg!(sherwood_mutant = "no_validation") || stamp == Stamp { first, last } && (first | last) & 1 == 0
    }

    /// Marks the segments of `lines` as changing. Owner only; the slot stores that follow must be Release.
    pub fn begin_shift(&self, lines: RangeInclusive<usize>) {
        for version in self.segments(lines) {
            // Relaxed: the Release slot stores that follow carry it; one writer, so no read-modify-write.
            version.store(version.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// Marks the segments of `lines` as settled. Owner only.
    pub fn end_shift(&self, lines: RangeInclusive<usize>) {
        for version in self.segments(lines) {
            // Release: the shifted slots come before; pairs with the Acquire in `before`.
            version.store(version.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        }
    }

    /// Bytes of all versions.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.versions)
    }

    fn segments(&self, lines: RangeInclusive<usize>) -> &[AtomicU32] {
        let all = lines.start() / SEGMENT_LINES..lines.end() / SEGMENT_LINES + 1;
        &self.versions[if cfg!(sherwood_mutant = "no_bump") { 0..0 } else { all }]
    }
}
