//! Words of a command line, and the numbers among them.

use crate::config::limits::KEY_BYTES_MAX;
use crate::protocol::Error;
use crate::protocol::request::Key;

/// The words of a line, separated by spaces.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    /// The words of `line`, which has no line end.
    #[inline]
    pub fn new(line: &'a [u8]) -> Tokens<'a> {
        Tokens { rest: line }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many words are left.
    #[inline]
    pub fn count_words(self) -> usize {
        self.count()
    }

    /// The next word, which stays where it is.
    pub fn peek(mut self) -> Option<&'a [u8]> {
        self.next()
    }

    /// The next word as a key.
    ///
    /// # Errors
    /// [`Error::BadLine`] when there is none, or it is no key.
    #[inline]
    pub fn key(&mut self) -> Result<Key<'a>, Error> {
        Key::new(self.next().ok_or(Error::BadLine)?)
    }

    /// The next word as a number.
    ///
    /// # Errors
    /// `otherwise` when there is none, or it is no number of this type.
    #[inline]
    pub fn number<N: Number>(&mut self, otherwise: Error) -> Result<N, Error> {
        self.next().and_then(N::parse).ok_or(otherwise)
    }

    /// Whether the last word is `noreply`. Another word in its place is overlooked, as memcached does.
    ///
    /// # Errors
    /// [`Error::UnknownCommand`] when there is more than one word.
    #[inline]
    pub fn noreply(&mut self) -> Result<bool, Error> {
        let word = self.next();
        if self.next().is_some() { Err(Error::UnknownCommand) } else { Ok(word == Some(b"noreply")) }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.rest.iter().position(|&b| b != b' ')?;
        let word = &self.rest[start..];
        let end = memchr::memchr(b' ', word).unwrap_or(word.len());
        self.rest = &word[end..];
        Some(&word[..end])
    }
}

/// A number that a command line can hold: decimal digits, and a sign where the type has one.
pub trait Number: Sized {
    /// The number; `None` when the word is none, or too large.
    fn parse(word: &[u8]) -> Option<Self>;
}

impl Number for u64 {
    #[inline]
    fn parse(word: &[u8]) -> Option<u64> {
        let digits = word.strip_prefix(b"+").unwrap_or(word);
        if digits.is_empty() {
            return None;
        }
        digits.iter().try_fold(0u64, |number, &b| {
            let digit = b.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            number.checked_mul(10)?.checked_add(digit as u64)
        })
    }
}

impl Number for u32 {
    #[inline]
    fn parse(word: &[u8]) -> Option<u32> {
        u64::parse(word)?.try_into().ok()
    }
}

impl Number for i32 {
    #[inline]
    fn parse(word: &[u8]) -> Option<i32> {
        i64::parse(word)?.try_into().ok()
    }
}

impl Number for i64 {
    #[inline]
    fn parse(word: &[u8]) -> Option<i64> {
        match word.strip_prefix(b"-") {
            Some(digits) if !digits.starts_with(b"+") => 0i64.checked_sub_unsigned(u64::parse(digits)?),
            Some(_) => None,
            None => u64::parse(word)?.try_into().ok(),
        }
    }
}

/// Decimal digits of a number, without allocation.
pub struct Digits {
    raw: [u8; 20],
    start: u8,
}

impl Digits {
    /// Digits of the longest number.
    pub const BYTES_MAX: usize = 20;

    /// The digits of `number`.
    #[inline]
    pub fn of(mut number: u64) -> Digits {
        let mut raw = [0u8; 20];
        let mut start = raw.len();
        loop {
            start -= 1;
            raw[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Digits { raw, start: start as u8 };
            }
        }
    }

    /// The digits as text.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.raw[self.start as usize..]
    }
}

/// Whether `key` is a key: 1 to 250 bytes, none of them a space, a delete, or one of the control characters 0x00 to
/// 0x0f, among which are all that end a line, a word or a string somewhere. memcached takes every byte that does not end a word, and
/// public tools (memcaslap) make keys of 0x10 to 0x1f.
#[inline]
pub fn is_key(key: &[u8]) -> bool {
    let plain = key.iter().fold(true, |plain, &b| plain & ((b > b' ') | (b & 0xf0 == 0x10)) & (b != 0x7f));
    plain && !key.is_empty() && key.len() <= KEY_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_separated_by_any_number_of_spaces() {
        let words: Vec<_> = Tokens::new(b"  set  a b ").collect();
        assert_eq!(words, [&b"set"[..], b"a", b"b"]);
        assert_eq!(Tokens::new(b"   ").next(), None);
    }

    #[test]
    fn numbers_are_decimal_and_bounded() {
        let table: [(&[u8], Option<u64>, Option<i64>); 9] = [
            (b"0", Some(0), Some(0)),
            (b"+7", Some(7), Some(7)),
            (b"18446744073709551615", Some(u64::MAX), None),
            (b"18446744073709551616", None, None),
            (b"-1", None, Some(-1)),
            (b"-9223372036854775808", None, Some(i64::MIN)),
            (b"", None, None),
            (b"-+1", None, None),
            (b"1x", None, None),
        ];
        for (word, unsigned, signed) in table {
            assert_eq!(u64::parse(word), unsigned, "{}", word.escape_ascii());
            assert_eq!(i64::parse(word), signed, "{}", word.escape_ascii());
        }
        for number in [0, 9, 10, 12345, u64::MAX] {
            assert_eq!(Digits::of(number).as_bytes(), number.to_string().as_bytes());
        }
    }

    #[test]
    fn keys_have_no_spaces_and_nothing_that_ends_a_line_or_a_string() {
        assert!(
            is_key(b"\x10\x1f\x80") && is_key(b"a") && is_key(&[b'x'; 250]) && is_key("schlüssel".as_bytes())
        );
        assert!(
            !is_key(b"")
                && !is_key(&[b'x'; 251])
                && !is_key(b"a\tb")
                && !is_key(b"a\x01")
                && !is_key(b"a\x7f")
                && !is_key(b"a\0")
        );
    }
}
