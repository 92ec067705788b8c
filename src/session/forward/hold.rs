//! Datagrams that stand behind others of their client on the same keys.

use crate::guard::Admitted;
use crate::net::Outbox;
use crate::session::Session;
use crate::session::forward::Fresh;
use crate::session::order::{Origin, Standing};
use crate::session::serial::{Position, Step};
use crate::udp::UdpSink;
use cache::base::clock::Now;

/// Whether a datagram could be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// It is answered, or suspended, or held.
    Yes,
    /// No pending request is free for it: try again in the next tick.
    NotYet,
    /// No pending request was free for it in time: it is answered, as far as it can be without one.
    InVain,
    /// The same of one without a store: it gets no answer, as if the network had lost it.
    Dropped,
}

/// Who still waits for a pending request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Datagrams with a store.
    pub(crate) of_stores: bool,
    /// Datagrams without.
    pub(crate) of_reads: bool,
}

impl Session {
    /// How many held requests are to be looked at again, by [`Session::release_next`]: none while nothing was finished.
    pub fn begin_release(&mut self) -> usize {
        if !std::mem::take(&mut self.has_finished) {
            return 0;
        }
        self.order.begin_walk();
        self.pool.held.len()
    }

    /// Serves a datagram in its turn: now, or behind others of its client on the same keys. The outbox has room. One for
    /// which no pending request is free waits while its kind is patient.
    pub(crate) fn serve_in_turn(
        &mut self,
        fresh: Fresh<'_>,
        patience: Patience,
        outbox: &mut Outbox,
        now: Now,
    ) -> Served {
        let standing = if self.order.is_idle() { Standing::Free } else { self.standing_of(&fresh) };
        if standing == Standing::Behind {
            return self.hold(fresh, patience, outbox);
        }
        let bytes = fresh.admitted.body.len();
        let are_short = self.pool.are_short(bytes);
        if are_short {
            self.trace(&fresh);
        }
        let has_buffer = !are_short || self.pool.have(bytes, &self.traced);
        if !has_buffer && (!self.traced.has_store() || patience.of_stores) {
            return self.wait_or_drop(patience);
        }
        self.serve_fresh(Fresh { follows: standing == Standing::Follows, ..fresh }, outbox, now);
        if has_buffer { Served::Yes } else { Served::InVain }
    }

    /// What becomes of a datagram that is not refused, and is in `traced`.
    fn wait_or_drop(&mut self, patience: Patience) -> Served {
        if self.traced.has_store() || patience.of_reads {
            return Served::NotYet;
        }
        self.executor.counters().reads_dropped.add(1);
        Served::Dropped
    }

    /// Finds out what a datagram touches.
    fn trace(&mut self, fresh: &Fresh<'_>) {
        let Admitted { peer, dialect, body, .. } = fresh.admitted;
        self.traced.begin(Origin::of(peer, self.executor.shards()));
        self.traced.trace(
            self.executor.shards(),
            dialect,
            body,
            fresh.first,
            self.executor.value_bytes_max(),
        );
    }

    /// Where a datagram stands to what its client has under way. What it touches is in `traced` if that is anything.
    fn standing_of(&mut self, fresh: &Fresh<'_>) -> Standing {
        if !self.order.has_any_of(Origin::of(fresh.admitted.peer, self.executor.shards())) {
            return Standing::Free;
        }
        self.trace(fresh);
        self.order.standing(&self.traced)
    }

    /// Keeps a copy of a datagram until what is before it is done.
    fn hold(&mut self, fresh: Fresh<'_>, patience: Patience, outbox: &mut Outbox) -> Served {
        let Admitted { peer, request_id, dialect, body, .. } = fresh.admitted;
        match self.pool.take(body.len(), 0, self.traced.has_store()) {
            Some(mut pending) => {
                pending.begin(&fresh.admitted, b"");
                pending.footprint.copy_from(&self.traced);
                self.order.hold(&pending.footprint);
                self.executor.counters().held.add(1);
                self.pool.held.push_back(pending);
                Served::Yes
            }
            None if patience.of_stores || !self.traced.has_store() => self.wait_or_drop(patience),
            None => {
                let mut sink = UdpSink::new(outbox, peer, request_id, dialect);
                let mut reply = sink.reply();
                self.refuse_rest(&fresh.admitted, Position::default(), &mut reply);
                let bytes = reply.bytes();
                sink.commit(bytes);
                Served::InVain
            }
        }
    }

    /// Runs the next that is held, or puts it back behind those that were not yet looked at.
    pub fn release_next(&mut self, outbox: &mut Outbox, now: Now) {
        let Some(mut pending) = self.pool.held.pop_front() else { return };
        if self.order.must_stay(&pending.footprint) {
            self.order.stays(&pending.footprint);
            return self.pool.held.push_back(pending);
        }
        self.order.release(&pending.footprint);
        match self.run_pending(&mut pending, now) {
            Step::Done => self.finish(pending, outbox),
            step => self.begin(pending, step, now),
        }
    }
}
