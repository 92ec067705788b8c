//! Writing batch frames: the client's side, and the tests'.

use super::operation::{Code, LONG_BYTES, Operation, SHORT_BYTES};
use super::{MARK, PADDED, PREAMBLE_BYTES, SEALED, Seal, padded_bytes};
use crate::frame::Header;
use crate::limits::FRAME_HEADER_BYTES;
use crate::steer::steer;

/// Fills in a frame as its operations are appended to a buffer. The buffer holds the frame and nothing before it.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameWriter {
    count: u16,
    flags: u16,
}

impl FrameWriter {
    /// Begins a frame at the start of an empty buffer.
    pub fn begin(request_id: u16, out: &mut Vec<u8>) -> FrameWriter {
        out.clear();
        out.extend_from_slice(&header(request_id));
        FrameWriter::behind_header(out)
    }

    /// Begins a frame whose [`header`] is all that is in the buffer.
    #[inline]
    pub fn behind_header(out: &mut Vec<u8>) -> FrameWriter {
        assert_eq!(out.len(), FRAME_HEADER_BYTES);
        out.resize(PREAMBLE_BYTES, 0);
        FrameWriter::default()
    }

    /// Adds a seal, before the first operation; [`super::SealKey::stamp`] completes it when the frame is finished.
    pub fn sealed(mut self, unix_ms: u64, session: u64, sequence: u64, out: &mut Vec<u8>) -> FrameWriter {
        assert_eq!(self.count, 0, "the seal stands before the operations");
        self.flags |= SEALED;
        out.extend_from_slice(&Seal::blank(unix_ms, session, sequence));
        self
    }

    /// Says which cookie the server gave us.
    pub fn cookie(self, cookie: u64, out: &mut [u8]) -> FrameWriter {
        out[16..PREAMBLE_BYTES].copy_from_slice(&cookie.to_be_bytes());
        self
    }

    /// Appends a read of a key of 1 to 250 bytes.
    #[inline]
    pub fn get(&mut self, key: &[u8], out: &mut Vec<u8>) {
        self.count(key, out);
        out.extend_from_slice(&[Code::Get as u8, key.len() as u8, 0, 0]);
        out.extend_from_slice(key);
    }

    /// Appends an operation.
    #[inline]
    pub fn put(&mut self, operation: &Operation<'_>, out: &mut Vec<u8>) {
        self.head(operation, operation.value.len(), out);
        out.extend_from_slice(operation.value);
    }

    /// Appends an operation whose value the caller puts behind it, exactly `value_bytes` bytes.
    #[inline]
    pub fn head(&mut self, operation: &Operation<'_>, value_bytes: usize, out: &mut Vec<u8>) {
        let key = operation.key.bytes();
        self.count(key, out);
        out.extend_from_slice(&[operation.code as u8, key.len() as u8, 0, 0]);
        if !operation.code.is_short() {
            let mut rest = [0; LONG_BYTES - SHORT_BYTES];
            rest[..4].copy_from_slice(&operation.ttl_ms.to_be_bytes());
            rest[4..8].copy_from_slice(&(value_bytes as u32).to_be_bytes());
            rest[8..12].copy_from_slice(&operation.client_flags.to_be_bytes());
            rest[12..].copy_from_slice(&operation.number.to_be_bytes());
            out.extend_from_slice(&rest);
        }
        out.extend_from_slice(key);
    }

    /// Counts an operation; the first one's key says which worker the frame is for.
    #[inline]
    fn count(&mut self, key: &[u8], out: &mut [u8]) {
        if self.count == 0 {
            let upper = (steer(key) >> 32) as u32;
            out[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + 4].copy_from_slice(&upper.to_be_bytes());
        }
        self.count += 1;
    }

    /// Fills in the count and the flags.
    pub fn finish(&self, out: &mut [u8]) {
        out[12..14].copy_from_slice(&self.count.to_be_bytes());
        out[14..16].copy_from_slice(&self.flags.to_be_bytes());
    }

    /// As [`FrameWriter::finish`], for one who wants trains: the frame is padded, and so may the reply be.
    #[inline]
    pub fn finish_padded(&mut self, out: &mut Vec<u8>) {
        self.flags |= PADDED;
        out.resize(padded_bytes(out.len()), 0);
        self.finish(out);
    }
}

/// The first eight bytes of a frame.
#[inline]
pub fn header(request_id: u16) -> [u8; FRAME_HEADER_BYTES] {
    Header { request_id, sequence: 0, total: 0, reserved: MARK }.to_bytes()
}
