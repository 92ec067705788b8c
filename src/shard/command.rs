//! The policy's commands: hints that are obeyed when they still make sense.
//!
//! A command names an item by reference. The owner looks for a slot that holds exactly this reference near the home of
//! the hash, and looks at the item only after it has found one: the page may belong to another class by now. If the
//! reference was reused meanwhile for a key of the same home, that key goes early; a wrong reply cannot come of it.

use crate::clock::Now;
use crate::config::limits::TICK_COMMANDS_MAX;
use crate::ring::{Command, Verdict};
use crate::shard::owner::Owner;

impl Owner {
    /// Applies the next commands, a bounded number of them.
    pub(super) fn obey(&mut self, now: Now) {
        for _ in 0..TICK_COMMANDS_MAX {
            if self.slab.limbo().is_full() {
                return;
            }
            let Some(command) = self.commands.pop() else { return };
            self.obey_one(command, now);
        }
    }

    fn obey_one(&mut self, Command { item, hash, verdict }: Command, now: Now) {
        let done = match verdict {
            Verdict::Evict => self.evict_hashed(hash, item),
            Verdict::Expire => {
                // The deadline is checked again: a touch may have moved it.
                self.writer.holds(hash, item)
                    && self.slab.items().get(item).state().expired(now.ms())
                    && self.evict_hashed(hash, item)
            }
        };
        let counters = &self.counters;
        match (done, verdict) {
            (true, Verdict::Evict) => counters.evicted_by_policy.add(1),
            (true, Verdict::Expire) => counters.expired.add(1),
            (false, _) => counters.stale_commands.add(1),
        }
    }
}
