//! The thread that accepts connections to the UNIX socket: such a socket has one listener, and its connections go to the workers in
//! turn.

use crate::limits::{ACCEPT_PAUSE_MS, HANDOVER_RETRY_MS, LISTEN_BACKLOG};
use crate::net::Waker;
use crate::net::socket::unix_listener::UnixListener;
use crate::net::stream::Handover;
use crate::stats::counters::DoormanCounters;
use cache::base::sync::{Arc, AtomicBool, Ordering};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::Duration;

/// Where a worker gets its connections, and what wakes it.
pub(super) type Door = (Handover, Waker);

/// The running thread.
pub(super) struct Doorman {
    thread: JoinHandle<()>,
    waker: Waker,
    stop: Arc<AtomicBool>,
}

/// What the thread has.
struct Duty {
    sockets: std::os::unix::net::UnixListener,
    /// Whose file goes with it.
    _listener: UnixListener,
    doors: Vec<Door>,
    next: usize,
    waker: Waker,
    stop: Arc<AtomicBool>,
    counters: Arc<DoormanCounters>,
}

/// Listens, and accepts connections for the workers behind `doors`, until it is joined.
///
/// # Errors
/// One line with the remedy: no descriptor or thread is left.
pub(super) fn start(
    mut listener: UnixListener,
    doors: Vec<Door>,
    counters: Arc<DoormanCounters>,
) -> Result<Doorman, String> {
    let waker = Waker::new().map_err(|e| format!("cannot watch the UNIX socket: {e}; see ulimit -n"))?;
    listener.listen().map_err(|e| format!("cannot listen on --unix {}: {e}", listener.path().display()))?;
    let sockets =
        listener.fd.try_clone().map_err(|e| format!("cannot watch the UNIX socket: {e}; see ulimit -n"))?;
    let sockets = sockets.into();
    let stop = Arc::new(AtomicBool::new(false));
    let (told, its_waker) = (Arc::clone(&stop), waker.clone());
    let mut duty =
        Duty { sockets, _listener: listener, doors, next: 0, waker: its_waker, stop: told, counters };
    let thread = std::thread::Builder::new().name("unix-accept".into()).spawn(move || duty.serve());
    Ok(Doorman { thread: thread.map_err(|e| crate::server::no_thread("unix-accept", &e))?, waker, stop })
}

impl Doorman {
    /// Hands over the connections that wait to be accepted, and ends the thread. The workers must be there still.
    ///
    /// # Errors
    /// It panicked.
    pub(super) fn join(self) -> Result<(), String> {
        // Release: pairs with the Acquire loads of the thread.
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
        self.thread.join().map_err(|_| "the thread of the UNIX socket panicked".into())
    }
}

impl Duty {
    fn serve(&mut self) {
        loop {
            // Acquire: pairs with the Release store of `join`.
            let is_over = self.stop.load(Ordering::Acquire);
            if !is_over {
                self.wait();
            }
            // Bounded, so that it ends although more and more come.
            for _ in 0..LISTEN_BACKLOG {
                let Some(connection) = self.accept() else { break };
                self.hand_over(connection);
            }
            if is_over {
                return;
            }
        }
    }

    fn wait(&self) {
        let mut fds = [
            PollFd::new(self.sockets.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.waker.fd(), PollFlags::POLLIN),
        ];
        // An interrupted wait is tried again.
        let _ = poll(&mut fds, PollTimeout::NONE);
    }

    fn accept(&self) -> Option<OwnedFd> {
        let accepted = self.sockets.accept().and_then(|(connection, _)| {
            connection.set_nonblocking(true)?;
            Ok(OwnedFd::from(connection))
        });
        match accepted {
            Ok(connection) => Some(connection),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or_default();
                if matches!(errno, libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) {
                    self.counters.unix_accept_failures.add(1);
                    self.pause(ACCEPT_PAUSE_MS);
                }
                // Otherwise none is left, or one that was there is gone.
                None
            }
        }
    }

    /// Gives a connection to the next worker that has room; if none has, it waits, and those behind it in the kernel. At the end it is
    /// closed then.
    fn hand_over(&mut self, mut connection: OwnedFd) {
        loop {
            for _ in 0..self.doors.len() {
                let (handover, waker) = &self.doors[self.next];
                self.next = (self.next + 1) % self.doors.len();
                match handover.give(connection) {
                    Ok(()) => return waker.wake(),
                    Err(back) => connection = back,
                }
            }
            // Acquire: as above.
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            self.pause(HANDOVER_RETRY_MS);
        }
    }

    /// Waits for a while, or for the end.
    fn pause(&self, ms: u64) {
        let timeout = PollTimeout::try_from(Duration::from_millis(ms)).unwrap_or(PollTimeout::ZERO);
        // An interrupted wait is a short one.
        let _ = poll(&mut [PollFd::new(self.waker.fd(), PollFlags::POLLIN)], timeout);
    }
}
