//! One connection to one server: its socket, what is on its way out and in, and whose replies come next.
//!
//! Replies come in the order of the requests, so each belongs to the front of a queue. A request that was given up keeps its
//! place: its reply still comes, and counts as late. It also keeps its place in the window, for the server is not done with it.

use super::inbox::Inbox;
use super::outbox::{Outbox, WAITING_BYTES_MAX};
use super::socket::{Moved, Socket};
use crate::load::codec::{Answer, NoReply, Split, StreamCodec};
use crate::load::in_flight::Lookup;
use crate::load::requests::Requests;
use crate::load::settle::Taken;
use crate::load::tally::Events;
use std::collections::VecDeque;

/// Time before a connection that broke without a reply, or with an error alone, is opened again, in nanoseconds.
pub const RECONNECT_PAUSE_NS: u64 = 20_000_000;
/// Times in a row that a connection may break so, before it is given up: 5 s.
pub const BREAKS_MAX: u32 = 250;

/// A request whose reply is to come.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Its id.
    pub id: u16,
    /// Answers that are still to come.
    pub left: u8,
}

/// A connection.
pub struct Connection {
    /// `None` while it is broken.
    pub socket: Option<Socket>,
    /// What is to be sent.
    pub outbox: Outbox,
    /// What has come.
    pub inbox: Inbox,
    /// Whose replies come next.
    pub expected: VecDeque<Expected>,
    /// Requests in flight at most.
    window: usize,
    /// Breaks since the last reply that was no error.
    breaks: u32,
    /// When a broken one is opened again, in nanoseconds; `u64::MAX`: never.
    pub retry_ns: u64,
    /// Whether it is told when the socket's queue has room again.
    pub is_watched: bool,
}

impl Connection {
    /// An open one.
    pub fn new(socket: Socket, window: usize) -> Connection {
        Connection {
            socket: Some(socket),
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            expected: VecDeque::with_capacity(window),
            window,
            breaks: 0,
            retry_ns: u64::MAX,
            is_watched: false,
        }
    }

    /// Whether another request may be sent.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.socket.is_some()
            && self.expected.len() < self.window
            && self.outbox.waiting() < WAITING_BYTES_MAX
    }

    /// Whether it is given up.
    pub fn is_given_up(&self) -> bool {
        self.socket.is_none() && self.retry_ns == u64::MAX
    }

    /// Sends what waits, as much as the socket takes; whether the connection still is one.
    pub fn flush(&mut self, events: &mut Events) -> bool {
        let Some(socket) = &self.socket else { return true };
        match self.outbox.write(socket) {
            Moved::Bytes(_) => events.sends += 1,
            // Once until it is told of room.
            Moved::Nothing => events.send_blocked += u64::from(!self.is_watched),
            Moved::Broken => return false,
        }
        true
    }

    /// Settles the replies in `bytes`; how many were used.
    ///
    /// # Errors
    /// They are no replies, or nobody asked for them.
    #[inline]
    pub fn take<C: StreamCodec>(
        &mut self,
        codec: &C,
        lane: usize,
        bytes: &[u8],
        requests: &mut Requests,
    ) -> Result<usize, NoReply> {
        let now_ns = requests.now();
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(front) = self.expected.front_mut() else {
                unasked(codec, rest, requests);
                return Err(NoReply);
            };
            let taken = match requests.lanes[lane].lookup(front.id) {
                Lookup::Waiting(at) => {
                    let (mut settle, slot, keys) = requests.at(lane, at);
                    let taken = settle.stream(codec, slot, keys, &mut front.left, rest, now_ns);
                    if front.left == 0 {
                        requests.lanes[lane].answer(at);
                    }
                    taken
                }
                _ => skip(codec, &mut front.left, rest, &mut requests.tally.events),
            };
            let Ok(taken) = taken else {
                requests.tally.events.garbage += 1;
                return Err(NoReply);
            };
            rest = &rest[taken.bytes..];
            if front.left > 0 {
                break;
            }
            self.expected.pop_front();
            // A server that takes no more connections says so before it closes this one, again and again.
            if !taken.is_refused {
                self.breaks = 0;
            }
        }
        Ok(bytes.len() - rest.len())
    }

    /// The connection broke: its requests are lost.
    pub fn break_off(&mut self, lane: usize, requests: &mut Requests) {
        let now_ns = requests.now();
        self.close(now_ns, &mut requests.tally.events);
        for expected in std::mem::take(&mut self.expected) {
            if let Lookup::Waiting(at) = requests.lanes[lane].lookup(expected.id) {
                requests.lose(lane, at, now_ns, &mut |_| {});
            }
        }
    }

    /// Closes the socket; says when it is opened again.
    fn close(&mut self, now_ns: u64, events: &mut Events) {
        self.socket = None;
        self.is_watched = false;
        self.outbox.clear();
        self.inbox.clear();
        events.disconnects += 1;
        // At once after a reply; later where it broke without one, or after an error.
        self.retry_ns = if self.breaks == 0 { now_ns } else { now_ns + RECONNECT_PAUSE_NS };
        self.breaks += 1;
        if self.breaks > BREAKS_MAX {
            self.retry_ns = u64::MAX;
            events.given_up += 1;
        }
    }

    /// It could not be opened again.
    pub fn note_failure(&mut self, now_ns: u64, events: &mut Events) {
        self.breaks = self.breaks.max(1);
        self.close(now_ns, events);
    }
}

/// Passes over the reply to a request that was given up.
fn skip<C: StreamCodec>(
    codec: &C,
    left: &mut u8,
    bytes: &[u8],
    events: &mut Events,
) -> Result<Taken, NoReply> {
    let (mut rest, mut is_refused) = (bytes, false);
    while *left > 0 {
        match codec.split(rest) {
            Split::Whole(answer, behind) => {
                *left -= u8::from(codec.ends(&answer));
                is_refused = matches!(answer, Answer::Error(_));
                rest = behind;
            }
            Split::Cut => break,
            Split::Garbage => return Err(NoReply),
        }
    }
    events.late += u64::from(*left == 0);
    Ok(Taken { bytes: bytes.len() - rest.len(), is_refused })
}

/// Bytes that no request asked for: most likely why the server closes the connection.
fn unasked<C: StreamCodec>(codec: &C, bytes: &[u8], requests: &mut Requests) {
    requests.tally.events.unknown += 1;
    if let Split::Whole(Answer::Error(line), _) = codec.split(bytes) {
        requests.tally.first_error.keep_first(line);
    }
}
