//! Trains: requests of equal length on one track, collected over a tick and sent as one message. A track is a socket, or
//! one of its server's workers: the kernel steers a train by its first datagram.
//!
//! ```text
//! datagram ──(track, length)──▶ one of 32 open trains ──full, displaced or end of tick──▶ send
//! ```
//! Direct-mapped: two kinds of datagram that meet in one place push each other out, which costs a send, no more.

use crate::limits::{DATAGRAM_BYTES_MAX, TRAIN_SEGMENTS_MAX};

const TRAINS: usize = 32;

/// Requests on their way to their sockets.
pub struct Trains {
    open: Vec<Train>,
    /// Places in use, in the order in which they were opened.
    order: Vec<usize>,
}

#[derive(Default)]
struct Train {
    bytes: Vec<u8>,
    track: usize,
    segment_bytes: usize,
}

impl Default for Trains {
    fn default() -> Trains {
        let open = (0..TRAINS)
            .map(|_| Train { bytes: Vec::with_capacity(DATAGRAM_BYTES_MAX), ..Train::default() })
            .collect();
        Trains { open, order: Vec::with_capacity(TRAINS) }
    }
}

impl Trains {
    /// Adds a datagram for `track`; `send(track, bytes, segment bytes)` is called for a train that must leave first.
    /// A datagram that may not be `coalesced` leaves at once.
    #[inline]
    pub fn push(
        &mut self,
        track: usize,
        datagram: &[u8],
        coalesced: bool,
        send: &mut impl FnMut(usize, &[u8], usize),
    ) {
        let length = datagram.len();
        if !coalesced || length * 2 > DATAGRAM_BYTES_MAX {
            return send(track, datagram, length);
        }
        let place = Self::place(track, length);
        let train = &mut self.open[place];
        let full = train.bytes.len() + length > DATAGRAM_BYTES_MAX
            || train.bytes.len() >= length * TRAIN_SEGMENTS_MAX;
        let other = train.track != track || train.segment_bytes != length;
        if train.bytes.is_empty() {
            self.order.push(place);
        } else if full || other {
            send(train.track, &train.bytes, train.segment_bytes);
            train.bytes.clear();
        }
        train.track = track;
        train.segment_bytes = length;
        train.bytes.extend_from_slice(datagram);
    }

    /// Fibonacci hashing (Knuth, TAOCP 3, 6.4): lengths are often powers of two, which a remainder would bring together.
    #[inline]
    fn place(track: usize, length: usize) -> usize {
        ((track * 31 + length) as u32).wrapping_mul(0x9e37_79b1) as usize >> (32 - TRAINS.ilog2())
    }

    /// Sends everything that waits.
    #[inline]
    pub fn flush(&mut self, send: &mut impl FnMut(usize, &[u8], usize)) {
        for place in self.order.drain(..) {
            let train = &mut self.open[place];
            send(train.track, &train.bytes, train.segment_bytes);
            train.bytes.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn padded_lengths_do_not_push_each_other_out() {
        let mut trains = Trains::default();
        let mut sends = 0;
        for length in [64, 128, 256, 512, 1024, 1400].repeat(20) {
            trains.push(0, &vec![0; length], true, &mut |_, _, _| sends += 1);
        }
        trains.flush(&mut |_, _, _| sends += 1);
        assert_eq!(sends, 6);
    }

    proptest! {
        /// Whatever goes in comes out once, in order within its lane and length, in trains the kernel takes.
        #[test]
        fn every_datagram_leaves_once(sizes in prop::collection::vec((0usize..4, 1usize..3000), 1..400)) {
            let mut trains = Trains::default();
            let mut sent: Vec<(usize, Vec<u8>)> = Vec::new();
            let mut send = |lane: usize, bytes: &[u8], segment: usize| {
                assert!(bytes.len() <= DATAGRAM_BYTES_MAX && bytes.len().div_ceil(segment) <= TRAIN_SEGMENTS_MAX);
                sent.extend(bytes.chunks(segment).map(|d| (lane, d.to_vec())));
            };
            let datagrams: Vec<(usize, Vec<u8>)> =
                sizes.iter().enumerate().map(|(i, &(lane, n))| (lane, vec![i as u8; n])).collect();
            for (lane, datagram) in &datagrams {
                trains.push(*lane, datagram, true, &mut send);
            }
            trains.flush(&mut send);
            for lane in 0..4 {
                for length in sizes.iter().map(|s| s.1) {
                    let of = |all: &[(usize, Vec<u8>)]| -> Vec<Vec<u8>> {
                        all.iter().filter(|(l, d)| *l == lane && d.len() == length).map(|(_, d)| d.clone()).collect()
                    };
                    prop_assert_eq!(of(&sent), of(&datagrams));
                }
            }
            prop_assert_eq!(sent.len(), datagrams.len());
        }
    }
}
