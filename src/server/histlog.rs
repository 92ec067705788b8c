//! `--hist-log`: once a second, what the workers measured in it, as lines of an HdrHistogram V2 interval log.
//!
//! ```text
//! workers ─ count ─▶ live histograms ─ read, less what was read before ─▶ one line a measure ─▶ FILE
//! ```
//! A thread of its own writes, so that a slow disk delays no worker and no eviction. Values are the middles of the live
//! histograms' buckets, at most 1.6 % off. Measures that are no times (`tick_datagrams`, `batch_keys`) are left out:
//! the log's values are nanoseconds. `sherwood hist FILE` reads it while it grows.

use crate::limits::HIST_LOG_INTERVAL_S;
use crate::server::figures::Figures;
use crate::stats::histogram::{Histogram, IntervalLog};
use crate::stats::live::Reading;
use crate::stats::times::{Measure, WorkerTimes, read_all};
use cache::base::sync::Arc;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// A log being written.
pub struct HistLog {
    end: Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

/// A file that can be written, with what it held before.
pub struct Opened {
    file: File,
    path: PathBuf,
}

/// Opens the file, and changes nothing of it: the server may still fail to start.
///
/// # Errors
/// One line: it cannot be written, or is a pipe, whose reader could stop the writer.
pub fn open(path: &Path) -> Result<Opened, String> {
    let wrong = |e: io::Error| format!("--hist-log {}: {e}", path.display());
    let is_pipe = |meta: &std::fs::Metadata| meta.file_type().is_fifo() || meta.file_type().is_socket();
    let pipe = || format!("--hist-log {} is a pipe: give a regular file", path.display());
    if std::fs::metadata(path).is_ok_and(|meta| is_pipe(&meta)) {
        return Err(pipe());
    }
    // Should it have become a pipe in between, the open does not wait for a reader.
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.map_err(wrong)?;
    if is_pipe(&file.metadata().map_err(wrong)?) {
        Err(pipe())
    } else {
        Ok(Opened { file, path: path.into() })
    }
}

/// Replaces what the file held, and writes to it until it is joined.
///
/// # Errors
/// One line: no thread is left.
pub fn start(Opened { file, path }: Opened, figures: Arc<Figures>) -> Result<HistLog, String> {
    let wrong = |e: io::Error| format!("--hist-log {}: {e}", path.display());
    let lines = WholeLines::new(file);
    let log = IntervalLog::begin(lines, SystemTime::now(), "sherwood serve").map_err(wrong)?;
    let mut intervals = Intervals::new(log, &figures.times);
    let (end, when_to_end) = mpsc::channel();
    let name = path.display().to_string();
    let thread = std::thread::Builder::new().name("hist-log".into()).spawn(move || {
        let began = Instant::now();
        let mut has_complained = false;
        // The head of the log is written at once: an operator who looks sees that it works, or is told that it does not.
        let mut outcome = intervals.log.flush();
        loop {
            if let Err(error) = &outcome {
                figures.histlog.hist_log_failures.add(1);
                if !std::mem::replace(&mut has_complained, true) {
                    // Nobody may read it; the figure counts on.
                    let _ = writeln!(
                        io::stderr(),
                        "--hist-log {name}: {error}; the cache goes on, and the log when there is room (hist_log_failures)"
                    );
                }
            }
            let next = when_to_end.recv_timeout(Duration::from_secs(HIST_LOG_INTERVAL_S));
            outcome = intervals.write(&figures.times, began.elapsed());
            if next != Err(RecvTimeoutError::Timeout) {
                return outcome;
            }
        }
    });
    Ok(HistLog { end, thread: thread.map_err(wrong)? })
}

/// A file that gets whole lines or nothing: what is written between two flushes is there as a whole, or not at all. What was
/// written before the first flush, the head of the log, is kept until it is there.
struct WholeLines {
    file: File,
    /// Bytes that are there as they should be.
    good_bytes: u64,
    pending: Vec<u8>,
    head_bytes: Option<usize>,
}

impl WholeLines {
    /// Empties the file; a device has nothing to empty.
    fn new(file: File) -> WholeLines {
        let _ = file.set_len(0);
        WholeLines { file, good_bytes: 0, pending: Vec::new(), head_bytes: None }
    }
}

impl Write for WholeLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let head_bytes = *self.head_bytes.get_or_insert(self.pending.len());
        match self.file.write_all(&self.pending) {
            Ok(()) => {
                self.good_bytes += self.pending.len() as u64;
                self.pending.clear();
                self.head_bytes = Some(0);
                Ok(())
            }
            Err(error) => {
                // A part may be there. If it cannot be taken back either, the next line is no better off.
                let _ = self.file.set_len(self.good_bytes);
                let _ = self.file.seek(SeekFrom::Start(self.good_bytes));
                self.pending.truncate(head_bytes);
                Err(error)
            }
        }
    }
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

    /// Writes what was measured since the last time that it could be written; `now` counts from the start of the log.
    fn write(&mut self, times: &[Arc<WorkerTimes>], now: Duration) -> io::Result<()> {
        let readings: Vec<_> = measures().map(|measure| read(times, measure)).collect();
        for ((measure, reading), written) in measures().zip(&readings).zip(&self.written) {
            let mut events = Histogram::default();
            reading.since(written).values().for_each(|(value, count)| events.record_n(value, count));
            self.log.write(measure.tag(), self.until, now - self.until, &events)?;
        }
        self.log.flush()?;
        (self.written, self.until) = (readings, now);
        Ok(())
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
