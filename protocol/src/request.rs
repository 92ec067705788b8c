//! A request: what the bytes of a datagram ask for, borrowing them.
//!
//! One datagram holds one or more complete commands. [`Commands`] yields them in order; what cannot be parsed ends the
//! datagram where the parser can no longer tell where the next command begins (a value that is cut off).
//!
//! In a datagram a command that is not all there is wrong, since nothing follows. Where more may follow, [`Commands::parse`]
//! tells *incomplete* from *wrong*, and how many bytes are missing at least.
//!
//! Where a store is wrong, datagrams and streams differ. In a datagram nothing behind it is read if the end of its value is not
//! known, or not where its line says. In a stream ([`Commands::of_stream`]) the line's word holds, as in memcached: so many bytes
//! and two more belong to the value, and a line without a length has none.

use crate::error::Error;
use crate::frame::Dialect;
use crate::limits::KEY_BYTES_MAX;
use crate::meta::{self, Meta};
use crate::plain;
use crate::text;
use crate::token::{Tokens, is_key};
use crate::too_large::TooLarge;
use std::num::NonZeroUsize;

/// A key: 1 to 250 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a>(&'a [u8]);

impl<'a> Key<'a> {
    /// A key as it stands in a command line, of which it is a word.
    ///
    /// # Errors
    /// [`Error::BadLine`]: empty or too long.
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
    const RELATIVE_MAX_S: i64 = 60 * 60 * 24 * 30;

    /// From memcached's `exptime`, in seconds. It has 64 bits here: with 32, memcached knows no date behind January 2038.
    pub fn from_exptime(exptime_s: i64) -> Expiry {
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
    /// A store with a longer value than is taken.
    TooLarge(TooLarge<'a>),
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
        /// Which, and what it asks further; none for the general ones.
        words: Tokens<'a>,
    },
    /// `flush_all`
    FlushAll {
        /// Seconds from now, or since 1970 if they are more than 30 days.
        delay_s: i64,
        /// No reply.
        quiet: bool,
    },
    /// `quit`: nothing, over UDP.
    Quit,
    /// `config get cluster`: the servers of `--peers`.
    ClusterConfig,
    /// `lru_crawler metadump all` or `hash`: a line for each item.
    MetaDump,
    /// `shutdown [graceful]`.
    Shutdown {
        /// What was asked before it is answered first.
        graceful: bool,
    },
}

impl Command<'_> {
    /// A classic command with `noreply`: not even its errors are answered. A meta command's are.
    pub fn wants_no_reply(&self) -> bool {
        match self {
            Command::Store(store) => store.quiet,
            Command::TooLarge(store) => store.is_quiet,
            Command::Delete { quiet, .. }
            | Command::Arithmetic { quiet, .. }
            | Command::Touch { quiet, .. }
            | Command::Verbosity { quiet }
            | Command::MemoryLimit { quiet, .. }
            | Command::FlushAll { quiet, .. } => *quiet,
            Command::Get(_)
            | Command::Meta(_)
            | Command::Version
            | Command::Stats { .. }
            | Command::Quit
            | Command::ClusterConfig
            | Command::MetaDump
            | Command::Shutdown { .. } => false,
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
    /// Whether more keys of the same read follow in what comes next: its end is not here.
    pub is_open: bool,
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
    /// Whether more may follow, and what is wrong ends nothing.
    is_stream: bool,
    /// Whether stores have no value: only their lines are read.
    reads_lines: bool,
    /// Bytes that the last command would have needed at least; 0 if it was all there.
    missing: usize,
}

/// What comes next where more bytes may follow.
#[derive(Clone, Copy, Debug)]
pub enum Parsed<'a> {
    /// A command.
    Command(Command<'a>),
    /// Not all of a command. It begins where [`Commands::at`] is.
    Incomplete {
        /// So many bytes are missing, or more.
        at_least: NonZeroUsize,
        /// The answer if no more bytes come. A store that is wrong, and only waits for the end of its value, has its error here already.
        otherwise: Error,
        /// What is missing.
        missing: Missing<'a>,
    },
    /// It is wrong, whatever follows.
    Wrong(Error),
}

/// What a command that is not all there lacks.
#[derive(Clone, Copy, Debug)]
pub enum Missing<'a> {
    /// The end of its line.
    LineEnd,
    /// The end of the value of a store that is right so far: its command, with an empty value, and the bytes that the value will
    /// have. All that is missing is known.
    Value(Command<'a>, usize),
    /// The end of the value of a store whose line is wrong: all that is missing is known.
    RefusedValue,
    /// The end of the value of a store that is too large, which this is: all that is missing is known.
    TooLargeValue(Command<'a>),
}

impl<'a> Commands<'a> {
    /// The commands of `body`; a larger value than `value_bytes_max` is refused.
    #[inline]
    pub fn new(body: &'a [u8], value_bytes_max: usize) -> Commands<'a> {
        Commands { body, at: 0, value_bytes_max, is_stream: false, reads_lines: false, missing: 0 }
    }

    /// The same commands from byte `at` on, where a command begins.
    pub fn resume(body: &'a [u8], at: usize, value_bytes_max: usize) -> Commands<'a> {
        Commands {
            body,
            at: at.min(body.len()),
            value_bytes_max,
            is_stream: false,
            reads_lines: false,
            missing: 0,
        }
    }

    /// The same commands, of a stream.
    pub fn of_stream(self) -> Commands<'a> {
        Commands { is_stream: true, ..self }
    }

    /// The lines of the same commands: stores have no value, and none is looked for.
    pub fn without_values(self) -> Commands<'a> {
        Commands { reads_lines: true, ..self.of_stream() }
    }

    /// The same commands, as they are in this dialect.
    #[inline]
    pub fn of(self, dialect: Dialect) -> Commands<'a> {
        Commands { is_stream: dialect == Dialect::Stream, ..self }
    }

    /// Where the next command begins, in bytes from the start of the body.
    pub fn at(&self) -> usize {
        self.at
    }

    /// What comes next, where more bytes may follow those that are here; `None` at their end.
    pub fn parse(&mut self) -> Option<Parsed<'a>> {
        let began = self.at;
        self.missing = 0;
        let parsed = self.next()?;
        if let Some(at_least) = NonZeroUsize::new(self.missing) {
            self.at = began;
            let (missing, otherwise) = self.what_is_missing(parsed.err().unwrap_or(Error::TooLargeForCache));
            return Some(Parsed::Incomplete { at_least, otherwise, missing });
        }
        Some(match parsed {
            Ok(command) => Parsed::Command(command),
            Err(error) => Parsed::Wrong(error),
        })
    }

    /// What the command lacks that begins here and is not all there, and the answer if no more comes. What is wrong with a line is
    /// its answer, and not that its value is not all there yet.
    #[cold]
    fn what_is_missing(&self, otherwise: Error) -> (Missing<'a>, Error) {
        if memchr::memchr(b'\n', &self.body[self.at..]).is_none() {
            return (Missing::LineEnd, otherwise);
        }
        let mut line = Commands { reads_lines: true, missing: 0, ..*self };
        match line.next() {
            Some(Ok(command @ Command::TooLarge(_))) => (Missing::TooLargeValue(command), otherwise),
            Some(Ok(command)) => (Missing::Value(command, line.missing), otherwise),
            Some(Err(error)) => (Missing::RefusedValue, error),
            None => (Missing::RefusedValue, otherwise),
        }
    }

    /// The value of a store command: `bytes` bytes and `\r\n`, right behind its line. `None` if it is too large, wherever it ends: it
    /// is passed over.
    ///
    /// # Errors
    /// [`Error::BadDataChunk`]. A value that is cut off or ends elsewhere ends a datagram: where the next command begins is not known,
    /// and a value must never run as commands.
    pub(super) fn value(&mut self, bytes: u64) -> Result<Option<&'a [u8]>, Error> {
        let too_large = bytes > self.value_bytes_max as u64;
        if self.reads_lines {
            self.missing = bytes as usize;
            return Ok(if too_large { None } else { Some(b"") });
        }
        let behind = &self.body[self.at..];
        let taken = std::mem::replace(&mut self.at, self.body.len());
        let whole = usize::try_from(bytes).ok().and_then(|bytes| behind.split_at_checked(bytes));
        match whole {
            Some((value, [b'\r', b'\n', ..])) => {
                self.at = taken + value.len() + 2;
                Ok(if too_large { None } else { Some(value) })
            }
            _ => {
                self.missing = match self.is_stream {
                    true => (bytes as usize + 2).saturating_sub(behind.len()),
                    false => missing_of_value(behind, bytes),
                };
                if self.is_stream && self.missing == 0 {
                    self.at = taken + bytes as usize + 2;
                }
                if too_large { Ok(None) } else { Err(Error::BadDataChunk) }
            }
        }
    }

    /// Passes over the value of a store that is refused, so that it does not run as commands. Where the value ends is
    /// not known if it is not whole; that ends the datagram.
    pub(super) fn skip_value(&mut self, bytes: u64) {
        // The store is refused already: its own error is the answer.
        let _ = self.value(bytes);
    }

    /// Ends a datagram: where the next command begins is not known.
    pub(super) fn give_up(&mut self) {
        if !self.is_stream {
            self.at = self.body.len();
        }
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
            self.at = self.body.len();
            self.missing = LINE_END_BYTES_MIN;
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

/// A line ends with `\n`; the `\r` before it may be left out.
const LINE_END_BYTES_MIN: usize = 1;

/// Bytes that are missing of a value of `bytes` bytes and its `\r\n`, of which `behind` is what there is; 0 if that is wrong
/// already.
#[cold]
fn missing_of_value(behind: &[u8], bytes: u64) -> usize {
    let Ok(bytes) = usize::try_from(bytes) else { return 0 };
    let ends_wrong = behind.get(bytes).is_some_and(|&byte| byte != b'\r');
    if ends_wrong { 0 } else { (bytes + 2).saturating_sub(behind.len()) }
}

#[cfg(test)]
mod tests;
