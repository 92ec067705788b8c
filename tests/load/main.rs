//! The load generator end to end: against a faulty server of known faults, against memcached, and as a command.

mod cli;
mod closed;
mod faults;
mod logs;
mod server;
mod stream_cli;
mod stream_server;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod targets;
mod terminal;
mod traces;
