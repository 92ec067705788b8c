//! `--hist-log`: once a second, what the workers measured in it, as lines of an HdrHistogram V2 interval log.
//!
//! ```text
//! workers ─ count ─▶ live histograms ─ read, less what was read before ─▶ one line a measure ─▶ FILE
//! ```
//! A thread of its own writes, so that a slow disk delays no worker and no eviction. Values are the middles of the live
//! histograms' buckets, at most 1.6 % off. Measures that are no times (`tick_datagrams`, `batch_keys`) are left out:
//! the log's values are nanoseconds. `sherwood hist FILE` reads it while it grows.
//!
//! The file is appended to: what led to a crash stays. Each start and each reopened file gets a head of its own, and lines have
//! absolute times (seconds since 1970), so that a reader sees right times whatever heads stand before a line.

use crate::limits::{HIST_LOG_ASKS_MAX, HIST_LOG_INTERVAL_S};
use crate::server::figures::Figures;
use crate::stats::histogram::{Histogram, IntervalLog};
use crate::stats::live::Reading;
use crate::stats::times::{Measure, WorkerTimes, read_all};
use crate::stats::whole_lines::WholeLines;
use cache::base::sync::Arc;
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// A log being written.
pub struct HistLog {
    asks: SyncSender<Reopen>,
    thread: JoinHandle<io::Result<()>>,
}

/// The file is to be opened again.
struct Reopen;

/// A file that can be written, with what it held before.
pub struct Opened {
    file: File,
    path: PathBuf,
}

/// Opens the file, and changes nothing of it: the server may still fail to start.
///
/// # Errors
/// One line: it cannot be written, another process writes it, or it is a pipe, whose reader could stop the writer.
pub fn open(path: &Path) -> Result<Opened, String> {
    let wrong = |e: io::Error| format!("--hist-log {}: {e}", path.display());
    let is_pipe = |meta: &Metadata| meta.file_type().is_fifo() || meta.file_type().is_socket();
    let pipe = || format!("--hist-log {} is a pipe: give a regular file", path.display());
    if std::fs::metadata(path).is_ok_and(|meta| is_pipe(&meta)) {
        return Err(pipe());
    }
    // Should it have become a pipe in between, the open does not wait for a reader. It is read to see whether its last line is
    // whole; where it may be written only, that is not looked at.
    let with = |read| {
        OpenOptions::new().read(read).append(true).create(true).custom_flags(libc::O_NONBLOCK).open(path)
    };
    let file = with(true).or_else(|_| with(false)).map_err(wrong)?;
    let meta = file.metadata().map_err(wrong)?;
    if is_pipe(&meta) {
        return Err(pipe());
    }
    match file.try_lock() {
        Err(TryLockError::WouldBlock) if meta.is_file() => Err(format!(
            "--hist-log {} is written by another process: give each server a file of its own",
            path.display()
        )),
        // A file system without locks is no reason to have no log.
        _ => Ok(Opened { file, path: path.into() }),
    }
}

/// Appends to the file until it is joined.
///
/// # Errors
/// One line: no thread is left.
pub fn start(opened: Opened, figures: Arc<Figures>) -> Result<HistLog, String> {
    let path = opened.path.clone();
    let wrong = |e: io::Error| format!("--hist-log {}: {e}", path.display());
    let writer = Writer::new(opened, figures).map_err(wrong)?;
    let (asks, asked) = mpsc::sync_channel(HIST_LOG_ASKS_MAX);
    let thread = std::thread::Builder::new().name("hist-log".into()).spawn(move || writer.run(&asked));
    Ok(HistLog { asks, thread: thread.map_err(|e| crate::server::no_thread("hist-log", &e))? })
}

/// The thread's own.
struct Writer {
    path: PathBuf,
    file: Arc<File>,
    figures: Arc<Figures>,
    intervals: Intervals,
    has_complained: bool,
}

impl Writer {
    fn new(Opened { file, path }: Opened, figures: Arc<Figures>) -> io::Result<Writer> {
        let file = Arc::new(file);
        let intervals =
            Intervals::new(Arc::clone(&file), &figures.times, (Instant::now(), SystemTime::now()))?;
        Ok(Writer { path, file, figures, intervals, has_complained: false })
    }

    /// Writes an interval a second; returns how the last one went.
    fn run(mut self, asked: &Receiver<Reopen>) -> io::Result<()> {
        // The head of the log is written at once: an operator who looks sees that it works, or is told that it does not.
        let mut outcome = self.intervals.log.flush();
        loop {
            self.complain_of(&outcome);
            let next = asked.recv_timeout(Duration::from_secs(HIST_LOG_INTERVAL_S));
            outcome = self.intervals.write(&self.figures.times, Instant::now());
            match next {
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return outcome,
                Ok(Reopen) => {
                    self.complain_of(&outcome);
                    outcome = self.reopen();
                }
            }
        }
    }

    fn complain_of(&mut self, outcome: &io::Result<()>) {
        let Err(error) = outcome else { return };
        self.figures.histlog.hist_log_failures.add(1);
        if !std::mem::replace(&mut self.has_complained, true) {
            let path = self.path.display();
            self.say(&format!(
                "--hist-log {path}: {error}; the cache goes on, and the log when there is room (hist_log_failures)"
            ));
        }
    }

    /// What is at the path now becomes the log. If nothing can be written there, the old file is written on.
    fn reopen(&mut self) -> io::Result<()> {
        let path = self.path.display().to_string();
        let is_same = |meta: Metadata| {
            self.file.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (meta.dev(), meta.ino()))
        };
        if std::fs::metadata(&self.path).is_ok_and(is_same) {
            self.say(&format!("--hist-log {path} was not moved: it is written on"));
            return Ok(());
        }
        match open(&self.path) {
            Ok(opened) => {
                (self.file, self.has_complained) = (Arc::new(opened.file), false);
                self.intervals.go_on_in(Arc::clone(&self.file), (Instant::now(), SystemTime::now()))?;
                self.say(&format!("--hist-log {path} is reopened"));
            }
            Err(error) => self.say(&format!("{error}; the file that was open before is written on")),
        }
        Ok(())
    }

    fn say(&self, line: &str) {
        // Nobody may read it; the log goes on.
        let _ = writeln!(io::stderr(), "sherwood: {line}");
    }
}

impl HistLog {
    /// Asks for the file to be opened again, so that one that was moved away is replaced by a new one.
    pub fn reopen(&self) {
        // Full: it is asked for already. Closed: the thread has ended, which `join` tells.
        let _ = self.asks.try_send(Reopen);
    }

    /// Writes the last interval and ends the thread. The workers have ended already, so that nothing is missing.
    ///
    /// # Errors
    /// One line: the file could not be written.
    pub fn join(self) -> Result<(), String> {
        drop(self.asks);
        match self.thread.join() {
            Ok(written) => written.map_err(|e| format!("the log of --hist-log is incomplete: {e}")),
            Err(_) => Err("the thread of --hist-log panicked".into()),
        }
    }
}

/// The log, and what is in it already.
struct Intervals {
    log: IntervalLog<WholeLines>,
    file: Arc<File>,
    /// Bytes of the file after the last line; fewer mean that somebody cut it.
    bytes: u64,
    written: Vec<Reading>,
    until: Instant,
    /// One moment on both clocks.
    epoch: (Instant, SystemTime),
}

/// A head, and no lines yet.
fn begin(file: Arc<File>, start: SystemTime) -> io::Result<IntervalLog<WholeLines>> {
    IntervalLog::begin(WholeLines::behind(file), start, "sherwood serve")
}

impl Intervals {
    fn new(
        file: Arc<File>,
        times: &[Arc<WorkerTimes>],
        epoch: (Instant, SystemTime),
    ) -> io::Result<Intervals> {
        let written = measures().map(|measure| read(times, measure)).collect();
        let log = begin(Arc::clone(&file), epoch.1)?;
        Ok(Intervals { log, file, bytes: 0, written, until: epoch.0, epoch })
    }

    /// Another file becomes the log; events that could not be written go there.
    fn go_on_in(&mut self, file: Arc<File>, epoch: (Instant, SystemTime)) -> io::Result<()> {
        // The interval under way began before the new moment. Readers pass over what began before its log.
        let passed = epoch.0.saturating_duration_since(self.until);
        self.epoch = (self.until, epoch.1.checked_sub(passed).unwrap_or(epoch.1));
        self.log = begin(Arc::clone(&file), self.epoch.1)?;
        (self.file, self.bytes) = (file, 0);
        self.log.flush()
    }

    /// Writes what was measured since the last time that it could be written.
    fn write(&mut self, times: &[Arc<WorkerTimes>], now: Instant) -> io::Result<()> {
        if self.file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() < self.bytes) {
            // logrotate's copytruncate: the head went with the rest.
            self.log = begin(Arc::clone(&self.file), self.at(self.until))?;
        }
        let at = self.at(self.until).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let length = now.saturating_duration_since(self.until);
        let readings: Vec<_> = measures().map(|measure| read(times, measure)).collect();
        for ((measure, reading), written) in measures().zip(&readings).zip(&self.written) {
            let mut events = Histogram::default();
            reading.since(written).values().for_each(|(value, count)| events.record_n(value, count));
            self.log.write(measure.tag(), at, length, &events)?;
        }
        self.log.flush()?;
        self.bytes = self.file.metadata().map_or(0, |meta| meta.len());
        (self.written, self.until) = (readings, now);
        Ok(())
    }

    fn at(&self, moment: Instant) -> SystemTime {
        self.epoch.1 + moment.saturating_duration_since(self.epoch.0)
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

    const S: Duration = Duration::from_secs(1);

    fn times() -> Vec<Arc<WorkerTimes>> {
        vec![Arc::default(), Arc::default()]
    }

    fn intervals(path: &Path, times: &[Arc<WorkerTimes>], epoch: (Instant, SystemTime)) -> Intervals {
        Intervals::new(Arc::new(open(path).unwrap().file), times, epoch).unwrap()
    }

    #[test]
    fn every_interval_has_only_its_own_events() {
        let times = times();
        times[0].record(Measure::Get, 1_000_000, 7); // before the log began
        let file = tempfile::NamedTempFile::new().unwrap();
        let began = Instant::now();
        let mut intervals = intervals(file.path(), &times, (began, SystemTime::now()));
        times[0].record(Measure::Get, 100, 5);
        times[1].record(Measure::Get, 104, 5);
        times[1].record(Measure::BatchKeys, 9, 1);
        intervals.write(&times, began + S).unwrap();
        intervals.write(&times, began + 2 * S).unwrap();
        times[0].record(Measure::Get, 300, 1);
        times[0].record(Measure::Tick, 5_000, 1);
        intervals.write(&times, began + 3 * S).unwrap();

        let all = view::read(file.path(), Unit::Ns).unwrap();
        let told: Vec<_> = all.iter().map(|s| (s.tag.as_str(), s.intervals.len(), s.total.len())).collect();
        assert_eq!(told, [("get", 2, 11), ("tick", 1, 1)]);
        assert!((0.098..0.107).contains(&all[0].quantile_us(0.5)), "{}", all[0].quantile_us(0.5));
    }

    /// Two starts and a cut in between: one file, whose times go on.
    #[test]
    fn a_file_is_appended_to_and_a_cut_line_is_taken_away() {
        let (times, file) = (times(), tempfile::NamedTempFile::new().unwrap());
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let began = Instant::now();
        for later in [Duration::ZERO, Duration::from_secs(100)] {
            let mut intervals = intervals(file.path(), &times, (began, wall + later));
            for second in 1..=2 {
                times[0].record(Measure::Get, 100, 1);
                intervals.write(&times, began + second * S).unwrap();
            }
        }
        let at_s = || {
            let all = view::read(file.path(), Unit::Ns).unwrap();
            all[0].intervals.iter().map(|interval| interval.at_s.round() as u64).collect::<Vec<_>>()
        };
        assert_eq!(at_s(), [0, 1, 100, 101]);
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(text.contains("\nTag=get,1800000101.000,1.000,"), "{text}");
        // The last line has lost its end, and the next start does not write behind it.
        std::fs::write(file.path(), text + "Tag=get,1800000102.0").unwrap();
        let mut third = intervals(file.path(), &times, (began, wall + 200 * S));
        times[0].record(Measure::Get, 100, 1);
        third.write(&times, began + S).unwrap();
        assert!(!std::fs::read_to_string(file.path()).unwrap().contains("1800000102"));
        assert_eq!(at_s(), [0, 1, 100, 101, 200]);
    }

    /// Other readers pass over lines from before the start of their log.
    #[test]
    fn a_reopened_log_begins_with_the_interval_that_was_under_way() {
        let (times, old, new) =
            (times(), tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let (began, wall) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let mut intervals = intervals(old.path(), &times, (began, wall));
        times[0].record(Measure::Get, 100, 1);
        intervals.write(&times, began + S).unwrap();
        // The disk was full for two seconds, and the file is opened again a moment behind that.
        let opened = Arc::new(open(new.path()).unwrap().file);
        intervals.go_on_in(opened, (began + 3 * S, wall + 3 * S)).unwrap();
        times[0].record(Measure::Get, 100, 1);
        intervals.write(&times, began + 4 * S).unwrap();
        let text = std::fs::read_to_string(new.path()).unwrap();
        assert!(
            text.contains("#[StartTime: 1800000001.000 ") && text.contains("\nTag=get,1800000001.000,3.000,"),
            "{text}"
        );
    }

    #[test]
    fn a_file_that_was_cut_gets_a_head_again() {
        let (times, file, began) = (times(), tempfile::NamedTempFile::new().unwrap(), Instant::now());
        let mut intervals = intervals(file.path(), &times, (began, SystemTime::now()));
        for second in 1..=2 {
            times[0].record(Measure::Get, 100, 1);
            intervals.write(&times, began + second * S).unwrap();
            let text = std::fs::read_to_string(file.path()).unwrap();
            assert_eq!(
                (text.matches("StartTime:").count(), text.matches("Tag=get").count()),
                (1, 1),
                "{text}"
            );
            std::fs::File::create(file.path()).unwrap();
        }
    }

    #[test]
    fn a_file_has_one_writer() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let first = open(file.path()).unwrap();
        let second = open(file.path()).map(drop).unwrap_err();
        assert!(second.contains("is written by another process"), "{second}");
        drop(first);
        assert!(open(file.path()).is_ok());
    }
}
