//! The io_uring port: one ring per worker, made on the worker's own thread.
//!
//! ```text
//! submit: returned buffers · messages to neighbours that sleep · sends (their completions are skipped unless they fail) · receive, if it stopped
//!    │ io_uring_enter, once a poll
//! complete: trains, each in a buffer of the ring · failed sends · the eventfd, or a neighbour's message
//! ```
//! `SINGLE_ISSUER | DEFER_TASKRUN` (`io_uring_setup(2)`, Linux 6.1): completions are made in our own `enter`, not in an
//! interrupt of our loop; `TASKRUN_FLAG` tells without a system call whether there are any. Sends carry `MSG_DONTWAIT`,
//! so they are done, or have failed, when `enter` returns (`io_uring/net.c`, `REQ_F_NOWAIT`), and the outbox is free.

#![allow(unsafe_code)]

mod buffers;
mod receive;
mod setup;

use crate::limits::RECEIVE_BUFFERS;
use crate::net::socket::Socket;
use crate::net::socket::headers::OutgoingMessages;
use crate::net::trains::Trains;
use crate::net::{Datagram, Inbox, Outbox, PollTimeout, Port, Refusal, Traffic, Waker};
use buffers::Buffers;
use cache::base::clock::Clock;
use io_uring::types::{CancelBuilder, Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use receive::{Message, Receiver};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// Registered files: the socket and the eventfd.
const SOCKET: Fixed = Fixed(0);
const EVENTFD: Fixed = Fixed(1);

/// What a completion is about: the upper half of its user data. The lower half of a send is its message.
const KIND_RECEIVE: u64 = 1 << 32;
const KIND_SEND: u64 = 2 << 32;
const KIND_EVENTFD: u64 = 3 << 32;
/// A message to a neighbour that failed; the lower half says to which.
const KIND_WAKE_SENT: u64 = 4 << 32;
/// A message from a neighbour.
const KIND_WAKE_RECEIVED: u64 = 5 << 32;

/// A port on io_uring.
pub struct UringPort {
    ring: IoUring,
    buffers: Buffers,
    receiver: Receiver,
    outgoing: OutgoingMessages,
    waker: Waker,
    wake_armed: bool,
    /// Workers that were sent a message; as many as there are workers at most.
    neighbours: Vec<Waker>,
    trains: Trains,
    /// Completions of receives that the inbox had no room for yet. At most one for each buffer, and one that ends the
    /// receive.
    received: VecDeque<cqueue::Entry>,
    /// Bytes of the first of them that an inbox took already.
    taken: usize,
    /// The socket's last word on dropped datagrams.
    drops: u32,
    fd: RawFd,
    /// `None` only while the port is taken apart. Last: the ring refers to it.
    socket: Option<Socket>,
}

impl UringPort {
    /// Bytes of memory that a port needs for its receive buffers.
    pub const MEMORY_BYTES: usize = Buffers::MEMORY_BYTES;

    /// A port for `socket`. Call it on the thread that will use it.
    ///
    /// # Errors
    /// The socket back, and which call is not there, not allowed, or lacks what we need.
    pub fn new(socket: Socket, memory: numa::Region, clock: Clock) -> Result<UringPort, (Socket, Refusal)> {
        let (ring, waker, buffers) = match setup::build(&socket, memory) {
            Ok(parts) => parts,
            Err(refusal) => return Err((socket, refusal)),
        };
        Ok(UringPort {
            ring,
            buffers,
            receiver: Receiver::new(),
            outgoing: OutgoingMessages::new(),
            waker,
            wake_armed: false,
            neighbours: Vec::new(),
            trains: Trains::new(socket.granted.gso, clock),
            received: VecDeque::with_capacity(RECEIVE_BUFFERS + 1),
            taken: 0,
            drops: 0,
            fd: socket.fd.as_raw_fd(),
            socket: Some(socket),
        })
    }

    /// The socket; the ring goes.
    pub fn into_socket(mut self) -> Socket {
        self.socket.take().expect("a port has its socket until it is taken apart")
    }

    /// Whether this kernel and its policy let us use the port at all.
    ///
    /// # Errors
    /// Which call is refused.
    pub fn probe() -> Result<(), Refusal> {
        setup::probe()
    }

    fn submit_sends(&mut self, outbox: &mut Outbox, traffic: &mut Traffic) -> io::Result<()> {
        outbox.arrange();
        self.trains.begin();
        let mut at = 0;
        loop {
            self.outgoing.fill(outbox, &mut at, &self.trains, traffic);
            for index in 0..self.outgoing.count() {
                let send = opcode::SendMsg::new(SOCKET, self.outgoing.header(index))
                    .flags((libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as u32)
                    .build()
                    .flags(squeue::Flags::SKIP_SUCCESS)
                    .user_data(KIND_SEND | index as u64);
                self.push(send)?;
            }
            if !self.outgoing.is_full() {
                return Ok(());
            }
            // More runs than messages: these must be with the kernel before their headers are used again.
            self.ring.submit()?;
            self.collect(traffic);
        }
    }

    /// Puts an entry into the submission queue, making room if it is full.
    fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        // SAFETY: what the entry points to (headers, the socket, buffers) lives in `self` or in the outbox, which is
        // not touched before `enter` has taken the entry; the receive header is boxed for the life of the port.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }

    fn arm(&mut self) -> io::Result<()> {
        if !self.receiver.armed {
            let receive = opcode::RecvMsgMulti::new(SOCKET, self.receiver.header(), Buffers::GROUP)
                .build()
                .user_data(KIND_RECEIVE);
            self.push(receive)?;
            self.receiver.armed = true;
        }
        if !self.wake_armed {
            let eventfd = opcode::PollAdd::new(EVENTFD, libc::POLLIN as u32)
                .multi(true)
                .build()
                .user_data(KIND_EVENTFD);
            self.push(eventfd)?;
            self.wake_armed = true;
        }
        Ok(())
    }

    fn enter(&mut self, timeout: PollTimeout) -> io::Result<()> {
        let entered = match timeout {
            PollTimeout::None => self.enter_without_waiting(),
            PollTimeout::Until(wait) => {
                let until = Timespec::from(wait);
                self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&until)).map(drop)
            }
        };
        match entered {
            // The time is over, a signal came, or completions wait to be taken first.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => {
                Ok(())
            }
            other => other,
        }
    }

    fn enter_without_waiting(&mut self) -> io::Result<()> {
        let (submissions, taskrun) = {
            let queue = self.ring.submission();
            (queue.len() as u32, queue.taskrun())
        };
        if submissions == 0 && !taskrun {
            return Ok(());
        }
        setup::get_events(&self.ring, submissions)
    }

    /// Takes all completions: sends that failed are settled while their messages are there, receives wait for the inbox.
    fn collect(&mut self, traffic: &mut Traffic) {
        let mut failed_trains = 0;
        while let Some(entry) = self.next_completion() {
            let low = entry.user_data() as u32;
            match entry.user_data() & !0xffff_ffff {
                KIND_RECEIVE => self.received.push_back(entry),
                KIND_SEND => failed_trains += self.send_failed(low as usize, entry.result(), traffic),
                KIND_WAKE_SENT => self.call_failed(low, entry.result()),
                KIND_WAKE_RECEIVED => {}
                _ => {
                    self.wake_armed = cqueue::more(entry.flags());
                    self.waker.drain();
                }
            }
        }
        self.trains.note_sent(self.outgoing.take_trains(), failed_trains);
    }

    fn next_completion(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    /// Puts what was received into the inbox while that has room. A train of which only a part fits goes on in the next poll.
    fn complete(&mut self, inbox: &mut Inbox, traffic: &mut Traffic) {
        while inbox.has_room()
            && let Some(entry) = self.received.pop_front()
        {
            self.taken = self.receive(&entry, inbox, traffic);
            if self.taken > 0 {
                self.received.push_front(entry);
            }
        }
    }

    /// A kernel before 5.18, or a neighbour whose completion queue is full: its eventfd is used.
    fn call_failed(&self, neighbour: u32, result: i32) {
        if result < 0 {
            self.neighbours[neighbour as usize].wake();
        }
    }

    /// Settles a send that failed; returns whether it was a train, as a count.
    fn send_failed(&mut self, index: usize, result: i32, traffic: &mut Traffic) -> usize {
        if result >= 0 {
            return 0;
        }
        self.outgoing.send_after_failure(self.fd, index, -result, &mut self.trains, traffic)
    }

    /// Puts a train, or the rest of it, into the inbox. Returns how many of its bytes are there by now if some are left; 0 if
    /// all are.
    fn receive(&mut self, entry: &cqueue::Entry, inbox: &mut Inbox, traffic: &mut Traffic) -> usize {
        self.receiver.armed = cqueue::more(entry.flags());
        let Some(buffer) = cqueue::buffer_select(entry.flags()) else {
            // ENOBUFS: all buffers are in use; they come back with the next poll.
            traffic.receive_buffers_empty += (-entry.result() == libc::ENOBUFS) as u64;
            return 0;
        };
        let message = self.receiver.parse(self.buffers.bytes(buffer), entry.result());
        let left = message.map_or(0, |message| self.hand_over(&message, buffer, inbox, traffic));
        if left == 0 {
            self.buffers.hold(buffer);
        }
        left
    }

    fn hand_over(
        &mut self,
        message: &Message,
        buffer: u16,
        inbox: &mut Inbox,
        traffic: &mut Traffic,
    ) -> usize {
        let Message { peer, ancillary, payload } = message;
        if let Some(drops) = ancillary.drops {
            traffic.receive_drops += drops.wrapping_sub(self.drops) as u64;
            self.drops = drops;
        }
        if ancillary.is_to_group {
            traffic.refused_groups += ancillary.datagrams(payload.len());
            return 0;
        }
        let (start, length) = (payload.start + self.taken, payload.len() - self.taken);
        let peer = peer.with_local(ancillary.local);
        let taken = inbox.push_train(peer, buffer, start, length, ancillary.segment);
        if taken == length { 0 } else { self.taken + taken }
    }
}

impl Port for UringPort {
    fn poll(&mut self, outbox: &mut Outbox, inbox: &mut Inbox, timeout: PollTimeout) -> io::Result<Traffic> {
        let mut traffic = Traffic::default();
        inbox.clear();
        self.buffers.give_back();
        if !outbox.is_empty() {
            self.submit_sends(outbox, &mut traffic)?;
        }
        self.arm()?;
        let waiting = !self.ring.completion().is_empty() || !self.received.is_empty();
        self.enter(if waiting { PollTimeout::None } else { timeout })?;
        self.collect(&mut traffic);
        if !self.ring.submission().is_empty() {
            // There were too many completions; now that they are taken, what is in the outbox can go.
            self.enter(PollTimeout::None)?;
            self.collect(&mut traffic);
        }
        self.complete(inbox, &mut traffic);
        outbox.clear();
        Ok(traffic)
    }

    fn flush(&mut self, outbox: &mut Outbox) -> io::Result<Traffic> {
        let mut traffic = Traffic::default();
        self.submit_sends(outbox, &mut traffic)?;
        self.ring.submit()?;
        self.collect(&mut traffic);
        outbox.clear();
        Ok(traffic)
    }

    fn bytes(&self, datagram: &Datagram) -> &[u8] {
        let buffer = self.buffers.bytes(datagram.buffer);
        &buffer[datagram.start as usize..][..datagram.length as usize]
    }

    fn wake(&mut self, other: &Waker) -> io::Result<()> {
        let Some(ring) = other.ring_fd() else {
            other.wake();
            return Ok(());
        };
        let known = self.neighbours.iter().position(|known| known.is(other));
        let neighbour = known.unwrap_or_else(|| {
            self.neighbours.push(other.clone());
            self.neighbours.len() - 1
        });
        let call = opcode::MsgRingData::new(Fd(ring), 0, KIND_WAKE_RECEIVED, None)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(KIND_WAKE_SENT | neighbour as u64);
        self.push(call)
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

impl Drop for UringPort {
    fn drop(&mut self) {
        // Neighbours may keep the ring open through the waker, and the kernel takes a ring apart when it finds the time, some
        // 30 ms after it is closed: whatever the ring still has stays, the socket with its port, and our buffers. So it is
        // made to let go of them now. First of all the receive, which has the socket, is cancelled; a ring with
        // DEFER_TASKRUN ends what was cancelled only in an enter of ours.
        let submitter = self.ring.submitter();
        // An error of any of these means that there was nothing to let go of.
        let _ = submitter.register_sync_cancel(None, CancelBuilder::any());
        let _ = setup::get_events(&self.ring, 0);
        let _ = submitter.unregister_buf_ring(Buffers::GROUP);
        let _ = submitter.unregister_files();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::socket::{SocketConfig, bind_group};
    use numa::{Huge, Region, RegionRequest};
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

    /// Longer than any machine is busy: only a wake that was lost waits for it.
    const WAIT_MAX: Duration = Duration::from_secs(30);

    fn port() -> UringPort {
        let config = SocketConfig {
            receive_buffer_bytes: 1 << 16,
            send_buffer_bytes: 1 << 16,
            gro: false,
            steering: false,
        };
        let socket = bind_group("127.0.0.1:0".parse().unwrap(), 1, config).unwrap().remove(0);
        let request = RegionRequest {
            name: "test",
            bytes: UringPort::MEMORY_BYTES,
            node: None,
            huge: Huge::Off,
            mlock: false,
        };
        UringPort::new(socket, Region::map(&request).unwrap(), Clock::system())
            .map_err(|(_, refusal)| refusal)
            .unwrap()
    }

    /// A poll that waits until it is woken; says how long that was.
    fn sleep(port: &mut UringPort) -> Duration {
        let began = Instant::now();
        let (mut outbox, mut inbox) = (Outbox::default(), Inbox::default());
        port.poll(&mut outbox, &mut inbox, PollTimeout::Until(WAIT_MAX)).unwrap();
        began.elapsed()
    }

    /// A turn of a port that has nothing to wait for.
    fn poll(port: &mut UringPort) {
        port.poll(&mut Outbox::default(), &mut Inbox::default(), PollTimeout::None).unwrap();
    }

    #[test]
    fn a_neighbour_wakes_by_a_message_and_without_the_eventfd() {
        if let Err(error) = UringPort::probe() {
            return println!("SKIPPED: no io_uring: {error}");
        }
        let mut sleeper = port();
        let waker = sleeper.waker();
        let neighbour = std::thread::spawn(move || {
            let mut port = port();
            port.wake(&waker).unwrap();
            poll(&mut port);
            port.neighbours.len()
        });
        assert!(sleep(&mut sleeper) < WAIT_MAX);
        assert_eq!(neighbour.join().unwrap(), 1);
        assert!(!sleeper.waker.is_ringing());
    }

    #[test]
    fn where_a_message_cannot_go_the_eventfd_wakes() {
        if let Err(error) = UringPort::probe() {
            return println!("SKIPPED: no io_uring: {error}");
        }
        let mut sleeper = port();
        let no_ring = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let waker = sleeper.waker().with_other_ring(no_ring.as_fd());
        let neighbour = std::thread::spawn(move || {
            let mut port = port();
            port.wake(&waker).unwrap();
            // The failure is known in the poll that sends, or in the one behind it.
            poll(&mut port);
            poll(&mut port);
        });
        assert!(sleep(&mut sleeper) < WAIT_MAX);
        neighbour.join().unwrap();
    }

    #[test]
    fn a_port_that_is_gone_may_still_be_called() {
        if let Err(error) = UringPort::probe() {
            return println!("SKIPPED: no io_uring: {error}");
        }
        let gone = std::thread::spawn(|| {
            let mut port = port();
            poll(&mut port);
            port.waker()
        });
        let mut port = port();
        port.wake(&gone.join().unwrap()).unwrap();
        poll(&mut port);
        poll(&mut port);
    }
}
