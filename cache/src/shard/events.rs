//! The owner's events to the policy, which are never lost in effect.
//!
//! A ring that is full cannot make a SET wait. The page of the event is marked instead; when there is room again the
//! owner sends `Reset` for the page and a `Store` for each item that it still holds there. What the policy loses is
//! the recency of those items, and that is counted.
//!
//! ```text
//! event ─▶ ring has room: push         ring full: mark the page ─▶ … room: Reset page, Store, Store, …
//! ```

use crate::base::counter::Counter;
use crate::base::item_ref::ItemRef;
use crate::limits::{EVENT_RESYNC_ROOM, TICK_RESYNC_MAX};
use crate::memory::Layout;
use crate::ring::{Event, Producer};

/// The producing end of an owner's events.
pub struct Events {
    ring: Producer<Event>,
    layout: Layout,
    /// One bit per page: events of it were lost.
    marked: Box<[u64]>,
    marked_count: usize,
    /// The page that is being sent again, and the next slot of it.
    resync: Option<(usize, usize)>,
    budget: Option<u64>,
}

impl Events {
    /// Events of an owner whose memory is cut as `layout` says.
    pub fn new(ring: Producer<Event>, layout: Layout) -> Events {
        let marked = vec![0; layout.pages.div_ceil(64)].into_boxed_slice();
        Events { ring, layout, marked, marked_count: 0, resync: None, budget: None }
    }

    /// Tells the policy, or marks the page.
    #[inline]
    pub fn send(&mut self, event: Event) {
        // While a budget waits, nothing may overtake it: it is the first thing that the policy must know.
        if self.ring.push(event).is_err() {
            self.lost(event);
        }
    }

    /// Whether something is left to be sent again.
    pub fn is_behind(&self) -> bool {
        self.marked_count > 0 || self.resync.is_some() || self.budget.is_some()
    }

    /// Whether something of that can be sent now.
    pub fn can_catch_up(&self) -> bool {
        self.is_behind() && self.ring.room() > EVENT_RESYNC_ROOM
    }

    /// Once a tick: sends marked pages again while there is room, a bounded piece of them. `next(page, slot)` looks at the
    /// next used slot of a page at or behind a slot: its number, and the `Store` of the item that the owner holds there, if
    /// it does.
    pub fn catch_up(
        &mut self,
        resyncs: &Counter,
        mut next: impl FnMut(usize, usize) -> Option<(usize, Option<Event>)>,
    ) {
        for _ in 0..TICK_RESYNC_MAX {
            if !self.can_catch_up() {
                return;
            }
            if let Some(bytes) = self.budget.take() {
                self.send(Event::Budget { bytes });
                continue;
            }
            let Some((page, slot)) = self.resync.or_else(|| self.begin(resyncs)) else { return };
            self.resync = match next(page, slot) {
                Some((index, store)) => {
                    store.into_iter().for_each(|store| self.send(store));
                    Some((page, index + 1))
                }
                None => None,
            };
        }
    }

    /// Forgets a page: the policy drops what it knows of it, and learns what is still there.
    pub fn mark(&mut self, page: usize) {
        let (word, bit) = (page / 64, 1 << (page % 64));
        self.marked_count += (self.marked[word] & bit == 0) as usize;
        self.marked[word] |= bit;
    }

    /// Takes the next marked page and tells the policy to forget it.
    fn begin(&mut self, resyncs: &Counter) -> Option<(usize, usize)> {
        let word = self.marked.iter().position(|&word| word != 0)?;
        let page = word * 64 + self.marked[word].trailing_zeros() as usize;
        self.marked[word] &= self.marked[word] - 1;
        self.marked_count -= 1;
        resyncs.add(1);
        let units = self.layout.page_units() as u64;
        // The first unit of page 0 is no reference; it is a page header anyway.
        let first = ItemRef::new((page as u64 * units).max(1)).expect("a page of the region");
        self.send(Event::Reset { first, units: units - (page == 0) as u64 });
        Some((page, 0))
    }

    #[cold]
    fn lost(&mut self, event: Event) {
        match event {
            Event::Store { item, replaced, .. } => {
                self.mark(self.layout.page_of(item));
                replaced.into_iter().for_each(|item| self.mark(self.layout.page_of(item)));
            }
            Event::Delete { item } | Event::Touch { item, .. } | Event::SecondChance { item, .. } => {
                self.mark(self.layout.page_of(item));
            }
            Event::Move { from, to, .. } => {
                self.mark(self.layout.page_of(from));
                self.mark(self.layout.page_of(to));
            }
            Event::Reset { first, .. } => self.mark(self.layout.page_of(first)),
            Event::Budget { bytes } => self.budget = Some(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::ring;

    #[test]
    fn what_was_lost_is_sent_again_page_by_page() {
        let layout = Layout { page_bytes: Layout::PAGE_BYTES_MIN, pages: 4 };
        let capacity = EVENT_RESYNC_ROOM + 4;
        let (producer, mut consumer) = ring(capacity);
        let mut events = Events::new(producer, layout);
        let resyncs = Counter::default();
        let item = |page: usize| ItemRef::new((page * layout.page_units() + 8) as u64).unwrap();
        for i in 0..capacity + 3 {
            events.send(Event::Delete { item: item(1 + i % 2) });
        }
        assert!(events.is_behind());
        assert_eq!(consumer.drain(capacity, |_| {}), capacity);
        let held = |page, slot| (slot < 2).then(|| (slot, Some(Event::Delete { item: item(page) })));
        let mut seen = Vec::new();
        for _ in 0..10 {
            events.catch_up(&resyncs, held);
            consumer.drain(capacity, |event| seen.push(matches!(event, Event::Reset { .. })));
        }
        assert!(!events.is_behind());
        assert_eq!(resyncs.get(), 2);
        assert_eq!(seen, [true, false, false, true, false, false]);
    }
}
