//! Figures on the command line: `1M`, `100us`, `0.1%`. Each error says what would be right.

use std::time::Duration;

/// A count with an optional suffix: k, M, G (thousands), Ki, Mi, Gi (1024).
///
/// # Errors
/// Not a number, negative, or not whole after the suffix.
pub fn count(text: &str) -> Result<u64, String> {
    let (digits, suffix) = split(text);
    let unit = match suffix {
        "" => 1.0,
        "k" | "K" => 1e3,
        "m" | "M" => 1e6,
        "g" | "G" => 1e9,
        "Ki" | "KiB" => 1024.0,
        "Mi" | "MiB" => 1048576.0,
        "Gi" | "GiB" => 1073741824.0,
        _ => return Err(format!("`{text}`: unknown suffix `{suffix}` (k, M, G, Ki, Mi, Gi)")),
    };
    let number: f64 =
        digits.parse().map_err(|_| format!("`{text}` is not a count (examples: 100, 50k, 1.5M)"))?;
    let value = number * unit;
    if value.fract() != 0.0 || !(0.0..1e18).contains(&value) {
        return Err(format!("`{text}` is not a whole count"));
    }
    Ok(value as u64)
}

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

/// A list of processors, as in `0,2-3`.
///
/// # Errors
/// A part that is neither a number nor a range, or none at all.
pub fn cpus(text: &str) -> Result<Vec<usize>, String> {
    let wrong = || format!("`{text}` is not a list of processors (example: 0,2-3)");
    let mut list = Vec::new();
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let from: usize = from.trim().parse().map_err(|_| wrong())?;
        let to: usize = to.trim().parse().map_err(|_| wrong())?;
        if from > to || to > 4095 {
            return Err(wrong());
        }
        list.extend(from..=to);
    }
    Ok(list)
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
    fn counts_take_suffixes() {
        for (text, want) in
            [("0", 0), ("100", 100), ("1M", 1_000_000), ("1.5k", 1500), ("2Ki", 2048), ("1 G", 1_000_000_000)]
        {
            assert_eq!(count(text), Ok(want), "{text}");
        }
        for text in ["", "x", "-1", "1.5", "1T", "k"] {
            assert!(count(text).is_err(), "{text}");
        }
    }

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
    fn shares_and_processors() {
        assert_eq!(share("50%"), Ok(0.5));
        assert_eq!(share("0.25"), Ok(0.25));
        assert!(share("200%").is_err());
        assert_eq!(cpus("0,2-3"), Ok(vec![0, 2, 3]));
        assert!(cpus("3-1").is_err() && cpus("").is_err());
    }
}
