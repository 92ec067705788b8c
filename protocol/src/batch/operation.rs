//! Operations of a batch frame, read in place.
//!
//! ```text
//!  0      1            2        4                                                             24
//!  │ code │ key length │ 0      │ key …                                            GET, DELETE │
//!  │ code │ key length │ 0      │ ttl ms    │ value length │ client flags │ number u64         │ key … │ value …
//! ```
//! Two shapes of head, chosen by the code, so that the common read takes four bytes besides its key. Nothing is aligned:
//! a load that is not aligned costs the same on the machines that we run on, and padding would cost bytes.
//!
//! `ttl ms` 0 is for ever. `number` is the cas number that CAS compares, the delta of INCR and DECR, and is not looked
//! at elsewhere; nor are fields that an operation has no use for. A key is any 1 to 250 bytes: nothing here ends at a
//! space or a line end.

use crate::limits::KEY_BYTES_MAX;
use crate::request::{Expiry, Key, Mode};

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Reads.
    Get = 0x01,
    /// Deletes.
    Delete = 0x02,
    /// Stores.
    Set = 0x10,
    /// Stores if the key is absent.
    Add = 0x11,
    /// Stores if the key is present.
    Replace = 0x12,
    /// Stores if the item has the cas number `number`.
    Cas = 0x13,
    /// Puts the value behind the one that is there.
    Append = 0x14,
    /// Puts the value before the one that is there.
    Prepend = 0x15,
    /// Gives the item another time to live.
    Touch = 0x20,
    /// The same, and reads it.
    GetAndTouch = 0x21,
    /// Adds `number` to a decimal value.
    Incr = 0x22,
    /// Subtracts `number` from a decimal value.
    Decr = 0x23,
}

impl Code {
    /// Every code.
    pub const ALL: [Code; 12] = [
        Code::Get,
        Code::Delete,
        Code::Set,
        Code::Add,
        Code::Replace,
        Code::Cas,
        Code::Append,
        Code::Prepend,
        Code::Touch,
        Code::GetAndTouch,
        Code::Incr,
        Code::Decr,
    ];

    /// The code of this number.
    #[inline]
    pub fn of(number: u8) -> Option<Code> {
        Code::ALL.into_iter().find(|&code| code as u8 == number)
    }

    /// Whether the head has four bytes only.
    #[inline]
    pub fn is_short(self) -> bool {
        matches!(self, Code::Get | Code::Delete)
    }

    /// When it stores a value, if it stores one.
    pub fn mode(self) -> Option<Mode> {
        match self {
            Code::Set | Code::Cas => Some(Mode::Set),
            Code::Add => Some(Mode::Add),
            Code::Replace => Some(Mode::Replace),
            Code::Append => Some(Mode::Append),
            Code::Prepend => Some(Mode::Prepend),
            _ => None,
        }
    }
}

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation<'a> {
    /// What it does.
    pub code: Code,
    /// To what.
    pub key: Key<'a>,
    /// Time to live, in ms; 0 for ever.
    pub ttl_ms: u32,
    /// The client's flags.
    pub client_flags: u32,
    /// Cas number or delta.
    pub number: u64,
    /// The value.
    pub value: &'a [u8],
}

impl<'a> Operation<'a> {
    /// An operation with nothing but a key.
    ///
    /// # Panics
    /// When the key is empty or longer than 250 bytes.
    pub fn short(code: Code, key: &'a [u8]) -> Operation<'a> {
        let key = Key::binary(key).expect("a key of 1 to 250 bytes");
        Operation { code, key, ttl_ms: 0, client_flags: 0, number: 0, value: b"" }
    }

    /// When the item is to expire.
    pub fn expiry(&self) -> Expiry {
        if self.ttl_ms == 0 { Expiry::Never } else { Expiry::InMs(self.ttl_ms as u64) }
    }

    /// Whether its result may hold a stored value.
    pub fn yields_value(&self) -> bool {
        matches!(self.code, Code::Get | Code::GetAndTouch)
    }
}

/// The operations of a frame. Yields `None` inside for one that cannot be read, and ends there.
#[derive(Clone, Copy, Debug)]
pub struct Operations<'a> {
    body: &'a [u8],
    place: Cursor,
    count: u16,
}

/// Where among the operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Byte of the body.
    pub at: usize,
    /// Number of the operation.
    pub index: usize,
}

/// Bytes of the short head.
pub const SHORT_BYTES: usize = 4;
/// Bytes of the long head.
pub const LONG_BYTES: usize = 24;

impl<'a> Operations<'a> {
    /// `count` operations that begin at byte `at` of `body`.
    #[inline]
    pub(super) fn new(body: &'a [u8], at: usize, count: u16) -> Operations<'a> {
        Operations { body, place: Cursor { at: at.min(body.len()), index: 0 }, count }
    }

    /// The same operations from `place` on, where one begins.
    pub fn from(self, place: Cursor) -> Operations<'a> {
        Operations { place: Cursor { at: place.at.min(self.body.len()), ..place }, ..self }
    }

    /// Where the next operation begins.
    #[inline]
    pub fn place(&self) -> Cursor {
        self.place
    }

    /// Whether all of them can be read.
    pub fn are_sound(mut self) -> bool {
        self.all(|operation| operation.is_some())
    }

    #[inline]
    fn read(&mut self) -> Option<Operation<'a>> {
        let rest = &self.body[self.place.at..];
        let (&[code, key_bytes, zero, zeros], behind) = rest.split_first_chunk::<SHORT_BYTES>()?;
        if zero | zeros != 0 {
            return None;
        }
        if code == Code::Get as u8 {
            let (key, _) = behind.split_at_checked(key_bytes as usize)?;
            let key = Key::binary(key)?;
            self.place.at += SHORT_BYTES + key_bytes as usize;
            return Some(Operation {
                code: Code::Get,
                key,
                ttl_ms: 0,
                client_flags: 0,
                number: 0,
                value: b"",
            });
        }
        self.read_other(code, key_bytes as usize, rest)
    }

    fn read_other(&mut self, code: u8, key_bytes: usize, rest: &'a [u8]) -> Option<Operation<'a>> {
        let code = Code::of(code)?;
        let (head, behind) = rest.split_at_checked(if code.is_short() { SHORT_BYTES } else { LONG_BYTES })?;
        let (key, behind) = behind.split_at_checked(key_bytes)?;
        let mut operation =
            Operation { code, key: Key::binary(key)?, ttl_ms: 0, client_flags: 0, number: 0, value: b"" };
        if !code.is_short() {
            let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            operation.ttl_ms = word(4);
            operation.value = behind.get(..word(8) as usize)?;
            operation.client_flags = word(12);
            operation.number = (word(16) as u64) << 32 | word(20) as u64;
        }
        self.place.at += head.len() + key_bytes + operation.value.len();
        Some(operation)
    }
}

impl<'a> Iterator for Operations<'a> {
    type Item = Option<Operation<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Option<Operation<'a>>> {
        if self.place.index >= self.count as usize {
            return None;
        }
        self.place.index += 1;
        let operation = self.read();
        if operation.is_none() {
            self.place = Cursor { at: self.body.len(), index: self.count as usize };
        }
        Some(operation)
    }
}

const _: () = assert!(KEY_BYTES_MAX <= u8::MAX as usize, "the length of a key fits a byte");

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Option<Operation<'_>> {
        Operations::new(bytes, 0, 1).next().unwrap()
    }

    #[test]
    fn what_is_cut_off_or_unknown_is_none() {
        assert_eq!(read(b"\x01\x01\0\0a"), Some(Operation::short(Code::Get, b"a")));
        for bytes in [
            &b""[..],
            b"\x01\x01\0\0",
            b"\x01\x00\0\0",
            b"\x01\xff\0\0",
            b"\x01\x01\x01\0a",
            b"\x01\x01\0\x01a",
            b"\x00\x01\0\0a",
            b"\x03\x01\0\0a",
            b"\x10\x01\0\0a",
        ] {
            assert_eq!(read(bytes), None, "{}", bytes.escape_ascii());
        }
        let long = [1u8; 251];
        assert_eq!(read(&[&b"\x01\xfb\0\0"[..], &long].concat()), None);
        let mut set = [&b"\x10\x01\0\0"[..], &[0; 20], b"kv"].concat();
        set[11] = 1;
        assert_eq!(read(&set).unwrap().value, b"v");
        set[11] = 2;
        assert_eq!(read(&set), None);
        set[8] = 0xff;
        assert_eq!(read(&set), None);
    }

    #[test]
    fn codes_are_what_the_protocol_says() {
        assert!(Code::ALL.into_iter().all(|code| Code::of(code as u8) == Some(code)));
        assert_eq!((0..=255).filter_map(Code::of).count(), Code::ALL.len());
    }
}
