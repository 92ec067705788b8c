//! What a policy counts, and how the rest of the process reads it.

use crate::base::counter::{Counter, Figure};

macro_rules! figures {
    ($($(#[doc = $doc:literal])* $kind:ident $name:ident),+ $(,)?) => {
        /// Figures of one policy: sums since its start and gauges of now.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct PolicyStats {
            $($(#[doc = $doc])* pub $name: u64,)+
        }

        /// The same figures where any thread may read them; the policy thread alone writes.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = $doc])* pub $name: Counter,)+
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

            /// The same with their meanings and kinds.
            pub fn list(&self) -> Vec<Figure<'_>> {
                vec![$($crate::figure!(self, $kind $name, concat!($($doc),*)),)+]
            }
        }
    };
}

figures! {
    /// Items that left the window for the main region.
    counter promoted,
    /// Items that lost the contest on leaving the window.
    counter rejected,
    /// Items evicted to stay under the budget, `rejected` among them.
    counter evicted,
    /// Those of them that their owner kept, because they had been read and no record had told so.
    counter second_chances,
    /// Items told to be expired.
    counter expired,
    /// Commands that were sent again because no `Delete` had come.
    counter repeated,
    /// Events and hits that named an item the policy does not have.
    counter stale,
    /// Stores that could not be tracked: too many nodes.
    counter untracked,
    /// Hit records taken in.
    counter hits,
    /// Reads that those records stand for.
    counter reads,
    /// Stores taken in.
    counter stores,
    /// Times that the shadow caches chose another arm.
    counter arm_changes,
    /// The arm in use, an index into `adapt::ARMS`.
    gauge arm,
    /// Share of the budget that the window may take, in 1/1000.
    gauge window_permille,
    /// One key in so many runs through the shadow caches; 0 = no shadow caches.
    gauge sampled_one_in,
    /// Items that live, those told to go excluded.
    gauge items,
    /// Bytes of their slots.
    gauge live_bytes,
    /// Bytes that may stay.
    gauge budget_bytes,
    /// Items told to go whose `Delete` has not come.
    gauge pending_evictions,
    /// How late the wheel is, in ms.
    gauge expiry_lag_ms,
    /// Bytes that the policy itself holds.
    gauge memory_bytes,
    /// Those of them that the wheel and the deadlines take.
    gauge wheel_bytes,
}
