//! A lane of datagrams: one socket to one server, and in what order its replies came.

use super::socket::{Sent, Socket};
use crate::load::tally::Events;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Waits for room in a full send queue before a train is given up, each of at most [`SEND_WAIT_MS`].
pub const SEND_WAITS_MAX: usize = 20;
/// Longest such wait, in milliseconds.
pub const SEND_WAIT_MS: u8 = 10;

/// A socket and the order of its replies.
pub struct Lane {
    /// The socket.
    pub socket: Socket,
    /// Tick of the youngest request that has a reply.
    pub answered_tick: u32,
}

impl Lane {
    /// Sends a train; waits a bounded time for room. What cannot be sent is counted and will time out as lost.
    pub fn transmit(&mut self, train: &[u8], segment_bytes: usize, events: &mut Events) {
        let datagrams = train.len().div_ceil(segment_bytes.max(1)) as u64;
        for _ in 0..SEND_WAITS_MAX {
            match self.socket.send(train, segment_bytes) {
                Sent::All => {
                    events.sends += 1;
                    events.datagrams_sent += datagrams;
                    return;
                }
                Sent::Failed(_) => break,
                Sent::Full => {
                    events.send_blocked += 1;
                    let mut fds = [PollFd::new(self.socket.fd(), PollFlags::POLLOUT)];
                    // An error here shows again at the next send.
                    let _ = poll(&mut fds, PollTimeout::from(SEND_WAIT_MS));
                }
            }
        }
        events.send_failed += datagrams;
    }

    /// Notes that a request of this tick has a reply; whether one of a later tick had its own before.
    pub fn note_order(&mut self, tick: u32) -> bool {
        let reordered = tick < self.answered_tick;
        self.answered_tick = self.answered_tick.max(tick);
        reordered
    }
}
