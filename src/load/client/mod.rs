//! One thread of the load generator.
//!
//! ```text
//! tick: give up overdue ─▶ issue what is due ─▶ send ─▶ receive ─▶ settle
//! ```
//! A tick does bounded work and allocates nothing. Only when nothing is due and nothing came does the thread wait,
//! first spinning, then in the kernel, until the next due time at the latest.
//!
//! Here: what a client is, its loop, and what has waited too long. `issue` draws and encodes; how bytes travel is the
//! [`Transport`]'s, what an answer means is [`super::settle`]'s.

mod issue;

use super::in_flight::{InFlight, Pending};
use super::keys::KeySpace;
use super::latency::Latencies;
use super::phase::{Interval, Phase};
use super::requests::Requests;
use super::source::Source;
use super::target::Targets;
use super::transport::Transport;
use super::value::Values;
use super::versions::Versions;
use super::wait::Polling;
use super::workload::Ask;
use cache::base::clock::Clock;
use cache::base::sync::{AtomicBool, Ordering};
use protocol::steer::{owner, steer};
use std::collections::VecDeque;
use std::sync::Arc;

/// Looks for overdue requests in the time of one timeout: with many sockets each look costs, and a loss that is noticed
/// 2 % late is the same loss.
const TIMEOUT_STEPS: u64 = 64;

/// What a client is made of.
#[derive(Clone)]
pub struct Setup {
    /// The servers.
    pub targets: Targets,
    /// Connections of this thread.
    pub connections: usize,
    /// Requests in flight on one lane at most.
    pub in_flight_max: usize,
    /// Keys of a get.
    pub batch: usize,
    /// Workers of each server: datagrams and trains hold keys of one of them.
    pub owners: usize,
    /// Whether to send and receive trains; over streams, whether a connection fills its window in one go.
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
pub struct Client<T> {
    transport: T,
    requests: Requests,
    pending: Vec<Pending>,
    /// Gets that wait for a full request, by server and worker.
    gathered: Vec<Vec<Ask>>,
    asks: Vec<Ask>,
    follow: VecDeque<Ask>,
    connection: usize,
    /// Requests that the connection may still send before it is the next one's turn.
    turn_left: usize,
    /// When a connection had room again after none had, in nanoseconds.
    room_since_ns: u64,
    /// A request was due and no connection had room.
    was_full: bool,
    interval_start_ns: u64,
    /// When to look for overdue requests again.
    expire_ns: u64,
    idle_ns: u64,
    tick: u32,
}

/// Takes an interval, and gives back an empty set of histograms when it has one.
pub type Sink<'a> = dyn FnMut(Interval) -> Option<Box<Latencies>> + 'a;

impl<T: Transport> Client<T> {
    /// Over these sockets.
    pub fn new(setup: Setup, transport: T) -> Client<T> {
        let places = setup.targets.peers().len() * setup.owners;
        Client {
            transport,
            gathered: vec![Vec::with_capacity(setup.batch); places],
            requests: Requests::new(setup),
            pending: Vec::with_capacity(64),
            asks: Vec::with_capacity(64),
            follow: VecDeque::new(),
            connection: 0,
            turn_left: 0,
            room_since_ns: 0,
            was_full: false,
            interval_start_ns: 0,
            expire_ns: 0,
            idle_ns: 0,
            tick: 0,
        }
    }

    /// Runs a phase to its end, until every request of it is answered or lost. `sink` gets the intervals, and gives
    /// back an empty set of histograms when it has one. Counts go on from an earlier phase's.
    pub fn run(&mut self, phase: &mut Phase, sink: &mut Sink) {
        let mut now_ns = self.requests.now();
        let mut quiet_since_ns = now_ns;
        if self.interval_start_ns == 0 {
            self.interval_start_ns = phase.measure_from_ns;
        }
        loop {
            self.tick = self.tick.saturating_add(1);
            let tended = self.transport.tend(now_ns, &mut self.requests.tally.events);
            // Relaxed: a wish that publishes nothing.
            let is_to_stop = self.requests.setup.stop.load(Ordering::Relaxed) || !tended.is_alive;
            if is_to_stop && !phase.over {
                (phase.over, phase.end_ns) = (true, now_ns);
            }
            self.expire(phase, now_ns);
            phase.drop_arrears_of_warmup(now_ns);
            let issued = self.issue(phase, now_ns);
            self.transport.flush(&mut self.requests.tally.events);
            let can_follow = !self.follow.is_empty() && tended.is_alive;
            if issued.over && !can_follow && self.requests.waiting() == 0 {
                return;
            }
            let received = self.transport.receive(&mut self.requests);
            self.close(&mut phase.source);
            let busy = received > 0 || issued.requests > 0;
            let after_ns = self.requests.now();
            let interval_end_ns = phase.interval_end_ns(self.interval_start_ns);
            if busy {
                quiet_since_ns = after_ns;
            } else {
                let next_ns = issued.next_ns.min(tended.next_ns);
                let until_ns = self.wake_ns(next_ns, after_ns).min(interval_end_ns);
                self.transport.waiter().wait(after_ns, quiet_since_ns, until_ns);
                self.idle_ns += self.requests.now() - now_ns;
            }
            now_ns = self.requests.now();
            if now_ns >= interval_end_ns {
                self.emit(now_ns, false, sink);
            }
        }
    }

    /// Hands over the last interval, which ends at `end_ns` or now, whichever is earlier: the last replies come after
    /// the last request, and a rate counts the time of sending.
    pub fn finish(&mut self, end_ns: u64, sink: &mut Sink) {
        self.emit(self.requests.now().min(end_ns).max(self.interval_start_ns), true, sink);
    }

    /// Time in which there was nothing to do, in nanoseconds.
    pub fn idle_ns(&self) -> u64 {
        self.idle_ns
    }

    /// Trains that had to be sent datagram by datagram.
    pub fn trains_split(&self) -> u64 {
        self.transport.trains_split()
    }

    fn emit(&mut self, end_ns: u64, last: bool, sink: &mut Sink) {
        let latencies = std::mem::take(&mut self.requests.latencies);
        let tally = self.requests.tally;
        let interval = Interval { start_ns: self.interval_start_ns, end_ns, latencies, tally, last };
        if let Some(empty) = sink(interval) {
            self.requests.latencies = empty;
        }
        self.interval_start_ns = end_ns;
    }

    /// Gives up what waits too long.
    fn expire(&mut self, phase: &mut Phase, now_ns: u64) {
        if now_ns < self.expire_ns {
            return;
        }
        let Client { transport, requests, .. } = self;
        self.expire_ns = now_ns + requests.setup.timeout_ns / TIMEOUT_STEPS;
        let before_ns = now_ns.saturating_sub(requests.setup.timeout_ns);
        for lane in 0..requests.lanes.len() {
            while let Some(at) = requests.lanes[lane].overdue(before_ns) {
                requests.lose(lane, at, now_ns, &mut |slot| transport.give_up(slot));
            }
        }
        self.close(&mut phase.source);
    }

    /// Tells the source what ended and queues what must follow.
    fn close(&mut self, source: &mut Source) {
        for (ask, end) in self.requests.ends.drain(..) {
            if let Some(next) = source.ended(&ask, end) {
                self.requests.tally.events.followed += 1;
                self.follow.push_back(next);
            }
        }
    }

    /// When the thread must look again though nothing comes, in nanoseconds.
    fn wake_ns(&self, next_due_ns: u64, now_ns: u64) -> u64 {
        let oldest = self.requests.lanes.iter().filter_map(InFlight::oldest_sent_ns).min();
        let timeout_ns = oldest.map_or(u64::MAX, |sent| sent + self.requests.setup.timeout_ns + 1);
        next_due_ns.min(timeout_ns.max(self.expire_ns)).max(now_ns)
    }
}
