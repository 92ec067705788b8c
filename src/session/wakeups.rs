//! Who sleeps, and whom to wake at the end of this tick.
//!
//! ```text
//! push to B ─ must ring? ─ due: B            end of tick: port.wake(B) ─ with the sends, in one entry into the kernel
//! ```
//! A sleeper that several pending requests of a tick are for is woken once. Waking it later than the push costs it nothing: what
//! answers it is behind the same entry.

use crate::net::{Port, Waker};
use crate::stats::counters::WorkerCounters;
use cache::base::sync::Arc;
use cache::ring::SleepFlag;
use std::sync::OnceLock;

/// One worker's sleep flag, as all workers share it.
#[derive(Default)]
struct Sleeper {
    flag: SleepFlag,
    /// Set by the worker once it has a port; nobody sleeps before.
    waker: OnceLock<Waker>,
}

/// A worker's view of who sleeps.
pub struct Wakeups {
    all: Vec<Arc<Sleeper>>,
    mine: usize,
    due: Vec<bool>,
    any_due: bool,
}

impl Wakeups {
    /// A view for each of `workers` workers, in order.
    pub fn for_workers(workers: usize) -> Vec<Wakeups> {
        let all: Vec<Arc<Sleeper>> = (0..workers).map(|_| Arc::default()).collect();
        let view = |mine| Wakeups { all: all.clone(), mine, due: vec![false; workers], any_due: false };
        (0..workers).map(view).collect()
    }

    /// What wakes this worker if it sleeps, for a thread that has pushed something and has no port.
    pub fn waker(&self) -> Box<dyn Fn() + Send> {
        let sleeper = Arc::clone(&self.all[self.mine]);
        Box::new(move || {
            if sleeper.flag.must_wake()
                && let Some(waker) = sleeper.waker.get()
            {
                waker.wake();
            }
        })
    }

    /// How this worker is woken.
    pub(crate) fn connect(&self, waker: Waker) {
        // A second connection would be a second thread of one worker; the first stays.
        let _ = self.all[self.mine].waker.set(waker);
    }

    /// This worker is about to block; it looks at its rings once more after this.
    pub(crate) fn will_sleep(&self) {
        self.all[self.mine].flag.will_sleep();
    }

    /// This worker is awake.
    pub(crate) fn awake(&self) {
        self.all[self.mine].flag.awake();
    }

    /// Something was pushed for `other`.
    #[inline]
    pub(crate) fn after_push(&mut self, other: usize) {
        if self.all[other].flag.must_wake() {
            self.due[other] = true;
            self.any_due = true;
        }
    }

    /// Wakes those who slept when something for them was pushed.
    #[inline]
    pub(crate) fn wake_due<P: Port>(
        &mut self,
        port: &mut P,
        counters: &WorkerCounters,
    ) -> std::io::Result<()> {
        if !self.any_due {
            return Ok(());
        }
        self.any_due = false;
        for (sleeper, due) in self.all.iter().zip(&mut self.due) {
            if std::mem::take(due)
                && let Some(waker) = sleeper.waker.get()
            {
                counters.workers_woken.add(1);
                port.wake(waker)?;
            }
        }
        Ok(())
    }
}
