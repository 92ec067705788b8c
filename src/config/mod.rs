//! One valid configuration, from flags and TOML.

pub mod limits;
#[cfg(not(any(loom, shuttle)))]
pub mod options;
#[cfg(not(any(loom, shuttle)))]
pub mod serve;
#[cfg(not(any(loom, shuttle)))]
pub mod size;
#[cfg(not(any(loom, shuttle)))]
mod text;
