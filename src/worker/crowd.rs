//! Connections that wait for memory which others have: room for a long value, or for a long reply.
//!
//! ```text
//! no room ─▶ waits ─▶ asks again   at once when this worker has freed some: a value that was stored or given up, a long reply that went
//!                                  after CROWD_ASK_MS, for what other workers free
//! ```
//! They are no work: the worker sleeps meanwhile.

use crate::limits::CROWD_ASK_MS;
use crate::net::ConnectionId;
use cache::base::clock::Now;
use std::time::Duration;

/// Those that wait.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    waiting: Vec<ConnectionId>,
    /// Whether a long reply has ended since they asked last.
    is_freed: bool,
    /// What values that are coming to this worker's shard had when this was looked at last, in bytes.
    unfinished_bytes: u64,
    /// When they ask again in any case, in ns since the server epoch.
    due_ns: u64,
}

impl Crowd {
    /// One more waits.
    pub(super) fn join(&mut self, id: ConnectionId, now: Now) {
        if self.waiting.is_empty() {
            self.due_ns = now.ns + CROWD_ASK_MS * 1_000_000;
            self.is_freed = false;
        }
        self.waiting.push(id);
    }

    /// The memory of a long reply is free.
    pub(super) fn note_freed(&mut self) {
        self.is_freed = true;
    }

    /// Those that ask again now, if it is time to: values that are coming have so many bytes in this worker's shard.
    pub(super) fn take_due(&mut self, unfinished_bytes: u64, now: Now) -> Vec<ConnectionId> {
        let is_freed = self.is_freed || unfinished_bytes < self.unfinished_bytes;
        self.unfinished_bytes = unfinished_bytes;
        if self.waiting.is_empty() || !(is_freed || self.due_ns <= now.ns) {
            return Vec::new();
        }
        std::mem::take(&mut self.waiting)
    }

    /// How long a worker may sleep, as far as these matter.
    pub(super) fn rest(&self, now: Now) -> Duration {
        match (self.waiting.is_empty(), self.is_freed) {
            (true, _) => Duration::MAX,
            (false, true) => Duration::ZERO,
            (false, false) => Duration::from_nanos(self.due_ns.saturating_sub(now.ns)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ConnectionId = ConnectionId { place: 1, turn: 0 };
    const TWO: ConnectionId = ConnectionId { place: 2, turn: 0 };
    const ASK_NS: u64 = CROWD_ASK_MS * 1_000_000;

    fn at(ns: u64) -> Now {
        cache::base::clock::Clock::manual(ns).now()
    }

    #[test]
    fn they_ask_when_memory_is_freed_and_now_and_then() {
        let (mut crowd, start) = (Crowd::default(), at(1_000_000_000));
        let later = |ns: u64| Now { ns: start.ns + ns, ..start };
        assert_eq!(crowd.rest(start), Duration::MAX);
        assert!(crowd.take_due(500, start).is_empty());
        crowd.join(ONE, start);
        crowd.join(TWO, later(5));
        assert_eq!(crowd.rest(later(5)), Duration::from_nanos(ASK_NS - 5));
        assert!(crowd.take_due(500, later(6)).is_empty(), "nothing is free");
        assert_eq!(crowd.take_due(499, later(7)), [ONE, TWO]);
        crowd.join(TWO, later(8));
        assert!(crowd.take_due(600, later(9)).is_empty());
        crowd.note_freed();
        assert_eq!((crowd.rest(later(9)), crowd.take_due(600, later(9))), (Duration::ZERO, vec![TWO]));
        crowd.join(ONE, later(10));
        assert_eq!(crowd.rest(later(10)), Duration::from_nanos(ASK_NS), "what was freed is over");
        assert_eq!(crowd.take_due(600, later(10 + ASK_NS)), [ONE]);
        assert!(crowd.take_due(0, later(11 + ASK_NS)).is_empty(), "nobody waits");
    }
}
