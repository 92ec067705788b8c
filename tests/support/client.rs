//! A [`Peer`] to which silence is an answer, too.

use super::peer::Peer;
use std::net::SocketAddr;
use std::time::Duration;

/// A client that sends one datagram and waits for one reply message.
pub struct Client(Peer);

impl Client {
    pub fn new(server: SocketAddr) -> Client {
        Client(Peer::new(server))
    }

    /// As [`Peer::wants_room_for`].
    pub fn wants_room_for(&self, bytes: usize) -> bool {
        self.0.wants_room_for(bytes)
    }

    /// Sends a datagram as it is, frame header included.
    pub fn send_raw(&self, datagram: &[u8]) {
        self.0.send_raw(datagram);
    }

    /// Sends a body in a frame and returns the body of the whole reply; `None` after two seconds of silence.
    pub fn ask(&mut self, body: &[u8]) -> Option<Vec<u8>> {
        let id = self.0.send(body);
        self.0.reply_within(id, Duration::from_secs(2))
    }
}
