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

use crate::base::sync::{Arc, AtomicBool, AtomicU64, Ordering, Padded, fence, mutant};

/// `seen` of a worker that sleeps, or does not exist: it holds nobody up.
const OFFLINE: u64 = u64::MAX;

/// The epochs of one process.
#[derive(Debug)]
pub struct Grace {
    epoch: Padded<AtomicU64>,
    seen: Box<[Padded<AtomicU64>]>,
    /// Whose part is taken.
    taken: Box<[AtomicBool]>,
}

/// A moment: memory retired with it is free once [`Grace::passed`] says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u64);

impl Grace {
    /// Grace for `workers` workers, all asleep.
    pub fn new(workers: usize) -> Arc<Grace> {
        let seen = (0..workers).map(|_| Padded(AtomicU64::new(OFFLINE))).collect();
        let taken = (0..workers).map(|_| AtomicBool::new(false)).collect();
        Arc::new(Grace { epoch: Padded(AtomicU64::new(1)), seen, taken })
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

    /// The part of thread `index`, which sleeps; `None` while it is taken.
    pub fn participant(self: &Arc<Grace>, index: usize) -> Option<Participant> {
        // Acquire: pairs with the Release in `drop`: who had the part before is offline.
        let was_taken = self.taken[index].swap(true, Ordering::Acquire);
        (!was_taken).then(|| Participant { grace: Arc::clone(self), index })
    }
}

/// One thread's part, asleep: it reads nothing and holds nobody up.
#[derive(Debug)]
pub struct Participant {
    grace: Arc<Grace>,
    index: usize,
}

/// One thread's part, awake. What it lends is borrowed from it, so nothing that was lent outlives [`Pin::quiescent`], which
/// needs it exclusively. Nobody can have two of one participant.
///
/// ```
/// # fn lent(pin: &mut cache::Pin, shards: &cache::shard::Shards, lookup: cache::table::Lookup<'_>) {
/// let view = shards.view(pin);
/// view.find(&lookup);
/// pin.quiescent();
/// # }
/// ```
/// The same in another order does not compile:
///
/// ```compile_fail,E0502
/// # fn lent(pin: &mut cache::Pin, shards: &cache::shard::Shards, lookup: cache::table::Lookup<'_>) {
/// let view = shards.view(pin);
/// pin.quiescent();
/// view.find(&lookup); // what it finds may be reused by now
/// # }
/// ```
#[derive(Debug)]
pub struct Pin(Participant);

impl Participant {
    /// Wakes up, to read until [`Pin::unpin`].
    pub fn pin(self) -> Pin {
        self.online();
        Pin(self)
    }

    /// Wakes up for a moment.
    pub fn enter(&mut self) -> Entered<'_> {
        self.online();
        Entered(self)
    }

    /// Before blocking: the thread holds nothing and will hold nothing up.
    fn offline(&self) {
        // Release: as in `quiescent`.
        self.seen().store(OFFLINE, Ordering::Release);
    }

    /// After waking, before the first slot is read.
    fn online(&self) {
        self.quiescent();
        // SeqCst fence: Dekker with the one in `retire`.
        fence(Ordering::SeqCst);
    }

    #[inline]
    fn quiescent(&self) {
        // Acquire: pairs with the AcqRel in `retire`.
        let epoch = self.grace.epoch.load(Ordering::Acquire);
        // Release: the reads of the last tick are over; pairs with the Acquire in `passed`.
        self.seen().store(epoch, Ordering::Release);
    }

    fn seen(&self) -> &AtomicU64 {
        &self.grace.seen[self.index].0
    }
}

impl Pin {
    /// Between two ticks, or two commands: everything that was lent is let go.
    #[inline]
    pub fn quiescent(&mut self) {
        self.0.quiescent();
    }

    /// Sleeps while `wait` runs: nothing is lent, and nobody waits for this thread.
    pub fn asleep<R>(&mut self, wait: impl FnOnce() -> R) -> R {
        // Also where `wait` panics: who catches that has a pin that is awake.
        struct Wakes<'p>(&'p Participant);
        impl Drop for Wakes<'_> {
            fn drop(&mut self) {
                self.0.online();
            }
        }
        self.0.offline();
        let _wakes = Wakes(&self.0);
        wait()
    }

    /// Goes to sleep.
    pub fn unpin(self) -> Participant {
        self.0.offline();
        self.0
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        self.offline();
        // Release: pairs with the Acquire in `Grace::participant`.
        self.grace.taken[self.index].store(false, Ordering::Release);
    }
}

/// A short moment of being awake; it ends when this is dropped.
#[derive(Debug)]
pub struct Entered<'p>(&'p Participant);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.offline();
    }
}

/// What keeps memory from reuse while it is borrowed: [`Pin`] and [`Entered`].
pub trait Protects: sealed::Awake {
    /// Whether it protects what this grace is of.
    #[inline]
    fn protects(&self, grace: &Arc<Grace>) -> bool {
        Arc::ptr_eq(&self.participant().grace, grace)
    }
}

impl<T: sealed::Awake> Protects for T {}

mod sealed {
    use super::{Entered, Participant, Pin};

    /// A participant that is awake.
    pub trait Awake {
        fn participant(&self) -> &Participant;
    }

    impl Awake for Pin {
        #[inline]
        fn participant(&self) -> &Participant {
            &self.0
        }
    }

    impl Awake for Entered<'_> {
        #[inline]
        fn participant(&self) -> &Participant {
            self.0
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn memory_waits_for_every_awake_worker() {
        let grace = Grace::new(3);
        let (mut a, mut b) = (grace.participant(0).unwrap().pin(), grace.participant(1).unwrap().pin());
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
        let (mut a, mut b) = (grace.participant(0).unwrap().pin(), grace.participant(1).unwrap().pin());
        let stamp = grace.retire();
        a.quiescent();
        b.asleep(|| assert!(grace.passed(stamp)));
        assert!(grace.passed(stamp), "a worker that wakes later cannot have seen what was unlinked");
    }
}
