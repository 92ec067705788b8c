//! Requests as streams, over TCP or UNIX sockets: requests one behind the other, replies in their order.
//!
//! ```text
//! request ─▶ outbox (one send a connection and tick) ─▶ socket ─▶ server
//! requests ◀── codec ◀── inbox (replies cut anywhere) ◀── socket ◀──┘
//! ```
//! Nothing is lost while a connection lasts. One that breaks is opened again, a bounded number of times, and its requests in
//! flight are lost.

pub mod connection;
pub mod inbox;
pub mod outbox;
pub mod socket;

use super::client::Setup;
use super::codec::StreamCodec;
use super::requests::Requests;
use super::tally::Events;
use super::target::Peer;
use super::transport::{Request, Tended, Transport};
use super::wait::Waiter;
use crate::limits::VALUE_BYTES_LIMIT;
use connection::{Connection, Expected};
use inbox::{Read, SHARED_BYTES};
use socket::Socket;
use std::io::{self, ErrorKind};

/// Reads from one connection in one tick at most.
const TICK_READS_MAX: usize = 8;

/// The connections of one thread.
pub struct Streams<C> {
    codec: C,
    peers: Vec<Peer>,
    lanes: Vec<Connection>,
    waiter: Waiter,
    shared: Vec<u8>,
    /// Lanes with something to send.
    dirty: Vec<usize>,
    /// Lanes whose connection broke while it was sent on.
    torn: Vec<usize>,
    /// Lanes without a connection.
    broken: Vec<usize>,
    fills_window: bool,
}

impl<C: StreamCodec> Streams<C> {
    /// Opens the connections.
    ///
    /// # Errors
    /// One line with the target's address and the remedy.
    pub fn open(setup: &Setup, codec: C) -> Result<Streams<C>, String> {
        let peers = setup.targets.peers().to_vec();
        let mut lanes = Vec::new();
        for _ in 0..setup.connections {
            for peer in &peers {
                let socket = Socket::connect(peer).map_err(|error| why_not(peer, &error))?;
                lanes.push(Connection::new(socket, setup.in_flight_max));
            }
        }
        let fds = lanes.iter().map(|lane| lane.socket.as_ref().expect("it is open").fd());
        let waiter = Waiter::new(fds, setup.polling)
            .map_err(|e| format!("cannot wait for connections: {e}; see ulimit -n"))?;
        let count = lanes.len();
        Ok(Streams {
            codec,
            peers,
            lanes,
            waiter,
            shared: vec![0; SHARED_BYTES],
            dirty: Vec::with_capacity(count),
            torn: Vec::with_capacity(count),
            broken: Vec::with_capacity(count),
            fills_window: setup.coalesce,
        })
    }

    /// Reads from a lane; how often something came.
    fn read(&mut self, lane: usize, requests: &mut Requests) -> usize {
        for reads in 0..TICK_READS_MAX {
            let connection = &mut self.lanes[lane];
            let Some(socket) = connection.socket.take() else { return reads };
            let mut inbox = std::mem::take(&mut connection.inbox);
            let read = inbox
                .read(&socket, &mut self.shared, |bytes| connection.take(&self.codec, lane, bytes, requests));
            connection.inbox = inbox;
            connection.socket = Some(socket);
            match read {
                Read::Some { more: true } => requests.tally.events.receives += 1,
                Read::Some { more: false } => {
                    requests.tally.events.receives += 1;
                    return reads + 1;
                }
                Read::Nothing => return reads,
                Read::Broken => {
                    self.break_off(lane, requests);
                    return reads + 1;
                }
            }
        }
        TICK_READS_MAX
    }

    fn break_off(&mut self, lane: usize, requests: &mut Requests) {
        let connection = &mut self.lanes[lane];
        if connection.socket.is_some() {
            connection.break_off(lane, requests);
            self.dirty.retain(|&dirty| dirty != lane);
            self.broken.push(lane);
        }
    }

    /// Opens a lane's connection again; whether it could be begun.
    fn reopen(&mut self, lane: usize) -> bool {
        let peer = &self.peers[lane % self.peers.len()];
        let Ok(socket) = Socket::begin(peer) else { return false };
        if self.waiter.watch(lane, socket.fd()).is_err() {
            return false;
        }
        self.lanes[lane].socket = Some(socket);
        true
    }
}

impl<C: StreamCodec> Transport for Streams<C> {
    type Codec = C;

    fn waiter(&mut self) -> &mut Waiter {
        &mut self.waiter
    }

    /// As much as its window holds, unless connections are to take turns.
    #[inline]
    fn turn(&self) -> usize {
        if self.fills_window { usize::MAX } else { 1 }
    }

    fn value_bytes_max(&self, _key_bytes: usize) -> usize {
        VALUE_BYTES_LIMIT
    }

    #[inline]
    fn has_room(&self, lane: usize) -> bool {
        self.lanes[lane].has_room()
    }

    fn note_full(&self, events: &mut Events) {
        events.window_full += 1;
    }

    #[inline]
    fn send(&mut self, request: &Request, _events: &mut Events, write: impl FnOnce(&C, &mut Vec<u8>)) {
        let left = match request.verb {
            super::workload::Verb::Get => self.codec.answers(request.count),
            _ => 1,
        };
        let connection = &mut self.lanes[request.lane];
        if connection.outbox.waiting() == 0 {
            self.dirty.push(request.lane);
        }
        write(&self.codec, connection.outbox.bytes());
        connection.expected.push_back(Expected { id: request.id, left });
    }

    #[inline]
    fn flush(&mut self, events: &mut Events) {
        let Streams { dirty, torn, lanes, waiter, .. } = self;
        dirty.retain(|&lane| {
            let connection = &mut lanes[lane];
            if connection.outbox.waiting() == 0 {
                return false; // It broke, and what waited was lost.
            }
            if !connection.flush(events) {
                torn.push(lane);
                return false;
            }
            let is_left = connection.outbox.waiting() > 0;
            if is_left != connection.is_watched
                && let Some(socket) = &connection.socket
                && waiter.watch_room(lane, socket.fd(), is_left).is_ok()
            {
                connection.is_watched = is_left;
            }
            is_left
        });
    }

    fn receive(&mut self, requests: &mut Requests) -> usize {
        let mut count = 0;
        while let Some(lane) = self.torn.pop() {
            // What came before the break still counts.
            count += 1 + self.read(lane, requests);
            self.break_off(lane, requests);
        }
        for ready in 0..self.waiter.ready() {
            let lane = self.waiter.lane(ready);
            count += self.read(lane, requests);
        }
        count
    }

    fn tend(&mut self, now_ns: u64, events: &mut Events) -> Tended {
        if self.broken.is_empty() {
            return Tended { next_ns: u64::MAX, is_alive: true };
        }
        let mut broken = std::mem::take(&mut self.broken);
        broken.retain(|&lane| {
            if self.lanes[lane].retry_ns > now_ns {
                return true;
            }
            if self.reopen(lane) {
                events.reconnects += 1;
                return false;
            }
            self.lanes[lane].note_failure(now_ns, events);
            true
        });
        let next_ns = broken.iter().map(|&lane| self.lanes[lane].retry_ns).min().unwrap_or(u64::MAX);
        self.broken = broken;
        let servers = self.peers.len();
        let is_alive = self.lanes.chunks(servers).any(|lanes| !lanes.iter().any(Connection::is_given_up));
        Tended { next_ns, is_alive }
    }
}

/// The line for a server that could not be reached.
fn why_not(peer: &Peer, error: &io::Error) -> String {
    let remedy = match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::NotFound => "is a server listening there?",
        ErrorKind::PermissionDenied => "may this user write to the socket?",
        _ => "see ulimit -n, and whether the server takes so many connections",
    };
    format!("cannot connect to {peer}: {error}; {remedy}")
}
