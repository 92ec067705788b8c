//! The policy's commands: hints that are followed when they still make sense.
//!
//! A command names an item by reference. The owner looks for a slot that holds exactly this reference near the home of
//! the hash, and looks at the item only after it has found one: the page may belong to another class by now. If the
//! reference was reused meanwhile for a key of the same home, that key goes early; a wrong reply cannot come of it.
//!
//! ```text
//! ring ─ pop 16 ─▶ ask for their home lines and items ─▶ execute one after the other     as many a tick as its time allows
//! ```
//! An expired item is cold: its line of the table and its header are two misses, 400 ns one by one. Asked for together
//! they overlap. How many are executed follows from how long ticks take: at most a quarter of one, so that a mass expiry holds
//! nobody up, and an owner that has nothing else to do is done soon.

use crate::base::clock::Now;
use crate::limits::{COMMAND_BATCH, COMMAND_NS, COMMANDS_SHARE, TICK_COMMANDS_MAX};
use crate::ring::{Consumer, PolicyCommand, Verdict};
use crate::shard::SecondChances;
use crate::shard::contents::{Contents, Why};
use arrayvec::ArrayVec;

/// The policy's commands, and what the owner grants beside them.
pub(super) struct Commands {
    ring: Consumer<PolicyCommand>,
    second_chances: SecondChances,
    /// When the last tick began, in ns.
    last_tick_ns: u64,
}

impl Commands {
    /// Commands that come through this ring.
    pub(super) fn new(ring: Consumer<PolicyCommand>) -> Commands {
        Commands { ring, second_chances: SecondChances::default(), last_tick_ns: 0 }
    }

    /// Applies the next commands, a bounded number of them; says whether more wait.
    pub(super) fn apply(&mut self, contents: &mut Contents, now: Now) -> bool {
        let mut left = commands_max(now.ns.saturating_sub(self.last_tick_ns));
        self.last_tick_ns = now.ns;
        while left > 0 && contents.memory.can_retire() {
            let mut batch = ArrayVec::<PolicyCommand, COMMAND_BATCH>::new();
            while !batch.is_full()
                && let Some(command) = self.ring.pop()
            {
                contents.index.prefetch_home((command.hash as u64) << 32);
                contents.memory.slab().prefetch(command.item, ITEM_HEAD_BYTES);
                batch.push(command);
            }
            if batch.is_empty() {
                return false;
            }
            left = left.saturating_sub(batch.len());
            batch.into_iter().for_each(|command| self.apply_one(command, contents, now));
        }
        self.is_waiting()
    }

    /// Whether commands wait.
    pub(super) fn is_waiting(&self) -> bool {
        self.ring.waiting() > 0
    }

    fn apply_one(&mut self, command: PolicyCommand, contents: &mut Contents, now: Now) {
        let PolicyCommand { item, hash, verdict } = command;
        let done = match verdict {
            Verdict::Reject | Verdict::Evict if self.gives_second_chance(command, contents, now) => return,
            Verdict::Reject | Verdict::Evict => {
                let done = contents.evict_hashed(hash, item, Why::Policy);
                if done {
                    self.second_chances.evicted();
                }
                done
            }
            Verdict::Expire => {
                // The deadline is checked again: a touch may have moved it.
                contents.index.holds(hash, item)
                    && contents.memory.item(item).state().expired(now.ms())
                    && contents.evict_hashed(hash, item, Why::Expired)
            }
        };
        if !done {
            contents.outcomes.counters().stale_commands.add(1);
        }
    }

    /// Keeps an item that was read without the policy's knowledge, once, and tells the policy of it.
    fn gives_second_chance(&mut self, command: PolicyCommand, contents: &mut Contents, now: Now) -> bool {
        let PolicyCommand { item: at, hash, verdict } = command;
        let Contents { index, memory, outcomes, .. } = contents;
        if !self.second_chances.is_left() || !index.holds(hash, at) {
            return false;
        }
        let item = memory.item(at);
        if !index.is_live(&item, now) || !item.take_untold() {
            return false;
        }
        self.second_chances.spend();
        outcomes.kept(at, memory.deadline(at, item.state().deadline_ms()), verdict);
        true
    }
}

/// Header, key and the references of a cut value's first chunks: what an eviction looks at.
const ITEM_HEAD_BYTES: usize = 64;

/// Commands for a tick, when the last one took `tick_ns`.
fn commands_max(tick_ns: u64) -> usize {
    ((tick_ns / COMMANDS_SHARE / COMMAND_NS) as usize).clamp(COMMAND_BATCH, TICK_COMMANDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_take_a_quarter_of_a_tick_at_most() {
        for (tick_us, want) in
            [(0, COMMAND_BATCH), (10, 16), (40, 40), (200, 200), (100_000, TICK_COMMANDS_MAX)]
        {
            assert_eq!(commands_max(tick_us * 1000), want, "after a tick of {tick_us} µs");
        }
    }
}
