//! Datagrams of one poll: where their bytes are, and whose they are.

use crate::limits::TICK_DATAGRAMS_MAX;
use crate::net::peer::PeerAddr;
use crate::net::stream::StreamEvent;

/// A received datagram, valid until the next poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Index into the peers of the [`Inbox`].
    pub peer: u16,
    /// The port's receive buffer.
    pub buffer: u16,
    /// Where it starts in the buffer, in bytes.
    pub start: u32,
    /// Its length, in bytes.
    pub length: u32,
}

/// What a poll received.
#[derive(Debug)]
pub struct Inbox {
    datagrams: Vec<Datagram>,
    peers: Vec<PeerAddr>,
    /// What happened to connections, in order. Whoever has dealt with them takes them out.
    pub events: Vec<StreamEvent>,
}

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox {
            datagrams: Vec::with_capacity(TICK_DATAGRAMS_MAX),
            peers: Vec::with_capacity(TICK_DATAGRAMS_MAX),
            events: Vec::new(),
        }
    }
}

impl Inbox {
    /// Peers that are compared with before a new one is noted: senders interleave, but not very deep.
    const PEERS_COMPARED: usize = 8;

    /// Forgets the datagrams of the last poll.
    pub fn clear(&mut self) {
        self.datagrams.clear();
        self.peers.clear();
    }

    /// Whether there is room for another datagram.
    pub fn has_room(&self) -> bool {
        self.datagrams.len() < TICK_DATAGRAMS_MAX
    }

    /// Notes a train of datagrams of `segment` bytes (only the last may be shorter), or a single one (`segment` 0). Returns
    /// how many bytes of it there was room for: the rest is for the next poll.
    pub fn push_train(
        &mut self,
        peer: PeerAddr,
        buffer: u16,
        start: usize,
        length: usize,
        segment: usize,
    ) -> usize {
        let peer = self.note_peer(peer);
        let segment = if segment == 0 { length.max(1) } else { segment };
        let mut at = 0;
        while at < length {
            let this = segment.min(length - at);
            if !self.has_room() {
                break;
            }
            self.datagrams.push(Datagram { peer, buffer, start: (start + at) as u32, length: this as u32 });
            at += this;
        }
        at
    }

    /// The datagrams, in the order of arrival.
    pub fn datagrams(&self) -> &[Datagram] {
        &self.datagrams
    }

    /// Whose they are.
    pub fn peer(&self, datagram: &Datagram) -> &PeerAddr {
        &self.peers[datagram.peer as usize]
    }

    fn note_peer(&mut self, peer: PeerAddr) -> u16 {
        let from = self.peers.len().saturating_sub(Self::PEERS_COMPARED);
        match self.peers[from..].iter().position(|&known| known == peer) {
            Some(at) => (from + at) as u16,
            None => {
                self.peers.push(peer);
                (self.peers.len() - 1) as u16
            }
        }
    }
}

const _: () = assert!(TICK_DATAGRAMS_MAX <= u16::MAX as usize, "a peer index fits 16 bits");
