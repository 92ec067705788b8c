//! What has come of a stream and is not used yet.
//!
//! ```text
//! held   │ cut reply │ room ≥ 64 KiB │      read here while a reply is cut
//! shared │ whole replies …          │      read here otherwise: replies are used where they are
//! ```
//! A connection whose replies come whole needs no memory of its own. A held reply is at most the longest value with its line.

use super::socket::{Moved, Socket};
use crate::limits::VALUE_BYTES_LIMIT;
use crate::load::codec::NoReply;

/// Bytes that all connections of a thread read into.
pub const SHARED_BYTES: usize = 256 << 10;
/// Room for the next read behind a cut reply, in bytes.
const ROOM_BYTES: usize = 64 << 10;
/// Bytes of a reply that is cut at most: a value, and lines.
const HELD_BYTES_MAX: usize = VALUE_BYTES_LIMIT + (4 << 10);

/// The beginning of a reply.
#[derive(Default)]
pub struct Inbox {
    held: Vec<u8>,
    filled: usize,
}

/// What a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Bytes came; whether there may be more now.
    Some {
        /// The room was full.
        more: bool,
    },
    /// Nothing came.
    Nothing,
    /// The connection is over, or what came is no reply.
    Broken,
}

impl Inbox {
    /// Forgets everything: the connection is a new one.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// Reads once. `take` gets all bytes that are not used yet, and says how many of them it has used, or that they are no
    /// reply.
    #[inline]
    pub fn read(
        &mut self,
        socket: &Socket,
        shared: &mut [u8],
        take: impl FnOnce(&[u8]) -> Result<usize, NoReply>,
    ) -> Read {
        if self.filled > 0 {
            return self.read_behind(socket, take);
        }
        let bytes = match socket.read(shared) {
            Moved::Bytes(bytes) => bytes,
            Moved::Nothing => return Read::Nothing,
            Moved::Broken => return Read::Broken,
        };
        let Ok(used) = take(&shared[..bytes]) else { return Read::Broken };
        if used < bytes {
            self.hold(&shared[used..bytes]);
        }
        Read::Some { more: bytes == shared.len() }
    }

    /// Reads behind a cut reply.
    fn read_behind(&mut self, socket: &Socket, take: impl FnOnce(&[u8]) -> Result<usize, NoReply>) -> Read {
        if self.filled > HELD_BYTES_MAX {
            return Read::Broken;
        }
        self.make_room(self.filled + ROOM_BYTES);
        let room = self.held.len() - self.filled;
        let bytes = match socket.read(&mut self.held[self.filled..]) {
            Moved::Bytes(bytes) => bytes,
            Moved::Nothing => return Read::Nothing,
            Moved::Broken => return Read::Broken,
        };
        self.filled += bytes;
        let Ok(used) = take(&self.held[..self.filled]) else { return Read::Broken };
        if used > 0 {
            self.held.copy_within(used..self.filled, 0);
            self.filled -= used;
        }
        Read::Some { more: bytes == room }
    }

    fn hold(&mut self, rest: &[u8]) {
        self.make_room(rest.len());
        self.held[..rest.len()].copy_from_slice(rest);
        self.filled = rest.len();
    }

    fn make_room(&mut self, bytes: usize) {
        if self.held.len() < bytes {
            self.held.resize(bytes, 0);
        }
    }
}
