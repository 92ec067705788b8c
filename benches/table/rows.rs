//! Results as a table for people and as CSV.

use crate::contest::median;
use crate::field::Size;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// One result.
pub struct Row<'a> {
    pub size: Size,
    pub pages: &'a str,
    pub case: String,
    pub who: &'a str,
    /// Lookups in flight; 0 where it does not apply.
    pub batch: usize,
    /// Operations a second.
    pub rate: f64,
    pub of_reference: Option<f64>,
    /// The rate over ours.
    pub of_ours: Option<f64>,
    pub bytes_per_item: Option<f64>,
    pub digest: u64,
}

/// Where results go.
pub struct Rows {
    csv: Option<File>,
}

impl Rows {
    pub fn new(csv: Option<&Path>) -> Rows {
        let mut csv = csv.map(|path| File::create(path).expect("a file that can be written"));
        if let Some(csv) = &mut csv {
            writeln!(
                csv,
                "items,key_bytes,threads,load,pages,case,who,batch,ops_per_s,of_ref,of_ours,bytes_per_item"
            )
            .expect("room on the disk");
        }
        Rows { csv }
    }

    pub fn head(&self) {
        println!(
            "{:<16} {:<16} {:>5} {:>10} {:>8} {:>8} {:>8} {:>8}  digest",
            "case", "who", "batch", "M ops/s", "ns/op", "of REF", "of ours", "B/item"
        );
    }

    pub fn put(&mut self, row: &Row<'_>) {
        let percent = |ratio: Option<f64>| ratio.map_or("".to_owned(), |x| format!("{:.1}%", x * 100.0));
        let plain = |number: Option<f64>| number.map_or("".to_owned(), |x| format!("{x:.4}"));
        println!(
            "{:<16} {:<16} {:>5} {:>10.2} {:>8.1} {:>8} {:>8} {:>8}  {:016x}",
            row.case,
            row.who,
            row.batch,
            row.rate / 1e6,
            1e9 * row.size.threads as f64 / row.rate,
            percent(row.of_reference),
            percent(row.of_ours),
            row.bytes_per_item.map_or("".to_owned(), |x| format!("{x:.0}")),
            row.digest
        );
        let Some(csv) = &mut self.csv else { return };
        let Size { items, key_bytes, threads, load, .. } = row.size;
        writeln!(
            csv,
            "{items},{key_bytes},{threads},{load},{},{},{},{},{:.0},{},{},{}",
            row.pages,
            row.case,
            row.who,
            row.batch,
            row.rate,
            plain(row.of_reference),
            plain(row.of_ours),
            plain(row.bytes_per_item)
        )
        .expect("room on the disk");
    }
}

/// The median of the ratios within the rounds.
pub fn ratio(rates: &[f64], others: &[f64]) -> f64 {
    median(&rates.iter().zip(others).map(|(a, b)| a / b).collect::<Vec<_>>())
}
