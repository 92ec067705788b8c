//! Results: what became of each operation.
//!
//! ```text
//!  0        1              4              8         16
//!  │ status │ value length │ client flags │ cas     │ value …
//! ```
//! Every result has this head, so a reader never branches on the kind to find the next one. Statuses begin at 0x80 and
//! padding is zeros: a reader stops at the first byte below. A body that begins with 0x80 or more is refused by every
//! server as a request, so two servers never answer each other for ever.

use crate::Error;

/// Bytes of a result without its value.
pub const RESULT_BYTES: usize = 16;

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Read: value, client flags and cas number follow.
    Value = 0x80,
    /// Stored (cas: its new number), deleted, touched.
    Done = 0x81,
    /// Counted: the value is the new number, 8 bytes.
    Number = 0x82,
    /// No such key.
    Missing = 0x83,
    /// The item has another cas number.
    Exists = 0x84,
    /// The mode forbade it.
    NotStored = 0x85,
    /// The value is larger than the server stores.
    TooLarge = 0x86,
    /// The value is no number.
    NotANumber = 0x87,
    /// A pool or ring was full; nothing was done: send it again.
    Busy = 0x88,
    /// Memory is held by readers: send it again.
    NoMemory = 0x89,
    /// The reply has no room for it; a write was done.
    NoRoom = 0x8a,
    /// The frame cannot be read. The only result of its reply; nothing was done.
    Bad = 0x8b,
    /// The address has to be validated: the cas field is the cookie. The only result of its reply; nothing was done.
    Cookie = 0x8c,
}

impl Status {
    /// Every status.
    pub const ALL: [Status; 13] = [
        Status::Value,
        Status::Done,
        Status::Number,
        Status::Missing,
        Status::Exists,
        Status::NotStored,
        Status::TooLarge,
        Status::NotANumber,
        Status::Busy,
        Status::NoMemory,
        Status::NoRoom,
        Status::Bad,
        Status::Cookie,
    ];

    /// The status of this number.
    #[inline]
    pub fn of(number: u8) -> Option<Status> {
        Status::ALL.get(number.wrapping_sub(Status::Value as u8) as usize).copied()
    }

    /// The status that says what this error's line says in text.
    pub fn of_error(error: Error) -> Status {
        match error {
            Error::TooLargeForCache => Status::TooLarge,
            Error::TooLargeForUdp => Status::NoRoom,
            Error::NonNumeric => Status::NotANumber,
            Error::Busy => Status::Busy,
            Error::OutOfMemory => Status::NoMemory,
            _ => Status::Bad,
        }
    }
}

/// A result, as a reader gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationResult<'a> {
    /// What became of the operation.
    pub status: Status,
    /// The client's flags of the item.
    pub client_flags: u32,
    /// The cas number of the item.
    pub cas: u64,
    /// The value.
    pub value: &'a [u8],
}

impl<'a> OperationResult<'a> {
    /// The result at the head of `body`, and what follows it; `None` at padding, at the end, or when it is cut off.
    #[inline]
    pub fn split(body: &'a [u8]) -> Option<(OperationResult<'a>, &'a [u8])> {
        let (head, behind) = body.split_first_chunk::<RESULT_BYTES>()?;
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let status = Status::of(head[0])?;
        let (value, rest) = behind.split_at_checked(word(0) as usize & 0xff_ffff)?;
        let cas = (word(8) as u64) << 32 | word(12) as u64;
        Some((OperationResult { status, client_flags: word(4), cas, value }, rest))
    }

    /// The head of a result.
    #[inline]
    pub fn head(status: Status, value_bytes: usize, client_flags: u32, cas: u64) -> [u8; RESULT_BYTES] {
        debug_assert!(value_bytes <= 0xff_ffff);
        let first = (status as u64) << 56 | (value_bytes as u64) << 32 | client_flags as u64;
        ((first as u128) << 64 | cas as u128).to_be_bytes()
    }
}

const _: () = assert!(crate::limits::VALUE_BYTES_LIMIT <= 0xff_ffff, "a length has 24 bits");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_back() {
        for status in Status::ALL {
            let bytes = [&OperationResult::head(status, 3, 0x0102_0304, 1 << 63)[..], b"abcd"].concat();
            let (outcome, rest) = OperationResult::split(&bytes).unwrap();
            assert_eq!(
                outcome,
                OperationResult { status, client_flags: 0x0102_0304, cas: 1 << 63, value: b"abc" }
            );
            assert_eq!(rest, b"d");
            assert_eq!(OperationResult::split(&bytes[..18]), None);
        }
        assert_eq!(OperationResult::split(&[0; 64]), None);
        assert_eq!((0..=255).filter_map(Status::of).count(), Status::ALL.len());
    }
}
