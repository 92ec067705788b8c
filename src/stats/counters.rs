//! Counters with a single writer: the owner adds with a plain load and store, anybody reads.

use crate::sync::{AtomicU64, Ordering};

/// One counter. Only one thread may add; any thread may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. A load and a store, not a locked add: there is one writer.
    #[inline]
    pub fn add(&self, n: u64) {
        // Relaxed: a figure for people; it publishes nothing.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes `n` away (a gauge).
    #[inline]
    pub fn sub(&self, n: u64) {
        self.add(n.wrapping_neg());
    }

    /// Replaces the figure (a gauge).
    #[inline]
    pub fn set(&self, n: u64) {
        // Relaxed: as in `add`.
        self.0.store(n, Ordering::Relaxed);
    }

    /// The figure now.
    #[inline]
    pub fn get(&self) -> u64 {
        // Relaxed: as in `add`.
        self.0.load(Ordering::Relaxed)
    }
}

/// Declares a set of counters: a struct, and each counter's name and meaning for `stats` and the metrics.
macro_rules! counters {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct $name {
            $($(#[doc = $doc])* pub $field: Counter,)*
        }

        impl $name {
            /// Name, meaning and counter, in order.
            pub fn list(&self) -> Vec<(&'static str, &'static str, &Counter)> {
                vec![$((stringify!($field), concat!($($doc),*), &self.$field),)*]
            }
        }
    };
}

counters! {
    /// What the owner of a shard counts. Written by its worker only.
    OwnerCounters {
        /// Store commands.
        cmd_set,
        /// Commands that touch an item's deadline.
        cmd_touch,
        /// flush_all commands.
        cmd_flush,
        /// Items stored since start.
        total_items,
        /// Deletes that found their key.
        delete_hits,
        /// Deletes that did not.
        delete_misses,
        /// Increments that found their key.
        incr_hits,
        /// Increments that did not.
        incr_misses,
        /// Decrements that found their key.
        decr_hits,
        /// Decrements that did not.
        decr_misses,
        /// Touches that found their key.
        touch_hits,
        /// Touches that did not.
        touch_misses,
        /// cas stores with the right number.
        cas_hits,
        /// cas stores of an absent key.
        cas_misses,
        /// cas stores with another number.
        cas_badval,
        /// Items in the table now.
        curr_items,
        /// Bytes of used slab slots now.
        used_bytes,
        /// Bytes of key, value and header in used slab slots now.
        item_bytes,
        /// Pages of this owner now.
        pages,
        /// Retired items that wait for grace now.
        limbo_items,
        /// Items evicted by command of the policy.
        evicted_by_policy,
        /// Items that the policy wanted evicted and that stayed: they had been read without its knowledge.
        spared,
        /// Items evicted because no memory was free.
        evicted_by_pressure,
        /// Items evicted because their lines were crowded.
        evicted_by_crowding,
        /// Items removed because their deadline had passed, or because they were flushed.
        expired,
        /// Namespaces invalidated.
        namespaces_invalidated,
        /// Items of old generations removed before their number could come back.
        scrubbed,
        /// Commands of the policy that came too late.
        stale_commands,
        /// Pages that were sent to the policy again because its ring was full.
        event_resyncs,
        /// Pages that the mover emptied.
        pages_moved,
        /// Items that the mover copied to another page.
        items_moved,
        /// Items evicted because they found no place in a table that grew.
        evicted_by_growth,
        /// Times that an insert waited for a larger index, so that it took no other key's place.
        growth_waits,
        /// Doublings of the table.
        table_doublings,
        /// Halvings of the table.
        table_halvings,
        /// Slots of the table.
        table_slots,
        /// Stores that had to wait for grace.
        grace_waits,
    }
}

counters! {
    /// What a worker counts. Written by its own thread only.
    WorkerCounters {
        /// Ticks that did something.
        ticks,
        /// Datagrams received.
        datagrams_received,
        /// Bytes received.
        bytes_read,
        /// Datagrams sent.
        datagrams_sent,
        /// Bytes sent.
        bytes_written,
        /// Messages handed to the kernel, each with one or more datagrams.
        sends,
        /// Datagrams that the kernel did not take.
        send_failures,
        /// Messages of several datagrams that the kernel refused for the path to their peer; the datagrams were sent one by one.
        gso_fallbacks,
        /// Datagrams that the kernel dropped before we read them.
        receive_drops,
        /// Workers woken from their sleep because there was mail for them.
        workers_woken,
        /// Times that no receive buffer was free.
        receive_buffers_empty,
        /// Datagrams to a broadcast or multicast address, which are not answered.
        refused_groups,
        /// Datagrams too short for a frame and one byte.
        refused_short,
        /// Requests of several datagrams.
        refused_fragments,
        /// Requests in memcached's binary protocol.
        refused_binary,
        /// Batch frames whose preamble was wrong.
        refused_frames,
        /// Replies of other servers, and other text that begins with an upper-case letter or a digit.
        refused_replies,
        /// Datagrams from addresses that we do not answer.
        refused_peers,
        /// Challenges sent to addresses that have to prove themselves.
        challenges,
        /// Challenges that were not sent because their address had been sent too many in this second.
        challenges_muted,
        /// Sealed frames with a wrong tag.
        seals_wrong,
        /// Sealed frames that were too old, or from the future.
        seals_stale,
        /// Sealed frames that were seen before, or came too late to tell.
        seals_replayed,
        /// Sealed frames of a session that there was no room for.
        seals_crowded,
        /// Datagrams that were not answered because their source had made too many errors in this second.
        errors_muted,
        /// Commands that were not understood, or that their sender may not use.
        protocol_errors,
        /// Keys asked for.
        cmd_get,
        /// Keys found.
        get_hits,
        /// Keys not found.
        get_misses,
        /// Reads that went to the owner: keys moved in every round, or a stale item has to name a winner.
        unsettled_misses,
        /// Hit records that the policy's ring had no room for.
        hit_records_dropped,
        /// Hit records sent to the policy.
        hit_records_sent,
        /// Commands sent to another owner; of a batch frame, runs of operations.
        forwarded,
        /// Commands executed for another worker; of a batch frame, runs of operations.
        executed_for_others,
        /// Commands and datagrams refused because the buffers to suspend them were not free in time.
        busy,
        /// Datagrams suspended.
        suspended,
        /// Datagrams that waited for others of their client on the same key.
        held,
        /// Times that a datagram with much work left the rest of it to the next tick.
        yielded,
        /// Datagrams that waited for a later tick because no buffer to suspend them was free.
        deferred,
    }
}

counters! {
    /// What the metrics endpoint counts. Written by its thread only.
    MetricsCounters {
        /// Requests to the metrics endpoint that were answered.
        metrics_answered,
        /// Connections to the metrics endpoint from addresses that may not read it.
        metrics_refused,
        /// Connections to the metrics endpoint that were closed because they took too long, or for newer ones.
        metrics_closed,
        /// Times that the metrics endpoint could not accept a connection.
        metrics_accept_failures,
    }
}

counters! {
    /// What the log of histograms counts. Written by its thread only.
    HistLogCounters {
        /// Intervals that could not be written to the log of --hist-log in their time; their events are in a later one.
        hist_log_failures,
    }
}
