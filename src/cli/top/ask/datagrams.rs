//! Asking over UDP: a few tries, a time limit each.

use super::{PATIENCE, Silence};
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::load::datagrams::frame::Frame;
use crate::load::datagrams::reassembly::{Piece, Reassembly};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Instant;

/// Tries before a server counts as silent: UDP may lose a datagram.
pub(super) const TRIES_MAX: u32 = 3;

/// A socket, and replies of several datagrams.
pub(super) struct Datagrams {
    socket: UdpSocket,
    request_id: u16,
    replies: Reassembly,
}

impl Datagrams {
    /// A socket to `target`.
    pub fn connect(target: SocketAddr) -> io::Result<Datagrams> {
        let any: SocketAddr = match target {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(target)?;
        Ok(Datagrams { socket, request_id: 0, replies: Reassembly::default() })
    }

    /// The body of the whole reply to a request.
    pub fn ask(&mut self, body: &[u8]) -> Result<Vec<u8>, Silence> {
        for _ in 0..TRIES_MAX {
            self.request_id = self.request_id.wrapping_add(1);
            let datagram = [&Frame::request(self.request_id)[..], body].concat();
            match self.socket.send(&datagram).and_then(|_| self.receive()) {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => {}
                Err(e) if e.kind() == ErrorKind::ConnectionRefused => return Err(Silence::Nobody),
                Err(e) => return Err(Silence::Failed(e)),
            }
        }
        Err(Silence::Mute)
    }

    /// The reply to the last request; `None` when the time is over.
    fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        let until = Instant::now() + PATIENCE;
        let mut partial = None;
        let mut whole = None;
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        while whole.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.socket.set_read_timeout(Some(left))?;
            let length = match self.socket.recv(&mut buffer) {
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                received => received?,
            };
            // What is no reply, or one to an earlier try, is nobody's business.
            let Some((frame, body)) = Frame::decode(&buffer[..length]) else { continue };
            if frame.request_id != self.request_id {
                continue;
            }
            let Some(id) = partial.or_else(|| self.replies.begin(frame.total)) else { break };
            partial = Some(id);
            if self.replies.add(id, frame, body) == Piece::Whole {
                whole = Some(self.replies.message(id).to_vec());
            }
        }
        partial.into_iter().for_each(|id| self.replies.release(id));
        Ok(whole)
    }
}
