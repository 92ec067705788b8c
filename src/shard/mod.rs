//! A shard: table, memory and the right to write them, as memcached's commands see them.
//!
//! ```text
//!                   ┌ shard 0: table · generation ┐
//!  any worker ─read─┤ shard 1: table · generation ├─ one slab memory, one key hash        Shards, shared
//!                   └ …                           ┘
//!  its owner ─write─▶ writer · slab · events to the policy · commands from it            Owner, one thread
//! ```
//! Reads run on any thread and change nothing but the access word of an item; everything else runs on the owner.
//! Not here: sockets and batching (`crate::worker`), who is evicted in peace time (`crate::policy`).

pub mod command;
pub mod events;
pub mod execute;
pub mod growth;
mod invalid;
pub mod meta;
pub mod mover;
pub mod namespace;
mod number;
pub mod operation;
pub mod owner;
pub mod pressure;
pub mod read;
pub mod route;
mod scrub;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
pub mod value;

pub use owner::{Owner, SettledRead, Wait};
pub use read::{After, Form, Read};
pub use route::{Shard, Shards};
