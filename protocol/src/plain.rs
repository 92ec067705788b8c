//! The short way: a `get` or a `set` as nearly all are, in one pass over its line.
//!
//! ```text
//! get KEY KEY KEY\r\n                        keys of ordinary bytes, one space before each
//! set KEY FLAGS EXPTIME BYTES\r\nVALUE\r\n   the same, and numbers of at most nine digits
//! ```
//! What is not exactly this takes the long way (`text`), which looks for the line's end, splits its words, looks at their
//! bytes and counts them, one after the other. Taken, the short way gives what the long way would.

use crate::limits::KEY_BYTES_MAX;
use crate::request::{Command, Expiry, Get, Key, Mode, Store};
use crate::token::{Tokens, plain_run};

/// The first command of `body`, if it is plain and its value no longer than `value_bytes_max`, and its bytes with all that belongs to it.
#[inline]
pub(super) fn command(body: &[u8], value_bytes_max: usize) -> Option<(Command<'_>, usize)> {
    match body {
        [b'g', b'e', b't', b' ', words @ ..] => get(words),
        [b's', b'e', b't', b' ', words @ ..] => set(words, value_bytes_max),
        _ => None,
    }
}

const VERB_BYTES: usize = b"get ".len();

#[inline]
fn get(words: &[u8]) -> Option<(Command<'_>, usize)> {
    let mut at = 0;
    loop {
        at += key(&words[at..])?.bytes().len();
        let end_bytes = match words[at..] {
            [b'\r', b'\n', ..] => 2,
            [b'\n', ..] => 1,
            [b' ', ..] => {
                at += 1;
                continue;
            }
            _ => return None,
        };
        let get = Get { keys: Tokens::new(&words[..at]), with_cas: false, touch: None, is_open: false };
        return Some((Command::Get(get), VERB_BYTES + at + end_bytes));
    }
}

#[inline]
fn set(words: &[u8], value_bytes_max: usize) -> Option<(Command<'_>, usize)> {
    let key = key(words)?;
    let (flags, rest) = number(&words[key.bytes().len()..])?;
    let (exptime_s, rest) = number(rest)?;
    let (value_bytes, rest) = number(rest)?;
    let [b'\r', b'\n', rest @ ..] = rest else { return None };
    if value_bytes as usize > value_bytes_max {
        return None;
    }
    let (value, rest) = rest.split_at_checked(value_bytes as usize)?;
    let [b'\r', b'\n', rest @ ..] = rest else { return None };
    let store = Store {
        mode: Mode::Set,
        key,
        flags,
        expiry: Expiry::from_exptime(exptime_s as i64),
        cas: None,
        value,
        quiet: false,
    };
    Some((Command::Store(store), VERB_BYTES + words.len() - rest.len()))
}

/// The key at the head of `words`, if it is plain.
#[inline]
fn key(words: &[u8]) -> Option<Key<'_>> {
    let key_bytes = plain_run(words);
    if key_bytes > KEY_BYTES_MAX { None } else { Key::binary(&words[..key_bytes]) }
}

/// The number behind a space, of at most nine digits (so that it fits 31 bits), and what is behind it.
#[inline]
fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    const DIGITS_MAX: usize = 9;
    let [b' ', digits @ ..] = bytes else { return None };
    let (mut number, mut count) = (0, 0);
    while let Some(digit) = digits.get(count).map(|byte| byte.wrapping_sub(b'0'))
        && digit <= 9
    {
        if count == DIGITS_MAX {
            return None;
        }
        number = number * 10 + digit as u32;
        count += 1;
    }
    if count == 0 { None } else { Some((number, &digits[count..])) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Commands;
    use crate::text;
    use proptest::prelude::*;

    const VALUE_BYTES_MAX: usize = 12;

    proptest! {
        /// The short way is the long way, or not taken.
        #[test]
        fn what_is_plain_is_what_the_long_way_makes_of_it(
            body in prop_oneof![
                "get [a-z \r\t]{0,30}(\r\n|\n)?[a-z]{0,3}",
                "get( [a-z0-9]{1,9}){1,5}\r\nmn\r\n",
                "set [a-z]{1,9} [0-9]{1,11} [0-9]{1,11} [0-9]{1,2}\r\n[a-z]{0,20}\r\n[a-z]{0,3}",
                "set [a-z]{0,9}( [0-9a-]{0,11}){2,5}(\r\n|\n)[a-l]{0,20}(\r\n|\n)?",
                "set [a-z]{1,9} [0-9]{1,9} [0-9]{1,9} 3\r\n[a-z]{3}\r\nmn\r\n",
            ],
        ) {
            let body = body.as_bytes();
            if let Some((short, bytes)) = command(body, VALUE_BYTES_MAX) {
                let end = body.iter().position(|&byte| byte == b'\n').unwrap();
                let line = body[..end].strip_suffix(b"\r").unwrap_or(&body[..end]);
                let mut commands = Commands::resume(body, end + 1, VALUE_BYTES_MAX);
                let long = text::parse_line(&mut commands, line).unwrap();
                prop_assert_eq!(commands.at(), bytes);
                prop_assert_eq!(said(&short), said(&long));
            } else if body.ends_with(b"\r\nmn\r\n") {
                prop_assert!(false, "a plain command took the long way: {}", body.escape_ascii());
            }
        }
    }

    /// What a command says, whatever spaces it was said with.
    fn said(command: &Command<'_>) -> String {
        match command {
            Command::Get(get) => format!("{:?}", (get.keys().collect::<Vec<_>>(), get.with_cas, get.touch)),
            other => format!("{other:?}"),
        }
    }
}
