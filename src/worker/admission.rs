//! What happens to a datagram before its commands are looked at: refused, challenged, or served.
//!
//! Refused is silence: the sender may be forged, and an answer would hit whoever it names. Each reason has a counter.

use crate::guard::replay::Freshness;
use crate::guard::{Right, cookie};
use crate::io::{Outbox, PeerAddr};
use crate::limits::{FRAME_HEADER_BYTES, KEY_BYTES_MAX, TICK_DATAGRAMS_MAX};
use crate::worker::Core;
use crate::worker::serial::Request;
use cache::base::clock::Now;
use protocol::batch::{Frame, PREAMBLE_BYTES, RESULT_BYTES, Status};
use protocol::frame::{self, Refused};
use protocol::meta::Kind;
use protocol::request::Command;
use protocol::{Dialect, Error, Reply};

/// What becomes of a datagram.
pub(super) enum Admission<'a> {
    /// It gets no answer.
    Refused,
    /// It gets a challenge.
    Challenge {
        /// Its id.
        request_id: u16,
        /// What it is written in.
        dialect: Dialect,
        /// Whether it showed a cookie that is still good: then it may have a newer one at any time.
        is_renewal: bool,
    },
    /// Its commands are served.
    Serve {
        /// Its id.
        request_id: u16,
        /// What it is written in.
        dialect: Dialect,
        /// The commands.
        body: &'a [u8],
    },
}

impl Core {
    /// Decides about datagram `number` of the tick. Every datagram is decided once or more, with the same result;
    /// counted by `note`.
    #[inline]
    pub(super) fn admit<'a>(
        &mut self,
        peer: &PeerAddr,
        datagram: &'a [u8],
        number: usize,
        now: Now,
        note: bool,
    ) -> Admission<'a> {
        let (request_id, dialect, body) = match frame::request(datagram) {
            Ok(request) => request,
            Err(refused) => {
                if note {
                    self.note_refused(refused);
                }
                return Admission::Refused;
            }
        };
        match self.access.right(peer) {
            Right::Nothing => {
                self.counters.refused_peers.add(note as u64);
                Admission::Refused
            }
            Right::Stranger => match dialect {
                Dialect::Text => self.admit_stranger(peer, request_id, datagram.len(), body, now, note),
                Dialect::Batch { .. } => {
                    if self.admits_frame(peer, datagram, number, now, note) {
                        Admission::Serve { request_id, dialect, body }
                    } else {
                        let dialect = Dialect::Batch { padded: false };
                        Admission::Challenge { request_id, dialect, is_renewal: false }
                    }
                }
            },
            // Who needs no cookie may send one: clients need not know whether they are trusted.
            Right::Data | Right::Admin if dialect == Dialect::Text && body.starts_with(b"cookie ") => {
                match self.admit_cookie(peer, request_id, body, now) {
                    Some(renewal @ Admission::Challenge { .. }) => renewal,
                    _ => {
                        let body = cookie::split(body).map_or(body, |(_, rest)| rest);
                        Admission::Serve { request_id, dialect, body }
                    }
                }
            }
            Right::Data | Right::Admin => Admission::Serve { request_id, dialect, body },
        }
    }

    /// Answers with a challenge, unless its source has had enough of them in this second. Who renews a cookie can be reached,
    /// so whoever floods in its name does not take that away from it.
    pub(super) fn challenge(
        &mut self,
        peer: &PeerAddr,
        (request_id, dialect): (u16, Dialect),
        is_renewal: bool,
        outbox: &mut Outbox,
        now: Now,
    ) {
        let Some(secret) = &self.access.secret else { return };
        if !is_renewal && !self.challenges.allows(peer.ip(), now) {
            return self.counters.challenges_muted.add(1);
        }
        let mut reply = Reply::framed(outbox.room(), request_id, dialect);
        match dialect {
            Dialect::Text => reply.put(&secret.challenge(peer.ip(), now.unix_s)),
            Dialect::Batch { .. } => {
                reply.put_result(Status::Cookie, 0, secret.fresh_cookie(peer.ip(), now.unix_s), b"");
            }
        }
        let bytes = reply.finish();
        outbox.commit(peer, bytes);
        self.counters.challenges.add(1);
    }

    /// Answers what is wrong with a request, or what its sender may not do. The only place that does, so that no such error
    /// escapes the bound of its source. Beyond the bound the datagram ends here and gets no reply at all: the rest of a
    /// reply could look like something else. What stands before the error has been done, as if the reply had been lost.
    ///
    /// Returns whether the datagram goes on. What a correct command comes to (`SERVER_ERROR busy`, a value that is no
    /// number) is an answer, and has no bound.
    #[cold]
    pub(super) fn answer_fault(
        &mut self,
        request: &Request<'_>,
        error: Error,
        reply: &mut Reply<'_>,
    ) -> bool {
        self.counters.protocol_errors.add(1);
        let is_answered = request.is_admin || self.errors.allows(request.peer.ip(), request.now);
        if is_answered {
            reply.put_error(error);
        } else {
            self.counters.errors_muted.add(1);
            reply.discard();
        }
        is_answered
    }

    #[cold]
    fn admit_stranger<'a>(
        &self,
        peer: &PeerAddr,
        request_id: u16,
        bytes: usize,
        body: &'a [u8],
        now: Now,
        note: bool,
    ) -> Admission<'a> {
        if let Some(admission) = self.admit_cookie(peer, request_id, body, now) {
            return admission;
        }
        if bytes < cookie::Secret::CHALLENGE_BYTES + FRAME_HEADER_BYTES {
            self.counters.refused_peers.add(note as u64);
            return Admission::Refused;
        }
        Admission::Challenge { request_id, dialect: Dialect::Text, is_renewal: false }
    }

    /// Serves what follows a cookie that is good; the cookie alone asks for a newer one. `None` without a good cookie.
    fn admit_cookie<'a>(
        &self,
        peer: &PeerAddr,
        request_id: u16,
        body: &'a [u8],
        now: Now,
    ) -> Option<Admission<'a>> {
        let (secret, (cookie, body)) = (self.access.secret.as_ref()?, cookie::split(body)?);
        let dialect = Dialect::Text;
        secret.accepts(cookie, peer.ip(), now.unix_s).then_some(match body {
            [] => Admission::Challenge { request_id, dialect, is_renewal: true },
            _ => Admission::Serve { request_id, dialect, body },
        })
    }

    /// Whether the batch frame of a stranger proves something: its address, by a cookie, or that it knows the secret, by
    /// a seal. What a challenge takes is less than the shortest frame.
    #[cold]
    fn admits_frame(
        &mut self,
        peer: &PeerAddr,
        datagram: &[u8],
        number: usize,
        now: Now,
        note: bool,
    ) -> bool {
        let Some(secret) = &self.access.secret else { return false };
        let Some(frame) = Frame::open(&datagram[FRAME_HEADER_BYTES..]) else { return false };
        if frame.cookie != 0 && secret.accepts(frame.cookie, peer.ip(), now.unix_s) {
            return true;
        }
        let Some(seal) = &frame.seal else { return false };
        if self.sealed.has(number) {
            return true;
        }
        if !secret.seal.is_right(datagram, seal) {
            self.counters.seals_wrong.add(note as u64);
            return false;
        }
        let counter = match self.replays.judge(seal, now) {
            Freshness::Fresh => {
                self.sealed.insert(number);
                return true;
            }
            Freshness::Stale => &self.counters.seals_stale,
            Freshness::Replayed => &self.counters.seals_replayed,
            Freshness::Crowded => &self.counters.seals_crowded,
        };
        counter.add(note as u64);
        false
    }

    fn note_refused(&self, refused: Refused) {
        match refused {
            Refused::Short => self.counters.refused_short.add(1),
            Refused::Fragment => self.counters.refused_fragments.add(1),
            Refused::Binary => self.counters.refused_binary.add(1),
            Refused::Batch => self.counters.refused_frames.add(1),
            Refused::Reply => self.counters.refused_replies.add(1),
        }
    }
}

/// Datagrams of a tick that were admitted by their seals: a seal is good once, but a datagram may be decided about twice.
pub(super) struct Sealed {
    bits: Box<[u64; TICK_DATAGRAMS_MAX / 64]>,
    is_empty: bool,
}

impl Sealed {
    pub(super) fn new() -> Sealed {
        Sealed { bits: Box::new([0; TICK_DATAGRAMS_MAX / 64]), is_empty: true }
    }

    /// Forgets the last tick.
    pub(super) fn begin_tick(&mut self) {
        if !self.is_empty {
            self.bits.fill(0);
            self.is_empty = true;
        }
    }

    fn has(&self, number: usize) -> bool {
        self.bits[number / 64] >> (number % 64) & 1 != 0
    }

    fn insert(&mut self, number: usize) {
        self.bits[number / 64] |= 1 << (number % 64);
        self.is_empty = false;
    }
}

const _: () = assert!(FRAME_HEADER_BYTES + RESULT_BYTES <= PREAMBLE_BYTES, "a challenge amplifies nothing");

/// Whether whoever asks may use a command, and its key can be read.
///
/// # Errors
/// [`Error::NotAllowed`], or [`Error::Unsaid`] for a command that wants no reply; the error of a base64 key.
#[inline]
pub(super) fn permit(command: &Command<'_>, request: &Request<'_>) -> Result<(), Error> {
    match command {
        Command::FlushAll { .. }
        | Command::Stats { .. }
        | Command::Verbosity { .. }
        | Command::MemoryLimit { .. }
            if !request.is_admin =>
        {
            Err(if command.wants_no_reply() { Error::Unsaid } else { Error::NotAllowed })
        }
        Command::Meta(meta) if meta.has(b'b') && meta.kind != Kind::Noop => {
            meta.key(&mut [0; KEY_BYTES_MAX + 2]).map(drop)
        }
        _ => Ok(()),
    }
}
