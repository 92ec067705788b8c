//! One valid configuration, from flags and TOML.

pub mod limits;
