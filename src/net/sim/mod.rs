//! A network in memory, for whole servers in one thread from one seed.
//!
//! Requests are put in by the test; a poll delivers them in an order, and with losses and repetitions, that the seed
//! decides. Replies are kept, datagram by datagram, with the same faults. Connections have faults of their own ([`streams`]).

pub mod streams;

pub use streams::{Link, StreamFaults, StreamFigures};

use crate::limits::TICK_DATAGRAMS_MAX;
use crate::net::{
    ConnectionId, Datagram, Inbox, Outbox, PeerAddr, PollTimeout, Port, StreamPeer, Traffic, Waker,
};
use cache::base::random::Random;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use streams::{Channels, Streams};

/// What the network does to datagrams, in percent of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Lost.
    pub drop_percent: u8,
    /// Delivered twice.
    pub duplicate_percent: u8,
    /// Delivered before an earlier one.
    pub reorder_percent: u8,
}

/// The wire between a test and a port.
#[derive(Clone)]
pub struct Wire {
    state: Rc<RefCell<WireState>>,
    channels: Rc<RefCell<Channels>>,
}

struct WireState {
    random: Random,
    faults: Faults,
    requests: VecDeque<(PeerAddr, Vec<u8>)>,
    replies: VecDeque<(PeerAddr, Vec<u8>)>,
}

impl WireState {
    /// Puts copies of a datagram into a queue; says how many.
    fn carry(&mut self, reply: bool, peer: PeerAddr, bytes: &[u8]) -> usize {
        let faults = self.faults;
        let copies =
            match (self.random.chance(faults.drop_percent), self.random.chance(faults.duplicate_percent)) {
                (true, _) => 0,
                (false, duplicate) => 1 + duplicate as usize,
            };
        for _ in 0..copies {
            let early = self.random.chance(faults.reorder_percent);
            let queue = if reply { &mut self.replies } else { &mut self.requests };
            let at = if early { self.random.below(queue.len() as u64 + 1) as usize } else { queue.len() };
            queue.insert(at, (peer, bytes.to_vec()));
        }
        copies
    }
}

impl Wire {
    /// A wire with faults from a seed.
    pub fn new(seed: u64, faults: Faults) -> Wire {
        Wire::with_streams(seed, faults, StreamFaults::default())
    }

    /// The same with faults of connections.
    pub fn with_streams(seed: u64, faults: Faults, of_streams: StreamFaults) -> Wire {
        let random = Random::new(seed);
        let (requests, replies) = (VecDeque::new(), VecDeque::new());
        Wire {
            state: Rc::new(RefCell::new(WireState { random, faults, requests, replies })),
            channels: Rc::new(RefCell::new(Channels::new(of_streams))),
        }
    }

    /// Opens a connection to the server.
    pub fn connect(&self, peer: StreamPeer) -> Link {
        Link::new(&self.channels, peer)
    }

    /// What is true of the connections of the port now.
    pub fn streams(&self) -> StreamFigures {
        self.channels.borrow().figures()
    }

    /// Puts a datagram on its way to the server; says how many copies of it will arrive: 0, 1 or 2.
    pub fn send(&self, from: PeerAddr, datagram: &[u8]) -> usize {
        self.state.borrow_mut().carry(false, from, datagram)
    }

    /// Takes the next datagram that reached a client.
    pub fn receive(&self) -> Option<(PeerAddr, Vec<u8>)> {
        self.state.borrow_mut().replies.pop_front()
    }
}

/// A port on a wire.
pub struct SimPort {
    wire: Wire,
    streams: Streams,
    buffers: Vec<Vec<u8>>,
    waker: Waker,
}

impl SimPort {
    /// A port at the end of a wire.
    ///
    /// # Errors
    /// No file descriptors are left.
    pub fn new(wire: Wire) -> io::Result<SimPort> {
        let streams = Streams::new(Rc::clone(&wire.channels));
        Ok(SimPort { wire, streams, buffers: Vec::new(), waker: Waker::new()? })
    }
}

impl Port for SimPort {
    fn poll(&mut self, outbox: &mut Outbox, inbox: &mut Inbox, _timeout: PollTimeout) -> io::Result<Traffic> {
        inbox.clear();
        self.buffers.clear();
        let mut traffic = self.flush(outbox)?;
        let mut state = self.wire.state.borrow_mut();
        while self.buffers.len() < TICK_DATAGRAMS_MAX
            && let Some((peer, bytes)) = state.requests.pop_front()
        {
            inbox.push_train(peer, self.buffers.len() as u16, 0, bytes.len(), 0);
            self.buffers.push(bytes);
        }
        self.streams.poll(&mut state.random, &mut inbox.events, &mut traffic);
        Ok(traffic)
    }

    fn flush(&mut self, outbox: &mut Outbox) -> io::Result<Traffic> {
        let mut traffic = Traffic::default();
        outbox.arrange();
        for run in outbox.runs(1) {
            for frame in run.frames() {
                traffic.datagrams_sent += 1;
                self.wire.state.borrow_mut().carry(true, *run.peer, outbox.bytes(frame));
            }
        }
        let random = &mut self.wire.state.borrow_mut().random;
        self.streams.send_all(&mut outbox.streams, random, &mut traffic);
        outbox.clear();
        Ok(traffic)
    }

    fn bytes(&self, datagram: &Datagram) -> &[u8] {
        &self.buffers[datagram.buffer as usize][datagram.start as usize..][..datagram.length as usize]
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn received(&self, buffer: u16, bytes: u32) -> &[u8] {
        self.streams.bytes(buffer, bytes)
    }

    fn release(&mut self, buffer: u16) {
        self.streams.release(buffer);
    }

    fn resume(&mut self, id: ConnectionId) {
        self.streams.resume(id);
    }

    fn pause(&mut self, id: ConnectionId) -> io::Result<()> {
        self.streams.pause(id);
        Ok(())
    }

    fn unsent(&self, id: ConnectionId) -> usize {
        self.streams.unsent(id)
    }

    fn untaken(&self, id: ConnectionId) -> usize {
        self.streams.untaken(id)
    }

    fn close(&mut self, id: ConnectionId) -> io::Result<()> {
        self.streams.close(id);
        Ok(())
    }
}
