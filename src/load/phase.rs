//! A phase of a run, as one thread sees it: what is asked, when, how long; and what it hands over at intervals.

use super::latency::Latencies;
use super::schedule::Schedule;
use super::source::Source;
use super::tally::Tally;

/// What decides when a request leaves.
pub enum Pacing {
    /// The replies: at most `window` datagrams in flight a connection.
    Closed {
        /// Datagrams.
        window: usize,
    },
    /// A schedule.
    Open(Schedule),
    /// The times in the trace.
    Recorded,
}

/// One thread's part of a phase. Times are nanoseconds of the run's clock.
pub struct Phase {
    /// What is asked.
    pub source: Source,
    /// When.
    pub pacing: Pacing,
    /// The beginning.
    pub start_ns: u64,
    /// What is meant to be sent before this is warm-up and not counted.
    pub measure_from_ns: u64,
    /// Nothing is issued after this; `u64::MAX`: until the source ends.
    pub end_ns: u64,
    /// Length of an interval.
    pub interval_ns: u64,
    /// The source has ended.
    pub over: bool,
}

impl Phase {
    /// When the next request is due; `now_ns` if that is up to the replies or to the source.
    #[inline]
    pub fn due_ns(&self, now_ns: u64) -> u64 {
        match &self.pacing {
            Pacing::Open(schedule) => schedule.next_ns(),
            _ => now_ns,
        }
    }

    /// From the end of the warm-up on: what an open loop was behind with by then is never sent. Otherwise an overloaded one spends the measured
    /// time on requests that do not count.
    #[inline]
    pub fn drop_arrears_of_warmup(&mut self, now_ns: u64) {
        if let Pacing::Open(schedule) = &mut self.pacing
            && now_ns >= self.measure_from_ns
        {
            schedule.skip_to(self.measure_from_ns);
        }
    }

    /// Requests that were due within the measured time of an open loop and never left, because the client was too far behind.
    pub fn unsent(&self) -> u64 {
        match &self.pacing {
            // An ended source, or an early end, leaves nothing due.
            Pacing::Open(schedule) if !self.over => schedule.overdue(self.end_ns),
            _ => 0,
        }
    }

    /// When the interval that began at `start_ns` ends. The last one takes what is left after it, and waits for the
    /// last replies.
    pub fn interval_end_ns(&self, start_ns: u64) -> u64 {
        let end_ns = start_ns + self.interval_ns;
        if end_ns.saturating_add(self.interval_ns / 2) > self.end_ns { u64::MAX } else { end_ns }
    }

    /// `count` keys leave now that were due at `due_ns`: their intended send time.
    #[inline]
    pub fn intended_ns(&mut self, due_ns: u64, count: usize) -> u64 {
        match (&mut self.pacing, &self.source) {
            (Pacing::Open(schedule), _) => schedule.sent(count),
            (Pacing::Recorded, Source::Replay(replay)) => return self.start_ns + replay.due_ns(),
            _ => {}
        }
        due_ns
    }
}

/// What a thread hands over once an interval.
pub struct Interval {
    /// Its beginning.
    pub start_ns: u64,
    /// Its end.
    pub end_ns: u64,
    /// Latencies of this interval.
    pub latencies: Box<Latencies>,
    /// Counts since the client's beginning.
    pub tally: Tally,
    /// The thread's phase is over.
    pub last: bool,
}
