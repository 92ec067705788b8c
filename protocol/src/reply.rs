//! A reply under construction: bytes, one behind the other, in a buffer that bounds them.
//!
//! A reply does not know how it travels: `datagrams` cuts it for UDP. One that would outgrow its buffer keeps what is whole and
//! ends in an error line. The reply to a batch frame holds results instead of lines.

use crate::batch::{OperationResult, RESULT_BYTES, Status};
use crate::error::Error;
use crate::frame::Dialect;
use crate::limits::BATCH_OPERATIONS_MAX;

/// Room kept for the error line that ends a reply which outgrew its buffer.
const ERROR_ROOM_BYTES: usize = 96;
/// Bytes of the value of a small result: a number.
const SMALL_VALUE_BYTES: usize = 8;
/// Room kept for the small results of a frame: whatever else does not fit, each operation is answered.
const RESULTS_ROOM_BYTES: usize = BATCH_OPERATIONS_MAX * (RESULT_BYTES + SMALL_VALUE_BYTES);

/// A reply being written.
pub struct Reply<'b> {
    buffer: &'b mut [u8],
    at: usize,
    dialect: Dialect,
    limit: usize,
    /// Bytes behind the limit that are kept for what has to be said.
    kept: usize,
    overflown: bool,
}

/// A place in a reply to come back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(usize);

impl Mark {
    /// The place behind the first `bytes`.
    pub fn behind(bytes: usize) -> Mark {
        Mark(bytes)
    }

    /// Bytes before it.
    pub fn bytes(self) -> usize {
        self.0
    }
}

impl<'b> Reply<'b> {
    /// A reply in this dialect: `buffer` bounds it, and holds `written` bytes of it already.
    #[inline]
    pub fn new(buffer: &'b mut [u8], written: usize, dialect: Dialect) -> Reply<'b> {
        let kept = kept(dialect, buffer.len());
        let limit = buffer.len().saturating_sub(kept);
        Reply { buffer, at: written, dialect, limit, kept, overflown: false }
    }

    /// Appends bytes.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        if end <= self.limit {
            self.buffer[self.at..end].copy_from_slice(bytes);
            self.at = end;
        } else {
            self.overflown = true;
        }
    }

    /// Appends a number in decimal.
    #[inline]
    pub fn put_number(&mut self, number: u64) {
        self.put(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Appends an error: its line, or a result that says it.
    pub fn put_error(&mut self, error: Error) {
        match self.dialect {
            Dialect::Text | Dialect::Stream => self.put(error.line()),
            Dialect::Batch { .. } => self.put_result(Status::of_error(error), 0, 0, b""),
        }
    }

    /// Appends the result of an operation.
    #[inline]
    pub fn put_result(&mut self, status: Status, client_flags: u32, cas: u64, value: &[u8]) {
        let is_small = value.len() <= SMALL_VALUE_BYTES;
        self.limit += if is_small { self.kept } else { 0 };
        self.put_result_head(status, client_flags, cas, value.len());
        self.put(value);
        self.limit -= if is_small { self.kept } else { 0 };
    }

    /// Appends the head of a result: its value follows.
    #[inline]
    pub fn put_result_head(&mut self, status: Status, client_flags: u32, cas: u64, value_bytes: usize) {
        self.put(&OperationResult::head(status, value_bytes, client_flags, cas));
    }

    /// Bytes that it still takes.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.at)
    }

    /// `VALUE <key> <flags> <bytes>[ <cas>]\r\n`: the value follows.
    #[inline]
    pub fn put_value_head(&mut self, key: &[u8], flags: u32, value_bytes: usize, cas: Option<u64>) {
        self.put(b"VALUE ");
        self.put(key);
        if flags == 0 {
            self.put(b" 0 ");
        } else {
            self.put(b" ");
            self.put_number(flags as u64);
            self.put(b" ");
        }
        self.put_number(value_bytes as u64);
        if let Some(cas) = cas {
            self.put(b" ");
            self.put_number(cas);
        }
        self.put(b"\r\n");
    }

    /// Where the reply stands now.
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark(self.at)
    }

    /// Bytes so far.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.at
    }

    /// What was written so far.
    pub fn written(&self) -> &[u8] {
        &self.buffer[..self.at]
    }

    /// Forgets what was written since `mark`.
    #[inline]
    pub fn rewind(&mut self, mark: Mark) {
        (self.at, self.overflown) = (mark.0, false);
    }

    /// Forgets everything: an empty reply is not sent.
    pub fn discard(&mut self) {
        self.rewind(Mark(0));
    }

    /// How it says what it says.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether something did not fit; it was left out.
    #[inline]
    pub fn overflown(&self) -> bool {
        self.overflown
    }

    /// Whether there is no room for one more error line: the answer to what comes now could not be told.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.at > self.limit
    }

    /// Replaces what was written since `mark` by the error that says why, if it did not fit.
    #[inline]
    pub fn settle(&mut self, mark: Mark) {
        if self.overflown {
            self.give_up(mark, Error::TooLargeForUdp);
        }
    }

    /// Replaces what was written since `mark` by an error, for which there is always room.
    pub fn give_up(&mut self, mark: Mark, error: Error) {
        self.rewind(mark);
        match self.dialect {
            Dialect::Text | Dialect::Stream => {
                self.limit += self.kept;
                self.put_error(error);
                self.limit -= self.kept;
            }
            Dialect::Batch { .. } => self.put_error(error),
        }
    }
}

/// Bytes that a reply in this dialect keeps of a buffer of so many. A small buffer is replaced by a larger one in time.
fn kept(dialect: Dialect, buffer_bytes: usize) -> usize {
    match dialect {
        Dialect::Batch { .. } if buffer_bytes > 4 * RESULTS_ROOM_BYTES => RESULTS_ROOM_BYTES,
        _ => ERROR_ROOM_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stand_one_behind_the_other() {
        let mut buffer = vec![0; 200];
        buffer[..5].copy_from_slice(b"HD\r\n!");
        let mut reply = Reply::new(&mut buffer, 4, Dialect::Text);
        let mark = reply.mark();
        assert_eq!((mark, mark.bytes()), (Mark::behind(4), 4));
        reply.put_value_head(b"key", 3, 5, Some(9));
        reply.put_value_head(b"key", 0, 12, None);
        assert_eq!(reply.written(), b"HD\r\nVALUE key 3 5 9\r\nVALUE key 0 12\r\n");
        assert_eq!((reply.bytes(), reply.room()), (37, 200 - ERROR_ROOM_BYTES - 37));
        reply.rewind(mark);
        assert_eq!(reply.written(), b"HD\r\n");
        reply.discard();
        assert_eq!(reply.bytes(), 0);
    }

    #[test]
    fn a_reply_that_outgrows_its_buffer_ends_in_an_error() {
        let mut buffer = vec![0; 200];
        let mut reply = Reply::new(&mut buffer, 0, Dialect::Text);
        reply.put(&[b'x'; 200 - ERROR_ROOM_BYTES]);
        assert!(!reply.overflown() && !reply.is_full() && reply.room() == 0);
        let mark = reply.mark();
        reply.put(b"y");
        assert!(reply.overflown());
        reply.settle(mark);
        assert!(!reply.overflown() && reply.is_full());
        assert!(reply.written().ends_with(b"xSERVER_ERROR object too large for udp\r\n"));
    }

    /// Whatever values come first: each operation of the longest frame has its result.
    #[test]
    fn a_frame_has_room_for_all_its_small_results() {
        let mut buffer = vec![0; 5 * RESULTS_ROOM_BYTES];
        let mut reply = Reply::new(&mut buffer, 0, Dialect::Batch { padded: false });
        let mark = reply.mark();
        reply.put_result(Status::Value, 0, 0, &vec![b'x'; 4 * RESULTS_ROOM_BYTES]);
        assert!(reply.overflown());
        reply.settle(mark);
        let value_bytes = reply.room() - RESULT_BYTES;
        reply.put_result(Status::Value, 0, 0, &vec![b'x'; value_bytes]);
        (2..BATCH_OPERATIONS_MAX).for_each(|_| reply.put_result(Status::Value, 0, 0, b"12345678"));
        assert!(!reply.overflown());
    }
}
