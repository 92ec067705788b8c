//! How a thread finds out which sockets have something, and how it passes the time until then.

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::{TimeSpec, TimeValLike};
use std::io;
use std::os::fd::BorrowedFd;

/// Spinning of [`Polling::Adaptive`] after the last event, in nanoseconds: about what a wake-up costs.
pub const SPIN_NS: u64 = 30_000;
/// Longest sleep, in nanoseconds.
pub const SLEEP_NS_MAX: u64 = 100_000_000;
/// Sockets told ready in one tick at most.
const READY_MAX: usize = 256;

/// What a thread does while there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Polling {
    /// Spin for a moment, then sleep.
    Adaptive,
    /// Spin: the finest latencies, a whole processor a thread.
    Busy,
    /// Sleep at once: leaves the processor to the server.
    Block,
}

/// The sockets of a thread.
pub struct Waiter {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    sockets: usize,
    polling: Polling,
}

impl Waiter {
    /// Watches these sockets, numbered from 0.
    ///
    /// # Errors
    /// The system's.
    pub fn new<'a>(sockets: impl Iterator<Item = BorrowedFd<'a>>, polling: Polling) -> io::Result<Waiter> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut count = 0;
        for fd in sockets {
            epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, count as u64))?;
            count += 1;
        }
        let events = vec![EpollEvent::empty(); count.clamp(1, READY_MAX)];
        Ok(Waiter { epoll, events, sockets: count, polling })
    }

    /// Watches the socket that takes the place of one that was closed.
    ///
    /// # Errors
    /// The system's.
    pub fn watch(&self, number: usize, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?)
    }

    /// Says also, or no longer, when a socket has room to send.
    ///
    /// # Errors
    /// The system's.
    pub fn watch_room(&self, number: usize, fd: BorrowedFd<'_>, is_on: bool) -> io::Result<()> {
        let room = if is_on { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
        let mut event = EpollEvent::new(EpollFlags::EPOLLIN | room, number as u64);
        Ok(self.epoll.modify(fd, &mut event)?)
    }

    /// How many sockets may have something now. One socket alone always may: asking costs as much as trying.
    pub fn ready(&mut self) -> usize {
        if self.sockets == 1 {
            self.events[0] = EpollEvent::new(EpollFlags::EPOLLIN, 0);
            return 1;
        }
        // An interrupted call is an empty one.
        self.epoll.wait(&mut self.events, EpollTimeout::ZERO).unwrap_or(0)
    }

    /// The number of the `ready`-th of them.
    pub fn lane(&self, ready: usize) -> usize {
        self.events[ready].data() as usize
    }

    /// Passes the time until something comes, `until_ns` at the latest.
    pub fn wait(&mut self, now_ns: u64, quiet_since_ns: u64, until_ns: u64) {
        let spin_ns = match self.polling {
            Polling::Busy => u64::MAX,
            Polling::Adaptive => SPIN_NS,
            Polling::Block => 0,
        };
        if now_ns - quiet_since_ns < spin_ns || until_ns <= now_ns {
            return std::hint::spin_loop();
        }
        let sleep_ns = (until_ns - now_ns).min(SLEEP_NS_MAX);
        let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(&self.epoll.0), PollFlags::POLLIN)];
        // An interrupted sleep is a short one.
        let _ = ppoll(&mut fds, Some(TimeSpec::nanoseconds(sleep_ns as i64)), None);
    }
}
