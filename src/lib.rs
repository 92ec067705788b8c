//! Sherwood: a Linux data-plane cache. The tour, in reading order:
//!
//! ```text
//! foundations   sync · clock · hash · random · item_ref · config::limits · stats::counters
//! bytes         protocol (bytes ⇄ commands)         io (datagrams ⇄ kernel)
//! storage       table (key → item) · memory (items in pages, grace)
//! a shard       shard (memcached's commands on table + memory) · policy (who stays) · ring (between threads)
//! the server    worker (the tick) · server (plan, map, wire, spawn) · cli
//! the tools     load (drive any memcached over UDP) · stats (histograms, plots)
//! ```
//!
//! `docs/architecture.md` is the map with the directions; `docs/concurrency.md` has every atomic.
//!
//! Under `--cfg loom` and `--cfg shuttle` only what the models run is built: foundations, table, grace, rings.

#[cfg(not(any(loom, shuttle)))]
pub mod cli;
pub mod clock;
pub mod config;
pub mod hash;
#[cfg(not(any(loom, shuttle)))]
pub mod io;
pub mod item_ref;
#[cfg(not(any(loom, shuttle)))]
pub mod load;
pub mod memory;
#[cfg(not(any(loom, shuttle)))]
pub mod policy;
#[cfg(not(any(loom, shuttle)))]
pub mod protocol;
pub mod random;
pub mod ring;
#[cfg(not(any(loom, shuttle)))]
pub mod server;
#[cfg(not(any(loom, shuttle)))]
pub mod shard;
pub mod stats;
pub mod sync;
pub mod table;
#[cfg(not(any(loom, shuttle)))]
pub mod worker;
