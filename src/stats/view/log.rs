//! Reads HdrHistogram interval logs, ours and other tools': with or without tags, comments, legend, start and base times.
//!
//! A line that cannot be read is left out and counted: a log whose writer was killed still shows what it holds.
//! Memory is bounded, however long the log is: intervals are put together in pairs when there are too many.

use super::line::{self, End, Line};
use super::{decode, names};
use crate::limits::{
    LOG_BAD_LINES_MAX, LOG_BYTES_MAX, LOG_INTERVALS_MAX, LOG_LINE_BYTES_MAX, LOG_MEMORY_BYTES_MAX,
    LOG_TAGS_MAX,
};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// The tag under which `sherwood load` logs lost requests.
pub const LOST: &str = "lost";

/// A log whose times are more than this before its start, in seconds, counts them from the start: a year.
const ABSOLUTE_WITHIN_S: f64 = 365.0 * 24.0 * 3600.0;

/// What a recorded value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Unit {
    /// Nanoseconds
    Ns,
    /// Microseconds
    Us,
    /// Milliseconds
    Ms,
}

impl Unit {
    /// Microseconds in one.
    pub fn us(self) -> f64 {
        [1e-3, 1.0, 1e3][self as usize]
    }
}

/// One interval of one tag.
#[derive(Clone, Debug)]
pub struct Interval {
    /// Seconds after the beginning of the log.
    pub at_s: f64,
    /// Its length in seconds.
    pub length_s: f64,
    /// What was recorded in it.
    pub events: Histogram<u64>,
}

impl Interval {
    /// Puts a later interval to this one.
    pub fn extend(&mut self, later: &Interval) {
        self.length_s = (later.at_s + later.length_s - self.at_s).max(self.length_s);
        // Both grow by themselves, so any value of one fits the other.
        decode::add(&mut self.events, &later.events).expect("an auto-resizing histogram takes every value");
    }
}

/// All intervals of one tag of one file.
#[derive(Clone, Debug)]
pub struct Series {
    /// The file's name, without folder and ending where that is enough to tell it from others.
    pub file: String,
    /// The tag; empty if it has none.
    pub tag: String,
    /// In the order of the log; of a long log several together.
    pub intervals: Vec<Interval>,
    /// All of them together.
    pub total: Histogram<u64>,
    /// What a value counts.
    pub unit: Unit,
}

impl Series {
    /// What to call it: `file`, or `file get`.
    pub fn name(&self) -> String {
        if self.tag.is_empty() { self.file.clone() } else { format!("{} {}", self.file, self.tag) }
    }

    /// The latency that this share (0..=1) of the events did not exceed, in microseconds.
    pub fn quantile_us(&self, share: f64) -> f64 {
        self.total.value_at_quantile(share) as f64 * self.unit.us()
    }

    /// The largest latency, in microseconds.
    pub fn max_us(&self) -> f64 {
        self.total.max() as f64 * self.unit.us()
    }

    /// Whether it holds lost requests.
    pub fn is_lost(&self) -> bool {
        self.tag == LOST
    }
}

/// What a file holds.
#[derive(Clone, Debug)]
pub struct Log {
    /// Its series by tag; at least one.
    pub series: Vec<Series>,
    /// What is missing in them, a line each.
    pub warnings: Vec<String>,
}

/// Reads files, and names each so that no other has its name; `-` is standard input.
///
/// # Errors
/// A file (named) cannot be read, or has no line of a log.
pub fn read_all(paths: &[PathBuf], unit: Unit) -> Result<Log, String> {
    let mut all = Log { series: Vec::new(), warnings: Vec::new() };
    for (path, name) in paths.iter().zip(names::tell_apart(paths)) {
        let (log, place) = match path.as_os_str() == "-" {
            true => (parse("stdin", std::io::stdin().lock(), unit), "standard input".to_string()),
            false => (open(&name, path, unit), names::printable(&path.to_string_lossy())),
        };
        let log = log.map_err(|why| format!("{place}: {why}"))?;
        all.series.extend(log.series);
        all.warnings.extend(log.warnings.iter().map(|warning| format!("{place}: {warning}")));
    }
    Ok(all)
}

/// Reads one file: its series by tag, without what cannot be read.
///
/// # Errors
/// The file cannot be read, or has no line of a log.
pub fn read(path: &Path, unit: Unit) -> Result<Vec<Series>, String> {
    read_all(&[path.into()], unit).map(|log| log.series)
}

fn open(name: &str, path: &Path, unit: Unit) -> Result<Log, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    parse(name, BufReader::with_capacity(1 << 16, file), unit)
}

/// Reads a log.
///
/// # Errors
/// The reader's, or no line (the first reason is named) is one of a log.
pub fn parse(file: &str, log: impl BufRead, unit: Unit) -> Result<Log, String> {
    // What a file says of its own length is not believed: a device says 0, and a log may grow.
    let mut log = log.take(LOG_BYTES_MAX);
    let mut reading = Reading::new(file, unit);
    let mut text = Vec::new();
    while let Some(end) = line::next(&mut log, &mut text).map_err(|e| e.to_string())? {
        reading.line(&text, end);
        if reading.is_hopeless(end) {
            break;
        }
        if end == End::TooLong {
            line::skip_rest(&mut log).map_err(|e| e.to_string())?;
        }
    }
    if log.limit() == 0 {
        let warning = format!("only its first {LOG_BYTES_MAX} bytes are read: cut it");
        reading.warnings.push(warning);
    }
    reading.finish()
}

/// A log being read.
struct Reading<'a> {
    file: &'a str,
    unit: Unit,
    tags: BTreeMap<String, Series>,
    lines: u64,
    skipped: u64,
    first_reason: Option<String>,
    warnings: Vec<String>,
    start_s: Option<f64>,
    base_s: Option<f64>,
    /// When the first interval began, in seconds since 1970 where the log tells.
    first_s: Option<f64>,
    /// Of all histograms.
    memory_bytes: usize,
}

impl<'a> Reading<'a> {
    fn new(file: &'a str, unit: Unit) -> Reading<'a> {
        Reading {
            file,
            unit,
            tags: BTreeMap::new(),
            lines: 0,
            skipped: 0,
            first_reason: None,
            warnings: Vec::new(),
            start_s: None,
            base_s: None,
            first_s: None,
            memory_bytes: 0,
        }
    }

    fn line(&mut self, text: &[u8], end: End) {
        self.lines += 1;
        let said = match end {
            End::TooLong => Err(format!("it has more than {LOG_LINE_BYTES_MAX} bytes")),
            _ => line::parse(text),
        };
        let done = said.and_then(|line| match line {
            Line::Nothing => Ok(()),
            // A process that went on with the log of an earlier one counts its times from its own start.
            Line::Start(start_s) => {
                (self.start_s, self.base_s) = (Some(start_s), None);
                Ok(())
            }
            Line::Base(base_s) => {
                self.base_s = Some(base_s);
                Ok(())
            }
            Line::Interval { tag, at_s, length_s, histogram } => {
                self.interval(tag, at_s, length_s, histogram)
            }
        });
        if let Err(why) = done {
            self.skipped += 1;
            let cut = if end == End::Cut {
                " (the last line has no end: it was cut, or is being written)"
            } else {
                ""
            };
            self.first_reason.get_or_insert_with(|| format!("line {}: {why}{cut}", self.lines));
        }
    }

    fn interval(&mut self, tag: &str, at_s: f64, length_s: f64, histogram: &str) -> Result<(), String> {
        let events = decode::histogram(histogram.as_bytes())?;
        let at_s = self.seconds_from_first(at_s);
        let tag = names::printable(tag);
        if !self.tags.contains_key(&tag) && self.tags.len() == LOG_TAGS_MAX {
            return Err(format!("more than {LOG_TAGS_MAX} tags"));
        }
        self.make_room(bytes_of(&events))?;
        let series = self.tags.entry(tag.clone()).or_insert_with(|| Series {
            file: self.file.to_string(),
            tag,
            intervals: Vec::new(),
            total: decode::empty_like(&events),
            unit: self.unit,
        });
        let total_before = bytes_of(&series.total);
        decode::add(&mut series.total, &events)?;
        self.memory_bytes += bytes_of(&series.total) - total_before + bytes_of(&events);
        series.intervals.push(Interval { at_s, length_s, events });
        if series.intervals.len() > LOG_INTERVALS_MAX {
            halve(&mut series.intervals);
            self.memory_bytes = self.measured_bytes();
        }
        Ok(())
    }

    /// As HdrHistogram's own reader: times count from the base; without one they are absolute, unless they lie long before the
    /// start.
    fn seconds_from_first(&mut self, at_s: f64) -> f64 {
        let start_s = *self.start_s.get_or_insert(at_s);
        let base_s =
            *self.base_s.get_or_insert(if at_s < start_s - ABSOLUTE_WITHIN_S { start_s } else { 0.0 });
        let first_s = *self.first_s.get_or_insert(at_s + base_s);
        (at_s + base_s - first_s).max(0.0)
    }

    /// Puts intervals together until so many bytes more, twice (alone and in the total), are within the bound.
    fn make_room(&mut self, bytes: usize) -> Result<(), String> {
        while self.memory_bytes + 2 * bytes > LOG_MEMORY_BYTES_MAX {
            if self.tags.values().all(|series| series.intervals.len() <= 1) {
                return Err(format!("its histograms need more than {LOG_MEMORY_BYTES_MAX} bytes of memory"));
            }
            self.tags.values_mut().for_each(|series| halve(&mut series.intervals));
            self.memory_bytes = self.measured_bytes();
        }
        Ok(())
    }

    fn measured_bytes(&self) -> usize {
        let of =
            |s: &Series| bytes_of(&s.total) + s.intervals.iter().map(|i| bytes_of(&i.events)).sum::<usize>();
        self.tags.values().map(of).sum()
    }

    /// Whether nothing that was read is a line of a log, and it was much.
    fn is_hopeless(&self, end: End) -> bool {
        self.tags.is_empty() && (self.skipped >= LOG_BAD_LINES_MAX || end == End::TooLong)
    }

    fn finish(mut self) -> Result<Log, String> {
        if self.tags.is_empty() {
            return Err(self.first_reason.unwrap_or_else(|| "no intervals in it".into()));
        }
        match (self.skipped, self.first_reason) {
            (0, _) | (_, None) => {}
            (1, Some(why)) => self.warnings.insert(0, format!("1 line of {} is left out: {why}", self.lines)),
            (more, Some(why)) => {
                let warning = format!("{more} lines of {} are left out; the first is {why}", self.lines);
                self.warnings.insert(0, warning);
            }
        }
        Ok(Log { series: self.tags.into_values().collect(), warnings: self.warnings })
    }
}

fn bytes_of(histogram: &Histogram<u64>) -> usize {
    histogram.distinct_values() * size_of::<u64>()
}

/// Puts neighbours together.
fn halve(intervals: &mut Vec<Interval>) {
    let mut pairs = std::mem::take(intervals).into_iter();
    while let Some(mut interval) = pairs.next() {
        if let Some(later) = pairs.next() {
            interval.extend(&later);
        }
        intervals.push(interval);
    }
}

#[cfg(test)]
mod tests;
