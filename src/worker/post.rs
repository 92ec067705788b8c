//! Parcels on their way: suspending a datagram, executing for others, going on with an answer.
//!
//! ```text
//! ours    fresh ─run─▶ Forward ─ parcel ─▶ owner … answer ─▶ run on ─▶ reply
//!                  └─▶ Wait ─ parcel ─ next tick ─▶ run on
//! theirs  request ─▶ execute, answer into the parcel ─▶ back          (or stalled until its memory is free)
//! ```
//! No parcel free: `SERVER_ERROR busy` for that command, counted; the commands behind it go on. Waiting for memory
//! ends after [`GRACE_WAIT_MS`]: then the client is told.

use crate::clock::Now;
use crate::config::limits::{GRACE_WAIT_MS, TICK_MAIL_MAX};
use crate::io::{Outbox, PeerAddr, Port};
use crate::protocol::{Dialect, Error, Reply};
use crate::worker::access::Right;
use crate::worker::parcel::Parcel;
use crate::worker::serial::{Position, Request, Step};
use crate::worker::{Core, Worker};

impl<P: Port> Worker<P> {
    /// Executes for others, goes on with answers and with what waited; says whether there was anything.
    pub(super) fn read_mail(&mut self, now: Now) -> std::io::Result<bool> {
        if !self.core.mesh.has_mail() && !self.core.parcels.has_stalled() {
            return Ok(false);
        }
        let stalled = self.core.parcels.stalled.len();
        for _ in 0..stalled {
            let Some((from, parcel)) = self.core.parcels.stalled.pop_front() else { break };
            self.core.execute_for(from, parcel, now);
        }
        for _ in 0..TICK_MAIL_MAX {
            let Some((from, parcel)) = self.core.mesh.next_request() else { break };
            self.core.execute_for(from, parcel, now);
        }
        let waiting = self.core.parcels.waiting.len();
        for _ in 0..waiting {
            self.make_room()?;
            let Some(parcel) = self.core.parcels.waiting.pop_front() else { break };
            self.core.retry(parcel, &mut self.outbox, now);
        }
        for _ in 0..TICK_MAIL_MAX {
            self.make_room()?;
            let Some(parcel) = self.core.mesh.next_answer() else { break };
            self.core.watch.answered(parcel.asked_ns);
            self.core.resume(parcel, &mut self.outbox, now);
        }
        Ok(true)
    }

    fn make_room(&mut self) -> std::io::Result<()> {
        if self.outbox.has_room() { Ok(()) } else { self.flush() }
    }
}

impl Core {
    /// Serves a datagram from its beginning. The outbox has room.
    pub(super) fn serve_fresh(
        &mut self,
        peer: &PeerAddr,
        (request_id, dialect): (u16, Dialect),
        body: &[u8],
        outbox: &mut Outbox,
        now: Now,
    ) {
        let is_admin = self.access.right(peer) == Right::Admin;
        let mut reply = Reply::framed(outbox.room(), request_id, dialect);
        let request = Request { body, dialect, peer, is_admin, now };
        let mut position = Position::default();
        loop {
            let step = self.run(request, position, &mut reply);
            let (at, answer_is_value) = match step {
                Step::Done => break,
                Step::Forward { position, answer_is_value, .. } => (position, answer_is_value),
                Step::Wait { position } => (position, false),
            };
            let reply_bytes = reply.pieces().map(<[u8]>::len).sum();
            if let Some(mut parcel) = self.parcels.take(body.len(), reply_bytes, answer_is_value) {
                (parcel.peer, parcel.is_admin) = (*peer, is_admin);
                (parcel.request_id, parcel.dialect) = (request_id, dialect);
                parcel.request.extend_from_slice(body);
                let fits = parcel.keep_reply(reply.pieces());
                assert!(fits, "the parcel was chosen for this reply");
                return self.suspend(parcel, step, now);
            }
            self.refuse(&mut reply);
            position = self.position_behind(dialect, body, at);
        }
        let bytes = reply.finish();
        outbox.commit(peer, bytes);
    }

    /// Tries again what waited for memory.
    fn retry(&mut self, mut parcel: Box<Parcel>, outbox: &mut Outbox, now: Now) {
        parcel.answer_bytes = 0;
        if waited_too_long(&parcel, now) {
            let mut answer = Reply::plain(&mut parcel.answer, parcel.dialect);
            answer.put_error(Error::OutOfMemory);
            parcel.answer_bytes = answer.finish();
            parcel.position = self.position_behind(parcel.dialect, &parcel.request, parcel.position);
            parcel.waits_since_ns = 0;
        }
        self.resume(parcel, outbox, now);
    }

    /// Puts the owner's answer, if there is one, behind the reply so far, and runs on from the parcel's position.
    fn resume(&mut self, mut parcel: Box<Parcel>, outbox: &mut Outbox, now: Now) {
        let mut reply = Reply::framed(outbox.room(), parcel.request_id, parcel.dialect);
        reply.put(&parcel.reply);
        reply.put(&parcel.answer[..parcel.answer_bytes]);
        parcel.answer_bytes = 0;
        loop {
            let (dialect, is_admin) = (parcel.dialect, parcel.is_admin);
            let request = Request { body: &parcel.request, dialect, peer: &parcel.peer, is_admin, now };
            let step = self.run(request, parcel.position, &mut reply);
            let (at, answer_is_value) = match step {
                Step::Done => break,
                Step::Forward { position, answer_is_value, .. } => (position, answer_is_value),
                Step::Wait { position } => (position, false),
            };
            let reply_bytes = reply.pieces().map(<[u8]>::len).sum();
            if self.parcels.enlarge(&mut parcel, reply_bytes, answer_is_value) {
                let fits = parcel.keep_reply(reply.pieces());
                assert!(fits, "the parcel is as large as the reply needs");
                return self.suspend(parcel, step, now);
            }
            self.refuse(&mut reply);
            parcel.position = self.position_behind(dialect, &parcel.request, at);
        }
        let bytes = reply.finish();
        outbox.commit(&parcel.peer, bytes);
        self.parcels.put_back(parcel);
    }

    fn suspend(&mut self, mut parcel: Box<Parcel>, step: Step, now: Now) {
        self.counters.suspended.add(1);
        match step {
            Step::Done => unreachable!("nothing is left to suspend"),
            Step::Wait { position } => {
                // The clock starts with the first wait for this position.
                if parcel.waits_since_ns == 0 || parcel.position != position {
                    parcel.waits_since_ns = now.ns.max(1);
                    self.owner.note_grace_wait();
                }
                parcel.position = position;
                self.parcels.waiting.push_back(parcel);
            }
            Step::Forward { owner, position, .. } => {
                (parcel.position, parcel.waits_since_ns, parcel.asked_ns) = (position, 0, now.ns);
                self.counters.forwarded.add(1);
                self.mesh.ask(owner, parcel).expect("the ring holds all parcels of a worker");
                self.bells.after_push(owner);
            }
        }
    }

    /// Executes a command for another worker, and sends the parcel back; of a batch frame, all operations from there on
    /// that are ours.
    fn execute_for(&mut self, from: usize, mut parcel: Box<Parcel>, now: Now) {
        let mut answer = std::mem::take(&mut parcel.answer);
        let mut reply = Reply::plain(&mut answer, parcel.dialect);
        let is_patient = !waited_too_long(&parcel, now);
        let reached = match parcel.dialect {
            Dialect::Text => self.execute_part(&parcel.request, parcel.position, is_patient, now, &mut reply),
            Dialect::Batch { .. } => {
                self.execute_run(&parcel.request, parcel.position, is_patient, now, &mut reply)
            }
        };
        parcel.answer_bytes = reply.finish();
        parcel.answer = answer;
        let Some(position) = reached else {
            if parcel.waits_since_ns == 0 {
                parcel.waits_since_ns = now.ns.max(1);
                self.owner.note_grace_wait();
            }
            self.parcels.stalled.push_back((from, parcel));
            return;
        };
        (parcel.position, parcel.waits_since_ns) = (position, 0);
        self.counters.executed_for_others.add(1);
        self.mesh.answer(from, parcel).expect("the ring holds all parcels of a worker");
        self.bells.after_push(from);
    }

    fn refuse(&mut self, reply: &mut Reply<'_>) {
        self.counters.busy.add(1);
        let mark = reply.mark();
        reply.put_error(Error::Busy);
        reply.settle(mark);
    }
}

fn waited_too_long(parcel: &Parcel, now: Now) -> bool {
    parcel.waits_since_ns != 0 && now.ns.saturating_sub(parcel.waits_since_ns) > GRACE_WAIT_MS * 1_000_000
}
