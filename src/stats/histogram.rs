//! Latency histograms: recorded in nanoseconds, read by name, written as an HdrHistogram V2 interval log.
//!
//! One place names the statistics ([`Summary`]) and one place computes them, so that a printed p99 is the 99th
//! percentile wherever it is printed. Three significant digits: a figure is at most 0.1 % off.
//!
//! Recording allocates nothing and takes no lock; a histogram has one writer. Cost: 5 to 10 ns and 220 KiB.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

/// Longest latency that is told apart; longer ones count as this, in nanoseconds (one minute).
pub const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Steps below this are not told apart, in nanoseconds: a server's key costs some tens of them.
pub const LATENCY_NS_STEP: u64 = 1;

/// Latencies of one kind of event.
#[derive(Clone, Debug)]
pub struct Histogram {
    inner: hdrhistogram::Histogram<u64>,
}

impl Default for Histogram {
    fn default() -> Histogram {
        let inner = hdrhistogram::Histogram::new_with_bounds(LATENCY_NS_STEP, LATENCY_NS_MAX, 3);
        Histogram { inner: inner.expect("the bounds are constants in order") }
    }
}

/// The statistics that we show, all in microseconds; all 0 when nothing was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Summary {
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Largest.
    pub max: f64,
    /// Arithmetic mean.
    pub mean: f64,
}

impl Histogram {
    /// Records one latency, in nanoseconds.
    #[inline]
    pub fn record(&mut self, latency_ns: u64) {
        self.inner.saturating_record(latency_ns.min(LATENCY_NS_MAX));
    }

    /// Records `count` events of one latency, in nanoseconds.
    #[inline]
    pub fn record_n(&mut self, latency_ns: u64, count: u64) {
        self.inner.saturating_record_n(latency_ns.min(LATENCY_NS_MAX), count);
    }

    /// Adds another histogram's events.
    pub fn merge(&mut self, other: &Histogram) {
        self.inner.add(&other.inner).expect("all our histograms have the same bounds");
    }

    /// Forgets all events.
    pub fn clear(&mut self) {
        self.inner.reset();
    }

    /// Events recorded.
    pub fn count(&self) -> u64 {
        self.inner.len()
    }

    /// The latency that this share (0..=1) of the events did not exceed, in nanoseconds.
    pub fn quantile_ns(&self, share: f64) -> u64 {
        if self.inner.is_empty() { 0 } else { self.inner.value_at_quantile(share) }
    }

    /// The named statistics.
    pub fn summary(&self) -> Summary {
        if self.inner.is_empty() {
            return Summary::default();
        }
        let us = |share| self.quantile_ns(share) as f64 / 1e3;
        Summary {
            p50: us(0.5),
            p90: us(0.9),
            p99: us(0.99),
            p999: us(0.999),
            max: self.inner.max() as f64 / 1e3,
            mean: self.inner.mean() / 1e3,
        }
    }
}

/// Nanoseconds in the unit of a log's `Interval_Max`. Readers take it for milliseconds.
const INTERVAL_MAX_NS: f64 = 1e6;

/// An HdrHistogram interval log being written, of format version 1.3: one line an interval and tag, values in nanoseconds.
///
/// ```text
/// #[Histogram log format version 1.3]       first, because HdrHistogram_c looks for it there
/// #sherwood load 127.0.0.1:11211
/// #[Values in nanoseconds]
/// #[StartTime: 1700000000.000 (seconds since epoch)]
/// "StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"
/// Tag=get,0.000,1.000,2.769,HISTFAAAA…      seconds after the start, seconds, milliseconds, histogram
/// ```
pub struct IntervalLog<W> {
    out: W,
    serializer: V2DeflateSerializer,
}

impl<W: Write> IntervalLog<W> {
    /// Begins a log of a process that started at `start`; `about` becomes a comment.
    ///
    /// # Errors
    /// The writer's.
    pub fn begin(mut out: W, start: SystemTime, about: &str) -> io::Result<IntervalLog<W>> {
        let start_s = start.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let about = about.replace(char::is_control, " ");
        let head = format!(
            "#[Histogram log format version 1.3]\n#{about}\n#[Values in nanoseconds]\n\
             #[StartTime: {start_s:.3} (seconds since epoch)]\n\
             \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n"
        );
        out.write_all(head.as_bytes())?;
        Ok(IntervalLog { out, serializer: V2DeflateSerializer::new() })
    }

    /// Appends an interval that began `at` after the start, as one write; `tag` has no comma, space or line end. Intervals without
    /// events are left out.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&mut self, tag: &str, at: Duration, length: Duration, events: &Histogram) -> io::Result<()> {
        if events.count() == 0 {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let encoded = self.serializer.serialize(&events.inner, &mut bytes);
        encoded.map_err(|e| io::Error::other(format!("{e:?}")))?;
        let tag = if tag.is_empty() { String::new() } else { format!("Tag={tag},") };
        let line = format!(
            "{tag}{:.3},{:.3},{:.3},{}\n",
            at.as_secs_f64(),
            length.as_secs_f64(),
            events.inner.max() as f64 / INTERVAL_MAX_NS,
            STANDARD.encode(bytes)
        );
        self.out.write_all(line.as_bytes())
    }

    /// Makes what was appended readable for others.
    ///
    /// # Errors
    /// The writer's.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Ends the log.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quantiles_agree_with_a_sorted_list(mut all in prop::collection::vec(10u64..10_000_000_000, 1..300)) {
            let mut histogram = Histogram::default();
            for ns in &all {
                histogram.record(*ns);
            }
            all.sort_unstable();
            for share in [0.5, 0.9, 0.99, 0.999, 1.0] {
                let rank = ((share * all.len() as f64).ceil() as usize).clamp(1, all.len());
                let (want, got) = (all[rank - 1] as f64, histogram.quantile_ns(share) as f64);
                prop_assert!((got - want).abs() <= want / 500.0 + 16.0, "{share}: {got} instead of {want}");
            }
        }
    }

    #[test]
    fn merging_is_recording_together() {
        let (mut a, mut b, mut both) = (Histogram::default(), Histogram::default(), Histogram::default());
        for ns in 1..1000u64 {
            if ns % 3 == 0 {
                a.record(ns * 999)
            } else {
                b.record_n(ns * 999, 1)
            }
            both.record(ns * 999);
        }
        a.merge(&b);
        assert_eq!((a.summary(), a.count()), (both.summary(), 999));
        a.clear();
        assert_eq!((a.summary(), a.count()), (Summary::default(), 0));
    }

    #[test]
    fn a_minute_is_the_longest() {
        let mut histogram = Histogram::default();
        histogram.record(u64::MAX);
        assert!((5.9e7..6.1e7).contains(&histogram.summary().max));
    }

    #[test]
    fn a_log_is_read_back_by_the_library() {
        let mut log = IntervalLog::begin(Vec::new(), SystemTime::UNIX_EPOCH, "about").unwrap();
        let mut histogram = Histogram::default();
        log.write("get", Duration::ZERO, Duration::from_secs(1), &histogram).unwrap();
        histogram.record(5_000);
        log.write("get", Duration::from_secs(1), Duration::from_secs(1), &histogram).unwrap();
        let bytes = log.finish().unwrap();
        let intervals: Vec<_> = IntervalLogIterator::new(&bytes)
            .filter_map(|entry| match entry.unwrap() {
                LogEntry::Interval(i) => Some((i.tag().unwrap().as_str().to_string(), i.start_timestamp())),
                _ => None,
            })
            .collect();
        assert_eq!(intervals, [("get".to_string(), Duration::from_secs(1))]);
    }

    /// What other readers go by: the version in the first line, and the largest value in milliseconds.
    #[test]
    fn a_log_begins_with_its_version_and_tells_the_largest_value_in_ms() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
        let mut log = IntervalLog::begin(Vec::new(), start, "sherwood load\na name").unwrap();
        let mut histogram = Histogram::default();
        histogram.record(2_769_000); // the end of its step is 2,770,943
        log.write("get", Duration::from_millis(500), Duration::from_secs(1), &histogram).unwrap();
        log.write("", Duration::from_millis(1500), Duration::from_secs(1), &histogram).unwrap();
        let text = String::from_utf8(log.finish().unwrap()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..5],
            [
                "#[Histogram log format version 1.3]",
                "#sherwood load a name",
                "#[Values in nanoseconds]",
                "#[StartTime: 1700000000.250 (seconds since epoch)]",
                "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"",
            ]
        );
        let starts = ["Tag=get,0.500,1.000,2.771,HISTFAAAA", "1.500,1.000,2.771,HISTFAAAA"];
        assert!(
            lines.len() == 7 && lines[5].starts_with(starts[0]) && lines[6].starts_with(starts[1]),
            "{text}"
        );
    }
}
