//! A run, decided: every figure valid, every default filled in. Made by the command line, and by tests.

use super::in_flight::IN_FLIGHT_MAX;
use super::keys::{Distribution, KeySpace, Popularity};
use super::replay::{Replay, Trace};
use super::schedule::{Arrivals, Schedule};
use super::sizes::Size;
use super::source::Source;
use super::target::Targets;
use super::transport::Kind;
use super::wait::Polling;
use super::workload::{Mix, Synthetic};
use super::{fill::Fill, phase::Pacing};
use cache::base::random::Random;
use protocol::batch::SealKey;
use std::sync::Arc;
use std::time::Duration;

/// Threads at most.
pub const THREADS_MAX: usize = 256;
/// Connections at most, all threads together.
pub const CONNECTIONS_MAX: usize = 16_384;

/// The protocol to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// memcached's classic text
    Text,
    /// memcached's meta commands
    Meta,
    /// Sherwood's batch frames
    Batch,
}

/// A run.
#[derive(Clone)]
pub struct Plan {
    /// The servers.
    pub targets: Targets,
    /// How requests travel.
    pub transport: Kind,
    /// What is spoken.
    pub protocol: Protocol,
    /// Requests a second in all, or `None`: as fast as the replies allow.
    pub rate_per_s: Option<f64>,
    /// How an open loop's requests are spaced.
    pub arrivals: Arrivals,
    /// Requests in flight a connection: of a closed loop, and of any over streams.
    pub window: usize,
    /// Connections of all threads together.
    pub connections: usize,
    /// Threads.
    pub threads: usize,
    /// Processors to pin them to; empty: wherever the system likes.
    pub cpus: Vec<usize>,
    /// Measured time.
    pub duration: Duration,
    /// Drawn requests of each thread at most: a run whose length does not depend on the machine.
    pub requests_max: u64,
    /// Time before it that is not counted.
    pub warmup: Duration,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// The keys.
    pub keys: KeySpace,
    /// Their popularity.
    pub distribution: Distribution,
    /// Shares of the commands.
    pub mix: Mix,
    /// Sizes of values.
    pub value_size: Size,
    /// Seconds to live, 0 = for ever.
    pub ttl_s: u32,
    /// Keys of a get.
    pub batch: usize,
    /// Workers of each server, for which datagrams are gathered apart.
    pub owners: usize,
    /// With what batch frames are sealed.
    pub seal: Option<SealKey>,
    /// Whether datagrams travel as trains; over streams, whether a connection fills its window in one go.
    pub coalesce: bool,
    /// Check every value.
    pub verify: bool,
    /// Replay this instead of drawing.
    pub trace: Option<Arc<Trace>>,
    /// Replay at the recorded times.
    pub recorded: bool,
    /// When a request counts as lost.
    pub timeout: Duration,
    /// How threads wait.
    pub polling: Polling,
    /// Length of an interval of the log and of the progress line.
    pub interval: Duration,
}

/// Which part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Every key set once.
    Fill,
    /// The measurement.
    Measure,
}

impl Plan {
    /// Connections of thread `thread`.
    pub fn connections_of(&self, thread: usize) -> usize {
        self.connections / self.threads + usize::from(thread < self.connections % self.threads)
    }

    /// What thread `thread` asks in a stage.
    pub fn source(&self, stage: Stage, thread: usize) -> Source {
        match (stage, &self.trace) {
            (Stage::Fill, _) => Source::Fill(Fill::new(
                self.keys.keys(),
                thread,
                self.threads,
                self.value_size.clone(),
                self.ttl_s,
            )),
            (Stage::Measure, Some(trace)) => {
                Source::Replay(Replay::new(trace.clone(), thread, self.threads, self.recorded))
            }
            (Stage::Measure, None) => Source::Synthetic(Synthetic {
                random: Random::part(self.seed, thread as u64),
                mix: self.mix.clone(),
                popularity: Popularity::new(
                    &self.distribution,
                    self.keys.keys(),
                    thread as u64,
                    self.threads as u64,
                ),
                value_size: self.value_size.clone(),
                ttl_s: self.ttl_s,
                left: self.requests_max,
            }),
        }
    }

    /// When thread `thread` sends in a stage that starts at `start_ns`.
    pub fn pacing(&self, stage: Stage, thread: usize, start_ns: u64) -> Pacing {
        match (stage, self.rate_per_s) {
            (Stage::Measure, _) if self.recorded => Pacing::Recorded,
            (Stage::Measure, Some(rate)) => {
                Pacing::Open(Schedule::new(self.arrivals, rate, start_ns, thread, self.threads, self.seed))
            }
            _ => Pacing::Closed { window: self.window },
        }
    }

    /// Requests in flight on a lane at most: the window, or for an open loop of datagrams what memory allows.
    pub fn in_flight_max(&self) -> usize {
        let open = (self.rate_per_s.is_some() || self.recorded) && !self.transport.is_stream();
        // A million keys take 100 MiB.
        if open {
            ((1 << 20) / (self.connections * self.batch)).clamp(256, IN_FLIGHT_MAX)
        } else {
            self.window
        }
    }
}
