//! Times and shares on the command line: `100us`, `0.1%`. Each error says what would be right.

use std::time::Duration;

/// A time span: `500ms`, `10s`, `100us`, `2m`; a bare number is seconds.
///
/// # Errors
/// Not a number, negative, or an unknown unit.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (digits, suffix) = split(text);
    let unit_s = match suffix {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "us" | "µs" => 1e-6,
        "ns" => 1e-9,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{text}`: unknown unit `{suffix}` (ns, us, ms, s, m, h)")),
    };
    let number: f64 = digits.parse().map_err(|_| format!("`{text}` is not a time (examples: 10s, 500ms)"))?;
    if !(0.0..1e9).contains(&(number * unit_s)) {
        return Err(format!("`{text}` is out of range"));
    }
    Ok(Duration::from_secs_f64(number * unit_s))
}

/// A share: `0.1%` or `0.001`.
///
/// # Errors
/// Not a number in 0..=1.
pub fn share(text: &str) -> Result<f64, String> {
    let (digits, scale) = match text.strip_suffix('%') {
        Some(digits) => (digits, 0.01),
        None => (text, 1.0),
    };
    match digits.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&(value * scale)) => Ok(value * scale),
        _ => Err(format!("`{text}` is not a share (examples: 0.1%, 0.001)")),
    }
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_take_units() {
        for (text, us) in [("10s", 10_000_000), ("2", 2_000_000), ("500ms", 500_000), ("100us", 100)] {
            assert_eq!(duration(text), Ok(Duration::from_micros(us)), "{text}");
        }
        for text in ["", "x", "-1s", "1 week"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_percentages_or_fractions() {
        assert_eq!(share("50%"), Ok(0.5));
        assert_eq!(share("0.25"), Ok(0.25));
        assert!(share("200%").is_err());
    }
}
