//! What is popular: the hot keys and the number of different ones, fed by the records that the policies get.
//!
//! Reads come as hits, with the weight of what workers left out; stores count as keys, not as reads. A key that is asked
//! for and never there is in no record, and so in no figure here.

use crate::config::limits::{HOT_KEYS_AGE_S, HOT_KEYS_MAX};
use crate::policy::board::{Board, Popular};
use crate::policy::distinct::Distinct;
use crate::policy::hot::HotKeys;
use crate::ring::Hit;
use crate::sync::Arc;

/// The sketches of a process.
pub struct Popularity {
    hot: HotKeys,
    since_start: Distinct,
    this_minute: Distinct,
    last_minute: u64,
    age_at_ms: u64,
    minute_ends_ms: u64,
    publish_at_ms: u64,
    board: Arc<Board>,
}

const PUBLISH_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60_000;

impl Popularity {
    /// Sketches that have seen nothing, and are published on `board`.
    pub fn new(board: Arc<Board>, seed: u64) -> Popularity {
        Popularity {
            hot: HotKeys::new(seed),
            since_start: Distinct::default(),
            this_minute: Distinct::default(),
            last_minute: 0,
            age_at_ms: HOT_KEYS_AGE_S * 1_000,
            minute_ends_ms: MINUTE_MS,
            publish_at_ms: 0,
            board,
        }
    }

    /// Takes in a read.
    #[inline]
    pub fn hit(&mut self, hit: &Hit) {
        self.hot.note(hit.hash, hit.weight);
        self.key(hit.hash);
    }

    /// Takes in a key that was stored.
    #[inline]
    pub fn key(&mut self, hash: u32) {
        self.since_start.note(hash);
        self.this_minute.note(hash);
    }

    /// Lets time pass: ages, and publishes once a second.
    pub fn advance(&mut self, now_ms: u64) {
        if now_ms >= self.age_at_ms {
            self.age_at_ms = now_ms + HOT_KEYS_AGE_S * 1_000;
            self.hot.age();
        }
        if now_ms >= self.minute_ends_ms {
            self.minute_ends_ms = now_ms + MINUTE_MS;
            self.last_minute = self.this_minute.estimate();
            self.this_minute.clear();
        }
        if now_ms >= self.publish_at_ms {
            self.publish_at_ms = now_ms + PUBLISH_MS;
            self.publish();
        }
    }

    /// Publishes what is known now.
    pub fn publish(&self) {
        self.board.publish(&Popular {
            hot: self.hot.top(HOT_KEYS_MAX),
            reads: self.hot.reads(),
            distinct: self.since_start.estimate(),
            distinct_minute: self.last_minute,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item_ref::ItemRef;

    #[test]
    fn what_is_seen_is_published_and_ages() {
        let board = Arc::new(Board::default());
        let mut popularity = Popularity::new(Arc::clone(&board), 1);
        let item = ItemRef::new(9).unwrap();
        popularity.advance(1);
        (0..10).for_each(|_| popularity.hit(&Hit { item, hash: 0x8000_0001, weight: 4 }));
        (0..5).for_each(|i| popularity.key(i << 18));
        popularity.advance(900);
        assert_eq!(board.read(), Popular::default());
        popularity.advance(1_001);
        let seen = board.read();
        assert_eq!((seen.reads, seen.distinct, seen.distinct_minute), (40, 6, 0));
        assert_eq!((seen.hot[0].hash, seen.hot[0].reads), (0x8000_0001, 40));
        popularity.advance(10_000);
        assert_eq!((board.read().hot[0].reads, board.read().reads), (20, 20));
        popularity.advance(60_000);
        assert_eq!((board.read().distinct, board.read().distinct_minute), (6, 6));
        popularity.advance(120_000);
        assert_eq!((board.read().distinct, board.read().distinct_minute), (6, 0));
    }
}
