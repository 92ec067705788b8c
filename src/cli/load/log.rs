//! The log of `--out`: whole lines, in the file as soon as their interval has ended.

use crate::cli::out;
use crate::load::run::Merged;
use crate::load::workload::Verb;
use crate::stats::histogram::IntervalLog;
use crate::stats::view::log::LOST;
use crate::stats::whole_lines::WholeLines;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A log being written.
pub struct OutLog {
    log: IntervalLog<WholeLines>,
    path: PathBuf,
    /// When it began, in nanoseconds of the run's clock.
    epoch_ns: u64,
    /// Intervals that could not be written, and why the first could not.
    missing: u64,
    why: Option<io::Error>,
}

impl OutLog {
    /// Begins the log, which is in the file when this returns.
    ///
    /// # Errors
    /// One line: the file cannot be written.
    pub fn open(path: &Path, targets: &[String], epoch_ns: u64) -> Result<OutLog, String> {
        let about = format!("sherwood load {}", targets.join(" "));
        let begun = File::create(path).map(WholeLines::new).and_then(|lines| {
            let mut log = IntervalLog::begin(lines, SystemTime::now(), &about)?;
            log.flush()?;
            Ok(log)
        });
        let log = begun.map_err(|e| format!("--out {}: {e}", path.display()))?;
        Ok(OutLog { log, path: path.into(), epoch_ns, missing: 0, why: None })
    }

    /// Writes an interval. If that fails the run goes on without it: its result is worth more than its log.
    pub fn write(&mut self, merged: &Merged) {
        let Err(error) = self.try_write(merged) else { return };
        self.missing += 1;
        if self.why.is_none() {
            out::say(format_args!("--out {}: {error}; the run goes on", self.path.display()));
            self.why = Some(error);
        }
    }

    fn try_write(&mut self, merged: &Merged) -> io::Result<()> {
        let at = Duration::from_nanos(merged.start_ns.saturating_sub(self.epoch_ns));
        let length = Duration::from_nanos(merged.end_ns.saturating_sub(merged.start_ns));
        for command in Verb::ALL {
            self.log.write(command.name(), at, length, merged.latencies.of(command))?;
        }
        self.log.write(LOST, at, length, &merged.latencies.lost)?;
        self.log.flush()
    }

    /// Ends the log.
    ///
    /// # Errors
    /// One line: intervals are missing in it.
    pub fn end(self) -> Result<(), String> {
        let path = self.path.display();
        match (self.why, self.missing) {
            (None, _) => Ok(()),
            (Some(error), 1) => Err(format!("--out {path}: 1 interval is missing: {error}")),
            (Some(error), missing) => Err(format!("--out {path}: {missing} intervals are missing: {error}")),
        }
    }
}
