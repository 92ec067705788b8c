//! Messages of several datagrams, put together in any order of arrival.
//!
//! ```text
//! sequence  0        1        2        total − 1
//!           │ stride │ stride │ stride │ tail ≤ stride │
//! ```
//! All pieces but the last are equally long (the first one to arrive says how long), so a piece's place is its
//! sequence times that stride. Buffers come from a bounded pool and keep their memory; when all are taken, the
//! datagram is dropped and counted, and its request will count as lost.

use super::frame::Frame;

/// Datagrams of one reply at most.
pub const REPLY_DATAGRAMS_MAX: u16 = 4096;
/// Replies being put together by one thread at most.
pub const PARTIALS_MAX: usize = 4096;

/// A message being put together.
pub type PartialId = u32;

/// The messages of one thread that have not arrived wholly.
#[derive(Default)]
pub struct Reassembly {
    partials: Vec<Partial>,
    free: Vec<PartialId>,
}

#[derive(Default)]
struct Partial {
    bytes: Vec<u8>,
    tail: Vec<u8>,
    seen: Vec<u64>,
    arrived: u16,
    stride: usize,
    total: u16,
}

/// What a piece did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// More are to come.
    More,
    /// It was the last one missing: read [`Reassembly::message`], then [`Reassembly::release`].
    Whole,
    /// It had come before.
    Duplicate,
    /// It fits nothing that came before it.
    Odd,
}

impl Reassembly {
    /// A buffer for a message of `total` datagrams; `None` when all are taken or the message is too long.
    pub fn begin(&mut self, total: u16) -> Option<PartialId> {
        if total > REPLY_DATAGRAMS_MAX {
            return None;
        }
        if self.free.is_empty() && self.partials.len() < PARTIALS_MAX {
            self.free.push(self.partials.len() as PartialId);
            self.partials.push(Partial::default());
        }
        let id = self.free.pop()?;
        let partial = &mut self.partials[id as usize];
        partial.seen.clear();
        partial.seen.resize((total as usize).div_ceil(64), 0);
        (partial.arrived, partial.stride, partial.total) = (0, 0, total);
        Some(id)
    }

    /// Adds a piece.
    pub fn add(&mut self, id: PartialId, frame: Frame, body: &[u8]) -> Piece {
        let partial = &mut self.partials[id as usize];
        if frame.total != partial.total || body.is_empty() {
            return Piece::Odd;
        }
        let (word, bit) = (frame.sequence as usize / 64, 1u64 << (frame.sequence % 64));
        if partial.seen[word] & bit != 0 {
            return Piece::Duplicate;
        }
        if !partial.place(frame.sequence, body) {
            return Piece::Odd;
        }
        partial.seen[word] |= bit;
        partial.arrived += 1;
        if partial.arrived < partial.total { Piece::More } else { Piece::Whole }
    }

    /// The whole message.
    pub fn message(&mut self, id: PartialId) -> &[u8] {
        let partial = &mut self.partials[id as usize];
        partial.bytes.append(&mut partial.tail);
        &partial.bytes
    }

    /// The buffer is free again.
    pub fn release(&mut self, id: PartialId) {
        self.free.push(id);
    }
}

impl Partial {
    fn place(&mut self, sequence: u16, body: &[u8]) -> bool {
        if sequence + 1 == self.total {
            self.tail.clear();
            self.tail.extend_from_slice(body);
            return true;
        }
        if self.stride == 0 {
            self.stride = body.len();
            self.bytes.clear();
            self.bytes.resize(self.stride * (self.total as usize - 1), 0);
        }
        if body.len() != self.stride {
            return false;
        }
        let at = sequence as usize * self.stride;
        self.bytes[at..at + body.len()].copy_from_slice(body);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_order_gives_the_message(
            length in 1usize..20_000, stride in 100usize..1500, order in any::<u64>(), twice in any::<u64>(),
        ) {
            let message: Vec<u8> = (0..length).map(|i| (i * 7 + i / 251) as u8).collect();
            let mut pieces: Vec<(u16, &[u8])> =
                message.chunks(stride).enumerate().map(|(i, c)| (i as u16, c)).collect();
            let total = pieces.len() as u16;
            let mut random = cache::base::random::Random::new(order);
            for i in (1..pieces.len()).rev() {
                pieces.swap(i, random.below(i as u64 + 1) as usize);
            }
            let mut pool = Reassembly::default();
            let id = pool.begin(total).unwrap();
            for (at, (sequence, body)) in pieces.iter().enumerate() {
                let frame = Frame { request_id: 1, sequence: *sequence, total };
                let last = at + 1 == pieces.len();
                prop_assert_eq!(pool.add(id, frame, body), if last { Piece::Whole } else { Piece::More });
                if twice >> (at % 64) & 1 != 0 {
                    prop_assert_eq!(pool.add(id, frame, body), Piece::Duplicate);
                }
            }
            prop_assert_eq!(pool.message(id), &message[..]);
            pool.release(id);
        }
    }

    #[test]
    fn odd_pieces_and_a_full_pool_are_refused() {
        let mut pool = Reassembly::default();
        let id = pool.begin(3).unwrap();
        let frame = |sequence, total| Frame { request_id: 1, sequence, total };
        assert_eq!(pool.add(id, frame(0, 3), b"abcd"), Piece::More);
        assert_eq!(pool.add(id, frame(1, 3), b"abc"), Piece::Odd);
        assert_eq!(pool.add(id, frame(1, 4), b"abcd"), Piece::Odd);
        assert_eq!(pool.begin(REPLY_DATAGRAMS_MAX + 1), None);
        for _ in 1..PARTIALS_MAX {
            assert!(pool.begin(2).is_some());
        }
        assert_eq!(pool.begin(2), None);
        pool.release(id);
        assert!(pool.begin(2).is_some());
    }
}
