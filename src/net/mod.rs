//! Datagrams in and out. The kernel stops here: callers see slices, indices and plain structs.
//!
//! ```text
//! poll(outbox → kernel → inbox)          one entry into the kernel a tick, when all goes well
//!
//! inbox    datagrams of the last poll, in buffers that are valid until the next: GRO trains are cut into datagrams
//!          and what happened to connections; what they have sent lies in buffers of their own until those are released
//! outbox   replies of this tick, grouped by peer and length into runs, each one GSO message
//!          and those to connections, one send each ([`stream`])
//! ```
//! Three ports: [`uring`] (multishot receive into a buffer ring), [`mmsg`] (recvmmsg/sendmmsg, where io_uring is
//! refused), [`sim`] (a seeded network in memory, with faults); [`backend`] opens the first two. Knows nothing of the protocol.

pub mod backend;
pub mod inbox;
pub mod mmsg;
pub mod outbox;
pub mod peer;
pub mod sim;
pub mod socket;
pub mod stream;
#[cfg(test)]
mod tests;
pub mod traffic;
pub mod trains;
pub mod uring;
pub mod wake;

pub use backend::{Backend, PortFactory, Refusal};
pub use inbox::{Datagram, Inbox};
pub use outbox::Outbox;
pub use peer::PeerAddr;
pub use stream::{ConnectionId, StreamEvent, StreamOutbox, StreamPeer};
pub use traffic::Traffic;
pub use wake::Waker;

use std::os::fd::OwnedFd;
use std::time::Duration;

/// How long a poll may wait for datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollTimeout {
    /// Take what is there.
    None,
    /// Block until something arrives, a [`Waker`] rings, or the time is over.
    Until(Duration),
}

/// A worker's way to the network.
pub trait Port {
    /// The outbox that this port sends from. A port that sends frames of its own lends them to it.
    fn outbox(&mut self) -> Outbox {
        Outbox::default()
    }

    /// Sends what is in the outbox and empties it; gives back the buffers of the last poll; then collects datagrams.
    ///
    /// Full socket buffers lose datagrams, as UDP may; that is in the figures.
    ///
    /// # Errors
    /// The kernel refused the ring or socket itself: the worker cannot go on.
    fn poll(
        &mut self,
        outbox: &mut Outbox,
        inbox: &mut Inbox,
        timeout: PollTimeout,
    ) -> std::io::Result<Traffic>;

    /// Sends what is in the outbox and empties it, in the middle of a tick; the datagrams of the last poll stay.
    ///
    /// # Errors
    /// As [`Port::poll`].
    fn flush(&mut self, outbox: &mut Outbox) -> std::io::Result<Traffic>;

    /// The bytes of a datagram of the last poll.
    fn bytes(&self, datagram: &Datagram) -> &[u8];

    /// Ends the wait of another worker, not later than in the next poll of this port.
    ///
    /// # Errors
    /// As [`Port::poll`].
    fn wake(&mut self, other: &Waker) -> std::io::Result<()> {
        other.wake();
        Ok(())
    }

    /// Something that ends a poll's wait from another thread.
    fn waker(&self) -> Waker;

    /// The bytes that were received into a buffer of streams; valid until it is released.
    fn received(&self, buffer: u16, bytes: u32) -> &[u8] {
        unreachable!("buffer {buffer} of {bytes} bytes: this port has no connections")
    }

    /// A buffer of streams may be filled again.
    fn release(&mut self, _buffer: u16) {}

    /// A connection that another thread accepted belongs to this port from now on.
    fn adopt(&mut self, _fd: OwnedFd) {}

    /// Something may be received from a connection.
    fn resume(&mut self, _id: ConnectionId) {}

    /// Nothing may be received from a connection, until it is resumed. What the kernel has taken already still comes.
    ///
    /// # Errors
    /// As [`Port::poll`].
    fn pause(&mut self, _id: ConnectionId) -> std::io::Result<()> {
        Ok(())
    }

    /// Finds out whether something of a quiet connection was missed: a port may have lost its end.
    ///
    /// # Errors
    /// As [`Port::poll`].
    fn probe(&mut self, _id: ConnectionId) -> std::io::Result<()> {
        Ok(())
    }

    /// Bytes of replies that the port keeps because the socket of a connection has no room; 0 if it is gone.
    fn unsent(&self, _id: ConnectionId) -> usize {
        0
    }

    /// The same with those in the socket that the peer has not taken. It falls as the peer takes them, and is not a sum of lengths.
    fn untaken(&self, id: ConnectionId) -> usize {
        self.unsent(id)
    }

    /// No more connections are accepted: the listener refuses them from now on.
    fn stop_listening(&mut self) {}

    /// A connection is closed, and what it has left over is thrown away. What is in the outbox for it must have been sent.
    ///
    /// # Errors
    /// As [`Port::poll`].
    fn close(&mut self, _id: ConnectionId) -> std::io::Result<()> {
        Ok(())
    }
}
