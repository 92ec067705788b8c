//! The Sherwood server and its tools. The tour, in reading order:
//!
//! ```text
//! beside it     numa (where) · cache (what is kept) · protocol (words): crates that know nothing of the server
//! datagrams     io (datagrams ⇄ kernel) · udp (replies → datagrams) · guard (what strangers may do)
//! the words     session (memcached's commands → verbs of a shard, and their answers)
//! the server    worker (the tick) · server (plan, map, wire, spawn) · config · cli
//! the tools     load (drive any memcached) · stats (histograms, plots)
//! ```
//!
//! `docs/architecture.md` is the map with the directions; `docs/concurrency.md` has every atomic.

pub mod cli;
pub mod config;
pub mod guard;
pub mod limits;
pub mod load;
pub mod net;
pub mod server;
pub mod session;
pub mod stats;
pub mod udp;
pub mod worker;

/// What clients are told: the memcached that we are compatible with, and our own version behind it. Clients parse three numbers, and take a
/// major version of 0 for a server that is broken.
pub const VERSION: &str = concat!("1.6.45-sherwood.", env!("CARGO_PKG_VERSION"));
