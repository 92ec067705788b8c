//! Making a ring, and saying which call was refused where that fails.
//!
//! A machine may refuse io_uring as a whole (`kernel.io_uring_disabled`), each of its three calls on its own (the system
//! call filter of a sandbox), or only the memory of another ring (`RLIMIT_MEMLOCK`). So each call is made once before the
//! port is used.

use super::buffers::{Buffers, Group};
use crate::net::socket::Sockets;
use crate::net::{Refusal, Waker};
use io_uring::IoUring;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

const SUBMISSIONS: u32 = 1024;
const COMPLETIONS: u32 = 4096;
/// Of a ring that is only tried. Its memory counts against the limit for a while after it is gone, so it is small.
const TRIED_SUBMISSIONS: u32 = 1;

fn refused(call: &'static str) -> impl Fn(io::Error) -> Refusal {
    move |error| {
        let remedy = remedy(&error);
        Refusal::new(call, error, remedy)
    }
}

/// What lets io_uring work.
fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOMEM) => "raise the limit of locked memory (ulimit -l, LimitMEMLOCK=)",
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => {
            "allow it (sysctl kernel.io_uring_disabled, the sandbox's filter of system calls)"
        }
        Some(libc::EINVAL) => "use Linux 6.1 or newer",
        _ => "remove the cause",
    }
}

/// What a port is built of.
pub(super) struct Parts {
    pub(super) ring: IoUring,
    pub(super) waker: Waker,
    pub(super) buffers: Buffers,
    pub(super) stream_buffers: Buffers,
}

/// A ring with the sockets and the eventfd registered, the eventfd, and its receive buffers.
pub(super) fn build(sockets: &Sockets, memory: numa::Region) -> Result<Parts, Refusal> {
    let ring = build_ring(SUBMISSIONS, COMPLETIONS).map_err(refused("io_uring_setup"))?;
    // SAFETY: the ring is open while it is borrowed, which ends with this call.
    let waker = Waker::with_ring(unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) })
        .map_err(refused("another file descriptor"))?;
    // -1 keeps a place free.
    let datagrams = sockets.datagrams.as_ref().map_or(-1, |socket| socket.fd.as_raw_fd());
    let listener = sockets.streams.as_ref().map_or(-1, |listener| listener.fd.as_raw_fd());
    ring.submitter()
        .register_files(&[datagrams, waker.raw_fd(), listener])
        .map_err(refused("io_uring_register (files)"))?;
    // Spares a look-up per enter; kernels before 5.18 do without.
    let _ = ring.submitter().register_ring_fd();
    let memory = Arc::new(memory);
    let register = |group| {
        Buffers::register(&ring, Arc::clone(&memory), group).map_err(refused("io_uring_register (buffers)"))
    };
    let (buffers, stream_buffers) = (register(Group::DATAGRAMS)?, register(Group::STREAMS)?);
    get_events(&ring, 0).map_err(refused("io_uring_enter"))?;
    Ok(Parts { ring, waker, buffers, stream_buffers })
}

/// Whether this kernel and its policy let us use io_uring at all: each call, on a small ring.
pub(super) fn probe() -> Result<(), Refusal> {
    let ring = build_ring(TRIED_SUBMISSIONS, 2 * TRIED_SUBMISSIONS).map_err(refused("io_uring_setup"))?;
    ring.submitter().register_files(&[-1]).map_err(refused("io_uring_register (files)"))?;
    get_events(&ring, 0).map_err(refused("io_uring_enter"))
}

/// Submits what waits, and takes the completions that are ready, without waiting for more.
pub(super) fn get_events(ring: &IoUring, submissions: u32) -> io::Result<()> {
    const IORING_ENTER_GETEVENTS: u32 = 1;
    // SAFETY: no argument is passed; the entries of the submission queue are valid, as whoever pushed them argued.
    unsafe { ring.submitter().enter::<libc::sigset_t>(submissions, 0, IORING_ENTER_GETEVENTS, None) }?;
    Ok(())
}

fn build_ring(submissions: u32, completions: u32) -> io::Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_cqsize(completions)
        .setup_submit_all()
        .build(submissions)
}
