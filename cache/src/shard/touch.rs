//! Touching: an item gets another deadline.

use crate::base::clock::Now;
use crate::shard::owner::Owner;

impl Owner {
    /// Gives an item another deadline, in ms since the server epoch (0 = never); says whether there was one. `is_use`: nothing
    /// else tells the policy that the item was used.
    pub fn touch(&mut self, key: &[u8], due_ms: u64, is_use: bool, now: Now) -> bool {
        let found = self.find(key, now).map(|found| {
            if is_use {
                found.item.note_access(now.s(), true);
            }
            found.item.set_state(found.item.state().with_deadline_ms(due_ms));
            (found.at, self.contents().memory.deadline(found.at, due_ms))
        });
        self.contents_mut().outcomes.touched(found, is_use);
        found.is_some()
    }
}
