//! Requests as datagrams: trains out, datagrams in, long replies put together.
//!
//! ```text
//! request ─▶ train (equal lengths of a tick) ─▶ socket ─▶ server
//! requests ◀── codec ◀── reassembly ◀── socket ◀───────────┘
//! ```
//! Replies come in any order or never: each names its request by the id in its frame.

pub mod frame;
pub mod lane;
pub mod reassembly;
pub mod socket;
pub mod train;

use super::client::Setup;
use super::codec::DatagramCodec;
use super::in_flight::{Lookup, Slot};
use super::requests::Requests;
use super::tally::Events;
use super::transport::{Request, Transport};
use super::wait::Waiter;
use crate::limits::{DATAGRAM_BYTES_MAX, FRAME_HEADER_BYTES, TRAIN_SEGMENTS_MAX};
use lane::Lane;
use reassembly::{Piece, Reassembly};
use socket::{Received, Socket};
use train::Trains;

/// Receives from one socket in one tick at most; each may bring 64 datagrams.
pub const TICK_RECEIVES_MAX: usize = 8;
/// Room that a set takes at most besides key and value: a command line, or a sealed batch frame.
const SET_LINE_BYTES_MAX: usize = 96;

/// The sockets of one thread.
pub struct Datagrams<C> {
    codec: C,
    lanes: Vec<Lane>,
    waiter: Waiter,
    trains: Trains,
    reassembly: Reassembly,
    buffer: Vec<u8>,
    datagram: Vec<u8>,
    coalesce: bool,
    owners: usize,
}

impl<C: DatagramCodec> Datagrams<C> {
    /// Opens the sockets.
    ///
    /// # Errors
    /// One line with the target's address and the remedy.
    pub fn open(setup: &Setup, codec: C) -> Result<Datagrams<C>, String> {
        let mut lanes = Vec::new();
        for _ in 0..setup.connections {
            for peer in setup.targets.peers() {
                let address = peer.ip().ok_or_else(|| format!("{peer}: a UNIX socket has no datagrams"))?;
                let socket = Socket::connect(address, setup.coalesce)
                    .map_err(|e| format!("cannot open a socket: {peer}: {e}; see ulimit -n"))?;
                lanes.push(Lane { socket, answered_tick: 0 });
            }
        }
        let waiter = Waiter::new(lanes.iter().map(|l| l.socket.fd()), setup.polling)
            .map_err(|e| format!("cannot wait for sockets: {e}; see ulimit -n"))?;
        Ok(Datagrams {
            codec,
            lanes,
            waiter,
            trains: Trains::default(),
            reassembly: Reassembly::default(),
            buffer: vec![0; 1 << 16],
            datagram: Vec::with_capacity(DATAGRAM_BYTES_MAX),
            coalesce: setup.coalesce,
            owners: setup.owners,
        })
    }

    /// Takes one datagram.
    #[inline]
    fn take(&mut self, lane: usize, datagram: &[u8], now_ns: u64, requests: &mut Requests) {
        let Some((frame, body)) = self.codec.frame(datagram) else {
            requests.tally.events.garbage += 1;
            return;
        };
        let events = &mut requests.tally.events;
        let at = match requests.lanes[lane].lookup(frame.request_id) {
            Lookup::Waiting(at) => at,
            Lookup::Answered => return events.duplicate += 1,
            Lookup::Lost => return events.late += 1,
            Lookup::Unknown => return events.unknown += 1,
        };
        let slot = requests.lanes[lane].slot(at).0;
        if self.lanes[lane].note_order(slot.tick) {
            events.reordered += 1;
        }
        if frame.total == 1 {
            return self.settle(lane, at, None, body, now_ns, requests);
        }
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
                self.settle(lane, at, Some(partial), &[], now_ns, requests);
            }
        }
    }

    /// Settles the answers of one whole message: `body`, or the reassembled one.
    #[inline]
    fn settle(
        &mut self,
        lane: usize,
        at: usize,
        partial: Option<u32>,
        body: &[u8],
        now_ns: u64,
        requests: &mut Requests,
    ) {
        let (mut settle, slot, keys) = requests.at(lane, at);
        let whole = match partial {
            None => settle.message(&self.codec, slot, keys, body, now_ns),
            Some(partial) => {
                settle.message(&self.codec, slot, keys, self.reassembly.message(partial), now_ns)
            }
        };
        if whole {
            self.give_up(slot);
            requests.lanes[lane].answer(at);
        }
        if let Some(partial) = partial {
            self.reassembly.release(partial);
        }
    }
}

impl<C: DatagramCodec> Transport for Datagrams<C> {
    type Codec = C;

    fn waiter(&mut self) -> &mut Waiter {
        &mut self.waiter
    }

    /// A whole train: spread over 64 connections one by one, datagrams would travel alone and cost twenty times as much.
    #[inline]
    fn turn(&self) -> usize {
        if self.coalesce { TRAIN_SEGMENTS_MAX } else { 1 }
    }

    fn value_bytes_max(&self, key_bytes: usize) -> usize {
        DATAGRAM_BYTES_MAX - FRAME_HEADER_BYTES - SET_LINE_BYTES_MAX - key_bytes
    }

    fn note_full(&self, events: &mut Events) {
        events.ids_exhausted += 1;
    }

    #[inline]
    fn send(&mut self, request: &Request, events: &mut Events, write: impl FnOnce(&C, &mut Vec<u8>)) {
        let Datagrams { codec, lanes, trains, datagram, owners, .. } = self;
        datagram.clear();
        datagram.extend_from_slice(&codec.header(request.id));
        write(codec, datagram);
        codec.finish(datagram);
        let coalesced = lanes[request.lane].socket.coalesces(datagram.len());
        let track = request.lane * *owners + request.owner;
        trains.push(track, datagram, coalesced, &mut |track, train, bytes| {
            lanes[track / *owners].transmit(train, bytes, events)
        });
    }

    #[inline]
    fn flush(&mut self, events: &mut Events) {
        let Datagrams { trains, lanes, owners, .. } = self;
        trains.flush(&mut |track, train, bytes| lanes[track / *owners].transmit(train, bytes, events));
    }

    fn receive(&mut self, requests: &mut Requests) -> usize {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut count = 0;
        for ready in 0..self.waiter.ready() {
            let lane = self.waiter.lane(ready);
            for _ in 0..TICK_RECEIVES_MAX {
                match self.lanes[lane].socket.receive(&mut buffer) {
                    Received::Nothing => break,
                    Received::Refused => requests.tally.events.unreachable += 1,
                    Received::Train { bytes, segment_bytes } => {
                        let now_ns = requests.now();
                        requests.tally.events.receives += 1;
                        for datagram in buffer[..bytes].chunks(segment_bytes) {
                            count += 1;
                            self.take(lane, datagram, now_ns, requests);
                        }
                    }
                }
            }
        }
        self.buffer = buffer;
        requests.tally.events.datagrams_received += count as u64;
        count
    }

    fn give_up(&mut self, slot: &mut Slot) {
        if let Some(partial) = slot.partial.take() {
            self.reassembly.release(partial);
        }
    }

    fn trains_split(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.socket.trains_split).sum()
    }
}
