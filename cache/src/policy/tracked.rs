//! What all policies share: nodes, wheel, budget, and the commands under way. An [`EvictionOrder`] says who goes first.
//!
//! ```text
//! Store ─▶ on a list of the order ─ victim or due ─▶ pending eviction ─ Delete ─▶ free
//!                 ▲                                      │
//!                 └───── SecondChance, Touch, Move, Store ───────┘      the owner did not evict, or not yet
//! ```
//!
//! Live bytes are those on the order's lists, chunks of long values included. An item with a pending eviction has been told to its owner; if no `Delete` comes
//! within [`RETRY_MS`] to twice that, the command is sent again.

use super::list::List;
use super::node::{NONE, Segment, Space};
use super::nodes::Nodes;
use super::shadow::Sample;
use super::wheel::Wheel;
use super::{CommandBuffer, HIT_WEIGHT_MAX, Policy, PolicyConfig, PolicyStats};
use crate::base::item_ref::ItemRef;
use crate::ring::{Event, Hit, PolicyCommand, Verdict};

/// A command is sent again when it was not followed by a `Delete` for this long, in ms.
pub const RETRY_MS: u64 = 1000;

/// Which item goes first. The tracked policy calls it; nodes are on its lists between `insert` and `remove` or `victim`.
pub trait EvictionOrder: Send {
    /// The budget changed.
    fn resize(&mut self, budget_units: u64);
    /// A key was asked for `weight` times: by a hit, or by a store after a miss. Comes before `hit` and `insert`. Whether
    /// the order wants to know more of it, by `sample`. `now` is in ms since the server epoch, its low 32 bits.
    fn access(&mut self, _hash: u32, _weight: u32, _now: u32) -> bool {
        false
    }
    /// More of the key that `access` was told of last.
    fn sample(&mut self, _sample: &Sample) {}
    /// A free node got an item.
    fn insert(&mut self, nodes: &mut Nodes, n: u32);
    /// The item was read or overwritten.
    fn hit(&mut self, nodes: &mut Nodes, n: u32);
    /// The item is gone: frees the node.
    fn remove(&mut self, nodes: &mut Nodes, n: u32);
    /// `to`, a free node, takes the place of `from`, which becomes free.
    fn transfer(&mut self, nodes: &mut Nodes, from: u32, to: u32);
    /// Chooses the item to evict and frees its node, and says why; `None` when it has none.
    fn victim(&mut self, nodes: &mut Nodes) -> Option<(u32, Verdict)>;
    /// An item comes back on a free node that lost its place for `verdict`: it had been read, and no record told so.
    fn restore(&mut self, nodes: &mut Nodes, n: u32, _verdict: Verdict) {
        self.insert(nodes, n);
    }
    /// Asks for the memory that `access` will need.
    fn prefetch(&self, _hash: u32) {}
    /// Adds its own figures.
    fn report(&self, stats: &mut PolicyStats);
    /// Counts the nodes on its lists, and their units.
    fn count(&self) -> (usize, u64);
    /// The nodes that its lists lead through, one list after the other; for checks.
    fn walk(&self, nodes: &Nodes) -> Vec<u32>;
}

/// What an item takes, in units of 16 bytes.
#[derive(Clone, Copy)]
struct Size {
    slot_units: u32,
    chunk_units: u32,
}

/// An order with everything around it: a [`Policy`].
pub struct TrackedPolicy<O> {
    order: O,
    nodes: Nodes,
    wheel: Wheel,
    budget_units: u64,
    /// Two lists of pending evictions; `young` says which one takes the new ones.
    pending_evictions: [List; 2],
    young: usize,
    retry_at_ms: u64,
    now_ms: u64,
    due: Vec<u32>,
    found: Vec<u32>,
    stats: PolicyStats,
}

impl<O: EvictionOrder> TrackedPolicy<O> {
    /// A tracked policy without items.
    pub fn new(config: &PolicyConfig, order: O) -> TrackedPolicy<O> {
        let budget_units = config.budget_bytes / ItemRef::UNIT_BYTES as u64;
        let mut tracked = TrackedPolicy {
            order,
            nodes: Nodes::new(config.page_units, config.pages),
            wheel: Wheel::new(0),
            budget_units,
            pending_evictions: [List::new(Segment::PendingEven), List::new(Segment::PendingOdd)],
            young: 0,
            retry_at_ms: 0,
            now_ms: 0,
            due: Vec::new(),
            found: Vec::new(),
            stats: PolicyStats::default(),
        };
        tracked.order.resize(budget_units);
        tracked
    }

    fn store(&mut self, item: ItemRef, replaced: Option<ItemRef>, deadline_ms: u64, size: Size, hash: u32) {
        let units = size.slot_units.max(1);
        let old = replaced.and_then(|old| self.live(old));
        let Some(n) = self.node_for(item, units) else {
            self.stats.untracked += 1;
            if let Some(old) = old {
                self.untrack(old);
            }
            return;
        };
        // An item that the policy believed to be here is gone, or its Delete is still on the way; or it weighs something
        // else now.
        if Some(n) != old || self.nodes.chunk_units(n) != size.chunk_units {
            self.untrack(n);
            self.nodes.set_chunk_units(n, size.chunk_units);
        }
        let old = old.filter(|&old| self.nodes.node(old).segment() != Segment::Free);
        self.stats.stores += 1;
        let deadline = if deadline_ms == 0 { 0 } else { (deadline_ms as u32).max(1) };
        let now = self.now_ms as u32;
        if self.order.access(hash, 1, now) {
            let units = units + size.chunk_units;
            self.order.sample(&Sample { hash, units, deadline, now, weight: 1 });
        }
        match old {
            Some(old) if old == n => self.readmit(n),
            Some(old) if self.is_eviction_pending(old) => {
                self.untrack(old);
                self.nodes.node_mut(n).hash = hash;
                self.order.insert(&mut self.nodes, n);
            }
            Some(old) => {
                self.nodes.node_mut(n).hash = hash;
                self.order.transfer(&mut self.nodes, old, n);
                self.order.hit(&mut self.nodes, n);
            }
            None => {
                self.nodes.node_mut(n).hash = hash;
                self.order.insert(&mut self.nodes, n);
            }
        }
        self.wheel.set(&mut self.nodes, n, deadline_ms);
    }

    /// Lays the page out if need be; whatever the policy believed to be on it is forgotten then.
    fn node_for(&mut self, item: ItemRef, units: u32) -> Option<u32> {
        if self.nodes.fits(item, units) {
            return self.nodes.find(item);
        }
        let mut found = std::mem::take(&mut self.found);
        self.nodes.live_on_page(item, &mut found);
        found.drain(..).for_each(|n| self.untrack(n));
        self.found = found;
        self.nodes.lay_out(item, units)
    }

    fn moved(&mut self, from: ItemRef, to: ItemRef, units: u32) {
        let Some(old) = self.live(from) else {
            self.stats.stale += 1;
            return;
        };
        let deadline_ms = self.wheel.deadline_ms(&self.nodes, old);
        let (hash, chunk_units) = (self.nodes.node(old).hash, self.nodes.chunk_units(old));
        let Some(n) = self.node_for(to, units).filter(|&n| n != old) else {
            self.stats.untracked += 1;
            return self.untrack(old);
        };
        self.untrack(n);
        self.nodes.set_chunk_units(n, chunk_units);
        self.nodes.node_mut(n).hash = hash;
        if self.nodes.node(old).segment() == Segment::Free {
            // Laying out the new page took the old one with it.
            self.order.insert(&mut self.nodes, n);
        } else if self.is_eviction_pending(old) {
            // The owner will not find the item where the command says, so it must be chosen again.
            self.untrack(old);
            self.order.insert(&mut self.nodes, n);
        } else {
            self.order.transfer(&mut self.nodes, old, n);
        }
        self.wheel.set(&mut self.nodes, n, deadline_ms);
    }

    fn touch(&mut self, item: ItemRef, deadline_ms: u64, is_use: bool) {
        let Some(n) = self.live(item) else {
            self.stats.stale += 1;
            return;
        };
        if is_use || self.is_eviction_pending(n) {
            self.readmit(n);
        }
        self.wheel.set(&mut self.nodes, n, deadline_ms);
    }

    /// The owner kept an item that it was told to evict.
    fn second_chance(&mut self, item: ItemRef, deadline_ms: u64, verdict: Verdict) {
        let Some(n) = self.live(item).filter(|&n| self.is_eviction_pending(n)) else {
            self.stats.stale += 1;
            return;
        };
        self.stats.second_chances += 1;
        self.untrack(n);
        self.order.restore(&mut self.nodes, n, verdict);
        self.wheel.set(&mut self.nodes, n, deadline_ms);
    }

    /// The item was used after all: its eviction is no longer pending, or up in its order.
    fn readmit(&mut self, n: u32) {
        if self.is_eviction_pending(n) {
            self.untrack(n);
            self.order.insert(&mut self.nodes, n);
        } else {
            self.order.hit(&mut self.nodes, n);
        }
    }

    /// The node of an item that is on a list.
    fn live(&self, item: ItemRef) -> Option<u32> {
        self.nodes.find(item).filter(|&n| self.nodes.node(n).segment() != Segment::Free)
    }

    fn is_eviction_pending(&self, n: u32) -> bool {
        matches!(self.nodes.node(n).segment(), Segment::PendingEven | Segment::PendingOdd)
    }

    #[inline]
    fn apply(&mut self, hit: &Hit, n: u32) {
        self.stats.hits += 1;
        self.stats.reads += hit.weight as u64;
        let (now, weight) = (self.now_ms as u32, hit.weight.clamp(1, HIT_WEIGHT_MAX));
        // Gone, replaced or told to go; its key was asked for all the same.
        let stale = n == NONE || {
            let node = self.nodes.node(n);
            node.hash != hit.hash || !node.segment().is_ordered()
        };
        if self.order.access(hit.hash, weight, now) {
            let (units, deadline) = match stale {
                true => (1, 0),
                false => (self.nodes.units(n), self.nodes.deadline(n)),
            };
            self.order.sample(&Sample { hash: hit.hash, units, deadline, now, weight });
        }
        match stale {
            true => self.stats.stale += 1,
            false => self.order.hit(&mut self.nodes, n),
        }
    }

    /// Takes a node off whatever list it is on.
    fn untrack(&mut self, n: u32) {
        match self.nodes.node(n).segment() {
            Segment::Free => {}
            Segment::PendingEven => self.pending_evictions[0].remove(&mut self.nodes, n),
            Segment::PendingOdd => self.pending_evictions[1].remove(&mut self.nodes, n),
            _ => self.order.remove(&mut self.nodes, n),
        }
    }

    /// Tells the owner to end a free node's item.
    fn ask_for_eviction(&mut self, n: u32, verdict: Verdict, commands: &mut CommandBuffer) {
        self.pending_evictions[self.young].push_front(&mut self.nodes, n);
        commands.push(PolicyCommand { item: self.nodes.item(n), hash: self.nodes.node(n).hash, verdict });
    }

    fn expire(&mut self, work_max: usize, commands: &mut CommandBuffer) -> usize {
        let mut due = std::mem::take(&mut self.due);
        let work = self.wheel.advance(&mut self.nodes, self.now_ms, work_max, &mut due, commands.room());
        for n in due.drain(..) {
            if self.nodes.node(n).segment() == Segment::Free || self.is_eviction_pending(n) {
                continue;
            }
            self.order.remove(&mut self.nodes, n);
            self.stats.expired += 1;
            self.ask_for_eviction(n, Verdict::Expire, commands);
        }
        self.due = due;
        work
    }

    fn evict(&mut self, work_max: usize, commands: &mut CommandBuffer) -> usize {
        let mut work = 0;
        while work < work_max && commands.room() > 0 && self.order.count().1 > self.budget_units {
            work += 1;
            let Some((n, verdict)) = self.order.victim(&mut self.nodes) else { break };
            self.stats.evicted += 1;
            self.ask_for_eviction(n, verdict, commands);
        }
        work
    }

    /// Sends again what has waited for a whole interval; then the young become the old.
    fn retry(&mut self, work_max: usize, commands: &mut CommandBuffer) -> usize {
        let mut work = 0;
        while work < work_max && commands.room() > 0 {
            work += 1;
            let Some(n) = self.pending_evictions[1 - self.young].pop_back(&mut self.nodes) else {
                self.young = 1 - self.young;
                self.retry_at_ms = self.now_ms + RETRY_MS;
                break;
            };
            self.stats.repeated += 1;
            let due = self.wheel.remaining_ms(&self.nodes, n) == Some(0);
            self.ask_for_eviction(n, if due { Verdict::Expire } else { Verdict::Evict }, commands);
        }
        work
    }

    fn pending_eviction_count(&self) -> usize {
        self.pending_evictions[0].count() + self.pending_evictions[1].count()
    }
}

impl<O: EvictionOrder> Policy for TrackedPolicy<O> {
    fn event(&mut self, event: &Event, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        match *event {
            Event::Store { item, replaced, deadline, chunks, hash } => {
                let size = Size { slot_units: deadline.slot_units(), chunk_units: chunks.get() };
                self.store(item, replaced, deadline.ms(), size, hash);
            }
            Event::Delete { item } => match self.live(item) {
                Some(n) => self.untrack(n),
                None => self.stats.stale += 1,
            },
            Event::Touch { item, deadline, is_use } => self.touch(item, deadline.ms(), is_use),
            Event::SecondChance { item, deadline, verdict } => {
                self.second_chance(item, deadline.ms(), verdict)
            }
            Event::Move { from, to, units } => self.moved(from, to, units),
            Event::Reset { first, units } => {
                let mut found = std::mem::take(&mut self.found);
                self.nodes.live_in(first, units, &mut found);
                found.drain(..).for_each(|n| self.untrack(n));
                self.found = found;
            }
            Event::Budget { bytes } => {
                self.budget_units = bytes / ItemRef::UNIT_BYTES as u64;
                self.order.resize(self.budget_units);
            }
        }
    }

    fn events(&mut self, events: &[Event], now_ms: u64) {
        self.take_events(events, now_ms);
    }

    fn hits(&mut self, hits: &[Hit]) {
        self.take_hits(hits);
    }

    fn advance(&mut self, now_ms: u64, work_max: usize, commands: &mut CommandBuffer) -> usize {
        self.now_ms = self.now_ms.max(now_ms);
        let mut work = self.expire(work_max, commands);
        work += self.evict(work_max - work, commands);
        if self.now_ms >= self.retry_at_ms {
            work += self.retry(work_max - work, commands);
        }
        work
    }

    fn next_ms(&self) -> Option<u64> {
        let retry = (self.pending_eviction_count() > 0).then_some(self.retry_at_ms);
        self.wheel.next_ms().into_iter().chain(retry).min()
    }

    fn stats(&self) -> PolicyStats {
        let mut stats = self.stats;
        let (items, units) = self.order.count();
        let (node_bytes, deadline_bytes) = self.nodes.bytes();
        let unit_bytes = ItemRef::UNIT_BYTES as u64;
        stats.items = items as u64;
        stats.live_bytes = units * unit_bytes;
        stats.budget_bytes = self.budget_units * unit_bytes;
        stats.pending_evictions = self.pending_eviction_count() as u64;
        stats.expiry_lag_ms = self.wheel.lag_ms(self.now_ms);
        stats.wheel_bytes = (self.wheel.bytes() + deadline_bytes) as u64;
        stats.memory_bytes = stats.wheel_bytes + node_bytes as u64;
        self.order.report(&mut stats);
        stats
    }

    fn check(&self) {
        let (mut items, mut units, mut pending_evictions) = (0, 0, 0);
        for n in self.nodes.all_live() {
            if self.is_eviction_pending(n) {
                pending_evictions += 1;
            } else {
                items += 1;
                units += self.nodes.units(n) as u64;
            }
        }
        assert_eq!((items, units), self.order.count(), "items and units on the lists of the order");
        assert_eq!(
            pending_evictions,
            self.pending_eviction_count(),
            "items on the lists of the pending_evictions"
        );
        let mut walked = self.order.walk(&self.nodes);
        assert_eq!(items, walked.len(), "the lists of the order lead through all its items");
        walked.extend(self.pending_evictions.iter().flat_map(|list| list.iter(&self.nodes)));
        walked.sort_unstable();
        assert!(walked.iter().copied().eq(self.nodes.all_live()), "every item is on one list, once");
    }
}

mod ahead;
#[cfg(test)]
mod tests;
