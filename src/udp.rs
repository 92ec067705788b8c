//! The UDP sink: the one place that pairs an outbox with replies.
//!
//! ```text
//! room of the outbox  │ 8 │ Reply: bytes, one behind the other …   │      lent
//!                     │hdr│ 1392 bytes │hdr│ 1392 bytes │hdr│ rest │      framed in place, and committed to the peer
//! ```
//! A sink that is dropped before it is committed sends nothing: its request goes on elsewhere.

use crate::limits::{FRAME_HEADER_BYTES, REPLY_BODY_BYTES_MAX};
use crate::net::{Outbox, PeerAddr};
use protocol::{Dialect, Reply, datagrams};

/// Room for the reply to one request.
pub struct UdpSink<'s> {
    outbox: &'s mut Outbox,
    peer: &'s PeerAddr,
    request_id: u16,
    dialect: Dialect,
}

impl<'s> UdpSink<'s> {
    /// A sink for the reply to a request of `peer`. The outbox must have room ([`Outbox::has_room`]).
    #[inline]
    pub fn new(outbox: &'s mut Outbox, peer: &'s PeerAddr, request_id: u16, dialect: Dialect) -> UdpSink<'s> {
        UdpSink { outbox, peer, request_id, dialect }
    }

    /// The reply, which is empty yet; call [`UdpSink::commit`] with the bytes that it has in the end.
    #[inline]
    pub fn reply(&mut self) -> Reply<'_> {
        let dialect = self.dialect;
        Reply::new(self.body(), 0, dialect)
    }

    /// The first `bytes` of the lent reply go to the peer; of an empty reply nothing is sent.
    #[inline]
    pub fn commit(self, bytes: usize) {
        let message_bytes = datagrams::frame(self.outbox.room(), bytes, self.request_id, self.dialect);
        self.outbox.commit(self.peer, message_bytes);
    }

    /// A reply that was written elsewhere goes to the peer. It has at most [`REPLY_BODY_BYTES_MAX`] bytes.
    pub fn send(mut self, reply: &[u8]) {
        self.body()[..reply.len()].copy_from_slice(reply);
        self.commit(reply.len());
    }

    #[inline]
    fn body(&mut self) -> &mut [u8] {
        &mut self.outbox.room()[FRAME_HEADER_BYTES..][..REPLY_BODY_BYTES_MAX]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::REPLY_DATAGRAM_BYTES_MAX;
    use protocol::frame::Header;

    fn peer() -> PeerAddr {
        PeerAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], 1)))
    }

    /// The datagrams that wait, in the order in which they were committed, without their headers.
    fn bodies(outbox: &mut Outbox) -> Vec<(Header, Vec<u8>)> {
        outbox.arrange();
        let frames: Vec<_> = outbox.runs(64).flat_map(|run| run.frames().collect::<Vec<_>>()).collect();
        let mut sorted = frames.clone();
        sorted.sort_by_key(|frame| frame.start);
        let split = |frame| Header::split(outbox.bytes(frame)).map(|(header, body)| (header, body.to_vec()));
        sorted.into_iter().filter_map(split).collect()
    }

    #[test]
    fn a_reply_is_sent_the_same_wherever_it_was_written() {
        for bytes in [1, 1392, 1393, 5000] {
            let (mut lent, mut copied) = (Outbox::default(), Outbox::default());
            let value = vec![b'x'; bytes];
            let peer = peer();
            let mut sink = UdpSink::new(&mut lent, &peer, 7, Dialect::Text);
            let mut reply = sink.reply();
            reply.put(&value);
            let written = reply.bytes();
            sink.commit(written);
            UdpSink::new(&mut copied, &peer, 7, Dialect::Text).send(&value);
            let sent = bodies(&mut lent);
            assert_eq!(sent, bodies(&mut copied));
            assert_eq!(sent.len(), bytes.div_ceil(1392));
            assert_eq!(sent.into_iter().flat_map(|(_, body)| body).collect::<Vec<_>>(), value);
        }
    }

    #[test]
    fn a_sink_that_is_dropped_or_empty_sends_nothing() {
        let (mut outbox, peer) = (Outbox::default(), peer());
        UdpSink::new(&mut outbox, &peer, 7, Dialect::Text).reply().put(b"STORED\r\n");
        UdpSink::new(&mut outbox, &peer, 7, Dialect::Text).commit(0);
        assert!(outbox.is_empty());
    }

    #[test]
    fn the_longest_reply_fits_the_room_of_an_outbox() {
        let (mut outbox, peer) = (Outbox::default(), peer());
        let padded = Dialect::Batch { padded: true };
        UdpSink::new(&mut outbox, &peer, 7, padded).send(&vec![b'x'; REPLY_BODY_BYTES_MAX]);
        let sent = bodies(&mut outbox);
        let bytes: usize = sent.iter().map(|(_, body)| body.len()).sum();
        assert_eq!(bytes, REPLY_BODY_BYTES_MAX);
        assert!(sent.iter().all(|(_, body)| body.len() <= REPLY_DATAGRAM_BYTES_MAX - FRAME_HEADER_BYTES));
    }
}
