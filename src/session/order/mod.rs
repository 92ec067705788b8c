//! Order: commands of one client that touch the same key take effect as they were sent, within one worker.
//!
//! ```text
//! datagram ─ its keys meet nothing under way ──────────▶ served now
//!          ─ one key, all under way on it went to its owner alone ─▶ follows them through the owner's ring
//!          ─ anything else under way on a key ─────────▶ held, behind them, until they are done
//! ```
//! A counting filter says what is under way: an entry a key of each request that is suspended or held, by hash of
//! client and key; an entry a client, so that clients with nothing under way pay one look. A request with too many keys
//! to note, or for all keys, has an entry for all keys of its client. Two keys that share an entry wait for each
//! other without need, which is late and not wrong.

pub mod footprint;

use crate::limits::ORDER_ENTRIES;
use crate::net::PeerAddr;
use crate::session::order::footprint::Footprint;
use cache::shard::Shards;

/// What a worker has under way, by client and key.
pub(crate) struct Order {
    entries: Box<[Entry]>,
    /// Requests that are running or held.
    requests: usize,
    /// A bit for each entry: whether a datagram with it stands behind the batch which is being put together. A kilobyte
    /// stays in the nearest cache.
    expected: Box<[u64; ORDER_ENTRIES / 64]>,
    has_expected: bool,
    /// Number of the present walk over what is held.
    walk: u32,
}

/// Requests that share a hash.
#[derive(Clone, Copy, Default)]
struct Entry {
    /// Begun, and suspended.
    running: u32,
    /// Of those: sent to the owner of their only key.
    lone: u32,
    /// Held.
    behind: u32,
    /// The last walk in which a request with this entry was left held.
    walk: u32,
}

/// A client: where a datagram came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin(u64);

/// Where a request stands to what is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing under way concerns it.
    Free,
    /// It may go to the owner of its only key, behind others that did.
    Follows,
    /// It has to wait for others.
    Behind,
}

impl Origin {
    /// The client at an address.
    #[inline]
    pub(crate) fn of(peer: &PeerAddr, shards: &Shards) -> Origin {
        Origin(shards.hash(peer.as_raw()))
    }

    /// The entry that says that something of this client is under way.
    fn presence(self) -> u16 {
        (self.0 % ORDER_ENTRIES as u64) as u16
    }

    /// The entry of all its keys.
    fn all_keys(self) -> u16 {
        ((self.0 >> 20) % ORDER_ENTRIES as u64) as u16
    }

    /// The entry of the key with this hash.
    #[inline]
    pub(crate) fn key(self, hash: u64) -> u16 {
        ((self.0 ^ hash).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u16 % ORDER_ENTRIES as u16
    }
}

impl Order {
    pub(crate) fn new() -> Order {
        Order {
            entries: vec![Entry::default(); ORDER_ENTRIES].into_boxed_slice(),
            requests: 0,
            expected: Box::new([0; ORDER_ENTRIES / 64]),
            has_expected: false,
            walk: 0,
        }
    }

    /// Whether nothing at all is under way.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.requests == 0 && !self.has_expected
    }

    /// Whether something of this client may be under way.
    #[inline]
    pub(crate) fn has_any_of(&self, origin: Origin) -> bool {
        !self.is_idle() && self.is_used(origin.presence())
    }

    /// Whether a read of this key would overtake something; only asked for clients that have something under way.
    #[inline]
    pub(crate) fn concerns(&self, origin: Origin, hash: u64) -> bool {
        self.is_used(origin.all_keys()) || self.is_used(origin.key(hash))
    }

    /// Whether anything has this entry: what is under way, or what stands behind the batch.
    #[inline]
    fn is_used(&self, entry: u16) -> bool {
        self.expected[entry as usize / 64] >> (entry % 64) & 1 != 0
            || self.requests > 0 && self.entry(entry).is_used()
    }

    /// Where a request stands that has not begun.
    pub(crate) fn standing(&self, footprint: &Footprint) -> Standing {
        if !meets(footprint, |entry| self.entry(entry).is_used()) {
            return Standing::Free;
        }
        let may_follow = |entry: Entry| entry.behind == 0 && entry.running == entry.lone;
        let all = self.entry(footprint.origin.all_keys());
        match footprint.lone_key() {
            Some(key) if may_follow(self.entry(key)) && may_follow(all) => Standing::Follows,
            _ => Standing::Behind,
        }
    }

    /// A request was suspended after it began; `is_lone`: it went to the owner of its only key.
    pub(crate) fn begin(&mut self, footprint: &Footprint, is_lone: bool) {
        self.requests += 1;
        self.each(footprint, |entry| {
            entry.running += 1;
            entry.lone += is_lone as u32;
        });
    }

    /// A request that [`Order::begin`] noted is done, or no longer with its key's owner alone.
    pub(crate) fn end(&mut self, footprint: &Footprint, was_lone: bool) {
        self.requests -= 1;
        self.each(footprint, |entry| {
            entry.running -= 1;
            entry.lone -= was_lone as u32;
        });
    }

    /// A request is held.
    pub(crate) fn hold(&mut self, footprint: &Footprint) {
        self.requests += 1;
        self.each(footprint, |entry| entry.behind += 1);
    }

    /// A request is held no longer.
    pub(crate) fn release(&mut self, footprint: &Footprint) {
        self.requests -= 1;
        self.each(footprint, |entry| entry.behind -= 1);
    }

    /// Begins a walk over what is held, in the order in which it came.
    pub(crate) fn begin_walk(&mut self) {
        self.walk = self.walk.wrapping_add(1);
    }

    /// Whether a held request has to stay: for something that runs, or for one that this walk left held.
    pub(crate) fn must_stay(&self, footprint: &Footprint) -> bool {
        meets(footprint, |entry| {
            let entry = self.entry(entry);
            entry.running > 0 || entry.walk == self.walk
        })
    }

    /// A held request stays, and so do those behind it.
    pub(crate) fn stays(&mut self, footprint: &Footprint) {
        let walk = self.walk;
        self.each(footprint, |entry| entry.walk = walk);
    }

    /// A datagram that will be served behind the batch changes this key.
    #[inline]
    pub(crate) fn expect(&mut self, origin: Origin, hash: u64) {
        self.expect_entry(origin.presence());
        self.expect_entry(origin.key(hash));
    }

    /// A datagram that will be served behind the batch changes any key.
    pub(crate) fn expect_all(&mut self, origin: Origin) {
        self.expect_entry(origin.presence());
        self.expect_entry(origin.all_keys());
    }

    /// The batch is answered: what stood behind it is served now.
    #[inline]
    pub(crate) fn forget_expected(&mut self) {
        if std::mem::take(&mut self.has_expected) {
            self.expected.fill(0);
        }
    }

    #[inline]
    fn expect_entry(&mut self, entry: u16) {
        self.expected[entry as usize / 64] |= 1 << (entry % 64);
        self.has_expected = true;
    }

    #[inline]
    fn entry(&self, entry: u16) -> Entry {
        self.entries[entry as usize]
    }

    fn each(&mut self, footprint: &Footprint, mut change: impl FnMut(&mut Entry)) {
        change(&mut self.entries[footprint.origin.presence() as usize]);
        if footprint.is_wide() {
            change(&mut self.entries[footprint.origin.all_keys() as usize]);
        }
        footprint.keys().iter().for_each(|&key| change(&mut self.entries[key as usize]));
    }
}

impl Entry {
    #[inline]
    fn is_used(&self) -> bool {
        self.running | self.behind != 0
    }
}

/// Whether a request meets others, of which `is_set` knows the entries: all of its client if it is wide, else those on
/// its keys and the wide ones.
fn meets(footprint: &Footprint, is_set: impl Fn(u16) -> bool) -> bool {
    let Footprint { origin, .. } = footprint;
    is_set(origin.presence())
        && (footprint.is_wide()
            || is_set(origin.all_keys())
            || footprint.keys().iter().any(|&key| is_set(key)))
}

const _: () = assert!(ORDER_ENTRIES <= 1 << 15 && ORDER_ENTRIES.is_power_of_two());

#[cfg(test)]
mod tests {
    use super::*;

    /// A client with this number.
    fn origin(number: u64) -> Origin {
        Origin(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn footprint(origin: Origin, hashes: &[u64]) -> Footprint {
        let mut footprint = Footprint::with_capacity(8);
        footprint.begin(origin);
        hashes.iter().for_each(|&hash| footprint.note(Some(hash)));
        footprint
    }

    #[test]
    fn a_request_waits_for_its_own_clients_keys_only() {
        let mut order = Order::new();
        let (a, b) = (origin(1), origin(2));
        let first = footprint(a, &[7, 8]);
        assert_eq!(order.standing(&first), Standing::Free);
        order.begin(&first, false);
        assert_eq!(order.standing(&footprint(a, &[8])), Standing::Behind);
        assert_eq!(order.standing(&footprint(a, &[9])), Standing::Free);
        assert_eq!(order.standing(&footprint(b, &[7, 8])), Standing::Free);
        assert!(order.has_any_of(a) && order.concerns(a, 7) && !order.concerns(a, 9));
        order.end(&first, false);
        assert!(order.is_idle() && order.standing(&footprint(a, &[8])) == Standing::Free);
    }

    #[test]
    fn what_has_too_many_keys_waits_for_all_of_its_client() {
        let mut order = Order::new();
        let a = origin(1);
        let wide = footprint(a, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert!(wide.is_wide());
        order.begin(&footprint(a, &[77]), true);
        assert_eq!(order.standing(&wide), Standing::Behind);
        order.hold(&wide);
        assert_eq!(order.standing(&footprint(a, &[99])), Standing::Behind);
        assert!(order.must_stay(&wide));
        order.end(&footprint(a, &[77]), true);
        order.begin_walk();
        assert!(!order.must_stay(&wide));
        order.release(&wide);
        assert!(order.is_idle());
    }

    #[test]
    fn lone_requests_follow_each_other_and_others_do_not() {
        let mut order = Order::new();
        let a = origin(1);
        let lone = footprint(a, &[7]);
        order.begin(&lone, true);
        assert_eq!(order.standing(&lone), Standing::Follows);
        assert_eq!(order.standing(&footprint(a, &[7, 8])), Standing::Behind);
        order.hold(&footprint(a, &[7, 8]));
        assert_eq!(order.standing(&lone), Standing::Behind, "not past what is held");
    }

    #[test]
    fn a_walk_keeps_the_order_of_what_is_held() {
        let mut order = Order::new();
        let a = origin(1);
        let (runs, first, second, other) =
            (footprint(a, &[1]), footprint(a, &[1, 2]), footprint(a, &[2]), footprint(a, &[3]));
        order.begin(&runs, false);
        [&first, &second, &other].into_iter().for_each(|held| order.hold(held));
        order.begin_walk();
        assert!(order.must_stay(&first));
        order.stays(&first);
        assert!(order.must_stay(&second), "it came behind the first");
        order.stays(&second);
        assert!(!order.must_stay(&other));
        order.end(&runs, false);
        order.begin_walk();
        assert!(!order.must_stay(&first));
    }

    #[test]
    fn a_batch_expects_keys_until_it_is_answered() {
        let mut order = Order::new();
        let (a, b) = (origin(1), origin(2));
        order.expect(a, 5);
        assert!(order.has_any_of(a) && order.concerns(a, 5) && !order.concerns(a, 6) && !order.has_any_of(b));
        assert_eq!(
            order.standing(&footprint(a, &[5])),
            Standing::Free,
            "what is served is before what comes"
        );
        order.forget_expected();
        assert!(order.is_idle() && !order.has_any_of(a) && !order.concerns(a, 5));
        order.expect_all(a);
        assert!(order.concerns(a, 6));
    }
}
