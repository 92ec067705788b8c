//! The hot-key snapshot: the policy thread writes which keys are popular, and any thread reads it.
//!
//! A sequence lock (H.-J. Boehm, "Can seqlocks get along with programming language memory models?", MSPC 2012): the one
//! writer makes the version odd, writes, makes it even. A reader that saw the same even version before and after has
//! read one state; otherwise it looks again, a bounded number of times, and then does without. All words are atomics,
//! so nothing is torn, only mixed.

use crate::base::counter::Counter;
use crate::base::sync::{AtomicU64, Ordering, fence};
use crate::limits::{HOT_KEYS_MAX, HOT_KEYS_READS_MAX};
use crate::policy::hot::HotKey;

/// What the policy says of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Popular {
    /// The most read keys, the most read first; at most [`HOT_KEYS_MAX`].
    pub hot: Vec<HotKey>,
    /// All reads, aged as those of the hot keys are.
    pub reads: u64,
    /// Different keys that were read or stored since the start, about.
    pub distinct: u64,
    /// Different keys that were read or stored in the last full minute, about.
    pub distinct_minute: u64,
}

/// The latest popular keys. Only one thread may publish.
#[derive(Debug)]
pub struct HotKeySnapshot {
    version: AtomicU64,
    /// `reads`, `distinct`, `distinct_minute`, number of keys; then a word a key.
    words: Box<[Counter]>,
}

const HEAD: usize = 4;

impl Default for HotKeySnapshot {
    fn default() -> HotKeySnapshot {
        let words = (0..HEAD + HOT_KEYS_MAX).map(|_| Counter::default()).collect();
        HotKeySnapshot { version: AtomicU64::new(0), words }
    }
}

impl HotKeySnapshot {
    /// Replaces what is in the snapshot; keys beyond the most that it holds are left out.
    pub fn publish(&self, popular: &Popular) {
        // Relaxed: only this thread writes it.
        let version = self.version.load(Ordering::Relaxed);
        // Relaxed: the fence orders it before the words.
        self.version.store(version + 1, Ordering::Relaxed);
        // Release: a reader that sees one of the words below sees the odd version, by its Acquire fence.
        fence(Ordering::Release);
        let hot = &popular.hot[..popular.hot.len().min(HOT_KEYS_MAX)];
        let head = [popular.reads, popular.distinct, popular.distinct_minute, hot.len() as u64];
        let keys = hot.iter().map(|key| (key.hash as u64) << 32 | key.reads as u64);
        self.words.iter().zip(head.into_iter().chain(keys)).for_each(|(word, value)| word.set(value));
        // Release: whoever sees this version sees the words; pairs with the first load in `try_read`.
        self.version.store(version + 2, Ordering::Release);
    }

    /// What is in the snapshot; nothing if it was being rewritten at every look.
    pub fn read(&self) -> Popular {
        (0..HOT_KEYS_READS_MAX).find_map(|_| self.try_read()).unwrap_or_default()
    }

    fn try_read(&self) -> Option<Popular> {
        // Acquire: pairs with the last store of `publish`.
        let before = self.version.load(Ordering::Acquire);
        let word = |at: usize| self.words[at].get();
        let count = (word(3) as usize).min(HOT_KEYS_MAX);
        let key = |i: usize| {
            let counted = word(HEAD + i);
            HotKey { hash: (counted >> 32) as u32, reads: counted as u32 }
        };
        let popular = Popular {
            hot: (0..count).map(key).collect(),
            reads: word(0),
            distinct: word(1),
            distinct_minute: word(2),
        };
        // Acquire: the words were read before the version is read again; pairs with the fence of `publish`.
        fence(Ordering::Acquire);
        // Relaxed: ordered by the fence.
        let after = self.version.load(Ordering::Relaxed);
        (before == after && before.is_multiple_of(2)).then_some(popular)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::sync::{Arc, AtomicBool};

    fn popular(n: u32) -> Popular {
        let key = |i| HotKey { hash: i, reads: n };
        Popular {
            hot: (0..n % 7).map(key).collect(),
            reads: n as u64,
            distinct: n as u64,
            distinct_minute: n as u64,
        }
    }

    #[test]
    fn what_is_published_is_read() {
        let snapshot = HotKeySnapshot::default();
        assert_eq!(snapshot.read(), Popular::default());
        for n in [5, 6, 1, 8] {
            snapshot.publish(&popular(n));
            assert_eq!(snapshot.read(), popular(n));
        }
        let many = Popular { hot: vec![popular(1).hot[0]; HOT_KEYS_MAX + 9], ..popular(1) };
        snapshot.publish(&many);
        assert_eq!(snapshot.read().hot.len(), HOT_KEYS_MAX);
    }

    #[test]
    fn a_reader_never_sees_two_states_mixed() {
        let (snapshot, stop) = (Arc::new(HotKeySnapshot::default()), Arc::new(AtomicBool::new(false)));
        let reader = std::thread::spawn({
            let (snapshot, stop) = (Arc::clone(&snapshot), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Acquire) {
                    let seen = snapshot.read();
                    assert!(seen == Popular::default() || seen == popular(seen.reads as u32), "{seen:?}");
                }
            }
        });
        (1..200_000).for_each(|n| snapshot.publish(&popular(n)));
        stop.store(true, Ordering::Release);
        reader.join().unwrap();
    }
}
