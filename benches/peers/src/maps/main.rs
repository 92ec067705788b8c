//! Our table beside concurrent maps and caches, and beside the limit of the memory.
//!
//! ```text
//! scripts/measure table-peers [--smoke] [--items N,…] [--key-bytes 8,32] [--threads 1,2] [--bench-rounds N] [--only NAME,…]
//!                             [--load 0.7,0.8,0.9] [--huge auto,off]
//!
//! for each size:  ours over load, batch and page size, beside REF
//!                 for each rival: fill it, then in each round REF, ours, rival, case by case; let it go
//! ```
//! A rival is measured in turns with REF and ours in the same process, so its ratios are of the same minutes; only one
//! rival is in memory at a time, and one that does not fit is left out, with the reason.
//!
//! All rivals get what is best for them: keys and values of a fixed size in place, the hash that our table uses, one
//! kind of work at a time. All copy the value out. What they do not do that ours does: values of any length in bounded
//! memory, and (but for moka and quick_cache) eviction.

#[path = "../../../table/contest.rs"]
mod contest;
#[path = "../../../table/field.rs"]
mod field;
#[path = "../../../table/options.rs"]
mod options;
#[path = "../../../table/ours.rs"]
mod ours;
#[path = "../../../table/reference.rs"]
mod reference;
mod rivals;
#[path = "../../../table/rows.rs"]
mod rows;
#[path = "../../../table/stretch.rs"]
mod stretch;

use contest::{Contestant, Round};
use field::{Field, Size};
use numa::Huge;
use options::Options;
use reference::Reference;
use rivals::Rival;
use rows::{Row, Rows};
use stretch::{Case, Mix};

const READS: Case = Case { mix: Mix::Hits, zipf: false, batch: 32 };

fn main() {
    let mut options = Options::from_arguments();
    let given: Vec<String> = std::env::args().collect();
    let is_given = |flag: &str| given.iter().any(|word| word == flag);
    let is_quick = is_given("--quick") || is_given("--smoke");
    if !is_given("--items") && !is_quick {
        options.items = vec![1_000_000, 20_000_000];
    }
    if !is_given("--key-bytes") {
        options.key_bytes = vec![8, 32];
    }
    if !is_given("--threads") {
        options.threads = vec![1, 2];
    }
    if !is_given("--load") {
        options.loads = vec![0.7, 0.8, 0.9];
    }
    if !is_given("--huge") && !is_quick {
        options.huge = vec![Huge::Auto, Huge::Off];
    }
    if !is_given("--round-ms") && !is_quick {
        options.time = std::time::Duration::from_millis(100);
    }
    assert!(options.false_misses.is_none(), "that is scripts/false-misses");
    let mut rows = Rows::new(options.csv.as_deref());
    rows.head();
    for &items in &options.items {
        for &key_bytes in &options.key_bytes {
            for &threads in &options.threads {
                let size = Size { items, key_bytes, load: 0.8, ..options.size(threads) };
                ourselves(&options, size, &mut rows);
                match key_bytes {
                    8 => rivals::all::<8>(&mut |rival| beside(&options, size, rival, &mut rows)),
                    32 => rivals::all::<32>(&mut |rival| beside(&options, size, rival, &mut rows)),
                    other => panic!("keys of 8 or 32 bytes, not {other}"),
                }
            }
        }
    }
}

/// Ours over load, batch and page size: what its own parameters are worth.
fn ourselves(options: &Options, size: Size, rows: &mut Rows) {
    if !options.wants("sherwood") {
        return;
    }
    for &huge in &options.huge {
        for &load in &options.loads {
            let size = Size { load, huge, ..size };
            eprintln!("filling our table: {} items, load {load}, huge pages {huge:?}", size.items);
            let mut field = Field::new(size);
            eprintln!("index: {:.2} bytes an item, {} pages", field.index_bytes_per_item(), field.pages);
            let cases = [1, 16, 32, 64].map(|batch| Case { batch, ..READS });
            let mut rates = vec![Vec::new(); cases.len()];
            let mut references = Vec::new();
            for seed in 0..options.rounds as u64 {
                let round = round(options, size, seed);
                references.push(contest::run(&mut Reference(&field), &READS, &round, &mut 0).0);
                for (case, rates) in cases.iter().zip(&mut rates) {
                    rates.push(contest::run(&mut field, case, &round, &mut 0).0);
                }
            }
            let row = |who, batch, rates: &[f64]| Row {
                size,
                pages: &field.pages,
                case: READS.name(),
                who,
                batch,
                rate: contest::median(rates),
                of_reference: Some(rows::ratio(rates, &references)),
                of_ours: None,
                bytes_per_item: None,
                digest: 0,
            };
            rows.put(&row("REF", 0, &references));
            for (case, rates) in cases.iter().zip(&rates) {
                rows.put(&row("sherwood", case.batch, rates));
            }
        }
    }
}

/// One rival in turns with REF and ours.
fn beside(options: &Options, size: Size, rival: &Rival<'_>, rows: &mut Rows) {
    if !options.wants(rival.name) {
        return;
    }
    let Size { items, key_bytes, threads, .. } = size;
    let ours_bytes = items * (24 + key_bytes as u64 + 100 + 32);
    let needed = items * rival.bytes_per_item + ours_bytes + (256 << 20);
    let available = available_bytes();
    if available < needed {
        let mib = |bytes| bytes >> 20;
        println!(
            "{} left out at {items} items, {key_bytes}-byte keys: needs some {} MiB beside ours, {} MiB are free",
            rival.name,
            mib(needed),
            mib(available)
        );
        return;
    }
    eprintln!(
        "filling {} and our table: {items} items, {key_bytes}-byte keys, {threads} threads",
        rival.name
    );
    let before = resident_bytes();
    let mut map = (rival.fill)(items);
    let bytes_per_item = resident_bytes().saturating_sub(before) as f64 / items as f64;
    let mut field = Field::new(size);
    let cases = cases();
    let [mut references, mut ours, mut theirs] = [(); 3].map(|()| vec![Vec::new(); cases.len()]);
    let mut digests = vec![[0u64; 2]; cases.len()];
    for seed in 0..options.rounds as u64 {
        let round = round(options, size, seed);
        for (i, case) in cases.iter().enumerate() {
            references[i].push(contest::run(&mut Reference(&field), &READS, &round, &mut 0).0);
            let (rate, digest) = contest::run(&mut field, case, &round, &mut 0);
            ours[i].push(rate);
            digests[i][0] = digests[i][0].wrapping_add(digest);
            let (rate, digest) = contest::run(&mut *map, case, &round, &mut 0);
            theirs[i].push(rate);
            digests[i][1] = digests[i][1].wrapping_add(digest);
        }
    }
    let pages = field.pages.clone();
    for (i, case) in cases.iter().enumerate() {
        let row = |who, batch, rates: &[f64], bytes_per_item, digest| Row {
            size,
            pages: &pages,
            case: case.name(),
            who,
            batch,
            rate: contest::median(rates),
            of_reference: Some(rows::ratio(rates, &references[i])),
            of_ours: Some(rows::ratio(rates, &ours[i])),
            bytes_per_item,
            digest,
        };
        rows.put(&row("sherwood", case.batch, &ours[i], None, digests[i][0]));
        rows.put(&row(rival.name, 0, &theirs[i], Some(bytes_per_item), digests[i][1]));
    }
}

fn cases() -> Vec<Case> {
    let mixes = [Mix::Hits, Mix::Misses, Mix::Writes(5), Mix::Writes(50)];
    let both = mixes.into_iter().flat_map(|mix| [false, true].map(|zipf| Case { mix, zipf, batch: 32 }));
    // A miss is a miss, however often it is asked for.
    both.filter(|case| !(case.zipf && case.mix == Mix::Misses)).collect()
}

fn round(options: &Options, size: Size, seed: u64) -> Round {
    Round { items: size.items, key_bytes: size.key_bytes, threads: size.threads, time: options.time, seed }
}

/// What the kernel would give without swapping.
fn available_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.map_or(u64::MAX, |kib| kib << 10)
}

/// What this process has in memory.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).map_or(0, |pages| pages * 4096)
}

/// What the rivals are: something to measure.
pub type Boxed = Box<dyn Contestant>;
