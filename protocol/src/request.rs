//! A request: what the bytes of a datagram ask for, borrowing them.
//!
//! One datagram holds one or more complete commands. [`Commands`] yields them in order; what cannot be parsed ends the
//! datagram where the parser can no longer tell where the next command begins (a value that is cut off).

use crate::error::Error;
use crate::limits::KEY_BYTES_MAX;
use crate::meta::{self, Meta};
use crate::plain;
use crate::text;
use crate::token::{Tokens, is_key};

/// A key: 1 to 250 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a>(&'a [u8]);

impl<'a> Key<'a> {
    /// A key as it stands in a command line.
    ///
    /// # Errors
    /// [`Error::BadLine`]: empty, too long, or with control characters (0x00 to 0x0f).
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Key<'a>, Error> {
        if is_key(bytes) { Ok(Key(bytes)) } else { Err(Error::BadLine) }
    }

    /// A key that was sent as base64: any 1 to 250 bytes.
    pub(super) fn of_binary(bytes: &'a [u8]) -> Key<'a> {
        Key(bytes)
    }

    /// A key whose length is said beside it: any 1 to 250 bytes. `None` if it is empty or too long.
    #[inline]
    pub fn binary(bytes: &'a [u8]) -> Option<Key<'a>> {
        if bytes.is_empty() || bytes.len() > KEY_BYTES_MAX { None } else { Some(Key(bytes)) }
    }

    /// The bytes.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// When an item shall expire, as the client said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    Never,
    /// At once: a negative time.
    Past,
    /// So many milliseconds from now.
    InMs(u64),
    /// At this second since 1970.
    AtUnixS(u64),
}

impl Expiry {
    /// Relative times up to 30 days; larger ones are absolute (`doc/protocol.txt`, "Expiration times").
    const RELATIVE_MAX_S: i32 = 60 * 60 * 24 * 30;

    /// From memcached's `exptime`, in seconds.
    pub fn from_exptime(exptime_s: i32) -> Expiry {
        match exptime_s {
            0 => Expiry::Never,
            ..0 => Expiry::Past,
            1..=Self::RELATIVE_MAX_S => Expiry::InMs(exptime_s as u64 * 1000),
            _ => Expiry::AtUnixS(exptime_s as u64),
        }
    }
}

/// One command.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// `get gets gat gats`
    Get(Get<'a>),
    /// `set add replace append prepend cas`
    Store(Store<'a>),
    /// `delete`
    Delete {
        /// What to delete.
        key: Key<'a>,
        /// No reply.
        quiet: bool,
    },
    /// `incr decr`
    Arithmetic {
        /// What to count.
        key: Key<'a>,
        /// Up or down.
        up: bool,
        /// By how much.
        delta: u64,
        /// No reply.
        quiet: bool,
    },
    /// `touch`
    Touch {
        /// What to touch.
        key: Key<'a>,
        /// Its new expiry.
        expiry: Expiry,
        /// No reply.
        quiet: bool,
    },
    /// `mg ms md ma me mn`
    Meta(Meta<'a>),
    /// `version`
    Version,
    /// `verbosity`
    Verbosity {
        /// No reply.
        quiet: bool,
    },
    /// `cache_memlimit`
    MemoryLimit {
        /// In MiB.
        mib: u32,
        /// No reply.
        quiet: bool,
    },
    /// `stats`
    Stats {
        /// Which; empty for the general ones.
        what: &'a [u8],
    },
    /// `flush_all`
    FlushAll {
        /// Seconds from now.
        delay_s: i32,
        /// No reply.
        quiet: bool,
    },
    /// `quit`: nothing, over UDP.
    Quit,
}

impl Command<'_> {
    /// A classic command with `noreply`: not even its errors are answered. A meta command's are.
    pub fn wants_no_reply(&self) -> bool {
        match self {
            Command::Store(store) => store.quiet,
            Command::Delete { quiet, .. }
            | Command::Arithmetic { quiet, .. }
            | Command::Touch { quiet, .. }
            | Command::Verbosity { quiet }
            | Command::MemoryLimit { quiet, .. }
            | Command::FlushAll { quiet, .. } => *quiet,
            Command::Get(_) | Command::Meta(_) | Command::Version | Command::Stats { .. } | Command::Quit => {
                false
            }
        }
    }
}

/// A classic read of one or more keys.
#[derive(Clone, Copy, Debug)]
pub struct Get<'a> {
    /// One or more words, each a key (checked).
    pub keys: Tokens<'a>,
    /// Reply with the cas numbers.
    pub with_cas: bool,
    /// `gat`: every item read gets this expiry.
    pub touch: Option<Expiry>,
}

impl<'a> Get<'a> {
    /// The keys.
    #[inline]
    pub fn keys(&self) -> impl Iterator<Item = Key<'a>> + use<'a> {
        self.keys.map(Key)
    }

    /// The first key, and the same read of the others; `None` when no key is left.
    #[inline]
    pub fn split_first(mut self) -> Option<(Key<'a>, Get<'a>)> {
        let key = Key(self.keys.next()?);
        Some((key, self))
    }
}

/// When a store stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Always.
    Set,
    /// Only if the key is absent.
    Add,
    /// Only if it is present.
    Replace,
    /// Only if present: behind its value.
    Append,
    /// Only if present: before its value.
    Prepend,
}

/// A classic write of a value.
#[derive(Clone, Copy, Debug)]
pub struct Store<'a> {
    /// When to store.
    pub mode: Mode,
    /// The key.
    pub key: Key<'a>,
    /// The client's flags.
    pub flags: u32,
    /// When it expires.
    pub expiry: Expiry,
    /// Only if the item still has this cas number.
    pub cas: Option<u64>,
    /// The value.
    pub value: &'a [u8],
    /// No reply.
    pub quiet: bool,
}

/// The commands of a datagram's body.
#[derive(Clone, Copy, Debug)]
pub struct Commands<'a> {
    body: &'a [u8],
    at: usize,
    value_bytes_max: usize,
}

impl<'a> Commands<'a> {
    /// The commands of `body`; a larger value than `value_bytes_max` is refused.
    #[inline]
    pub fn new(body: &'a [u8], value_bytes_max: usize) -> Commands<'a> {
        Commands { body, at: 0, value_bytes_max }
    }

    /// The same commands from byte `at` on, where a command begins.
    pub fn resume(body: &'a [u8], at: usize, value_bytes_max: usize) -> Commands<'a> {
        Commands { body, at: at.min(body.len()), value_bytes_max }
    }

    /// Where the next command begins, in bytes from the start of the body.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The value of a store command: `bytes` bytes and `\r\n`, right behind its line.
    ///
    /// # Errors
    /// [`Error::TooLargeForCache`], or [`Error::BadDataChunk`]. A value that is cut off or ends elsewhere ends the
    /// datagram: where the next command begins is not known, and a value must never run as commands.
    pub(super) fn value(&mut self, bytes: u64) -> Result<&'a [u8], Error> {
        let behind = &self.body[self.at..];
        let taken = std::mem::replace(&mut self.at, self.body.len());
        let too_large = bytes > self.value_bytes_max as u64;
        let whole = usize::try_from(bytes).ok().and_then(|bytes| behind.split_at_checked(bytes));
        match whole {
            Some((value, [b'\r', b'\n', ..])) => {
                self.at = taken + value.len() + 2;
                if too_large { Err(Error::TooLargeForCache) } else { Ok(value) }
            }
            _ if too_large => Err(Error::TooLargeForCache),
            _ => Err(Error::BadDataChunk),
        }
    }

    /// Passes over the value of a store that is refused, so that it does not run as commands. Where the value ends is
    /// not known if it is not whole; that ends the datagram.
    pub(super) fn skip_value(&mut self, bytes: u64) {
        // The store is refused already: its own error is the answer.
        let _ = self.value(bytes);
    }

    /// Ends the datagram: where the next command begins is not known.
    pub(super) fn give_up(&mut self) {
        self.at = self.body.len();
    }
}

impl<'a> Iterator for Commands<'a> {
    type Item = Result<Command<'a>, Error>;

    /// # Errors
    /// What the client did wrong; the commands behind it follow if their beginning is known.
    #[inline]
    fn next(&mut self) -> Option<Result<Command<'a>, Error>> {
        let rest = &self.body[self.at..];
        if rest.is_empty() {
            return None;
        }
        if let Some((command, bytes)) = plain::command(rest, self.value_bytes_max) {
            self.at += bytes;
            return Some(Ok(command));
        }
        let Some(end) = memchr::memchr(b'\n', rest) else {
            self.give_up();
            return Some(Err(Error::BadLine));
        };
        self.at += end + 1;
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        match line {
            [b'm', kind, b' ', arguments @ ..] => Some(meta::parse(self, *kind, arguments)),
            [b'm', kind] => Some(meta::parse(self, *kind, b"")),
            _ => Some(text::parse(self, line)),
        }
    }
}
