//! Connections that wait for memory which others have: room for a long value, or for a long reply.
//!
//! ```text
//! a value   asks again when this worker's shard has freed some: a value was stored or given up there
//!           and after CROWD_ASK_MS, for what other workers free, and for times that pass
//! a reply   asks again when another long reply of this worker has gone, in the order in which they began to wait: first the prompt,
//!           whose peers have taken all that they were sent, then the others
//! ```
//! They are no work: the worker sleeps meanwhile.

use crate::limits::{CROWD_ASK_MS, CROWD_ASKS_MAX};
use crate::net::ConnectionId;
use cache::base::clock::Now;
use std::collections::VecDeque;
use std::time::Duration;

/// Those that wait.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    for_values: VecDeque<ConnectionId>,
    for_replies: VecDeque<ConnectionId>,
    /// The same of those whose peers have not taken all.
    for_replies_behind: VecDeque<ConnectionId>,
    /// What values that are coming to this worker's shard had when this was looked at last, in bytes.
    unfinished_bytes: u64,
    /// When those with values ask again in any case, in ns since the server epoch.
    due_ns: u64,
}

impl Crowd {
    /// One more waits for room for its value.
    pub(super) fn waits_for_value(&mut self, id: ConnectionId, now: Now) {
        if self.for_values.is_empty() {
            self.due_ns = now.ns + CROWD_ASK_MS * 1_000_000;
        }
        self.for_values.push_back(id);
    }

    /// One more waits for memory for its reply.
    pub(super) fn waits_for_reply(&mut self, id: ConnectionId, is_prompt: bool) {
        self.replies(is_prompt).push_back(id);
    }

    /// A connection is over that waited for its reply.
    pub(super) fn leaves(&mut self, id: ConnectionId) {
        [true, false].iter().for_each(|&prompt| self.replies(prompt).retain(|&waiting| waiting != id));
    }

    /// Whether one waits for memory for its reply.
    pub(super) fn wants_reply(&self) -> bool {
        [true, false].iter().any(|&prompt| self.wants_reply_of(prompt))
    }

    /// The same of those that are prompt, or not.
    pub(super) fn wants_reply_of(&self, is_prompt: bool) -> bool {
        let waiting = if is_prompt { &self.for_replies } else { &self.for_replies_behind };
        !waiting.is_empty()
    }

    /// The next of them that may ask for memory for its reply.
    pub(super) fn next_reply(&mut self, is_prompt: bool) -> Option<ConnectionId> {
        self.replies(is_prompt).pop_front()
    }

    /// How many wait for memory for their replies.
    pub(super) fn replies_waiting(&self) -> usize {
        self.for_replies.len() + self.for_replies_behind.len()
    }

    fn replies(&mut self, is_prompt: bool) -> &mut VecDeque<ConnectionId> {
        if is_prompt { &mut self.for_replies } else { &mut self.for_replies_behind }
    }

    /// How many of those with values ask again now: all when some memory was freed, else some of them now and then. Values that are coming
    /// have so many bytes in this worker's shard.
    pub(super) fn due(&mut self, unfinished_bytes: u64, now: Now) -> usize {
        let is_freed = unfinished_bytes < std::mem::replace(&mut self.unfinished_bytes, unfinished_bytes);
        let due = match (is_freed, self.due_ns <= now.ns) {
            (true, _) => self.for_values.len(),
            (false, true) => self.for_values.len().min(CROWD_ASKS_MAX),
            (false, false) => 0,
        };
        if due > 0 {
            self.due_ns = now.ns + CROWD_ASK_MS * 1_000_000;
        }
        due
    }

    /// The next of them.
    pub(super) fn next_value(&mut self) -> Option<ConnectionId> {
        self.for_values.pop_front()
    }

    /// How long a worker may sleep, as far as those with values matter.
    pub(super) fn rest(&self, now: Now) -> Duration {
        match self.for_values.is_empty() {
            true => Duration::MAX,
            false => Duration::from_nanos(self.due_ns.saturating_sub(now.ns)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache::base::clock::Clock;

    const ASK_NS: u64 = CROWD_ASK_MS * 1_000_000;

    fn id(place: u32) -> ConnectionId {
        ConnectionId { place, turn: 0 }
    }

    #[test]
    fn values_ask_when_memory_is_freed_and_now_and_then() {
        let (mut crowd, start) = (Crowd::default(), Clock::manual(1_000_000_000).now());
        let later = |ns: u64| Now { ns: start.ns + ns, ..start };
        assert_eq!((crowd.rest(start), crowd.due(500, start)), (Duration::MAX, 0));
        for place in 0..CROWD_ASKS_MAX as u32 + 1 {
            crowd.waits_for_value(id(place), later(place as u64));
        }
        assert_eq!(crowd.rest(later(5)), Duration::from_nanos(ASK_NS - 5));
        assert_eq!(crowd.due(500, later(6)), 0, "nothing is free");
        assert_eq!(crowd.due(499, later(7)), CROWD_ASKS_MAX + 1);
        assert_eq!(crowd.due(600, later(8)), 0);
        assert_eq!(crowd.rest(later(8)), Duration::from_nanos(ASK_NS - 1));
        assert_eq!(crowd.due(600, later(7 + ASK_NS)), CROWD_ASKS_MAX, "a part of them");
        assert_eq!(crowd.next_value(), Some(id(0)));
    }

    #[test]
    fn replies_ask_in_turn() {
        let mut crowd = Crowd::default();
        (0..3).for_each(|place| crowd.waits_for_reply(id(place), true));
        crowd.waits_for_reply(id(3), false);
        crowd.leaves(id(1));
        let prompt = [(); 3].map(|()| crowd.next_reply(true));
        assert_eq!(prompt, [Some(id(0)), Some(id(2)), None]);
        assert!(crowd.wants_reply() && !crowd.wants_reply_of(true));
        assert_eq!(crowd.next_reply(false), Some(id(3)));
        assert!(!crowd.wants_reply());
    }
}
