//! Replies of one tick, and how they become as few messages as possible.
//!
//! A GSO message is a run of datagrams to one peer, all equally long, at most 64 and at most 65,507 bytes
//! (`udp(7)`, UDP_SEGMENT). So the frames of a tick are sorted by peer and length, the longest first: the 1400-byte heads of many
//! long replies travel together, and then their tails. So the datagrams of one reply leave in their order, too.
//!
//! ```text
//! buffer  │ A: 1400 │ A: 1400 │ A: 300 │ B: 50 │ A: 300 │
//! runs    A 1400 × 2 · A 300 × 2 · B 50 × 1
//! ```
//!
//! The memory is the port's. A port whose frames are copied by the kernel lends plain memory, packed as above. One that
//! sends its own frames lends those, with room for its headers before each datagram ([`Layout`]):
//!
//! ```text
//! frames  │ headroom │ A: 1400 │ … │ headroom │ A: 300 │ … │ headroom │ B: 50 │ … │      one stride each
//! ```
//! A reply is written in one piece either way; where it has several datagrams, `commit` moves all but the first to their
//! frames.

use crate::limits::{
    DATAGRAM_BYTES_MAX, OUTBOX_BYTES, OUTBOX_DATAGRAMS_MAX, REPLY_BYTES_MAX, REPLY_DATAGRAM_BYTES_MAX,
    TRAIN_SEGMENTS_MAX,
};
use crate::net::peer::PeerAddr;
use crate::net::stream::StreamOutbox;

/// How datagrams lie in the memory of an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One behind the other.
    Packed,
    /// Each in a frame of its own.
    Frames {
        /// Bytes before each datagram, for the headers of the port.
        headroom: usize,
        /// Bytes from one frame to the next.
        stride: usize,
    },
}

impl Layout {
    const DATAGRAMS_MAX: usize = REPLY_BYTES_MAX.div_ceil(REPLY_DATAGRAM_BYTES_MAX);

    /// Bytes that the longest reply takes.
    const fn reply_bytes(self) -> usize {
        match self {
            Layout::Packed => REPLY_BYTES_MAX,
            Layout::Frames { stride, .. } => Layout::DATAGRAMS_MAX * stride,
        }
    }
}

/// Memory that a port lends: it may be mapped for a device.
pub trait Lend {
    /// All of it.
    fn bytes(&self) -> &[u8];
    /// All of it.
    fn bytes_mut(&mut self) -> &mut [u8];
}

/// Where replies are written.
enum Memory {
    Plain(Box<[u8]>),
    Lent(Box<dyn Lend>),
}

impl Memory {
    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Memory::Plain(bytes) => bytes,
            Memory::Lent(port) => port.bytes(),
        }
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Memory::Plain(bytes) => bytes,
            Memory::Lent(port) => port.bytes_mut(),
        }
    }
}

/// Replies that wait to be sent.
pub struct Outbox {
    memory: Memory,
    layout: Layout,
    /// Bytes before each datagram.
    headroom: usize,
    /// Bytes of memory that may be in use when another reply is written.
    full: usize,
    used: usize,
    frames: Vec<Frame>,
    peers: Vec<PeerAddr>,
    order: Vec<u64>,
    /// Replies to connections.
    pub streams: StreamOutbox,
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
    /// Over plain memory, packed.
    fn default() -> Outbox {
        let memory = vec![0; OUTBOX_BYTES].into_boxed_slice();
        Outbox::of(Memory::Plain(memory), OUTBOX_BYTES, Layout::Packed)
    }
}

impl Outbox {
    /// An outbox over memory of a port.
    ///
    /// # Panics
    /// The memory is too small for the longest reply, or a frame for the longest datagram.
    pub fn over(memory: Box<dyn Lend>, layout: Layout) -> Outbox {
        let bytes = memory.bytes().len();
        Outbox::of(Memory::Lent(memory), bytes, layout)
    }

    fn of(memory: Memory, bytes: usize, layout: Layout) -> Outbox {
        let headroom = match layout {
            Layout::Packed => 0,
            Layout::Frames { headroom, stride } => {
                assert!(headroom + REPLY_DATAGRAM_BYTES_MAX <= stride, "a datagram fits its frame");
                headroom
            }
        };
        let full = bytes.checked_sub(layout.reply_bytes()).expect("the longest reply fits the memory");
        assert!(u32::try_from(bytes).is_ok(), "places in the memory fit 32 bits");
        Outbox {
            memory,
            layout,
            headroom,
            full,
            used: 0,
            frames: Vec::with_capacity(OUTBOX_DATAGRAMS_MAX),
            peers: Vec::with_capacity(OUTBOX_DATAGRAMS_MAX),
            order: Vec::with_capacity(OUTBOX_DATAGRAMS_MAX),
            streams: StreamOutbox::default(),
        }
    }

    /// Whether a reply of any length still fits, to a datagram or a connection; if not, it is time for a poll.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.used <= self.full
            && self.frames.len() + Layout::DATAGRAMS_MAX <= OUTBOX_DATAGRAMS_MAX
            && self.streams.has_room()
    }

    /// Room for one reply; call [`Outbox::commit`] with what was used of it.
    ///
    /// # Panics
    /// When there is no room, see [`Outbox::has_room`].
    #[inline]
    pub fn room(&mut self) -> &mut [u8] {
        let start = self.used + self.headroom;
        &mut self.memory.bytes_mut()[start..start + REPLY_BYTES_MAX]
    }

    /// The first `bytes` of the room are a reply to `peer`: datagrams of 1400 bytes, the last as long as it is.
    #[inline]
    pub fn commit(&mut self, peer: &PeerAddr, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let peer = self.note_peer(peer);
        if let Layout::Frames { stride, .. } = self.layout {
            return self.commit_frames(peer, bytes, stride);
        }
        let mut start = self.used;
        let end = start + bytes;
        while start < end {
            let length = REPLY_DATAGRAM_BYTES_MAX.min(end - start);
            self.frames.push(Frame { start: start as u32, length: length as u16, peer });
            start += length;
        }
        self.used = end;
    }

    /// Moves the datagrams of a reply to their frames.
    fn commit_frames(&mut self, peer: u16, bytes: usize, stride: usize) {
        let first = self.used + self.headroom;
        let count = bytes.div_ceil(REPLY_DATAGRAM_BYTES_MAX);
        let length = |i: usize| REPLY_DATAGRAM_BYTES_MAX.min(bytes - i * REPLY_DATAGRAM_BYTES_MAX);
        // All move towards the end, so the last one goes first.
        for i in (1..count).rev() {
            let from = first + i * REPLY_DATAGRAM_BYTES_MAX;
            self.memory.bytes_mut().copy_within(from..from + length(i), first + i * stride);
        }
        let frame = |i: usize| Frame { start: (first + i * stride) as u32, length: length(i) as u16, peer };
        self.frames.extend((0..count).map(frame));
        self.used += count * stride;
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.streams.is_empty()
    }

    /// Datagrams that wait.
    pub fn datagrams(&self) -> usize {
        self.frames.len()
    }

    /// Bytes of a frame.
    pub fn bytes(&self, frame: Frame) -> &[u8] {
        &self.memory.bytes()[frame.start as usize..][..frame.length as usize]
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.used = 0;
        self.frames.clear();
        self.peers.clear();
        self.streams.clear();
    }

    /// Groups the frames; then [`Outbox::runs`] yields them.
    pub fn arrange(&mut self) {
        self.order.clear();
        let keyed = self.frames.iter().enumerate();
        self.order.extend(
            keyed.map(|(i, frame)| (frame.peer as u64) << 48 | ((!frame.length) as u64) << 32 | i as u64),
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
        let segment = !((first >> 32) as u16) as usize;
        let peer = &self.peers[(first >> 48) as usize];
        let fit = (DATAGRAM_BYTES_MAX / segment).clamp(1, TRAIN_SEGMENTS_MAX.min(segments_max(peer)));
        let count = rest.iter().take(fit).take_while(|&key| key >> 32 == first >> 32).count();
        *at += count;
        Some(Run { peer, segment, frames: &rest[..count], all: &self.frames })
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
        assert_eq!(runs(&mut outbox, 64), [(1, 1400, 3), (1, 300, 2), (2, 50, 2)]);
        for run in outbox.runs(64) {
            for frame in run.frames() {
                assert!(outbox.bytes(frame).iter().all(|&b| b as u16 == run.peer.port()));
            }
        }
        assert_eq!(runs(&mut outbox, 1).len(), 7);
    }

    /// Frames of a port, as they are mapped for a device.
    struct Umem(Vec<u8>);

    impl Lend for Umem {
        fn bytes(&self) -> &[u8] {
            &self.0
        }
        fn bytes_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }
    }

    /// An outbox over so many bytes of frames.
    fn over_frames(bytes: usize, headroom: usize, stride: usize) -> Outbox {
        Outbox::over(Box::new(Umem(vec![0; bytes])), Layout::Frames { headroom, stride })
    }

    /// Writes a reply of bytes that differ from datagram to datagram.
    fn reply(outbox: &mut Outbox, port: u16, bytes: usize) {
        for (i, byte) in outbox.room()[..bytes].iter_mut().enumerate() {
            *byte = (i / 7 % 251) as u8;
        }
        outbox.commit(&peer(port), bytes);
    }

    /// All datagrams in the order in which they are sent.
    fn sent(outbox: &mut Outbox) -> Vec<(u16, Vec<u8>)> {
        outbox.arrange();
        let runs = outbox.runs(64);
        let datagrams =
            runs.flat_map(|run| run.frames().map(move |frame| (run.peer.port(), frame)).collect::<Vec<_>>());
        datagrams.map(|(port, frame)| (port, outbox.bytes(frame).to_vec())).collect()
    }

    #[test]
    fn lent_frames_hold_the_same_datagrams_and_leave_the_headroom_free() {
        let (headroom, stride) = (256, 2048);
        let mut packed = Outbox::default();
        let mut frames = over_frames(OUTBOX_BYTES, headroom, stride);
        for (port, bytes) in [(1, 1), (2, 1400), (1, 1401), (3, 14_000), (2, 50), (1, 4_199), (1, 0)] {
            reply(&mut packed, port, bytes);
            reply(&mut frames, port, bytes);
        }
        assert_eq!(sent(&mut frames), sent(&mut packed));
        let begins: Vec<usize> = frames.frames.iter().map(|frame| frame.start as usize).collect();
        assert_eq!(begins, (0..begins.len()).map(|i| i * stride + headroom).collect::<Vec<_>>());
    }

    #[test]
    fn an_outbox_over_frames_is_full_before_a_reply_does_not_fit() {
        let stride = 2048;
        let reply_bytes = Layout::DATAGRAMS_MAX * stride;
        let mut outbox = over_frames(reply_bytes + 3 * stride, 100, stride);
        for _ in 0..4 {
            assert!(outbox.has_room());
            reply(&mut outbox, 1, 20);
        }
        assert!(!outbox.has_room());
        outbox.clear();
        assert!(outbox.has_room());
        reply(&mut outbox, 1, REPLY_BYTES_MAX);
        assert!(!outbox.has_room());
        assert_eq!(sent(&mut outbox).len(), Layout::DATAGRAMS_MAX);
    }

    #[test]
    fn the_datagrams_of_a_reply_leave_in_their_order() {
        for segments_max in [1, 3, 64] {
            let mut outbox = Outbox::default();
            let lengths = [(1, 20_000), (2, 3_000), (1, 60), (1, 1_400), (2, 2_800), (1, 4_201), (2, 1_401)];
            lengths.iter().for_each(|&(port, bytes)| reply(&mut outbox, port, bytes));
            outbox.arrange();
            let frames: Vec<Frame> =
                outbox.runs(segments_max).flat_map(|run| run.frames().collect::<Vec<_>>()).collect();
            let mut start = 0;
            for (_, bytes) in lengths {
                let is_of_reply = |frame: &&Frame| (start..start + bytes).contains(&(frame.start as usize));
                let starts: Vec<u32> = frames.iter().filter(is_of_reply).map(|frame| frame.start).collect();
                assert_eq!(starts.len(), bytes.div_ceil(REPLY_DATAGRAM_BYTES_MAX));
                assert!(starts.is_sorted(), "{segments_max}, {bytes}: {starts:?}");
                start += bytes;
            }
        }
    }

    #[test]
    fn a_run_ends_at_64_datagrams_and_at_65507_bytes() {
        let mut outbox = Outbox::default();
        (0..100).for_each(|_| outbox.commit(&peer(1), 10));
        (0..50).for_each(|_| outbox.commit(&peer(1), 1400));
        assert_eq!(runs(&mut outbox, 64), [(1, 1400, 46), (1, 1400, 4), (1, 10, 64), (1, 10, 36)]);
        outbox.clear();
        assert!(outbox.is_empty());
        assert_eq!(runs(&mut outbox, 64), []);
    }
}
