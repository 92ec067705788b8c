//! `--hist-log`: once a second, what the workers measured in it, as lines of an HdrHistogram V2 interval log.
//!
//! ```text
//! workers ─ count ─▶ live histograms ─ read, less what was read before ─▶ one line a measure ─▶ FILE
//! ```
//! A thread of its own writes, so that a slow disk delays no worker and no eviction. Values are the middles of the live
//! histograms' buckets, at most 1.6 % off. Measures that are no times (`tick_datagrams`, `batch_keys`) are left out:
//! the log's values are nanoseconds. `sherwood hist FILE` reads it while it grows.

use crate::config::limits::HIST_LOG_INTERVAL_S;
use crate::server::figures::Figures;
use crate::stats::histogram::{Histogram, IntervalLog};
use crate::stats::live::Reading;
use crate::stats::times::{Measure, WorkerTimes, read_all};
use crate::sync::Arc;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// A log being written.
pub struct HistLog {
    end: Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

/// Writes to `path` (an older log is replaced) until it is joined.
///
/// # Errors
/// One line: the file cannot be made.
pub fn start(path: &Path, figures: Arc<Figures>) -> Result<HistLog, String> {
    let wrong = |e: io::Error| format!("--hist-log {}: {e}", path.display());
    let file = File::create(path).map_err(wrong)?;
    let log = IntervalLog::begin(BufWriter::new(file), SystemTime::now(), "sherwood serve").map_err(wrong)?;
    let mut intervals = Intervals::new(log, &figures.times);
    let (end, when_to_end) = mpsc::channel();
    let thread = std::thread::Builder::new().name("hist-log".into()).spawn(move || {
        let began = Instant::now();
        loop {
            let next = when_to_end.recv_timeout(Duration::from_secs(HIST_LOG_INTERVAL_S));
            intervals.write(&figures.times, began.elapsed())?;
            if next != Err(RecvTimeoutError::Timeout) {
                return Ok(());
            }
        }
    });
    Ok(HistLog { end, thread: thread.map_err(wrong)? })
}

impl HistLog {
    /// Writes the last interval and ends the thread. The workers have ended already, so that nothing is missing.
    ///
    /// # Errors
    /// One line: the file could not be written.
    pub fn join(self) -> Result<(), String> {
        drop(self.end);
        match self.thread.join() {
            Ok(written) => written.map_err(|e| format!("the log of --hist-log is incomplete: {e}")),
            Err(_) => Err("the thread of --hist-log panicked".into()),
        }
    }
}

/// The log, and what is in it already.
struct Intervals<W> {
    log: IntervalLog<W>,
    written: Vec<Reading>,
    until: Duration,
}

impl<W: Write> Intervals<W> {
    fn new(log: IntervalLog<W>, times: &[Arc<WorkerTimes>]) -> Intervals<W> {
        let written = measures().map(|measure| read(times, measure)).collect();
        Intervals { log, written, until: Duration::ZERO }
    }

    /// Writes what was measured since the last time; `now` counts from the start of the log.
    fn write(&mut self, times: &[Arc<WorkerTimes>], now: Duration) -> io::Result<()> {
        for (measure, written) in measures().zip(&mut self.written) {
            let reading = read(times, measure);
            let mut events = Histogram::default();
            reading.since(written).values().for_each(|(value, count)| events.record_n(value, count));
            self.log.write(measure.tag(), self.until, now - self.until, &events)?;
            *written = reading;
        }
        self.until = now;
        self.log.flush()
    }
}

fn measures() -> impl Iterator<Item = Measure> {
    Measure::ALL.iter().copied().filter(|measure| measure.is_time())
}

fn read(times: &[Arc<WorkerTimes>], measure: Measure) -> Reading {
    read_all(times.iter().map(|worker| &**worker), measure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::view::{self, Unit};

    #[test]
    fn every_interval_has_only_its_own_events() {
        let times: Vec<Arc<WorkerTimes>> = vec![Arc::default(), Arc::default()];
        times[0].record(Measure::Get, 1_000_000, 7); // before the log began
        let file = tempfile::NamedTempFile::new().unwrap();
        let log = IntervalLog::begin(file.reopen().unwrap(), SystemTime::UNIX_EPOCH, "test").unwrap();
        let mut intervals = Intervals::new(log, &times);
        times[0].record(Measure::Get, 100, 5);
        times[1].record(Measure::Get, 104, 5);
        times[1].record(Measure::BatchKeys, 9, 1);
        intervals.write(&times, Duration::from_secs(1)).unwrap();
        intervals.write(&times, Duration::from_secs(2)).unwrap();
        times[0].record(Measure::Get, 300, 1);
        times[0].record(Measure::Tick, 5_000, 1);
        intervals.write(&times, Duration::from_secs(3)).unwrap();

        let all = view::read(file.path(), Unit::Ns).unwrap();
        let told: Vec<_> = all.iter().map(|s| (s.tag.as_str(), s.intervals.len(), s.total.len())).collect();
        assert_eq!(told, [("get", 2, 11), ("tick", 1, 1)]);
        assert!((0.098..0.107).contains(&all[0].quantile_us(0.5)), "{}", all[0].quantile_us(0.5));
    }
}
