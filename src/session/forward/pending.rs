//! Pending requests: datagrams and parts of streams that are suspended or held, on their way to another owner or waiting for something.
//!
//! A bounded number of buffers, made at start. A pending request holds a copy of the request and the reply so far, which grows in
//! place: whoever executes a command of it, its home worker or the owner of a key, writes the answer behind what is
//! there. It holds no reference to an item. It travels to the owner and back by pointer.

use crate::guard::{Admitted, Right};
use crate::limits::{
    DATAGRAM_BYTES_MAX, LARGE_REQUEST_KEYS, LARGE_REQUESTS, LARGE_REQUESTS_FOR_READS,
    LARGE_REQUESTS_RESERVED, LONE_SMALL_REQUESTS, LONG_REPLY_ROOM_BYTES, LONG_REQUESTS,
    LONG_REQUESTS_RESERVED, PENDING_REQUESTS_MAX, REPLY_BODY_BYTES_MAX, SMALL_REQUEST_BYTES,
    SMALL_REQUEST_KEYS, SMALL_REQUEST_REPLY_BYTES, SMALL_REQUESTS,
};
use crate::net::{ConnectionId, PeerAddr};
use crate::session::forward::errand::Errand;
use crate::session::order::footprint::Footprint;
use crate::session::serial::Position;
use cache::memory::Unfinished;
use protocol::Dialect;
use std::collections::VecDeque;

/// A suspended or held datagram, or a part of a stream.
#[derive(Debug)]
pub struct PendingRequest {
    size: Size,
    /// Whose request it is.
    pub peer: PeerAddr,
    /// Its id.
    pub request_id: u16,
    /// The connection that it is part of; `None` for a datagram.
    pub connection: Option<ConnectionId>,
    /// What it is written in.
    pub dialect: Dialect,
    /// What it may do.
    pub rights: Right,
    /// The body of the request.
    pub request: Vec<u8>,
    /// Where it stands.
    pub position: Position,
    /// What it waits for with its home worker.
    pub waits_for: WaitsFor,
    /// Since when it waits for memory, in ns since the server epoch; 0 = it does not.
    pub waits_since_ns: u64,
    /// What it is for.
    pub errand: Errand,
    /// The memory of a long value that it brings.
    pub value: Option<Unfinished>,
    /// To which owner its command was sent last.
    pub owner: usize,
    /// When its command was sent to the owner, in ns since the server epoch.
    pub sent_ns: u64,
    /// What its commands touch.
    pub footprint: Footprint,
    /// Its only command was sent to the owner of its only key, where others may follow it.
    pub is_lone: bool,
    /// The owner did nothing, because the answer did not fit; it keeps the place in the line of the key.
    pub needs_room: bool,
    reply: Box<[u8]>,
    reply_bytes: usize,
}

/// What a pending request has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// A small request, and a small reply.
    Small,
    /// Any request, and a small reply.
    Long,
    /// Any request, and any reply.
    Large,
}

/// What a pending request waits for with its home worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitsFor {
    /// Its next turn.
    #[default]
    Turn,
    /// Memory of our own shard.
    Memory,
    /// A larger pending request.
    Room,
}

impl Size {
    /// Bytes of a request that there is room for.
    fn request_bytes(self) -> usize {
        if self == Size::Small { SMALL_REQUEST_BYTES } else { DATAGRAM_BYTES_MAX }
    }
}

impl PendingRequest {
    /// Bytes of the buffers of a small one.
    pub const SMALL_BYTES: usize = SMALL_REQUEST_BYTES + SMALL_REQUEST_REPLY_BYTES + 2 * SMALL_REQUEST_KEYS;
    /// The same of a long one.
    pub const LONG_BYTES: usize = DATAGRAM_BYTES_MAX + SMALL_REQUEST_REPLY_BYTES + 2 * LARGE_REQUEST_KEYS;
    /// The same of a large one.
    pub const LARGE_BYTES: usize = DATAGRAM_BYTES_MAX + REPLY_BODY_BYTES_MAX + 2 * LARGE_REQUEST_KEYS;

    fn new(size: Size) -> Box<PendingRequest> {
        let (request, reply, keys) = match size {
            Size::Small => (SMALL_REQUEST_BYTES, SMALL_REQUEST_REPLY_BYTES, SMALL_REQUEST_KEYS),
            Size::Long => (DATAGRAM_BYTES_MAX, SMALL_REQUEST_REPLY_BYTES, LARGE_REQUEST_KEYS),
            Size::Large => (DATAGRAM_BYTES_MAX, REPLY_BODY_BYTES_MAX, LARGE_REQUEST_KEYS),
        };
        Box::new(PendingRequest {
            size,
            peer: PeerAddr::from(std::net::SocketAddr::from(([0, 0, 0, 0], 0))),
            request_id: 0,
            connection: None,
            dialect: Dialect::Text,
            rights: Right::Nothing,
            request: Vec::with_capacity(request),
            position: Position::default(),
            waits_for: WaitsFor::Turn,
            waits_since_ns: 0,
            errand: Errand::Commands,
            value: None,
            owner: 0,
            sent_ns: 0,
            footprint: Footprint::with_capacity(keys),
            is_lone: false,
            needs_room: false,
            reply: vec![0; reply].into_boxed_slice(),
            reply_bytes: 0,
        })
    }

    /// Whether its reply cannot get more room than it has.
    pub fn is_large(&self) -> bool {
        self.size == Size::Large
    }

    /// Gets room for an answer with the longest value, if it is a stream's and has not got it: a datagram cannot carry one.
    #[cold]
    pub(super) fn lengthen(&mut self, value_bytes_max: usize) -> bool {
        let bytes = value_bytes_max + LONG_REPLY_ROOM_BYTES;
        if !self.is_large() || self.connection.is_none() || self.reply.len() >= bytes {
            return false;
        }
        let mut longer = vec![0; bytes].into_boxed_slice();
        longer[..self.reply_bytes].copy_from_slice(self.reply());
        self.reply = longer;
        true
    }

    /// Becomes a copy of a datagram, with the reply so far. It has room for both.
    pub(in crate::session) fn begin(&mut self, admitted: &Admitted<'_>, reply: &[u8]) {
        let Admitted { peer, request_id, dialect, rights, body } = *admitted;
        (self.peer, self.request_id, self.dialect, self.rights) = (*peer, request_id, dialect, rights);
        self.fill(body, reply);
    }

    /// The datagram whose copy it is, as it was admitted.
    #[inline]
    pub(super) fn admitted(&self) -> Admitted<'_> {
        let PendingRequest { request_id, dialect, rights, .. } = *self;
        Admitted { peer: &self.peer, request_id, dialect, rights, body: &self.request }
    }

    fn fill(&mut self, body: &[u8], reply: &[u8]) {
        self.request.extend_from_slice(body);
        self.reply[..reply.len()].copy_from_slice(reply);
        self.reply_bytes = reply.len();
    }

    /// Takes the reply out, to write on in it; the request stays here. [`PendingRequest::put_reply`] puts it back.
    pub fn take_reply(&mut self) -> (Box<[u8]>, usize) {
        (std::mem::take(&mut self.reply), self.reply_bytes)
    }

    /// Puts the reply back, which has so many bytes now.
    pub fn put_reply(&mut self, reply: Box<[u8]>, bytes: usize) {
        (self.reply, self.reply_bytes) = (reply, bytes);
    }

    /// The reply so far.
    pub fn reply(&self) -> &[u8] {
        &self.reply[..self.reply_bytes]
    }

    /// Moves all that `from` holds into this empty, larger pending request.
    fn take_over(&mut self, from: &PendingRequest) {
        (self.peer, self.request_id, self.dialect) = (from.peer, from.request_id, from.dialect);
        self.connection = from.connection;
        (self.rights, self.position) = (from.rights, from.position);
        (self.is_lone, self.needs_room, self.owner) = (from.is_lone, from.needs_room, from.owner);
        self.footprint.copy_from(&from.footprint);
        self.fill(&from.request, from.reply());
    }

    fn clear(&mut self) {
        self.request.clear();
        // A command that was copied aside may be longer than any datagram.
        self.request.shrink_to(self.size.request_bytes());
        (self.errand, self.value) = (Errand::Commands, None);
        (self.reply_bytes, self.waits_since_ns, self.position) = (0, 0, Position::default());
        (self.waits_for, self.is_lone, self.needs_room) = (WaitsFor::Turn, false, false);
        self.connection = None;
        if self.reply.len() > REPLY_BODY_BYTES_MAX {
            // Address space until it is used.
            self.reply = vec![0; REPLY_BODY_BYTES_MAX].into_boxed_slice();
        }
    }
}

/// Boxed, because pending requests travel through rings by pointer.
type FreeList = Vec<Box<PendingRequest>>;

/// A worker's own pending requests, and the ones that wait with it.
pub struct RequestPool {
    small: FreeList,
    long: FreeList,
    large: FreeList,
    /// Ours that were begun, and wait here.
    pub(super) waiting: VecDeque<Box<PendingRequest>>,
    /// Ours that have not begun, behind others of their clients on the same keys, in the order in which they came.
    pub(super) held: VecDeque<Box<PendingRequest>>,
}

impl RequestPool {
    /// Pending requests that a worker of so many owns.
    pub fn for_workers(workers: usize) -> RequestPool {
        // A single worker forwards nothing; what waits with it are stores of a size that has no page yet.
        let small = if workers == 1 { LONE_SMALL_REQUESTS } else { SMALL_REQUESTS };
        let make = |count, size| (0..count).map(|_| PendingRequest::new(size)).collect();
        RequestPool {
            small: make(small, Size::Small),
            long: make(LONG_REQUESTS, Size::Long),
            large: make(LARGE_REQUESTS, Size::Large),
            waiting: VecDeque::with_capacity(PENDING_REQUESTS_MAX),
            held: VecDeque::with_capacity(PENDING_REQUESTS_MAX),
        }
    }

    /// Whether there are so few pending requests that one must be chosen with care; if not, [`RequestPool::take`] finds one for any request of
    /// so many bytes, whatever its reply so far.
    #[inline]
    pub fn are_short(&self, request_bytes: usize) -> bool {
        let has_small = request_bytes <= SMALL_REQUEST_BYTES && !self.small.is_empty();
        !has_small && self.long.len() <= LONG_REQUESTS_RESERVED
            || self.large.len() <= LARGE_REQUESTS_FOR_READS
    }

    /// Whether there is one for a request with this footprint, wherever it has to be suspended first.
    pub(super) fn have(&self, request_bytes: usize, footprint: &Footprint) -> bool {
        let has_store = footprint.has_store();
        if footprint.keys().is_empty() && !has_store {
            // It looks nothing up.
            return true;
        }
        let has_small = request_bytes <= SMALL_REQUEST_BYTES && !self.small.is_empty();
        // A lone command has no reply when it is suspended.
        (has_small || self.has_long(has_store) || self.large.len() > LARGE_REQUESTS_RESERVED)
            && (footprint.lone_key().is_some() || self.has_large(has_store))
    }

    fn has_long(&self, has_store: bool) -> bool {
        self.long.len() > if has_store { LONG_REQUESTS_RESERVED } else { 0 }
    }

    fn has_large(&self, has_store: bool) -> bool {
        self.large.len() > if has_store { LARGE_REQUESTS_FOR_READS } else { 0 }
    }

    /// A free pending request for a request and a reply so far of so many bytes: the smallest that there is. Reads keep some for
    /// themselves, so that they wait for reads only, which are soon done; and long replies keep some, which have no other place.
    pub fn take(
        &mut self,
        request_bytes: usize,
        reply_bytes: usize,
        has_store: bool,
    ) -> Option<Box<PendingRequest>> {
        if reply_bytes > SMALL_REQUEST_REPLY_BYTES / 2 {
            return if self.has_large(has_store) { self.large.pop() } else { None };
        }
        let small = if request_bytes <= SMALL_REQUEST_BYTES { self.small.pop() } else { None };
        if small.is_some() {
            small
        } else if self.has_long(has_store) {
            self.long.pop()
        } else if self.large.len() > LARGE_REQUESTS_RESERVED {
            self.large.pop()
        } else {
            None
        }
    }

    /// Puts a large pending request in the place of one with a small reply; says whether there was one.
    pub fn enlarge(&mut self, pending: &mut Box<PendingRequest>) -> bool {
        if !self.has_large(pending.footprint.has_store()) {
            return false;
        }
        let Some(mut large) = self.large.pop() else { return false };
        large.take_over(pending);
        self.put_back(std::mem::replace(pending, large));
        true
    }

    /// Takes a pending request back.
    pub fn put_back(&mut self, mut pending: Box<PendingRequest>) {
        pending.clear();
        match pending.size {
            Size::Small => self.small.push(pending),
            Size::Long => self.long.push(pending),
            Size::Large => self.large.push(pending),
        }
    }
}
