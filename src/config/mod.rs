//! One valid configuration, from flags and TOML.

pub mod cpulist;
pub mod serve;
pub mod size;
