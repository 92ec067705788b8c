//! The frame header as a client sees it: what it sends is one datagram, what it gets has a place in a message.

use crate::limits::FRAME_HEADER_BYTES;
use protocol::frame::Header;

/// The header of one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Chosen by the client, repeated in every datagram of the reply.
    pub request_id: u16,
    /// Number of this datagram in its message, from 0.
    pub sequence: u16,
    /// Datagrams of the message, at least 1.
    pub total: u16,
}

impl Frame {
    /// The header of a request, which is always one datagram.
    pub fn request(request_id: u16) -> [u8; FRAME_HEADER_BYTES] {
        Frame { request_id, sequence: 0, total: 1 }.encode()
    }

    /// Its eight bytes; reserved is 0.
    pub fn encode(self) -> [u8; FRAME_HEADER_BYTES] {
        let Frame { request_id, sequence, total } = self;
        Header { request_id, sequence, total, reserved: 0 }.to_bytes()
    }

    /// Splits a datagram into header and body; `None` if it is too short or its sequence is not below its total.
    #[inline]
    pub fn decode(datagram: &[u8]) -> Option<(Frame, &[u8])> {
        let (Header { request_id, sequence, total, .. }, body) = Header::split(datagram)?;
        (sequence < total).then_some((Frame { request_id, sequence, total }, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back() {
        let frame = Frame { request_id: 0x1234, sequence: 2, total: 3 };
        let mut datagram = frame.encode().to_vec();
        assert_eq!(datagram, [0x12, 0x34, 0, 2, 0, 3, 0, 0]);
        datagram.push(b'x');
        assert_eq!(Frame::decode(&datagram), Some((frame, &b"x"[..])));
    }

    #[test]
    fn nonsense_is_no_header() {
        assert_eq!(Frame::decode(&[0; 7]), None);
        assert_eq!(Frame::decode(&[0, 1, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(Frame::decode(&[0, 1, 0, 1, 0, 1, 0, 0]), None);
    }
}
