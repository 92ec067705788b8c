//! Several servers as one cache: rendezvous hashing (D. Thaler, C. Ravishankar 1998; also "highest random weight").
//!
//! Each key goes to the server with the highest hash of (key, server). When a server leaves or joins, only the keys
//! that were or will be its own move. Cost: one multiply-mix a server and key; meant for tens of servers.

use cache::base::random::mix;
use protocol::steer::steer;
use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Servers at most.
pub const TARGETS_MAX: usize = 64;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address and a port.
    Ip(SocketAddr),
    /// The path of a UNIX socket.
    Unix(PathBuf),
}

impl Peer {
    /// What a target on the command line begins with if it is a path.
    pub const UNIX_PREFIX: &str = "unix:";

    /// Its address; `None` for a path.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Peer::Ip(address) => Some(*address),
            Peer::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Peer {
        Peer::Ip(address)
    }
}

/// As on the command line.
impl Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Ip(address) => write!(out, "{address}"),
            Peer::Unix(path) => write!(out, "{}{}", Peer::UNIX_PREFIX, path.display()),
        }
    }
}

/// The servers.
#[derive(Clone, Debug)]
pub struct Targets {
    peers: Vec<Peer>,
    seeds: Vec<u64>,
}

impl Targets {
    /// These servers; at least one, at most [`TARGETS_MAX`].
    pub fn new<P: Into<Peer>>(peers: Vec<P>) -> Targets {
        assert!((1..=TARGETS_MAX).contains(&peers.len()));
        let peers: Vec<Peer> = peers.into_iter().map(Into::into).collect();
        // The address, not its place in the list, makes the weight: lists in another order agree.
        let seeds = peers.iter().map(|peer| steer(peer.to_string().as_bytes())).collect();
        Targets { peers, seeds }
    }

    /// Where they are.
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// The number of the server that owns `key`.
    #[inline]
    pub fn of(&self, key: &[u8]) -> usize {
        if self.seeds.len() == 1 {
            return 0;
        }
        let hash = steer(key);
        let weight = |at: &usize| mix(hash ^ self.seeds[*at]);
        (0..self.seeds.len()).max_by_key(weight).expect("there is a server")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(ports: &[u16]) -> Targets {
        Targets::new(ports.iter().map(|&p| SocketAddr::from(([127, 0, 0, 1], p))).collect())
    }

    fn owner(targets: &Targets, key: u32) -> u16 {
        targets.peers()[targets.of(format!("key{key}").as_bytes())].ip().unwrap().port()
    }

    #[test]
    fn keys_spread_evenly() {
        let four = targets(&[1, 2, 3, 4]);
        let mut counts = [0; 5];
        for key in 0..40_000 {
            counts[owner(&four, key) as usize] += 1;
        }
        assert!(counts[1..].iter().all(|c| (9_500..10_500).contains(c)), "{counts:?}");
    }

    #[test]
    fn a_server_that_leaves_moves_only_its_own_keys() {
        let (four, three) = (targets(&[1, 2, 3, 4]), targets(&[4, 2, 1]));
        for key in 0..10_000 {
            let before = owner(&four, key);
            assert!(before == 3 || owner(&three, key) == before);
        }
    }
}
