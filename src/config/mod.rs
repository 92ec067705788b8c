//! One valid configuration, from flags and TOML.

pub mod address;
pub mod mode;
pub mod options;
pub mod peers;
pub mod printed;
pub mod serve;
pub mod size;
mod text;
