//! Permissions of a file as `chmod` takes them: in octal.
//!
//! In a TOML file they are a text. A number is refused: TOML turns `0o660` into 432 before anybody can see how it was written, and 660
//! without `0o` would be 0o1224.

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::Serializer;
use std::fmt::{self, Display};
use std::str::FromStr;

/// Who may do what with a file, as the lowest nine bits of its mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(u32);

/// The owner's alone.
impl Default for FileMode {
    fn default() -> FileMode {
        FileMode(0o700)
    }
}

impl FileMode {
    /// The bits.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for FileMode {
    type Err = String;

    fn from_str(text: &str) -> Result<FileMode, String> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let is_octal = !digits.is_empty() && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        match u32::from_str_radix(digits, 8) {
            Ok(bits) if is_octal && bits <= 0o777 => Ok(FileMode(bits)),
            _ => Err(format!("{text:?} is not a mode: give up to three octal digits, such as 700 or 770")),
        }
    }
}

impl Display for FileMode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&format!("{:03o}", self.0))
    }
}

/// Writes a mode as [`deserialize`] reads it; for `#[serde(with = "mode")]`.
pub fn serialize<S: Serializer>(mode: &FileMode, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(mode)
}

/// Reads it.
///
/// # Errors
/// A number, or a text that is no mode.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<FileMode, D::Error> {
    match Written::deserialize(from)? {
        Written::Text(text) => text.parse().map_err(D::Error::custom),
        Written::Number(_) => Err(D::Error::custom(
            "a mode is a text, so that it is octal for everybody: put its digits in quotes, as in \"660\"",
        )),
    }
}

/// What may stand in a file.
#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "expected octal digits in quotes, such as \"660\"")]
enum Written {
    Text(String),
    Number(#[expect(dead_code, reason = "it is refused")] i64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal() {
        for (text, bits, written) in [
            ("700", 0o700, "700"),
            ("0770", 0o770, "770"),
            ("0o660", 0o660, "660"),
            ("7", 7, "007"),
            ("0", 0, "000"),
        ] {
            let mode: FileMode = text.parse().unwrap();
            assert_eq!((mode.bits(), mode.to_string().as_str()), (bits, written), "{text}");
        }
        for text in ["", "0o", "778", "1777", "+7", "rwx", "-1", "99999999999999"] {
            assert!(text.parse::<FileMode>().unwrap_err().contains("octal"), "{text}");
        }
    }
}
