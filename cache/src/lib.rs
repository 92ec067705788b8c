//! A cache in memory that knows no protocol and no network. The tour, in reading order:
//!
//! ```text
//! base     sync · clock · hash · item_ref · prefetch · counter
//! table    key hash → item: Robin Hood between cache lines, lock-free reads
//! memory   items in slab pages, grace
//! ring     records between threads
//! shard    table + memory + the right to write: the verbs of a cache
//! builder  a cache, wired; reader, a thread that only reads it
//! policy   who stays, and when items expire; on a thread of its own, or between others' ticks
//! ```
//!
//! Under `--cfg loom` and `--cfg shuttle` only what the models run is built: base, table, grace, rings.

pub mod base;
#[cfg(not(any(loom, shuttle)))]
pub mod builder;
pub mod limits;
pub mod memory;
#[cfg(not(any(loom, shuttle)))]
pub mod policy;
#[cfg(not(any(loom, shuttle)))]
pub mod reader;
pub mod ring;
#[cfg(not(any(loom, shuttle)))]
pub mod shard;
pub mod table;

pub use memory::grace::{Participant, Pin};

#[cfg(not(any(loom, shuttle)))]
pub use builder::{Builder, Built, Cache};
#[cfg(not(any(loom, shuttle)))]
pub use reader::{Guard, Read, Reader};
