//! Requests of one connection that have not left: what the queue of the socket does not take waits here.

use super::socket::{Moved, Socket};

/// Bytes that wait at most before a connection gets no more requests; the last one may be a long value on top.
pub const WAITING_BYTES_MAX: usize = 1 << 20;

/// Requests on their way.
#[derive(Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    /// Where requests are appended.
    #[inline]
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Bytes that wait.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Forgets everything: the connection is a new one.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
    }

    /// Writes once. What is left must be tried again.
    #[inline]
    pub fn write(&mut self, socket: &Socket) -> Moved {
        let moved = socket.write(&self.bytes[self.sent..]);
        if let Moved::Bytes(bytes) = moved {
            self.sent += bytes;
            if self.sent == self.bytes.len() {
                self.clear();
            } else if self.sent >= WAITING_BYTES_MAX {
                self.bytes.drain(..self.sent);
                self.sent = 0;
            }
        }
        moved
    }
}
