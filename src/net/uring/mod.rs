//! The io_uring port: one ring per worker, made on the worker's own thread.
//!
//! ```text
//! submit: returned buffers · messages to neighbours that sleep · sends (their completions are skipped unless they fail) · receives that stopped
//!    │ io_uring_enter, once a poll
//! complete: trains, each in a buffer of the ring · failed sends · the eventfd, or a neighbour's message · what streams bring ([`streams`])
//! ```
//! `SINGLE_ISSUER | DEFER_TASKRUN` (`io_uring_setup(2)`, Linux 6.1): completions are made in our own `enter`, not in an
//! interrupt of our loop; `TASKRUN_FLAG` tells without a system call whether there are any. Sends carry `MSG_DONTWAIT`,
//! so they are done, or have failed, when `enter` returns (`io_uring/net.c`, `REQ_F_NOWAIT`), and the outbox is free.

#![allow(unsafe_code)]

mod buffers;
mod receive;
mod setup;
mod streams;
#[cfg(test)]
mod tests;

use crate::limits::{ACCEPT_PAUSE_MS, RECEIVE_BUFFERS};
use crate::net::socket::Sockets;
use crate::net::socket::headers::OutgoingMessages;
use crate::net::stream::{ConnectionId, StreamPeer};
use crate::net::trains::Trains;
use crate::net::{Datagram, Inbox, Outbox, PollTimeout, Port, Refusal, Traffic, Waker};
use buffers::{Buffers, Group};
use cache::base::clock::Clock;
use io_uring::types::{CancelBuilder, Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use receive::{Message, Receiver};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use streams::Streams;

/// Registered files: the socket of datagrams, the eventfd, and the listener.
const SOCKET: Fixed = Fixed(0);
const EVENTFD: Fixed = Fixed(1);
const LISTENER: Fixed = Fixed(2);

/// What a completion is about: the upper eight bits of its user data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    /// Datagrams.
    Receive = 1,
    /// A send of datagrams that failed; the lower half is its message.
    Send,
    Eventfd,
    /// A message to a neighbour that failed; the lower half says to which.
    WakeSent,
    /// A message from a neighbour.
    WakeReceived,
    Accept,
    /// Below it the connection.
    StreamReceive,
    /// A send to a connection that was short or failed; the lower half is its index in the outbox.
    StreamSend,
    /// A send of what was left over; below it the connection.
    StreamDrain,
    /// What was to be cancelled is gone already.
    Cancel,
}

impl Kind {
    const ALL: [Kind; 10] = [
        Kind::Receive,
        Kind::Send,
        Kind::Eventfd,
        Kind::WakeSent,
        Kind::WakeReceived,
        Kind::Accept,
        Kind::StreamReceive,
        Kind::StreamSend,
        Kind::StreamDrain,
        Kind::Cancel,
    ];

    #[inline]
    fn of(user: u64) -> Kind {
        Kind::ALL[(user >> 56) as usize - 1]
    }
}

const fn user_data(kind: Kind, low: u64) -> u64 {
    (kind as u64) << 56 | low
}

/// The connection in the user data of a completion.
fn of_connection(user: u64) -> ConnectionId {
    ConnectionId { place: user as u32, turn: (user >> 32) as u32 & 0xff_ffff }
}

/// A port on io_uring.
pub struct UringPort {
    ring: IoUring,
    buffers: Buffers,
    stream_buffers: Buffers,
    streams: Streams,
    /// Connections with something left over that has to be sent.
    streams_to_drain: Vec<ConnectionId>,
    stream_buffers_empty: u64,
    clock: Clock,
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
    /// Of datagrams; -1 for none.
    fd: RawFd,
    /// `None` only while the port is taken apart. Last: the ring refers to it.
    sockets: Option<Sockets>,
}

impl UringPort {
    /// Bytes of memory that a port needs for its receive buffers.
    pub const MEMORY_BYTES: usize = Group::STREAMS.end();

    /// A port for these sockets. Call it on the thread that will use it.
    ///
    /// # Errors
    /// The sockets back, and which call is not there, not allowed, or lacks what we need.
    pub fn new(
        sockets: Sockets,
        memory: numa::Region,
        clock: Clock,
    ) -> Result<UringPort, (Box<Sockets>, Refusal)> {
        let setup::Parts { ring, waker, buffers, stream_buffers } = match setup::build(&sockets, memory) {
            Ok(parts) => parts,
            Err(refusal) => return Err((Box::new(sockets), refusal)),
        };
        let granted = sockets.datagrams.as_ref().is_some_and(|socket| socket.granted.gso);
        Ok(UringPort {
            ring,
            buffers,
            stream_buffers,
            streams: Streams::new(),
            streams_to_drain: Vec::new(),
            stream_buffers_empty: 0,
            receiver: Receiver::new(),
            outgoing: OutgoingMessages::new(),
            waker,
            wake_armed: false,
            neighbours: Vec::new(),
            trains: Trains::new(granted, clock.clone()),
            clock,
            received: VecDeque::with_capacity(RECEIVE_BUFFERS + 1),
            taken: 0,
            drops: 0,
            fd: sockets.datagrams.as_ref().map_or(-1, |socket| socket.fd.as_raw_fd()),
            sockets: Some(sockets),
        })
    }

    /// The sockets; the ring goes.
    pub fn into_sockets(mut self) -> Sockets {
        self.sockets.take().expect("a port has its sockets until it is taken apart")
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
                    .user_data(user_data(Kind::Send, index as u64));
                self.push(send)?;
            }
            if !self.outgoing.is_full() {
                return Ok(());
            }
            // More runs than messages: these must be with the kernel before their headers are used again.
            self.ring.submit()?;
            self.collect(outbox, traffic);
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
        if !self.receiver.armed && self.fd >= 0 {
            let receive = opcode::RecvMsgMulti::new(SOCKET, self.receiver.header(), Group::DATAGRAMS.number)
                .build()
                .user_data(user_data(Kind::Receive, 0));
            self.push(receive)?;
            self.receiver.armed = true;
        }
        if !self.wake_armed {
            let eventfd = opcode::PollAdd::new(EVENTFD, libc::POLLIN as u32)
                .multi(true)
                .build()
                .user_data(user_data(Kind::Eventfd, 0));
            self.push(eventfd)?;
            self.wake_armed = true;
        }
        self.arm_accept()?;
        self.arm_streams()
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

    fn submit_all(&mut self, outbox: &mut Outbox, traffic: &mut Traffic) -> io::Result<()> {
        if outbox.datagrams() > 0 {
            self.submit_sends(outbox, traffic)?;
        }
        if !outbox.streams.is_empty() {
            let sends = outbox.streams.sends();
            traffic.stream_sends += sends.len() as u64;
            traffic.bytes_written += sends.iter().map(|send| send.bytes as u64).sum::<u64>();
            self.submit_stream_sends(&mut outbox.streams)?;
        }
        Ok(())
    }

    /// Takes completions until what is in the outbox has gone, and nothing is left that speaks of it.
    fn collect_all(&mut self, outbox: &Outbox, traffic: &mut Traffic) -> io::Result<()> {
        self.collect(outbox, traffic);
        // There were too many completions; now that they are taken, the others can come.
        while !self.ring.submission().is_empty() || self.ring.submission().cq_overflow() {
            self.enter(PollTimeout::None)?;
            self.collect(outbox, traffic);
        }
        Ok(())
    }

    fn enter_without_waiting(&mut self) -> io::Result<()> {
        let (submissions, taskrun) = {
            let queue = self.ring.submission();
            (queue.len() as u32, queue.taskrun())
        };
        if submissions == 0 && !taskrun && !self.ring.submission().cq_overflow() {
            return Ok(());
        }
        setup::get_events(&self.ring, submissions)
    }

    /// Takes all completions: sends that failed are settled while their messages are there, receives wait for the inbox.
    fn collect(&mut self, outbox: &Outbox, traffic: &mut Traffic) {
        let mut failed_trains = 0;
        while let Some(entry) = self.next_completion() {
            let low = entry.user_data() as u32;
            match Kind::of(entry.user_data()) {
                Kind::Receive => self.received.push_back(entry),
                Kind::Send => failed_trains += self.send_failed(low as usize, entry.result(), traffic),
                Kind::WakeSent => self.call_failed(low, entry.result()),
                Kind::StreamReceive => self.stream_received(&entry),
                Kind::StreamSend => self.stream_send_ended(low as usize, entry.result(), &outbox.streams),
                Kind::StreamDrain => self.stream_drained(&entry),
                Kind::Accept => {
                    let now_ns = self.clock.now().ns;
                    self.streams.accepted(&entry, now_ns, ACCEPT_PAUSE_MS * 1_000_000);
                }
                Kind::WakeReceived | Kind::Cancel => {}
                Kind::Eventfd => {
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
            self.buffers.release(buffer);
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
        self.stream_buffers.give_back();
        self.submit_all(outbox, &mut traffic)?;
        self.arm()?;
        let waiting =
            !self.ring.completion().is_empty() || !self.received.is_empty() || self.streams.has_events();
        self.enter(if waiting { PollTimeout::None } else { timeout })?;
        self.collect_all(outbox, &mut traffic)?;
        self.complete(inbox, &mut traffic);
        self.streams.take_events(&mut inbox.events);
        traffic.stream_buffers_empty += std::mem::take(&mut self.stream_buffers_empty);
        traffic.accept_failures += std::mem::take(&mut self.streams.accepts.failures);
        outbox.clear();
        Ok(traffic)
    }

    fn flush(&mut self, outbox: &mut Outbox) -> io::Result<Traffic> {
        let mut traffic = Traffic::default();
        self.submit_all(outbox, &mut traffic)?;
        self.ring.submit()?;
        self.collect_all(outbox, &mut traffic)?;
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
        let call = opcode::MsgRingData::new(Fd(ring), 0, user_data(Kind::WakeReceived, 0), None)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(user_data(Kind::WakeSent, neighbour as u64));
        self.push(call)
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    #[inline]
    fn received(&self, buffer: u16, bytes: u32) -> &[u8] {
        &self.stream_buffers.bytes(buffer)[..bytes as usize]
    }

    fn release(&mut self, buffer: u16) {
        self.stream_buffers.release(buffer);
    }

    fn adopt(&mut self, fd: OwnedFd) {
        self.streams.open(fd, StreamPeer::Unix);
    }

    fn resume(&mut self, id: ConnectionId) {
        self.resume_stream(id);
    }

    fn pause(&mut self, id: ConnectionId) -> io::Result<()> {
        self.pause_stream(id)
    }

    fn probe(&mut self, id: ConnectionId) -> io::Result<()> {
        self.probe_stream(id)
    }

    fn unsent(&self, id: ConnectionId) -> usize {
        self.unsent_of(id)
    }

    fn untaken(&self, id: ConnectionId) -> usize {
        self.untaken_of(id)
    }

    fn stop_listening(&mut self) {
        self.stop_accepting();
    }

    fn close(&mut self, id: ConnectionId) -> io::Result<()> {
        self.close_stream(id)
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
        let _ = submitter.unregister_buf_ring(Group::DATAGRAMS.number);
        let _ = submitter.unregister_buf_ring(Group::STREAMS.number);
        let _ = submitter.unregister_files();
    }
}
