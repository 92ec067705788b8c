//! The port on `recvmmsg(2)` and `sendmsg(2)`, and epoll for streams, for machines where io_uring is refused (most containers).
//!
//! The system call costs 0.2 µs of the 4–6 µs that a traversal of the stack costs, so with GRO and GSO this port is
//! hardly slower than io_uring; what it lacks is waiting and receiving in one call.

#![allow(unsafe_code)]

mod streams;

use crate::limits::{QUIET_POLLS_MAX, RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS};
use crate::net::socket::Sockets;
use crate::net::socket::headers::{Ancillary, CONTROL_BYTES, OutgoingMessages};
use crate::net::stream::{ConnectionId, StreamPeer};
use crate::net::trains::Trains;
use crate::net::{Datagram, Inbox, Outbox, PeerAddr, PollTimeout, Port, Refusal, Traffic, Waker};
use arrayvec::ArrayVec;
use cache::base::clock::Clock;
use nix::sys::epoll::EpollTimeout;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use streams::Streams;

/// A port on recvmmsg and sendmsg.
pub struct MmsgPort {
    sockets: Sockets,
    /// Of datagrams; -1 for none.
    fd: RawFd,
    streams: Streams,
    clock: Clock,
    /// Polls since epoll was asked.
    quiet_polls: u32,
    buffers: Box<[u8]>,
    names: Box<[[u8; PeerAddr::BYTES_MAX]]>,
    controls: Box<[[u8; CONTROL_BYTES]]>,
    outgoing: OutgoingMessages,
    waker: Waker,
    trains: Trains,
    /// What the last `recvmmsg` brought; the bytes are in the buffer of the same number.
    messages: ArrayVec<Message, RECEIVE_BUFFERS>,
    /// The first message that is not wholly in an inbox yet, and its bytes that are.
    next: (usize, usize),
    drops: u32,
}

/// A received train, or a single datagram.
struct Message {
    peer: PeerAddr,
    bytes: usize,
    segment: usize,
}

impl MmsgPort {
    /// Messages of one `recvmmsg`.
    const MESSAGES: usize = RECEIVE_BUFFERS;

    /// A port for these sockets.
    ///
    /// # Errors
    /// The sockets back, and which call is refused.
    pub fn new(sockets: Sockets, clock: Clock) -> Result<MmsgPort, (Box<Sockets>, Refusal)> {
        let fd = sockets.datagrams.as_ref().map_or(-1, |socket| socket.fd.as_raw_fd());
        let (waker, streams) = match Self::try_calls(fd).and_then(|()| Self::watch(&sockets)) {
            Ok(parts) => parts,
            Err(refusal) => return Err((Box::new(sockets), refusal)),
        };
        let granted = sockets.datagrams.as_ref().is_some_and(|socket| socket.granted.gso);
        Ok(MmsgPort {
            trains: Trains::new(granted, clock.clone()),
            sockets,
            fd,
            streams,
            clock,
            quiet_polls: 0,
            buffers: vec![0; RECEIVE_BUFFERS * RECEIVE_BUFFER_BYTES].into_boxed_slice(),
            names: vec![[0; PeerAddr::BYTES_MAX]; RECEIVE_BUFFERS].into_boxed_slice(),
            controls: vec![[0; CONTROL_BYTES]; RECEIVE_BUFFERS].into_boxed_slice(),
            outgoing: OutgoingMessages::new(),
            waker,
            messages: ArrayVec::new(),
            next: (0, 0),
            drops: 0,
        })
    }

    /// A waker, and an epoll that watches it and the sockets.
    fn watch(sockets: &Sockets) -> Result<(Waker, Streams), Refusal> {
        let waker = Waker::new().map_err(no_descriptor)?;
        let streams = Streams::new(sockets.streams.as_ref()).map_err(no_epoll)?;
        streams.watch(waker.fd(), streams::WAKER).map_err(no_descriptor)?;
        if let Some(socket) = &sockets.datagrams {
            streams.watch(socket.fd.as_fd(), streams::DATAGRAMS).map_err(no_descriptor)?;
        }
        Ok((waker, streams))
    }

    /// Makes each call once, in a way that does nothing: a sandbox that denies one is found out now, not when the first
    /// datagram comes.
    fn try_calls(fd: RawFd) -> Result<(), Refusal> {
        if fd < 0 {
            return Ok(());
        }
        let denied = |call: &'static str, error: io::Error| {
            Refusal::new(call, error, "allow it in the sandbox's filter of system calls")
        };
        // SAFETY: no message is asked for, so nothing is written.
        let received =
            unsafe { libc::recvmmsg(fd, std::ptr::null_mut(), 0, libc::MSG_DONTWAIT, std::ptr::null_mut()) };
        if received < 0 {
            return Err(denied("recvmmsg", io::Error::last_os_error()));
        }
        // SAFETY: the kernel reads the header, finds that there is none, and says EFAULT; nothing is sent.
        unsafe { libc::sendmsg(fd, std::ptr::null(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EFAULT) {
            return Err(denied("sendmsg", error));
        }
        Ok(())
    }

    /// The sockets; the port goes.
    pub fn into_sockets(self) -> Sockets {
        self.sockets
    }

    fn send_all(&mut self, outbox: &mut Outbox, traffic: &mut Traffic) {
        outbox.arrange();
        self.trains.begin();
        let mut at = 0;
        loop {
            self.outgoing.fill(outbox, &mut at, &self.trains, traffic);
            self.send_envelopes(traffic);
            if !self.outgoing.is_full() {
                return;
            }
        }
    }

    fn send_envelopes(&mut self, traffic: &mut Traffic) {
        let fd = self.fd;
        let (mut from, mut failed_trains) = (0, 0);
        while from < self.outgoing.count() {
            let (sent, error) = self.outgoing.send_from(fd, from);
            from += sent;
            let Some(error) = error else { break };
            let errno = error.raw_os_error().unwrap_or_default();
            failed_trains += self.outgoing.send_after_failure(fd, from, errno, &mut self.trains, traffic);
            from += 1;
        }
        self.trains.note_sent(self.outgoing.take_trains(), failed_trains);
    }

    /// Waits, and lets connections do what they can. Where there are none, epoll is asked now and then only.
    fn wait(&mut self, timeout: PollTimeout, traffic: &mut Traffic) -> io::Result<()> {
        self.quiet_polls += 1;
        let timeout = match timeout {
            _ if self.streams.has_events() => EpollTimeout::ZERO,
            PollTimeout::Until(wait) => streams::timeout_of(wait),
            PollTimeout::None => {
                if !self.streams.has_connections() && self.quiet_polls < QUIET_POLLS_MAX {
                    return Ok(());
                }
                EpollTimeout::ZERO
            }
        };
        self.quiet_polls = 0;
        let now_ns = self.clock.now().ns;
        if self.streams.wait(timeout, self.sockets.streams.as_ref(), now_ns, traffic)? {
            self.waker.drain();
        }
        Ok(())
    }

    /// Puts messages into the inbox while that has room; says whether there were any. Until all are there, their buffers are
    /// in use.
    fn hand_over(&mut self, inbox: &mut Inbox) -> bool {
        let (mut at, mut from) = self.next;
        let were_any = at < self.messages.len();
        while let Some(message) = self.messages.get(at) {
            from += inbox.push_train(message.peer, at as u16, from, message.bytes - from, message.segment);
            if from < message.bytes {
                break;
            }
            (at, from) = (at + 1, 0);
        }
        self.next = (at, from);
        were_any
    }

    fn receive(&mut self, traffic: &mut Traffic) -> io::Result<()> {
        self.next = (0, 0);
        self.messages.clear();
        if self.fd < 0 {
            return Ok(());
        }
        // SAFETY: all-zero bytes are valid headers and pieces: null pointers and zero lengths.
        let (mut headers, mut pieces): ([libc::mmsghdr; Self::MESSAGES], [libc::iovec; Self::MESSAGES]) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let buffers = self.buffers.chunks_exact_mut(RECEIVE_BUFFER_BYTES);
        for (i, buffer) in buffers.enumerate() {
            pieces[i] = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            let header = &mut headers[i].msg_hdr;
            header.msg_name = self.names[i].as_mut_ptr().cast();
            header.msg_namelen = PeerAddr::BYTES_MAX as u32;
            header.msg_iov = &raw mut pieces[i];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[i].as_mut_ptr().cast();
            header.msg_controllen = CONTROL_BYTES as _;
        }
        let fd = self.fd;
        // SAFETY: every header points to buffers of this port, which outlive the call and are not shared.
        let count = unsafe {
            libc::recvmmsg(
                fd,
                headers.as_mut_ptr(),
                Self::MESSAGES as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            // ECONNREFUSED: an earlier reply met a closed port; the peer's trouble, not ours.
            return match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR | libc::ECONNREFUSED) => Ok(()),
                _ => Err(error),
            };
        }
        for (i, header) in headers.iter().enumerate().take(count as usize) {
            let message = self.message(i, header, traffic);
            self.messages.push(message);
        }
        Ok(())
    }

    /// What is in buffer `i`; a message that is not to be answered has no bytes.
    fn message(&mut self, i: usize, header: &libc::mmsghdr, traffic: &mut Traffic) -> Message {
        let control_bytes = header.msg_hdr.msg_controllen.min(CONTROL_BYTES);
        let ancillary = Ancillary::parse(&self.controls[i][..control_bytes]);
        if let Some(drops) = ancillary.drops {
            traffic.receive_drops += drops.wrapping_sub(self.drops) as u64;
            self.drops = drops;
        }
        let peer = PeerAddr::from_raw(&self.names[i][..header.msg_hdr.msg_namelen as usize]);
        let mut bytes = header.msg_len as usize;
        if ancillary.is_to_group {
            traffic.refused_groups += ancillary.datagrams(bytes);
            bytes = 0;
        }
        match peer {
            Some(peer) if header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0 => {
                Message { peer: peer.with_local(ancillary.local), bytes, segment: ancillary.segment }
            }
            _ => Message { peer: PeerAddr::NOBODY, bytes: 0, segment: 0 },
        }
    }
}

/// No descriptor is left for an epoll, or a sandbox denies it.
fn no_epoll(error: io::Error) -> Refusal {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => no_descriptor(error),
        _ => Refusal::new("epoll_create1", error, "allow it in the sandbox's filter of system calls"),
    }
}

fn no_descriptor(error: io::Error) -> Refusal {
    Refusal::new("another file descriptor", error, "raise the limit of open files (ulimit -n, LimitNOFILE=)")
}

impl Port for MmsgPort {
    fn poll(&mut self, outbox: &mut Outbox, inbox: &mut Inbox, timeout: PollTimeout) -> io::Result<Traffic> {
        inbox.clear();
        let mut traffic = if outbox.is_empty() { Traffic::default() } else { self.flush(outbox)? };
        let has_datagrams = self.hand_over(inbox);
        self.wait(if has_datagrams { PollTimeout::None } else { timeout }, &mut traffic)?;
        if !has_datagrams {
            self.receive(&mut traffic)?;
            self.hand_over(inbox);
        }
        self.streams.take_events(&mut inbox.events);
        Ok(traffic)
    }

    fn flush(&mut self, outbox: &mut Outbox) -> io::Result<Traffic> {
        let mut traffic = Traffic::default();
        self.send_all(outbox, &mut traffic);
        self.streams.send_all(&mut outbox.streams, &mut traffic)?;
        outbox.clear();
        Ok(traffic)
    }

    fn bytes(&self, datagram: &Datagram) -> &[u8] {
        let buffer = &self.buffers[datagram.buffer as usize * RECEIVE_BUFFER_BYTES..][..RECEIVE_BUFFER_BYTES];
        &buffer[datagram.start as usize..][..datagram.length as usize]
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn received(&self, buffer: u16, bytes: u32) -> &[u8] {
        self.streams.bytes(buffer, bytes)
    }

    fn release(&mut self, buffer: u16) {
        self.streams.release(buffer);
    }

    fn adopt(&mut self, fd: OwnedFd) {
        // An error of the epoll would be one of every call.
        let _ = self.streams.open(fd, StreamPeer::Unix);
    }

    fn resume(&mut self, id: ConnectionId) {
        let _ = self.streams.set_receiving(id, true);
    }

    fn pause(&mut self, id: ConnectionId) -> io::Result<()> {
        self.streams.set_receiving(id, false)
    }

    fn unsent(&self, id: ConnectionId) -> usize {
        self.streams.unsent(id)
    }

    fn untaken(&self, id: ConnectionId) -> usize {
        self.streams.untaken(id)
    }

    fn stop_listening(&mut self) {
        let listener = self.sockets.streams.as_ref();
        listener.into_iter().for_each(|listener| self.streams.stop_listening(listener));
    }

    fn close(&mut self, id: ConnectionId) -> io::Result<()> {
        self.streams.close(id);
        Ok(())
    }
}
