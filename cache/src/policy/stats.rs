//! What a policy counts, and how the rest of the process reads it.

use crate::base::counter::Counter;

macro_rules! figures {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Figures of one policy: sums since its start and gauges of now.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct PolicyStats {
            $($(#[$doc])* pub $name: u64,)+
        }

        /// The same figures where any thread may read them; the policy thread alone writes.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Counter,)+
        }

        impl Counters {
            /// Publishes the figures.
            pub fn publish(&self, stats: &PolicyStats) {
                $(self.$name.set(stats.$name);)+
            }

            /// Names and figures, in a fixed order.
            pub fn figures(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
                [$((stringify!($name), self.$name.get()),)+].into_iter()
            }
        }
    };
}

figures! {
    /// Items that left the window for the main region.
    promoted,
    /// Items that lost the contest on leaving the window.
    rejected,
    /// Items evicted to stay under the budget, `rejected` among them.
    evicted,
    /// Those of them that their owner kept, because they had been read and no record had told so.
    second_chances,
    /// Items told to be expired.
    expired,
    /// Commands that were sent again because no `Delete` had come.
    repeated,
    /// Events and hits that named an item the policy does not have.
    stale,
    /// Stores that could not be tracked: too many nodes.
    untracked,
    /// Hit records taken in.
    hits,
    /// Reads that those records stand for.
    reads,
    /// Stores taken in.
    stores,
    /// Times that the shadow caches chose another arm.
    arm_changes,
    /// Gauge: the arm in use, an index into `adapt::ARMS`.
    arm,
    /// Gauge: share of the budget that the window may take, in 1/1000.
    window_permille,
    /// Gauge: one key in so many runs through the shadow caches; 0 = no shadow caches.
    sampled_one_in,
    /// Gauge: items that live, those told to go excluded.
    items,
    /// Gauge: bytes of their slots.
    live_bytes,
    /// Gauge: bytes that may stay.
    budget_bytes,
    /// Gauge: items told to go whose `Delete` has not come.
    pending_evictions,
    /// Gauge: how late the wheel is, in ms.
    expiry_lag_ms,
    /// Gauge: bytes that the policy itself holds.
    memory_bytes,
    /// Gauge: those of them that the wheel and the deadlines take.
    wheel_bytes,
}
