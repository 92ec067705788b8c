//! The load generator end to end: against a faulty server of known faults, against memcached, and as a command.

mod cli;
mod faults;
mod server;
#[path = "../support/mod.rs"]
mod support;
mod traces;
