//! The table against the limit of the memory, in one process, in interleaved rounds.
//!
//! ```text
//! cargo bench --bench table -- [--smoke] [--items N] [--key-bytes 8|32] [--threads 1|2] [--load 0.8]
//!                              [--rounds N] [--huge auto|2m|thp|off] [--only CASE] [--csv FILE]
//! cargo bench --bench table -- --tables 2,4 [--items N] [--rounds N] …  one batch over several tables, or one for each
//! cargo bench --bench table -- --false-misses READS [--items N]       counts keys that are there and missed; must be 0
//! ```
//! REF is a synthetic GET without table logic: a random index line, then the item that it names, then a copy of the
//! value; 32 in flight. It is what the memory gives: 100 %.
//! Every row is the median of the rounds; ratios are medians of the ratios within a round. The digest at the end of a
//! row adds up what was copied. With two threads each owns a shard, reads both and writes its own.

mod contest;
mod false_misses;
mod field;
mod options;
mod ours;
mod reference;
mod rows;
mod several;
mod stretch;

use contest::Round;
use field::Field;
use options::Options;
use reference::Reference;
use rows::{Row, Rows};
use stretch::{Case, Mix};

fn main() {
    let options = Options::from_arguments();
    if let Some(reads) = options.false_misses {
        assert!(false_misses::run(&options, reads), "keys that are there were missed");
        return;
    }
    let mut rows = Rows::new(options.csv.as_deref());
    for &tables in &options.tables {
        several::measure(&options, tables, &mut rows);
    }
    if !options.tables.is_empty() {
        return;
    }
    for &threads in &options.threads {
        measure(&options, threads, &mut rows);
    }
    if options.is_smoke {
        several::measure(&options, 2, &mut rows);
    }
}

fn measure(options: &Options, threads: usize, rows: &mut Rows) {
    let size = options.size(threads);
    let mut field = Field::new(size);
    println!(
        "{} items, {}-byte keys, 100-byte values, load {}, {} pages, {threads} threads, {} rounds of {:?}; \
         index: {:.2} bytes an item",
        size.items,
        size.key_bytes,
        size.load,
        field.pages,
        options.rounds,
        options.time,
        field.index_bytes_per_item()
    );
    let cases: Vec<Case> = cases(threads).into_iter().filter(|case| options.wants(&case.name())).collect();
    let mut oldest = 0;
    let mut rates = vec![Vec::new(); cases.len()];
    let mut references = Vec::new();
    let mut digests = vec![0u64; cases.len()];
    for seed in 0..options.rounds as u64 {
        let round = Round { items: size.items, key_bytes: size.key_bytes, threads, time: options.time, seed };
        let reads = Case { mix: Mix::Hits, zipf: false, batch: 32 };
        references.push(contest::run(&mut Reference(&field), &reads, &round, &mut 0).0);
        for (i, case) in cases.iter().enumerate() {
            let (rate, digest) = contest::run(&mut field, case, &round, &mut oldest);
            rates[i].push(rate);
            digests[i] = digests[i].wrapping_add(digest);
        }
    }
    rows.head();
    let row = |case: String, batch, rates: &[f64], digest| Row {
        size,
        pages: &field.pages,
        case,
        who: if batch == 0 { "REF" } else { "sherwood" },
        batch,
        rate: contest::median(rates),
        of_reference: Some(rows::ratio(rates, &references)),
        of_ours: None,
        bytes_per_item: None,
        digest,
    };
    rows.put(&row("hit".to_owned(), 0, &references, 0));
    for (i, case) in cases.iter().enumerate() {
        rows.put(&row(case.name(), case.batch, &rates[i], digests[i]));
    }
}

fn cases(threads: usize) -> Vec<Case> {
    let case = |mix, zipf, batch| Case { mix, zipf, batch };
    let mut cases: Vec<Case> = [1, 16, 32, 64].map(|batch| case(Mix::Hits, false, batch)).to_vec();
    cases.push(case(Mix::Hits, true, 32));
    for mix in [Mix::Misses, Mix::Writes(5), Mix::Writes(50)] {
        cases.push(case(mix, false, 32));
    }
    cases.extend([5, 50].map(|percent| case(Mix::Writes(percent), true, 32)));
    // Which keys are the oldest is known to one thread.
    if threads == 1 {
        cases.push(case(Mix::Replace, false, 32));
    }
    cases
}
