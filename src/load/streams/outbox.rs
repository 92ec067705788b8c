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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::target::Peer;
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    #[test]
    fn what_the_socket_does_not_take_waits_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let socket = Socket::connect(&Peer::Unix(path)).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        let mut outbox = Outbox::default();
        let all: Vec<u8> = (0..5 * WAITING_BYTES_MAX).map(|at| (at * 7 + at / 251) as u8).collect();
        outbox.bytes().extend_from_slice(&all);
        while outbox.write(&socket) != Moved::Nothing {}
        assert!(outbox.waiting() > 0 && outbox.waiting() < all.len());
        let mut read = Vec::new();
        let mut buffer = vec![0; 100_000];
        while read.len() < all.len() {
            // There is always something: either it was written, or it is now.
            let length = served.read(&mut buffer).unwrap();
            read.extend_from_slice(&buffer[..length]);
            if outbox.waiting() > 0 {
                assert_ne!(outbox.write(&socket), Moved::Broken);
            }
        }
        assert!(read == all && outbox.waiting() == 0 && outbox.bytes().is_empty());
        drop(served);
        outbox.bytes().push(1);
        assert_eq!(outbox.write(&socket), Moved::Broken);
    }
}
