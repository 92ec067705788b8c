//! memcached's commands on the cache: the one room that knows both the words and what they do.
//!
//! ```text
//! Command, Operation ─▶ Execution { owner, now, reply } ─▶ verbs of `shard::Owner`      what only the owner may do
//!                                                       ─▶ answer ─▶ Reply
//! Read + Item ───────────────────────────────────────────▶ answer ─▶ Reply              what any worker may answer
//! ```
//! Reading order: [`answer`], how a read looks; [`execute`], classic commands; [`meta`]; [`operation`], batch frames;
//! [`expiry`], when things are due. Not here: who may send a command, and what waits for what (`crate::worker`).

pub mod answer;
pub mod execute;
pub mod expiry;
pub mod meta;
pub mod namespace;
pub mod operation;

pub use answer::{After, Form, Read};
pub use execute::{Execution, SettledRead, Stop};
