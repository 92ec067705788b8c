//! Options in TOML as the words that the command line takes: whatever can be parsed and printed, for `#[serde(with = …)]`.

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{SerializeSeq, Serializer};
use std::fmt::Display;
use std::str::FromStr;

/// What stands in the file: `workers = 2` is the same as `workers = "2"`.
#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "expected a text or a whole number")]
enum Written {
    Text(String),
    Number(i64),
}

/// The words that stand in the file.
pub fn words<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(match Written::deserialize(from)? {
        Written::Text(text) => text,
        Written::Number(number) => number.to_string(),
    })
}

fn parsed<T: FromStr<Err: Display>, E: Error>(text: String) -> Result<T, E> {
    text.parse().map_err(|why: T::Err| E::custom(why))
}

/// An option with a default.
pub mod one {
    use super::*;

    /// Writes it.
    pub fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    /// Reads it.
    pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        parsed(words(from)?)
    }
}

/// An option that may be missing.
pub mod option {
    use super::*;

    /// Writes it; TOML leaves out what is missing.
    pub fn serialize<T: Display, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.collect_str(value),
            None => to.serialize_none(),
        }
    }

    /// Reads it.
    pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        parsed(words(from)?).map(Some)
    }
}

/// An option that may be repeated.
pub mod list {
    use super::*;

    /// Writes all.
    pub fn serialize<T: Display, S: Serializer>(values: &[T], to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(Some(values.len()))?;
        values.iter().try_for_each(|value| list.serialize_element(&value.to_string()))?;
        list.end()
    }

    /// Reads all.
    pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<T>, D::Error> {
        Vec::<String>::deserialize(from)?.into_iter().map(parsed).collect()
    }
}
