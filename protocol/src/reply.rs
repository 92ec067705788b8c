//! A reply under construction: bytes, cut into datagrams as they are written.
//!
//! ```text
//! buffer  │hdr│ 1392 bytes of body │hdr│ 1392 bytes of body │hdr│ rest │
//!         └ datagram 0 ────────────┴ datagram 1 ────────────┴ … ──────┘   totals are filled in at the end
//! ```
//! All datagrams but the last are equally long and stand side by side, so one GSO send can carry them.
//! A reply that would outgrow its buffer keeps what is whole and ends in an error line. The reply to a batch frame holds
//! results instead of lines, and its last datagram may be padded with zeros.

use crate::batch::{OperationResult, RESULT_BYTES, Status, padded_bytes};
use crate::error::Error;
use crate::frame::{Dialect, Header};
use crate::limits::{BATCH_OPERATIONS_MAX, FRAME_HEADER_BYTES, REPLY_DATAGRAM_BYTES_MAX};

/// Room kept for the error line that ends a reply which outgrew its buffer.
const ERROR_ROOM_BYTES: usize = 96;
/// Bytes of the value of a small result: a number.
const SMALL_VALUE_BYTES: usize = 8;
/// Room kept for the small results of a frame: whatever else does not fit, each operation is answered.
const RESULTS_ROOM_BYTES: usize = {
    let bytes = BATCH_OPERATIONS_MAX * (RESULT_BYTES + SMALL_VALUE_BYTES);
    bytes + bytes.div_ceil(REPLY_DATAGRAM_BYTES_MAX - FRAME_HEADER_BYTES) * FRAME_HEADER_BYTES
};

/// A reply being written.
pub struct Reply<'b> {
    buffer: &'b mut [u8],
    at: usize,
    /// End of the datagram that is being written: never beyond the buffer.
    datagram_end: usize,
    framing: Option<Framing>,
    dialect: Dialect,
    limit: usize,
    /// Bytes behind the limit that are kept for what has to be said.
    kept: usize,
    overflown: bool,
}

#[derive(Clone, Copy)]
struct Framing {
    request_id: u16,
    datagrams: u16,
}

/// A place in a reply to come back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    at: usize,
    datagram_end: usize,
    datagrams: u16,
}

impl<'b> Reply<'b> {
    /// A reply to a datagram in this dialect, in frames of memcached's; `buffer` bounds it.
    ///
    /// # Panics
    /// When the buffer is smaller than one datagram.
    #[inline]
    pub fn framed(buffer: &'b mut [u8], request_id: u16, dialect: Dialect) -> Reply<'b> {
        assert!(buffer.len() >= REPLY_DATAGRAM_BYTES_MAX);
        let kept = kept(dialect, buffer.len());
        let limit = buffer.len() - kept - FRAME_HEADER_BYTES;
        let framing = Some(Framing { request_id, datagrams: 1 });
        let at = FRAME_HEADER_BYTES;
        let datagram_end = REPLY_DATAGRAM_BYTES_MAX;
        Reply { buffer, at, datagram_end, framing, dialect, limit, kept, overflown: false }
    }

    /// Reply bytes without frames, to be put into a framed reply later: `buffer` holds `at` of them already.
    pub fn plain(buffer: &'b mut [u8], at: usize, dialect: Dialect) -> Reply<'b> {
        let kept = kept(dialect, buffer.len());
        let (datagram_end, limit) = (buffer.len(), buffer.len().saturating_sub(kept));
        Reply { buffer, at, datagram_end, framing: None, dialect, limit, kept, overflown: false }
    }

    /// Appends bytes.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        if self.at + bytes.len() <= self.datagram_end.min(self.limit) {
            self.buffer[self.at..self.at + bytes.len()].copy_from_slice(bytes);
            self.at += bytes.len();
        } else {
            self.put_split(bytes);
        }
    }

    /// Appends a plain reply that is complete, with what it has of the room that is kept.
    pub fn put_complete(&mut self, reply: &[u8]) {
        let limit = std::mem::replace(&mut self.limit, self.buffer.len());
        self.put(reply);
        self.limit = limit;
    }

    /// Appends a number in decimal.
    #[inline]
    pub fn put_number(&mut self, number: u64) {
        self.put(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Appends an error: its line, or a result that says it.
    pub fn put_error(&mut self, error: Error) {
        match self.dialect {
            Dialect::Text => self.put(error.line()),
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

    /// Bytes that a plain reply still takes.
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
        let datagrams = self.framing.map_or(0, |framing| framing.datagrams);
        Mark { at: self.at, datagram_end: self.datagram_end, datagrams }
    }

    /// Bytes so far, without frame headers.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.at - self.framing.map_or(0, |framing| framing.datagrams as usize * FRAME_HEADER_BYTES)
    }

    /// Bytes before `mark`, without frame headers.
    pub fn bytes_at(&self, mark: Mark) -> usize {
        mark.at - mark.datagrams as usize * FRAME_HEADER_BYTES
    }

    /// The place behind the first `bytes`, without frame headers.
    pub fn mark_at(&self, bytes: usize) -> Mark {
        if self.framing.is_none() {
            return Mark { at: bytes, datagram_end: self.datagram_end, datagrams: 0 };
        }
        let datagrams = bytes.div_ceil(REPLY_DATAGRAM_BYTES_MAX - FRAME_HEADER_BYTES).max(1);
        let datagram_end = (datagrams * REPLY_DATAGRAM_BYTES_MAX).min(self.buffer.len());
        Mark { at: bytes + datagrams * FRAME_HEADER_BYTES, datagram_end, datagrams: datagrams as u16 }
    }

    /// Forgets what was written since `mark`.
    pub fn rewind(&mut self, mark: Mark) {
        (self.at, self.datagram_end) = (mark.at, mark.datagram_end);
        if let Some(framing) = &mut self.framing {
            framing.datagrams = mark.datagrams;
        }
        self.overflown = false;
    }

    /// Forgets everything: an empty reply is not sent.
    pub fn discard(&mut self) {
        let (at, datagram_end) = match self.framing {
            Some(_) => (FRAME_HEADER_BYTES, REPLY_DATAGRAM_BYTES_MAX),
            None => (0, self.buffer.len()),
        };
        self.rewind(Mark { at, datagram_end, datagrams: 1 });
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.at == if self.framing.is_some() { FRAME_HEADER_BYTES } else { 0 }
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
            Dialect::Text => {
                self.limit += self.kept;
                self.put_error(error);
                self.limit -= self.kept;
            }
            Dialect::Batch { .. } => self.put_error(error),
        }
    }

    /// Fills in the frame headers; returns the bytes of the whole message, 0 for an empty one.
    #[inline]
    pub fn finish(mut self) -> usize {
        let Some(Framing { request_id, datagrams: total }) = self.framing else { return self.at };
        if self.is_empty() {
            return 0;
        }
        if self.dialect == (Dialect::Batch { padded: true }) {
            self.pad(total);
        }
        let reserved = self.dialect.mark();
        for sequence in 0..total {
            let start = sequence as usize * REPLY_DATAGRAM_BYTES_MAX;
            let header = Header { request_id, sequence, total, reserved };
            self.buffer[start..start + FRAME_HEADER_BYTES].copy_from_slice(&header.to_bytes());
        }
        self.at
    }

    /// The bytes so far without frame headers, in pieces.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let (step, header) = match self.framing {
            Some(_) => (REPLY_DATAGRAM_BYTES_MAX, FRAME_HEADER_BYTES),
            None => (self.buffer.len().max(1), 0),
        };
        self.buffer[..self.at].chunks(step).map(move |datagram| &datagram[header..])
    }

    /// Fills the last of `datagrams` up with zeros, to one of the few lengths that datagrams have.
    fn pad(&mut self, datagrams: u16) {
        let start = (datagrams as usize - 1) * REPLY_DATAGRAM_BYTES_MAX;
        let end = (start + padded_bytes(self.at - start)).min(self.buffer.len());
        self.buffer[self.at..end].fill(0);
        self.at = end;
    }

    #[cold]
    fn put_split(&mut self, mut bytes: &[u8]) {
        if self.overflown || self.at + self.bytes_with_headers(bytes.len()) > self.limit {
            self.overflown = true;
            return;
        }
        while !bytes.is_empty() {
            if self.at == self.datagram_end {
                self.next_datagram();
            }
            let room = (self.datagram_end - self.at).min(bytes.len());
            let (now, later) = bytes.split_at(room);
            self.buffer[self.at..self.at + room].copy_from_slice(now);
            self.at += room;
            bytes = later;
        }
    }

    fn next_datagram(&mut self) {
        let framing = self.framing.as_mut().expect("a plain reply is one piece");
        framing.datagrams += 1;
        self.at += FRAME_HEADER_BYTES;
        self.datagram_end = (self.datagram_end + REPLY_DATAGRAM_BYTES_MAX).min(self.buffer.len());
    }

    /// Bytes that `bytes` more will take, with the headers of the datagrams that they begin.
    fn bytes_with_headers(&self, bytes: usize) -> usize {
        let body_max = REPLY_DATAGRAM_BYTES_MAX - FRAME_HEADER_BYTES;
        let beyond = bytes.saturating_sub(self.datagram_end - self.at);
        bytes + beyond.div_ceil(body_max) * FRAME_HEADER_BYTES
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
    use proptest::prelude::*;

    fn bodies(message: &[u8]) -> (Vec<Header>, Vec<u8>) {
        let split = |datagram| Header::split(datagram).unwrap();
        let datagrams: Vec<_> = message.chunks(REPLY_DATAGRAM_BYTES_MAX).map(split).collect();
        let bytes = datagrams.iter().flat_map(|(_, body)| body.iter().copied()).collect();
        (datagrams.iter().map(|(header, _)| *header).collect(), bytes)
    }

    #[test]
    fn one_sequence_space_and_a_true_total() {
        let value: Vec<u8> = (0..5000u32).map(|i| i as u8).collect();
        for bytes in [0, 1, 1300, 1365, 1366, 1367, 1368, 2758, 2760, 5000] {
            let mut buffer = vec![0; 10_000];
            let mut reply = Reply::framed(&mut buffer, 77, Dialect::Text);
            reply.put_value_head(b"key", 3, bytes, Some(9));
            reply.put(&value[..bytes]);
            reply.put(b"\r\nEND\r\n");
            let mut want = format!("VALUE key 3 {bytes} 9\r\n").into_bytes();
            want.extend_from_slice(&value[..bytes]);
            want.extend_from_slice(b"\r\nEND\r\n");
            assert_eq!(reply.pieces().flatten().copied().collect::<Vec<_>>(), want);
            let length = reply.finish();
            let (headers, body) = bodies(&buffer[..length]);
            assert_eq!(body, want);
            for (i, header) in headers.iter().enumerate() {
                let want =
                    Header { request_id: 77, sequence: i as u16, total: headers.len() as u16, reserved: 0 };
                assert_eq!(*header, want);
            }
        }
    }

    #[test]
    fn what_does_not_fit_becomes_an_error() {
        for buffer_bytes in [1400, 1500, 2800, 4100] {
            let mut buffer = vec![0; buffer_bytes];
            let mut reply = Reply::framed(&mut buffer, 1, Dialect::Text);
            reply.put(b"STORED\r\n");
            let mark = reply.mark();
            reply.put_value_head(b"key", 0, 4000, None);
            reply.put(&[b'x'; 4000]);
            assert!(reply.overflown());
            reply.settle(mark);
            let length = reply.finish();
            assert_eq!(bodies(&buffer[..length]).1, b"STORED\r\nSERVER_ERROR object too large for udp\r\n");
        }
    }

    #[test]
    fn results_are_padded_with_zeros_where_that_is_agreed() {
        for (padded, value_bytes, want) in
            [(false, 5, 29), (true, 5, 64), (true, 1000, 1024), (true, 1376, 1400), (true, 1377, 1464)]
        {
            let mut buffer = vec![0xaa; 10_000];
            let mut reply = Reply::framed(&mut buffer, 1, Dialect::Batch { padded });
            reply.put_result(Status::Value, 7, 9, &vec![b'x'; value_bytes]);
            assert_eq!(reply.finish(), want);
            let (headers, body) = bodies(&buffer[..want]);
            assert!(headers.iter().all(|header| header.reserved == crate::batch::MARK));
            let (outcome, padding) = OperationResult::split(&body).unwrap();
            assert_eq!((outcome.client_flags, outcome.cas, outcome.value.len()), (7, 9, value_bytes));
            assert!(padding.iter().all(|&byte| byte == 0));
        }
        let mut buffer = vec![0; 1400];
        let mut reply = Reply::framed(&mut buffer, 1, Dialect::Batch { padded: false });
        let mark = reply.mark();
        reply.put_result(Status::Value, 0, 0, &[b'x'; 4000]);
        reply.settle(mark);
        let length = reply.finish();
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
            let mut reply = Reply::framed(&mut buffer, 5, Dialect::Batch { padded });
            for &(status, client_flags, cas, bytes) in &all {
                reply.put_result(Status::ALL[status], client_flags, cas, &value[..bytes]);
            }
            let length = reply.finish();
            let (headers, body) = bodies(&buffer[..length]);
            for (i, header) in headers.iter().enumerate() {
                let (sequence, total) = (i as u16, headers.len() as u16);
                let reserved = crate::batch::MARK;
                prop_assert_eq!(*header, Header { request_id: 5, sequence, total, reserved });
            }
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
        let mut buffer = vec![0; 1400];
        assert_eq!(Reply::framed(&mut buffer, 1, Dialect::Text).finish(), 0);
    }
}
