//! Connections: what a port tells of them, and what it is told to send.
//!
//! ```text
//! poll ─▶ events   opened · so many bytes in a buffer · what was left over is sent · ended
//!      ◀─ outbox   replies, one send a connection
//! held buffers are released, paused connections receive nothing, closed ones are gone
//! ```
//! A connection is named by its place in the port's table and by how often that place was given, so that an event of an old one
//! is never taken for a new one's.

pub mod demand;
pub mod handover;
pub mod outbox;
pub mod quota;
pub mod roster;
pub mod table;

pub use demand::{Demand, Waiting};
pub use handover::Handover;
pub use outbox::StreamOutbox;
pub use quota::Quota;
pub use roster::Roster;
pub use table::Table;

use crate::net::PeerAddr;

/// A connection of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// Its place in the table.
    pub place: u32,
    /// How often the place was given, 24 bits of it.
    pub turn: u32,
}

impl ConnectionId {
    /// No connection.
    pub const NOBODY: ConnectionId = ConnectionId { place: u32::MAX, turn: u32::MAX };
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamPeer {
    /// A socket of the internet.
    Inet(PeerAddr),
    /// A process of this machine, through a UNIX socket.
    Unix,
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// It is there. It receives nothing until it is resumed.
    Opened(ConnectionId, StreamPeer),
    /// So many bytes of it are in a buffer, from its start, until that is released.
    Received {
        /// Whose they are.
        id: ConnectionId,
        /// Where they are.
        buffer: u16,
        /// How many.
        bytes: u32,
    },
    /// The peer has no room: what it did not take is kept, and goes when it has. Nothing should be sent meanwhile.
    Stuck(ConnectionId),
    /// All that a send had left over went; more may be sent.
    Drained(ConnectionId),
    /// The peer sends no more. What was received before may be answered.
    Ended(ConnectionId),
    /// It broke: nothing more can be received or sent. It has to be closed.
    Broken(ConnectionId),
}
