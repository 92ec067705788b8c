//! Touching: an item gets another deadline.

use crate::base::clock::Now;
use crate::ring::Event;
use crate::shard::owner::{Owner, deadline};

impl Owner {
    /// Gives an item another deadline, in ms since the server epoch (0 = never); says whether there was one. `is_use`: nothing
    /// else tells the policy that the item was used.
    pub fn touch(&mut self, key: &[u8], due_ms: u64, is_use: bool, now: Now) -> bool {
        self.counters.cmd_touch.add(1);
        let found = self.find(key, now).map(|found| {
            if is_use {
                found.item.note_access(now.s(), true);
            }
            found.item.set_state(found.item.state().with_deadline_ms(due_ms));
            found.at
        });
        if let Some(item) = found {
            let deadline = deadline(due_ms, self.slab.slot_bytes(item));
            self.events.send(Event::Touch { item, deadline, is_use });
        }
        let counter = if found.is_some() { &self.counters.touch_hits } else { &self.counters.touch_misses };
        counter.add(1);
        found.is_some()
    }
}
