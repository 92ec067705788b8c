//! How much memory values that are still coming may have, and who comes next where they have it.
//!
//! A slow peer holds memory that nobody uses. So all values that are still coming have at most one part in [`UNFINISHED_SHARE`] of the
//! owner's share of the memory, and lie in at most one part in [`UNFINISHED_PAGES_SHARE`] of its pages, so that the others can be
//! emptied for sizes that need one. One value is always let in, however large the two are: else a long one could not be stored in a
//! small memory.
//!
//! A long value would wait for ever where short ones take what is left each time. So the first that has to wait has a *turn*: others are
//! let in beside it only where both have room, until it is let in, or has not asked for [`UNFINISHED_TURN_MS`].

use crate::base::clock::Now;
use crate::limits::{UNFINISHED_PAGES_SHARE, UNFINISHED_SHARE, UNFINISHED_TURN_MS};
use crate::memory::UnfinishedSlots;
use crate::shard::contents::Memory;

/// Who comes next.
#[derive(Debug, Default)]
pub(super) struct Share {
    turn: Option<Turn>,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    /// Of the key.
    hash: u64,
    bytes: usize,
    until_ms: u64,
}

impl Share {
    /// Whether a value of a key of this hash, with slots of `bytes` bytes, may be let in beside what is there.
    pub(super) fn lets_in(&mut self, memory: &Memory, (hash, bytes): (u64, usize), now: Now) -> bool {
        let slots = memory.slab().unfinished();
        let claimed = self.turn_of_another(hash, now).map_or(0, |turn| turn.bytes);
        let with_it = UnfinishedSlots { bytes: slots.bytes + bytes + claimed, ..slots };
        let is_alone = slots.items == 0 && claimed == 0;
        let lets_in = is_alone || is_within(memory, with_it);
        if !lets_in && claimed == 0 {
            self.turn = Some(Turn { hash, bytes, until_ms: now.ms() + UNFINISHED_TURN_MS });
        }
        lets_in
    }

    /// Whether a value may stay of which the slots were taken: in which pages they are is known only then.
    pub(super) fn keeps(&mut self, memory: &Memory, hash: u64, now: Now) -> bool {
        let slots = memory.slab().unfinished();
        let keeps = slots.items == 1 || is_within(memory, slots);
        if keeps {
            self.turn = self.turn.filter(|turn| turn.hash != hash);
        } else if self.turn_of_another(hash, now).is_none() {
            // Pages are wanted, of which nobody knows the number: others wait.
            let bytes = bytes_max(memory);
            self.turn = Some(Turn { hash, bytes, until_ms: now.ms() + UNFINISHED_TURN_MS });
        }
        keeps
    }

    fn turn_of_another(&self, hash: u64, now: Now) -> Option<Turn> {
        self.turn.filter(|turn| turn.hash != hash && now.ms() < turn.until_ms)
    }
}

fn is_within(memory: &Memory, slots: UnfinishedSlots) -> bool {
    slots.bytes <= bytes_max(memory) && slots.pages <= memory.pages_of_owner() / UNFINISHED_PAGES_SHARE
}

fn bytes_max(memory: &Memory) -> usize {
    memory.pages_of_owner() * memory.pool().layout().page_bytes / UNFINISHED_SHARE
}
