//! Parcels: datagrams that are suspended, on their way to another owner or waiting for memory.
//!
//! A bounded number of buffers, made at start. A parcel holds a copy of the request, the reply so far and room for
//! the answer to one command; it holds no reference to an item. It travels to the owner and back by pointer.

use crate::config::limits::{
    DATAGRAM_BYTES_MAX, LARGE_PARCELS, LONE_SMALL_PARCELS, REPLY_BYTES_MAX, SMALL_PARCEL_BYTES, SMALL_PARCELS,
};
use crate::io::PeerAddr;
use crate::protocol::Dialect;
use crate::worker::serial::Position;
use std::collections::VecDeque;

/// A suspended datagram.
#[derive(Debug)]
pub struct Parcel {
    is_large: bool,
    /// Whose request it is.
    pub peer: PeerAddr,
    /// Its id.
    pub request_id: u16,
    /// What it is written in.
    pub dialect: Dialect,
    /// Whether the peer may administrate.
    pub is_admin: bool,
    /// The body of the request.
    pub request: Vec<u8>,
    /// Where it stands.
    pub position: Position,
    /// The reply so far, without frame headers.
    pub reply: Vec<u8>,
    /// What the owner answered to the command before `position`.
    pub answer: Box<[u8]>,
    /// Bytes of the answer.
    pub answer_bytes: usize,
    /// When it began to wait for memory, in ns since the server epoch; 0 = it does not.
    pub waits_since_ns: u64,
    /// When its command was sent to the owner, in ns since the server epoch.
    pub asked_ns: u64,
}

/// Boxed, because parcels travel through rings by pointer.
type Shelf = Vec<Box<Parcel>>;

/// A worker's own parcels, and the ones that wait with it.
pub struct Parcels {
    small: Shelf,
    large: Shelf,
    /// Ours that wait for memory of our own shard.
    pub(super) waiting: VecDeque<Box<Parcel>>,
    /// Others' that wait for memory of our shard, and whose they are.
    pub(super) stalled: VecDeque<(usize, Box<Parcel>)>,
}

impl Parcel {
    fn new(is_large: bool) -> Box<Parcel> {
        let (request, reply, answer) = if is_large {
            (DATAGRAM_BYTES_MAX, REPLY_BYTES_MAX, 2 * DATAGRAM_BYTES_MAX)
        } else {
            (SMALL_PARCEL_BYTES, SMALL_PARCEL_BYTES, SMALL_PARCEL_BYTES)
        };
        Box::new(Parcel {
            is_large,
            peer: PeerAddr::from(std::net::SocketAddr::from(([0, 0, 0, 0], 0))),
            request_id: 0,
            dialect: Dialect::Text,
            is_admin: false,
            request: Vec::with_capacity(request),
            position: Position::default(),
            reply: Vec::with_capacity(reply),
            answer: vec![0; answer].into_boxed_slice(),
            answer_bytes: 0,
            waits_since_ns: 0,
            asked_ns: 0,
        })
    }

    /// Replaces the reply so far; says whether it fits.
    pub fn keep_reply<'p>(&mut self, pieces: impl Iterator<Item = &'p [u8]>) -> bool {
        self.reply.clear();
        for piece in pieces {
            if self.reply.len() + piece.len() > self.reply.capacity() {
                return false;
            }
            self.reply.extend_from_slice(piece);
        }
        true
    }
}

impl Parcels {
    /// Parcels that a worker of so many owns.
    pub fn for_workers(workers: usize) -> Parcels {
        // A single worker forwards nothing; what waits with it are stores of a size that has no page yet.
        let small = if workers == 1 { LONE_SMALL_PARCELS } else { SMALL_PARCELS };
        Parcels {
            small: (0..small).map(|_| Parcel::new(false)).collect(),
            large: (0..LARGE_PARCELS).map(|_| Parcel::new(true)).collect(),
            waiting: VecDeque::with_capacity(SMALL_PARCELS + LARGE_PARCELS),
            stalled: VecDeque::with_capacity(SMALL_PARCELS + LARGE_PARCELS),
        }
    }

    /// A free parcel for a request and a reply so far of so many bytes, whose answer may be as large as a value.
    pub fn take(
        &mut self,
        request_bytes: usize,
        reply_bytes: usize,
        answer_is_value: bool,
    ) -> Option<Box<Parcel>> {
        let small = !answer_is_value && request_bytes.max(reply_bytes) <= SMALL_PARCEL_BYTES;
        if small { self.small.pop().or_else(|| self.large.pop()) } else { self.large.pop() }
    }

    /// Makes sure that a parcel takes a reply so far of so many bytes, and an answer that may be as large as a value: a
    /// larger one takes its place if it has to. Says whether it does.
    pub fn enlarge(&mut self, parcel: &mut Box<Parcel>, reply_bytes: usize, answer_is_value: bool) -> bool {
        if reply_bytes <= parcel.reply.capacity() && (parcel.is_large || !answer_is_value) {
            return true;
        }
        if parcel.is_large {
            return false;
        }
        let Some(mut large) = self.large.pop() else { return false };
        (large.peer, large.is_admin) = (parcel.peer, parcel.is_admin);
        (large.request_id, large.dialect, large.position) =
            (parcel.request_id, parcel.dialect, parcel.position);
        large.request.extend_from_slice(&parcel.request);
        self.put_back(std::mem::replace(parcel, large));
        true
    }

    /// Takes a parcel back.
    pub fn put_back(&mut self, mut parcel: Box<Parcel>) {
        parcel.request.clear();
        parcel.reply.clear();
        parcel.waits_since_ns = 0;
        if parcel.is_large { self.large.push(parcel) } else { self.small.push(parcel) }
    }

    /// Whether something waits for memory here.
    pub fn has_stalled(&self) -> bool {
        !self.stalled.is_empty() || !self.waiting.is_empty()
    }
}
