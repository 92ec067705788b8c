//! Values that are numbers: memcached's arithmetic.

use crate::protocol::Error;
use crate::protocol::token::{Digits, Number};

/// Longest value that may hold a number, in bytes: 20 digits and what memcached overlooks behind them.
pub const COUNTED_BYTES_MAX: usize = 64;

/// A value after counting: digits, padded with spaces to the old length.
pub struct Counted {
    /// The new number.
    pub number: u64,
    /// Whether the old value had room for it; memcached then writes in place, and the item keeps its marks.
    pub in_place: bool,
    text: [u8; COUNTED_BYTES_MAX],
    length: usize,
}

impl Counted {
    /// The value to store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }
}

/// Adds to or subtracts from a decimal value: up wraps at 2^64, down stops at 0. A number ends at the first white space;
/// memcached writes in place, so a shorter result keeps the old length, padded with spaces.
///
/// # Errors
/// [`Error::NonNumeric`].
pub fn count(value: &[u8], up: bool, delta: u64) -> Result<Counted, Error> {
    if value.len() > COUNTED_BYTES_MAX {
        return Err(Error::NonNumeric);
    }
    let digits = value.trim_ascii_start();
    let end = digits.iter().position(u8::is_ascii_whitespace).unwrap_or(digits.len());
    let number = u64::parse(&digits[..end]).ok_or(Error::NonNumeric)?;
    let number = if up { number.wrapping_add(delta) } else { number.saturating_sub(delta) };
    let digits = Digits::of(number);
    let digits = digits.as_bytes();
    let mut text = [b' '; COUNTED_BYTES_MAX];
    text[..digits.len()].copy_from_slice(digits);
    let in_place = digits.len() <= value.len();
    Ok(Counted { number, in_place, text, length: digits.len().max(value.len()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_is_memcacheds() {
        type Case = (&'static [u8], bool, u64, Option<&'static [u8]>);
        let table: [Case; 11] = [
            (b"10", true, 5, Some(b"15")),
            (b"99", true, 1, Some(b"100")),
            (b"10", false, 1, Some(b"9 ")),
            (b"9 ", true, 1, Some(b"10")),
            (b"5", false, 9, Some(b"0")),
            (b"18446744073709551615", true, 1, Some(b"0                   ")),
            (b"abc", true, 1, None),
            (b"", true, 1, None),
            (b"12 and more", true, 1, Some(b"13         ")),
            (b" 7", true, 1, Some(b"8 ")),
            (b"-7", true, 1, None),
        ];
        for (value, up, delta, want) in table {
            let got = count(value, up, delta).ok();
            assert_eq!(got.as_ref().map(|c| c.as_bytes()), want, "{}", value.escape_ascii());
        }
        assert!(count(&[b'1'; 21], true, 1).is_err());
        assert!(count(&[b' '; COUNTED_BYTES_MAX + 1], true, 1).is_err());
        assert!(count(b"9", false, 1).unwrap().in_place && !count(b"9", true, 1).unwrap().in_place);
    }
}
