//! Pending requests on their way: suspending a datagram, executing for others, going on with an answer.
//!
//! ```text
//! ours    fresh ─run─▶ Forward ─ pending request ─▶ owner … answer ─▶ run on ─▶ reply
//!                  ├─▶ Wait, Yield, Enlarge ─ pending request ─ next tick ─▶ run on
//!         behind others of its client on a key ─ held ─▶ run, when they are done          (`hold`)
//! theirs  request ─▶ execute, answer into the pending request ─▶ back          (or stalled until its memory is free)
//! ```
//! Waiting for memory ends after [`GRACE_WAIT_MS`]: then the client is told.

pub mod errand;
pub mod hold;
pub mod pending;
mod refuse;
pub mod stalled;

use crate::guard::Admitted;
use crate::limits::{ANSWER_LINE_BYTES_MAX, GRACE_WAIT_MS, REPLY_BODY_BYTES_MAX, TICK_INBOUND_MAX};
use crate::net::Outbox;
use crate::session::Session;
use crate::session::forward::errand::Errand;
use crate::session::forward::pending::{PendingRequest, WaitsFor};
use crate::session::order::Origin;
use crate::session::serial::{Executed, First, Position, Request, Step};
use crate::udp::UdpSink;
use cache::base::clock::Now;
use protocol::{Dialect, Error, Reply};

/// A datagram that begins to be served.
#[derive(Clone, Copy)]
pub(crate) struct Fresh<'a> {
    pub(crate) admitted: Admitted<'a>,
    /// Its first command, where that was read before.
    pub(crate) first: Option<&'a First<'a>>,
    /// Whether its reads go to the owner of their key, behind what was sent to it.
    pub(crate) follows: bool,
}

impl Session {
    /// Whether there is anything of other workers, or that was suspended.
    pub fn has_inbound(&self) -> bool {
        self.mesh.has_inbound() || self.has_stalled() || !self.pool.held.is_empty()
    }

    /// Suspended datagrams that wait with this worker.
    pub fn waiting(&self) -> usize {
        self.pool.waiting.len()
    }

    /// Tries the next of those that wait again; gives the units of work that it took. The outbox has room.
    pub fn retry_next(&mut self, outbox: &mut Outbox, now: Now) -> Option<u32> {
        let pending = self.pool.waiting.pop_front()?;
        self.executor.begin_turn();
        self.retry(pending, outbox, now);
        Some(self.executor.spent())
    }

    /// Goes on with the next that another worker has answered; gives the units of work that it took. The outbox has room.
    pub fn resume_next(&mut self, outbox: &mut Outbox, now: Now) -> Option<u32> {
        let pending = self.mesh.next_answer()?;
        self.executor.profiler().answered(pending.sent_ns);
        self.executor.begin_turn();
        self.resume(pending, outbox, now);
        Some(self.executor.spent())
    }

    /// Whether something waits here for what time or other workers bring.
    pub(crate) fn has_stalled(&self) -> bool {
        self.stalled.len() > 0 || !self.pool.waiting.is_empty() || self.has_abandoned()
    }

    /// Serves a datagram from its beginning. The outbox has room.
    pub(crate) fn serve_fresh(&mut self, fresh: Fresh<'_>, outbox: &mut Outbox, now: Now) {
        let Fresh { admitted, first, follows } = fresh;
        let Admitted { peer, request_id, dialect, body, .. } = admitted;
        let mut sink = UdpSink::new(outbox, peer, request_id, dialect);
        let mut reply = sink.reply();
        let mut request = Request { admitted, now, may_grow: false, may_yield: true, follows };
        let (mut position, mut unread) = (Position::default(), first);
        self.executor.begin_turn();
        loop {
            let step = self.executor.run(request, position, unread.take(), &mut reply);
            let at = match step {
                Step::Done => break,
                Step::Enlarge { .. } => unreachable!("the outbox has all the room there is"),
                Step::Cut { .. }
                | Step::ReadKeys { .. }
                | Step::Refused { .. }
                | Step::Dump { .. }
                | Step::Close => {
                    unreachable!("a datagram is no stream")
                }
                Step::Forward { position, .. } | Step::Wait { position } | Step::Yield { position } => {
                    position
                }
            };
            // Only looked at where pending requests are short, and then it is of this datagram.
            let has_store = self.traced.has_store();
            if let Some(mut pending) = self.pool.take(body.len(), reply.bytes(), has_store) {
                pending.begin(&admitted, reply.written());
                pending.footprint.begin(Origin::of(peer, self.executor.shards()));
                pending.footprint.trace(
                    self.executor.shards(),
                    dialect,
                    body,
                    first,
                    self.executor.value_bytes_max(),
                );
                return self.begin(pending, step, now);
            }
            if let Step::Yield { .. } = step {
                if has_store {
                    self.refuse_rest(&admitted, at, &mut reply);
                    break;
                }
                // What changes nothing is bounded by the length of the datagram.
                (request.may_yield, position) = (false, at);
            } else {
                self.executor.counters().busy.add(1);
                position = self.refuse_part(body, at, Error::Busy, &mut reply);
            }
        }
        let bytes = reply.bytes();
        sink.commit(bytes);
    }

    /// Runs a pending request from its position, with its reply as far as it goes. The outbox has room.
    pub(crate) fn resume(&mut self, mut pending: Box<PendingRequest>, outbox: &mut Outbox, now: Now) {
        if pending.needs_room {
            return self.enlarge(pending, now);
        }
        if pending.errand != Errand::Commands {
            return self.come_home(pending, outbox);
        }
        let step = self.run_pending(&mut pending, now);
        match step {
            // What travels of a stream is whole, but for a value that the connection passes over.
            Step::Done | Step::Cut { .. } | Step::Refused { .. } => {
                self.order.end(&pending.footprint, pending.is_lone);
                self.finish(pending, outbox);
            }
            step => self.suspend(pending, step, now),
        }
    }

    /// Runs the commands of a pending request, with what they come to behind its reply so far.
    pub(crate) fn run_pending(&mut self, pending: &mut PendingRequest, now: Now) -> Step {
        let (mut buffer, bytes) = pending.take_reply();
        let mut reply = Reply::new(&mut buffer, bytes, pending.dialect);
        let request = Request {
            admitted: pending.admitted(),
            now,
            may_grow: !pending.is_large(),
            may_yield: true,
            follows: false,
        };
        self.executor.begin_turn();
        let step = self.executor.run(request, pending.position, None, &mut reply);
        let bytes = reply.bytes();
        pending.put_reply(buffer, bytes);
        step
    }

    /// Sends the reply of a pending request.
    pub(crate) fn finish(&mut self, pending: Box<PendingRequest>, outbox: &mut Outbox) {
        match pending.connection {
            None => {
                UdpSink::new(outbox, &pending.peer, pending.request_id, pending.dialect).send(pending.reply())
            }
            Some(id) if pending.reply().len() > REPLY_BODY_BYTES_MAX => {
                outbox.streams.send_long(id, pending.reply().to_vec());
                self.answered_streams.push(id);
            }
            Some(id) => {
                outbox.streams.send(id, pending.reply());
                self.answered_streams.push(id);
            }
        }
        self.pool.put_back(pending);
        self.has_finished = true;
    }

    /// Suspends a datagram that has begun.
    pub(crate) fn begin(&mut self, mut pending: Box<PendingRequest>, step: Step, now: Now) {
        let is_forwarded = matches!(step, Step::Forward { .. });
        pending.is_lone = is_forwarded && pending.footprint.lone_key().is_some();
        self.order.begin(&pending.footprint, pending.is_lone);
        self.suspend(pending, step, now);
    }

    fn suspend(&mut self, mut pending: Box<PendingRequest>, step: Step, now: Now) {
        self.executor.counters().suspended.add(1);
        let (position, waits_for) = match step {
            Step::Done
            | Step::Cut { .. }
            | Step::ReadKeys { .. }
            | Step::Refused { .. }
            | Step::Dump { .. }
            | Step::Close => {
                unreachable!("nothing is left to suspend")
            }
            Step::Forward { owner, position } => {
                pending.position = position;
                return self.forward(pending, owner, now);
            }
            Step::Enlarge { position } => {
                pending.position = position;
                return self.enlarge(pending, now);
            }
            Step::Wait { position } => (position, WaitsFor::Memory),
            Step::Yield { position } => {
                self.executor.counters().yielded.add(1);
                (position, WaitsFor::Turn)
            }
        };
        // The clock starts with the first wait for this position.
        if waits_for == WaitsFor::Memory && (pending.waits_since_ns == 0 || pending.position != position) {
            pending.waits_since_ns = now.ns.max(1);
            self.executor.owner().note_grace_wait();
        }
        (pending.position, pending.waits_for) = (position, waits_for);
        self.pool.waiting.push_back(pending);
    }

    fn forward(&mut self, mut pending: Box<PendingRequest>, owner: usize, now: Now) {
        (pending.owner, pending.waits_since_ns, pending.sent_ns) = (owner, 0, now.ns);
        // One that had no room is sent twice, and executed once.
        self.executor.counters().forwarded.add(!pending.needs_room as u64);
        self.mesh.ask(owner, pending).expect("the ring holds all pool of a worker");
        self.wakeups.after_push(owner);
    }

    /// Goes on with a larger pending request, or waits for one.
    fn enlarge(&mut self, mut pending: Box<PendingRequest>, now: Now) {
        if !pending.is_large() && !self.pool.enlarge(&mut pending) {
            pending.waits_for = WaitsFor::Room;
        } else if pending.needs_room {
            let owner = pending.owner;
            return self.forward(pending, owner, now);
        } else {
            pending.waits_for = WaitsFor::Turn;
        }
        self.pool.waiting.push_back(pending);
    }

    /// Tries again what waited.
    fn retry(&mut self, mut pending: Box<PendingRequest>, outbox: &mut Outbox, now: Now) {
        if pending.waits_for == WaitsFor::Room {
            return self.enlarge(pending, now);
        }
        if pending.waits_for == WaitsFor::Memory && waited_too_long(&pending, now) {
            self.executor.refuse_for_memory(&pending.request, pending.position, pending.dialect, now);
            self.refuse(&mut pending, Error::OutOfMemory);
        }
        self.resume(pending, outbox, now);
    }

    /// Executes what other workers have asked for, as much as a turn allows.
    pub fn execute_for_others(&mut self, now: Now) {
        self.executor.begin_turn();
        for _ in 0..self.stalled.begin_walk() {
            let Some((from, pending, stays)) = self.stalled.next() else { break };
            // What it stays behind ends by itself: a store waits for memory for a bounded time, and a request that went for more
            // room comes back, however late its worker is.
            if stays {
                self.stalled.push(from, pending);
            } else {
                self.execute_for(from, pending, now);
            }
        }
        for _ in 0..TICK_INBOUND_MAX {
            if self.executor.is_spent() {
                break;
            }
            let Some((from, mut pending)) = self.mesh.next_request() else { break };
            if self.stalled.is_behind(from, &mut pending) {
                pending.waits_since_ns = now.ns.max(1);
                self.stalled.push(from, pending);
            } else {
                self.execute_for(from, pending, now);
            }
        }
    }

    /// Executes a command for another worker, and sends the pending request back; of a batch frame, all operations from there on
    /// that are ours.
    fn execute_for(&mut self, from: usize, mut pending: Box<PendingRequest>, now: Now) {
        if pending.errand != Errand::Commands {
            return self.run_errand(from, pending, now);
        }
        let is_patient = !waited_too_long(&pending, now);
        let (mut buffer, bytes) = pending.take_reply();
        let mut reply = Reply::new(&mut buffer, bytes, pending.dialect);
        let (body, position) = (&pending.request, pending.position);
        let executed = match pending.dialect {
            _ if !pending.is_large() && reply.room() < ANSWER_LINE_BYTES_MAX => Executed::NeedsRoom,
            Dialect::Text | Dialect::Stream => {
                self.executor.execute_parts(body, position, is_patient, now, &mut reply)
            }
            Dialect::Batch { .. } => self.executor.execute_run(body, position, is_patient, now, &mut reply),
        };
        let bytes = reply.bytes();
        pending.put_reply(buffer, bytes);
        match executed {
            Executed::Waits => {
                if pending.waits_since_ns == 0 {
                    pending.waits_since_ns = now.ns.max(1);
                    self.executor.owner().note_grace_wait();
                }
                return self.stalled.push(from, pending);
            }
            Executed::NeedsRoom if pending.lengthen(self.executor.value_bytes_max()) => {
                return self.execute_for(from, pending, now);
            }
            Executed::NeedsRoom if pending.is_large() => self.refuse(&mut pending, Error::TooLargeForUdp),
            Executed::NeedsRoom => self.stalled.goes_for_room(from, &mut pending),
            Executed::Done(position) => pending.position = position,
        }
        self.executor.counters().executed_for_others.add(!pending.needs_room as u64);
        pending.waits_since_ns = 0;
        self.mesh.answer(from, pending).expect("the ring holds all pool of a worker");
        self.wakeups.after_push(from);
    }
}

fn waited_too_long(pending: &PendingRequest, now: Now) -> bool {
    pending.waits_since_ns != 0 && now.ns.saturating_sub(pending.waits_since_ns) > GRACE_WAIT_MS * 1_000_000
}
