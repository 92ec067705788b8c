//! Values that are numbers: memcached's arithmetic.

/// Longest value that may hold a number, in bytes: 20 digits and what memcached overlooks behind them.
pub const COUNTED_BYTES_MAX: usize = 64;

/// Digits of the largest number.
pub const DIGITS_MAX: usize = 20;

/// A number and its text: digits, padded with spaces to the length of the value that it replaces.
pub struct Counter {
    /// The number.
    pub number: u64,
    /// Whether the old value had room for it; memcached then writes in place, and the item keeps its marks.
    pub in_place: bool,
    text: [u8; COUNTED_BYTES_MAX],
    length: usize,
}

impl Counter {
    /// A counter that begins with `number`.
    pub fn first(number: u64) -> Counter {
        Counter::padded(number, 0)
    }

    /// Adds to or subtracts from a decimal value: up wraps at 2^64, down stops at 0. A number ends at the first white space;
    /// memcached writes in place, so a shorter result keeps the old length, padded with spaces. `None` for what is no number.
    pub fn count(value: &[u8], up: bool, delta: u64) -> Option<Counter> {
        if value.len() > COUNTED_BYTES_MAX {
            return None;
        }
        let digits = value.trim_ascii_start();
        let end = digits.iter().position(u8::is_ascii_whitespace).unwrap_or(digits.len());
        let number = parse(&digits[..end])?;
        let number = if up { number.wrapping_add(delta) } else { number.saturating_sub(delta) };
        Some(Counter::padded(number, value.len()))
    }

    /// The value to store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }

    fn padded(number: u64, old_bytes: usize) -> Counter {
        let mut text = [b' '; COUNTED_BYTES_MAX];
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(number).as_bytes();
        text[..digits.len()].copy_from_slice(digits);
        let in_place = digits.len() <= old_bytes;
        Counter { number, in_place, text, length: digits.len().max(old_bytes) }
    }
}

/// Digits, and a sign that says nothing.
fn parse(word: &[u8]) -> Option<u64> {
    let digits = word.strip_prefix(b"+").unwrap_or(word);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| number.checked_mul(10)?.checked_add((digit - b'0') as u64))
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
            let got = Counter::count(value, up, delta);
            assert_eq!(got.as_ref().map(|c| c.as_bytes()), want, "{}", value.escape_ascii());
        }
        assert!(Counter::count(&[b'1'; 21], true, 1).is_none());
        assert!(Counter::count(&[b' '; COUNTED_BYTES_MAX + 1], true, 1).is_none());
        let in_place = |value: &[u8]| Counter::count(value, true, 1).map(|counter| counter.in_place);
        assert_eq!((in_place(b"8"), in_place(b"9")), (Some(true), Some(false)));
        assert_eq!(Counter::first(u64::MAX).as_bytes().len(), DIGITS_MAX);
    }
}
