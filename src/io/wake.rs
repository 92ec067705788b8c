//! Waking a worker that sleeps in the kernel: an eventfd (`eventfd(2)`) beside its socket.

use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

/// Rings from any thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<EventFd>);

impl Waker {
    /// A new bell.
    ///
    /// # Errors
    /// No file descriptors are left.
    pub fn new() -> std::io::Result<Waker> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Waker(Arc::new(EventFd::from_value_and_flags(0, flags)?)))
    }

    /// Ends the wait of the worker, now or when it waits next.
    pub fn wake(&self) {
        // An error can only mean that the counter is full: the bell rings already.
        let _ = self.0.write(1);
    }

    /// Silences the bell.
    pub fn drain(&self) {
        // An error can only mean that it did not ring.
        let _ = self.0.read();
    }

    /// For `epoll`, `poll` and io_uring.
    pub fn raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }

    /// For `poll`.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
