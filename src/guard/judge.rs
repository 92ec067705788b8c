//! What becomes of a datagram: refused, challenged, or served.

use crate::guard::replay::Freshness;
use crate::guard::{Admission, Guard, Right, Secret, Verdict, cookie};
use crate::limits::{DATAGRAM_BYTES_MAX, FRAME_HEADER_BYTES};
use crate::net::PeerAddr;
use crate::stats::counters::WorkerCounters;
use cache::base::clock::Now;
use protocol::batch::{Frame, PREAMBLE_BYTES, RESULT_BYTES};
use protocol::frame::{self, Header, Refused};
use protocol::{Dialect, binary};

impl Guard {
    /// Judges a datagram, counts it if it is refused, and uses up its seal; `None` for one that gets no answer.
    #[inline]
    pub fn judge(
        &mut self,
        peer: &PeerAddr,
        datagram: &[u8],
        now: Now,
        counters: &WorkerCounters,
    ) -> Option<Admission> {
        let (request_id, dialect, body) = match frame::request(datagram) {
            Ok(request) => request,
            Err(refused) => {
                count_refused(counters, refused);
                return if refused == Refused::Binary { self.judge_binary(peer, datagram) } else { None };
            }
        };
        let rights = self.access.right(peer);
        let verdict = match rights {
            // Who needs no cookie may send one: clients need not know whether they are trusted.
            Right::Data | Right::Admin if dialect == Dialect::Text && body.starts_with(b"cookie ") => {
                self.judge_needless_cookie(rights, peer, datagram, body, now)
            }
            Right::Data | Right::Admin => serve(rights, datagram, body),
            Right::Unvalidated if dialect == Dialect::Text => {
                self.judge_text(peer, datagram, body, now, counters)?
            }
            Right::Unvalidated if self.proves_something(peer, datagram, now, counters) => {
                serve(rights, datagram, body)
            }
            Right::Unvalidated => Verdict::Challenge { is_renewal: false },
            Right::Nothing => {
                counters.refused_peers.add(1);
                return None;
            }
        };
        Some(Admission { request_id, dialect, verdict })
    }

    /// Whoever is trusted by address gets an answer to the retired binary protocol, and so does not wait for one for ever.
    #[cold]
    fn judge_binary(&self, peer: &PeerAddr, datagram: &[u8]) -> Option<Admission> {
        let (header, body) = Header::split(datagram)?;
        // A reply to a batch frame begins with such a byte, too; it has a mark.
        let is_request = header.reserved == 0 && binary::refusal(body).is_some();
        let rights = self.access.right(peer);
        let is_trusted = matches!(rights, Right::Data | Right::Admin);
        (is_request && is_trusted).then_some(Admission {
            request_id: header.request_id,
            dialect: Dialect::Text,
            verdict: Verdict::Binary { rights },
        })
    }

    #[cold]
    fn judge_needless_cookie(
        &self,
        rights: Right,
        peer: &PeerAddr,
        datagram: &[u8],
        body: &[u8],
        now: Now,
    ) -> Verdict {
        match self.judge_cookie(rights, peer, datagram, body, now) {
            Some(renewal @ Verdict::Challenge { .. }) => renewal,
            _ => serve(rights, datagram, cookie::split(body).map_or(body, |(_, rest)| rest)),
        }
    }

    #[cold]
    fn judge_text(
        &self,
        peer: &PeerAddr,
        datagram: &[u8],
        body: &[u8],
        now: Now,
        counters: &WorkerCounters,
    ) -> Option<Verdict> {
        if let Some(verdict) = self.judge_cookie(Right::Unvalidated, peer, datagram, body, now) {
            return Some(verdict);
        }
        if datagram.len() < Secret::CHALLENGE_BYTES + FRAME_HEADER_BYTES {
            counters.refused_peers.add(1);
            return None;
        }
        Some(Verdict::Challenge { is_renewal: false })
    }

    /// Serves what follows a cookie that is good; the cookie alone asks for a newer one. `None` without a good cookie.
    fn judge_cookie(
        &self,
        rights: Right,
        peer: &PeerAddr,
        datagram: &[u8],
        body: &[u8],
        now: Now,
    ) -> Option<Verdict> {
        let (secret, (cookie, body)) = (self.access.secret.as_ref()?, cookie::split(body)?);
        secret.accepts(cookie, peer.ip(), now.unix_s).then(|| match body {
            [] => Verdict::Challenge { is_renewal: true },
            _ => serve(rights, datagram, body),
        })
    }

    /// Whether the batch frame of a stranger proves something: its address, by a cookie, or that it knows the secret, by
    /// a seal, which is good once. What a challenge takes is less than the shortest frame.
    #[cold]
    fn proves_something(
        &mut self,
        peer: &PeerAddr,
        datagram: &[u8],
        now: Now,
        counters: &WorkerCounters,
    ) -> bool {
        let Some(secret) = &self.access.secret else { return false };
        let Some(frame) = Frame::open(&datagram[FRAME_HEADER_BYTES..]) else { return false };
        if frame.cookie != 0 && secret.accepts(frame.cookie, peer.ip(), now.unix_s) {
            return true;
        }
        let Some(seal) = &frame.seal else { return false };
        if !secret.seal.is_right(datagram, seal) {
            counters.seals_wrong.add(1);
            return false;
        }
        let counter = match self.replays.judge(seal, now) {
            Freshness::Fresh => return true,
            Freshness::Stale => &counters.seals_stale,
            Freshness::Replayed => &counters.seals_replayed,
            Freshness::Crowded => &counters.seals_crowded,
        };
        counter.add(1);
        false
    }
}

/// Serves `body`, the end of `datagram`.
#[inline]
fn serve(rights: Right, datagram: &[u8], body: &[u8]) -> Verdict {
    Verdict::Serve { rights, body_at: (datagram.len() - body.len()) as u16 }
}

#[cold]
fn count_refused(counters: &WorkerCounters, refused: Refused) {
    match refused {
        Refused::Short => counters.refused_short.add(1),
        Refused::Fragment => counters.refused_fragments.add(1),
        Refused::Binary => counters.refused_binary.add(1),
        Refused::Batch => counters.refused_frames.add(1),
        Refused::Reply => counters.refused_replies.add(1),
    }
}

const _: () = assert!(FRAME_HEADER_BYTES + RESULT_BYTES <= PREAMBLE_BYTES, "a challenge amplifies nothing");
const _: () = assert!(DATAGRAM_BYTES_MAX <= u16::MAX as usize, "a place in a datagram fits 16 bits");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::Access;
    use protocol::batch::FrameWriter;
    use std::net::SocketAddr;

    const SECRET: &[u8] = b"0123456789abcdef";

    fn peer() -> PeerAddr {
        PeerAddr::from("192.0.2.1:5353".parse::<SocketAddr>().unwrap())
    }

    fn sealed(now: Now) -> Vec<u8> {
        let mut frame = Vec::new();
        let mut writer = FrameWriter::begin(1, &mut frame).sealed(now.unix_s * 1000, 7, 1, &mut frame);
        writer.get(b"a", &mut frame);
        writer.finish(&mut frame);
        Secret::new(SECRET).unwrap().seal.stamp(&mut frame);
        frame
    }

    #[test]
    fn a_seal_is_used_up_by_the_one_judgement_and_what_was_judged_can_be_kept() {
        let now = Now { ns: 1, unix_s: 1_700_000_000 };
        let access = Access { secret: Some(Secret::new(SECRET).unwrap()), ..Access::default() };
        let (mut guard, counters) = (Guard::new(access, now), WorkerCounters::default());
        let (peer, frame) = (peer(), sealed(now));
        let admission = guard.judge(&peer, &frame, now, &counters).unwrap();
        for _ in 0..3 {
            let admitted = admission.admitted(&peer, &frame).expect("what is kept stays as it was judged");
            assert_eq!((admitted.body, admitted.rights), (&frame[FRAME_HEADER_BYTES..], Right::Unvalidated));
            assert!(!admitted.is_admin());
        }
        let copy = guard.judge(&peer, &frame, now, &counters).unwrap();
        assert_eq!(copy.verdict, Verdict::Challenge { is_renewal: false });
        assert_eq!(counters.seals_replayed.get(), 1);
    }

    #[test]
    fn a_cookie_is_no_part_of_the_body() {
        let now = Now { ns: 1, unix_s: 1_700_000_000 };
        let mut guard = Guard::new(Access::default(), now);
        let peer = PeerAddr::from("127.0.0.1:5353".parse::<SocketAddr>().unwrap());
        let datagram = b"\0\x01\0\0\0\x01\0\0cookie 0123456789abcdef\r\nget a\r\n";
        let admission = guard.judge(&peer, datagram, now, &WorkerCounters::default()).unwrap();
        let admitted = admission.admitted(&peer, datagram).unwrap();
        assert_eq!((admitted.body, admitted.is_admin()), (&b"get a\r\n"[..], true));
    }
}
