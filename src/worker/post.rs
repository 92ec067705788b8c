//! Parcels on their way: suspending a datagram, executing for others, going on with an answer.
//!
//! ```text
//! ours    fresh ─run─▶ Forward ─ parcel ─▶ owner … answer ─▶ run on ─▶ reply
//!                  ├─▶ Wait, Yield, Enlarge ─ parcel ─ next tick ─▶ run on
//!         behind others of its client on a key ─ held ─▶ run, when they are done          (`hold`)
//! theirs  request ─▶ execute, answer into the parcel ─▶ back          (or stalled until its memory is free)
//! ```
//! Waiting for memory ends after [`GRACE_WAIT_MS`]: then the client is told.

use crate::guard::Admitted;
use crate::io::{Outbox, Port};
use crate::limits::{ANSWER_LINE_BYTES_MAX, GRACE_WAIT_MS, TICK_MAIL_MAX, TICK_SUSPENDED_WORK_UNITS};
use crate::worker::order::Origin;
use crate::worker::parcel::{Parcel, WaitsFor};
use crate::worker::serial::{Executed, First, Position, Request, Step};
use crate::worker::{Core, Worker};
use cache::base::clock::Now;
use protocol::{Dialect, Error, Reply};

/// A datagram that begins to be served.
#[derive(Clone, Copy)]
pub(super) struct Fresh<'a> {
    pub(super) admitted: Admitted<'a>,
    /// Its first command, where that was read before.
    pub(super) first: Option<&'a First<'a>>,
    /// Whether its reads go to the owner of their key, behind what was sent to it.
    pub(super) follows: bool,
}

impl<P: Port> Worker<P> {
    /// Executes for others, goes on with answers and with what waited; says whether there was anything.
    pub(super) fn read_mail(&mut self, now: Now) -> std::io::Result<bool> {
        if !self.core.mesh.has_mail() && !self.core.has_stalled() && self.core.parcels.held.is_empty() {
            return Ok(false);
        }
        self.core.execute_for_others(now);
        let mut work = 0;
        for _ in 0..self.core.parcels.waiting.len() {
            if work > TICK_SUSPENDED_WORK_UNITS {
                break;
            }
            self.make_room()?;
            self.core.work.begin_turn();
            let Some(parcel) = self.core.parcels.waiting.pop_front() else { break };
            self.core.retry(parcel, &mut self.outbox, now);
            work += self.core.work.spent();
        }
        work = 0;
        for _ in 0..TICK_MAIL_MAX {
            if work > TICK_SUSPENDED_WORK_UNITS {
                break;
            }
            self.make_room()?;
            let Some(parcel) = self.core.mesh.next_answer() else { break };
            self.core.watch.answered(parcel.asked_ns);
            self.core.work.begin_turn();
            self.core.resume(parcel, &mut self.outbox, now);
            work += self.core.work.spent();
        }
        self.release_held(now)?;
        Ok(true)
    }

    pub(super) fn make_room(&mut self) -> std::io::Result<()> {
        if self.outbox.has_room() { Ok(()) } else { self.flush() }
    }
}

impl Core {
    /// Whether something waits here for what time or other workers bring.
    pub(super) fn has_stalled(&self) -> bool {
        self.stalled.len() > 0 || !self.parcels.waiting.is_empty()
    }

    /// Serves a datagram from its beginning. The outbox has room.
    pub(super) fn serve_fresh(&mut self, fresh: Fresh<'_>, outbox: &mut Outbox, now: Now) {
        let Fresh { admitted, first, follows } = fresh;
        let Admitted { peer, request_id, dialect, body, .. } = admitted;
        let mut reply = Reply::framed(outbox.room(), request_id, dialect);
        let mut request = Request { admitted, now, may_grow: false, may_yield: true, follows };
        let (mut position, mut unread) = (Position::default(), first);
        self.work.begin_turn();
        loop {
            let step = self.run(request, position, unread.take(), &mut reply);
            let at = match step {
                Step::Done => break,
                Step::Enlarge { .. } => unreachable!("the outbox has all the room there is"),
                Step::Forward { position, .. } | Step::Wait { position } | Step::Yield { position } => {
                    position
                }
            };
            // Only looked at where parcels are short, and then it is of this datagram.
            let has_store = self.traced.has_store();
            if let Some(mut parcel) = self.parcels.take(body.len(), reply.bytes(), has_store) {
                parcel.begin(&admitted, reply.pieces());
                parcel.footprint.begin(Origin::of(peer, &self.shards));
                parcel.footprint.trace(&self.shards, dialect, body, first, self.value_bytes_max);
                return self.begin(parcel, step, now);
            }
            if let Step::Yield { .. } = step {
                if has_store {
                    self.refuse_rest(&admitted, at, &mut reply);
                    break;
                }
                // What changes nothing is bounded by the length of the datagram.
                (request.may_yield, position) = (false, at);
            } else {
                self.counters.busy.add(1);
                position = self.refuse_part(body, at, Error::Busy, &mut reply);
            }
        }
        let bytes = reply.finish();
        outbox.commit(peer, bytes);
    }

    /// Runs a parcel from its position, with its reply as far as it goes. The outbox has room.
    pub(super) fn resume(&mut self, mut parcel: Box<Parcel>, outbox: &mut Outbox, now: Now) {
        if parcel.needs_room {
            return self.enlarge(parcel, now);
        }
        let step = self.run_parcel(&mut parcel, now);
        match step {
            Step::Done => {
                self.order.end(&parcel.footprint, parcel.is_lone);
                self.finish(parcel, outbox);
            }
            step => self.suspend(parcel, step, now),
        }
    }

    /// Runs the commands of a parcel, with what they come to behind its reply so far.
    pub(super) fn run_parcel(&mut self, parcel: &mut Parcel, now: Now) -> Step {
        let (mut buffer, bytes) = parcel.take_reply();
        let mut reply = Reply::plain(&mut buffer, bytes, parcel.dialect);
        let request = Request {
            admitted: parcel.admitted(),
            now,
            may_grow: !parcel.is_large(),
            may_yield: true,
            follows: false,
        };
        self.work.begin_turn();
        let step = self.run(request, parcel.position, None, &mut reply);
        let bytes = reply.finish();
        parcel.put_reply(buffer, bytes);
        step
    }

    /// Sends the reply of a parcel.
    pub(super) fn finish(&mut self, parcel: Box<Parcel>, outbox: &mut Outbox) {
        let mut reply = Reply::framed(outbox.room(), parcel.request_id, parcel.dialect);
        reply.put_complete(parcel.reply());
        let bytes = reply.finish();
        outbox.commit(&parcel.peer, bytes);
        self.parcels.put_back(parcel);
        self.has_finished = true;
    }

    /// Suspends a datagram that has begun.
    pub(super) fn begin(&mut self, mut parcel: Box<Parcel>, step: Step, now: Now) {
        let is_forwarded = matches!(step, Step::Forward { .. });
        parcel.is_lone = is_forwarded && parcel.footprint.lone_key().is_some();
        self.order.begin(&parcel.footprint, parcel.is_lone);
        self.suspend(parcel, step, now);
    }

    fn suspend(&mut self, mut parcel: Box<Parcel>, step: Step, now: Now) {
        self.counters.suspended.add(1);
        let (position, waits_for) = match step {
            Step::Done => unreachable!("nothing is left to suspend"),
            Step::Forward { owner, position } => {
                parcel.position = position;
                return self.forward(parcel, owner, now);
            }
            Step::Enlarge { position } => {
                parcel.position = position;
                return self.enlarge(parcel, now);
            }
            Step::Wait { position } => (position, WaitsFor::Memory),
            Step::Yield { position } => {
                self.counters.yielded.add(1);
                (position, WaitsFor::Turn)
            }
        };
        // The clock starts with the first wait for this position.
        if waits_for == WaitsFor::Memory && (parcel.waits_since_ns == 0 || parcel.position != position) {
            parcel.waits_since_ns = now.ns.max(1);
            self.owner.note_grace_wait();
        }
        (parcel.position, parcel.waits_for) = (position, waits_for);
        self.parcels.waiting.push_back(parcel);
    }

    fn forward(&mut self, mut parcel: Box<Parcel>, owner: usize, now: Now) {
        (parcel.owner, parcel.waits_since_ns, parcel.asked_ns) = (owner, 0, now.ns);
        // One that had no room is sent twice, and executed once.
        self.counters.forwarded.add(!parcel.needs_room as u64);
        self.mesh.ask(owner, parcel).expect("the ring holds all parcels of a worker");
        self.bells.after_push(owner);
    }

    /// Goes on with a larger parcel, or waits for one.
    fn enlarge(&mut self, mut parcel: Box<Parcel>, now: Now) {
        if !parcel.is_large() && !self.parcels.enlarge(&mut parcel) {
            parcel.waits_for = WaitsFor::Room;
        } else if parcel.needs_room {
            let owner = parcel.owner;
            return self.forward(parcel, owner, now);
        } else {
            parcel.waits_for = WaitsFor::Turn;
        }
        self.parcels.waiting.push_back(parcel);
    }

    /// Tries again what waited.
    fn retry(&mut self, mut parcel: Box<Parcel>, outbox: &mut Outbox, now: Now) {
        if parcel.waits_for == WaitsFor::Room {
            return self.enlarge(parcel, now);
        }
        if parcel.waits_for == WaitsFor::Memory && waited_too_long(&parcel, now) {
            self.refuse(&mut parcel, Error::OutOfMemory);
        }
        self.resume(parcel, outbox, now);
    }

    fn execute_for_others(&mut self, now: Now) {
        self.work.begin_turn();
        for _ in 0..self.stalled.begin_walk() {
            let Some((from, parcel, stays)) = self.stalled.next() else { break };
            // What it stays behind ends by itself: a store waits for memory for a bounded time, and a request that went for more
            // room comes back, however late its worker is.
            if stays {
                self.stalled.push(from, parcel);
            } else {
                self.execute_for(from, parcel, now);
            }
        }
        for _ in 0..TICK_MAIL_MAX {
            if self.work.is_spent() {
                break;
            }
            let Some((from, mut parcel)) = self.mesh.next_request() else { break };
            if self.stalled.is_behind(from, &mut parcel) {
                parcel.waits_since_ns = now.ns.max(1);
                self.stalled.push(from, parcel);
            } else {
                self.execute_for(from, parcel, now);
            }
        }
    }

    /// Executes a command for another worker, and sends the parcel back; of a batch frame, all operations from there on
    /// that are ours.
    fn execute_for(&mut self, from: usize, mut parcel: Box<Parcel>, now: Now) {
        let is_patient = !waited_too_long(&parcel, now);
        let (mut buffer, bytes) = parcel.take_reply();
        let mut reply = Reply::plain(&mut buffer, bytes, parcel.dialect);
        let (body, position) = (&parcel.request, parcel.position);
        let executed = match parcel.dialect {
            _ if !parcel.is_large() && reply.room() < ANSWER_LINE_BYTES_MAX => Executed::NeedsRoom,
            Dialect::Text => self.execute_parts(body, position, is_patient, now, &mut reply),
            Dialect::Batch { .. } => self.execute_run(body, position, is_patient, now, &mut reply),
        };
        let bytes = reply.finish();
        parcel.put_reply(buffer, bytes);
        match executed {
            Executed::Waits => {
                if parcel.waits_since_ns == 0 {
                    parcel.waits_since_ns = now.ns.max(1);
                    self.owner.note_grace_wait();
                }
                return self.stalled.push(from, parcel);
            }
            Executed::NeedsRoom if parcel.is_large() => self.refuse(&mut parcel, Error::TooLargeForUdp),
            Executed::NeedsRoom => self.stalled.goes_for_room(from, &mut parcel),
            Executed::Done(position) => parcel.position = position,
        }
        self.counters.executed_for_others.add(!parcel.needs_room as u64);
        parcel.waits_since_ns = 0;
        self.mesh.answer(from, parcel).expect("the ring holds all parcels of a worker");
        self.bells.after_push(from);
    }
}

fn waited_too_long(parcel: &Parcel, now: Now) -> bool {
    parcel.waits_since_ns != 0 && now.ns.saturating_sub(parcel.waits_since_ns) > GRACE_WAIT_MS * 1_000_000
}
