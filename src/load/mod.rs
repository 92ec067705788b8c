//! The load generator: what it asks, when, of whom, and what came back.
//!
//! ```text
//! keys ┐                 ┌ schedule (open loop: when)
//! sizes├─▶ workload ─Ask─▶ client ─codec─▶ transport: datagrams or streams ─▶ server
//! trace┘   (or replay,   │  requests ◀─ settle ◀─ codec ◀──────┘
//!           fill)        └─▶ tally, latency ─▶ run ─▶ report
//! ```
//!
//! One [`client::Client`] per thread; it owns its sockets, its requests in flight and its histograms, and shares
//! nothing but the versions of `--verify`. A run's intervals meet in [`run`], once a second.
//!
//! Not here: the server, and any knowledge of how it works; `load` speaks to any memcached.

// What is asked: numbers, keys, values, sources.
pub mod options;

pub mod keys;
pub mod sizes;
pub mod workload;

pub mod trace;

pub mod replay;

pub mod fill;
pub mod source;

// When.
pub mod schedule;

// What values say, and what a read may return.
pub mod value;
pub mod versions;

// How it becomes bytes, and how they travel.
pub mod codec;
pub mod target;
pub mod transport;

pub mod datagrams;
pub mod streams;

// What waits for a reply, and what a reply is.
pub mod in_flight;
pub mod requests;
pub mod settle;

// What came of it.
pub mod latency;
pub mod tally;

// One thread, all threads, the result.
pub mod phase;
pub mod wait;

pub mod client;

pub mod plan;
pub mod run;

pub mod report;
pub mod search;
