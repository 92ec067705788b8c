//! The latencies of one interval, by command; and how late requests left.

use super::workload::Verb;
use crate::stats::histogram::Histogram;

/// Latencies of one interval or of a whole run.
#[derive(Clone, Default)]
pub struct Latencies {
    /// From the intended send time to the reply, by command in the order of [`Verb::ALL`].
    pub commands: [Histogram; 4],
    /// From the intended send time to the moment of giving up, all commands: its count is the loss.
    pub lost: Histogram,
    /// From the intended to the actual send time, a datagram each: what the client itself added.
    pub send_lag: Histogram,
}

impl Latencies {
    /// The latencies of a command.
    pub fn of(&self, command: Verb) -> &Histogram {
        &self.commands[command as usize]
    }

    /// All commands together.
    pub fn all(&self) -> Histogram {
        let mut all = Histogram::default();
        for histogram in self.commands.iter().filter(|h| h.count() > 0) {
            all.merge(histogram);
        }
        all
    }

    /// Adds another's events.
    pub fn merge(&mut self, other: &Latencies) {
        for (mine, theirs) in self.commands.iter_mut().zip(&other.commands) {
            if theirs.count() > 0 {
                mine.merge(theirs);
            }
        }
        self.lost.merge(&other.lost);
        self.send_lag.merge(&other.send_lag);
    }

    /// Forgets all events.
    pub fn clear(&mut self) {
        self.commands.iter_mut().for_each(Histogram::clear);
        self.lost.clear();
        self.send_lag.clear();
    }
}
