//! Which sealed frames are fresh: each is taken once, by one worker, and not long after it was made.
//!
//! # Idea
//! The anti-replay window of IPsec (RFC 4303, 3.4.3; the ring of words is RFC 6479's): of each session the newest
//! sequence is kept, and a bit for each of the [`SEAL_WINDOW`] before it. The time stamp bounds how long a session has to
//! be remembered: when its newest frame is too old to be taken again, its place is free.
//!
//! ```text
//! session    newest sequence ─┐
//!            … 0 1 1 0 1 1 1 1 1        older than the window: refused, as if it were seen
//! ```
//! # Bounds
//! [`SEAL_SESSIONS`] sessions a worker, eight to a set. A set whose sessions are all young takes no new one: then frames
//! are refused, never taken twice. No state is made for a frame whose tag is wrong.
//!
//! # What it does not stop
//! Another worker, or another server with the same secret, remembers its own frames: a copy may be taken once by each
//! that gets it. Where the kernel steers frames, a copy comes to the worker that has seen it. After the wall clock was set back,
//! a copy of a frame of the hour that comes again is known only while its session is remembered.

use crate::limits::{SEAL_SESSIONS, SEAL_SKEW_MS, SEAL_WINDOW};
use cache::base::clock::Now;
use protocol::batch::Seal;

const WAYS: usize = 8;
const SETS: usize = SEAL_SESSIONS / WAYS;
const WORDS: usize = SEAL_WINDOW / 64;

/// Whether a frame with a right seal is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It is.
    Fresh,
    /// It was made too long ago, too far in the future, or before this server started.
    Stale,
    /// It was seen before, or is so late that nobody knows.
    Replayed,
    /// There is no room to remember its session.
    Crowded,
}

/// The sessions that one worker has seen.
pub struct Replays {
    sessions: Box<[Session]>,
    /// When the server started, on the clock that is never set.
    began_ns: u64,
}

#[derive(Clone, Copy, Default)]
struct Session {
    id: u64,
    newest: u64,
    /// The latest time stamp that was taken; 0 while the place is free.
    newest_ms: u64,
    seen: [u64; WORDS],
}

impl Replays {
    /// For a server that starts now.
    pub fn new(now: Now) -> Replays {
        let sessions = vec![Session::default(); SEAL_SESSIONS].into_boxed_slice();
        Replays { sessions, began_ns: now.ns }
    }

    /// Judges a frame whose tag is right, and remembers it if it is fresh.
    pub fn judge(&mut self, seal: &Seal, now: Now) -> Freshness {
        let now_ms = now.unix_s * 1000;
        // The start on the present wall clock, so that a clock which was wrong at the start and is right now refuses nothing; in
        // whole seconds, as some clients stamp.
        let not_before_ms = now_ms.saturating_sub((now.ns - self.began_ns) / 1_000_000) / 1000 * 1000;
        if seal.unix_ms.abs_diff(now_ms) > SEAL_SKEW_MS || seal.unix_ms < not_before_ms {
            return Freshness::Stale;
        }
        let set = (seal.session.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % SETS;
        let ways = &mut self.sessions[set * WAYS..][..WAYS];
        let known = ways.iter().position(|way| way.id == seal.session && way.newest_ms != 0);
        // Too new is what was noted before the clock was set back.
        let is_free = |way: &Session| way.newest_ms.abs_diff(now_ms) > SEAL_SKEW_MS;
        let Some(at) = known.or_else(|| ways.iter().position(is_free)) else { return Freshness::Crowded };
        let session = &mut ways[at];
        if known.is_none() {
            *session = Session { id: seal.session, newest: seal.sequence, ..Session::default() };
        }
        if !session.take(seal.sequence) {
            return Freshness::Replayed;
        }
        let is_of_this_clock = session.newest_ms <= now_ms + SEAL_SKEW_MS;
        session.newest_ms = if is_of_this_clock { session.newest_ms.max(seal.unix_ms) } else { seal.unix_ms };
        Freshness::Fresh
    }
}

impl Session {
    /// Notes a sequence; says whether it is new.
    fn take(&mut self, sequence: u64) -> bool {
        // The oldest word of the ring is being overwritten, so the window is a word shorter than the ring.
        if sequence.saturating_add((SEAL_WINDOW - 64) as u64) < self.newest {
            return false;
        }
        let (block, newest_block) = (sequence / 64, self.newest / 64);
        if block > newest_block {
            for passed in 1..=(block - newest_block).min(WORDS as u64) {
                self.seen[(newest_block + passed) as usize % WORDS] = 0;
            }
        }
        self.newest = self.newest.max(sequence);
        let (word, bit) = (&mut self.seen[block as usize % WORDS], 1 << (sequence % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

const _: () =
    assert!(SEAL_SESSIONS.is_multiple_of(WAYS) && SEAL_WINDOW.is_multiple_of(64) && SEAL_WINDOW >= 128);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::FRAME_HEADER_BYTES;
    use proptest::prelude::*;
    use protocol::batch::{Frame, FrameWriter};
    use std::collections::HashSet;

    const NOW_S: u64 = 1_700_000_000;

    /// A reading of the clock at this wall time, of a machine that has been running for long.
    fn now(unix_s: u64) -> Now {
        Now { ns: unix_s * 1_000_000_000, unix_s }
    }

    /// Of a server that started so many seconds ago.
    fn started(ago_s: u64) -> Replays {
        Replays::new(now(NOW_S - ago_s))
    }

    fn seal(unix_ms: u64, session: u64, sequence: u64) -> Seal {
        let mut out = Vec::new();
        let mut writer = FrameWriter::begin(1, &mut out).sealed(unix_ms, session, sequence, &mut out);
        writer.get(b"a", &mut out);
        writer.finish(&mut out);
        Frame::open(&out[FRAME_HEADER_BYTES..]).unwrap().seal.unwrap()
    }

    #[test]
    fn a_frame_is_taken_once_and_not_late() {
        let mut replays = started(60);
        let now_ms = NOW_S * 1000;
        for (at_ms, session, sequence, want) in [
            (now_ms, 1, 5, Freshness::Fresh),
            (now_ms, 1, 5, Freshness::Replayed),
            (now_ms, 2, 5, Freshness::Fresh),
            (now_ms, 1, 4, Freshness::Fresh),
            (now_ms, 1, 5_000, Freshness::Fresh),
            (now_ms, 1, 6, Freshness::Replayed),
            (now_ms - SEAL_SKEW_MS, 3, 1, Freshness::Fresh),
            (now_ms - SEAL_SKEW_MS - 1, 3, 2, Freshness::Stale),
            (now_ms + SEAL_SKEW_MS, 3, 3, Freshness::Fresh),
            (now_ms + SEAL_SKEW_MS + 1, 3, 4, Freshness::Stale),
            (u64::MAX, 3, 5, Freshness::Stale),
        ] {
            assert_eq!(
                replays.judge(&seal(at_ms, session, sequence), now(NOW_S)),
                want,
                "{session} {sequence}"
            );
        }
        // What was sealed before the server started may have been taken by the one before it.
        assert_eq!(started(0).judge(&seal(now_ms - 1, 1, 1), now(NOW_S)), Freshness::Stale);
    }

    #[test]
    fn a_session_is_forgotten_when_its_frames_are_stale_and_not_before() {
        let mut replays = started(0);
        let later_s = NOW_S + 2 * SEAL_SKEW_MS / 1000 + 1;
        let crowd: Vec<u64> = (0..4 * SEAL_SESSIONS as u64).collect();
        let mut taken = Vec::new();
        for &session in &crowd {
            match replays.judge(&seal(NOW_S * 1000, session, 1), now(NOW_S)) {
                Freshness::Fresh => taken.push(session),
                other => assert_eq!(other, Freshness::Crowded),
            }
        }
        assert!(taken.len() <= SEAL_SESSIONS && taken.len() > SEAL_SESSIONS / 2);
        for &session in &taken {
            assert_eq!(replays.judge(&seal(NOW_S * 1000, session, 1), now(NOW_S)), Freshness::Replayed);
        }
        assert_eq!(
            replays.judge(&seal(later_s * 1000, crowd[0] + 1_000_000, 1), now(later_s)),
            Freshness::Fresh
        );
        for &session in &taken {
            assert_eq!(replays.judge(&seal(NOW_S * 1000, session, 1), now(later_s)), Freshness::Stale);
        }
    }

    #[test]
    fn a_client_that_stamps_whole_seconds_is_taken_from_the_start_on() {
        // The server starts 50 ms before a second ends, the frame is stamped before it ends and comes after.
        let began = Now { ns: 950_000_000, unix_s: NOW_S };
        let mut replays = Replays::new(began);
        let comes = Now { ns: 1_001_000_000, unix_s: NOW_S + 1 };
        assert_eq!(replays.judge(&seal(NOW_S * 1000, 1, 1), comes), Freshness::Fresh);
        assert_eq!(replays.judge(&seal(NOW_S * 1000 - 1, 1, 2), comes), Freshness::Stale);
    }

    #[test]
    fn seals_follow_the_wall_clock_wherever_it_is_set() {
        for by_s in [-3600i64, -31, -1, 0, 1, 31, 3600, 86_400] {
            let (mut replays, mut clock) = (started(0), now(NOW_S + 100));
            for session in 0..SEAL_SESSIONS as u64 {
                replays.judge(&seal(clock.unix_s * 1000, session, 1), clock);
            }
            // The clock of the server was wrong by as much, and is right now.
            clock.unix_s = clock.unix_s.wrapping_add_signed(by_s);
            let right_ms = clock.unix_s * 1000;
            let mut fresh = 0;
            for session in 0..SEAL_SESSIONS as u64 {
                let verdict = replays.judge(&seal(right_ms, session, 2), clock);
                fresh += (verdict == Freshness::Fresh) as usize;
                assert!(matches!(verdict, Freshness::Fresh | Freshness::Crowded), "{by_s} s: {verdict:?}");
                assert_ne!(replays.judge(&seal(right_ms, session, 2), clock), Freshness::Fresh, "{by_s} s");
            }
            assert!(fresh > SEAL_SESSIONS / 2, "{by_s} s: {fresh} sessions");
            let started_ms = right_ms - 100_000;
            assert_eq!(replays.judge(&seal(started_ms - 1, 1 << 40, 1), clock), Freshness::Stale, "{by_s} s");
        }
    }

    proptest! {
        /// Whatever the order, nothing is taken twice, and what is recent is not refused.
        #[test]
        fn nothing_is_taken_twice(steps in prop::collection::vec((0u64..3, 0u64..1200), 1..2000)) {
            let mut replays = started(0);
            let (mut base, mut taken, mut newest) = (0, HashSet::new(), 0);
            for (forward, back) in steps {
                base += forward * 40;
                let sequence = (base + 1200).saturating_sub(back);
                let verdict = replays.judge(&seal(NOW_S * 1000, 9, sequence), now(NOW_S));
                let is_recent = newest == 0 || sequence + (SEAL_WINDOW - 64) as u64 >= newest;
                prop_assert_eq!(verdict == Freshness::Fresh, is_recent && !taken.contains(&sequence));
                if verdict == Freshness::Fresh {
                    taken.insert(sequence);
                    newest = newest.max(sequence);
                }
            }
        }
    }
}
