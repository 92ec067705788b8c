//! Counters of the server: a single writer each; anybody reads.

use cache::counters;

pub use cache::base::counter::{Counter, Figure, Kind};
pub use cache::shard::OwnerCounters;

counters! {
    /// What a worker counts. Written by its own thread only.
    WorkerCounters {
        /// Ticks that did something.
        counter ticks,
        /// Datagrams received.
        counter datagrams_received,
        /// Bytes received.
        counter bytes_read,
        /// Datagrams sent.
        counter datagrams_sent,
        /// Bytes sent.
        counter bytes_written,
        /// Messages handed to the kernel, each with one or more datagrams.
        counter sends,
        /// Datagrams that the kernel did not take.
        counter send_failures,
        /// Messages of several datagrams that the kernel refused for the path to their peer; the datagrams were sent one by one.
        counter gso_fallbacks,
        /// Datagrams that the kernel dropped before we read them.
        counter receive_drops,
        /// Workers woken from their sleep because requests or answers had come for them.
        counter workers_woken,
        /// Times that no receive buffer was free.
        counter receive_buffers_empty,
        /// Datagrams to a broadcast or multicast address, which are not answered.
        counter refused_groups,
        /// Bytes of replies that peers of connections have not taken, long replies not counted.
        gauge streams_unsent_bytes,
        /// Times that connections came to have room for small replies only, because so many bytes were unsent.
        counter streams_unsent_limited,
        /// Datagrams too short for a frame and one byte.
        counter refused_short,
        /// Requests of several datagrams.
        counter refused_fragments,
        /// Requests in memcached's binary protocol.
        counter refused_binary,
        /// Batch frames whose preamble was wrong.
        counter refused_frames,
        /// Replies of other servers, and other text that begins with an upper-case letter or a digit.
        counter refused_replies,
        /// Datagrams from addresses that we do not answer.
        counter refused_peers,
        /// Challenges sent to addresses that have to prove themselves.
        counter challenges,
        /// Challenges that were not sent because their address had been sent too many in this second.
        counter challenges_muted,
        /// Sealed frames with a wrong tag.
        counter seals_wrong,
        /// Sealed frames that were too old, or from the future.
        counter seals_stale,
        /// Sealed frames that were seen before, or came too late to tell.
        counter seals_replayed,
        /// Sealed frames of a session that there was no room for.
        counter seals_crowded,
        /// Datagrams that were not answered because their source had made too many errors in this second.
        counter errors_muted,
        /// Commands that were not understood, or that their sender may not use.
        counter protocol_errors,
        /// Meta commands, without `mn`.
        counter cmd_meta,
        /// Stores of values longer than --value-max, or than memory.
        counter store_too_large,
        /// Stores for which no memory was found.
        counter store_no_memory,
        /// Keys asked for.
        counter cmd_get,
        /// Keys found.
        counter get_hits,
        /// Keys not found.
        counter get_misses,
        /// Reads that went to the owner: keys moved in every round, or a stale item has to name a winner.
        counter unsettled_misses,
        /// Hit records that the policy's ring had no room for.
        counter hit_records_dropped,
        /// Hit records sent to the policy.
        counter hit_records_sent,
        /// Commands sent to another owner; of a batch frame, runs of operations.
        counter forwarded,
        /// Commands executed for another worker; of a batch frame, runs of operations.
        counter executed_for_others,
        /// Commands and datagrams refused because the buffers to suspend them were not free in time.
        counter busy,
        /// Datagrams without a store that were dropped because the buffers to suspend them were not free in time.
        counter reads_dropped,
        /// Datagrams suspended.
        counter suspended,
        /// Datagrams that waited for others of their client on the same key.
        counter held,
        /// Times that a datagram with much work left the rest of it to the next tick.
        counter yielded,
        /// Datagrams and connections that waited for a later tick because no buffer to suspend them was free.
        counter deferred,
        /// Connections that are open.
        gauge curr_connections,
        /// Connections that were opened.
        counter total_connections,
        /// Connections that were closed at once because --max-connections were open.
        counter rejected_connections,
        /// Connections that were closed because they had been idle for longer than --idle-timeout.
        counter idle_kicks,
        /// Connections that were closed because a long value came too slowly while others waited for room.
        counter slow_values,
        /// Connections that broke: their peer reset them, or the kernel gave up a peer that answers no more.
        counter streams_broken,
        /// Connections that could not be accepted because no file descriptor was left.
        counter accept_failures,
        /// Sends to connections.
        counter stream_sends,
        /// Times that the peer of a connection had no room for all that it was sent; the connection waits until it has.
        counter streams_stuck,
        /// Connections that were closed because commands that were cut, input of peers that do not read, or long replies that others
        /// wait for the memory of, took too much.
        counter streams_over_memory,
        /// Long values that connections began to send: they go into their items as they come.
        counter long_values,
        /// Times that no receive buffer was free for a connection.
        counter stream_buffers_empty,
    }
}

counters! {
    /// What the metrics endpoint counts. Written by its thread only.
    MetricsCounters {
        /// Requests to the metrics endpoint that were answered.
        counter metrics_answered,
        /// Connections to the metrics endpoint from addresses that may not read it.
        counter metrics_refused,
        /// Connections to the metrics endpoint that were closed because they took too long, or for newer ones.
        counter metrics_closed,
        /// Times that the metrics endpoint could not accept a connection.
        counter metrics_accept_failures,
    }
}

counters! {
    /// What the thread of the UNIX socket counts. Written by that only.
    DoormanCounters {
        /// Connections to the UNIX socket that could not be accepted because no file descriptor was left.
        counter unix_accept_failures,
    }
}

counters! {
    /// What is counted of the file of --peers. Written by whoever looks at it, under its lock.
    PeersCounters {
        /// Looks at the file of --peers that found it unreadable or wrong: config get cluster goes on with the last good list.
        counter peers_file_failures,
    }
}

counters! {
    /// What the log of histograms counts. Written by its thread only.
    HistLogCounters {
        /// Intervals that could not be written to the log of --hist-log in their time; their events are in a later one.
        counter hist_log_failures,
    }
}
