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
use crate::limits::TICK_SCRUB_MAX;
use crate::memory::grace::Stamp;
use crate::shard::contents::{Contents, Index, Why};
use crate::shard::error::Blocked;
use crate::shard::namespace::{Namespace, Stored};
use crate::shard::number::DISTANCE_MAX;

/// Steps between two walks over the pages.
pub const STEPS_PER_SCRUB: u32 = 1 << 14;

const _: () = assert!(3 * STEPS_PER_SCRUB < DISTANCE_MAX);

/// The walk that removes dead items before their number comes back.
pub(super) struct Scrub {
    /// Steps since the last walk began.
    steps: u32,
    /// Steps after which a walk begins.
    steps_per_walk: u32,
    walk: Option<Walk>,
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
    /// Where nothing that lives is evicted (not `evicts`), a walk follows each step: new items wait for the room of the dead.
    pub(super) fn new(evicts: bool) -> Scrub {
        Scrub { steps: 0, steps_per_walk: if evicts { STEPS_PER_SCRUB } else { 1 }, walk: None }
    }

    /// Whether dead items are being removed.
    pub(super) fn is_walking(&self) -> bool {
        self.walk.is_some()
    }

    /// Makes every item of the shard stale at once.
    ///
    /// # Errors
    /// [`Blocked::OnScrub`].
    pub(super) fn flush(&mut self, index: &mut Index) -> Result<(), Blocked> {
        if !self.may_step() {
            return Err(Blocked::OnScrub);
        }
        let number = index.shard().flush();
        self.note_step(number, index.namespaces());
        Ok(())
    }

    /// Makes every item of a namespace stale at once; says whether there may have been one.
    ///
    /// # Errors
    /// [`Blocked::OnScrub`].
    pub(super) fn invalidate(&mut self, index: &mut Index, namespace: Namespace) -> Result<bool, Blocked> {
        if !index.namespaces().may_have(namespace) {
            return Ok(false);
        }
        if !self.may_step() {
            return Err(Blocked::OnScrub);
        }
        let number = index.shard().invalidate(namespace);
        self.note_step(number, index.namespaces());
        Ok(true)
    }

    /// Goes on with the walk, if there is one.
    pub(super) fn step(&mut self, contents: &mut Contents, now: Now) {
        let Some(Walk { began, at }) = self.walk else { return };
        let at = match at {
            At::Items(page, slot) => scrub_items(contents, page, slot, now),
            At::Grace(stamp) if contents.memory.is_over(stamp) => At::Namespaces(0),
            At::Grace(stamp) => At::Grace(stamp),
            At::Namespaces(set) => {
                let index = &mut contents.index;
                let invalid = &index.shard().namespaces().invalid;
                if (set..set + TICK_SCRUB_MAX).any(|set| !invalid.forget(set, began)) {
                    index.shard().forget_flush(began);
                    let number = index.shard().number();
                    return self.end(number, index.namespaces());
                }
                At::Namespaces(set + TICK_SCRUB_MAX)
            }
        };
        self.walk = Some(Walk { began, at });
    }

    /// Whether another step may be taken now.
    fn may_step(&self) -> bool {
        self.steps < STEPS_PER_SCRUB
    }

    /// Notes the step that gave the shard this number, and begins a walk when it is time.
    fn note_step(&mut self, number: u32, namespaces: &mut Stored) {
        self.steps += 1;
        self.begin_if_due(number, namespaces);
    }

    /// The walk is over.
    fn end(&mut self, number: u32, namespaces: &mut Stored) {
        namespaces.end_walk();
        self.walk = None;
        self.begin_if_due(number, namespaces);
    }

    fn begin_if_due(&mut self, number: u32, namespaces: &mut Stored) {
        if self.walk.is_none() && self.steps >= self.steps_per_walk {
            self.steps = 0;
            namespaces.begin_walk();
            self.walk = Some(Walk { began: number, at: At::Items(0, 0) });
        }
    }
}

/// Removes the dead and renews the living of the next slots, from this one on.
fn scrub_items(contents: &mut Contents, mut page: usize, mut slot: usize, now: Now) -> At {
    for _ in 0..TICK_SCRUB_MAX {
        let Contents { index, memory, .. } = contents;
        if !memory.can_retire() {
            break;
        }
        if page == memory.pool().layout().pages {
            return At::Grace(memory.grace_from_now());
        }
        let Some((number, used)) = memory.slab().next_used_slot(page, slot) else {
            (page, slot) = (page + 1, 0);
            continue;
        };
        slot = number + 1;
        let at = memory.slab().item_of(used);
        let item = memory.item(at);
        if index.is_live(&item, now) {
            index.renew(&item);
        } else {
            contents.evict(at, Why::Scrubbed);
        }
    }
    At::Items(page, slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between a step and the end of a walk that began after it there are never as many steps as may lie between two numbers.
    #[test]
    fn steps_wait_for_a_walk_that_lags() {
        let (mut scrub, mut namespaces) = (Scrub::new(true), Stored::default());
        let mut steps =
            |scrub: &mut Scrub| (0..STEPS_PER_SCRUB).for_each(|i| scrub.note_step(i, &mut namespaces));
        steps(&mut scrub);
        assert_eq!(scrub.walk.map(|walk| walk.at), Some(At::Items(0, 0)));
        assert!(scrub.may_step());
        steps(&mut scrub);
        assert!(!scrub.may_step(), "the walk has not moved");
        scrub.walk = Some(Walk { began: 0, at: At::Namespaces(0) });
        scrub.end(5, &mut namespaces);
        assert!(scrub.may_step());
        let walk = scrub.walk.expect("the next walk is due at once");
        assert_eq!((walk.began, walk.at), (5, At::Items(0, 0)));
    }
}
