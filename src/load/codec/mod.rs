//! From asks to bytes and from bytes to answers: one file a protocol, behind [`Codec`].
//!
//! A codec knows nothing of sockets or keys' numbers. It writes commands ([`Codec`]), and reads one whole message
//! ([`DatagramCodec`]) or the beginning of a stream ([`StreamCodec`]). A new protocol is a new file that implements the first and
//! one or both of the others, and an arm in `run`; one whose frames are not memcached's also overrides [`DatagramCodec::header`]
//! and [`DatagramCodec::frame`].

pub mod batch;
pub mod meta;
pub mod text;

use super::datagrams::frame::Frame;
use crate::limits::{FRAME_HEADER_BYTES, VALUE_BYTES_LIMIT};
use cache::base::clock::Clock;

/// The longest time to live that memcached's protocols take as one, in seconds: 30 days. A larger number is a time since 1970
/// (`doc/protocol.txt`, "Expiration times").
pub const TTL_RELATIVE_MAX_S: u32 = 60 * 60 * 24 * 30;
/// The last second since 1970 that they can say: their number has 31 bits.
pub const EXPIRY_UNIX_MAX_S: u64 = i32::MAX as u64;

/// The time since 1970 that memcached's protocols say for a longer time to live; the last one that they can say where that is
/// later, which a plan refuses from the start.
fn unix_expiry(ttl_s: u32, now_unix_s: u64) -> u32 {
    (now_unix_s + u64::from(ttl_s)).min(EXPIRY_UNIX_MAX_S) as u32
}

/// Writes the commands of one protocol.
pub trait Codec: Send + Clone {
    /// The codec of one thread: a copy, unless threads must differ.
    fn of_thread(&self, _thread: usize) -> Self {
        self.clone()
    }
    /// What this protocol says for so many seconds to live, 0 for ever: memcached's rule, unless the protocol has another.
    #[inline]
    fn expiry(&self, ttl_s: u32, clock: &Clock) -> u32 {
        if ttl_s <= TTL_RELATIVE_MAX_S { ttl_s } else { unix_expiry(ttl_s, clock.now().unix_s) }
    }
    /// Begins a read of `count` keys.
    fn begin_get(&self, count: usize, out: &mut Vec<u8>);
    /// Adds the key with number `index` in this request.
    fn get_key(&self, index: usize, count: usize, key: &[u8], out: &mut Vec<u8>);
    /// Ends a read.
    fn end_get(&self, out: &mut Vec<u8>);
    /// Begins a set; `expiry` is what [`Codec::expiry`] made. The caller appends exactly `value_bytes` bytes, then calls
    /// [`Codec::end_set`].
    fn begin_set(&self, key: &[u8], expiry: u32, value_bytes: usize, out: &mut Vec<u8>);
    /// Ends a set.
    fn end_set(&self, out: &mut Vec<u8>);
    /// A delete.
    fn delete(&self, key: &[u8], out: &mut Vec<u8>);
    /// A touch; `expiry` is what [`Codec::expiry`] made.
    fn touch(&self, key: &[u8], expiry: u32, out: &mut Vec<u8>);
}

/// A protocol in datagrams.
pub trait DatagramCodec: Codec {
    /// The header of a request datagram: memcached's, unless the protocol has another.
    #[inline]
    fn header(&self, request_id: u16) -> [u8; FRAME_HEADER_BYTES] {
        Frame::request(request_id)
    }
    /// Splits a reply datagram into header and body; `None` if it is no reply of this protocol.
    #[inline]
    fn frame<'a>(&self, datagram: &'a [u8]) -> Option<(Frame, &'a [u8])> {
        Frame::decode(datagram)
    }
    /// Completes a datagram, header and all.
    #[inline]
    fn finish(&self, _datagram: &mut Vec<u8>) {}
    /// Reads the answers of one message in order; stops at the first bytes that make no sense.
    fn decode(&self, body: &[u8], each: &mut impl FnMut(Answer));
}

/// A protocol in a stream: replies come in the order of the requests, cut anywhere.
pub trait StreamCodec: Codec {
    /// Splits the first answer off.
    fn split<'a>(&self, bytes: &'a [u8]) -> Split<'a>;
    /// Answers that end the reply to a request with `count` keys, by [`StreamCodec::ends`].
    fn answers(&self, count: usize) -> u8;
    /// Whether the answer is one of those.
    fn ends(&self, answer: &Answer) -> bool;
}

/// The beginning of a stream of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split<'a> {
    /// An answer, and what comes behind it.
    Whole(Answer<'a>, &'a [u8]),
    /// The answer goes on in bytes that have not come.
    Cut,
    /// No answer begins so.
    Garbage,
}

/// Bytes that are no reply of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoReply;

/// Reads a message that ends with its last answer.
#[inline]
fn decode_whole<C: StreamCodec>(codec: &C, mut body: &[u8], each: &mut impl FnMut(Answer)) {
    while !body.is_empty() {
        match codec.split(body) {
            Split::Whole(answer, rest) => {
                body = rest;
                each(answer);
            }
            Split::Cut | Split::Garbage => return each(Answer::Garbage),
        }
    }
}

/// One answer in a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// A hit. Number in the datagram and key, where the protocol returns them.
    Value {
        /// Number of the key in the request.
        index: Option<usize>,
        /// The key that the server named.
        key: Option<&'a [u8]>,
        /// The value.
        data: &'a [u8],
    },
    /// A key that is not there.
    Miss {
        /// Number of the key in the request.
        index: Option<usize>,
        /// The key that the server named.
        key: Option<&'a [u8]>,
    },
    /// No more values: what was not named is not there.
    End,
    /// Stored, deleted, touched.
    Done,
    /// Not found, not stored, exists.
    Refused,
    /// The server's complaint, without the line end.
    Error(&'a [u8]),
    /// Bytes that are no reply of this protocol.
    Garbage,
}

/// Appends a number in decimal.
#[inline]
pub(super) fn push_decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Splits a line off, without its CR LF.
#[inline]
pub(super) fn line(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', body)?;
    let text = &body[..end];
    Some((text.strip_suffix(b"\r").unwrap_or(text), &body[end + 1..]))
}

/// A decimal number of at most nine digits.
#[inline]
pub(super) fn decimal(text: &[u8]) -> Option<usize> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    text.iter().try_fold(0, |n, &b| b.is_ascii_digit().then(|| n * 10 + (b - b'0') as usize))
}

/// Splits a value of `bytes` and its CR LF off; `Err`: whether it is only cut.
#[inline]
pub(super) fn value(body: &[u8], bytes: usize) -> Result<(&[u8], &[u8]), Unread> {
    if bytes > VALUE_BYTES_LIMIT {
        return Err(Unread::Garbage);
    }
    let Some((data, rest)) = body.split_at_checked(bytes + 2) else { return Err(Unread::Cut) };
    let data = data.strip_suffix(b"\r\n").ok_or(Unread::Garbage)?;
    Ok((data, rest))
}

/// Why there is no answer at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    Cut,
    Garbage,
}

impl<'a> From<Result<(Answer<'a>, &'a [u8]), Unread>> for Split<'a> {
    #[inline]
    fn from(read: Result<(Answer<'a>, &'a [u8]), Unread>) -> Split<'a> {
        match read {
            Ok((answer, rest)) => Split::Whole(answer, rest),
            Err(Unread::Cut) => Split::Cut,
            Err(Unread::Garbage) => Split::Garbage,
        }
    }
}

/// Whether the line is one of the protocol's complaints.
pub(super) fn is_error(line: &[u8]) -> bool {
    line == b"ERROR"
        || line.starts_with(b"ERROR ")
        || line.starts_with(b"SERVER_ERROR")
        || line.starts_with(b"CLIENT_ERROR")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_long_time_to_live_is_said_as_a_time() {
        let clock = Clock::manual(0);
        let now_s = clock.now().unix_s as u32;
        for (ttl_s, said) in [(0, 0), (1, 1), (2_592_000, 2_592_000), (2_592_001, now_s + 2_592_001)] {
            assert_eq!(text::Text.expiry(ttl_s, &clock), said);
            assert_eq!(meta::Meta { name_keys: false }.expiry(ttl_s, &clock), said);
            let batch = batch::Batch::new(true, None, clock.clone(), 0);
            assert_eq!(batch.expiry(ttl_s, &clock), ttl_s, "batch frames say how long, in ms");
        }
        assert_eq!(text::Text.expiry(u32::MAX, &clock), i32::MAX as u32);
    }

    proptest! {
        /// Whatever a server sends, decoding ends, hands out only bytes of the reply, and does not panic.
        #[test]
        fn any_bytes_are_decoded_without_a_panic(
            parts in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..20),
                "(VALUE|VA|EN|HD|END|STORED|ERROR)( [a-zO0-9]{1,4}){0,4}(\r\n)?".prop_map(String::into_bytes),
                Just(b"\r\n".to_vec()),
            ], 0..12),
        ) {
            let body = parts.concat();
            let mut bytes = 0;
            let mut count = 0;
            let mut each = |answer: Answer| {
                count += 1;
                if let Answer::Value { data, .. } = answer {
                    bytes += data.len();
                }
            };
            text::Text.decode(&body, &mut each);
            meta::Meta { name_keys: true }.decode(&body, &mut each);
            batch::Batch::new(true, None, cache::base::clock::Clock::manual(0), 0).decode(&body, &mut each);
            prop_assert!(bytes <= 3 * body.len() && count <= 3 * body.len() + 3);
        }

        #[test]
        fn what_a_server_sends_is_what_is_read(
            values in prop::collection::vec(("[a-z0-9]{1,30}", prop::collection::vec(any::<u8>(), 0..200)), 0..10),
        ) {
            let mut body = Vec::new();
            for (key, value) in &values {
                body.extend_from_slice(format!("VALUE {key} 0 {}\r\n", value.len()).as_bytes());
                body.extend_from_slice(value);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"END\r\n");
            let mut read = Vec::new();
            let mut ends = 0;
            text::Text.decode(&body, &mut |answer| match answer {
                Answer::Value { key, data, .. } => read.push((key.unwrap().to_vec(), data.to_vec())),
                other => {
                    assert_eq!(other, Answer::End);
                    ends += 1;
                }
            });
            let want: Vec<_> = values.into_iter().map(|(k, v)| (k.into_bytes(), v)).collect();
            prop_assert_eq!((read, ends), (want, 1));
        }

        /// However a stream is cut, what has come whole is read, the rest is cut, and nothing of it is garbage.
        #[test]
        fn a_stream_that_is_cut_anywhere_gives_the_same_answers(
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6), at in any::<prop::sample::Index>(),
        ) {
            let (mut text, mut meta) = (Vec::new(), Vec::new());
            for (index, value) in values.iter().enumerate() {
                text.extend_from_slice(format!("VALUE k{index} 0 {}\r\n", value.len()).as_bytes());
                meta.extend_from_slice(format!("VA {} O{index}\r\n", value.len()).as_bytes());
                for out in [&mut text, &mut meta] {
                    out.extend_from_slice(value);
                    out.extend_from_slice(b"\r\n");
                }
            }
            text.extend_from_slice(b"END\r\nSTORED\r\nNOT_FOUND\r\nERROR\r\nSERVER_ERROR busy\r\n");
            meta.extend_from_slice(b"EN\r\nHD\r\nNF\r\nCLIENT_ERROR bad\r\n");
            check_cut(&text::Text, &text, at.index(text.len() + 1))?;
            check_cut(&meta::Meta { name_keys: false }, &meta, at.index(meta.len() + 1))?;
        }
    }

    fn check_cut<C: StreamCodec>(codec: &C, stream: &[u8], at: usize) -> Result<(), TestCaseError> {
        let read = |mut bytes| {
            let mut answers = Vec::new();
            loop {
                match codec.split(bytes) {
                    Split::Whole(answer, rest) => {
                        answers.push(format!("{answer:?}"));
                        bytes = rest;
                    }
                    Split::Cut => return Ok((answers, bytes.len())),
                    Split::Garbage => return Err(TestCaseError::fail(format!("{}", bytes.escape_ascii()))),
                }
            }
        };
        let (whole, left) = read(stream)?;
        prop_assert_eq!(left, 0);
        let (mut answers, left) = read(&stream[..at])?;
        answers.extend(read(&stream[at - left..])?.0);
        prop_assert_eq!(answers, whole);
        Ok(())
    }
}
