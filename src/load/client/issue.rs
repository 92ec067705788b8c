//! The sending half of a tick: which connection, which keys, which bytes.

use super::Client;
use crate::limits::{DATAGRAM_BYTES_MAX, FRAME_HEADER_BYTES, KEY_BYTES_MAX, TRAIN_SEGMENTS_MAX};
use crate::load::codec::Codec;
use crate::load::in_flight::Pending;
use crate::load::phase::{Pacing, Phase};
use crate::load::replay::Next;
use crate::load::tally::Tally;
use crate::load::value::CHECKED_BYTES_MIN;
use crate::load::workload::Verb;

/// Datagrams issued in one tick at most.
pub const TICK_ISSUES_MAX: usize = 256;
/// Datagrams encoded between two looks at the clock.
const ISSUES_PER_CLOCK: usize = 16;
/// Room that a set takes at most besides key and value: a command line, or a sealed batch frame.
const SET_LINE_BYTES_MAX: usize = 96;

/// What a tick issued.
pub(super) struct Round {
    pub datagrams: usize,
    /// When the next is due; `u64::MAX`: after a reply.
    pub next_ns: u64,
    /// The source has ended or the time is up.
    pub over: bool,
}

impl<C: Codec> Client<C> {
    /// Issues what is due, a bounded number of datagrams.
    pub(super) fn issue(&mut self, phase: &mut Phase, now_ns: u64) -> Round {
        let mut round = Round { datagrams: 0, next_ns: u64::MAX, over: phase.over || now_ns >= phase.end_ns };
        let mut now_ns = now_ns;
        self.turn_left = 0;
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

    /// The connection that sends next. A connection sends a whole train before it is the next one's turn: spread over
    /// 64 connections one by one, datagrams would travel alone and cost twenty times as much.
    fn next_connection(&mut self, phase: &Phase) -> Option<usize> {
        if self.turn_left > 0 && self.has_room(self.connection, phase) {
            self.turn_left -= 1;
            return Some(self.connection);
        }
        for _ in 0..self.setup.connections {
            self.connection = (self.connection + 1) % self.setup.connections;
            if self.has_room(self.connection, phase) {
                self.turn_left = if self.setup.coalesce { TRAIN_SEGMENTS_MAX - 1 } else { 0 };
                return Some(self.connection);
            }
        }
        None
    }

    fn has_room(&self, connection: usize, phase: &Phase) -> bool {
        let servers = self.setup.targets.addresses().len();
        let lanes = &self.lanes[connection * servers..][..servers];
        let in_window = match phase.pacing {
            Pacing::Closed { window } => lanes.iter().map(|l| l.in_flight.waiting()).sum::<usize>() < window,
            _ => true,
        };
        in_window && lanes.iter().all(|l| !l.in_flight.is_full())
    }

    /// Draws the keys of the next datagram into `asks`: one, or a whole batch of gets for one server.
    fn draw(&mut self, phase: &mut Phase, now_ns: u64) -> Issued {
        loop {
            let ask = match phase.source.next(now_ns.saturating_sub(phase.start_ns)) {
                Next::Ask(ask) => ask,
                Next::NotBefore(at_ns) => return Issued::NotBefore(phase.start_ns + at_ns),
                Next::Stalled => return Issued::Stalled,
                Next::End => return Issued::End,
            };
            self.asks.clear();
            if ask.command != Verb::Get || self.setup.batch == 1 {
                self.asks.push(ask);
                return Issued::Keys(1);
            }
            // With one place there is nothing to choose, and no key to write for it.
            let place = if self.gathered.len() == 1 { 0 } else { self.place_of(ask.key) };
            self.gathered[place].push(ask);
            if self.gathered[place].len() == self.setup.batch {
                self.asks.append(&mut self.gathered[place]);
                return Issued::Keys(self.setup.batch);
            }
        }
    }

    /// Which server's and which worker's key this is.
    #[inline]
    fn place_of(&self, key: u32) -> usize {
        let mut buffer = [0; KEY_BYTES_MAX];
        let text = self.setup.keys.write(key, &mut buffer);
        self.setup.targets.of(text) * self.setup.owners + self.setup.owner_of(text)
    }

    /// Encodes `asks` and puts the datagram on its train.
    fn send(&mut self, connection: usize, intended_ns: u64, now_ns: u64, phase: &Phase) {
        let mut key = [0; KEY_BYTES_MAX];
        let Client { setup, codec, lanes, datagram, pending, asks, tally, .. } = self;
        let measured = intended_ns >= phase.measure_from_ns;
        pending.clear();
        for ask in asks.iter() {
            let version = match (&setup.versions, ask.command) {
                (None, _) | (_, Verb::Touch) => 0,
                (Some(versions), Verb::Get) => versions.floor(ask.key),
                (Some(versions), _) => versions.begin_write(ask.key),
            };
            pending.push(Pending { ask: *ask, version });
        }
        let first = pending[0];
        let text = setup.keys.write(first.ask.key, &mut key);
        let servers = setup.targets.addresses().len();
        let lane = connection * servers + setup.targets.of(text);
        let track = lane * setup.owners + setup.owner_of(text);
        let id = lanes[lane].in_flight.begin(pending, intended_ns, now_ns, self.tick, measured);
        datagram.clear();
        datagram.extend_from_slice(&codec.header(id));
        match first.ask.command {
            Verb::Set => {
                let bytes = value_bytes(first.ask.value_bytes, text.len(), setup.versions.is_some(), tally);
                let expiry = codec.expiry(first.ask.ttl_s, &setup.clock);
                codec.begin_set(text, expiry, bytes, datagram);
                setup.values.write(text, first.version, bytes, datagram);
                codec.end_set(datagram);
            }
            Verb::Delete => codec.delete(text, datagram),
            Verb::Touch => codec.touch(text, codec.expiry(first.ask.ttl_s, &setup.clock), datagram),
            Verb::Get => {
                codec.begin_get(pending.len(), datagram);
                for (index, one) in pending.iter().enumerate() {
                    let text = setup.keys.write(one.ask.key, &mut key);
                    codec.get_key(index, pending.len(), text, datagram);
                }
                codec.end_get(datagram);
            }
        }
        codec.finish(datagram);
        if measured {
            tally.commands[first.ask.command as usize].sent += pending.len() as u64;
            self.latencies.send_lag.record(now_ns.saturating_sub(intended_ns));
        }
        let coalesced = lanes[lane].socket.coalesces(datagram.len());
        self.trains.push(track, datagram, coalesced, &mut |track, train, bytes| {
            lanes[track / setup.owners].transmit(train, bytes, &mut tally.events)
        });
    }
}

/// What came of trying to issue a datagram.
enum Issued {
    Keys(usize),
    NotBefore(u64),
    Stalled,
    End,
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
