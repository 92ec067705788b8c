//! A port whose other end is in memory: bytes handed over and taken, without a heap.

use sherwood::limits::{STREAM_BUFFER_BYTES, STREAM_BUFFERS};
use sherwood::net::{
    self, ConnectionId, Datagram, Inbox, Outbox, PeerAddr, PollTimeout, Port, StreamEvent, StreamPeer, Waker,
};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;

/// Requests for the next tick and how the last ones were answered.
#[derive(Default)]
pub struct MemoryPort {
    pub bytes: Vec<u8>,
    pub datagrams: Vec<Range<usize>>,
    /// Replies by the first byte of their body.
    pub answers: Answers,
    /// Connections that are to be there.
    pub connections: u32,
    /// What they send: whole commands, none longer than a receive buffer.
    pub pieces: Vec<(u32, Range<usize>)>,
    pub sends: u64,
    pub bytes_sent: u64,
}

pub struct Answers(pub [u64; 256]);

impl Default for Answers {
    fn default() -> Answers {
        Answers([0; 256])
    }
}

/// A port whose other end is a belt.
pub struct BeltPort {
    belt: Rc<RefCell<MemoryPort>>,
    bytes: Vec<u8>,
    waker: Waker,
    opened: u32,
    /// Whether connections may send.
    wanted: Vec<bool>,
    buffers: Vec<Vec<u8>>,
    free: Vec<u16>,
}

impl BeltPort {
    pub fn new(belt: &Rc<RefCell<MemoryPort>>) -> BeltPort {
        // As much as a tick's requests can be.
        belt.borrow_mut().bytes = Vec::with_capacity(4 << 20);
        BeltPort {
            belt: Rc::clone(belt),
            bytes: Vec::with_capacity(4 << 20),
            waker: Waker::new().unwrap(),
            opened: 0,
            wanted: vec![false; CONNECTIONS as usize],
            buffers: (0..STREAM_BUFFERS).map(|_| Vec::with_capacity(STREAM_BUFFER_BYTES)).collect(),
            free: (0..STREAM_BUFFERS as u16).collect(),
        }
    }

    /// Puts what connections have sent into buffers.
    fn poll_streams(&mut self, belt: &mut MemoryPort, events: &mut Vec<StreamEvent>) {
        while self.opened < belt.connections {
            events.push(StreamEvent::Opened(connection(self.opened), StreamPeer::Unix));
            self.opened += 1;
        }
        for (place, range) in belt.pieces.drain(..) {
            if !self.wanted[place as usize] {
                continue;
            }
            let Some(buffer) = self.free.pop() else { continue };
            let (id, bytes, into) =
                (connection(place), range.len() as u32, &mut self.buffers[buffer as usize]);
            into.clear();
            into.extend_from_slice(&self.bytes[range]);
            events.push(StreamEvent::Received { id, buffer, bytes });
        }
    }
}

pub const CONNECTIONS: u32 = 40;

fn connection(place: u32) -> ConnectionId {
    ConnectionId { place, turn: 0 }
}

impl Port for BeltPort {
    fn poll(
        &mut self,
        outbox: &mut Outbox,
        inbox: &mut Inbox,
        _: PollTimeout,
    ) -> std::io::Result<net::Traffic> {
        let traffic = self.flush(outbox)?;
        inbox.clear();
        let belt = Rc::clone(&self.belt);
        let belt = &mut *belt.borrow_mut();
        std::mem::swap(&mut self.bytes, &mut belt.bytes);
        for range in belt.datagrams.drain(..) {
            inbox.push_train(client(), 0, range.start, range.len(), 0);
        }
        self.poll_streams(belt, &mut inbox.events);
        belt.bytes.clear();
        Ok(traffic)
    }

    fn flush(&mut self, outbox: &mut Outbox) -> std::io::Result<net::Traffic> {
        outbox.arrange();
        for run in outbox.runs(64) {
            for frame in run.frames() {
                self.belt.borrow_mut().answers.0[outbox.bytes(frame)[8] as usize] += 1;
            }
        }
        let mut belt = self.belt.borrow_mut();
        for send in outbox.streams.sends() {
            belt.sends += 1;
            belt.bytes_sent += outbox.streams.pieces(send).map(<[u8]>::len).sum::<usize>() as u64;
        }
        outbox.clear();
        Ok(net::Traffic::default())
    }

    fn received(&self, buffer: u16, bytes: u32) -> &[u8] {
        &self.buffers[buffer as usize][..bytes as usize]
    }

    fn release(&mut self, buffer: u16) {
        self.free.push(buffer);
    }

    fn resume(&mut self, id: ConnectionId) {
        self.wanted[id.place as usize] = true;
    }

    fn pause(&mut self, id: ConnectionId) -> std::io::Result<()> {
        self.wanted[id.place as usize] = false;
        Ok(())
    }

    fn bytes(&self, datagram: &Datagram) -> &[u8] {
        &self.bytes[datagram.start as usize..][..datagram.length as usize]
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

fn client() -> PeerAddr {
    PeerAddr::from(SocketAddr::from(([127, 0, 0, 1], 9_999)))
}
