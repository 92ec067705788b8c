//! What happens to a datagram before its commands are looked at: refused, challenged, or served.
//!
//! Refused is silence: the sender may be forged, and an answer would hit whoever it names. Each reason has a counter.

use crate::clock::Now;
use crate::config::limits::{ERROR_SOURCES, FRAME_HEADER_BYTES, SOURCE_ERRORS_PER_S, TICK_DATAGRAMS_MAX};
use crate::hash::KeyHash;
use crate::io::{Outbox, PeerAddr};
use crate::protocol::batch::{Frame, PREAMBLE_BYTES, RESULT_BYTES, Status};
use crate::protocol::frame::{self, Refused};
use crate::protocol::{Dialect, Reply};
use crate::worker::Core;
use crate::worker::access::Right;
use crate::worker::cookie;
use crate::worker::replay::Freshness;
use std::net::IpAddr;

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
                        self.counters.challenges.add(note as u64);
                        Admission::Challenge { request_id, dialect: Dialect::Batch { padded: false } }
                    }
                }
            },
            // Who needs no cookie may send one: clients need not know whether they are trusted.
            Right::Data | Right::Admin if dialect == Dialect::Text && body.starts_with(b"cookie ") => {
                let body = cookie::split(body).map_or(body, |(_, rest)| rest);
                Admission::Serve { request_id, dialect, body }
            }
            Right::Data | Right::Admin => Admission::Serve { request_id, dialect, body },
        }
    }

    /// Answers with a challenge, unless its source has had enough of them in this second.
    pub(super) fn challenge(
        &mut self,
        peer: &PeerAddr,
        (request_id, dialect): (u16, Dialect),
        outbox: &mut Outbox,
        now: Now,
    ) {
        let Some(secret) = &self.access.secret else { return };
        if self.errors.is_spent(peer.ip(), now) {
            return self.counters.errors_muted.add(1);
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
        self.errors.charge(peer.ip(), 1);
    }

    /// Serves a datagram; beyond a bound per second the errors of its source are not answered.
    pub(super) fn serve_counting_errors(
        &mut self,
        peer: &PeerAddr,
        request: (u16, Dialect),
        body: &[u8],
        outbox: &mut Outbox,
        now: Now,
    ) {
        if self.access.right(peer) == Right::Admin {
            return self.serve_fresh(peer, request, body, outbox, now);
        }
        let before = self.counters.protocol_errors.get();
        self.errors_muted = self.errors.is_spent(peer.ip(), now);
        self.serve_fresh(peer, request, body, outbox, now);
        self.errors_muted = false;
        self.errors.charge(peer.ip(), self.counters.protocol_errors.get() - before);
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
        let Some(secret) = &self.access.secret else { return Admission::Refused };
        if let Some((cookie, rest)) = cookie::split(body)
            && secret.accepts(cookie, peer.ip(), now.unix_s)
        {
            return Admission::Serve { request_id, dialect: Dialect::Text, body: rest };
        }
        let challenge_bytes = cookie::Secret::CHALLENGE_BYTES + FRAME_HEADER_BYTES;
        if bytes < challenge_bytes {
            self.counters.refused_peers.add(note as u64);
            return Admission::Refused;
        }
        self.counters.challenges.add(note as u64);
        Admission::Challenge { request_id, dialect: Dialect::Text }
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
        let counter = match self.replays.judge(seal, now.unix_s) {
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

/// Errors per source address and second: a sender that only makes errors is not worth answers, and if it is forged, its
/// victim is spared.
///
/// A table of [`ERROR_SOURCES`] counts, by a seeded hash of the address; two sources may share a count, and then share
/// its bound. No memory grows with the number of sources.
pub(super) struct ErrorBudget {
    hash: KeyHash,
    second: u64,
    counts: Box<[u8; ERROR_SOURCES]>,
}

impl ErrorBudget {
    pub(super) fn new() -> ErrorBudget {
        ErrorBudget {
            hash: KeyHash::new(KeyHash::random_seed()),
            second: 0,
            counts: Box::new([0; ERROR_SOURCES]),
        }
    }

    /// Whether `ip` has used up its errors of this second.
    pub(super) fn is_spent(&mut self, ip: IpAddr, now: Now) -> bool {
        if self.second != now.s() {
            self.second = now.s();
            self.counts.fill(0);
        }
        self.counts[self.index(ip)] >= SOURCE_ERRORS_PER_S
    }

    /// Notes `errors` of `ip`.
    pub(super) fn charge(&mut self, ip: IpAddr, errors: u64) {
        let index = self.index(ip);
        self.counts[index] = self.counts[index].saturating_add(errors.min(255) as u8);
    }

    fn index(&self, ip: IpAddr) -> usize {
        let hash = match ip.to_canonical() {
            IpAddr::V4(ip) => self.hash.hash(&ip.octets()),
            IpAddr::V6(ip) => self.hash.hash(&ip.octets()),
        };
        hash as usize % ERROR_SOURCES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_answered_up_to_the_bound_and_again_in_the_next_second() {
        let mut budget = ErrorBudget::new();
        let (ip, second): (IpAddr, u64) = ("192.0.2.1".parse().unwrap(), 1_000_000_000);
        let now = Now { ns: 5 * second, unix_s: 0 };
        for _ in 0..SOURCE_ERRORS_PER_S {
            assert!(!budget.is_spent(ip, now));
            budget.charge(ip, 1);
        }
        assert!(budget.is_spent(ip, now));
        assert!(!budget.is_spent(ip, Now { ns: 6 * second, unix_s: 0 }));
        budget.charge(ip, 100_000);
        assert!(budget.is_spent(ip, Now { ns: 6 * second, unix_s: 0 }));
    }
}
