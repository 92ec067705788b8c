//! A shard: table, memory and the right to write them.
//!
//! ```text
//!                   ┌ shard 0: table · generation ┐
//!  any worker ─read─┤ shard 1: table · generation ├─ one slab memory, one key hash        Shards, shared
//!                   └ …                           ┘
//!  its owner ─write─▶ writer · slab · events to the policy · commands from it            Owner, one thread
//! ```
//! Reads run on any thread and change nothing but the access word of an item; everything else runs on the owner.
//!
//! ```text
//! Owner      the verbs (store, reserve and publish, count delete touch flush), and the tick
//! ├ contents   what the shard holds. The only place that changes which items there are:
//! │ ├ index      key → item, and whether it may still be served
//! │ ├ memory     slots, grace, what is retired
//! │ └ outcomes   events to the policy, counters
//! ├ pressure   room for an item, where none is free                     contents
//! ├ mover      empties pages                                            contents, pressure
//! ├ share      how much values may have that are still coming           memory
//! ├ growth     a larger or smaller index; the budget that is left       contents
//! ├ scrub      removes what flushes and invalidations have left         contents
//! └ command    what the policy wants removed                            contents
//! ```
//! Each part keeps its state to itself. On the right is what its methods take as arguments: more than that it cannot touch.
//!
//! Not here: sockets and batching (the server's worker), who is evicted in peace time (`crate::policy`).

mod budget;
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
mod share;
pub mod store;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
mod touch;
pub mod unfinished;
mod view;
mod walk;

pub use count::{Count, Counted};
pub use counters::OwnerCounters;
pub use delete::{Delete, Deleted, Remains};
pub use error::{Blocked, WriteError};
pub use namespace::Namespace;
pub use owner::{Found, Owner};
pub use route::{Shard, Shards};
pub use second_chances::SecondChances;
pub use store::{Mode, Outcome, Store, Stored};
pub use unfinished::{Reserve, Terms, Unpublished};
pub use view::{Look, View};
pub use walk::Walk;
