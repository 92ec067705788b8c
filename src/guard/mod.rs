//! What strangers may do: who is answered at all, who has to prove its address first, and how many errors a source may cause.
//!
//! ```text
//! datagram ─ judge ─▶ refused      silence: the sender may be forged, and an answer would hit whoever it names; counted
//!                  ─▶ Challenge    no longer than the datagram
//!                  ─▶ Serve        Admitted: whose it is, what it may do, and its commands
//! ```
//! A datagram is judged once, when the worker looks at it for the first time: then it is counted, and its seal is used up. What
//! was judged ([`Admission`]) is kept while the datagram waits. UDP source addresses can be forged, and all of this is about that.

mod acl;
mod admitted;
mod cookie;
mod error_budget;
mod judge;
mod replay;

pub use acl::{Access, Cidr, Right};
pub use admitted::{Admission, Admitted, Verdict};
pub use cookie::Secret;

use crate::limits::FRAME_HEADER_BYTES;
use crate::net::{Outbox, PeerAddr};
use crate::stats::counters::WorkerCounters;
use crate::udp::UdpSink;
use cache::base::clock::Now;
use error_budget::SourceBudget;
use protocol::batch::Status;
use protocol::{Dialect, binary};
use replay::Replays;

/// The guard of one worker.
pub struct Guard {
    access: Access,
    errors: SourceBudget,
    challenges: SourceBudget,
    replays: Replays,
}

impl Guard {
    /// A guard that has seen nobody yet; the server starts now.
    pub fn new(access: Access, now: Now) -> Guard {
        Guard {
            access,
            errors: SourceBudget::new(),
            challenges: SourceBudget::new(),
            replays: Replays::new(now),
        }
    }

    /// What an address may do.
    pub fn right_of(&self, peer: &PeerAddr) -> Right {
        self.access.right(peer)
    }

    /// Whether an error of this datagram's may be answered: its source may cause so many in a second, administrators any number.
    pub fn allows_error(&mut self, admitted: &Admitted<'_>, now: Now) -> bool {
        self.allows_error_of(admitted.peer, admitted.rights, now)
    }

    fn allows_error_of(&mut self, peer: &PeerAddr, rights: Right, now: Now) -> bool {
        rights == Right::Admin || self.errors.allows(peer.ip(), now)
    }

    /// Answers a datagram of which nothing is served, with a challenge or an error; says whether it is one.
    #[inline]
    pub fn answer_at_the_door(
        &mut self,
        peer: &PeerAddr,
        admission: &Admission,
        datagram: &[u8],
        outbox: &mut Outbox,
        now: Now,
        counters: &WorkerCounters,
    ) -> bool {
        match admission.verdict {
            Verdict::Serve { .. } => return false,
            Verdict::Challenge { is_renewal } => {
                self.challenge(peer, admission, is_renewal, outbox, now, counters)
            }
            Verdict::Binary { rights } => {
                counters.protocol_errors.add(1);
                if self.allows_error_of(peer, rights, now) {
                    refuse_binary(peer, admission, datagram, outbox);
                } else {
                    counters.errors_muted.add(1);
                }
            }
        }
        true
    }

    /// Answers with a challenge, unless its source has had enough of them in this second. Who renews a cookie can be reached,
    /// so whoever floods in its name does not take that away from it.
    fn challenge(
        &mut self,
        peer: &PeerAddr,
        admission: &Admission,
        is_renewal: bool,
        outbox: &mut Outbox,
        now: Now,
        counters: &WorkerCounters,
    ) {
        let Some(secret) = &self.access.secret else { return };
        if !is_renewal && !self.challenges.allows(peer.ip(), now) {
            return counters.challenges_muted.add(1);
        }
        let dialect = match admission.dialect {
            Dialect::Text | Dialect::Stream => Dialect::Text,
            // A challenge is no longer than the datagram that it answers.
            Dialect::Batch { .. } => Dialect::Batch { padded: false },
        };
        let mut sink = UdpSink::new(outbox, peer, admission.request_id, dialect);
        let mut reply = sink.reply();
        match dialect {
            Dialect::Text | Dialect::Stream => reply.put(&secret.challenge(peer.ip(), now.unix_s)),
            Dialect::Batch { .. } => {
                reply.put_result(Status::Cookie, 0, secret.fresh_cookie(peer.ip(), now.unix_s), b"");
            }
        }
        let bytes = reply.bytes();
        sink.commit(bytes);
        counters.challenges.add(1);
    }
}

/// Answers a request in the retired binary protocol with an error in it.
fn refuse_binary(peer: &PeerAddr, admission: &Admission, datagram: &[u8], outbox: &mut Outbox) {
    if let Some(answer) = binary::refusal(&datagram[FRAME_HEADER_BYTES..]) {
        UdpSink::new(outbox, peer, admission.request_id, Dialect::Text).send(&answer);
    }
}
