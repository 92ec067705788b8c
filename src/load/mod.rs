//! The load generator: schedules, keys, clients, latency.

pub mod trace;
