//! Sizes and counts as people write them: `1GiB`, `512m`, `1.5MB`, `50k`. The only place that reads one.
//!
//! A letter has two meanings in the field: memcached's options and the memory of a server count in powers of 1024, traces and rates
//! in powers of 1000. Each command keeps the meaning that its users know;
//!
//! | written        | [`bytes`]: `serve`, `topo` | [`trace_bytes`]: `simulate --bytes` | [`count`]: `load`, [`items`]: `simulate --items` |
//! |----------------|----------------------------|-----------------------------|-------------------|
//! | `1500`         | 1500                       | 1500                        | 1500              |
//! | `1500B`        | 1500                       | 1500                        | refused           |
//! | `1KiB` … `TiB`, `1Ki` … `Ti` | powers of 1024 | powers of 1024             | powers of 1024    |
//! | `1K` `1M` `1G` | powers of 1024             | powers of 1000              | powers of 1000    |
//! | `1T`           | 1024⁴                      | 1000⁴                       | refused           |
//! | `1KB` … `1TB`  | refused                    | powers of 1000              | refused           |
//! | `1.5M`, `1e6`  | rounded down to bytes      | rounded down to bytes       | must be whole     |
//!
//! What is refused could mean two things, and the message names both. Case does not matter, nor do spaces around number and unit.

use crate::config::text;
use serde::de::{Deserializer, Error};
use serde::ser::Serializer;
use std::fmt;

/// What a unit without `i` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Bytes of memory: `K` is 1024, as in memcached's own options; `KB` is refused.
    Memory,
    /// Bytes of a trace: `K` and `KB` are 1000.
    Trace,
    /// A count of keys, requests or bytes of a value: `K` is 1000; `KB` is refused.
    Count,
}

/// Parses a size of memory for clap: `#[arg(value_parser = size::bytes)]`.
///
/// # Errors
/// Not a number with a known unit, or more than the address space.
pub fn bytes(text: &str) -> Result<usize, String> {
    let bytes = read(text, Reading::Memory)?.whole();
    bytes.and_then(|n| n.try_into().ok()).ok_or_else(|| format!("{text} is more than the address space"))
}

/// Writes a size of memory as [`bytes`] reads it, in the largest unit that divides it; for `#[serde(with = "size")]`.
pub fn serialize<S: Serializer>(bytes: &usize, to: S) -> Result<S::Ok, S::Error> {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("", 0)];
    let unit = units.iter().find(|(_, shift)| *bytes > 0 && bytes.trailing_zeros() >= *shift);
    let (unit, shift) = unit.unwrap_or(&("", 0));
    to.collect_str(&format_args!("{}{unit}", bytes >> shift))
}

/// Reads it.
///
/// # Errors
/// As [`bytes`].
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    bytes(&text::words(from)?).map_err(D::Error::custom)
}

/// Parses a size of a cache or an item of a trace; at least 1.
///
/// # Errors
/// Not a number with a known unit, less than a byte, or more than the address space.
pub fn trace_bytes(text: &str) -> Result<u64, String> {
    match read(text, Reading::Trace)?.whole() {
        Some(0) => Err(format!("{text} is less than a byte; write a size like 10MiB")),
        bytes => bytes.ok_or_else(|| format!("{text} is more than the address space")),
    }
}

/// Parses the size of one item of a trace; at least 1.
///
/// # Errors
/// As [`trace_bytes`], or 4 GiB and more.
pub fn item_bytes(text: &str) -> Result<u32, String> {
    let bytes = trace_bytes(text)?;
    bytes
        .try_into()
        .map_err(|_| format!("{text} is more than an item can have; the most is 4 GiB less a byte"))
}

/// Parses the size of a cache in items; at least 1.
///
/// # Errors
/// As [`count`], or 0.
pub fn items(text: &str) -> Result<u64, String> {
    match count(text)? {
        0 => Err(format!("{text} is less than an item; write a count like 50k")),
        items => Ok(items),
    }
}

/// Parses a count.
///
/// # Errors
/// Not a number with a known suffix, not whole, or 10^18 and more.
pub fn count(text: &str) -> Result<u64, String> {
    let number = read(text, Reading::Count)?;
    match number.whole() {
        Some(count) if count < COUNT_LIMIT && number.is_whole() => Ok(count),
        Some(count) if count < COUNT_LIMIT => Err(format!("`{text}` is not a whole count")),
        _ => Err(format!("`{text}` is too large for a count; the most is 10^18 - 1")),
    }
}

/// Counts are smaller.
const COUNT_LIMIT: u64 = 1_000_000_000_000_000_000;

/// A number times a unit, exact where the number has neither point nor exponent.
#[derive(Clone, Copy, Debug)]
enum Number {
    Exact(Option<u64>),
    Rounded(f64),
}

impl Number {
    fn of(digits: &str, unit: u64) -> Option<Number> {
        if digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.is_empty() {
            // More than 64 bits is a number as well, and too large.
            return Some(Number::Exact(digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit))));
        }
        let number: f64 = digits.parse().ok()?;
        Some(Number::Rounded(number * unit as f64))
    }

    /// Rounded down; `None` if it is too large.
    fn whole(self) -> Option<u64> {
        match self {
            Number::Exact(number) => number,
            Number::Rounded(number) => (number < u64::MAX as f64).then_some(number as u64),
        }
    }

    fn is_whole(self) -> bool {
        matches!(self, Number::Exact(_)) || matches!(self, Number::Rounded(number) if number.fract() == 0.0)
    }
}

fn read(text: &str, reading: Reading) -> Result<Number, String> {
    let (digits, suffix) = split(text.trim());
    let unit = unit(suffix, reading).map_err(|wrong| format!("{text:?}: {wrong}"))?;
    Number::of(digits, unit).ok_or_else(|| format!("{text:?} has no number; {}", reading.hint()))
}

/// A number as Rust reads one, and what is behind it.
fn split(text: &str) -> (&str, &str) {
    let is_number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'+');
    let mut end = text.bytes().take_while(is_number).count();
    if let Some(exponent) = text[end..].strip_prefix(['e', 'E']) {
        let sign = exponent.starts_with(['+', '-']) as usize;
        let digits = exponent[sign..].bytes().take_while(u8::is_ascii_digit).count();
        end += if digits > 0 { 1 + sign + digits } else { 0 };
    }
    (&text[..end], text[end..].trim_start())
}

fn unit(suffix: &str, reading: Reading) -> Result<u64, String> {
    let lower = suffix.to_ascii_lowercase();
    let mut rest = lower.chars();
    let power = match rest.next() {
        None => return Ok(1),
        Some('b') if lower == "b" && reading != Reading::Count => return Ok(1),
        Some('b') if lower == "b" => return Err(ambiguous(suffix, "bytes", "billions")),
        Some(letter) => "kmgt".find(letter).map(|at| at as u32 + 1),
    };
    let (Some(power), form) = (power, rest.as_str()) else { return Err(unknown(suffix, reading)) };
    let (decimal, binary) = (1000u64.pow(power), 1024u64.pow(power));
    match (form, reading) {
        ("i" | "ib", _) => Ok(binary),
        ("", Reading::Memory) => Ok(binary),
        ("" | "b", Reading::Trace) => Ok(decimal),
        ("", Reading::Count) if power < 4 => Ok(decimal),
        ("" | "b", _) => Err(ambiguous(suffix, decimal, binary)),
        _ => Err(unknown(suffix, reading)),
    }
}

fn ambiguous(suffix: &str, one: impl fmt::Display, other: impl fmt::Display) -> String {
    format!(
        "{suffix} can mean {one} or {other}; write KiB, MiB, GiB for powers of 1024, as in 1GiB, or all digits"
    )
}

fn unknown(suffix: &str, reading: Reading) -> String {
    format!("{suffix} is not a unit; {}", reading.hint())
}

impl Reading {
    fn hint(self) -> &'static str {
        match self {
            Reading::Memory => "write bytes or KiB, MiB, GiB, TiB, like 1GiB",
            Reading::Trace => "write bytes or KB, MB, GB, TB, KiB, MiB, GiB, TiB, like 10MiB",
            Reading::Count => "write a count with k, M, G, Ki, Mi, Gi or without, like 100, 50k, 1.5M",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO: Option<u64> = None;

    /// What each command makes of a spelling: serve, simulate, load.
    const SPELLINGS: &[(&str, [Option<u64>; 3])] = &[
        ("1500", [Some(1500); 3]),
        ("1500B", [Some(1500), Some(1500), NO]),
        ("7b", [Some(7), Some(7), NO]),
        ("64k", [Some(64 << 10), Some(64_000), Some(64_000)]),
        ("64K", [Some(64 << 10), Some(64_000), Some(64_000)]),
        ("64KB", [NO, Some(64_000), NO]),
        ("64KiB", [Some(64 << 10); 3]),
        ("2Ki", [Some(2048); 3]),
        ("1M", [Some(1 << 20), Some(1_000_000), Some(1_000_000)]),
        ("1m", [Some(1 << 20), Some(1_000_000), Some(1_000_000)]),
        ("1.5MB", [NO, Some(1_500_000), NO]),
        ("100 MiB", [Some(100 << 20); 3]),
        ("3Mi", [Some(3 << 20); 3]),
        ("2G", [Some(2 << 30), Some(2_000_000_000), Some(2_000_000_000)]),
        ("1 G", [Some(1 << 30), Some(1_000_000_000), Some(1_000_000_000)]),
        ("1GB", [NO, Some(1_000_000_000), NO]),
        ("2GiB", [Some(2 << 30); 3]),
        ("4Gi", [Some(4 << 30); 3]),
        ("1T", [Some(1 << 40), Some(1_000_000_000_000), NO]),
        ("1TB", [NO, Some(1_000_000_000_000), NO]),
        ("1tib", [Some(1 << 40); 3]),
        ("1.5k", [Some(1536), Some(1500), Some(1500)]),
        ("1.5GiB", [Some(3 << 29); 3]),
        ("1e9", [Some(1_000_000_000); 3]),
        ("+5", [Some(5); 3]),
        (".5k", [Some(512), Some(500), Some(500)]),
        ("1.5", [Some(1), Some(1), NO]),
        ("0", [Some(0), NO, Some(0)]),
        ("0.5", [Some(0), NO, NO]),
        (" 4 ", [Some(4); 3]),
        ("9007199254740993", [Some((1 << 53) + 1); 3]),
        ("18446744073709551615", [Some(u64::MAX), Some(u64::MAX), NO]),
    ];

    #[test]
    fn every_spelling_has_the_meaning_that_its_command_gives_it() {
        for (text, want) in SPELLINGS {
            let as_u64 = |bytes: usize| bytes as u64;
            let got = [bytes(text).ok().map(as_u64), trace_bytes(text).ok(), count(text).ok()];
            assert_eq!(got, *want, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_an_error_that_shows_one() {
        let wrong =
            ["", "GiB", "k", "x", "-1", "1 GiB more", "10parsec", "1e", "1.2.3", "1KiBi", "inf", "nan"];
        for text in wrong {
            assert!(bytes(text).unwrap_err().contains("1GiB"), "{text}");
            assert!(trace_bytes(text).unwrap_err().contains("10MiB"), "{text}");
            assert!(count(text).unwrap_err().contains("50k"), "{text}");
        }
        for text in ["99999999TiB", "99999999999999999999999", "1e30", "1e400"] {
            let errors = [bytes(text).unwrap_err(), trace_bytes(text).unwrap_err(), count(text).unwrap_err()];
            assert!(errors[..2].iter().all(|error| error.contains("address space")), "{text}: {errors:?}");
            assert!(errors[2].contains("too large"), "{text}: {errors:?}");
        }
    }

    #[test]
    fn what_can_mean_two_things_is_refused_with_both() {
        let both = |error: String| error.contains("1000000000 or 1073741824") && error.contains("1GiB");
        assert!(both(bytes("1GB").unwrap_err()) && both(count("1GB").unwrap_err()));
        assert!(count("1T").unwrap_err().contains("1000000000000 or 1099511627776"));
        assert!(count("5B").unwrap_err().contains("bytes or billions"));
    }
}
