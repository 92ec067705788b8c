//! Errands: what a long value of a connection needs of another owner. They travel as commands do, and bring the value's memory.
//!
//! ```text
//! reserve  line ─▶ owner ─▶ memory, or why there is none
//! publish  line, memory with the value ─▶ owner ─▶ the answer
//! abandon  memory ─▶ owner
//! ```

use crate::net::{ConnectionId, Outbox, PeerAddr};
use crate::session::Session;
use crate::session::forward::pending::PendingRequest;
use crate::session::forward::waited_too_long;
use crate::session::serial::values::{NoMemory, Patience};
use cache::base::clock::Now;
use cache::memory::Unfinished;
use protocol::{Dialect, Reply};

/// What a pending request is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Errand {
    /// Its commands.
    #[default]
    Commands,
    /// Memory for a value of so many bytes; whether it may wait for it.
    Reserve {
        /// Bytes of the value.
        value_bytes: usize,
        /// For what it may wait.
        patience: Patience,
    },
    /// To store a value that has come.
    Publish,
    /// To free the memory of one that will not come.
    Abandon,
    /// Back from [`Errand::Reserve`]: there is no memory now, perhaps because other values that are coming have it.
    Waits {
        /// Whether those have it.
        is_crowded: bool,
    },
    /// Back: the store is refused.
    Refused,
}

/// What an errand has brought.
#[derive(Debug)]
pub(crate) enum Homecoming {
    /// Memory for the value.
    Reserved(Unfinished),
    /// There is none now, perhaps because other values that are coming have it.
    Waits {
        /// Whether those have it.
        is_crowded: bool,
    },
    /// The store is refused, and its client told why.
    Refused,
    /// The value is stored, or not, and its client told.
    Published,
}

impl PendingRequest {
    /// Becomes an errand for a connection.
    pub(in crate::session) fn begin_errand(
        &mut self,
        id: ConnectionId,
        peer: &PeerAddr,
        errand: Errand,
        line: &[u8],
        value: Option<Unfinished>,
    ) {
        (self.peer, self.connection, self.dialect) = (*peer, Some(id), Dialect::Stream);
        (self.errand, self.value) = (errand, value);
        self.request.extend_from_slice(line);
    }
}

impl Session {
    /// Sends a pending request that is an errand to an owner.
    pub(in crate::session) fn send(&mut self, mut pending: Box<PendingRequest>, owner: usize, now: Now) {
        pending.is_lone = false;
        self.order.begin(&pending.footprint, false);
        self.forward(pending, owner, now);
    }

    /// Runs an errand for another worker, and sends it back.
    pub(super) fn run_errand(&mut self, from: usize, mut pending: Box<PendingRequest>, now: Now) {
        let is_patient = !waited_too_long(&pending, now);
        match pending.errand {
            Errand::Reserve { value_bytes, patience } => {
                self.reserve_for(&mut pending, value_bytes, patience, now);
            }
            Errand::Publish => {
                if !self.publish_for(&mut pending, is_patient, now) {
                    if pending.waits_since_ns == 0 {
                        pending.waits_since_ns = now.ns.max(1);
                        self.executor.owner().note_grace_wait();
                    }
                    return self.stalled.push(from, pending);
                }
            }
            Errand::Abandon => {
                pending.value.take().into_iter().for_each(|value| self.executor.abandon(value));
            }
            Errand::Commands | Errand::Waits { .. } | Errand::Refused => {
                unreachable!("no errand for an owner")
            }
        }
        self.executor.counters().executed_for_others.add(1);
        pending.waits_since_ns = 0;
        self.mesh.answer(from, pending).expect("the ring holds all pool of a worker");
        self.wakeups.after_push(from);
    }

    fn reserve_for(
        &mut self,
        pending: &mut PendingRequest,
        value_bytes: usize,
        patience: Patience,
        now: Now,
    ) {
        match self.executor.reserve(&pending.request, value_bytes, patience, now) {
            Ok(unfinished) => pending.value = Some(unfinished),
            Err(NoMemory::OnGrace) => pending.errand = Errand::Waits { is_crowded: false },
            Err(NoMemory::Crowded) => pending.errand = Errand::Waits { is_crowded: true },
            Err(NoMemory::Refused(error)) => {
                self.executor.note_failure(error);
                pending.errand = Errand::Refused;
                let is_told = !self.executor.is_quiet(&pending.request);
                let (mut buffer, _) = pending.take_reply();
                let mut reply = Reply::new(&mut buffer, 0, Dialect::Stream);
                reply.put(if is_told { error.line() } else { b"" });
                let bytes = reply.bytes();
                pending.put_reply(buffer, bytes);
            }
        }
    }

    /// Says whether it is done.
    fn publish_for(&mut self, pending: &mut PendingRequest, is_patient: bool, now: Now) -> bool {
        let Some(unfinished) = pending.value.take() else { return true };
        let (mut buffer, _) = pending.take_reply();
        let mut reply = Reply::new(&mut buffer, 0, Dialect::Stream);
        pending.value = self.executor.publish(&pending.request, unfinished, is_patient, now, &mut reply);
        let bytes = reply.bytes();
        pending.put_reply(buffer, bytes);
        pending.value.is_none()
    }

    /// An errand of ours is back: its client is told, and its connection hears of it.
    pub(super) fn come_home(&mut self, mut pending: Box<PendingRequest>, outbox: &mut Outbox) {
        self.order.end(&pending.footprint, false);
        let id = pending.connection.expect("an errand is a connection's");
        outbox.streams.send(id, pending.reply());
        let homecoming = match (pending.errand, pending.value.take()) {
            (_, Some(unfinished)) => Homecoming::Reserved(unfinished),
            (Errand::Waits { is_crowded }, None) => Homecoming::Waits { is_crowded },
            (Errand::Refused, None) => Homecoming::Refused,
            _ => Homecoming::Published,
        };
        if pending.errand != Errand::Abandon {
            self.homecomings.push((id, homecoming));
        }
        self.pool.put_back(pending);
    }
}
