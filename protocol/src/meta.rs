//! Meta commands: `mg ms md ma me mn`, a key, and one-letter flags, some with a word glued to them.
//!
//! ```text
//! mg user:1 v t N30 Oabc
//!    └ key  └ flags: value, ttl, vivify for 30 s on a miss, opaque "abc"
//! ```
//! The reply repeats the flags that return something in the order in which they came, so the words are kept.

use crate::error::Error;
use crate::limits::KEY_BYTES_MAX;
use crate::request::{Command, Commands, Expiry, Key};
use crate::text::value_bytes;
use crate::token::{Number, Tokens, is_key};
use crate::too_large::TooLarge;
use base64::Engine;

/// Which meta command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `mg`
    Get,
    /// `ms`
    Set,
    /// `md`
    Delete,
    /// `ma`
    Arithmetic,
    /// `me`
    Debug,
    /// `mn`
    Noop,
}

/// A meta command.
#[derive(Clone, Copy, Debug)]
pub struct Meta<'a> {
    /// Which.
    pub kind: Kind,
    /// The key as it was sent: base64 if [`Meta::has`] `b`.
    pub key_word: &'a [u8],
    /// The flags as they were sent, in order.
    pub words: Tokens<'a>,
    /// The value of `ms`.
    pub value: &'a [u8],
    flags: FlagSet,
    /// The words of the flags that steer the command.
    pub terms: Terms,
}

/// What the flags with a word say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// `C`: only if the item has this cas number.
    pub compare_cas: Option<u64>,
    /// `E`: the new version gets this cas number.
    pub new_cas: Option<u64>,
    /// `F`: client flags.
    pub client_flags: u32,
    /// `T`: new expiry; `A`, ours: the same in ms.
    pub ttl: Option<Expiry>,
    /// `N`: create on a miss, with this expiry.
    pub vivify: Option<Expiry>,
    /// `R`: the first to see an item that is due before this may refresh it.
    pub recache: Option<Expiry>,
    /// `J`: the number that a vivified counter starts with.
    pub initial: u64,
    /// `D`: the delta of `ma`; 1 if not given.
    pub delta: Option<u64>,
    /// `M`: the mode letter.
    pub mode: Option<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
struct FlagSet(u64);

impl FlagSet {
    fn bit(flag: u8) -> u64 {
        match flag {
            b'A'..=b'Z' => 1 << (flag - b'A'),
            b'a'..=b'z' => 1 << (26 + flag - b'a'),
            _ => 0,
        }
    }

    const fn of(flags: &[u8]) -> u64 {
        let (mut set, mut i) = (0u64, 0);
        while i < flags.len() {
            let flag = flags[i];
            set |= 1 << if flag.is_ascii_uppercase() { flag - b'A' } else { 26 + flag - b'a' };
            i += 1;
        }
        set
    }
}

/// Every meta command takes every flag, and overlooks what it has no use for.
const FLAGS: u64 = FlagSet::of(b"bcfhklOqstuvxACDEFIJLMNPRT");

/// Flags of one command, at most (memcached's own limit).
const FLAGS_MAX: usize = 17;

impl<'a> Meta<'a> {
    /// Whether the flag was given.
    #[inline]
    pub fn has(&self, flag: u8) -> bool {
        self.flags.0 & FlagSet::bit(flag) != 0
    }

    /// Whether the usual reply is left out (`q`).
    pub fn quiet(&self) -> bool {
        self.has(b'q')
    }

    /// A plain `mg` of a plain key: it changes nothing, so any thread can answer it.
    #[inline]
    pub fn is_plain_read(&self) -> bool {
        const CHANGES: u64 = FlagSet::of(b"bANRT");
        self.kind == Kind::Get && self.flags.0 & CHANGES == 0
    }

    /// The key, decoded into `buffer` if it is base64.
    ///
    /// # Errors
    /// It is no base64 of 1 to 250 bytes: in memcached's words for this command.
    pub fn key<'k>(&self, buffer: &'k mut [u8; KEY_BYTES_MAX + 2]) -> Result<Key<'k>, Error>
    where
        'a: 'k,
    {
        if !self.has(b'b') {
            return Key::new(self.key_word);
        }
        decoded(self.key_word, buffer).ok_or(match self.kind {
            Kind::Delete | Kind::Arithmetic => Error::InvalidOrDuplicateFlag,
            Kind::Debug => Error::BadLine,
            _ => Error::BadBase64,
        })
    }
}

/// The key of a base64 word; `None` if it is no base64 of 1 to 250 bytes.
pub(super) fn decoded<'k>(word: &[u8], buffer: &'k mut [u8; KEY_BYTES_MAX + 2]) -> Option<Key<'k>> {
    let bytes = base64::engine::general_purpose::STANDARD.decode_slice(word, buffer).ok()?;
    (1..=KEY_BYTES_MAX).contains(&bytes).then(|| Key::of_binary(&buffer[..bytes]))
}

/// The command of kind `m` + `kind`; takes the value of `ms` from `commands`.
///
/// # Errors
/// What the client did wrong.
pub(super) fn parse<'a>(
    commands: &mut Commands<'a>,
    kind: u8,
    arguments: &'a [u8],
) -> Result<Command<'a>, Error> {
    let kind = match kind {
        b'g' => Kind::Get,
        b's' => Kind::Set,
        b'd' => Kind::Delete,
        b'a' => Kind::Arithmetic,
        b'e' => Kind::Debug,
        b'n' => Kind::Noop,
        _ => return Err(Error::UnknownCommand),
    };
    let words = Tokens::new(arguments);
    let mut meta =
        Meta { kind, key_word: b"", words, value: b"", flags: FlagSet(0), terms: Terms::default() };
    if kind == Kind::Noop {
        return Ok(Command::Meta(meta));
    }
    let key = meta.words.next();
    let value = match kind {
        // The value comes off first, so that a bad flag does not turn it into commands.
        Kind::Set => match meta.words.next().and_then(value_bytes) {
            Some(bytes) => commands.value(bytes),
            None => {
                commands.give_up();
                return Err(Error::BadLine);
            }
        },
        _ => Ok(Some(&b""[..])),
    };
    // What is wrong with a line is said first, as in memcached, which reads the value behind it.
    read_line(&mut meta, key)?;
    Ok(match value? {
        Some(value) => Command::Meta(Meta { value, ..meta }),
        None => Command::TooLarge(TooLarge::of_meta(&meta)),
    })
}

/// Reads what a line says beside the length of a value.
#[inline]
fn read_line<'a>(meta: &mut Meta<'a>, key: Option<&'a [u8]>) -> Result<(), Error> {
    meta.key_word = key.filter(|key| is_key(key)).ok_or(Error::BadLine)?;
    if meta.kind == Kind::Debug {
        let is_base64 = meta.words.next() == Some(b"b");
        meta.flags.0 = if is_base64 { FlagSet::bit(b'b') } else { 0 };
        return Ok(());
    }
    let opaque_bytes = read_flags(meta).map_err(|error| match meta.kind {
        Kind::Delete | Kind::Arithmetic => Error::InvalidOrDuplicateFlag,
        _ => error,
    })?;
    check_mode(meta)?;
    if opaque_bytes > OPAQUE_BYTES_MAX { Err(Error::OpaqueTooLong) } else { Ok(()) }
}

/// Reads all flags; says how long the opaque is, in bytes with its letter. As in memcached the last bad word names the
/// error, but an unknown or repeated flag ends it.
#[inline]
fn read_flags(meta: &mut Meta<'_>) -> Result<usize, Error> {
    let (mut result, mut opaque_bytes) = (Ok(()), 0);
    for (i, word) in meta.words.into_iter().enumerate() {
        if i == FLAGS_MAX {
            return Err(Error::TooManyFlags);
        }
        let bit = FlagSet::bit(word[0]);
        if word[0] >= 127 || meta.flags.0 & bit != 0 {
            return Err(Error::DuplicateFlag);
        }
        if bit & FLAGS == 0 {
            return Err(Error::InvalidFlag);
        }
        meta.flags.0 |= bit;
        if word[0] == b'O' {
            opaque_bytes = word.len();
        } else if let Err(error) = read_word(&mut meta.terms, word) {
            result = Err(error);
        }
    }
    result.map(|()| opaque_bytes)
}

/// Reads the word of a flag that has one.
#[inline]
fn read_word(terms: &mut Terms, word: &[u8]) -> Result<(), Error> {
    let (flag, argument) = (word[0], &word[1..]);
    let number = |error| u64::parse(argument).ok_or(error);
    let expiry = || i64::parse(argument).map(Expiry::from_exptime).ok_or(Error::BadToken);
    match flag {
        b'C' => terms.compare_cas = Some(number(Error::BadToken)?),
        b'E' => terms.new_cas = Some(number(Error::BadToken)?),
        b'F' => terms.client_flags = u32::parse(argument).ok_or(Error::BadLine)?,
        b'T' => terms.ttl = Some(expiry()?),
        b'A' => {
            let ttl_ms = u32::parse(argument).ok_or(Error::BadToken)?;
            terms.ttl = Some(if ttl_ms == 0 { Expiry::Never } else { Expiry::InMs(ttl_ms as u64) });
        }
        b'N' => terms.vivify = Some(expiry()?),
        b'R' => terms.recache = Some(expiry()?),
        b'J' => terms.initial = number(Error::BadInitial)?,
        b'D' => terms.delta = Some(number(Error::BadMetaDelta)?),
        b'M' => terms.mode = Some(argument.first().copied().unwrap_or(0)),
        _ => {}
    }
    Ok(())
}

fn check_mode(meta: &Meta<'_>) -> Result<(), Error> {
    match (meta.kind, meta.terms.mode) {
        (Kind::Set, Some(mode)) if !b"EAPRS".contains(&mode) => Err(Error::BadMode),
        (Kind::Arithmetic, Some(mode)) if !b"ID+-".contains(&mode) => Err(Error::BadArithmeticMode),
        _ => Ok(()),
    }
}

/// Longest opaque with its letter, in bytes (memcached's own limit).
const OPAQUE_BYTES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn one(body: &[u8]) -> Result<Meta<'_>, Error> {
        match Commands::new(body, 1 << 20).next().unwrap()? {
            Command::Meta(meta) => Ok(meta),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_and_their_words() {
        let meta = one(b"mg key v t N30 R10 Oabc q\r\n").unwrap();
        assert_eq!((meta.kind, meta.key_word), (Kind::Get, &b"key"[..]));
        assert!(meta.has(b'v') && meta.has(b't') && meta.quiet() && !meta.is_plain_read());
        assert_eq!(meta.terms.vivify, Some(Expiry::InMs(30_000)));
        assert_eq!(meta.terms.recache, Some(Expiry::InMs(10_000)));
        assert_eq!(meta.words.last(), Some(&b"q"[..]));
        assert!(one(b"mg key v k\r\n").unwrap().is_plain_read());
        assert_eq!(one(b"mn\r\n").unwrap().kind, Kind::Noop);
    }

    #[test]
    fn a_set_takes_its_value_even_when_a_flag_is_bad() {
        let mut commands = Commands::new(b"ms k 9 !\r\nversion\r\n\r\nmn\r\n", 1 << 20);
        assert_eq!(commands.next().unwrap().err(), Some(Error::InvalidFlag));
        assert!(matches!(commands.next(), Some(Ok(Command::Meta(meta))) if meta.kind == Kind::Noop));
        assert_eq!(one(b"ms k 2 T0 F5\r\nab\r\n").unwrap().value, b"ab");
    }

    #[test]
    fn a_time_to_live_may_be_in_milliseconds() {
        for (body, want) in [
            (&b"ms k 0 A1500\r\n\r\n"[..], Expiry::InMs(1500)),
            (b"mg k A0\r\n", Expiry::Never),
            (b"mg k T5 A7\r\n", Expiry::InMs(7)),
            (b"mg k A7 T5\r\n", Expiry::InMs(5000)),
            (b"ma k A4294967295\r\n", Expiry::InMs(u32::MAX as u64)),
        ] {
            let meta = one(body).unwrap();
            assert_eq!(meta.terms.ttl, Some(want), "{}", body.escape_ascii());
            assert!(!meta.is_plain_read());
        }
        for body in [&b"mg k A\r\n"[..], b"mg k A-1\r\n", b"mg k A4294967296\r\n", b"mg k A1.5\r\n"] {
            assert_eq!(one(body).err(), Some(Error::BadToken), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn base64_keys_are_decoded() {
        let mut buffer = [0; KEY_BYTES_MAX + 2];
        assert_eq!(one(b"mg AAEC/w== b\r\n").unwrap().key(&mut buffer).unwrap().bytes(), [0, 1, 2, 255]);
        assert_eq!(one(b"mg !!! b\r\n").unwrap().key(&mut buffer), Err(Error::BadBase64));
    }

    #[test]
    fn bad_flags_have_names() {
        let table: [(&[u8], Error); 16] = [
            (b"mg k !\r\n", Error::InvalidFlag),
            (b"mg k v v\r\n", Error::DuplicateFlag),
            (b"mg k Nx\r\n", Error::BadToken),
            (b"mg k Nx v v\r\n", Error::DuplicateFlag),
            (b"mg k Nx Jx\r\n", Error::BadInitial),
            (b"mg k F-1\r\n", Error::BadLine),
            (b"md k Nx\r\n", Error::InvalidOrDuplicateFlag),
            (b"mg k O01234567890123456789012345678901 !\r\n", Error::InvalidFlag),
            (b"mg k O01234567890123456789012345678901\r\n", Error::OpaqueTooLong),
            (b"mg\r\n", Error::BadLine),
            (b"ms k\r\n", Error::BadLine),
            (b"ma k M\r\n", Error::BadArithmeticMode),
            (b"ma k Mincr\r\n", Error::BadArithmeticMode),
            (b"ms k 0 Me\r\n\r\n", Error::BadMode),
            (b"ms k 0 Mset\r\n\r\n", Error::BadMode),
            (b"mx k\r\n", Error::UnknownCommand),
        ];
        for (body, want) in table {
            assert_eq!(one(body).err(), Some(want), "{}", body.escape_ascii());
        }
    }
}
