//! How requests travel and replies come back, as a client sees it: one room a transport, behind [`Transport`].
//!
//! A lane is one socket of a connection to one server; a connection is one client of the cache, with a lane to each server.
//! [`super::datagrams`] are trains and frames, [`super::streams`] bytes in order.

use super::codec::Codec;
use super::in_flight::Slot;
use super::requests::Requests;
use super::tally::Events;
use super::wait::Waiter;
use super::workload::Verb;

/// The transport to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// datagrams with memcached's frame header
    Udp,
    /// a TCP connection, requests one behind the other
    Tcp,
    /// the same over a UNIX socket
    Unix,
}

impl Kind {
    /// Its name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        ["udp", "tcp", "unix"][self as usize]
    }

    /// Whether bytes come in order and are not lost.
    pub fn is_stream(self) -> bool {
        self != Kind::Udp
    }
}

/// A request that is about to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The lane.
    pub lane: usize,
    /// The worker of the server that owns its first key.
    pub owner: usize,
    /// Its id in the lane.
    pub id: u16,
    /// What is done to its keys.
    pub verb: Verb,
    /// Keys in it.
    pub count: usize,
}

/// The sockets of one thread.
pub trait Transport: Sized {
    /// What is spoken.
    type Codec: Codec;

    /// For waiting.
    fn waiter(&mut self) -> &mut Waiter;

    /// Requests that a connection sends before it is the next one's turn.
    fn turn(&self) -> usize;

    /// The longest value of a request with a key of `key_bytes`, in bytes.
    fn value_bytes_max(&self, key_bytes: usize) -> usize;

    /// Whether another request may be sent on a lane.
    #[inline]
    fn has_room(&self, _lane: usize) -> bool {
        true
    }

    /// Counts that a request of an open loop was due and no lane had room for it.
    fn note_full(&self, events: &mut Events);

    /// Sends a request, at the next [`Transport::flush`] at the latest; `write` appends its bytes.
    fn send(
        &mut self,
        request: &Request,
        events: &mut Events,
        write: impl FnOnce(&Self::Codec, &mut Vec<u8>),
    );

    /// Sends everything that waits.
    fn flush(&mut self, events: &mut Events);

    /// Receives what has come, and settles it; how much it was.
    fn receive(&mut self, requests: &mut Requests) -> usize;

    /// The request of this slot is over: what was kept of its reply is not needed.
    fn give_up(&mut self, _slot: &mut Slot) {}

    /// Looks after connections that broke; when to look again, in nanoseconds, and whether none is left to wait for.
    fn tend(&mut self, _now_ns: u64, _events: &mut Events) -> Tended {
        Tended { next_ns: u64::MAX, is_alive: true }
    }

    /// Trains that had to be sent datagram by datagram.
    fn trains_split(&self) -> u64 {
        0
    }
}

/// What [`Transport::tend`] came to.
#[derive(Clone, Copy, Debug)]
pub struct Tended {
    /// When a broken connection is tried again, in nanoseconds; `u64::MAX`: there is none.
    pub next_ns: u64,
    /// Whether requests can still be sent, now or later.
    pub is_alive: bool,
}
