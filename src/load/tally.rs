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
    /// The first error that a server answered.
    pub first_error: ErrorLine,
}

/// Bytes of an error that are kept.
pub const ERROR_BYTES_MAX: usize = 120;

/// An error as a server wrote it, as much of it as is kept; empty where there was none. It has its bytes within, because counts are
/// copied once an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorLine {
    bytes: [u8; ERROR_BYTES_MAX],
    length: u8,
}

impl Default for ErrorLine {
    fn default() -> ErrorLine {
        ErrorLine { bytes: [0; ERROR_BYTES_MAX], length: 0 }
    }
}

impl ErrorLine {
    /// Keeps this one if it is the first.
    pub fn keep_first(&mut self, line: &[u8]) {
        if self.length == 0 {
            let length = line.len().min(ERROR_BYTES_MAX);
            self.bytes[..length].copy_from_slice(&line[..length]);
            self.length = length as u8;
        }
    }

    /// Its text, with everything that is not printable escaped; `None` where there was no error.
    pub fn text(&self) -> Option<String> {
        let bytes = &self.bytes[..self.length as usize];
        (!bytes.is_empty()).then(|| bytes.escape_ascii().to_string())
    }
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
    /// Ticks of an open loop over streams in which a request was due and every connection's window was full.
    window_full,
    /// Connections that broke or could not be opened again: refused, closed or reset by the server, or closed by us because of
    /// bytes that are no reply.
    disconnects,
    /// Attempts to open a broken connection again.
    reconnects,
    /// Connections that were given up, because they could not be opened again or broke again and again.
    given_up,
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

    /// Keys answered with an error, all commands.
    pub fn errors(&self) -> u64 {
        self.commands.iter().map(|c| c.errors).sum()
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
        self.first_error.keep_first(&other.first_error.bytes[..other.first_error.length as usize]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_stays_and_is_bounded_and_printable() {
        let (mut tally, mut other) = (Tally::default(), Tally::default());
        assert_eq!(tally.first_error.text(), None);
        other.first_error.keep_first(b"SERVER_ERROR \x1b[2J");
        tally += other;
        tally.first_error.keep_first(b"later");
        assert_eq!(tally.first_error.text().unwrap(), "SERVER_ERROR \\x1b[2J");
        let mut long = ErrorLine::default();
        long.keep_first(&[b'x'; 1000]);
        assert_eq!(long.text().unwrap().len(), ERROR_BYTES_MAX);
    }
}
