//! How much of us a source may have in a second that it did not earn.

use crate::limits::{BUDGET_SOURCES, SOURCE_BUDGET_PER_S};
use cache::base::clock::Now;
use cache::base::hash::KeyHash;
use std::net::IpAddr;

/// What a source address may have of us in a second that it did not earn: errors, or challenges. A spoofed source cannot be
/// flooded with them.
///
/// A table of [`BUDGET_SOURCES`] counts, by a seeded hash of the address; two sources may share a count, and then share
/// its bound. No memory grows with the number of sources.
pub(super) struct SourceBudget {
    hash: KeyHash,
    second: u64,
    counts: Box<[u8; BUDGET_SOURCES]>,
}

impl SourceBudget {
    /// Nobody has had anything yet.
    pub(super) fn new() -> SourceBudget {
        SourceBudget {
            hash: KeyHash::new(KeyHash::random_seed()),
            second: 0,
            counts: Box::new([0; BUDGET_SOURCES]),
        }
    }

    /// Whether `ip` may have one more in this second; counts it.
    pub(super) fn allows(&mut self, ip: IpAddr, now: Now) -> bool {
        if self.second != now.s() {
            self.second = now.s();
            self.counts.fill(0);
        }
        let index = self.index(ip);
        let count = &mut self.counts[index];
        let is_allowed = *count < SOURCE_BUDGET_PER_S;
        *count += is_allowed as u8;
        is_allowed
    }

    fn index(&self, ip: IpAddr) -> usize {
        let hash = match ip.to_canonical() {
            IpAddr::V4(ip) => self.hash.hash(&ip.octets()),
            IpAddr::V6(ip) => self.hash.hash(&ip.octets()),
        };
        hash as usize % BUDGET_SOURCES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_budget_again_in_the_next_second() {
        let mut budget = SourceBudget::new();
        let (ip, second): (IpAddr, u64) = ("192.0.2.1".parse().unwrap(), 1_000_000_000);
        let now = Now { ns: 5 * second, unix_s: 0 };
        for _ in 0..SOURCE_BUDGET_PER_S {
            assert!(budget.allows(ip, now));
        }
        for _ in 0..1000 {
            assert!(!budget.allows(ip, now));
        }
        assert!(budget.allows(ip, Now { ns: 6 * second, unix_s: 0 }));
    }
}
