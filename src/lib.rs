//! Sherwood: a Linux data-plane cache.

pub mod cli;
pub mod clock;
pub mod config;
pub mod hash;
pub mod io;
pub mod item_ref;
pub mod load;
pub mod memory;
pub mod policy;
pub mod protocol;
pub mod ring;
pub mod server;
pub mod shard;
pub mod stats;
pub mod sync;
pub mod table;
pub mod worker;
