//! Connections in memory: the test has one end, a port the other, and a seed decides what lies between.
//!
//! ```text
//! Link::write ─▶ to_server ─▶ pieces of any size, some of them late ─▶ receive buffers ─▶ events
//! Link::read  ◀─ to_client ◀─ as much as the socket has room for    ◀─ outbox; the rest is `unsent`: Stuck, then Drained
//! ```
//! It keeps what the real ports promise: a connection receives nothing until it is resumed, what was on its way when it was
//! paused still comes, and a connection that nobody receives from or sends to may break without a word.
//!
//! What no worker may do ends the run: close a connection twice, release a buffer twice, or read one that is not held. A reply to
//! a connection that is gone meanwhile, because another worker answered late, goes nowhere, as with the real ports.

use crate::limits::{STREAM_BUFFER_BYTES, STREAM_BUFFERS, STREAM_RECEIVES_MAX};
use crate::net::stream::{ConnectionId, StreamEvent, StreamOutbox, StreamPeer, Table};
use crate::net::traffic::Traffic;
use cache::base::random::Random;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// What lies between the ends of connections.
#[derive(Clone, Copy, Debug)]
pub struct StreamFaults {
    /// Pieces that are cut short at any byte, in percent.
    pub cut_percent: u8,
    /// Pieces and connections that come with a later poll, in percent.
    pub late_percent: u8,
    /// Sends of which only a part is taken, in percent.
    pub short_percent: u8,
    /// Bytes that the sockets hold of what a client has not read.
    pub socket_bytes: usize,
}

/// No fault, and room for any reply.
impl Default for StreamFaults {
    fn default() -> StreamFaults {
        StreamFaults { cut_percent: 0, late_percent: 0, short_percent: 0, socket_bytes: usize::MAX }
    }
}

/// What is true of the connections of a port now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamFigures {
    /// Connections that the worker has not closed.
    pub open: usize,
    /// Receive buffers that the worker holds.
    pub held_buffers: usize,
    /// Bytes of replies that clients had no room for.
    pub unsent_bytes: usize,
    /// The most that this was for one connection.
    pub unsent_bytes_max: usize,
}

/// What both ends know of a connection.
#[derive(Debug)]
struct Channel {
    peer: StreamPeer,
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    has_ended: bool,
    is_broken: bool,
    /// The server has closed it.
    is_closed: bool,
}

/// All connections between a test and a port.
#[derive(Default)]
pub(super) struct Channels {
    faults: StreamFaults,
    channels: Vec<Channel>,
    /// Those that are not accepted yet.
    arriving: VecDeque<usize>,
    figures: StreamFigures,
}

impl Channels {
    pub(super) fn new(faults: StreamFaults) -> Channels {
        Channels { faults, ..Channels::default() }
    }

    pub(super) fn figures(&self) -> StreamFigures {
        self.figures
    }

    fn connect(&mut self, peer: StreamPeer) -> usize {
        let (to_server, to_client) = (VecDeque::new(), VecDeque::new());
        let (has_ended, is_broken, is_closed) = (false, false, false);
        self.channels.push(Channel { peer, to_server, to_client, has_ended, is_broken, is_closed });
        self.arriving.push_back(self.channels.len() - 1);
        self.channels.len() - 1
    }
}

/// The client's end of a connection.
pub struct Link {
    channels: Rc<RefCell<Channels>>,
    index: usize,
}

impl Link {
    pub(super) fn new(channels: &Rc<RefCell<Channels>>, peer: StreamPeer) -> Link {
        let index = channels.borrow_mut().connect(peer);
        Link { channels: Rc::clone(channels), index }
    }

    fn with<R>(&self, look: impl FnOnce(&mut Channel) -> R) -> R {
        look(&mut self.channels.borrow_mut().channels[self.index])
    }

    /// Puts bytes on their way to the server, if it has not closed the connection.
    pub fn write(&self, bytes: &[u8]) {
        self.with(|channel| {
            if !channel.is_closed && !channel.is_broken {
                channel.to_server.extend(bytes);
            }
        });
    }

    /// Takes what has come, `bytes_max` at most.
    pub fn read(&self, bytes_max: usize) -> Vec<u8> {
        self.with(|channel| {
            let bytes = bytes_max.min(channel.to_client.len());
            channel.to_client.drain(..bytes).collect()
        })
    }

    /// Nothing will be written any more; replies may still come.
    pub fn end(&self) {
        self.with(|channel| channel.has_ended = true);
    }

    /// Breaks the connection: what is under way is lost, both ways.
    pub fn reset(&self) {
        self.with(|channel| {
            channel.is_broken = true;
            channel.to_server.clear();
            channel.to_client.clear();
        });
    }

    /// Whether the server has closed it.
    pub fn is_closed(&self) -> bool {
        self.with(|channel| channel.is_closed)
    }

    /// Whether the server has closed it and all that it sent was read.
    pub fn is_over(&self) -> bool {
        self.with(|channel| channel.is_closed && channel.to_client.is_empty())
    }

    /// Bytes that the server has not received yet.
    pub fn unreceived(&self) -> usize {
        self.with(|channel| channel.to_server.len())
    }
}

/// The port's end of a connection.
struct Connection {
    channel: usize,
    /// Whether something may be received.
    is_wanted: bool,
    /// It was paused, and a piece may be on its way.
    has_late_piece: bool,
    /// It was told that it broke.
    is_given_up: bool,
    unsent: VecDeque<u8>,
}

/// A receive buffer, and whether a worker has it.
struct Buffer {
    bytes: Vec<u8>,
    is_held: bool,
}

/// What a port knows of its connections.
pub(super) struct Streams {
    shared: Rc<RefCell<Channels>>,
    connections: Table<Connection>,
    events: Vec<StreamEvent>,
    buffers: Vec<Buffer>,
    free: Vec<u16>,
}

impl Streams {
    pub(super) fn new(shared: Rc<RefCell<Channels>>) -> Streams {
        let buffer = |_| Buffer { bytes: Vec::new(), is_held: false };
        Streams {
            shared,
            connections: Table::default(),
            events: Vec::new(),
            buffers: (0..STREAM_BUFFERS).map(buffer).collect(),
            free: (0..STREAM_BUFFERS as u16).rev().collect(),
        }
    }

    /// Accepts, sends what was left over, and receives.
    pub(super) fn poll(&mut self, random: &mut Random, into: &mut Vec<StreamEvent>, traffic: &mut Traffic) {
        self.accept(random);
        let places = self.connections.places();
        let first = if places > 0 { random.below(places as u64) as usize } else { 0 };
        for place in (0..places).map(|place| (first + place) % places) {
            let Some((id, _)) = self.connections.at(place) else { continue };
            self.drain(id, random);
            self.receive(id, random, traffic);
        }
        into.append(&mut self.events);
    }

    fn accept(&mut self, random: &mut Random) {
        let mut shared = self.shared.borrow_mut();
        for _ in 0..shared.arriving.len() {
            let Some(channel) = shared.arriving.pop_front() else { return };
            if random.chance(shared.faults.late_percent) {
                shared.arriving.push_back(channel);
                continue;
            }
            let unsent = VecDeque::new();
            let (is_wanted, has_late_piece, is_given_up) = (false, false, false);
            let connection = Connection { channel, is_wanted, has_late_piece, is_given_up, unsent };
            let id = self.connections.insert(connection);
            self.events.push(StreamEvent::Opened(id, shared.channels[channel].peer));
            shared.figures.open += 1;
        }
    }

    fn receive(&mut self, id: ConnectionId, random: &mut Random, traffic: &mut Traffic) {
        let shared = &mut *self.shared.borrow_mut();
        let Some(connection) = self.connections.get_mut(id) else { return };
        let channel = &mut shared.channels[connection.channel];
        let comes_late = std::mem::replace(&mut connection.has_late_piece, false) && random.chance(50);
        if channel.is_broken {
            // Of a connection that is paused the ring does not tell, epoll does.
            let is_told = connection.is_wanted || !connection.unsent.is_empty() || random.chance(10);
            if is_told && !std::mem::replace(&mut connection.is_given_up, true) {
                connection.is_wanted = false;
                self.events.push(StreamEvent::Broken(id));
            }
            return;
        }
        let pieces = if connection.is_wanted { STREAM_RECEIVES_MAX } else { comes_late as usize };
        for _ in 0..pieces {
            if channel.to_server.is_empty() {
                if channel.has_ended && connection.is_wanted {
                    connection.is_wanted = false;
                    self.events.push(StreamEvent::Ended(id));
                }
                return;
            }
            if random.chance(shared.faults.late_percent) {
                return;
            }
            let Some(buffer) = self.free.pop() else {
                traffic.stream_buffers_empty += 1;
                return;
            };
            let most = channel.to_server.len().min(STREAM_BUFFER_BYTES);
            let is_cut = random.chance(shared.faults.cut_percent);
            let bytes = if is_cut { 1 + random.below(most as u64) as usize } else { most };
            let into = &mut self.buffers[buffer as usize];
            into.bytes.clear();
            into.bytes.extend(channel.to_server.drain(..bytes));
            into.is_held = true;
            shared.figures.held_buffers += 1;
            self.events.push(StreamEvent::Received { id, buffer, bytes: bytes as u32 });
        }
    }

    /// Sends what was left over, as far as the client has room.
    fn drain(&mut self, id: ConnectionId, random: &mut Random) {
        let shared = &mut *self.shared.borrow_mut();
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.unsent.is_empty() || shared.channels[connection.channel].is_broken {
            return;
        }
        let bytes = shared.taken(connection.channel, connection.unsent.len(), random);
        shared.channels[connection.channel].to_client.extend(connection.unsent.drain(..bytes));
        shared.figures.unsent_bytes -= bytes;
        if connection.unsent.is_empty() {
            self.events.push(StreamEvent::Drained(id));
        }
    }

    /// Sends what the outbox has for connections.
    pub(super) fn send_all(&mut self, outbox: &mut StreamOutbox, random: &mut Random, traffic: &mut Traffic) {
        for (id, reply) in outbox.take_long() {
            self.events.push(StreamEvent::Stuck(id));
            self.keep(id, &reply);
        }
        for send in outbox.sends() {
            let bytes: Vec<u8> = outbox.pieces(send).flatten().copied().collect();
            assert_eq!(bytes.len(), send.bytes, "a send is its pieces");
            traffic.stream_sends += 1;
            traffic.bytes_written += send.bytes as u64;
            self.send(send.id, &bytes, random);
        }
    }

    fn send(&mut self, id: ConnectionId, bytes: &[u8], random: &mut Random) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if !connection.unsent.is_empty() {
            return self.keep(id, bytes);
        }
        let mut shared = self.shared.borrow_mut();
        if shared.channels[connection.channel].is_broken {
            if !std::mem::replace(&mut connection.is_given_up, true) {
                connection.is_wanted = false;
                self.events.push(StreamEvent::Broken(id));
            }
            return;
        }
        let taken = shared.taken(connection.channel, bytes.len(), random);
        shared.channels[connection.channel].to_client.extend(&bytes[..taken]);
        drop(shared);
        if taken < bytes.len() {
            self.events.push(StreamEvent::Stuck(id));
            self.keep(id, &bytes[taken..]);
        }
    }

    fn keep(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.unsent.extend(bytes);
        let figures = &mut self.shared.borrow_mut().figures;
        figures.unsent_bytes += bytes.len();
        figures.unsent_bytes_max = figures.unsent_bytes_max.max(connection.unsent.len());
    }

    pub(super) fn resume(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.is_wanted = true;
        }
    }

    pub(super) fn pause(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.has_late_piece |= std::mem::replace(&mut connection.is_wanted, false);
        }
    }

    pub(super) fn unsent(&self, id: ConnectionId) -> usize {
        self.connections.get(id).map_or(0, |connection| connection.unsent.len())
    }

    /// The same with what the client has not read.
    pub(super) fn untaken(&self, id: ConnectionId) -> usize {
        let Some(connection) = self.connections.get(id) else { return 0 };
        connection.unsent.len() + self.shared.borrow().channels[connection.channel].to_client.len()
    }

    pub(super) fn close(&mut self, id: ConnectionId) {
        let connection = self.connections.remove(id).expect("a connection is closed once");
        let mut shared = self.shared.borrow_mut();
        shared.figures.open -= 1;
        shared.figures.unsent_bytes -= connection.unsent.len();
        let channel = &mut shared.channels[connection.channel];
        channel.is_closed = true;
        channel.to_server = VecDeque::new();
    }

    pub(super) fn bytes(&self, buffer: u16, bytes: u32) -> &[u8] {
        let buffer = &self.buffers[buffer as usize];
        assert!(buffer.is_held, "a buffer that was released is read");
        &buffer.bytes[..bytes as usize]
    }

    pub(super) fn release(&mut self, buffer: u16) {
        let is_held = &mut self.buffers[buffer as usize].is_held;
        assert!(std::mem::replace(is_held, false), "a buffer is released twice");
        self.buffers[buffer as usize].bytes.fill(b'?');
        self.free.push(buffer);
        self.shared.borrow_mut().figures.held_buffers -= 1;
    }
}

impl Channels {
    /// How many of so many bytes a client's socket takes now.
    fn taken(&self, channel: usize, bytes: usize, random: &mut Random) -> usize {
        let room = self.faults.socket_bytes.saturating_sub(self.channels[channel].to_client.len());
        let most = bytes.min(room);
        if random.chance(self.faults.short_percent) { random.below(most as u64 + 1) as usize } else { most }
    }
}
