//! What a turn of a port came to, for whoever counts it.

use std::ops::AddAssign;

/// Figures of one poll.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams given to the kernel.
    pub datagrams_sent: u64,
    /// Their bytes.
    pub bytes_written: u64,
    /// Messages that they went in.
    pub sends: u64,
    /// Datagrams that the kernel did not take.
    pub send_failures: u64,
    /// Trains that the kernel refused for the path to their peer; their datagrams were sent one by one.
    pub gso_fallbacks: u64,
    /// Datagrams that the kernel dropped before they were read.
    pub receive_drops: u64,
    /// Times that no receive buffer was free.
    pub receive_buffers_empty: u64,
    /// Datagrams to a broadcast or multicast address, which are not handed over.
    pub refused_groups: u64,
    /// Sends to connections.
    pub stream_sends: u64,
    /// Times that no receive buffer was free for a connection.
    pub stream_buffers_empty: u64,
    /// Connections that could not be accepted: no descriptor was left.
    pub accept_failures: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Traffic) {
        self.datagrams_sent += other.datagrams_sent;
        self.bytes_written += other.bytes_written;
        self.sends += other.sends;
        self.send_failures += other.send_failures;
        self.gso_fallbacks += other.gso_fallbacks;
        self.receive_drops += other.receive_drops;
        self.receive_buffers_empty += other.receive_buffers_empty;
        self.refused_groups += other.refused_groups;
        self.stream_sends += other.stream_sends;
        self.stream_buffers_empty += other.stream_buffers_empty;
        self.accept_failures += other.accept_failures;
    }
}
