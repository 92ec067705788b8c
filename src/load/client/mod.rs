//! One thread of the load generator.
//!
//! ```text
//! tick: give up overdue ─▶ issue what is due ─▶ send trains ─▶ receive ─▶ settle
//! ```
//! A tick does bounded work and allocates nothing. Only when nothing is due and nothing came does the thread wait,
//! first spinning, then in the kernel, until the next due time at the latest.
//!
//! Here: what a client is and its loop. `issue` draws, encodes and sends; `receive` takes datagrams and gives up what is
//! overdue; `settle` knows what an answer means.

mod issue;
mod receive;
mod settle;

use super::codec::Codec;
use super::in_flight::{InFlight, Pending};
use super::keys::KeySpace;
use super::lane::Lane;
use super::latency::Latencies;
use super::phase::{Interval, Phase};
use super::reassembly::Reassembly;
use super::socket::Socket;
use super::source::End;
use super::tally::Tally;
use super::target::Targets;
use super::train::Trains;
use super::value::Values;
use super::versions::Versions;
use super::wait::{Polling, Waiter};
use super::workload::Ask;
use crate::limits::DATAGRAM_BYTES_MAX;
use cache::base::clock::Clock;
use cache::base::sync::{AtomicBool, Ordering};
use protocol::steer::{owner, steer};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// What a client is made of.
#[derive(Clone)]
pub struct Setup {
    /// The servers.
    pub targets: Targets,
    /// Connections of this thread.
    pub connections: usize,
    /// Datagrams in flight on one lane at most.
    pub in_flight_max: usize,
    /// Keys of a get datagram.
    pub batch: usize,
    /// Workers of each server: datagrams and trains hold keys of one of them.
    pub owners: usize,
    /// Whether to send and receive trains.
    pub coalesce: bool,
    /// When a request counts as lost, in nanoseconds after it was sent.
    pub timeout_ns: u64,
    /// How the thread waits.
    pub polling: Polling,
    /// The keys' bytes.
    pub keys: KeySpace,
    /// Writes and checks values.
    pub values: Values,
    /// With `--verify`: the versions, shared by all threads.
    pub versions: Option<Arc<Versions>>,
    /// Set when the run is to end early.
    pub stop: Arc<AtomicBool>,
    /// The clock, with an epoch common to all threads.
    pub clock: Clock,
}

impl Setup {
    /// The worker that owns a key.
    #[inline]
    fn owner_of(&self, key: &[u8]) -> usize {
        if self.owners == 1 { 0 } else { owner(steer(key), self.owners) }
    }
}

/// One thread's sockets, requests and counts.
pub struct Client<C> {
    setup: Setup,
    codec: C,
    lanes: Vec<Lane>,
    waiter: Waiter,
    trains: Trains,
    reassembly: Reassembly,
    buffer: Vec<u8>,
    datagram: Vec<u8>,
    pending: Vec<Pending>,
    /// Gets that wait for a full datagram, by server and worker.
    gathered: Vec<Vec<Ask>>,
    asks: Vec<Ask>,
    follow: VecDeque<Ask>,
    ends: Vec<(Ask, End)>,
    connection: usize,
    /// Datagrams that the connection may still send before it is the next one's turn.
    turn_left: usize,
    tally: Tally,
    latencies: Box<Latencies>,
    interval_start_ns: u64,
    /// When to look for overdue requests again.
    expire_ns: u64,
    idle_ns: u64,
    tick: u32,
}

/// Takes an interval, and gives back an empty set of histograms when it has one.
pub type Sink<'a> = dyn FnMut(Interval) -> Option<Box<Latencies>> + 'a;

impl<C: Codec> Client<C> {
    /// Opens the sockets.
    ///
    /// # Errors
    /// The system's, with the target's address.
    pub fn new(setup: Setup, codec: C) -> io::Result<Client<C>> {
        let mut lanes = Vec::new();
        for _ in 0..setup.connections {
            for &address in setup.targets.addresses() {
                let socket = Socket::connect(address, setup.coalesce)
                    .map_err(|e| io::Error::new(e.kind(), format!("{address}: {e}")))?;
                let in_flight = InFlight::new(setup.in_flight_max, setup.batch);
                lanes.push(Lane { socket, in_flight, answered_tick: 0 });
            }
        }
        let waiter = Waiter::new(lanes.iter().map(|l| l.socket.fd()), setup.polling)?;
        let gathered = vec![Vec::with_capacity(setup.batch); setup.targets.addresses().len() * setup.owners];
        Ok(Client {
            setup,
            codec,
            lanes,
            waiter,
            trains: Trains::default(),
            reassembly: Reassembly::default(),
            buffer: vec![0; 1 << 16],
            datagram: Vec::with_capacity(DATAGRAM_BYTES_MAX),
            pending: Vec::with_capacity(64),
            gathered,
            asks: Vec::with_capacity(64),
            follow: VecDeque::new(),
            ends: Vec::new(),
            connection: 0,
            turn_left: 0,
            tally: Tally::default(),
            latencies: Box::default(),
            interval_start_ns: 0,
            expire_ns: 0,
            idle_ns: 0,
            tick: 0,
        })
    }

    /// Runs a phase to its end, until every request of it is answered or lost. `sink` gets the intervals, and gives
    /// back an empty set of histograms when it has one. Counts go on from an earlier phase's.
    pub fn run(&mut self, phase: &mut Phase, sink: &mut Sink) {
        let mut now_ns = self.now();
        let mut quiet_since_ns = now_ns;
        if self.interval_start_ns == 0 {
            self.interval_start_ns = phase.measure_from_ns;
        }
        loop {
            self.tick = self.tick.saturating_add(1);
            // Relaxed: a wish that publishes nothing.
            if self.setup.stop.load(Ordering::Relaxed) && !phase.over {
                (phase.over, phase.end_ns) = (true, now_ns);
            }
            self.expire(phase, now_ns);
            let issued = self.issue(phase, now_ns);
            let Client { setup, trains, lanes, tally, .. } = self;
            trains.flush(&mut |track, train, bytes| {
                lanes[track / setup.owners].transmit(train, bytes, &mut tally.events)
            });
            if issued.over && self.follow.is_empty() && self.lanes.iter().all(|l| l.in_flight.waiting() == 0)
            {
                return;
            }
            let busy = self.receive(phase) > 0 || issued.datagrams > 0;
            let after_ns = self.now();
            let interval_end_ns = phase.interval_end_ns(self.interval_start_ns);
            if busy {
                quiet_since_ns = after_ns;
            } else {
                let until_ns = self.wake_ns(issued.next_ns, after_ns).min(interval_end_ns);
                self.waiter.wait(after_ns, quiet_since_ns, until_ns);
                self.idle_ns += self.now() - now_ns;
            }
            now_ns = self.now();
            if now_ns >= interval_end_ns {
                self.emit(now_ns, false, sink);
            }
        }
    }

    /// Hands over the last interval, which ends at `end_ns` or now, whichever is earlier: the last replies come after
    /// the last request, and a rate counts the time of sending.
    pub fn finish(&mut self, end_ns: u64, sink: &mut Sink) {
        self.emit(self.now().min(end_ns).max(self.interval_start_ns), true, sink);
    }

    /// Time in which there was nothing to do, in nanoseconds.
    pub fn idle_ns(&self) -> u64 {
        self.idle_ns
    }

    /// Trains that had to be sent datagram by datagram.
    pub fn trains_split(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.socket.trains_split).sum()
    }

    fn emit(&mut self, end_ns: u64, last: bool, sink: &mut Sink) {
        let latencies = std::mem::take(&mut self.latencies);
        let interval =
            Interval { start_ns: self.interval_start_ns, end_ns, latencies, tally: self.tally, last };
        if let Some(empty) = sink(interval) {
            self.latencies = empty;
        }
        self.interval_start_ns = end_ns;
    }

    fn now(&self) -> u64 {
        self.setup.clock.now().ns
    }

    /// When the thread must look again though nothing comes, in nanoseconds.
    fn wake_ns(&self, next_due_ns: u64, now_ns: u64) -> u64 {
        let oldest = self.lanes.iter().filter_map(|l| l.in_flight.oldest_sent_ns()).min();
        let timeout_ns = oldest.map_or(u64::MAX, |sent| sent + self.setup.timeout_ns + 1);
        next_due_ns.min(timeout_ns.max(self.expire_ns)).max(now_ns)
    }
}
