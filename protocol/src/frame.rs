//! memcached's 8-byte UDP frame header, big-endian (`doc/protocol.txt`, "UDP protocol").
//!
//! ```text
//! 0          2          4          6          8
//! │ request  │ sequence │ total    │ reserved │ body …
//! ```

use crate::batch;
use crate::limits::FRAME_HEADER_BYTES;

/// The header of a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Chosen by the client, repeated in every datagram of the reply.
    pub request_id: u16,
    /// Number of this datagram in its message, from 0.
    pub sequence: u16,
    /// Datagrams of the message.
    pub total: u16,
    /// 0 in memcached's frames.
    pub reserved: u16,
}

/// What the body of a request is written in, and its reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Classic and meta commands, all of a datagram.
    #[default]
    Text,
    /// The same in a stream, where more may follow.
    Stream,
    /// A batch frame.
    Batch {
        /// Whether the datagrams of the reply may be padded.
        padded: bool,
    },
}

impl Dialect {
    /// What stands in the reserved field of a reply.
    #[inline]
    pub fn mark(self) -> u16 {
        match self {
            Dialect::Text | Dialect::Stream => 0,
            Dialect::Batch { .. } => batch::MARK,
        }
    }
}

/// Why a datagram is not a request: dropped in silence (its sender may be forged) and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Shorter than a header and one byte.
    Short,
    /// A request of several datagrams, which nobody may send.
    Fragment,
    /// memcached's retired binary protocol, or the reply to a batch frame.
    Binary,
    /// A batch frame whose preamble is wrong.
    Batch,
    /// The reply of another server: answering it could be answered in turn, and so on for ever. Every text reply begins with
    /// an upper-case letter or a digit, and no command does.
    Reply,
}

impl Header {
    /// Splits a datagram into header and body; `None` when it is too short.
    #[inline]
    pub fn split(datagram: &[u8]) -> Option<(Header, &[u8])> {
        let (raw, body) = datagram.split_first_chunk::<FRAME_HEADER_BYTES>()?;
        let field = |i: usize| u16::from_be_bytes([raw[i], raw[i + 1]]);
        Some((Header { request_id: field(0), sequence: field(2), total: field(4), reserved: field(6) }, body))
    }

    /// The header as bytes.
    #[inline]
    pub fn to_bytes(self) -> [u8; FRAME_HEADER_BYTES] {
        let word = (self.request_id as u64) << 48
            | (self.sequence as u64) << 32
            | (self.total as u64) << 16
            | self.reserved as u64;
        word.to_be_bytes()
    }
}

/// The request id, dialect and body of a request datagram. Of a text request sequence and reserved are not looked at, as
/// in memcached.
///
/// # Errors
/// [`Refused`]: not something to answer.
#[inline]
pub fn request(datagram: &[u8]) -> Result<(u16, Dialect, &[u8]), Refused> {
    let (header, body) = Header::split(datagram).ok_or(Refused::Short)?;
    match body.first() {
        None => Err(Refused::Short),
        _ if header.total == 0 && header.reserved == batch::MARK => match batch::Frame::open(body) {
            Some(frame) if header.sequence == 0 => {
                Ok((header.request_id, Dialect::Batch { padded: frame.padded }, body))
            }
            _ => Err(Refused::Batch),
        },
        _ if header.total != 1 => Err(Refused::Fragment),
        Some(0x80..) => Err(Refused::Binary),
        Some(b'A'..=b'Z' | b'0'..=b'9') => Err(Refused::Reply),
        Some(_) => Ok((header.request_id, Dialect::Text, body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_eight_big_endian_bytes() {
        let header = Header { request_id: 0x0102, sequence: 3, total: 0x0405, reserved: 0 };
        assert_eq!(header.to_bytes(), [1, 2, 0, 3, 4, 5, 0, 0]);
        assert_eq!(Header::split(&[1, 2, 0, 3, 4, 5, 0, 0, 9]), Some((header, &[9][..])));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert_eq!(request(b"\0\x01\0\0\0\x01\0\0get a\r\n"), Ok((1, Dialect::Text, &b"get a\r\n"[..])));
        assert_eq!(request(b"\0\x01\0\0\0\x01\0\0"), Err(Refused::Short));
        assert_eq!(request(b"\0\x01"), Err(Refused::Short));
        assert_eq!(request(b"\0\x01\0\0\0\x02\0\0get"), Err(Refused::Fragment));
        assert_eq!(request(b"\0\x01\0\0\0\0\0\0get"), Err(Refused::Fragment));
        assert_eq!(request(b"\0\x02\0\x09\0\x01\0\x09g"), Ok((2, Dialect::Text, &b"g"[..])));
        assert_eq!(request(b"\0\x01\0\0\0\x01\0\0\x80\0"), Err(Refused::Binary));
        assert_eq!(request(b"\0\x01\0\0\0\x01\x53\x01\x83\0"), Err(Refused::Binary));
        assert_eq!(request(b"\0\x01\0\0\0\0\x53\x01get"), Err(Refused::Batch));
        let frame = b"\0\x01\0\0\0\0\x53\x01\0\0\0\0\0\x01\0\x01\0\0\0\0\0\0\0\0";
        assert_eq!(request(frame), Ok((1, Dialect::Batch { padded: true }, &frame[8..])));
        let mut numbered = *frame;
        numbered[3] = 1;
        assert_eq!(request(&numbered), Err(Refused::Batch));
    }

    /// First words of text replies: ours, and those of memcached 1.4 to 1.6.
    const REPLIES: &str = "VALUE VA HD EN NF NS EX MN ME END STORED NOT_STORED EXISTS NOT_FOUND DELETED TOUCHED OK RESET VERSION STAT \
        ERROR CLIENT_ERROR SERVER_ERROR COOKIE BUSY MEMLIMIT_ADJUST_FAILED BADCLASS NOSPARE NOTFULL UNSAFE SAME ITEM PREFIX INCORRECT \
        0 7 42 18446744073709551615";

    const COMMANDS: &str = "get gets gat gats set add replace append prepend cas delete incr decr touch version verbosity stats \
        flush_all cache_memlimit quit mg ms md ma me mn cookie lru slabs lru_crawler watch shutdown extstore misbehave";

    #[test]
    fn no_reply_is_a_request_and_every_command_is() {
        for (words, want) in [(REPLIES, Err(Refused::Reply)), (COMMANDS, Ok(1))] {
            for word in words.split_whitespace() {
                for end in ["\r\n", " a 0 5\r\nhello\r\nEND\r\n"] {
                    let datagram = [b"\0\x01\0\0\0\x01\0\0", word.as_bytes(), end.as_bytes()].concat();
                    assert_eq!(request(&datagram).map(|(id, ..)| id), want, "{word}{end}");
                }
            }
        }
    }
}
