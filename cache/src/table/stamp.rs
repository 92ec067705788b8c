//! Versions that validate misses: one counter per 64 lines, odd while a backward shift is under way there.
//!
//! A sequence lock (Linux `include/linux/seqlock.h`) of which only misses read the sequence. The versions of an array
//! lie behind its last line, so that they come and go with it.

use crate::base::sync::{AtomicU64, Ordering, mutant};
use std::ops::RangeInclusive;

/// Lines that share one version.
pub const SEGMENT_LINES: usize = 64;

/// The versions of an array.
#[derive(Clone, Copy, Debug)]
pub struct Stamps<'a> {
    versions: &'a [AtomicU64],
    /// First line of the array.
    base: usize,
}

/// What a scan of some lines saw before it began: at most two segments, because a probe is shorter than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    first: u64,
    last: u64,
}

impl<'a> Stamps<'a> {
    /// Versions of an array that begins at line `base`: [`Stamps::count`] words.
    #[inline]
    pub fn new(versions: &'a [AtomicU64], base: usize) -> Stamps<'a> {
        Stamps { versions, base }
    }

    /// Versions that `lines` lines need.
    pub fn count(lines: usize) -> usize {
        lines.div_ceil(SEGMENT_LINES)
    }

    /// The versions of the segments of two lines, before a scan from one to the other.
    #[inline]
    pub fn before(&self, first_line: usize, last_line: usize) -> Stamp {
        // Acquire: the scan's loads come after; pairs with the Release in `end_shift`, so that a reader that sees the
        // new version sees the shifted slots.
        let load = |line| self.versions[self.segment(line)].load(Ordering::Acquire);
        Stamp { first: load(first_line), last: load(last_line) }
    }

    /// Whether nothing was shifted back in these lines since `stamp` was taken. All slot loads of the scan must have
    /// been Acquire: they order this load after themselves.
    #[inline]
    pub fn unchanged(&self, stamp: Stamp, first_line: usize, last_line: usize) -> bool {
        // Relaxed suffices after Acquire slot loads: a scan that saw a slot of a shift (Release) sees the odd version
        // that was stored before it.
        let load = |line| self.versions[self.segment(line)].load(Ordering::Relaxed);
        let now = Stamp { first: load(first_line), last: load(last_line) };
        mutant::is("no_validation") || stamp == now && (now.first | now.last) & 1 == 0
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

    fn segment(&self, line: usize) -> usize {
        (line - self.base) / SEGMENT_LINES
    }

    fn segments(&self, lines: RangeInclusive<usize>) -> &[AtomicU64] {
        let all = self.segment(*lines.start())..self.segment(*lines.end()) + 1;
        &self.versions[if mutant::is("no_bump") { 0..0 } else { all }]
    }
}
