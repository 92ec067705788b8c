//! The budget: how many bytes of slots and chunks the policy may let this owner keep. It changes when an index takes pages, or
//! gives them back, and with how many classes there are.

use crate::base::clock::Now;
use crate::shard::contents::{Memory, Outcomes};

/// What the policy was told, and what it follows from.
#[derive(Debug, Default)]
pub(super) struct Budget {
    told_bytes: u64,
    /// Pages that are left out because classes fill one of theirs partly, and when they may be one less.
    partial_pages: usize,
    next_less_ms: u64,
}

/// One part in so many of the pages, at most, is left out of the budget because classes fill one of theirs partly. Where there
/// are more classes than that, memory is full before the budget is, and pressure evicts.
const PARTIAL_PAGES_SHARE: usize = 32;
/// Classes whose partly filled pages the reserve of free pages is enough for.
const CLASSES_IN_RESERVE: usize = 2;
/// One page less is left out once in so many ms, when there are fewer classes.
const PARTIAL_PAGE_MS: u64 = 1000;
/// Steps in which the budget changes while pages come and go.
const BUDGET_STEPS: u64 = 256;

impl Budget {
    /// Tells the policy how many bytes of slots and chunks this owner may keep, when that has changed. What of a page is in
    /// neither is not in the budget, nor what is taken for values that are still coming, in steps, so that it is told seldom. A step is
    /// less than half a percent of what is kept.
    #[inline]
    pub(super) fn announce(&mut self, memory: &Memory, outcomes: &mut Outcomes, now: Now) {
        if !memory.evicts() {
            // More than there is: the policy evicts nothing.
            return self.tell(memory.pool().memory_bytes(), outcomes);
        }
        let budget_bytes = memory.budget_bytes();
        let step = (budget_bytes / BUDGET_STEPS).max(1);
        self.count_partial_pages(memory, now);
        let partial_bytes = self.partial_pages * memory.pool().layout().page_bytes;
        let unfinished_bytes = memory.slab().unfinished().bytes;
        let not_kept = (memory.slab().tail_bytes() + partial_bytes + unfinished_bytes) as u64;
        let bytes = budget_bytes.saturating_sub(not_kept.next_multiple_of(step)).max(step);
        self.tell(bytes, outcomes);
    }

    fn tell(&mut self, bytes: u64, outcomes: &mut Outcomes) {
        if bytes != self.told_bytes {
            self.told_bytes = bytes;
            outcomes.budget_changed(bytes);
        }
    }

    /// Pages that are left out, because classes fill one of theirs partly.
    pub(super) fn partial_pages(&self) -> usize {
        self.partial_pages
    }

    /// Each class has a page that is partly filled. What a class is left out for stays left out for a while after its last item:
    /// a size that comes and goes would otherwise cost a page of items each time.
    fn count_partial_pages(&mut self, memory: &Memory, now: Now) {
        let classes = memory.slab().classes_used().saturating_sub(CLASSES_IN_RESERVE);
        let wanted = classes.min(memory.pages_of_owner() / PARTIAL_PAGES_SHARE);
        if wanted >= self.partial_pages {
            (self.partial_pages, self.next_less_ms) = (wanted, now.ms() + PARTIAL_PAGE_MS);
        } else if now.ms() >= self.next_less_ms {
            (self.partial_pages, self.next_less_ms) = (self.partial_pages - 1, now.ms() + PARTIAL_PAGE_MS);
        }
    }
}
