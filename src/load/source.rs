//! Where a client's asks come from: drawn, replayed or filled.

use super::fill::Fill;
use super::replay::{Next, Replay};
use super::workload::{Ask, Synthetic};

/// A source of asks.
pub enum Source {
    /// Drawn from a seed.
    Synthetic(Synthetic),
    /// A trace's records.
    Replay(Replay),
    /// Every key once.
    Fill(Fill),
}

impl Source {
    /// The next ask; `elapsed_ns` since the start of the phase.
    #[inline]
    pub fn next(&mut self, elapsed_ns: u64) -> Next {
        match self {
            Source::Synthetic(source) => source.draw().map_or(Next::End, Next::Ask),
            Source::Replay(source) => source.next(elapsed_ns),
            Source::Fill(source) => source.draw().map_or(Next::End, Next::Ask),
        }
    }

    /// An ask ended: answered (`ok`: done as asked) or lost. Returns the ask that must follow it, if one must.
    #[inline]
    pub fn ended(&mut self, ask: &Ask, end: End) -> Option<Ask> {
        use super::workload::Verb::{Get, Set};
        match (self, end) {
            (Source::Replay(_), End::Miss) if ask.command == Get => Some(Ask { command: Set, ..*ask }),
            (Source::Replay(source), _) => {
                source.release(ask.key);
                None
            }
            (Source::Fill(source), End::Done) => {
                source.filled(ask.key);
                None
            }
            _ => None,
        }
    }
}

/// How an ask ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Hit, stored, deleted or touched.
    Done,
    /// Missed, not found or not stored.
    Miss,
    /// The server said that it could not.
    Error,
    /// No reply within the timeout.
    Lost,
}
