//! The fuzz targets with drawn bytes: half noise, half words of the protocol in any order. 25,000 executions a target
//! here, 500 of whole servers; `scripts/fuzz` runs the same targets under libFuzzer for as long as it is told to, and
//! `SHERWOOD_FUZZ_EXECUTIONS` makes this one longer.

#[path = "../fuzz/src/streams.rs"]
mod streams;
mod support;
#[path = "../fuzz/src/targets.rs"]
mod targets;

use cache::base::random::Random;
use support::noise::{framed, noise, operations, words};
use support::stepped;

const EXECUTIONS: u64 = 25_000;

const EXECUTIONS_OF_SERVERS: u64 = 250;

fn drive(seed: u64, target: fn(&[u8]), draw: fn(&mut Random) -> Vec<u8>) {
    drive_times(EXECUTIONS, seed, target, draw);
}

fn drive_times(executions: u64, seed: u64, target: fn(&[u8]), draw: fn(&mut Random) -> Vec<u8>) {
    let executions = std::env::var("SHERWOOD_FUZZ_EXECUTIONS")
        .map_or(executions, |text| text.parse().expect("SHERWOOD_FUZZ_EXECUTIONS is a number"));
    let mut random = Random::new(seed);
    for i in 0..executions {
        let data = draw(&mut random);
        let run = std::panic::AssertUnwindSafe(|| target(&data));
        if std::panic::catch_unwind(run).is_err() {
            panic!("execution {i} of seed {seed}: {}", data.escape_ascii());
        }
    }
}

#[test]
fn frames() {
    drive(1, targets::frame, framed);
    drive(2, targets::frame, noise);
}

#[test]
fn requests() {
    drive(3, targets::request, words);
    drive(4, targets::request, noise);
}

#[test]
fn batches() {
    drive(7, targets::batch, operations);
    drive(8, targets::batch, noise);
}

#[test]
fn replies() {
    drive(5, targets::reply, noise);
}

#[test]
fn tables() {
    drive(6, targets::table, noise);
}

#[test]
fn streams_of_commands() {
    drive_times(EXECUTIONS_OF_SERVERS, 9, streams::streams, words);
    drive_times(EXECUTIONS_OF_SERVERS, 10, streams::streams, noise);
}
