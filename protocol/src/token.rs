//! Words of a command line, and the numbers among them.

use crate::Error;
use crate::limits::KEY_BYTES_MAX;
use crate::request::Key;

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
        let (word, rest) = word.split_at(first(word, |chunk| equal(chunk, b' ')));
        self.rest = rest;
        Some(word)
    }
}

/// Bytes at the head of `bytes` that may stand in a key without a second look: up to the first space, control character
/// or delete.
#[inline]
pub fn plain_run(bytes: &[u8]) -> usize {
    first(bytes, |chunk| below(chunk, b' ' + 1) | equal(chunk, 0x7f))
}

/// Bytes before the first one that `marks` marks, eight at a time: words are short, and a call to a search made for long
/// texts costs more than they do. `marks` sets the upper bit of bytes; the lowest that it sets must be right, those
/// above may be wrong.
#[inline(always)]
fn first(bytes: &[u8], marks: impl Fn(u64) -> u64) -> usize {
    let mut chunks = bytes.chunks_exact(8);
    let mut at = 0;
    for chunk in &mut chunks {
        let marked = marks(u64::from_le_bytes(chunk.try_into().expect("chunks of 8")));
        if marked != 0 {
            return at + marked.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = chunks.remainder();
    let last = match bytes.last_chunk() {
        // The last eight, without those that were looked at: a load and a shift instead of a copy.
        Some(&last) if !rest.is_empty() => u64::from_le_bytes(last) >> (64 - 8 * rest.len()),
        _ => rest.iter().rev().fold(0, |word, &byte| word << 8 | byte as u64),
    };
    at + rest.len().min(marks(last).trailing_zeros() as usize / 8)
}

/// A byte, times this, is that byte eight times.
const EVERY: u64 = u64::MAX / 255;
const UPPER_BITS: u64 = EVERY * 0x80;

/// Marks bytes below `bound`, which is at most 128. ("Determine if a word has a byte less than n", S. E. Anderson, Bit
/// Twiddling Hacks: what a borrow gets wrong lies above a byte that is right.)
#[inline(always)]
fn below(chunk: u64, bound: u8) -> u64 {
    chunk.wrapping_sub(EVERY * bound as u64) & !chunk & UPPER_BITS
}

/// Marks bytes that are `byte`.
#[inline(always)]
fn equal(chunk: u64, byte: u8) -> u64 {
    below(chunk ^ (EVERY * byte as u64), 1)
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

/// Whether the word of a line is a key: 1 to 250 bytes, of any kind. What ends a word or a line cannot be in it, and memcached
/// takes every other byte, control characters too.
#[inline]
pub fn is_key(word: &[u8]) -> bool {
    (1..=KEY_BYTES_MAX).contains(&word.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_separated_by_any_number_of_spaces() {
        let words: Vec<_> = Tokens::new(b"  set  a b ").collect();
        assert_eq!(words, [&b"set"[..], b"a", b"b"]);
        assert_eq!(Tokens::new(b"   ").next(), None);
    }

    proptest! {
        #[test]
        fn words_and_runs_end_where_a_byte_by_byte_search_says(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b' '), 0x0du8..0x22, 0x7eu8..0x82], 0..40),
        ) {
            let search = |ends: fn(u8) -> bool| bytes.iter().position(|&b| ends(b)).unwrap_or(bytes.len());
            prop_assert_eq!(plain_run(&bytes), search(|b| b <= b' ' || b == 0x7f));
            let words: Vec<_> = Tokens::new(&bytes).collect();
            let want: Vec<_> = bytes.split(|&b| b == b' ').filter(|word| !word.is_empty()).collect();
            prop_assert_eq!(words, want);
        }
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
    }

    #[test]
    fn a_key_is_any_word_of_1_to_250_bytes() {
        for key in [&b"\x10\x1f\x80"[..], b"a", &[b'x'; 250], b"a\tb", b"a\x01", b"a\x7f", b"a\0", b"a\r"] {
            assert!(is_key(key), "{}", key.escape_ascii());
        }
        assert!(!is_key(b"") && !is_key(&[b'x'; 251]));
    }
}
