//! Replies of one tick, and how they become as few messages as possible.
//!
//! A GSO message is a run of datagrams to one peer, all equally long, at most 64 and at most 65,507 bytes
//! (`udp(7)`, UDP_SEGMENT). So the frames of a tick are sorted by peer and length: the 1400-byte heads of many long
//! replies travel together, and then their tails.
//!
//! ```text
//! buffer  │ A: 1400 │ A: 1400 │ A: 300 │ B: 50 │ A: 300 │
//! runs    A 1400 × 2 · A 300 × 2 · B 50 × 1
//! ```

use crate::io::peer::PeerAddr;
use crate::limits::{
    DATAGRAM_BYTES_MAX, OUTBOX_BYTES, OUTBOX_DATAGRAMS_MAX, REPLY_BYTES_MAX, REPLY_DATAGRAM_BYTES_MAX,
    TRAIN_SEGMENTS_MAX,
};

/// Replies that wait to be sent.
pub struct Outbox {
    buffer: Box<[u8]>,
    used: usize,
    frames: Vec<Frame>,
    peers: Vec<PeerAddr>,
    order: Vec<u64>,
}

/// One datagram to send.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Where it starts in the buffer, in bytes.
    pub start: u32,
    /// Its length, in bytes.
    pub length: u16,
    peer: u16,
}

/// Datagrams that go as one message.
#[derive(Debug)]
pub struct Run<'a> {
    /// To whom.
    pub peer: &'a PeerAddr,
    /// Bytes of each datagram.
    pub segment: usize,
    /// Where they are: sorted keys whose lower half is the frame's index.
    frames: &'a [u64],
    all: &'a [Frame],
}

impl Run<'_> {
    /// Datagrams of the run.
    pub fn count(&self) -> usize {
        self.frames.len()
    }

    /// The datagrams, as ranges of the buffer.
    pub fn frames(&self) -> impl Iterator<Item = Frame> + '_ {
        self.frames.iter().map(|&key| self.all[key as u32 as usize])
    }
}

impl Default for Outbox {
    fn default() -> Outbox {
        Outbox {
            buffer: vec![0; OUTBOX_BYTES].into_boxed_slice(),
            used: 0,
            frames: Vec::with_capacity(OUTBOX_DATAGRAMS_MAX),
            peers: Vec::with_capacity(OUTBOX_DATAGRAMS_MAX),
            order: Vec::with_capacity(OUTBOX_DATAGRAMS_MAX),
        }
    }
}

impl Outbox {
    /// Whether a reply of any length still fits; if not, it is time for a turn.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.used + REPLY_BYTES_MAX <= self.buffer.len()
            && self.frames.len() + REPLY_BYTES_MAX.div_ceil(REPLY_DATAGRAM_BYTES_MAX) <= OUTBOX_DATAGRAMS_MAX
    }

    /// Room for one reply; call [`Outbox::commit`] with what was used of it.
    ///
    /// # Panics
    /// When there is no room, see [`Outbox::has_room`].
    #[inline]
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.used..self.used + REPLY_BYTES_MAX]
    }

    /// The first `bytes` of the room are a reply to `peer`: datagrams of 1400 bytes, the last as long as it is.
    #[inline]
    pub fn commit(&mut self, peer: &PeerAddr, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let peer = self.note_peer(peer);
        let mut start = self.used;
        let end = start + bytes;
        while start < end {
            let length = REPLY_DATAGRAM_BYTES_MAX.min(end - start);
            self.frames.push(Frame { start: start as u32, length: length as u16, peer });
            start += length;
        }
        self.used = end;
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Datagrams that wait.
    pub fn datagrams(&self) -> usize {
        self.frames.len()
    }

    /// Bytes of a frame.
    pub fn bytes(&self, frame: Frame) -> &[u8] {
        &self.buffer[frame.start as usize..][..frame.length as usize]
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.used = 0;
        self.frames.clear();
        self.peers.clear();
    }

    /// Groups the frames; then [`Outbox::runs`] yields them.
    pub fn arrange(&mut self) {
        self.order.clear();
        let keyed = self.frames.iter().enumerate();
        self.order.extend(
            keyed.map(|(i, frame)| (frame.peer as u64) << 48 | (frame.length as u64) << 32 | i as u64),
        );
        // Frames of one peer and length mostly come in order already: a stable merge finds that out in one pass.
        self.order.sort_unstable();
    }

    /// The runs, each of at most `segments_max` datagrams.
    pub fn runs(&self, segments_max: usize) -> impl Iterator<Item = Run<'_>> {
        let mut at = 0;
        std::iter::from_fn(move || self.next_run(&mut at, |_| segments_max))
    }

    /// The run at place `at` of the order, which is then moved behind it; `segments_max` says how many datagrams a message
    /// to a peer may carry.
    pub fn next_run(&self, at: &mut usize, segments_max: impl FnOnce(&PeerAddr) -> usize) -> Option<Run<'_>> {
        let rest = &self.order[*at..];
        let first = *rest.first()?;
        let segment = (first >> 32 & 0xffff) as usize;
        let peer = &self.peers[(first >> 48) as usize];
        let fit = (DATAGRAM_BYTES_MAX / segment).clamp(1, TRAIN_SEGMENTS_MAX.min(segments_max(peer)));
        let count = rest.iter().take(fit).take_while(|&key| key >> 32 == first >> 32).count();
        *at += count;
        Some(Run { peer, segment, frames: &rest[..count], all: &self.frames })
    }

    /// The memory that frames lie in.
    pub fn memory(&self) -> &[u8] {
        &self.buffer
    }

    fn note_peer(&mut self, peer: &PeerAddr) -> u16 {
        let known = self.peers.iter().rev().take(Self::PEERS_COMPARED).position(|known| known == peer);
        match known {
            Some(back) => (self.peers.len() - 1 - back) as u16,
            None => {
                self.peers.push(*peer);
                (self.peers.len() - 1) as u16
            }
        }
    }

    const PEERS_COMPARED: usize = 8;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> PeerAddr {
        PeerAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], port)))
    }

    fn runs(outbox: &mut Outbox, segments_max: usize) -> Vec<(u16, usize, usize)> {
        outbox.arrange();
        outbox.runs(segments_max).map(|run| (run.peer.port(), run.segment, run.count())).collect()
    }

    #[test]
    fn equal_datagrams_of_a_peer_travel_together() {
        let mut outbox = Outbox::default();
        for (port, bytes) in [(1, 3100), (2, 50), (1, 300), (2, 50), (1, 1400)] {
            assert!(outbox.has_room());
            outbox.room()[..bytes].fill(port as u8);
            outbox.commit(&peer(port), bytes);
        }
        assert_eq!(outbox.datagrams(), 7);
        assert_eq!(runs(&mut outbox, 64), [(1, 300, 2), (1, 1400, 3), (2, 50, 2)]);
        for run in outbox.runs(64) {
            for frame in run.frames() {
                assert!(outbox.bytes(frame).iter().all(|&b| b as u16 == run.peer.port()));
            }
        }
        assert_eq!(runs(&mut outbox, 1).len(), 7);
    }

    #[test]
    fn a_run_ends_at_64_datagrams_and_at_65507_bytes() {
        let mut outbox = Outbox::default();
        (0..100).for_each(|_| outbox.commit(&peer(1), 10));
        (0..50).for_each(|_| outbox.commit(&peer(1), 1400));
        assert_eq!(runs(&mut outbox, 64), [(1, 10, 64), (1, 10, 36), (1, 1400, 46), (1, 1400, 4)]);
        outbox.clear();
        assert!(outbox.is_empty());
        assert_eq!(runs(&mut outbox, 64), []);
    }
}
