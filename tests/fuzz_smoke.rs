//! The fuzz targets with drawn bytes: half noise, half words of the protocol in any order. 25,000 executions a target
//! here; `scripts/fuzz` runs the same targets under libFuzzer for as long as it is told to, and
//! `SHERWOOD_FUZZ_EXECUTIONS` makes this one longer.

mod support;
#[path = "../fuzz/src/targets.rs"]
mod targets;

use sherwood::random::Random;
use support::noise::{framed, noise, operations, words};

const EXECUTIONS: u64 = 25_000;

fn drive(seed: u64, target: fn(&[u8]), draw: fn(&mut Random) -> Vec<u8>) {
    let executions = std::env::var("SHERWOOD_FUZZ_EXECUTIONS")
        .map_or(EXECUTIONS, |text| text.parse().expect("SHERWOOD_FUZZ_EXECUTIONS is a number"));
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
