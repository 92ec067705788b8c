//! One thread of the load generator.
//!
//! ```text
//! tick: give up overdue ─▶ issue what is due ─▶ send trains ─▶ receive ─▶ settle
//! ```
//! A tick does bounded work and allocates nothing. Only when nothing is due and nothing came does the thread wait,
//! first spinning, then in the kernel, until the next due time at the latest.
//!
//! Sending is here and in [`super::lane`]; what a reply means is in [`super::settle`].

use super::codec::Codec;
use super::frame::Frame;
use super::in_flight::{InFlight, Lookup, Pending};
use super::keys::KeySpace;
use super::lane::Lane;
use super::latency::Latencies;
use super::phase::{Interval, Pacing, Phase};
use super::reassembly::{Piece, Reassembly};
use super::replay::Next;
use super::settle::Settle;
use super::socket::{Received, Socket};
use super::source::{End, Source};
use super::tally::Tally;
use super::target::Targets;
use super::train::Trains;
use super::value::{CHECKED_BYTES_MIN, Values};
use super::versions::Versions;
use super::wait::Waiter;
use super::workload::{Ask, Command};
use crate::clock::Clock;
use crate::config::limits::{DATAGRAM_BYTES_MAX, FRAME_HEADER_BYTES, KEY_BYTES_MAX};
use crate::sync::Arc;
use std::collections::VecDeque;
use std::io;

/// Datagrams issued in one tick at most.
pub const TICK_ISSUES_MAX: usize = 256;
/// Receives from one socket in one tick at most; each may bring 64 datagrams.
pub const TICK_RECEIVES_MAX: usize = 8;
/// Datagrams encoded between two looks at the clock.
const ISSUES_PER_CLOCK: usize = 16;
/// Room that a set's command line takes at most, key apart: name, flags, TTL, length, spaces and two line ends.
const SET_LINE_BYTES_MAX: usize = 64;

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
    /// Whether to send and receive trains.
    pub coalesce: bool,
    /// When a request counts as lost, in nanoseconds after it was sent.
    pub timeout_ns: u64,
    /// How the thread waits.
    pub polling: super::wait::Polling,
    /// The keys' bytes.
    pub keys: KeySpace,
    /// Writes and checks values.
    pub values: Values,
    /// With `--verify`: the versions, shared by all threads.
    pub versions: Option<Arc<Versions>>,
    /// The clock, with an epoch common to all threads.
    pub clock: Clock,
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
    gathered: Vec<Vec<Ask>>,
    asks: Vec<Ask>,
    follow: VecDeque<Ask>,
    ends: Vec<(Ask, End)>,
    connection: usize,
    tally: Tally,
    latencies: Box<Latencies>,
    interval_start_ns: u64,
    idle_ns: u64,
    tick: u32,
}

/// Takes an interval, and gives back an empty set of histograms when it has one.
pub type Sink<'a> = dyn FnMut(Interval) -> Option<Box<Latencies>> + 'a;

/// What came of trying to issue a datagram.
enum Issued {
    Keys(usize),
    NotBefore(u64),
    Stalled,
    End,
}

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
        let gathered = vec![Vec::with_capacity(setup.batch); setup.targets.addresses().len()];
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
            tally: Tally::default(),
            latencies: Box::default(),
            interval_start_ns: 0,
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
            self.expire(phase, now_ns);
            let issued = self.issue(phase, now_ns);
            let Client { trains, lanes, tally, .. } = self;
            trains.flush(&mut |lane, train, bytes| lanes[lane].transmit(train, bytes, &mut tally.events));
            let in_flight = self.lanes.iter().any(|l| l.in_flight.waiting() > 0);
            if issued.over && !in_flight && self.follow.is_empty() {
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
        next_due_ns.min(timeout_ns).max(now_ns)
    }
}

/// What a tick issued.
struct Round {
    datagrams: usize,
    /// When the next is due; `u64::MAX`: after a reply.
    next_ns: u64,
    /// The source has ended or the time is up.
    over: bool,
}

impl<C: Codec> Client<C> {
    fn issue(&mut self, phase: &mut Phase, now_ns: u64) -> Round {
        let mut round = Round { datagrams: 0, next_ns: u64::MAX, over: phase.over || now_ns >= phase.end_ns };
        let mut now_ns = now_ns;
        while round.datagrams < TICK_ISSUES_MAX {
            let Some(connection) = self.next_connection(phase) else {
                let due = !matches!(phase.pacing, Pacing::Closed { .. }) && phase.due_ns(now_ns) <= now_ns;
                self.tally.events.ids_exhausted += u64::from(due && !round.over);
                return round;
            };
            if round.datagrams % ISSUES_PER_CLOCK == ISSUES_PER_CLOCK - 1 {
                now_ns = self.now();
            }
            if let Some(ask) = self.follow.pop_front() {
                self.asks.clear();
                self.asks.push(ask);
                self.send(connection, now_ns, now_ns, phase);
                round.datagrams += 1;
                continue;
            }
            if round.over {
                return round;
            }
            let due_ns = phase.due_ns(now_ns);
            if due_ns > now_ns {
                round.next_ns = due_ns;
                return round;
            }
            match self.draw(phase, now_ns) {
                Issued::Keys(count) => {
                    let intended_ns = phase.intended_ns(due_ns, count);
                    self.send(connection, intended_ns, now_ns, phase);
                    round.datagrams += 1;
                }
                Issued::NotBefore(next_ns) => {
                    round.next_ns = next_ns;
                    return round;
                }
                Issued::Stalled => return round,
                Issued::End => {
                    phase.over = true;
                    round.over = true;
                    // A replay may still have misses to follow up: come back when they are answered.
                    return round;
                }
            }
        }
        round.next_ns = 0;
        round
    }

    /// The next connection in turn that may send.
    fn next_connection(&mut self, phase: &Phase) -> Option<usize> {
        let servers = self.gathered.len();
        for _ in 0..self.setup.connections {
            let connection = self.connection;
            self.connection = (connection + 1) % self.setup.connections;
            let lanes = &self.lanes[connection * servers..][..servers];
            let room = match phase.pacing {
                Pacing::Closed { window } => {
                    lanes.iter().map(|l| l.in_flight.waiting()).sum::<usize>() < window
                }
                _ => true,
            };
            if room && lanes.iter().all(|l| !l.in_flight.is_full()) {
                return Some(connection);
            }
        }
        None
    }

    /// Draws the keys of the next datagram into `asks`: one, or a whole batch of gets for one server.
    fn draw(&mut self, phase: &mut Phase, now_ns: u64) -> Issued {
        let mut key = [0; KEY_BYTES_MAX];
        loop {
            let ask = match phase.source.next(now_ns.saturating_sub(phase.start_ns)) {
                Next::Ask(ask) => ask,
                Next::NotBefore(at_ns) => return Issued::NotBefore(phase.start_ns + at_ns),
                Next::Stalled => return Issued::Stalled,
                Next::End => return Issued::End,
            };
            self.asks.clear();
            if ask.command != Command::Get || self.setup.batch == 1 {
                self.asks.push(ask);
                return Issued::Keys(1);
            }
            let server = self.setup.targets.of(self.setup.keys.write(ask.key, &mut key));
            self.gathered[server].push(ask);
            if self.gathered[server].len() == self.setup.batch {
                self.asks.append(&mut self.gathered[server]);
                return Issued::Keys(self.setup.batch);
            }
        }
    }

    /// Encodes `asks` and puts the datagram on its train.
    fn send(&mut self, connection: usize, intended_ns: u64, now_ns: u64, phase: &Phase) {
        let mut key = [0; KEY_BYTES_MAX];
        let Client { setup, codec, lanes, datagram, pending, asks, tally, .. } = self;
        let measured = intended_ns >= phase.measure_from_ns;
        pending.clear();
        for ask in asks.iter() {
            let version = match (&setup.versions, ask.command) {
                (None, _) | (_, Command::Touch) => 0,
                (Some(versions), Command::Get) => versions.floor(ask.key),
                (Some(versions), _) => versions.begin_write(ask.key),
            };
            pending.push(Pending { ask: *ask, version });
        }
        let first = pending[0];
        let text = setup.keys.write(first.ask.key, &mut key);
        let servers = self.gathered.len();
        let lane = connection * servers + setup.targets.of(text);
        let id = lanes[lane].in_flight.begin(pending, intended_ns, now_ns, self.tick, measured);
        datagram.clear();
        datagram.extend_from_slice(&Frame::request(id));
        match first.ask.command {
            Command::Set => {
                let bytes = value_bytes(first.ask.value_bytes, text.len(), setup.versions.is_some(), tally);
                codec.begin_set(text, first.ask.ttl_s, bytes, datagram);
                setup.values.write(text, first.version, bytes, datagram);
                codec.end_set(datagram);
            }
            Command::Delete => codec.delete(text, datagram),
            Command::Touch => codec.touch(text, first.ask.ttl_s, datagram),
            Command::Get => {
                codec.begin_get(pending.len(), datagram);
                for (index, one) in pending.iter().enumerate() {
                    let text = setup.keys.write(one.ask.key, &mut key);
                    codec.get_key(index, pending.len(), text, datagram);
                }
                codec.end_get(datagram);
            }
        }
        if measured {
            tally.commands[first.ask.command as usize].sent += pending.len() as u64;
            self.latencies.send_lag.record(now_ns.saturating_sub(intended_ns));
        }
        let coalesced = lanes[lane].socket.coalesces(datagram.len());
        self.trains.push(lane, datagram, coalesced, &mut |lane, train, bytes| {
            lanes[lane].transmit(train, bytes, &mut tally.events)
        });
    }

    /// Gives up what waits too long.
    fn expire(&mut self, phase: &mut Phase, now_ns: u64) {
        let before_ns = now_ns.saturating_sub(self.setup.timeout_ns);
        for lane in 0..self.lanes.len() {
            while let Some(at) = self.lanes[lane].in_flight.overdue(before_ns) {
                let mut settle = Settle {
                    setup: &self.setup,
                    tally: &mut self.tally,
                    latencies: &mut self.latencies,
                    ends: &mut self.ends,
                };
                let in_flight = &mut self.lanes[lane].in_flight;
                let (slot, keys) = in_flight.slot(at);
                settle.lost(slot, keys, now_ns);
                if let Some(partial) = slot.partial.take() {
                    self.reassembly.release(partial);
                }
                in_flight.give_up(at);
            }
        }
        self.close(&mut phase.source);
    }

    /// Tells the source what ended and queues what must follow.
    fn close(&mut self, source: &mut Source) {
        for (ask, end) in self.ends.drain(..) {
            if let Some(next) = source.ended(&ask, end) {
                self.tally.events.followed += 1;
                self.follow.push_back(next);
            }
        }
    }

    /// Receives what has come; the number of datagrams.
    fn receive(&mut self, phase: &mut Phase) -> usize {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut count = 0;
        for ready in 0..self.waiter.ready() {
            let lane = self.waiter.lane(ready);
            for _ in 0..TICK_RECEIVES_MAX {
                match self.lanes[lane].socket.receive(&mut buffer) {
                    Received::Nothing => break,
                    Received::Refused => self.tally.events.unreachable += 1,
                    Received::Train { bytes, segment_bytes } => {
                        let now_ns = self.now();
                        self.tally.events.receives += 1;
                        for datagram in buffer[..bytes].chunks(segment_bytes) {
                            count += 1;
                            self.take(lane, datagram, now_ns);
                        }
                    }
                }
            }
        }
        self.buffer = buffer;
        self.tally.events.datagrams_received += count as u64;
        self.close(&mut phase.source);
        count
    }

    /// Takes one datagram.
    #[inline]
    fn take(&mut self, lane: usize, datagram: &[u8], now_ns: u64) {
        let events = &mut self.tally.events;
        let Some((frame, body)) = Frame::decode(datagram) else {
            events.garbage += 1;
            return;
        };
        let at = match self.lanes[lane].in_flight.lookup(frame.request_id) {
            Lookup::Waiting(at) => at,
            Lookup::Answered => return events.duplicate += 1,
            Lookup::Lost => return events.late += 1,
            Lookup::Unknown => return events.unknown += 1,
        };
        let tick = self.lanes[lane].in_flight.slot(at).0.tick;
        if self.lanes[lane].note_order(tick) {
            events.reordered += 1;
        }
        if frame.total == 1 {
            return self.settle(lane, at, None, body, now_ns);
        }
        let slot = self.lanes[lane].in_flight.slot(at).0;
        if slot.partial.is_none() {
            slot.partial = self.reassembly.begin(frame.total);
        }
        let Some(partial) = slot.partial else {
            events.reassembly_full += 1;
            return;
        };
        match self.reassembly.add(partial, frame, body) {
            Piece::More => {}
            Piece::Duplicate => events.duplicate += 1,
            Piece::Odd => events.garbage += 1,
            Piece::Whole => {
                slot.partial = None;
                self.settle(lane, at, Some(partial), &[], now_ns);
            }
        }
    }

    /// Settles the answers of one whole message: `body`, or the reassembled one.
    #[inline]
    fn settle(&mut self, lane: usize, at: usize, partial: Option<u32>, body: &[u8], now_ns: u64) {
        let in_flight = &mut self.lanes[lane].in_flight;
        let (slot, keys) = in_flight.slot(at);
        let mut settle = Settle {
            setup: &self.setup,
            tally: &mut self.tally,
            latencies: &mut self.latencies,
            ends: &mut self.ends,
        };
        let whole = match partial {
            None => settle.message(&self.codec, slot, keys, body, now_ns),
            Some(partial) => {
                settle.message(&self.codec, slot, keys, self.reassembly.message(partial), now_ns)
            }
        };
        if whole {
            if let Some(partial) = slot.partial.take() {
                self.reassembly.release(partial);
            }
            in_flight.answer(at);
        }
        if let Some(partial) = partial {
            self.reassembly.release(partial);
        }
    }
}

/// The size a value gets: what was asked, within what a request datagram holds and a check needs.
fn value_bytes(asked: u32, key_bytes: usize, verify: bool, tally: &mut Tally) -> usize {
    let most = DATAGRAM_BYTES_MAX - FRAME_HEADER_BYTES - SET_LINE_BYTES_MAX - key_bytes;
    let asked = asked as usize;
    if asked > most {
        tally.events.clamped += 1;
        most
    } else if verify && asked < CHECKED_BYTES_MIN {
        tally.events.raised += 1;
        CHECKED_BYTES_MIN
    } else {
        asked
    }
}
