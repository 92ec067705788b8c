//! The sending half of a tick: which connection, which keys, which bytes.

use super::Client;
use crate::limits::KEY_BYTES_MAX;
use crate::load::codec::Codec as _;
use crate::load::in_flight::{InFlight, Pending};
use crate::load::phase::{Pacing, Phase};
use crate::load::replay::Next;
use crate::load::requests::Requests;
use crate::load::tally::Events;
use crate::load::transport::{Request, Transport};
use crate::load::value::CHECKED_BYTES_MIN;
use crate::load::workload::Verb;

/// Requests issued in one tick at most.
pub const TICK_ISSUES_MAX: usize = 256;
/// Requests encoded between two looks at the clock.
const ISSUES_PER_CLOCK: usize = 16;

/// What a tick issued.
pub(super) struct Round {
    pub requests: usize,
    /// When the next is due; `u64::MAX`: after a reply.
    pub next_ns: u64,
    /// The source has ended or the time is up.
    pub over: bool,
}

impl<T: Transport> Client<T> {
    /// Issues what is due, a bounded number of requests.
    pub(super) fn issue(&mut self, phase: &mut Phase, now_ns: u64) -> Round {
        let mut round = Round { requests: 0, next_ns: u64::MAX, over: phase.over || now_ns >= phase.end_ns };
        let mut now_ns = now_ns;
        self.turn_left = 0;
        while round.requests < TICK_ISSUES_MAX {
            let Some(connection) = self.next_connection(phase) else {
                let due = !matches!(phase.pacing, Pacing::Closed { .. }) && phase.due_ns(now_ns) <= now_ns;
                self.note_full(due && !round.over);
                return round;
            };
            if round.requests % ISSUES_PER_CLOCK == ISSUES_PER_CLOCK - 1 {
                now_ns = self.requests.now();
            }
            if std::mem::take(&mut self.was_full) {
                self.room_since_ns = now_ns;
            }
            if let Some(ask) = self.follow.pop_front() {
                self.asks.clear();
                self.asks.push(ask);
                self.send(connection, now_ns, now_ns, phase);
                round.requests += 1;
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
                    round.requests += 1;
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

    /// A request of an open loop was due, and no connection had room for it.
    fn note_full(&mut self, due: bool) {
        if due {
            self.was_full = true;
            self.transport.note_full(&mut self.requests.tally.events);
        }
    }

    /// The connection that sends next.
    fn next_connection(&mut self, phase: &Phase) -> Option<usize> {
        if self.turn_left > 0 && self.has_room(self.connection, phase) {
            self.turn_left -= 1;
            return Some(self.connection);
        }
        let connections = self.requests.setup.connections;
        for _ in 0..connections {
            self.connection = (self.connection + 1) % connections;
            if self.has_room(self.connection, phase) {
                self.turn_left = self.transport.turn() - 1;
                return Some(self.connection);
            }
        }
        None
    }

    #[inline]
    fn has_room(&self, connection: usize, phase: &Phase) -> bool {
        let servers = self.requests.setup.targets.peers().len();
        let lanes = &self.requests.lanes[connection * servers..][..servers];
        let in_window = match phase.pacing {
            Pacing::Closed { window } => lanes.iter().map(|l| l.waiting()).sum::<usize>() < window,
            _ => true,
        };
        let is_free = |(at, lane): (usize, &InFlight)| {
            !lane.is_full() && self.transport.has_room(connection * servers + at)
        };
        in_window && lanes.iter().enumerate().all(is_free)
    }

    /// Draws the keys of the next request into `asks`: one, or a whole batch of gets for one server.
    fn draw(&mut self, phase: &mut Phase, now_ns: u64) -> Issued {
        loop {
            let ask = match phase.source.next(now_ns.saturating_sub(phase.start_ns)) {
                Next::Ask(ask) => ask,
                Next::NotBefore(at_ns) => return Issued::NotBefore(phase.start_ns + at_ns),
                Next::Stalled => return Issued::Stalled,
                Next::End => return Issued::End,
            };
            self.asks.clear();
            if ask.command != Verb::Get || self.requests.setup.batch == 1 {
                self.asks.push(ask);
                return Issued::Keys(1);
            }
            // With one place there is nothing to choose, and no key to write for it.
            let place = if self.gathered.len() == 1 { 0 } else { self.place_of(ask.key) };
            self.gathered[place].push(ask);
            if self.gathered[place].len() == self.requests.setup.batch {
                self.asks.append(&mut self.gathered[place]);
                return Issued::Keys(self.requests.setup.batch);
            }
        }
    }

    /// Which server's and which worker's key this is.
    #[inline]
    fn place_of(&self, key: u32) -> usize {
        let mut buffer = [0; KEY_BYTES_MAX];
        let text = self.requests.setup.keys.write(key, &mut buffer);
        self.requests.setup.targets.of(text) * self.requests.setup.owners + self.requests.setup.owner_of(text)
    }

    /// Encodes `asks` and sends the request.
    fn send(&mut self, connection: usize, intended_ns: u64, now_ns: u64, phase: &Phase) {
        let mut key = [0; KEY_BYTES_MAX];
        self.prepare();
        let Client { transport, requests, pending, tick, .. } = self;
        let Requests { setup, lanes, tally, latencies, .. } = requests;
        let measured = intended_ns >= phase.measure_from_ns;
        let first = pending[0];
        let (verb, count) = (first.ask.command, pending.len());
        let text = setup.keys.write(first.ask.key, &mut key);
        let lane = connection * setup.targets.peers().len() + setup.targets.of(text);
        let id = lanes[lane].begin(pending, intended_ns, now_ns, *tick, measured);
        let request = Request { lane, owner: setup.owner_of(text), id, verb, count };
        if measured {
            tally.commands[verb as usize].sent += count as u64;
            // What waits for a full window is the server's delay, and only what comes on top of it the client's.
            latencies.send_lag.record(now_ns.saturating_sub(intended_ns.max(self.room_since_ns)));
        }
        let events = &mut tally.events;
        match verb {
            Verb::Set => {
                let most = transport.value_bytes_max(text.len());
                let bytes = value_bytes(first.ask.value_bytes, most, setup.versions.is_some(), events);
                transport.send(&request, events, |codec, out| {
                    codec.begin_set(text, codec.expiry(first.ask.ttl_s, &setup.clock), bytes, out);
                    setup.values.write(text, first.version, bytes, out);
                    codec.end_set(out);
                });
            }
            Verb::Delete => transport.send(&request, events, |codec, out| codec.delete(text, out)),
            Verb::Touch => transport.send(&request, events, |codec, out| {
                codec.touch(text, codec.expiry(first.ask.ttl_s, &setup.clock), out);
            }),
            Verb::Get => transport.send(&request, events, |codec, out| {
                codec.begin_get(count, out);
                for (index, one) in pending.iter().enumerate() {
                    codec.get_key(index, count, setup.keys.write(one.ask.key, &mut key), out);
                }
                codec.end_get(out);
            }),
        }
    }

    /// Gives the asks their versions.
    fn prepare(&mut self) {
        self.pending.clear();
        for ask in &self.asks {
            let version = match (&self.requests.setup.versions, ask.command) {
                (None, _) | (_, Verb::Touch) => 0,
                (Some(versions), Verb::Get) => versions.floor(ask.key),
                (Some(versions), _) => versions.begin_write(ask.key),
            };
            self.pending.push(Pending { ask: *ask, version });
        }
    }
}

/// What came of trying to issue a request.
enum Issued {
    Keys(usize),
    NotBefore(u64),
    Stalled,
    End,
}

/// The size a value gets: what was asked, within what a request holds and a check needs.
fn value_bytes(asked: u32, most: usize, verify: bool, events: &mut Events) -> usize {
    let asked = asked as usize;
    if asked > most {
        events.clamped += 1;
        most
    } else if verify && asked < CHECKED_BYTES_MIN {
        events.raised += 1;
        CHECKED_BYTES_MIN
    } else {
        asked
    }
}
