//! The datagrams of a tick: in batches where they can be, one by one where they must.
//!
//! ```text
//! inbox ─▶ batch ─▶ alone, in the order of arrival ─▶ batch ─▶ …        until all are served, or there is no room
//! ```

use crate::io::Port;
use crate::limits::{PARCEL_WAIT_MS, READ_PARCEL_WAIT_MS, TICK_READS_MAX};
use crate::worker::Worker;
use crate::worker::admission::Admission;
use crate::worker::batch::{Alone, Batch, Joined};
use crate::worker::hold::{Patience, Served};
use crate::worker::post::Fresh;
use cache::base::clock::Now;

/// What of the inbox is not served yet. It stays for the next tick when replies have no more room in this one, or a
/// datagram finds no parcel.
#[derive(Default)]
pub(super) struct Unserved {
    /// Datagrams that are served one by one, in the order of arrival, before the next batch begins.
    alone: Alone,
    /// How many of them are done.
    alone_done: usize,
    /// The first datagram that was neither in a batch nor put into `alone`.
    next: usize,
    /// Datagrams before this one were looked at, and counted.
    noted: usize,
    /// Since when one waits for a parcel, in ns since the server epoch; 0 = none does.
    waits_since_ns: u64,
    /// One has waited in vain: stores behind it do not wait.
    is_impatient: bool,
    /// One without a store has waited in vain: none behind it waits.
    has_dropped: bool,
    is_pending: bool,
}

impl Unserved {
    /// Whether there is something.
    pub(super) fn is_pending(&self) -> bool {
        self.is_pending
    }

    /// Which datagrams may wait for a parcel: for a bounded time, because all behind them wait as well.
    fn patience(&self, now: Now) -> Patience {
        let waited_ns = if self.waits_since_ns == 0 { 0 } else { now.ns.saturating_sub(self.waits_since_ns) };
        let is_within = |ms: u64| waited_ns <= ms * 1_000_000;
        Patience {
            of_stores: !self.is_impatient && is_within(PARCEL_WAIT_MS),
            of_reads: !self.has_dropped && is_within(READ_PARCEL_WAIT_MS),
        }
    }

    /// A datagram waits; says whether it has just begun to.
    fn waits(&mut self, now: Now) -> bool {
        let begins = self.waits_since_ns == 0;
        if begins {
            self.waits_since_ns = now.ns.max(1);
        }
        begins
    }

    /// A datagram of `alone` is done.
    fn goes_on(&mut self, served: Served) {
        (self.alone_done, self.waits_since_ns) = (self.alone_done + 1, 0);
        self.is_impatient |= matches!(served, Served::InVain | Served::Dropped);
        self.has_dropped |= served == Served::Dropped;
    }

    fn next_alone(&self) -> Option<usize> {
        self.alone.get(self.alone_done).map(|&datagram| datagram as usize)
    }

    /// A batch was answered, and these have to be served before the next one.
    fn follow_batch(&mut self, alone: Alone, next: usize) {
        (self.alone, self.alone_done, self.next) = (alone, 0, next);
    }
}

impl<P: Port> Worker<P> {
    /// Serves the datagrams of the inbox, or as many as there is room for; says whether there were any.
    pub(super) fn serve_datagrams(&mut self, now: Now) -> bool {
        let count = self.inbox.datagrams().len();
        if count == 0 {
            return false;
        }
        self.core.hits.begin_tick();
        if !self.unserved.is_pending {
            self.core.sealed.begin_tick();
            self.core.counters.datagrams_received.add(count as u64);
        }
        self.unserved.is_pending = !self.serve_until_full(count, now);
        if !self.unserved.is_pending {
            self.unserved = Unserved::default();
        }
        true
    }

    /// Says whether all is served.
    fn serve_until_full(&mut self, count: usize, now: Now) -> bool {
        loop {
            while let Some(datagram) = self.unserved.next_alone() {
                if !self.outbox.has_room() {
                    return false;
                }
                let served = self.serve_alone(datagram, now);
                if served == Served::NotYet {
                    let begins = self.unserved.waits(now);
                    self.core.counters.deferred.add(begins as u64);
                    return false;
                }
                self.unserved.goes_on(served);
            }
            if self.unserved.next == count {
                return true;
            }
            if !self.outbox.has_room() {
                return false;
            }
            self.serve_batch(now);
        }
    }

    /// Answers the plain reads of as many datagrams as fit a batch; the others have to be served alone.
    fn serve_batch(&mut self, now: Now) {
        let Worker { port, inbox, outbox, core, unserved, .. } = self;
        core.watch.mark();
        let (mut batch, mut alone, first) = (Batch::new(), Alone::new(), unserved.next);
        let mut next = first;
        while next < inbox.datagrams().len() && alone.len() < TICK_READS_MAX {
            let datagram = inbox.datagrams()[next];
            let note = next >= unserved.noted;
            unserved.noted = unserved.noted.max(next + 1);
            match batch.join(core, inbox.peer(&datagram), port.bytes(&datagram), next, note, now) {
                Joined::Batch | Joined::Refused => {}
                Joined::Serial => alone.push(next as u16),
                // More reads than any batch holds.
                Joined::Full if next == first => alone.push(next as u16),
                Joined::Full => break,
            }
            next += 1;
        }
        let parsed_in_vain = alone.len();
        let unanswered = batch.answer(core, inbox, outbox, &mut alone, now);
        core.order.forget_expected();
        core.watch.lap_batch(batch.reads.len(), parsed_in_vain);
        if let Some(unanswered) = unanswered {
            // No room for more replies: these datagrams are looked at again when there is.
            alone.retain(|&mut datagram| (datagram as usize) < unanswered);
        }
        if alone.len() > parsed_in_vain || unanswered.is_some() {
            // Reads that only an owner can settle have their place among the others.
            alone.sort_unstable();
        }
        unserved.follow_batch(alone, unanswered.unwrap_or(next));
    }

    fn serve_alone(&mut self, datagram: usize, now: Now) -> Served {
        let Worker { port, inbox, outbox, core, unserved, .. } = self;
        let patience = unserved.patience(now);
        let (number, datagram) = (datagram, inbox.datagrams()[datagram]);
        let peer = inbox.peer(&datagram);
        match core.admit(peer, port.bytes(&datagram), number, now, false) {
            Admission::Refused => Served::Yes,
            Admission::Challenge { request_id, dialect, is_renewal } => {
                core.challenge(peer, (request_id, dialect), is_renewal, outbox, now);
                Served::Yes
            }
            Admission::Serve { request_id, dialect, body } => {
                let fresh = Fresh { peer, request_id, dialect, body, follows: false };
                core.serve_in_turn(fresh, patience, outbox, now)
            }
        }
    }
}
