//! Streams by epoll (`epoll(7)`, level-triggered), for machines where io_uring is refused: the same events as the ring gives.

use crate::limits::{ACCEPT_PAUSE_MS, STREAM_BUFFER_BYTES, STREAM_BUFFERS, STREAM_RECEIVES_MAX};
use crate::net::PeerAddr;
use crate::net::socket::connection::{discard_input, outgoing_bytes};
use crate::net::socket::listener::Listener;
use crate::net::socket::peer_addr;
use crate::net::stream::{ConnectionId, StreamEvent, StreamOutbox, StreamPeer, Table};
use crate::net::traffic::Traffic;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, SockFlag, accept4, recv, send};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What an event is about: not a connection.
pub(super) const DATAGRAMS: u64 = u64::MAX;
pub(super) const WAKER: u64 = u64::MAX - 1;
const LISTENER: u64 = u64::MAX - 2;

/// Events of one wait at most; the others come with the next.
const EVENTS_MAX: usize = 256;

/// Connections of a port, and what says that something happened to them.
pub(super) struct Streams {
    epoll: Epoll,
    connections: Table<Connection>,
    events: Vec<StreamEvent>,
    buffers: Box<[u8]>,
    free: Vec<u16>,
    /// A reply that lies in several pieces of the outbox.
    joined: Vec<u8>,
    /// Whether the listener is being watched, and from when on it is again, in ns since the clock's epoch.
    is_listening: bool,
    not_before_ns: u64,
}

struct Connection {
    fd: OwnedFd,
    /// What is waited for.
    interest: EpollFlags,
    unsent: Vec<u8>,
    unsent_at: usize,
}

impl Streams {
    pub(super) fn new(listener: Option<&Listener>) -> io::Result<Streams> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        if let Some(listener) = listener {
            epoll.add(&listener.fd, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        }
        Ok(Streams {
            epoll,
            connections: Table::default(),
            events: Vec::new(),
            buffers: vec![0; STREAM_BUFFERS * STREAM_BUFFER_BYTES].into_boxed_slice(),
            free: (0..STREAM_BUFFERS as u16).rev().collect(),
            joined: Vec::new(),
            is_listening: listener.is_some(),
            not_before_ns: 0,
        })
    }

    /// Watches something that is no connection.
    pub(super) fn watch(&self, fd: BorrowedFd<'_>, name: u64) -> io::Result<()> {
        Ok(self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, name))?)
    }

    pub(super) fn has_connections(&self) -> bool {
        self.connections.ids().next().is_some()
    }

    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub(super) fn take_events(&mut self, into: &mut Vec<StreamEvent>) {
        into.append(&mut self.events);
    }

    /// Waits, and does what can be done for connections; says whether the waker rang.
    pub(super) fn wait(
        &mut self,
        timeout: EpollTimeout,
        listener: Option<&Listener>,
        now_ns: u64,
        traffic: &mut Traffic,
    ) -> io::Result<bool> {
        self.listen_again(listener, now_ns)?;
        let mut ready = [EpollEvent::empty(); EVENTS_MAX];
        let count = match self.epoll.wait(&mut ready, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut is_woken = false;
        for event in &ready[..count] {
            match event.data() {
                DATAGRAMS => {}
                WAKER => is_woken = true,
                LISTENER => self.accept(listener, now_ns, traffic)?,
                data => self.attend(of_data(data), event.events(), traffic)?,
            }
        }
        Ok(is_woken)
    }

    /// Watches the listener again, after a pause for want of descriptors.
    fn listen_again(&mut self, listener: Option<&Listener>, now_ns: u64) -> io::Result<()> {
        if let Some(listener) = listener
            && !self.is_listening
            && now_ns >= self.not_before_ns
        {
            self.epoll.modify(&listener.fd, &mut EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
            self.is_listening = true;
        }
        Ok(())
    }

    fn accept(&mut self, listener: Option<&Listener>, now_ns: u64, traffic: &mut Traffic) -> io::Result<()> {
        let Some(listener) = listener else { return Ok(()) };
        for _ in 0..EVENTS_MAX {
            match accept4(listener.fd.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK) {
                Ok(fd) => {
                    // SAFETY: the kernel made this descriptor for us with this call, and nobody else knows it.
                    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                    // A peer that is gone already has no address any more.
                    if let Ok(addr) = peer_addr(&fd) {
                        self.open(fd, StreamPeer::Inet(PeerAddr::from(addr)))?;
                    }
                }
                Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
                    traffic.accept_failures += 1;
                    self.not_before_ns = now_ns + ACCEPT_PAUSE_MS * 1_000_000;
                    self.is_listening = false;
                    let mut nothing = EpollEvent::new(EpollFlags::empty(), LISTENER);
                    return Ok(self.epoll.modify(&listener.fd, &mut nothing)?);
                }
                // None is left, or one that was there is gone.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// A connection that is there.
    pub(super) fn open(&mut self, fd: OwnedFd, peer: StreamPeer) -> io::Result<()> {
        let interest = EpollFlags::empty();
        let id = self.connections.insert(Connection { fd, interest, unsent: Vec::new(), unsent_at: 0 });
        let fd = &self.connections.get(id).expect("just put in").fd;
        if self.epoll.add(fd, EpollEvent::new(interest, data_of(id))).is_err() {
            // The machine has no room to watch it.
            self.connections.remove(id);
            return Ok(());
        }
        self.events.push(StreamEvent::Opened(id, peer));
        Ok(())
    }

    /// Sends and receives what a connection is ready for.
    fn attend(&mut self, id: ConnectionId, ready: EpollFlags, traffic: &mut Traffic) -> io::Result<()> {
        let Some(connection) = self.connections.get(id) else { return Ok(()) };
        let is_broken = ready.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        let is_reading = connection.interest.contains(EpollFlags::EPOLLIN);
        if ready.contains(EpollFlags::EPOLLOUT) {
            self.drain(id)?;
        }
        if is_reading && ready.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
            self.receive(id, traffic)?;
        } else if is_broken {
            self.broke(id)?;
        }
        Ok(())
    }

    fn receive(&mut self, id: ConnectionId, traffic: &mut Traffic) -> io::Result<()> {
        for _ in 0..STREAM_RECEIVES_MAX {
            let Some(connection) = self.connections.get(id) else { return Ok(()) };
            let Some(buffer) = self.free.pop() else {
                traffic.stream_buffers_empty += 1;
                return Ok(());
            };
            let room = &mut self.buffers[buffer as usize * STREAM_BUFFER_BYTES..][..STREAM_BUFFER_BYTES];
            let received = recv(connection.fd.as_raw_fd(), room, MsgFlags::MSG_DONTWAIT);
            let event = match received {
                Ok(0) => StreamEvent::Ended(id),
                Ok(bytes) => StreamEvent::Received { id, buffer, bytes: bytes as u32 },
                Err(Errno::EAGAIN | Errno::EINTR) => {
                    self.free.push(buffer);
                    return Ok(());
                }
                Err(_) => {
                    self.free.push(buffer);
                    return self.broke(id);
                }
            };
            self.events.push(event);
            if received == Ok(0) {
                self.free.push(buffer);
                return self.set_interest(id, EpollFlags::EPOLLIN, false);
            }
            if received.is_ok_and(|bytes| bytes < STREAM_BUFFER_BYTES) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn broke(&mut self, id: ConnectionId) -> io::Result<()> {
        // An error is told of without being asked for, again and again: it is watched no longer.
        if let Some(connection) = self.connections.get(id) {
            let _ = self.epoll.delete(&connection.fd);
        }
        self.events.push(StreamEvent::Broken(id));
        Ok(())
    }

    /// Sends what the outbox has for connections.
    pub(super) fn send_all(&mut self, outbox: &mut StreamOutbox, traffic: &mut Traffic) -> io::Result<()> {
        for (id, reply) in outbox.take_long() {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.unsent.extend_from_slice(&reply);
                self.events.push(StreamEvent::Stuck(id));
                self.drain(id)?;
            }
        }
        for index in 0..outbox.sends().len() {
            let entry = outbox.sends()[index];
            let Some(connection) = self.connections.get_mut(entry.id) else { continue };
            traffic.stream_sends += 1;
            traffic.bytes_written += entry.bytes as u64;
            if !connection.unsent.is_empty() {
                outbox.pieces(&entry).for_each(|piece| connection.unsent.extend_from_slice(piece));
                continue;
            }
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            let fd = connection.fd.as_raw_fd();
            let sent = match entry.pieces {
                1 => send(fd, outbox.pieces(&entry).next().expect("a send has a piece"), flags),
                // A list of pieces would be memory for each send; a copy is not.
                _ => {
                    self.joined.clear();
                    outbox.pieces(&entry).for_each(|piece| self.joined.extend_from_slice(piece));
                    send(fd, &self.joined, flags)
                }
            };
            let sent = match sent {
                Ok(sent) => sent,
                Err(Errno::EAGAIN | Errno::EINTR) => 0,
                Err(_) => {
                    self.broke(entry.id)?;
                    continue;
                }
            };
            if sent < entry.bytes {
                // Not twice as much, as a vector that grows may take.
                connection.unsent.reserve_exact(entry.bytes - sent);
                let mut skip = sent;
                for piece in outbox.pieces(&entry) {
                    connection.unsent.extend_from_slice(piece.get(skip..).unwrap_or_default());
                    skip = skip.saturating_sub(piece.len());
                }
                self.events.push(StreamEvent::Stuck(entry.id));
                self.set_interest(entry.id, EpollFlags::EPOLLOUT, true)?;
            }
        }
        Ok(())
    }

    /// Sends what was left over, as far as the peer has room.
    fn drain(&mut self, id: ConnectionId) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        let left = &connection.unsent[connection.unsent_at..];
        match send(connection.fd.as_raw_fd(), left, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
            Ok(sent) => connection.unsent_at += sent,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => return self.broke(id),
        }
        let is_done = connection.unsent_at == connection.unsent.len();
        if is_done {
            // Its memory goes: replies that had to wait are rare, and may have been long.
            (connection.unsent, connection.unsent_at) = (Vec::new(), 0);
            self.events.push(StreamEvent::Drained(id));
        }
        self.set_interest(id, EpollFlags::EPOLLOUT, !is_done)
    }

    pub(super) fn set_receiving(&mut self, id: ConnectionId, wanted: bool) -> io::Result<()> {
        self.set_interest(id, EpollFlags::EPOLLIN, wanted)
    }

    fn set_interest(&mut self, id: ConnectionId, what: EpollFlags, wanted: bool) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        if connection.interest.contains(what) == wanted {
            return Ok(());
        }
        connection.interest.set(what, wanted);
        let mut event = EpollEvent::new(connection.interest, data_of(id));
        match self.epoll.modify(&connection.fd, &mut event) {
            // One that broke is watched no longer.
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Bytes that the peer of a connection has not taken.
    pub(super) fn unsent(&self, id: ConnectionId) -> usize {
        self.connections.get(id).map_or(0, |connection| connection.unsent.len() - connection.unsent_at)
    }

    /// The same with what is in its socket.
    pub(super) fn untaken(&self, id: ConnectionId) -> usize {
        let outgoing = self.connections.get(id).map_or(0, |connection| outgoing_bytes(connection.fd.as_fd()));
        self.unsent(id) + outgoing
    }

    pub(super) fn stop_listening(&mut self, listener: &Listener) {
        // An error means that it is not watched, because there were no descriptors left.
        let _ = self.epoll.delete(&listener.fd);
        (self.is_listening, self.not_before_ns) = (false, u64::MAX);
        listener.stop();
    }

    pub(super) fn close(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.remove(id) else { return };
        // The kernel forgets a descriptor that is closed.
        discard_input(connection.fd.as_fd());
    }

    pub(super) fn bytes(&self, buffer: u16, bytes: u32) -> &[u8] {
        &self.buffers[buffer as usize * STREAM_BUFFER_BYTES..][..bytes as usize]
    }

    pub(super) fn release(&mut self, buffer: u16) {
        self.free.push(buffer);
    }
}

fn data_of(id: ConnectionId) -> u64 {
    (id.turn as u64) << 32 | id.place as u64
}

fn of_data(data: u64) -> ConnectionId {
    ConnectionId { place: data as u32, turn: (data >> 32) as u32 }
}

/// How long `epoll_wait` waits for a time: at least as long.
pub(super) fn timeout_of(wait: std::time::Duration) -> EpollTimeout {
    EpollTimeout::try_from(wait.as_micros().div_ceil(1000) as u64).unwrap_or(EpollTimeout::MAX)
}
