//! Which peers take trains of datagrams (`UDP_SEGMENT`, `udp(7)`), as far as the kernel has told.
//!
//! A socket that can segment may still be refused a train, because of the path to one peer:
//!
//! ```text
//! EMSGSIZE  the path carries less than one segment (a tunnel, a forged "fragmentation needed")
//! EINVAL    the same in older kernels; or the socket cannot segment after all
//! EIO       the path transforms packets (IPsec); or the device cannot do checksums
//! ```
//! A refused train is sent again datagram by datagram, which the kernel may fragment. The peer's address is then
//! remembered for [`TRAIN_RETRY_S`], so that not every train to it costs a call that fails; all other peers keep trains.
//! Where EINVAL and EIO come from everywhere, the table would not help: after [`TRAIN_REFUSALS_MAX`] of them without a
//! train that went, nobody gets trains for that long.
//!
//! # Cost
//! While no peer is remembered, a branch a run. The table is allocated at start: [`TRAIN_PEERS`] addresses, in sets of
//! `WAYS` by a seeded hash; a full set forgets the address that is remembered for the shortest time from now.

use crate::limits::{TRAIN_PEERS, TRAIN_REFUSALS_MAX, TRAIN_RETRY_S, TRAIN_SEGMENTS_MAX};
use crate::net::peer::PeerAddr;
use cache::base::clock::Clock;
use cache::base::hash::KeyHash;
use std::net::{IpAddr, Ipv4Addr};

/// Addresses of one set.
const WAYS: usize = 4;
const SETS: usize = TRAIN_PEERS / WAYS;

/// An address that gets no trains, and until when.
#[derive(Clone, Copy)]
struct Refused {
    ip: IpAddr,
    until_s: u64,
}

/// What a port knows of trains.
pub struct Trains {
    /// Whether the socket can segment at all.
    granted: bool,
    clock: Clock,
    hash: KeyHash,
    refused: Box<[[Refused; WAYS]]>,
    /// When the last entry of the table is over; 0 when there is none.
    last_until_s: u64,
    /// Until when nobody gets trains.
    off_until_s: u64,
    /// Trains refused for other reasons than their length, since one went.
    refusals: u32,
    now_s: u64,
}

impl Trains {
    /// For a socket that can segment, or cannot.
    pub fn new(granted: bool, clock: Clock) -> Trains {
        let none = Refused { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), until_s: 0 };
        Trains {
            granted,
            clock,
            hash: KeyHash::new(KeyHash::random_seed()),
            refused: vec![[none; WAYS]; SETS].into_boxed_slice(),
            last_until_s: 0,
            off_until_s: 0,
            refusals: 0,
            now_s: 0,
        }
    }

    /// Looks at the clock, if anything depends on it; call it before a round of sends.
    pub fn begin(&mut self) {
        if self.last_until_s.max(self.off_until_s) == 0 {
            return;
        }
        self.now_s = self.clock.now().s();
        if self.now_s >= self.last_until_s {
            self.last_until_s = 0;
        }
        if self.now_s >= self.off_until_s {
            self.off_until_s = 0;
        }
    }

    /// Datagrams that one message to `peer` may carry.
    #[inline]
    pub fn segments_max(&self, peer: &PeerAddr) -> usize {
        if !self.granted || self.off_until_s != 0 || self.last_until_s != 0 && self.is_refused(peer.ip()) {
            1
        } else {
            TRAIN_SEGMENTS_MAX
        }
    }

    /// Whether a train that failed with this error may go datagram by datagram; the peer is then remembered.
    pub fn refuse(&mut self, peer: &PeerAddr, errno: i32) -> bool {
        if !matches!(errno, libc::EMSGSIZE | libc::EINVAL | libc::EIO) {
            return false;
        }
        self.now_s = self.clock.now().s();
        let until_s = self.now_s + TRAIN_RETRY_S;
        // Of one tick, several trains to one peer may fail before the first is noted.
        if !self.is_refused(peer.ip()) {
            self.remember(Refused { ip: peer.ip(), until_s });
            self.refusals += (errno != libc::EMSGSIZE) as u32;
        }
        if self.refusals >= TRAIN_REFUSALS_MAX {
            self.off_until_s = until_s;
            // Half as many are tried before it is turned off again.
            self.refusals = TRAIN_REFUSALS_MAX / 2;
        }
        true
    }

    /// Of so many trains so many failed. If one went, what was refused before was a matter of its path.
    pub fn note_sent(&mut self, trains: usize, failed: usize) {
        if trains > failed {
            self.refusals = 0;
        }
    }

    fn remember(&mut self, entry: Refused) {
        let set = self.set(entry.ip);
        let oldest = self.refused[set].iter_mut().min_by_key(|other| other.until_s);
        *oldest.expect("a set is not empty") = entry;
        self.last_until_s = self.last_until_s.max(entry.until_s);
    }

    fn is_refused(&self, ip: IpAddr) -> bool {
        self.refused[self.set(ip)].iter().any(|entry| entry.ip == ip && entry.until_s > self.now_s)
    }

    fn set(&self, ip: IpAddr) -> usize {
        let hash = match ip {
            IpAddr::V4(ip) => self.hash.hash(&ip.octets()),
            IpAddr::V6(ip) => self.hash.hash(&ip.octets()),
        };
        (hash >> 32) as usize % SETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::time::Duration;

    fn peer(number: u32) -> PeerAddr {
        PeerAddr::from(SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + number), 4000)))
    }

    fn trains() -> (Trains, Clock) {
        let clock = Clock::manual(0);
        (Trains::new(true, clock.clone()), clock)
    }

    #[test]
    fn a_peer_that_was_refused_a_train_gets_none_for_a_while_and_others_do() {
        for errno in [libc::EMSGSIZE, libc::EINVAL, libc::EIO] {
            let (mut trains, clock) = trains();
            assert_eq!(trains.segments_max(&peer(1)), TRAIN_SEGMENTS_MAX);
            assert!(trains.refuse(&peer(1), errno));
            trains.begin();
            assert_eq!(trains.segments_max(&peer(1)), 1);
            assert_eq!(trains.segments_max(&peer(2)), TRAIN_SEGMENTS_MAX);
            clock.advance(Duration::from_secs(TRAIN_RETRY_S));
            trains.begin();
            assert_eq!(trains.segments_max(&peer(1)), TRAIN_SEGMENTS_MAX);
        }
    }

    #[test]
    fn other_errors_are_not_about_trains() {
        let (mut trains, _) = trains();
        for errno in [libc::EAGAIN, libc::EPERM, libc::ENETUNREACH, libc::ENOBUFS] {
            assert!(!trains.refuse(&peer(1), errno));
        }
        assert_eq!(trains.segments_max(&peer(1)), TRAIN_SEGMENTS_MAX);
        assert_eq!(Trains::new(false, Clock::manual(0)).segments_max(&peer(1)), 1);
    }

    #[test]
    fn where_every_peer_is_refused_few_calls_fail() {
        let (mut trains, clock) = trains();
        let mut failed = 0;
        for number in 0..100_000 {
            trains.begin();
            if trains.segments_max(&peer(number)) > 1 {
                trains.refuse(&peer(number), libc::EINVAL);
                failed += 1;
            }
        }
        assert_eq!(failed, TRAIN_REFUSALS_MAX);
        clock.advance(Duration::from_secs(TRAIN_RETRY_S));
        trains.begin();
        assert_eq!(trains.segments_max(&peer(1)), TRAIN_SEGMENTS_MAX, "it is tried again");
    }

    #[test]
    fn many_narrow_paths_do_not_turn_trains_off_for_others() {
        let (mut trains, _) = trains();
        for number in 0..4 * TRAIN_PEERS as u32 {
            trains.refuse(&peer(number), libc::EMSGSIZE);
        }
        for number in 0..TRAIN_REFUSALS_MAX * 4 {
            trains.refuse(&peer(1 << 20 | number), libc::EIO);
            trains.note_sent(1, 0);
        }
        trains.begin();
        let others = (0..1000).filter(|n| trains.segments_max(&peer(1 << 22 | n)) > 1).count();
        assert_eq!(others, 1000);
    }
}
