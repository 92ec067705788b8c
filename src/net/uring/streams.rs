//! Streams on the ring: accept and receive are armed once and complete many times; a connection gets one send a tick.
//!
//! ```text
//! accept   one multishot for the listener
//! receive  one multishot a connection, into buffers of the streams' group; cancelled while the connection is paused
//! send     MSG_DONTWAIT | MSG_WAITALL: done when `enter` returns, and only told of if it was short or failed
//!          what was left over is copied and sent by an entry that waits for room (`drain`)
//! ```
//! A connection that is closed stays in the table until the kernel has nothing of it any more.

use super::{Kind, LISTENER, UringPort, of_connection, user_data};
use crate::net::PeerAddr;
use crate::net::socket::connection::{discard_input, outgoing_bytes};
use crate::net::socket::listener::Listener;
use crate::net::stream::outbox::Send;
use crate::net::stream::{ConnectionId, StreamEvent, StreamOutbox, StreamPeer, Table};
use io_uring::types::Fd;
use io_uring::{cqueue, opcode, squeue};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// What a port knows of its connections.
pub(super) struct Streams {
    connections: Table<Connection>,
    /// What happened since the last poll ended.
    events: Vec<StreamEvent>,
    /// Connections whose receive has to be armed.
    to_arm: Vec<ConnectionId>,
    pub(super) accepts: Accepts,
    headers: Vec<libc::msghdr>,
    pieces: Vec<libc::iovec>,
}

/// How it stands with the listener.
#[derive(Default)]
pub(super) struct Accepts {
    pub(super) armed: bool,
    /// Not before this time, in ns since the clock's epoch: there was no descriptor.
    pub(super) not_before_ns: u64,
    pub(super) failures: u64,
}

#[derive(Debug)]
struct Connection {
    fd: OwnedFd,
    /// Whether something may be received.
    is_wanted: bool,
    is_receiving: bool,
    is_cancelling: bool,
    is_closing: bool,
    /// What the peer has had no room for.
    left: LeftOver,
}

/// What is left over of replies to a connection.
#[derive(Debug, Default)]
struct LeftOver {
    /// An entry sends it from `sent` on: while it is under way this does not move.
    going: Vec<u8>,
    sent: usize,
    is_under_way: bool,
    /// What comes behind it.
    waiting: Vec<u8>,
}

impl LeftOver {
    fn is_empty(&self) -> bool {
        self.going.is_empty() && self.waiting.is_empty()
    }

    fn bytes(&self) -> usize {
        self.going.len() - self.sent + self.waiting.len()
    }

    fn keep(&mut self, reply: &[u8]) {
        self.waiting.extend_from_slice(reply);
    }

    /// The same of a reply in memory of its own.
    fn keep_long(&mut self, reply: Vec<u8>) {
        match self.waiting.is_empty() {
            true => self.waiting = reply,
            false => self.keep(&reply),
        }
    }

    /// So many bytes more went. Memory of what went is given back: replies that have to wait are rare, and may be long.
    fn went(&mut self, bytes: usize) {
        self.is_under_way = false;
        self.sent += bytes;
        if self.sent == self.going.len() {
            (self.going, self.sent) = (std::mem::take(&mut self.waiting), 0);
        }
    }

    /// What is to be sent next, for good: it is under way from now on.
    fn next(&mut self) -> Option<&[u8]> {
        if self.is_under_way {
            return None;
        }
        if self.going.is_empty() {
            (self.going, self.sent) = (std::mem::take(&mut self.waiting), 0);
        }
        self.is_under_way = !self.going.is_empty();
        self.is_under_way.then(|| &self.going[self.sent..])
    }
}

impl Streams {
    pub(super) fn new() -> Streams {
        Streams {
            connections: Table::default(),
            events: Vec::new(),
            to_arm: Vec::new(),
            accepts: Accepts::default(),
            headers: Vec::new(),
            pieces: Vec::new(),
        }
    }

    /// A connection that is there.
    pub(super) fn open(&mut self, fd: OwnedFd, peer: StreamPeer) {
        let id = self.connections.insert(Connection {
            fd,
            is_wanted: false,
            is_receiving: false,
            is_cancelling: false,
            is_closing: false,
            left: LeftOver::default(),
        });
        self.events.push(StreamEvent::Opened(id, peer));
    }

    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub(super) fn take_events(&mut self, into: &mut Vec<StreamEvent>) {
        into.append(&mut self.events);
    }

    /// Something was accepted, or could not be.
    pub(super) fn accepted(&mut self, entry: &cqueue::Entry, now_ns: u64, pause_ns: u64) {
        self.accepts.armed = cqueue::more(entry.flags());
        if entry.result() < 0 {
            if matches!(-entry.result(), libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) {
                self.accepts.failures += 1;
                self.accepts.not_before_ns = now_ns + pause_ns;
            }
            return;
        }
        // SAFETY: the kernel made this descriptor for us with this completion, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(entry.result()) };
        // A peer that is gone already has no address any more.
        if let Ok(addr) = crate::net::socket::peer_addr(&fd) {
            self.open(fd, StreamPeer::Inet(PeerAddr::from(addr)));
        }
    }

    /// Where a send goes at once; `None` if its connection is gone, or has something left over, behind which it is kept.
    fn fd_to_send(&mut self, send: &Send, outbox: &StreamOutbox) -> Option<RawFd> {
        let connection = self.connections.get_mut(send.id)?;
        if !connection.left.is_empty() {
            outbox.pieces(send).for_each(|piece| connection.left.keep(piece));
            return None;
        }
        Some(connection.fd.as_raw_fd())
    }
}

impl UringPort {
    /// What a receive has brought. Its buffer belongs to whoever takes the event.
    pub(super) fn stream_received(&mut self, entry: &cqueue::Entry) {
        let id = of_connection(entry.user_data());
        let buffer = cqueue::buffer_select(entry.flags());
        let Some(connection) = self.streams.connections.get_mut(id) else {
            return buffer.into_iter().for_each(|buffer| self.stream_buffers.release(buffer));
        };
        if !cqueue::more(entry.flags()) {
            (connection.is_receiving, connection.is_cancelling) = (false, false);
            if connection.is_wanted {
                self.streams.to_arm.push(id);
            }
        }
        let event = match (entry.result(), buffer) {
            (1.., Some(buffer)) => StreamEvent::Received { id, buffer, bytes: entry.result() as u32 },
            (0, _) => StreamEvent::Ended(id),
            (error, _) if error == -libc::ENOBUFS => {
                self.stream_buffers_empty += 1;
                // It may have been closed before it ran out of them.
                return self.try_to_free(id);
            }
            (error, _) if error == -libc::ECANCELED => return self.try_to_free(id),
            _ => StreamEvent::Broken(id),
        };
        if connection.is_closing {
            buffer.into_iter().for_each(|buffer| self.stream_buffers.release(buffer));
            return self.try_to_free(id);
        }
        if !matches!(event, StreamEvent::Received { .. }) {
            connection.is_wanted = false;
            buffer.into_iter().for_each(|buffer| self.stream_buffers.release(buffer));
        }
        self.streams.events.push(event);
    }

    /// A send that went as far as the peer had room: what is left is sent by an entry that waits.
    pub(super) fn stream_send_ended(&mut self, index: usize, result: i32, outbox: &StreamOutbox) {
        let send = &outbox.sends()[index];
        let Some(connection) = self.streams.connections.get_mut(send.id) else { return };
        let sent = match result {
            0.. => result as usize,
            error if error == -libc::EAGAIN => 0,
            _ => return self.streams.events.push(StreamEvent::Broken(send.id)),
        };
        // Not twice as much, as a vector that grows may take.
        connection.left.waiting.reserve_exact(send.bytes - sent);
        let mut skip = sent;
        for piece in outbox.pieces(send) {
            connection.left.keep(piece.get(skip..).unwrap_or_default());
            skip = skip.saturating_sub(piece.len());
        }
        self.streams.events.push(StreamEvent::Stuck(send.id));
        self.streams_to_drain.push(send.id);
    }

    /// An entry that waited has sent something of what was left over.
    pub(super) fn stream_drained(&mut self, entry: &cqueue::Entry) {
        let id = of_connection(entry.user_data());
        let Some(connection) = self.streams.connections.get_mut(id) else { return };
        connection.left.went(entry.result().max(0) as usize);
        let goes_on = entry.result() > 0 || matches!(-entry.result(), libc::EINTR | libc::EAGAIN);
        if connection.is_closing {
            self.try_to_free(id);
        } else if !goes_on {
            connection.left = LeftOver::default();
            self.streams.events.push(StreamEvent::Broken(id));
        } else if connection.left.is_empty() {
            self.streams.events.push(StreamEvent::Drained(id));
        } else {
            self.streams_to_drain.push(id);
        }
    }

    /// Sends what the outbox has for connections.
    pub(super) fn submit_stream_sends(&mut self, outbox: &mut StreamOutbox) -> io::Result<()> {
        for (id, reply) in outbox.take_long() {
            if let Some(connection) = self.streams.connections.get_mut(id) {
                connection.left.keep_long(reply);
                self.streams.events.push(StreamEvent::Stuck(id));
                self.streams_to_drain.push(id);
            }
        }
        self.point_to_pieces(outbox);
        let mut header = 0;
        for (index, send) in outbox.sends().iter().enumerate() {
            let Some(fd) = self.streams.fd_to_send(send, outbox) else { continue };
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
            let entry = if send.pieces == 1 {
                let bytes = outbox.pieces(send).next().expect("a send has a piece");
                opcode::Send::new(Fd(fd), bytes.as_ptr(), bytes.len() as u32).flags(flags).build()
            } else {
                let message = &raw const self.streams.headers[header];
                header += 1;
                opcode::SendMsg::new(Fd(fd), message).flags(flags as u32).build()
            };
            let entry = entry.flags(squeue::Flags::SKIP_SUCCESS);
            self.push(entry.user_data(user_data(Kind::StreamSend, index as u64)))?;
        }
        Ok(())
    }

    /// Makes a header for each send of several pieces that goes.
    fn point_to_pieces(&mut self, outbox: &StreamOutbox) {
        let Streams { connections, headers, pieces, .. } = &mut self.streams;
        headers.clear();
        pieces.clear();
        let several = || {
            let sends = outbox.sends().iter();
            let goes =
                |send: &&Send| connections.get(send.id).is_some_and(|connection| connection.left.is_empty());
            sends.filter(|send| send.pieces > 1).filter(goes)
        };
        for send in several() {
            pieces.extend(outbox.pieces(send).map(|piece| libc::iovec {
                iov_base: piece.as_ptr().cast_mut().cast(),
                iov_len: piece.len(),
            }));
        }
        // All pieces are there: they do not move any more.
        let mut first = 0;
        for send in several() {
            // SAFETY: all-zero bytes are a valid msghdr: null pointers and zero lengths.
            let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
            (header.msg_iov, header.msg_iovlen) = (pieces[first..].as_mut_ptr(), send.pieces as _);
            first += send.pieces;
            headers.push(header);
        }
    }

    /// Accepts connections, unless it does so already, or pauses.
    pub(super) fn arm_accept(&mut self) -> io::Result<()> {
        let has_listener = self.sockets.as_ref().is_some_and(|sockets| sockets.streams.is_some());
        let accepts = &mut self.streams.accepts;
        if !has_listener || accepts.armed {
            return Ok(());
        }
        if accepts.not_before_ns > 0 && self.clock.now().ns < accepts.not_before_ns {
            return Ok(());
        }
        accepts.armed = true;
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let accept = opcode::AcceptMulti::new(LISTENER).flags(flags).build();
        self.push(accept.user_data(user_data(Kind::Accept, 0)))
    }

    /// Accepts none any more.
    pub(super) fn stop_accepting(&mut self) {
        self.streams.accepts.not_before_ns = u64::MAX;
        let listener = self.sockets.as_ref().and_then(|sockets| sockets.streams.as_ref());
        listener.into_iter().for_each(Listener::stop);
    }

    /// Arms what has to be: receives, and sends of what was left over.
    pub(super) fn arm_streams(&mut self) -> io::Result<()> {
        for index in 0..self.streams.to_arm.len() {
            self.arm_receive(self.streams.to_arm[index])?;
        }
        self.streams.to_arm.clear();
        for index in 0..self.streams_to_drain.len() {
            self.drain(self.streams_to_drain[index])?;
        }
        self.streams_to_drain.clear();
        Ok(())
    }

    fn arm_receive(&mut self, id: ConnectionId) -> io::Result<()> {
        let Some(connection) = self.streams.connections.get_mut(id) else { return Ok(()) };
        if !connection.is_wanted || connection.is_receiving || connection.is_closing {
            return Ok(());
        }
        connection.is_receiving = true;
        let fd = Fd(connection.fd.as_raw_fd());
        let receive = opcode::RecvMulti::new(fd, super::Group::STREAMS.number).build();
        self.push(receive.user_data(user_data(Kind::StreamReceive, 0) | name(id)))
    }

    fn drain(&mut self, id: ConnectionId) -> io::Result<()> {
        let Some(connection) = self.streams.connections.get_mut(id) else { return Ok(()) };
        if connection.is_closing {
            return Ok(());
        }
        // Without MSG_WAITALL: whatever the peer takes is told of.
        let (fd, flags) = (Fd(connection.fd.as_raw_fd()), libc::MSG_NOSIGNAL);
        let Some(left) = connection.left.next() else { return Ok(()) };
        let send = opcode::Send::new(fd, left.as_ptr(), left.len() as u32).flags(flags).build();
        self.push(send.user_data(user_data(Kind::StreamDrain, 0) | name(id)))
    }

    /// Bytes that the peer of a connection has not taken.
    pub(super) fn unsent_of(&self, id: ConnectionId) -> usize {
        self.streams.connections.get(id).map_or(0, |connection| connection.left.bytes())
    }

    /// The same with what is in its socket.
    pub(super) fn untaken_of(&self, id: ConnectionId) -> usize {
        let connection = self.streams.connections.get(id);
        connection.map_or(0, |connection| connection.left.bytes() + outgoing_bytes(connection.fd.as_fd()))
    }

    /// Something may be received from a connection.
    pub(super) fn resume_stream(&mut self, id: ConnectionId) {
        if let Some(connection) = self.streams.connections.get_mut(id)
            && !connection.is_wanted
        {
            connection.is_wanted = true;
            self.streams.to_arm.push(id);
        }
    }

    /// Nothing may be received from a connection. What the kernel has received already still comes.
    pub(super) fn pause_stream(&mut self, id: ConnectionId) -> io::Result<()> {
        let Some(connection) = self.streams.connections.get_mut(id) else { return Ok(()) };
        connection.is_wanted = false;
        if !connection.is_receiving || std::mem::replace(&mut connection.is_cancelling, true) {
            return Ok(());
        }
        self.cancel(user_data(Kind::StreamReceive, 0) | name(id))
    }

    /// Looks at a connection from which nothing came for a while. Where data and a reset, or an end, follow each other closely, a kernel may
    /// wake a multishot receive of TCP once for both, and never again after the data (Linux before "io_uring/poll: fix multishot recv
    /// missing EOF on wakeup race"). A receive that is armed anew finds what was missed.
    pub(super) fn probe_stream(&mut self, id: ConnectionId) -> io::Result<()> {
        let Some(connection) = self.streams.connections.get_mut(id) else { return Ok(()) };
        if !connection.is_receiving || connection.is_cancelling {
            return Ok(());
        }
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        if recv(connection.fd.as_raw_fd(), &mut [0], flags) == Err(Errno::EAGAIN) {
            return Ok(());
        }
        connection.is_cancelling = true;
        self.cancel(user_data(Kind::StreamReceive, 0) | name(id))
    }

    /// A connection is not needed any more.
    pub(super) fn close_stream(&mut self, id: ConnectionId) -> io::Result<()> {
        let Some(connection) = self.streams.connections.get_mut(id) else { return Ok(()) };
        (connection.is_closing, connection.is_wanted) = (true, false);
        let (is_receiving, is_draining) = (connection.is_receiving, connection.left.is_under_way);
        if is_receiving && !std::mem::replace(&mut connection.is_cancelling, true) {
            self.cancel(user_data(Kind::StreamReceive, 0) | name(id))?;
        }
        if is_draining {
            self.cancel(user_data(Kind::StreamDrain, 0) | name(id))?;
        }
        self.try_to_free(id);
        Ok(())
    }

    fn cancel(&mut self, user: u64) -> io::Result<()> {
        let cancel = opcode::AsyncCancel::new(user).build().flags(squeue::Flags::SKIP_SUCCESS);
        self.push(cancel.user_data(user_data(Kind::Cancel, 0)))
    }

    fn try_to_free(&mut self, id: ConnectionId) {
        let Some(connection) = self.streams.connections.get(id) else { return };
        if connection.is_closing && !connection.is_receiving && !connection.left.is_under_way {
            discard_input(connection.fd.as_fd());
            self.streams.connections.remove(id);
        }
    }
}

/// A connection in the lower bits of the user data of an entry.
fn name(id: ConnectionId) -> u64 {
    (id.turn as u64) << 32 | id.place as u64
}
