//! Reads HdrHistogram V2 interval logs, ours and other tools': plain or compressed, with or without tags, comments,
//! start and base times.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogHistogram, IntervalLogIterator, LogEntry};
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes of one log at most.
pub const LOG_BYTES_MAX: u64 = 1 << 30;

/// The tag under which `sherwood load` logs lost requests.
pub const LOST: &str = "lost";

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

/// All intervals of one tag of one file.
#[derive(Clone, Debug)]
pub struct Series {
    /// The file's name, without folder and ending.
    pub file: String,
    /// The tag; empty if it has none.
    pub tag: String,
    /// In the order of the log.
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

/// Reads a log: its series by tag.
///
/// # Errors
/// The file cannot be read, or a line (named) is no V2 log.
pub fn read(path: &Path, unit: Unit) -> Result<Vec<Series>, String> {
    let wrong = |why: String| format!("{}: {why}", path.display());
    let size = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
    if size > LOG_BYTES_MAX {
        return Err(wrong(format!("{size} bytes; at most {LOG_BYTES_MAX}: cut it")));
    }
    let text = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
    let name = path.file_stem().and_then(|n| n.to_str()).unwrap_or("log");
    parse(name, &text, unit).map_err(wrong)
}

/// Reads a log from memory.
///
/// # Errors
/// A line (named) is no V2 log, or no line is.
pub fn parse(file: &str, text: &[u8], unit: Unit) -> Result<Vec<Series>, String> {
    let mut tags: BTreeMap<String, Series> = BTreeMap::new();
    let mut start_s = None;
    let mut deserializer = Deserializer::new();
    for (number, line) in text.split(|&b| b == b'\n').enumerate() {
        let mut line = line.trim_ascii().to_vec();
        if line.is_empty() || is_legend(&line) {
            continue;
        }
        line.push(b'\n');
        for entry in IntervalLogIterator::new(&line) {
            let wrong = |why: String| format!("line {}: {why}", number + 1);
            let entry = entry.map_err(|_| {
                wrong("not a line of an HdrHistogram V2 log (a .hgrm or V1 file is something else)".into())
            })?;
            let LogEntry::Interval(line) = entry else { continue };
            let start_s = *start_s.get_or_insert(line.start_timestamp().as_secs_f64());
            let interval = interval(&line, start_s, &mut deserializer).map_err(wrong)?;
            let tag = line.tag().map_or(String::new(), |tag| tag.as_str().to_string());
            let series = tags.entry(tag.clone()).or_insert_with(|| Series {
                file: file.to_string(),
                tag,
                intervals: Vec::new(),
                total: Histogram::new(interval.events.sigfig()).expect("its own digits are valid"),
                unit,
            });
            series.total.add(&interval.events).map_err(|e| wrong(e.to_string()))?;
            series.intervals.push(interval);
        }
    }
    if tags.is_empty() {
        return Err("no intervals in it".into());
    }
    Ok(tags.into_values().collect())
}

fn is_legend(line: &[u8]) -> bool {
    line.starts_with(b"\"StartTimestamp\"")
}

fn interval(
    line: &IntervalLogHistogram,
    start_s: f64,
    deserializer: &mut Deserializer,
) -> Result<Interval, String> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(line.encoded_histogram())
        .map_err(|e| format!("the histogram is not base64: {e}"))?;
    let mut events: Histogram<u64> = deserializer
        .deserialize(&mut bytes.as_slice())
        .map_err(|e| format!("the histogram is damaged or not of version 2: {e}"))?;
    events.auto(true);
    Ok(Interval {
        at_s: (line.start_timestamp().as_secs_f64() - start_s).max(0.0),
        length_s: line.duration().as_secs_f64(),
        events,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{ascii, html, png, table};
    use super::*;
    use hdrhistogram::serialization::{Serializer, V2DeflateSerializer, V2Serializer};

    fn encoded(values: &[u64], compressed: bool) -> String {
        use base64::Engine;
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        values.iter().for_each(|&v| histogram.record(v).unwrap());
        let mut bytes = Vec::new();
        if compressed {
            V2DeflateSerializer::new().serialize(&histogram, &mut bytes).unwrap();
        } else {
            V2Serializer::new().serialize(&histogram, &mut bytes).unwrap();
        }
        base64::engine::general_purpose::STANDARD.encode(bytes)
    }

    #[test]
    fn other_tools_logs_are_read() {
        for compressed in [true, false] {
            for end in ["\n", "\r\n"] {
                let log = [
                    "#[Histogram log format version 1.3]".to_string(),
                    "#[StartTime: 1441812279.474 (seconds since epoch), Wed Sep 09 08:24:39 PDT 2015]".into(),
                    "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
                        .into(),
                    format!("0.127,1.007,2.769,{}", encoded(&[1000, 2000], compressed)),
                    format!("Tag=write,1.134,0.999,0.442,{}", encoded(&[5000], compressed)),
                    format!("1.134,0.999,0.442,{}", encoded(&[3000], compressed)),
                    String::new(),
                ]
                .join(end);
                let series = parse("x", log.as_bytes(), Unit::Ns).unwrap();
                let counts: Vec<_> =
                    series.iter().map(|s| (s.name(), s.intervals.len(), s.total.len())).collect();
                assert_eq!(counts, [("x".to_string(), 2, 3), ("x write".to_string(), 1, 1)]);
                assert_eq!(series[0].quantile_us(1.0), 3.001);
                assert!((series[0].intervals[1].at_s - 1.007).abs() < 1e-6);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_file_is_a_log_or_an_error(
            lines in proptest::collection::vec("(Tag=[a-z]{0,3},)?[0-9]\\.[0-9]{1,3},[0-9]\\.[0-9]{0,3},[0-9]\\.[0-9]{1,3},[A-Za-z0-9+/=]{0,40}|#.{0,20}|.{0,40}", 0..6),
        ) {
            // Whether it is one is not the point: it must be said without a panic.
            if let Err(why) = parse("x", lines.join("\n").as_bytes(), Unit::Ns) {
                proptest::prop_assert!(!why.is_empty());
            }
        }
    }

    proptest::proptest! {
        // Few cases: each draws a picture.
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
        #[test]
        fn a_damaged_histogram_is_an_error_or_another_histogram(
            values in proptest::collection::vec(1u64..1_000_000_000, 1..50),
            at in proptest::prelude::any::<proptest::sample::Index>(),
            byte in proptest::prelude::any::<u8>(),
        ) {
            use base64::Engine;
            let engine = base64::engine::general_purpose::STANDARD;
            let mut bytes = engine.decode(encoded(&values, false)).unwrap();
            let whole = format!("0.0,1.0,1.0,{}", engine.encode(&bytes));
            proptest::prop_assert!(parse("x", whole.as_bytes(), Unit::Ns).is_ok());
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let log = format!("0.0,1.0,1.0,{}", engine.encode(bytes));
            if let Ok(series) = parse("x", log.as_bytes(), Unit::Ns) {
                // Whatever it now says can be shown in every way.
                let shown: Vec<&Series> = series.iter().collect();
                proptest::prop_assert!(table::summary(&series).contains('x'));
                proptest::prop_assert!(html::page(&series).contains("\"counts\""));
                ascii::plot(&shown);
                // An empty histogram has nothing to draw.
                proptest::prop_assert!(png::draw(&shown).is_ok() || series[0].total.is_empty());
            }
        }
    }

    #[test]
    fn what_is_no_log_says_so_by_line() {
        assert!(parse("x", b"", Unit::Ns).unwrap_err().contains("no intervals"));
        assert!(parse("x", b"#c\nhello\n", Unit::Ns).unwrap_err().starts_with("line 2"));
        let cut = format!("0.0,1.0,1.0,{}", &encoded(&[1], true)[..8]);
        assert!(parse("x", cut.as_bytes(), Unit::Ns).unwrap_err().starts_with("line 1"));
    }
}
