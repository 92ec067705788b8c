//! Signals of a server: one thread reads them all, so that none of them ends the cache by accident.
//!
//! | signal | while it starts | while it serves | while it drains |
//! |---|---|---|---|
//! | SIGTERM, SIGINT | ends it at once, code 0 | drains, then ends | ends it at once, code 1 |
//! | SIGHUP | nothing: the log is opened later | reopens `--hist-log` | nothing |
//! | [`HARMLESS`] | a line on stderr | a line on stderr | a line on stderr |
//! | [`MUTE`] | nothing | nothing | nothing |
//!
//! All others keep the kernel's meaning: SIGQUIT and SIGABRT end the process with a core dump, SIGTSTP stops it until SIGCONT.

use crate::cli::out::say;
use crate::limits::SIGNALS_WAITING_MAX;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

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

/// Starts the thread that reads signals. Called before any other thread starts, so that all have them blocked.
///
/// # Errors
/// One line: no thread or descriptor is left.
pub(super) fn watch(serving: Arc<AtomicBool>) -> Result<Receiver<Asked>, Box<dyn std::error::Error>> {
    let mut read = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    read.extend(HARMLESS);
    let mut blocked = read;
    blocked.extend(MUTE);
    blocked.thread_block()?;
    let signals = SignalFd::with_flags(&read, SfdFlags::SFD_CLOEXEC)?;
    let (told, asked) = sync_channel(SIGNALS_WAITING_MAX);
    let mut watcher = Watcher { serving, told, is_draining: false };
    let watch = move || {
        loop {
            match signals.read_signal() {
                Ok(Some(info)) => {
                    if let Ok(signal) = Signal::try_from(info.ssi_signo as i32) {
                        watcher.take(signal);
                    }
                }
                Ok(None) | Err(Errno::EINTR) => {}
                Err(error) => panic!("signals cannot be read: {error}"),
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(watch).map_err(|e| {
        format!("cannot start the thread signals: {e}; see ulimit -u and pids.max of the control group")
    })?;
    Ok(asked)
}

/// The thread's own.
struct Watcher {
    serving: Arc<AtomicBool>,
    told: SyncSender<Asked>,
    is_draining: bool,
}

impl Watcher {
    fn take(&mut self, signal: Signal) {
        match signal {
            Signal::SIGINT | Signal::SIGTERM => self.end(),
            Signal::SIGHUP if self.is_serving() && !self.is_draining => {
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

    fn is_serving(&self) -> bool {
        // Acquire: pairs with the Release store of `run`.
        self.serving.load(Ordering::Acquire)
    }

    fn end(&mut self) {
        if !self.is_serving() {
            say("sherwood: stopped before it served");
            std::process::exit(0);
        }
        // The receiver is gone when draining has ended; so has the process, nearly.
        if self.is_draining || self.told.send(Asked::End).is_err() {
            say("sherwood: stopped before it had drained");
            std::process::exit(1);
        }
        self.is_draining = true;
    }
}
