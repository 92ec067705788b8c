//! Bounded work: how much of one datagram is done at a stretch.
//!
//! Work is counted, not timed: counting costs nothing on the way of a command, and a run can be repeated. A unit is
//! about what one key costs, 100 to 200 ns.

use crate::limits::TURN_WORK_UNITS;
use protocol::request::Command;

/// What is left of a turn's work.
#[derive(Debug, Default)]
pub(super) struct Work {
    left: u32,
}

/// Bytes of values that cost as much as a key to copy.
const BYTES_PER_UNIT: usize = 2_048;
/// What a `stats` command costs: some tens of microseconds.
const STATS_UNITS: u32 = 256;

impl Work {
    /// A request has its turn.
    pub(super) fn begin_turn(&mut self) {
        self.left = TURN_WORK_UNITS;
    }

    /// A command has its turn, or a key of it.
    pub(super) fn begin_short_turn(&mut self) {
        self.left = 1;
    }

    /// One key was looked up or changed, and so many bytes were copied.
    #[inline]
    pub(super) fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(1 + (bytes / BYTES_PER_UNIT) as u32);
    }

    /// What a command costs beside its keys.
    #[inline]
    pub(super) fn spend_on(&mut self, command: &Command<'_>) {
        let units = if let Command::Stats { .. } = command { STATS_UNITS } else { 1 };
        self.left = self.left.saturating_sub(units);
    }

    /// What was spent of the turn.
    pub(super) fn spent(&self) -> u32 {
        TURN_WORK_UNITS - self.left
    }

    /// Whether the turn is over.
    #[inline]
    pub(super) fn is_spent(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_ends_after_so_many_keys_or_bytes() {
        let turn = |bytes| {
            let (mut work, mut keys) = (Work::default(), 0);
            work.begin_turn();
            while !work.is_spent() {
                work.spend(bytes);
                keys += 1;
            }
            keys
        };
        assert_eq!(turn(0), TURN_WORK_UNITS);
        assert_eq!(turn(BYTES_PER_UNIT), TURN_WORK_UNITS / 2);
        assert!(turn(1 << 20) <= 1 + TURN_WORK_UNITS / 512);
        let mut work = Work::default();
        work.begin_turn();
        work.spend_on(&Command::Stats { words: protocol::token::Tokens::new(b"") });
        work.spend_on(&Command::Stats { words: protocol::token::Tokens::new(b"") });
        assert!(work.is_spent());
    }
}
