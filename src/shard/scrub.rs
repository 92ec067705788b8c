//! Removing what flushes and new generations of namespaces have left behind, a bounded piece each tick.
//!
//! Readers and pressure ignore dead items, and the policy evicts them in time; but an item that stays until its number
//! comes round again would live again. See `namespace` for when a walk begins.

use crate::clock::Now;
use crate::config::limits::TICK_SCRUB_MAX;
use crate::protocol::Error;
use crate::shard::namespace::Place;
use crate::shard::owner::{Owner, Wait};

impl Owner {
    /// Begins a new generation of a namespace.
    ///
    /// # Errors
    /// Busy, while dead items are being removed.
    pub(super) fn invalidate_namespace(&mut self, namespace: Place) -> Result<(), Wait> {
        if !self.scrub.may_step() {
            return Err(Error::Busy.into());
        }
        self.shard().namespaces().step(namespace);
        self.scrub.note_step();
        self.counters.namespaces_invalidated.add(1);
        Ok(())
    }

    /// Goes on with the walk, if there is one.
    pub(super) fn scrub_on(&mut self, now: Now) {
        let Some((mut page, mut slot)) = self.scrub.at else { return };
        for _ in 0..TICK_SCRUB_MAX {
            if self.slab.limbo().is_full() {
                break;
            }
            if page == self.slab.pool().layout().pages {
                return self.scrub.end();
            }
            let Some((index, used)) = self.slab.next_used_slot(page, slot) else {
                (page, slot) = (page + 1, 0);
                continue;
            };
            slot = index + 1;
            let at = self.slab.item_of(used);
            let item = self.slab.items().get(at);
            if !self.shard().is_live(&item, now) && self.evict(at) {
                self.counters.scrubbed.add(1);
            }
        }
        self.scrub.at = Some((page, slot));
    }
}
