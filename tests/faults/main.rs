//! Faults that the running program once had: each is reproduced as a client, an operator or the machine makes it happen,
//! and holds the right answer. A file a topic.

#[path = "../common/mod.rs"]
mod common;
mod edge;
mod hashing;
mod namespaces;
mod network;
mod order;
mod sandbox;
mod storage;
#[path = "../support/mod.rs"]
mod support;
mod work;
