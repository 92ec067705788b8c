//! The receiving half of a tick: datagrams to their requests, and what has waited too long.

use super::Client;
use super::settle::Settle;
use crate::load::codec::Codec;
use crate::load::in_flight::Lookup;
use crate::load::phase::Phase;
use crate::load::reassembly::Piece;
use crate::load::socket::Received;
use crate::load::source::Source;

/// Receives from one socket in one tick at most; each may bring 64 datagrams.
pub const TICK_RECEIVES_MAX: usize = 8;

/// Looks for overdue requests in the time of one timeout: with many sockets each look costs, and a loss that is noticed
/// 2 % late is the same loss.
const TIMEOUT_STEPS: u64 = 64;

impl<C: Codec> Client<C> {
    /// Gives up what waits too long.
    pub(super) fn expire(&mut self, phase: &mut Phase, now_ns: u64) {
        if now_ns < self.expire_ns {
            return;
        }
        self.expire_ns = now_ns + self.setup.timeout_ns / TIMEOUT_STEPS;
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
    pub(super) fn receive(&mut self, phase: &mut Phase) -> usize {
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
        let Some((frame, body)) = self.codec.frame(datagram) else {
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
