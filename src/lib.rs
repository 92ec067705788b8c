//! Sherwood: a Linux data-plane cache. The tour, in reading order:
//!
//! ```text
//! foundations   sync · clock · hash · item_ref · limits · stats::counters
//! bytes         protocol (bytes ⇄ commands)         io (datagrams ⇄ kernel)
//! storage       table (key → item) · memory (items in pages, grace)
//! a shard       shard (verbs on table + memory) · policy (who stays) · ring (between threads)
//! the words     session (memcached's commands → verbs of a shard, and their answers)
//! the server    worker (the tick) · server (plan, map, wire, spawn) · cli
//! the tools     load (drive any memcached over UDP) · stats (histograms, plots)
//! ```
//!
//! `docs/architecture.md` is the map with the directions; `docs/concurrency.md` has every atomic.
//!
//! Under `--cfg loom` and `--cfg shuttle` only what the models run is built: foundations, table, grace, rings.

pub mod cli;
pub mod config;
pub mod io;
pub mod limits;
pub mod load;
pub mod server;
pub mod session;
pub mod stats;
pub mod worker;
