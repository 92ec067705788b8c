//! Waking a worker that sleeps in the kernel: an eventfd (`eventfd(2)`) beside its socket, which any thread may write;
//! and for workers that have a ring of their own, the ring of the sleeper, to which theirs can send a message
//! (`io_uring_enter(2)`, IORING_OP_MSG_RING) without a system call more.

use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

/// Rings from any thread.
#[derive(Clone, Debug)]
pub struct Waker {
    eventfd: Arc<EventFd>,
    ring: Option<Arc<OwnedFd>>,
}

impl Waker {
    /// A new eventfd.
    ///
    /// # Errors
    /// No file descriptors are left.
    pub fn new() -> std::io::Result<Waker> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Waker { eventfd: Arc::new(EventFd::from_value_and_flags(0, flags)?), ring: None })
    }

    /// A new eventfd of a worker that listens to messages on `ring` as well.
    ///
    /// # Errors
    /// No file descriptors are left.
    pub fn with_ring(ring: BorrowedFd<'_>) -> std::io::Result<Waker> {
        let ring = Some(Arc::new(ring.try_clone_to_owned()?));
        Ok(Waker { ring, ..Waker::new()? })
    }

    /// Ends the wait of the worker, now or when it waits next.
    pub fn wake(&self) {
        // An error can only mean that the counter is full: the eventfd is readable already.
        let _ = self.eventfd.write(1);
    }

    /// Empties the eventfd.
    pub fn drain(&self) {
        // An error can only mean that it did not ring.
        let _ = self.eventfd.read();
    }

    /// The ring that takes messages for the worker, if it has one.
    pub fn ring_fd(&self) -> Option<RawFd> {
        self.ring.as_ref().map(|ring| ring.as_raw_fd())
    }

    /// Whether both wake the same worker.
    pub fn is(&self, other: &Waker) -> bool {
        Arc::ptr_eq(&self.eventfd, &other.eventfd)
    }

    /// For `epoll`, `poll` and io_uring.
    pub fn raw_fd(&self) -> RawFd {
        self.eventfd.as_fd().as_raw_fd()
    }

    /// For `poll`.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }

    /// Whether the eventfd is readable.
    #[cfg(test)]
    pub(super) fn is_ringing(&self) -> bool {
        let mut fds = [nix::poll::PollFd::new(self.fd(), nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut fds, nix::poll::PollTimeout::ZERO).unwrap() > 0
    }

    /// The same eventfd with a ring that may be none.
    #[cfg(test)]
    pub(super) fn with_other_ring(&self, ring: BorrowedFd<'_>) -> Waker {
        Waker { eventfd: Arc::clone(&self.eventfd), ring: Some(Arc::new(ring.try_clone_to_owned().unwrap())) }
    }
}
