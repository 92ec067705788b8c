//! The datagrams of a tick: in batches where they can be, one by one where they must.
//!
//! ```text
//! inbox ─▶ judge ─▶ batch ─▶ alone, in the order of arrival ─▶ batch ─▶ …   until all are served, or there is no room
//! ```
//! Each is judged once, when it is looked at for the first time. One that stays for the next tick keeps what was judged.

use crate::limits::{POOL_WAIT_MS, READ_POOL_WAIT_MS, TICK_DATAGRAMS_MAX, TICK_READS_MAX};
use crate::net::{Inbox, Outbox, PeerAddr, Port};
use crate::session::Session;
use crate::session::batch::{ALONE_MAX, Alone, Batch, Joined, Judged, Outcome, Waiting};
use crate::session::forward::Fresh;
use crate::session::forward::hold::{Patience, Served};
use crate::worker::Worker;
use cache::base::clock::Now;
use std::collections::VecDeque;

/// What of the inbox is not served yet. It stays for the next tick when replies have no more room in this one, or a
/// datagram finds no pending request.
pub(super) struct Unserved {
    /// Datagrams that are served one by one, in the order of arrival, before the next batch begins.
    alone: VecDeque<Judged>,
    /// The first datagram that was neither in a batch nor put into `alone`.
    next: usize,
    /// Datagrams before this one were judged, and counted.
    judged_end: usize,
    /// Those between the two that were not refused, in the order of arrival: they had no room in the last batch, or their replies
    /// had none.
    again: VecDeque<Judged>,
    /// Since when one waits for a pending request, in ns since the server epoch; 0 = none does.
    waits_since_ns: u64,
    /// One has waited in vain: stores behind it do not wait.
    is_impatient: bool,
    /// One without a store has waited in vain: none behind it waits.
    has_dropped: bool,
    is_pending: bool,
}

impl Unserved {
    /// Datagrams of one batch: its members, those that are served alone, and the one that it has no room for.
    const LOOKED_AT_MAX: usize = TICK_READS_MAX + ALONE_MAX + 1;

    pub(super) fn new() -> Unserved {
        Unserved {
            alone: VecDeque::with_capacity(ALONE_MAX),
            next: 0,
            judged_end: 0,
            again: VecDeque::with_capacity(Self::LOOKED_AT_MAX),
            waits_since_ns: 0,
            is_impatient: false,
            has_dropped: false,
            is_pending: false,
        }
    }

    /// Whether there is something.
    pub(super) fn is_pending(&self) -> bool {
        self.is_pending
    }

    /// All is served: the next inbox begins.
    fn clear(&mut self) {
        self.alone.clear();
        self.again.clear();
        (self.next, self.judged_end, self.waits_since_ns) = (0, 0, 0);
        (self.is_impatient, self.has_dropped, self.is_pending) = (false, false, false);
    }

    /// Which datagrams may wait for a pending request: for a bounded time, because all behind them wait as well.
    fn patience(&self, now: Now) -> Patience {
        let waited_ns = if self.waits_since_ns == 0 { 0 } else { now.ns.saturating_sub(self.waits_since_ns) };
        let is_within = |ms: u64| waited_ns <= ms * 1_000_000;
        Patience {
            of_stores: !self.is_impatient && is_within(POOL_WAIT_MS),
            of_reads: !self.has_dropped && is_within(READ_POOL_WAIT_MS),
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

    /// A datagram that is served alone is done.
    fn goes_on(&mut self, served: Served) {
        self.waits_since_ns = 0;
        self.is_impatient |= matches!(served, Served::InVain | Served::Dropped);
        self.has_dropped |= served == Served::Dropped;
    }

    /// What is judged of datagram `number`, the next one, or was when it was looked at before; `None` if it is refused.
    #[inline]
    fn judge(
        &mut self,
        session: &mut Session,
        number: usize,
        peer: &PeerAddr,
        bytes: &[u8],
        now: Now,
    ) -> Option<Judged> {
        if number < self.judged_end {
            // One that is not there was refused.
            return self.again.pop_front_if(|judged| judged.number as usize == number);
        }
        self.judged_end = number + 1;
        session.executor().counters().bytes_read.add(bytes.len() as u64);
        let admission = session.executor_mut().judge(peer, bytes, now)?;
        Some(Judged { number: number as u16, admission })
    }

    /// These are looked at again in the next batch.
    fn look_again(&mut self, judged: impl Iterator<Item = Judged>) {
        self.again.extend(judged);
        self.again.make_contiguous().sort_unstable_by_key(|judged| judged.number);
    }

    /// There is no room for the reply to this datagram of a batch: it and those behind it are looked at again when there is.
    #[cold]
    fn goes_back_to(&mut self, unanswered: usize, batch: &Batch<'_>, alone: &mut Alone<'_>) {
        let before = alone.partition_point(|waiting| (waiting.judged.number as usize) < unanswered);
        let behind = alone.drain(before..).map(|waiting| waiting.judged);
        self.look_again(batch.members_from(unanswered).chain(behind));
        self.next = unanswered;
    }
}

impl<P: Port> Worker<P> {
    /// Serves the datagrams of the inbox and the connections that have sent something, or as many as there is room for; says whether
    /// there were any.
    pub(super) fn serve(&mut self, now: Now) -> std::io::Result<bool> {
        let Worker { port, inbox, outbox, session, streams, .. } = self;
        let has_streams = streams.begin_tick(port, session, &mut inbox.events, outbox, now)?;
        let count = self.inbox.datagrams().len();
        if count == 0 && self.streams.queue.is_empty() {
            return Ok(has_streams);
        }
        self.session.executor_mut().begin_datagrams();
        if !self.unserved.is_pending {
            self.session.executor().counters().datagrams_received.add(count as u64);
        }
        self.unserved.is_pending = !self.serve_until_full(count, now);
        if !self.unserved.is_pending {
            self.unserved.clear();
        }
        Ok(true)
    }

    /// Says whether all is served.
    fn serve_until_full(&mut self, count: usize, now: Now) -> bool {
        let mut goes_on = self.serve_left(now);
        while goes_on && (self.unserved.next < count || !self.streams.queue.is_empty()) {
            goes_on = self.outbox.has_room() && self.serve_batch(now);
        }
        // Connections that have not had their turn come first in the next tick.
        goes_on || self.unserved.next >= count && self.unserved.alone.is_empty()
    }

    /// Serves what was left to be served alone; says whether nothing is left of it.
    fn serve_left(&mut self, now: Now) -> bool {
        let Worker { port, inbox, outbox, session, unserved, .. } = self;
        while let Some(&judged) = unserved.alone.front() {
            let waiting = Waiting { judged, first: None };
            let bytes = port.bytes(&inbox.datagrams()[judged.number as usize]);
            if !serve_alone(session, inbox, bytes, outbox, unserved, &waiting, now) {
                return false;
            }
            unserved.alone.pop_front();
        }
        true
    }

    /// Answers the plain reads of as many datagrams as fit a batch, then the other ones that were looked at, alone. Says whether
    /// none of these is left.
    fn serve_batch(&mut self, now: Now) -> bool {
        self.choose_streams(now);
        let mut outcomes = std::mem::take(&mut self.streams.outcomes);
        let (joined, goes_on) = self.answer_batch(&mut outcomes, now);
        self.settle_streams(&outcomes, joined, now);
        outcomes.clear();
        self.streams.outcomes = outcomes;
        goes_on
    }

    /// Says how many of the chosen connections joined, and whether none of the datagrams that were looked at is left; what became of
    /// connections joins `outcomes`.
    fn answer_batch(&mut self, outcomes: &mut Vec<Outcome>, now: Now) -> (usize, bool) {
        let Worker { port, inbox, outbox, session, unserved, streams, .. } = self;
        session.executor_mut().profiler().mark();
        let (mut batch, mut alone) = (Batch::new(), Alone::new());
        gather(port, inbox, session, unserved, (&mut batch, &mut alone), now);
        let joined = Self::join_streams(&mut batch, port, streams, session);
        let looked_at = alone.len();
        let unanswered = batch.answer(session, inbox, outbox, &mut alone, outcomes, now);
        session.end_batch();
        session.executor_mut().profiler().record_batch(batch.reads.len(), looked_at);
        if alone.len() > looked_at {
            // Reads that only an owner can settle have their place among the others.
            alone.sort_unstable_by_key(|waiting| waiting.judged.number);
        }
        if let Some(unanswered) = unanswered {
            unserved.goes_back_to(unanswered, &batch, &mut alone);
        }
        for (done, waiting) in alone.iter().enumerate() {
            let bytes = port.bytes(&inbox.datagrams()[waiting.judged.number as usize]);
            if !serve_alone(session, inbox, bytes, outbox, unserved, waiting, now) {
                unserved.alone.extend(alone[done..].iter().map(|waiting| waiting.judged));
                return (joined, false);
            }
        }
        (joined, true)
    }
}

/// Looks at the next datagrams: plain reads join the batch until it is full, the others will be served alone.
#[inline]
fn gather<'a, P: Port>(
    port: &'a P,
    inbox: &'a Inbox,
    session: &mut Session,
    unserved: &mut Unserved,
    (batch, alone): (&mut Batch<'a>, &mut Alone<'a>),
    now: Now,
) {
    let first = unserved.next;
    while unserved.next < inbox.datagrams().len() && alone.len() < TICK_READS_MAX {
        let (number, datagram) = (unserved.next, inbox.datagrams()[unserved.next]);
        let (peer, bytes) = (inbox.peer(&datagram), port.bytes(&datagram));
        if let Some(judged) = unserved.judge(session, number, peer, bytes, now) {
            let joined = match judged.admission.admitted(peer, bytes) {
                Some(admitted) => batch.join(session, &admitted, judged),
                None => Joined::Serial,
            };
            match joined {
                Joined::Batch => {}
                Joined::Full if number > first => return unserved.look_again([judged].into_iter()),
                // Full: more reads than any batch holds.
                Joined::Serial | Joined::Full => alone.push(Waiting { judged, first: batch.first.take() }),
            }
        }
        unserved.next += 1;
    }
}

/// Serves one datagram, of these bytes; says whether it is done.
fn serve_alone(
    session: &mut Session,
    inbox: &Inbox,
    bytes: &[u8],
    outbox: &mut Outbox,
    unserved: &mut Unserved,
    waiting: &Waiting<'_>,
    now: Now,
) -> bool {
    if !outbox.has_room() {
        return false;
    }
    let Judged { number, admission } = &waiting.judged;
    let peer = inbox.peer(&inbox.datagrams()[*number as usize]);
    if session.executor_mut().answer_at_the_door(peer, admission, bytes, outbox, now) {
        unserved.goes_on(Served::Yes);
        return true;
    }
    let admitted = admission.admitted(peer, bytes).expect("it is served");
    let fresh = Fresh { admitted, first: waiting.first.as_ref(), follows: false };
    let served = session.serve_in_turn(fresh, unserved.patience(now), outbox, now);
    if served == Served::NotYet {
        let begins = unserved.waits(now);
        session.executor().counters().deferred.add(begins as u64);
        return false;
    }
    unserved.goes_on(served);
    true
}

const _: () = assert!(TICK_DATAGRAMS_MAX <= u16::MAX as usize, "a datagram's number fits 16 bits");
