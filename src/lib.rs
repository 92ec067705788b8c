//! The Sherwood server and its tools. The tour, in reading order:
//!
//! ```text
//! beside it     numa (where) · cache (what is kept) · protocol (words): crates that know nothing of the server
//! datagrams     io (datagrams ⇄ kernel) · udp (replies → datagrams) · guard (what strangers may do)
//! the words     session (memcached's commands → verbs of a shard, and their answers)
//! the server    worker (the tick) · server (plan, map, wire, spawn) · config · cli
//! the tools     load (drive any memcached over UDP) · stats (histograms, plots)
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
