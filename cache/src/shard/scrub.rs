//! Removing what flushes and invalidated namespaces have left behind, a bounded piece each tick.
//!
//! Readers and pressure pass over dead items, and the policy evicts them in time; but numbers wrap, so an item that stays
//! could live again, and what says that it is dead takes room. So after every [`STEPS_PER_SCRUB`] steps a walk over all
//! pages begins:
//!
//! ```text
//! items       dead: removed     living: get the number of now, and their namespaces are noted as having items
//! grace       nobody holds a removed item any more
//! namespaces  what was invalidated before the walk began is forgotten, set by set
//! ```
//! # Bounds
//! If a walk is not over by the time that the next one is due, further steps are refused as busy. So there are never more
//! than three walks' steps between the numbers of two things that are compared. Whoever moves items must leave dead ones
//! behind, and renew the living as a walk does, because they may go from where it has not been to where it was.

use crate::base::clock::Now;
use crate::base::item_ref::ItemRef;
use crate::limits::TICK_SCRUB_MAX;
use crate::memory::grace::Stamp;
use crate::shard::error::Blocked;
use crate::shard::namespace::{Namespace, Namespaces, Stored};
use crate::shard::number::DISTANCE_MAX;
use crate::shard::owner::Owner;

/// Steps between two walks over the pages.
pub const STEPS_PER_SCRUB: u32 = 1 << 14;

const _: () = assert!(3 * STEPS_PER_SCRUB < DISTANCE_MAX);

/// The walk that removes dead items before their number comes back.
#[derive(Default)]
pub(super) struct Scrub {
    /// Steps since the last walk began.
    steps: u32,
    walk: Option<Walk>,
    /// Namespaces that may have items.
    pub(super) stored: Stored,
}

#[derive(Clone, Copy, Debug)]
struct Walk {
    /// The number of the shard when it began.
    began: u32,
    at: At,
}

/// Where a walk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Page and slot.
    Items(usize, usize),
    Grace(Stamp),
    /// A set of the table of invalidated namespaces.
    Namespaces(usize),
}

impl Scrub {
    /// For a shard with these namespaces.
    pub(super) fn new(namespaces: &Namespaces) -> Scrub {
        Scrub { stored: Stored::new(namespaces), ..Scrub::default() }
    }

    /// Whether another step may be taken now.
    pub(super) fn may_step(&self) -> bool {
        self.steps < STEPS_PER_SCRUB
    }

    /// Notes the step that gave the shard this number, and begins a walk when it is time.
    pub(super) fn note_step(&mut self, number: u32) {
        self.steps += 1;
        self.begin_if_due(number);
    }

    /// The walk is over.
    fn end(&mut self, number: u32) {
        self.stored.end_walk();
        self.walk = None;
        self.begin_if_due(number);
    }

    fn begin_if_due(&mut self, number: u32) {
        if self.walk.is_none() && self.steps >= STEPS_PER_SCRUB {
            self.steps = 0;
            self.stored.begin_walk();
            self.walk = Some(Walk { began: number, at: At::Items(0, 0) });
        }
    }
}

impl Owner {
    /// Invalidates a namespace.
    ///
    /// # Errors
    /// [`Blocked::OnScrub`].
    pub fn invalidate_namespace(&mut self, namespace: Namespace) -> Result<(), Blocked> {
        if !self.scrub.stored.may_have(namespace) {
            return Ok(());
        }
        if !self.scrub.may_step() {
            return Err(Blocked::OnScrub);
        }
        let number = self.shard().invalidate(namespace);
        self.scrub.note_step(number);
        self.counters.namespaces_invalidated.add(1);
        Ok(())
    }

    /// Notes the namespace of a key that is being stored.
    #[inline]
    pub(super) fn note_stored(&mut self, key: &[u8]) {
        if let Some(namespace) = self.shards().shard(self.index()).namespaces().of(key) {
            self.scrub.stored.note(namespace);
        }
    }

    /// Makes a living item as good as stored now.
    pub(super) fn renew(&mut self, at: ItemRef) {
        let (shard, scrub) = (self.shards.shard(self.index), &mut self.scrub);
        let item = self.slab.item(at);
        let (state, number) = (item.state(), shard.number());
        if state.generation() != number {
            item.set_state(state.with_generation(number));
        }
        if let Some(namespace) = shard.namespaces().of(item.key()) {
            scrub.stored.note(namespace);
        }
    }

    /// Goes on with the walk, if there is one.
    pub(super) fn scrub_on(&mut self, now: Now) {
        let Some(Walk { began, at }) = self.scrub.walk else { return };
        let at = match at {
            At::Items(page, slot) => self.scrub_items(page, slot, now),
            At::Grace(stamp) if self.grace.passed(stamp) => At::Namespaces(0),
            At::Grace(stamp) => At::Grace(stamp),
            At::Namespaces(set) => {
                let shard = self.shard();
                if (set..set + TICK_SCRUB_MAX).any(|set| !shard.namespaces().invalid.forget(set, began)) {
                    shard.forget_flush(began);
                    let number = shard.number();
                    return self.scrub.end(number);
                }
                At::Namespaces(set + TICK_SCRUB_MAX)
            }
        };
        self.scrub.walk = Some(Walk { began, at });
    }

    fn scrub_items(&mut self, mut page: usize, mut slot: usize, now: Now) -> At {
        for _ in 0..TICK_SCRUB_MAX {
            if self.slab.retired().is_full() {
                break;
            }
            if page == self.slab.pool().layout().pages {
                return At::Grace(self.grace.retire());
            }
            let Some((index, used)) = self.slab.next_used_slot(page, slot) else {
                (page, slot) = (page + 1, 0);
                continue;
            };
            slot = index + 1;
            let at = self.slab.item_of(used);
            let item = self.slab.item(at);
            if self.shard().is_live(&item, now) {
                self.renew(at);
            } else if self.evict(at) {
                self.counters.scrubbed.add(1);
            }
        }
        At::Items(page, slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between a step and the end of a walk that began after it there are never as many steps as may lie between two numbers.
    #[test]
    fn steps_wait_for_a_walk_that_lags() {
        let mut scrub = Scrub::default();
        let steps = |scrub: &mut Scrub| (0..STEPS_PER_SCRUB).for_each(|i| scrub.note_step(i));
        steps(&mut scrub);
        assert_eq!(scrub.walk.map(|walk| walk.at), Some(At::Items(0, 0)));
        assert!(scrub.may_step());
        steps(&mut scrub);
        assert!(!scrub.may_step(), "the walk has not moved");
        scrub.walk = Some(Walk { began: 0, at: At::Namespaces(0) });
        scrub.end(5);
        assert!(scrub.may_step());
        let walk = scrub.walk.expect("the next walk is due at once");
        assert_eq!((walk.began, walk.at), (5, At::Items(0, 0)));
    }
}
