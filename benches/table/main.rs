//! The table against the limit of the memory, in one process, in interleaved rounds.
//!
//! ```text
//! cargo bench --bench table -- [--smoke] [--items N] [--key-bytes 8|32] [--rounds N] [--huge auto|2m|thp|off] [--only CASE]
//! ```
//! REF is a synthetic GET without table logic: a random index line, then the item that it names, then a copy of the
//! value; as many in flight as the table has. It is what the memory gives: 100 %.
//! Every row is the median of the rounds; ratios are medians of the ratios within a round. The digest at the end of a
//! row adds up what was copied: two rows that say the same did the same work.

mod case;
mod field;
mod reference;

use case::{Case, Mix};
use field::Field;
use std::time::Duration;

struct Options {
    items: u64,
    key_bytes: usize,
    rounds: usize,
    round: Duration,
    huge: numa::Huge,
    only: Option<String>,
}

fn main() {
    let options = options();
    let field = Field::new(options.items, options.key_bytes, 100, 0.8, options.huge);
    println!(
        "{} items, {}-byte keys, 100-byte values, load 0.8, {} pages, {} rounds of {:?}",
        options.items, options.key_bytes, field.pages, options.rounds, options.round
    );
    let cases = [
        Case::hits("REF batch 32", 32).reference(),
        Case::hits("hit batch 1", 1),
        Case::hits("hit batch 16", 16),
        Case::hits("hit batch 32", 32),
        Case::hits("hit batch 64", 64),
        Case::hits("hit batch 32 zipf 0.99", 32).zipf(),
        Case { misses: true, ..Case::hits("miss batch 32", 32) },
        Case { mix: Mix::Writes(5), ..Case::hits("95/5 batch 32", 32) },
        Case { mix: Mix::Writes(50), ..Case::hits("50/50 batch 32", 32) },
        Case { mix: Mix::Replace, ..Case::hits("replace", 1) },
    ];
    let wanted =
        |case: &Case| case.is_reference || options.only.as_ref().is_none_or(|only| case.name.contains(only));
    let cases: Vec<Case> = cases.into_iter().filter(wanted).collect();
    let mut rates = vec![Vec::new(); cases.len()];
    let mut digests = vec![0u64; cases.len()];
    let mut field = field;
    for round in 0..options.rounds {
        for (i, case) in cases.iter().enumerate() {
            let (rate, digest) = case.run(&mut field, options.round, round as u64);
            rates[i].push(rate);
            digests[i] = digests[i].wrapping_add(digest);
        }
    }
    println!("{:<26} {:>12} {:>9} {:>9}  digest", "case", "M ops/s", "ns/op", "of REF");
    for (i, case) in cases.iter().enumerate() {
        let ratio = median(rates[i].iter().zip(&rates[0]).map(|(a, b)| a / b).collect());
        let rate = median(rates[i].clone());
        println!(
            "{:<26} {:>12.2} {:>9.1} {:>8.1}%  {:016x}",
            case.name,
            rate / 1e6,
            1e9 / rate,
            ratio * 100.0,
            digests[i]
        );
    }
    println!("index: {:.2} bytes an item", field.index_bytes_per_item());
}

fn options() -> Options {
    let mut options = Options {
        items: 1_000_000,
        key_bytes: 32,
        rounds: 5,
        round: Duration::from_millis(400),
        huge: numa::Huge::Auto,
        only: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{flag} wants a value"));
        match flag.as_str() {
            "--smoke" => {
                options.items = 20_000;
                options.rounds = 2;
                options.round = Duration::from_millis(5);
                options.huge = numa::Huge::Off;
            }
            "--items" => options.items = value().parse().expect("a number of items"),
            "--key-bytes" => options.key_bytes = value().parse().expect("a number of bytes"),
            "--rounds" => options.rounds = value().parse().expect("a number of rounds"),
            "--only" => options.only = Some(value()),
            "--huge" => options.huge = value().parse().expect("auto, 1g, 2m, thp or off"),
            // What cargo says to every bench.
            "--bench" => {}
            other => panic!("unknown option {other}"),
        }
    }
    options
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
