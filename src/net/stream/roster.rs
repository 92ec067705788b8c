//! Who is connected to a worker, for `stats conns`: written by the worker, read by anybody, without a lock.
//!
//! The first [`ROSTER_PLACES`] places of a worker are listed; a listing of more would be longer than anybody reads. Each entry is
//! guarded by a version, as the snapshot of hot keys is (a sequence lock): a reader that meets a change passes over the entry.

use crate::limits::ROSTER_PLACES;
use crate::net::{ConnectionId, PeerAddr, StreamPeer};
use cache::base::sync::{AtomicU64, Ordering, fence};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The connections of one worker.
#[derive(Debug)]
pub struct Roster {
    entries: Box<[Entry]>,
}

#[derive(Debug, Default)]
struct Entry {
    /// Odd while the entry changes.
    version: AtomicU64,
    /// What is at the place, and the port.
    kind: AtomicU64,
    ip: [AtomicU64; 2],
    active_s: AtomicU64,
}

/// A connection, as it is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its place with its worker.
    pub place: usize,
    /// Who is at the other end; `None` for a UNIX socket.
    pub peer: Option<SocketAddr>,
    /// When something was received of it last, in s since the server epoch.
    pub active_s: u64,
}

const NOBODY: u64 = 0;
const UNIX: u64 = 1 << 16;
const INET: u64 = 2 << 16;

impl Default for Roster {
    fn default() -> Roster {
        Roster { entries: (0..ROSTER_PLACES).map(|_| Entry::default()).collect() }
    }
}

impl Roster {
    /// A connection is there.
    pub fn open(&self, id: ConnectionId, peer: StreamPeer, now_s: u64) {
        match peer {
            StreamPeer::Unix => self.write(id, UNIX, 0, now_s),
            StreamPeer::Inet(addr) => self.write(id, INET | addr.port() as u64, bits_of(&addr), now_s),
        }
    }

    /// A connection is gone.
    pub fn close(&self, id: ConnectionId) {
        self.write(id, NOBODY, 0, 0);
    }

    /// Something was received of a connection.
    #[inline]
    pub fn is_active(&self, id: ConnectionId, now_s: u64) {
        if let Some(entry) = self.entries.get(id.place as usize) {
            // Relaxed: a figure for people.
            entry.active_s.store(now_s, Ordering::Relaxed);
        }
    }

    fn write(&self, id: ConnectionId, kind: u64, ip: u128, now_s: u64) {
        let Some(entry) = self.entries.get(id.place as usize) else { return };
        // Relaxed: this thread alone writes; the fence and the Release store below order it for readers.
        let version = entry.version.load(Ordering::Relaxed);
        entry.version.store(version + 1, Ordering::Relaxed);
        // Release: pairs with the Acquire fence of `read`: who sees a word of this change sees the odd version.
        fence(Ordering::Release);
        entry.kind.store(kind, Ordering::Relaxed);
        entry.ip[0].store((ip >> 64) as u64, Ordering::Relaxed);
        entry.ip[1].store(ip as u64, Ordering::Relaxed);
        entry.active_s.store(now_s, Ordering::Relaxed);
        // Release: pairs with the Acquire load of `read`.
        entry.version.store(version + 2, Ordering::Release);
    }

    /// The connections that are open.
    pub fn list(&self) -> impl Iterator<Item = Listed> + '_ {
        self.entries.iter().enumerate().filter_map(|(place, entry)| entry.read(place))
    }
}

impl Entry {
    fn read(&self, place: usize) -> Option<Listed> {
        // Acquire: pairs with the last Release store of `write`.
        let version = self.version.load(Ordering::Acquire);
        let kind = self.kind.load(Ordering::Relaxed);
        let ip = [&self.ip[0], &self.ip[1]].map(|word| word.load(Ordering::Relaxed));
        let active_s = self.active_s.load(Ordering::Relaxed);
        // Acquire: pairs with the Release fence of `write`.
        fence(Ordering::Acquire);
        let is_whole = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        if !is_whole || kind == NOBODY {
            return None;
        }
        let ip = Ipv6Addr::from_bits((ip[0] as u128) << 64 | ip[1] as u128);
        let peer = (kind & INET != 0).then(|| SocketAddr::new(IpAddr::V6(ip).to_canonical(), kind as u16));
        Some(Listed { place, peer, active_s })
    }
}

fn bits_of(addr: &PeerAddr) -> u128 {
    match addr.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_there_is_listed_and_who_has_gone_is_not() {
        let (roster, id) = (Roster::default(), |place| ConnectionId { place, turn: 0 });
        let addr: SocketAddr = "10.1.2.3:4567".parse().unwrap();
        roster.open(id(0), StreamPeer::Inet(addr.into()), 5);
        roster.open(id(3), StreamPeer::Unix, 6);
        roster.open(id(ROSTER_PLACES as u32), StreamPeer::Unix, 6);
        roster.is_active(id(0), 9);
        let first = Listed { place: 0, peer: Some(addr), active_s: 9 };
        assert_eq!(roster.list().collect::<Vec<_>>(), [first, Listed { place: 3, peer: None, active_s: 6 }]);
        roster.close(id(0));
        assert_eq!(roster.list().map(|listed| listed.place).collect::<Vec<_>>(), [3]);
    }
}
