//! Sizes in bytes as people write them: `1GiB`, `512MiB`, `64KiB`, `1500`.
//!
//! Powers of 1024 only, so that a size means the same here, in pages and in the report. `k`, `m`, `g` and `t` alone are
//! short for `KiB` to `TiB`, as in memcached's own options; `GB` is refused because nobody agrees on what it means.

/// Parses a size for clap: `#[arg(value_parser = size::parse)]`.
///
/// # Errors
/// Not a whole number with a known unit, or more than the address space.
pub fn parse(text: &str) -> Result<usize, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err(format!("unknown size {text:?}; write bytes or KiB, MiB, GiB, TiB, like 1GiB")),
    };
    let number: usize =
        number.parse().map_err(|_| format!("no whole number in {text:?}; write a size like 1GiB"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("{text} is more than the address space"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        let cases = [
            ("0", 0),
            ("1500", 1500),
            ("1500B", 1500),
            ("64KiB", 64 << 10),
            ("64k", 64 << 10),
            ("100 MiB", 100 << 20),
            ("1GiB", 1 << 30),
            ("2G", 2 << 30),
            ("1tib", 1 << 40),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_an_error_that_shows_one() {
        for text in ["", "GiB", "1GB", "1.5GiB", "-1", "1 GiB more", "1e9"] {
            assert!(parse(text).unwrap_err().contains("1GiB"), "{text}");
        }
        assert!(parse("99999999TiB").is_err());
        assert!(parse("99999999999999999999999").is_err());
    }
}
