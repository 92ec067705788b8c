//! One valid configuration, from flags and TOML.

pub mod address;
pub mod options;
pub mod serve;
pub mod size;
mod text;
