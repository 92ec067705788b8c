//! Batch frames: many operations in one datagram, in a form that costs next to nothing to read.
//!
//! Text is cheap to write by hand and dear to read: ends of lines and words have to be searched, numbers converted.
//! A batch frame says how long everything is. It begins like every frame of memcached's, with a total of 0, so that no
//! memcached acts on it. All numbers are big-endian.
//!
//! ```text
//!  0            2          4          6          8           12        14        16
//!  │ request id │ 0        │ total 0  │ 0x5301   │ steer     │ count   │ flags   │ cookie …  24
//!  │ (sealed)   time, session, sequence, tag                                               64
//!  │ operation │ operation │ …                                  padding: not looked at     │
//!
//!  reply   request id │ sequence │ total │ 0x5301 │ result │ result │ …      cut into datagrams as text is
//! ```
//! One result for each operation, in their order: see [`result`]. Operations: see [`operation`]. Who may send one, and
//! what the seal is for: `docs/protocol.md`. The steer is the upper half of the first key's (`crate::steer::steer`): the
//! kernel may choose the worker by it; nothing else believes it.
//!
//! # Form
//! A frame whose form is wrong is refused as a whole: nothing of it is done, because where the next operation begins
//! would be a guess.

pub mod missing;
pub mod operation;
pub mod result;
pub mod seal;
pub mod write;

pub use operation::{Code, Cursor, Operation, Operations};
pub use result::{OperationResult, RESULT_BYTES, Status};
pub use seal::{Seal, SealKey};
pub use write::FrameWriter;

use crate::limits::{BATCH_OPERATIONS_MAX, FRAME_HEADER_BYTES};

/// What stands in the frame's reserved field: `S`, and the version of this form.
pub const MARK: u16 = 0x5301;
/// Bytes from the beginning of the datagram to the operations of a frame without a seal.
pub const PREAMBLE_BYTES: usize = 24;
/// Bytes of a seal, between the preamble and the operations.
pub const SEAL_BYTES: usize = 40;

/// Flag: replies may be padded, so that datagrams of a few lengths travel as trains.
pub const PADDED: u16 = 1;
/// Flag: a seal follows the preamble.
pub const SEALED: u16 = 2;

/// What a frame says before its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Upper half of the steer of the first key, as the sender says.
    pub steer: u32,
    /// Operations.
    pub count: u16,
    /// Whether replies may be padded.
    pub padded: bool,
    /// The cookie that the sender was given; 0 for none.
    pub cookie: u64,
    /// The seal.
    pub seal: Option<Seal>,
}

impl Frame {
    /// Reads what stands before the operations; `body` is the datagram without its first eight bytes. `None` if it is
    /// cut off, has a flag that is not known, or no operation, or more than [`BATCH_OPERATIONS_MAX`].
    #[inline]
    pub fn open(body: &[u8]) -> Option<Frame> {
        let (head, behind) = body.split_first_chunk::<{ PREAMBLE_BYTES - FRAME_HEADER_BYTES }>()?;
        let short = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let (count, flags) = (short(4), short(6));
        if flags & !(PADDED | SEALED) != 0 || count == 0 || count as usize > BATCH_OPERATIONS_MAX {
            return None;
        }
        let seal = if flags & SEALED != 0 { Some(Seal::read(behind.first_chunk()?)) } else { None };
        Some(Frame {
            steer: u32::from_be_bytes([head[0], head[1], head[2], head[3]]),
            count,
            padded: flags & PADDED != 0,
            cookie: u64::from_be_bytes(*head.last_chunk().expect("16 bytes end in 8")),
            seal,
        })
    }

    /// The operations of the frame with this body.
    #[inline]
    pub fn operations<'a>(&self, body: &'a [u8]) -> Operations<'a> {
        let seal_bytes = if self.seal.is_some() { SEAL_BYTES } else { 0 };
        Operations::new(body, PREAMBLE_BYTES - FRAME_HEADER_BYTES + seal_bytes, self.count)
    }
}

/// The length that a datagram of `bytes` is padded to, where that is agreed: few lengths, so that what goes to one peer
/// in a tick makes few trains. Small datagrams stay small, since every padded byte is copied twice by the kernel.
#[inline]
pub fn padded_bytes(bytes: usize) -> usize {
    const LENGTHS: [usize; 6] = [64, 128, 256, 512, 1024, crate::limits::REPLY_DATAGRAM_BYTES_MAX];
    LENGTHS.into_iter().find(|&length| bytes <= length).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_preamble_that_is_wrong_is_none() {
        let mut out = Vec::new();
        let mut writer = FrameWriter::begin(7, &mut out);
        writer.get(b"a", &mut out);
        writer.finish(&mut out);
        let body = &out[FRAME_HEADER_BYTES..];
        assert!(Frame::open(body).is_some());
        assert!(Frame::open(&body[..15]).is_none());
        for (at, byte) in [(5, 0), (4, 0x80), (7, 4), (7, 0x80), (6, 1), (7, SEALED as u8)] {
            let mut bad = body.to_vec();
            bad[at] = byte;
            assert!(Frame::open(&bad).is_none(), "byte {at} is {byte}");
        }
    }

    #[test]
    fn padded_lengths_are_few() {
        for (bytes, want) in
            [(1, 64), (64, 64), (65, 128), (900, 1024), (1025, 1400), (1400, 1400), (1401, 1401)]
        {
            assert_eq!(padded_bytes(bytes), want);
        }
    }

    type Drawn = (u8, Vec<u8>, u32, u32, u64, Vec<u8>);

    fn drawn() -> impl Strategy<Value = Drawn> {
        let bytes = |range: std::ops::Range<usize>| prop::collection::vec(any::<u8>(), range);
        (0..Code::ALL.len() as u8, bytes(1..251), any::<u32>(), any::<u32>(), any::<u64>(), bytes(0..60))
    }

    proptest! {
        /// What is written is what is read, whatever stands behind it.
        #[test]
        fn operations_come_back(
            all in prop::collection::vec(drawn(), 1..40), padding in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let mut out = Vec::new();
            let mut writer = FrameWriter::begin(1, &mut out);
            let mut want = Vec::new();
            for (code, key, ttl_ms, client_flags, number, value) in &all {
                let code = Code::ALL[*code as usize];
                let operation = match code {
                    Code::Get | Code::Delete => Operation::short(code, key),
                    _ => Operation { ttl_ms: *ttl_ms, client_flags: *client_flags, number: *number, value,
                        ..Operation::short(code, key) },
                };
                writer.put(&operation, &mut out);
                want.push(operation);
            }
            writer.finish(&mut out);
            out.extend_from_slice(&padding);
            let body = &out[FRAME_HEADER_BYTES..];
            let frame = Frame::open(body).unwrap();
            prop_assert_eq!(frame.steer, (crate::steer::steer(&all[0].1) >> 32) as u32);
            let got: Option<Vec<_>> = frame.operations(body).collect();
            prop_assert_eq!(got.unwrap(), want);
        }

        /// Any bytes are read to an end, and only forward.
        #[test]
        fn any_bytes_are_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..300), count: u16) {
            let mut operations = Operations::new(&body, 0, count);
            let mut at = 0;
            while let Some(Some(_)) = operations.next() {
                prop_assert!(operations.place().at > at && operations.place().at <= body.len());
                at = operations.place().at;
            }
        }
    }
}
