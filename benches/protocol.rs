//! Requests that the parsers read in a second, on one core.
//!
//! `cargo bench --bench protocol`            seven rounds of each case
//! `cargo bench --bench protocol -- --smoke` one short round: CI runs it so that it cannot rot
//!
//! Each case is 512 datagrams of 16-byte keys and, for stores, 100-byte values, read over and over, header and all: a
//! datagram is split from its frame and each of its commands is taken apart, as a worker does it. The rate is the median
//! of the rounds. What is printed at the end depends on every key that was read.

use protocol::Dialect;
use protocol::batch::{Code, Frame, FrameWriter, Operation};
use protocol::frame;
use protocol::request::{Command, Commands};
use std::hint::black_box;
use std::time::{Duration, Instant};

const DATAGRAMS: usize = 512;
const VALUE: [u8; 100] = [b'v'; 100];

struct Case {
    name: &'static str,
    /// What is counted: requests or keys.
    unit: &'static str,
    per_datagram: u64,
    datagrams: Vec<Vec<u8>>,
}

fn key(number: usize) -> String {
    format!("key:{number:012}")
}

fn text(body: impl Fn(usize) -> String) -> Vec<Vec<u8>> {
    let header = [0, 1, 0, 0, 0, 1, 0, 0];
    (0..DATAGRAMS).map(|i| [&header[..], body(i).as_bytes()].concat()).collect()
}

fn frames(count: usize, code: Code, value: &[u8]) -> Vec<Vec<u8>> {
    let one = |i: usize| {
        let mut out = Vec::new();
        let mut writer = FrameWriter::begin(1, &mut out);
        for j in 0..count {
            let key = key(i * count + j);
            writer.put(&Operation { value, ..Operation::short(code, key.as_bytes()) }, &mut out);
        }
        writer.finish(&mut out);
        out
    };
    (0..DATAGRAMS).map(one).collect()
}

fn cases() -> Vec<Case> {
    let value = std::str::from_utf8(&VALUE).expect("letters");
    let keys = |i: usize| (0..20).map(|j| format!(" {}", key(i * 20 + j))).collect::<String>();
    let case = |name, unit, per_datagram, datagrams| Case { name, unit, per_datagram, datagrams };
    vec![
        case("text get", "requests", 1, text(|i| format!("get {}\r\n", key(i)))),
        case("meta mg v", "requests", 1, text(|i| format!("mg {} v\r\n", key(i)))),
        case("text get of 20", "keys", 20, text(|i| format!("get{}\r\n", keys(i)))),
        case("text set", "requests", 1, text(|i| format!("set {} 0 0 100\r\n{value}\r\n", key(i)))),
        case("frame of 20 GET", "keys", 20, frames(20, Code::Get, b"")),
        case("frame of 1 SET", "requests", 1, frames(1, Code::Set, &VALUE)),
    ]
}

/// Reads one datagram; a number that depends on all its keys.
#[inline(never)]
fn read(datagram: &[u8]) -> u64 {
    let Ok((_, dialect, body)) = frame::request(datagram) else { return 0 };
    let of_key = |key: &[u8]| key.len() as u64 * 31 + key[key.len() - 1] as u64;
    let mut sum = 0;
    match dialect {
        Dialect::Text | Dialect::Stream => {
            for command in Commands::new(body, 1 << 20).flatten() {
                match command {
                    Command::Get(get) => get.keys().for_each(|key| sum += of_key(key.bytes())),
                    Command::Store(store) => sum += of_key(store.key.bytes()) + store.value.len() as u64,
                    Command::Meta(meta) => sum += of_key(meta.key_word),
                    other => panic!("{other:?}"),
                }
            }
        }
        Dialect::Batch { .. } => {
            let Some(frame) = Frame::open(body) else { return 0 };
            for operation in frame.operations(body).flatten() {
                sum += of_key(operation.key.bytes()) + operation.value.len() as u64;
            }
        }
    }
    sum
}

/// Millions a second of what the case counts, and the sum over one pass.
fn round(case: &Case, time: Duration) -> (f64, u64) {
    let pass =
        || case.datagrams.iter().fold(0u64, |sum, datagram| sum.wrapping_add(read(black_box(datagram))));
    let sum = pass();
    let (start, mut passes) = (Instant::now(), 0u64);
    while start.elapsed() < time {
        assert_eq!(black_box(pass()), sum);
        passes += 1;
    }
    let read = passes * DATAGRAMS as u64 * case.per_datagram;
    (read as f64 / start.elapsed().as_secs_f64() / 1e6, sum)
}

fn main() {
    let smoke = std::env::args().any(|arg| arg == "--smoke" || arg == "--test");
    let (rounds, time) = if smoke { (1, Duration::from_millis(5)) } else { (7, Duration::from_millis(200)) };
    let cases = cases();
    let mut rates = vec![Vec::new(); cases.len()];
    let mut work = 0u64;
    for _ in 0..rounds {
        for (case, rates) in cases.iter().zip(&mut rates) {
            let (rate, sum) = round(case, time);
            rates.push(rate);
            work = work.wrapping_mul(31).wrapping_add(sum);
        }
    }
    for (case, rates) in cases.iter().zip(&mut rates) {
        rates.sort_by(f64::total_cmp);
        let (low, median, high) = (rates[0], rates[rates.len() / 2], rates[rates.len() - 1]);
        println!("{:<16} {median:>7.1} M {}/s   ({low:.1} to {high:.1})", case.name, case.unit);
    }
    println!("work {work:016x}");
}
