//! Every count of a run. For each command `sent = hits + misses + lost + errors` once all requests have ended.

use super::workload::Verb;
use std::ops::AddAssign;

/// Counts of one command, in keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerbTally {
    /// Asked.
    pub sent: u64,
    /// Hit, stored, deleted, touched.
    pub hits: u64,
    /// Not there, not stored.
    pub misses: u64,
    /// No reply within the timeout.
    pub lost: u64,
    /// Answered with an error.
    pub errors: u64,
}

/// Counts of one thread or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By command, in the order of [`Verb::ALL`].
    pub commands: [VerbTally; 4],
    /// What happened apart from that.
    pub events: Events,
}

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts that belong to no command.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct Events {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl AddAssign for Events {
            fn add_assign(&mut self, other: Events) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

events! {
    /// Replies that came after their request was given up.
    late,
    /// Datagrams that came again.
    duplicate,
    /// Replies that came after the reply to a younger request of the same socket.
    reordered,
    /// Replies to requests that are not known (any more).
    unknown,
    /// Replies that name a key that was not asked for: most likely very late ones.
    mismatched,
    /// Datagrams or parts of replies that are no memcached reply.
    garbage,
    /// "Port unreachable" answers: nobody listens.
    unreachable,
    /// Sends that waited for room in the socket's queue.
    send_blocked,
    /// Datagrams that the kernel refused to send, or that found no room in time; they count as lost.
    send_failed,
    /// Ticks of an open loop in which a request was due and every connection had all its request ids in flight.
    ids_exhausted,
    /// Reply pieces dropped because all reassembly buffers were taken.
    reassembly_full,
    /// Values cut to what fits a request datagram.
    clamped,
    /// Values made longer so that they can be checked.
    raised,
    /// Sets that followed a miss (trace).
    followed,
    /// Values checked.
    checked,
    /// Values that were another key's, damaged, torn or not ours.
    wrong,
    /// Values older than one whose set was acknowledged before the get was sent.
    stale,
    /// Datagrams sent.
    datagrams_sent,
    /// Datagrams received.
    datagrams_received,
    /// Sends (a train is one).
    sends,
    /// Receives that brought something.
    receives,
}

impl Tally {
    /// The counts of a command.
    pub fn of(&self, command: Verb) -> &VerbTally {
        &self.commands[command as usize]
    }

    /// Keys asked for, all commands.
    pub fn sent(&self) -> u64 {
        self.commands.iter().map(|c| c.sent).sum()
    }

    /// Keys answered in any way, all commands.
    pub fn answered(&self) -> u64 {
        self.commands.iter().map(|c| c.hits + c.misses + c.errors).sum()
    }

    /// Keys lost, all commands.
    pub fn lost(&self) -> u64 {
        self.commands.iter().map(|c| c.lost).sum()
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        for (mine, theirs) in self.commands.iter_mut().zip(other.commands) {
            mine.sent += theirs.sent;
            mine.hits += theirs.hits;
            mine.misses += theirs.misses;
            mine.lost += theirs.lost;
            mine.errors += theirs.errors;
        }
        self.events += other.events;
    }
}
