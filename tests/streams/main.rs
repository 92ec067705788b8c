//! Connections, TCP and UNIX, on real sockets of the running program, and what peers do to them. A file a topic.
//!
//! Nothing here waits for a time: tests ask `stats` until it says what they wait for, or their patience ends.

mod administration;
mod crowds;
mod endings;
mod half_open;
mod leaks;
mod limits;
mod listeners;
mod pipelines;
mod readers;
#[path = "../support/mod.rs"]
mod support;
mod unsent;
mod values;

use std::time::Instant;
use support::program::{PATIENCE, SMALL, Serve};
use support::stream::StreamClient;

/// Both ports.
pub const IOS: [&str; 2] = ["uring", "mmsg"];

/// A small server on a port of this name, with other options where a test gives them.
pub fn start(io: &str, options: &[&str]) -> Serve {
    let mut all = vec!["serve", "--io", io];
    let pairs = SMALL[1..].chunks(2).map(|pair| [pair[0], pair[1]]);
    for pair in pairs.filter(|pair| !options.contains(&pair[0])) {
        all.extend(pair);
    }
    all.extend(options);
    Serve::with(&all)
}

/// Asks for a figure until it is right.
pub fn wait_until(server: &Serve, name: &str, is_right: impl Fn(u64) -> bool) -> u64 {
    let began = Instant::now();
    loop {
        let figure = server.stat(name);
        if is_right(figure) {
            return figure;
        }
        assert!(began.elapsed() < PATIENCE, "{name} stays {figure}");
    }
}

/// A value in which every place is known.
pub fn value(seed: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| b'a' + ((i * 7 + i / 251 + seed) % 26) as u8).collect()
}

/// Stores it.
pub fn set(client: &mut StreamClient, key: &str, value: &[u8]) {
    client.send(format!("set {key} 0 0 {}\r\n", value.len()).as_bytes());
    client.send(value);
    assert_eq!(client.asks("\r\n"), "STORED\r\n");
}

/// What a `get` of one key is answered.
pub fn found(key: &str, value: &[u8]) -> Vec<u8> {
    [format!("VALUE {key} 0 {}\r\n", value.len()).as_bytes(), value, b"\r\nEND\r\n"].concat()
}
