//! Several servers as one cache: rendezvous hashing (D. Thaler, C. Ravishankar 1998; also "highest random weight").
//!
//! Each key goes to the server with the highest hash of (key, server). When a server leaves or joins, only the keys
//! that were or will be its own move. Cost: one multiply-mix a server and key; meant for tens of servers.

use crate::random::mix;
use crate::hash::steer;
use std::net::SocketAddr;

/// Servers at most.
pub const TARGETS_MAX: usize = 64;

/// The servers.
#[derive(Clone, Debug)]
pub struct Targets {
    addresses: Vec<SocketAddr>,
    seeds: Vec<u64>,
}

impl Targets {
    /// These servers; at least one, at most [`TARGETS_MAX`].
    pub fn new(addresses: Vec<SocketAddr>) -> Targets {
        assert!((1..=TARGETS_MAX).contains(&addresses.len()));
        // The address, not its place in the list, makes the weight: lists in another order agree.
        let seeds = addresses.iter().map(|a| steer(a.to_string().as_bytes())).collect();
        Targets { addresses, seeds }
    }

    /// Their addresses.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
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
        targets.addresses()[targets.of(format!("key{key}").as_bytes())].port()
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
