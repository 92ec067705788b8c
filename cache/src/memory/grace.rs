//! Grace: when retired memory may be used again.
//!
//! Quiescent-state based reclamation (McKenney & Slingwine 1998; "QSBR" in Hart et al. 2007). A worker holds no item
//! or table reference between ticks. Retired memory is stamped with a new epoch; once every worker that is awake
//! has begun a tick since, nobody can still hold a reference to it.
//!
//! ```text
//! owner:   unlink (Release) ─▶ epoch += 1 ─▶ retire with stamp = epoch …… min(seen) ≥ stamp ─▶ reuse
//! worker:  ── tick ──┤ seen = epoch ├── tick ──┤ seen = epoch ├── OFFLINE, sleeps … ├ seen = epoch, fence ├──
//! ```
//! Cost: one load and one store a tick and worker, one locked add a tick that retired anything.
//! Bound: retired memory waits for the slowest awake worker; [`Grace::backlog_epochs`] shows how far behind it is.

use crate::base::sync::{Arc, AtomicU64, Ordering, Padded, fence, mutant};

/// `seen` of a worker that sleeps, or does not exist: it holds nobody up.
const OFFLINE: u64 = u64::MAX;

/// The epochs of one process.
#[derive(Debug)]
pub struct Grace {
    epoch: Padded<AtomicU64>,
    seen: Box<[Padded<AtomicU64>]>,
}

/// A moment: memory retired with it is free once [`Grace::passed`] says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u64);

impl Grace {
    /// Grace for `workers` workers, all asleep.
    pub fn new(workers: usize) -> Arc<Grace> {
        let seen = (0..workers).map(|_| Padded(AtomicU64::new(OFFLINE))).collect();
        Arc::new(Grace { epoch: Padded(AtomicU64::new(1)), seen })
    }

    /// Opens a new epoch; what the caller unlinked before this call may be retired with the stamp.
    pub fn retire(&self) -> Stamp {
        // AcqRel: a worker that sees this epoch (Acquire in `quiescent`) sees the unlinking stores before it.
        let stamp = self.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        // SeqCst fence: Dekker with the one in `online`. Either the waking worker's slot loads see the unlinking, or
        // `passed` sees that worker awake.
        fence(Ordering::SeqCst);
        Stamp(stamp)
    }

    /// Whether no worker can still hold a reference that was unlinked before `stamp` was taken.
    pub fn passed(&self, stamp: Stamp) -> bool {
        // Acquire: pairs with the Release in `quiescent` and `offline`: the reads of that worker's tick are over.
        mutant::is("no_grace") || self.seen.iter().all(|seen| seen.load(Ordering::Acquire) >= stamp.0)
    }

    /// Epochs by which the slowest awake worker is behind.
    pub fn backlog_epochs(&self) -> u64 {
        // Relaxed: a figure for people.
        let epoch = self.epoch.load(Ordering::Relaxed);
        let slowest = self.seen.iter().map(|seen| seen.load(Ordering::Relaxed)).min().unwrap_or(epoch);
        epoch.saturating_sub(slowest.min(epoch))
    }

    /// The part of worker `index`.
    pub fn participant(self: &Arc<Grace>, index: usize) -> Participant {
        assert!(index < self.seen.len());
        Participant { grace: Arc::clone(self), index }
    }
}

/// One worker's part. The worker calls these between ticks, when it holds no reference.
#[derive(Debug)]
pub struct Participant {
    grace: Arc<Grace>,
    index: usize,
}

impl Participant {
    /// Between two ticks: everything read before is let go.
    #[inline]
    pub fn quiescent(&self) {
        // Acquire: pairs with the AcqRel in `retire`.
        let epoch = self.grace.epoch.load(Ordering::Acquire);
        // Release: the reads of the last tick are over; pairs with the Acquire in `passed`.
        self.seen().store(epoch, Ordering::Release);
    }

    /// Before blocking: the worker holds nothing and will hold nothing up.
    pub fn offline(&self) {
        // Release: as in `quiescent`.
        self.seen().store(OFFLINE, Ordering::Release);
    }

    /// After waking, before the first slot is read.
    pub fn online(&self) {
        self.quiescent();
        // SeqCst fence: Dekker with the one in `retire`.
        fence(Ordering::SeqCst);
    }

    /// The epochs.
    pub fn grace(&self) -> &Arc<Grace> {
        &self.grace
    }

    fn seen(&self) -> &AtomicU64 {
        &self.grace.seen[self.index].0
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        self.offline();
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn memory_waits_for_every_awake_worker() {
        let grace = Grace::new(3);
        let (a, b) = (grace.participant(0), grace.participant(1));
        a.online();
        b.online();
        let stamp = grace.retire();
        assert!(!grace.passed(stamp));
        a.quiescent();
        assert!(!grace.passed(stamp));
        assert_eq!(grace.backlog_epochs(), 1);
        b.quiescent();
        assert!(grace.passed(stamp));
    }

    #[test]
    fn a_sleeping_worker_holds_nobody_up() {
        let grace = Grace::new(2);
        let (a, b) = (grace.participant(0), grace.participant(1));
        a.online();
        b.online();
        let stamp = grace.retire();
        a.quiescent();
        b.offline();
        assert!(grace.passed(stamp));
        b.online();
        assert!(grace.passed(stamp), "a worker that wakes later cannot have seen what was unlinked");
    }
}
