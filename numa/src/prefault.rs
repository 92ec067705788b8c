//! Touches memory before it is needed: in parallel, by threads that are where the workers will be, with progress.
//!
//! First touch costs the kernel a fault and the zeroing of the page, seconds per GiB on some virtual machines, and
//! decides the node of memory that is not bound. `MADV_POPULATE_WRITE` (Linux 5.14) does it without a fault per page,
//! and answers with an error where a touch would be a SIGBUS: a pool of huge pages that ran dry says EFAULT. Then
//! `Huge::Auto` goes on page by page, with ordinary memory in the place of each page that is missing.

use crate::pool::{Kernel, remedy};
use crate::region::errno_of;
use crate::{Affinity, Error, Huge, Region};
use memmap2::Advice;
use nix::errno::Errno;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Bytes populated between two calls of `progress`, unless one page is larger.
pub const STEP_BYTES: usize = 16 << 20;
/// How often a call that the kernel broke off (EINTR, EAGAIN) is made again.
pub const RETRIES_MAX: usize = 64;

impl Region {
    /// Populates the pages of `range` (bytes from the region's start) on the calling thread. Whole pages: what
    /// overlaps the range is populated too. `progress` is told the bytes of each step; their sum is the range's length.
    /// Several threads may do this on disjoint ranges.
    ///
    /// # Errors
    /// The range is not within the region, or the kernel has no page for it.
    pub fn prefault(&self, range: Range<usize>, progress: &dyn Fn(usize)) -> Result<(), Error> {
        self.prefault_until(range, progress, &AtomicBool::new(false))
    }

    /// Splits the region evenly over `cpus` and populates each part on a thread pinned there. `progress` is called by
    /// all of them with the bytes of each step. Without `cpus` the calling thread does it all, where it is.
    ///
    /// # Errors
    /// As [`Region::prefault`], or a CPU that is not allowed. The others stop at their next step.
    pub fn prefault_parallel(&self, cpus: &[usize], progress: &(dyn Fn(usize) + Sync)) -> Result<(), Error> {
        let places: Vec<Affinity> = cpus.iter().map(|cpu| Affinity::Core(*cpu)).collect();
        self.prefault_on(&places, progress)
    }

    /// The same with a thread for each of `places`, pinned or not.
    ///
    /// # Errors
    /// As [`Region::prefault_parallel`].
    pub fn prefault_on(&self, places: &[Affinity], progress: &(dyn Fn(usize) + Sync)) -> Result<(), Error> {
        let failed = AtomicBool::new(false);
        if places.is_empty() {
            return self.prefault_until(0..self.bytes(), &progress, &failed);
        }
        let parts = split(self.bytes(), self.step_bytes(), places.len());
        thread::scope(|scope| {
            let threads: Vec<_> = (parts.into_iter().zip(places).enumerate())
                .map(|(number, (part, place))| {
                    let failed = &failed;
                    let populate = move || {
                        let done = place.apply().and_then(|()| self.prefault_until(part, &progress, failed));
                        // Relaxed: a hint to stop early; the errors travel through join.
                        failed.fetch_or(done.is_err(), Ordering::Relaxed);
                        done
                    };
                    let thread = thread::Builder::new().name(format!("prefault-{number}"));
                    let thread = thread.spawn_scoped(scope, populate);
                    failed.fetch_or(thread.is_err(), Ordering::Relaxed);
                    thread.map_err(|error| Error::Thread { errno: errno_of(&error) })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| thread?.join().expect("prefault does not panic"))
        })
    }

    fn prefault_until(
        &self,
        range: Range<usize>,
        progress: &dyn Fn(usize),
        stop: &AtomicBool,
    ) -> Result<(), Error> {
        if range.start > range.end || range.end > self.bytes() {
            let (region, bytes) = (self.request.name, self.bytes());
            return Err(Error::Range { region, start: range.start, end: range.end, bytes });
        }
        let mut start = range.start;
        while start < range.end && !stop.load(Ordering::Relaxed) {
            let end = range.end.min((start + 1).next_multiple_of(self.step_bytes()));
            self.populate(start..end)?;
            progress(end - start);
            start = end;
        }
        Ok(())
    }

    /// Populates the whole pages that overlap `range`, which lies within the region.
    fn populate(&self, range: Range<usize>) -> Result<(), Error> {
        let page = self.kind.bytes();
        let whole = range.start / page * page..range.end.next_multiple_of(page).min(self.bytes());
        match self.populate_pages(whole.clone()) {
            Err(Error::Populate { errno: Errno::EFAULT, .. })
                if self.kind.is_pooled() && self.request.huge == Huge::Auto =>
            {
                self.populate_what_there_is(whole)
            }
            outcome => outcome,
        }
    }

    /// The pool ran dry in `range`: page by page, with ordinary memory in the place of each that is missing.
    fn populate_what_there_is(&self, range: Range<usize>) -> Result<(), Error> {
        let kernel = Kernel::this();
        let bytes = self.kind.bytes();
        for start in range.step_by(bytes) {
            let page = start..start + bytes;
            match self.populate_pages(page.clone()) {
                Err(Error::Populate { errno: Errno::EFAULT, .. }) => {
                    self.stand_in(start, &kernel)?;
                    self.populate_pages(page)?;
                }
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// One call to the kernel, for whole pages.
    pub(crate) fn populate_pages(&self, range: Range<usize>) -> Result<(), Error> {
        let mut outcome = Ok(());
        for _attempt in 0..RETRIES_MAX {
            outcome = self.map.advise_range(Advice::PopulateWrite, self.offset + range.start, range.len());
            match &outcome {
                Err(error) if matches!(errno_of(error), Errno::EINTR | Errno::EAGAIN) => continue,
                _ => break,
            }
        }
        outcome.map_err(|error| self.explain(errno_of(&error)))
    }

    fn explain(&self, errno: Errno) -> Error {
        let (kind, node) = (self.kind, self.request.node);
        let remedy = match errno {
            Errno::EINVAL => "this needs Linux 5.14 or later, see uname -r".to_owned(),
            Errno::EFAULT if kind.is_pooled() => {
                let missing = self.placed().bytes_untouched / kind.bytes() as u64;
                remedy(kind, node, Kernel::this().pool(kind, node), missing)
            }
            _ => "lower --memory to what free -m shows as available".to_owned(),
        };
        Error::Populate { region: self.request.name, kind, node, errno, remedy }
    }

    fn step_bytes(&self) -> usize {
        STEP_BYTES.max(self.kind.bytes())
    }
}

/// `bytes` in `parts` ranges whose borders are multiples of `grain`; the last ones may be empty.
fn split(bytes: usize, grain: usize, parts: usize) -> Vec<Range<usize>> {
    let grains = bytes.div_ceil(grain);
    let border = |part: usize| (grains * part / parts * grain).min(bytes);
    (0..parts).map(|part| border(part)..border(part + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_are_disjoint_and_cover_the_region(
            bytes in 1usize..1 << 40, grain_bits in 12u32..31, parts in 1usize..65
        ) {
            let grain = 1 << grain_bits;
            let ranges = split(bytes, grain, parts);
            prop_assert_eq!(ranges.len(), parts);
            prop_assert_eq!(ranges[0].start, 0);
            prop_assert_eq!(ranges[parts - 1].end, bytes);
            for pair in ranges.windows(2) {
                prop_assert_eq!(pair[0].end, pair[1].start);
                prop_assert!(pair[0].end == bytes || pair[0].end % grain == 0);
            }
            let longest = ranges.iter().map(|range| range.len()).max().unwrap();
            prop_assert!(longest <= bytes.div_ceil(parts) + grain);
        }
    }
}
