//! How a reply lies in datagrams: memcached's UDP frames.
//!
//! A reply is written in one piece, behind room for one frame header. One that fits a datagram only gets its header there. A
//! longer one is moved apart, from its end, so that each datagram has room for its own.
//!
//! ```text
//! written    │ 8 │ body                                                  │
//! framed     │hdr│ 1392 bytes of body │hdr│ 1392 bytes of body │hdr│ rest │ padding
//!            └ datagram 0 ────────────┴ datagram 1 ────────────┴ … ──────┘
//! ```
//! All datagrams but the last are equally long and stand side by side, so one GSO send can carry them. The last datagram of
//! the reply to a batch frame may be padded with zeros.

use crate::batch::padded_bytes;
use crate::frame::{Dialect, Header};
use crate::limits::{FRAME_HEADER_BYTES, REPLY_DATAGRAM_BYTES_MAX};

/// Bytes of a reply that one datagram carries.
const BODY_BYTES_MAX: usize = REPLY_DATAGRAM_BYTES_MAX - FRAME_HEADER_BYTES;

/// Bytes of a reply that a message of so many bytes carries beside the frame headers.
pub const fn body_bytes_max(message_bytes: usize) -> usize {
    let rest = message_bytes % REPLY_DATAGRAM_BYTES_MAX;
    message_bytes / REPLY_DATAGRAM_BYTES_MAX * BODY_BYTES_MAX + rest.saturating_sub(FRAME_HEADER_BYTES)
}

/// Makes the datagrams of a reply whose `bytes` bytes stand in `message` behind room for one frame header. Returns the bytes
/// of the whole message; 0 for an empty reply, which is not sent.
///
/// # Panics
/// When the message is too short for the datagrams, see [`body_bytes_max`].
#[inline]
pub fn frame(message: &mut [u8], bytes: usize, request_id: u16, dialect: Dialect) -> usize {
    if bytes == 0 {
        return 0;
    }
    let header = Header { request_id, sequence: 0, total: 1, reserved: dialect.mark() };
    let end = if bytes <= BODY_BYTES_MAX {
        put_header(message, 0, header);
        FRAME_HEADER_BYTES + bytes
    } else {
        move_apart(message, bytes, header)
    };
    if dialect == (Dialect::Batch { padded: true }) { pad(message, end) } else { end }
}

#[inline]
fn put_header(message: &mut [u8], at: usize, header: Header) {
    message[at..at + FRAME_HEADER_BYTES].copy_from_slice(&header.to_bytes());
}

/// Moves the bodies of several datagrams to their places, and puts the headers before them; returns the end of the last.
fn move_apart(message: &mut [u8], bytes: usize, header: Header) -> usize {
    let count = bytes.div_ceil(BODY_BYTES_MAX);
    let total = u16::try_from(count).expect("the datagrams of a reply fit 16 bits");
    // All move towards the end, so the last one goes first; its header stands behind what has not been moved yet.
    for sequence in (0..total).rev() {
        let (from, start) = (
            FRAME_HEADER_BYTES + sequence as usize * BODY_BYTES_MAX,
            sequence as usize * REPLY_DATAGRAM_BYTES_MAX,
        );
        let end = (from + BODY_BYTES_MAX).min(FRAME_HEADER_BYTES + bytes);
        message.copy_within(from..end, start + FRAME_HEADER_BYTES);
        put_header(message, start, Header { sequence, total, ..header });
    }
    bytes + count * FRAME_HEADER_BYTES
}

/// Fills the last datagram, which ends at `end`, up with zeros, to one of the few lengths that datagrams have.
fn pad(message: &mut [u8], end: usize) -> usize {
    let start = (end - 1) / REPLY_DATAGRAM_BYTES_MAX * REPLY_DATAGRAM_BYTES_MAX;
    let padded = (start + padded_bytes(end - start)).min(message.len());
    message[end..padded].fill(0);
    padded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{MARK, OperationResult, Status};
    use crate::reply::Reply;
    use proptest::prelude::*;

    /// Makes a message in `buffer`, of a reply that `write` writes, under id 77; returns its bytes.
    fn message(buffer: &mut [u8], dialect: Dialect, write: impl FnOnce(&mut Reply<'_>)) -> usize {
        let body_bytes = body_bytes_max(buffer.len());
        let room = &mut buffer[FRAME_HEADER_BYTES..][..body_bytes];
        let mut reply = Reply::new(room, 0, dialect);
        write(&mut reply);
        let bytes = reply.bytes();
        frame(buffer, bytes, 77, dialect)
    }

    /// The body of a message whose headers are right.
    fn body(message: &[u8], reserved: u16) -> Vec<u8> {
        let split = |datagram| Header::split(datagram).unwrap();
        let datagrams: Vec<_> = message.chunks(REPLY_DATAGRAM_BYTES_MAX).map(split).collect();
        let total = datagrams.len() as u16;
        for (sequence, (header, _)) in (0..).zip(&datagrams) {
            assert_eq!(*header, Header { request_id: 77, sequence, total, reserved });
        }
        datagrams.iter().flat_map(|(_, body)| body.iter().copied()).collect()
    }

    #[test]
    fn one_sequence_space_and_a_true_total() {
        let value: Vec<u8> = (0..5000u32).map(|i| i as u8).collect();
        for bytes in [0, 1, 1300, 1365, 1366, 1367, 1368, 2758, 2760, 5000] {
            let mut want = format!("VALUE key 3 {bytes} 9\r\n").into_bytes();
            want.extend_from_slice(&value[..bytes]);
            want.extend_from_slice(b"\r\nEND\r\n");
            let mut buffer = vec![0; 10_000];
            let length = message(&mut buffer, Dialect::Text, |reply| {
                reply.put_value_head(b"key", 3, bytes, Some(9));
                reply.put(&value[..bytes]);
                reply.put(b"\r\nEND\r\n");
                assert_eq!(reply.written(), want);
            });
            assert_eq!(body(&buffer[..length], 0), want);
        }
    }

    #[test]
    fn a_message_carries_as_many_bytes_as_its_datagrams_have_room_for() {
        for (message_bytes, want) in
            [(0, 0), (8, 0), (9, 1), (1400, 1392), (1405, 1392), (1409, 1393), (2800, 2784)]
        {
            assert_eq!(body_bytes_max(message_bytes), want);
            let mut buffer = vec![0; message_bytes];
            assert!(frame(&mut buffer, want, 1, Dialect::Text) <= message_bytes);
        }
    }

    #[test]
    fn what_does_not_fit_becomes_an_error() {
        for buffer_bytes in [1400, 1500, 2800, 4100] {
            let mut buffer = vec![0; buffer_bytes];
            let length = message(&mut buffer, Dialect::Text, |reply| {
                reply.put(b"STORED\r\n");
                let mark = reply.mark();
                reply.put_value_head(b"key", 0, 4000, None);
                reply.put(&[b'x'; 4000]);
                assert!(reply.overflown());
                reply.settle(mark);
            });
            let want = b"STORED\r\nSERVER_ERROR object too large for udp\r\n";
            assert_eq!(body(&buffer[..length], 0), want);
        }
    }

    #[test]
    fn results_are_padded_with_zeros_where_that_is_agreed() {
        for (padded, value_bytes, want) in
            [(false, 5, 29), (true, 5, 64), (true, 1000, 1024), (true, 1376, 1400), (true, 1377, 1464)]
        {
            let mut buffer = vec![0xaa; 10_000];
            let value = vec![b'x'; value_bytes];
            let length = message(&mut buffer, Dialect::Batch { padded }, |reply| {
                reply.put_result(Status::Value, 7, 9, &value);
            });
            assert_eq!(length, want);
            let body = body(&buffer[..want], MARK);
            let (outcome, padding) = OperationResult::split(&body).unwrap();
            assert_eq!((outcome.client_flags, outcome.cas, outcome.value.len()), (7, 9, value_bytes));
            assert!(padding.iter().all(|&byte| byte == 0));
        }
        let mut buffer = vec![0; 1400];
        let length = message(&mut buffer, Dialect::Batch { padded: false }, |reply| {
            let mark = reply.mark();
            reply.put_result(Status::Value, 0, 0, &[b'x'; 4000]);
            reply.settle(mark);
        });
        assert_eq!(OperationResult::split(&buffer[8..length]).unwrap().0.status, Status::NoRoom);
    }

    proptest! {
        /// Whatever the results, and wherever 1400 bytes end in them: what a client puts together is what was written.
        #[test]
        fn results_come_back(
            all in prop::collection::vec((0usize..13, any::<u32>(), any::<u64>(), 0usize..2000), 1..30), padded: bool,
        ) {
            let value: Vec<u8> = (0..2000u32).map(|i| (i * 7) as u8).collect();
            let mut buffer = vec![0xaa; 70_000];
            let length = message(&mut buffer, Dialect::Batch { padded }, |reply| {
                for &(status, client_flags, cas, bytes) in &all {
                    reply.put_result(Status::ALL[status], client_flags, cas, &value[..bytes]);
                }
            });
            let body = body(&buffer[..length], MARK);
            let mut rest = &body[..];
            for &(status, client_flags, cas, bytes) in &all {
                let (outcome, behind) = OperationResult::split(rest).unwrap();
                let want = OperationResult { status: Status::ALL[status], client_flags, cas, value: &value[..bytes] };
                prop_assert_eq!(outcome, want);
                rest = behind;
            }
            prop_assert_eq!(OperationResult::split(rest), None);
            prop_assert!(rest.iter().all(|&byte| byte == 0) && (padded || rest.is_empty()));
        }
    }

    #[test]
    fn an_empty_reply_is_no_message() {
        for padded in [false, true] {
            assert_eq!(frame(&mut [0; 1400], 0, 1, Dialect::Batch { padded }), 0);
        }
        assert_eq!(frame(&mut [0; 1400], 0, 1, Dialect::Text), 0);
    }
}
