//! A shard: table, memory and the right to write them.
//!
//! ```text
//!                   ┌ shard 0: table · generation ┐
//!  any worker ─read─┤ shard 1: table · generation ├─ one slab memory, one key hash        Shards, shared
//!                   └ …                           ┘
//!  its owner ─write─▶ writer · slab · events to the policy · commands from it            Owner, one thread
//! ```
//! Reads run on any thread and change nothing but the access word of an item; everything else runs on the owner.
//! Not here: sockets and batching (`crate::worker`), who is evicted in peace time (`crate::policy`).

mod command;
mod contents;
mod count;
pub mod counters;
mod decimal;
mod delete;
pub mod error;
pub mod events;
mod growth;
mod invalid;
mod mover;
pub mod namespace;
mod number;
pub mod owner;
mod pressure;
pub mod route;
mod scrub;
mod second_chances;
pub mod store;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
mod touch;
mod view;

pub use count::{Count, Counted};
pub use counters::OwnerCounters;
pub use delete::{Delete, Deleted, Remains};
pub use error::{Blocked, WriteError};
pub use namespace::Namespace;
pub use owner::{Found, Owner};
pub use route::{Shard, Shards};
pub use second_chances::SecondChances;
pub use store::{Mode, Outcome, Store, Stored};
pub use view::{Look, View};
