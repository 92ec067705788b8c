//! The pool of free pages that all owners share, and runs of pages for tables that grow.
//!
//! ```text
//! page   0 1 2 3 4 5 6 7 8 9 …                        free: crossbeam ArrayQueue, in any order
//!        └ index ┘     └ run ┘  wanted by one owner: its pages do not come out of the pool any more,
//!                               and those that owners hold are emptied by them
//! ```
//! A run is a stretch of neighbouring pages. One is gathered at a time, by the owner that asked for it; the others look
//! at [`PagePool::wanted`] in each tick. When all its pages are in, it leaves the pool for an index until
//! `return_run`.

use crate::base::sync::{Arc, AtomicU64, Ordering};
use crate::limits::{FREE_RESERVE_PAGES, FREE_RESERVE_PERCENT};
use crate::memory::page::Layout;
use crossbeam_queue::ArrayQueue;
use std::ops::Range;

/// Pages that no owner has.
#[derive(Debug)]
pub struct PagePool {
    layout: Layout,
    free: ArrayQueue<u32>,
    /// The run that is being gathered: its first page and the page behind it; 0 = none.
    wanted: AtomicU64,
    /// Pages of the wanted run that are in.
    gathered: AtomicU64,
    /// Pages of it that owners cannot empty yet, because of unfinished items in them.
    held: AtomicU64,
    /// One bit a page: it is an index's.
    index: Box<[AtomicU64]>,
    index_pages: AtomicU64,
}

impl PagePool {
    /// A pool in which all pages of `layout` are free but the first `index_pages`.
    pub fn new(layout: Layout, index_pages: usize) -> Arc<PagePool> {
        let free = ArrayQueue::new(layout.pages.max(1));
        for page in index_pages..layout.pages {
            free.push(page as u32).expect("the queue holds all pages");
        }
        let pool = PagePool {
            layout,
            free,
            wanted: AtomicU64::new(0),
            gathered: AtomicU64::new(0),
            held: AtomicU64::new(0),
            index: (0..layout.pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            index_pages: AtomicU64::new(0),
        };
        pool.mark_index(0..index_pages, true);
        Arc::new(pool)
    }

    /// How the region is cut.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Takes a free page.
    pub(crate) fn take(&self) -> Option<usize> {
        // A page of the wanted run stays out. Each turn takes one from the queue for good, so it ends.
        loop {
            let page = self.free.pop()? as usize;
            if !self.gather(page) {
                return Some(page);
            }
        }
    }

    /// Gives an empty page back.
    pub(crate) fn give_back(&self, page: usize) {
        if !self.gather(page) {
            self.free.push(page as u32).expect("a page is given back once, by the owner that took it");
        }
    }

    /// Free pages now.
    pub fn free_pages(&self) -> usize {
        self.free.len()
    }

    /// Pages that are no index's: what slabs may have.
    pub fn slab_pages(&self) -> usize {
        // Relaxed: a figure; owners that see it late announce their budget late.
        self.layout.pages - self.index_pages.load(Ordering::Relaxed) as usize - self.wanted().len()
    }

    /// Pages that are an index's now.
    pub fn index_pages(&self) -> usize {
        // Relaxed: a figure.
        self.index_pages.load(Ordering::Relaxed) as usize
    }

    /// Pages of the wanted run that are in: neither free nor anybody's yet.
    pub fn gathered_pages(&self) -> usize {
        // Relaxed: a figure.
        self.gathered.load(Ordering::Relaxed) as usize
    }

    /// Whether pages of the wanted run wait for values that are still coming, for as long as these do.
    pub fn is_held_up(&self) -> bool {
        // Relaxed: a hint, whether it is worth to wait for the run.
        self.held.load(Ordering::Relaxed) > 0
    }

    /// A page of the wanted run is held from now on, or not any more.
    pub(crate) fn note_held(&self, is_held: bool) {
        // Relaxed: as in `is_held_up`; several owners may hold pages of one run, so read-modify-write.
        match is_held {
            true => self.held.fetch_add(1, Ordering::Relaxed),
            false => self.held.fetch_sub(1, Ordering::Relaxed),
        };
    }

    /// Bytes of all pages.
    pub fn memory_bytes(&self) -> u64 {
        (self.layout.pages * self.layout.page_bytes) as u64
    }

    /// Bytes of slots that each of `owners` owners may fill; the rest is their free reserve.
    pub fn budget_bytes(&self, owners: usize) -> u64 {
        let pages = self.slab_pages();
        let reserve = pages * FREE_RESERVE_PERCENT / 100 + FREE_RESERVE_PAGES * owners;
        (pages.saturating_sub(reserve).max(1) * self.layout.page_bytes) as u64 / owners as u64
    }

    /// The run that is being gathered; empty if none is.
    #[inline]
    pub fn wanted(&self) -> Range<usize> {
        // Acquire: pairs with the Release in `want_run`: its gathered count is zero before.
        let word = self.wanted.load(Ordering::Acquire);
        (word >> 32) as usize..word as u32 as usize
    }

    /// Begins to gather a run of `pages` pages; `None` when another is being gathered, or there is no such run.
    pub(crate) fn want_run(&self, pages: usize) -> Option<Range<usize>> {
        if !self.wanted().is_empty() || pages == 0 {
            return None;
        }
        // The last one, because the first pages are the indexes' at the start.
        let mut end = self.layout.pages;
        let run = loop {
            let run = end.checked_sub(pages)?..end;
            match run.clone().find(|&page| self.is_index(page)) {
                Some(taken) => end = taken,
                None => break run,
            }
        };
        let word = (run.start as u64) << 32 | run.end as u64;
        // AcqRel: one owner wins, and starts from a count of zero.
        self.wanted.compare_exchange(0, word, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        Some(run)
    }

    /// Looks through free pages for those of the wanted run. For the owner that wants it, once a tick.
    pub(crate) fn collect_run(&self) {
        for _ in 0..self.free.len().min(Self::COLLECT_PAGES_MAX) {
            if let Some(page) = self.take() {
                self.give_back(page);
            }
        }
    }

    /// Pages that one call of `collect_run` looks at, at most.
    pub const COLLECT_PAGES_MAX: usize = 64;

    /// Pages of the wanted run that are not in.
    pub fn missing_pages(&self) -> usize {
        self.wanted().len().saturating_sub(self.gathered_pages())
    }

    /// Whether all pages of the wanted run are in; then they are an index's, and the next run may be wanted.
    /// For the owner that wants it.
    pub(crate) fn take_run(&self) -> Option<Range<usize>> {
        let run = self.wanted();
        // Acquire: pairs with the Release in `gather`: what the last owner of a page stored there comes before.
        if run.is_empty() || self.gathered.load(Ordering::Acquire) < run.len() as u64 {
            return None;
        }
        self.mark_index(run.clone(), true);
        // Relaxed, then Release: nobody gathers between the two, all pages of the run are in.
        self.gathered.store(0, Ordering::Relaxed);
        self.wanted.store(0, Ordering::Release);
        Some(run)
    }

    /// Gives the pages of an index back, one by one.
    pub(crate) fn return_run(&self, run: Range<usize>) {
        self.mark_index(run.clone(), false);
        run.for_each(|page| self.give_back(page));
    }

    /// Keeps a page of the wanted run.
    fn gather(&self, page: usize) -> bool {
        let is_wanted = self.wanted().contains(&page);
        if is_wanted {
            // Release: what this owner stored in the page comes before; pairs with the Acquire in `take_run`.
            self.gathered.fetch_add(1, Ordering::Release);
        }
        is_wanted
    }

    fn is_index(&self, page: usize) -> bool {
        // Relaxed: only owners of growing tables ask, and a page that is wrongly free fails to gather no page: it is
        // marked before its run stops being wanted (Release), and that is seen by whoever wants the next (Acquire).
        self.index[page / 64].load(Ordering::Relaxed) >> (page % 64) & 1 == 1
    }

    fn mark_index(&self, pages: Range<usize>, is_index: bool) {
        let count = pages.len() as u64;
        for page in pages {
            let bit = 1 << (page % 64);
            // Relaxed: see `is_index`; two owners may return runs at a time, so read-modify-write.
            match is_index {
                true => self.index[page / 64].fetch_or(bit, Ordering::Relaxed),
                false => self.index[page / 64].fetch_and(!bit, Ordering::Relaxed),
            };
        }
        // Relaxed: a figure, see `slab_pages`.
        match is_index {
            true => self.index_pages.fetch_add(count, Ordering::Relaxed),
            false => self.index_pages.fetch_sub(count, Ordering::Relaxed),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(pages: usize, index_pages: usize) -> Arc<PagePool> {
        PagePool::new(Layout { page_bytes: Layout::PAGE_BYTES_MIN, pages }, index_pages)
    }

    #[test]
    fn a_run_is_gathered_from_the_pool_and_from_owners() {
        let pool = pool(10, 2);
        let held: Vec<_> = (0..6).map(|_| pool.take().unwrap()).collect();
        assert_eq!(held, [2, 3, 4, 5, 6, 7]);
        assert_eq!(pool.want_run(4), Some(6..10));
        assert_eq!(pool.want_run(1), None, "one at a time");
        pool.collect_run();
        assert_eq!((pool.take(), pool.take_run()), (None, None), "8 and 9 are in, 6 and 7 are held");
        held[..5].iter().for_each(|&page| pool.give_back(page));
        assert_eq!(pool.take_run(), None);
        pool.give_back(7);
        assert_eq!(pool.take_run(), Some(6..10));
        assert!(pool.wanted().is_empty());
        assert_eq!((pool.free_pages(), pool.slab_pages()), (4, 4));
        assert_eq!(pool.want_run(5), None, "no five pages stand together");
        assert_eq!(pool.want_run(4), Some(2..6));
        pool.collect_run();
        assert_eq!(pool.take_run(), Some(2..6));
        pool.return_run(0..2);
        pool.return_run(6..10);
        assert_eq!((pool.free_pages(), pool.slab_pages()), (6, 6));
    }
}
