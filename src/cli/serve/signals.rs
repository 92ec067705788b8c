//! Signals of a server: one thread reads them all, so that none of them ends the cache by accident.
//!
//! | signal | while it starts | while it serves | while it drains |
//! |---|---|---|---|
//! | SIGTERM, SIGINT | ends it at once, code 0 | drains, then ends | ends it at once, code 1, if the first was a second ago |
//! | SIGHUP | nothing: the log is opened later | reopens `--hist-log` | nothing |
//! | [`HARMLESS`] | a line on stderr | a line on stderr | a line on stderr |
//! | [`MUTE`] | nothing | nothing | nothing |
//!
//! All others keep the kernel's meaning: SIGQUIT and SIGABRT end the process with a core dump, SIGTSTP stops it until SIGCONT.

use crate::cli::out::say;
use crate::limits::{SECOND_SIGNAL_MS, SIGNALS_WAITING_MAX};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// What a signal asks of a server that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Drain and end.
    End,
    /// Open the log again.
    Reopen,
}

/// Signals whose default is to end a process, and that mean nothing here. memcached drains on SIGUSR1; scripts that rotate logs
/// send it to other servers, and a cache is too much to lose by one of those.
const HARMLESS: [Signal; 8] = [
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGIO,
    Signal::SIGPWR,
    Signal::SIGSTKFLT,
];

/// Signals about writes, blocked for good: a log that may not grow, a reader that went away and a terminal that belongs to another
/// job are errors of the write, or none at all, and nothing to end or stop for.
const MUTE: [Signal; 3] = [Signal::SIGXFSZ, Signal::SIGPIPE, Signal::SIGTTOU];

/// How far the process is, for the two threads that may end it.
#[derive(Debug, Default)]
pub(super) struct Stage {
    serving: AtomicBool,
    ended: AtomicBool,
}

impl Stage {
    /// The server serves: from now on a signal to end it lets it drain.
    pub(super) fn serves(&self) {
        // Release: pairs with the Acquire load of `is_serving`.
        self.serving.store(true, Ordering::Release);
    }

    fn is_serving(&self) -> bool {
        // Acquire: pairs with the Release store of `serves`.
        self.serving.load(Ordering::Acquire)
    }

    /// Whether the caller is the one that ends the process, and says how: the first that asks.
    pub(super) fn ends(&self) -> bool {
        // AcqRel: one of the two threads wins.
        !self.ended.swap(true, Ordering::AcqRel)
    }
}

/// Starts the thread that reads signals. Called before any other thread starts, so that all have them blocked.
///
/// # Errors
/// One line: no thread or descriptor is left.
pub(super) fn watch(stage: Arc<Stage>) -> Result<Receiver<Asked>, Box<dyn std::error::Error>> {
    let mut read = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    read.extend(HARMLESS);
    let mut blocked = read;
    blocked.extend(MUTE);
    blocked.thread_block()?;
    let signals = SignalFd::with_flags(&read, SfdFlags::SFD_CLOEXEC)?;
    let (told, asked) = sync_channel(SIGNALS_WAITING_MAX);
    let mut watcher = Watcher { stage, told, draining_since: None };
    let watch = move || {
        loop {
            match signals.read_signal() {
                Ok(Some(info)) => {
                    if let Ok(signal) = Signal::try_from(info.ssi_signo as i32) {
                        watcher.take(signal, Instant::now());
                    }
                }
                Ok(None) | Err(Errno::EINTR) => {}
                Err(error) => panic!("signals cannot be read: {error}"),
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(watch).map_err(|e| {
        format!(
            "cannot start the thread signals: {e}; see ulimit -u, ulimit -v and pids.max of the control group"
        )
    })?;
    Ok(asked)
}

/// The thread's own.
struct Watcher {
    stage: Arc<Stage>,
    told: SyncSender<Asked>,
    draining_since: Option<Instant>,
}

impl Watcher {
    fn take(&mut self, signal: Signal, now: Instant) {
        match signal {
            Signal::SIGINT | Signal::SIGTERM => {
                if let Some((code, why)) = self.end(now)
                    && self.stage.ends()
                {
                    say(format_args!("sherwood: {why}"));
                    std::process::exit(code);
                }
            }
            Signal::SIGHUP if self.stage.is_serving() && self.draining_since.is_none() => {
                // Full: others are asked for already.
                let _ = self.told.try_send(Asked::Reopen);
            }
            Signal::SIGHUP => {
                say("sherwood: SIGHUP: nothing is open yet, or no longer, that could be reopened")
            }
            other => say(format_args!(
                "sherwood: {other} is ignored; SIGTERM ends the server, SIGHUP reopens --hist-log"
            )),
        }
    }

    /// What a signal to end comes to at once, if to anything.
    fn end(&mut self, now: Instant) -> Option<(i32, &'static str)> {
        if !self.stage.is_serving() {
            return Some((0, "stopped before it served"));
        }
        match self.draining_since {
            None => {
                // The receiver is gone when draining has ended; so has the process, nearly.
                let _ = self.told.send(Asked::End);
                self.draining_since = Some(now);
                None
            }
            Some(since) => {
                let is_another =
                    now.saturating_duration_since(since) >= Duration::from_millis(SECOND_SIGNAL_MS);
                is_another.then_some((1, "stopped before it had drained"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_two_send_counts_once() {
        let (told, asked) = sync_channel(SIGNALS_WAITING_MAX);
        let stage = Arc::new(Stage::default());
        let mut watcher = Watcher { stage: Arc::clone(&stage), told, draining_since: None };
        let began = Instant::now();
        let after = |ms| began + Duration::from_millis(ms);
        assert_eq!(watcher.end(began).map(|(code, _)| code), Some(0), "it does not serve yet");
        stage.serves();
        assert_eq!(watcher.end(began), None);
        assert_eq!(asked.try_recv(), Ok(Asked::End));
        assert_eq!(watcher.end(after(SECOND_SIGNAL_MS - 1)), None, "the launcher's");
        assert_eq!(watcher.end(after(SECOND_SIGNAL_MS)).map(|(code, _)| code), Some(1));
        assert!(asked.try_recv().is_err(), "it is asked for once");
    }

    #[test]
    fn one_of_two_threads_ends_the_process() {
        let stage = Stage::default();
        assert!(stage.ends() && !stage.ends());
    }
}
