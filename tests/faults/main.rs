//! Faults that the running program once had: each is reproduced as a client, an operator or the machine makes it happen,
//! and holds the right answer. A file a topic.

mod edge;
mod endings;
mod exposition;
mod figures;
mod forwarded;
mod full;
mod hang_ups;
mod hashing;
mod instants;
mod limits;
mod long_reads;
mod loops;
mod metrics;
mod namespaces;
mod network;
mod no_eviction;
mod order;
mod peers;
mod reads;
mod refused;
mod sandbox;
mod starting;
mod storage;
#[path = "../support/mod.rs"]
mod support;
mod threads;
mod work;
