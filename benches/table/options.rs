//! What was asked for on the command line; shared with the bench of the rivals.

use crate::field::Size;
use numa::Huge;
use std::path::PathBuf;
use std::time::Duration;

/// The options. Lists hold every value that is to be measured.
pub struct Options {
    pub items: Vec<u64>,
    pub key_bytes: Vec<usize>,
    pub threads: Vec<usize>,
    pub loads: Vec<f64>,
    pub huge: Vec<Huge>,
    pub rounds: usize,
    pub time: Duration,
    pub csv: Option<PathBuf>,
    /// Look up keys of so many tables together, instead.
    #[allow(dead_code, reason = "the bench of the rivals has one table a thread")]
    pub tables: Vec<usize>,
    /// A few rounds of everything, so that nothing rots.
    #[allow(dead_code, reason = "the bench of the rivals has one table a thread")]
    pub is_smoke: bool,
    /// Count false misses in so many reads, instead.
    pub false_misses: Option<u64>,
    /// Parts of names: of a case, or of who is measured.
    only: Vec<String>,
}

impl Options {
    pub fn from_arguments() -> Options {
        let mut options = Options {
            items: vec![1_000_000],
            key_bytes: vec![32],
            threads: vec![1],
            loads: vec![0.8],
            huge: vec![Huge::Auto],
            rounds: 5,
            time: Duration::from_millis(400),
            csv: None,
            tables: Vec::new(),
            is_smoke: false,
            false_misses: None,
            only: Vec::new(),
        };
        options.read(std::env::args().skip(1));
        options
    }

    /// Lists are written with commas: `--items 1000000,20000000`.
    pub fn read(&mut self, mut arguments: impl Iterator<Item = String>) {
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{flag} wants a value"));
            match flag.as_str() {
                "--smoke" | "--quick" => {
                    self.is_smoke = true;
                    self.items = vec![20_000];
                    self.rounds = 2;
                    self.time = Duration::from_millis(5);
                    self.huge = vec![Huge::Off];
                    self.threads = vec![1, 2];
                }
                "--items" => self.items = list(&value()),
                "--key-bytes" => self.key_bytes = list(&value()),
                "--threads" => self.threads = list(&value()),
                "--load" => self.loads = list(&value()),
                "--huge" => self.huge = list(&value()),
                "--rounds" => self.rounds = value().parse().expect("a number of rounds"),
                "--round-ms" => self.time = Duration::from_millis(value().parse().expect("milliseconds")),
                "--tables" => self.tables = list(&value()),
                "--false-misses" => self.false_misses = Some(value().parse().expect("a number of reads")),
                "--csv" => self.csv = Some(value().into()),
                "--only" => self.only = list(&value()),
                // What cargo says to every bench.
                "--bench" => {}
                other => panic!("unknown option {other}"),
            }
        }
        assert!(self.threads.iter().all(|threads| (1..=2).contains(threads)), "one or two threads");
    }

    /// The first of each list.
    pub fn size(&self, threads: usize) -> Size {
        Size {
            items: self.items[0],
            key_bytes: self.key_bytes[0],
            value_bytes: 100,
            load: self.loads[0],
            huge: self.huge[0],
            threads,
        }
    }

    /// Whether something of this name is measured.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }
}

fn list<T: std::str::FromStr>(text: &str) -> Vec<T> {
    let parse = |word: &str| word.parse().unwrap_or_else(|_| panic!("cannot read {word}"));
    text.split(',').map(parse).collect()
}
