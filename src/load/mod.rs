//! The load generator: what it asks, when, of whom, and what came back.
//!
//! ```text
//! keys ┐                 ┌ schedule (open loop: when)
//! sizes├─▶ workload ─Ask─▶ client ─codec─▶ train ─▶ socket ─▶ server
//! trace┘   (or replay,   │  in_flight ◀── codec ◀── reassembly ◀─┘
//!           fill)        └─▶ tally, latency ─▶ run ─▶ report
//! ```
//!
//! One [`client::Client`] per thread; it owns its sockets, its requests in flight and its histograms, and shares
//! nothing but the versions of `--verify`. A run's intervals meet in [`run`], once a second.
//!
//! Not here: the server, and any knowledge of how it works; `load` speaks to any memcached over UDP.

pub mod client;
pub mod codec;
pub mod fill;
pub mod frame;
pub mod in_flight;
pub mod keys;
pub mod lane;
pub mod latency;
pub mod options;
pub mod phase;
pub mod plan;
pub mod random;
pub mod reassembly;
pub mod replay;
pub mod report;
pub mod run;
pub mod schedule;
pub mod search;
mod settle;
pub mod sizes;
pub mod socket;
pub mod source;
pub mod tally;
pub mod target;
pub mod trace;
pub mod train;
pub mod value;
pub mod versions;
pub mod wait;
pub mod workload;
pub mod zipf;
