#![no_main]

#[allow(dead_code)]
#[path = "../../tests/support/stepped.rs"]
mod stepped;
#[path = "../src/streams.rs"]
mod streams;

libfuzzer_sys::fuzz_target!(|data: &[u8]| streams::streams(data));
