//! The bells of all workers, and which of them to ring at the end of this tick.
//!
//! ```text
//! push to B ─ must ring? ─ due: B            end of tick: port.wake(B) ─ with the sends, in one entry into the kernel
//! ```
//! A sleeper that several parcels of a tick are for is woken once. Waking it later than the push costs it nothing: what
//! answers it is behind the same entry.

use crate::io::{Port, Waker};
use crate::stats::counters::WorkerCounters;
use cache::base::sync::Arc;
use cache::ring::Doorbell;
use std::sync::OnceLock;

/// One worker's bell, as all workers share it.
#[derive(Default)]
struct Bell {
    door: Doorbell,
    /// Set by the worker once it has a port; nobody sleeps before.
    waker: OnceLock<Waker>,
}

/// A worker's view of all bells.
pub struct Bells {
    all: Vec<Arc<Bell>>,
    mine: usize,
    due: Vec<bool>,
    any_due: bool,
}

impl Bells {
    /// A view for each of `workers` workers, in order.
    pub fn for_workers(workers: usize) -> Vec<Bells> {
        let all: Vec<Arc<Bell>> = (0..workers).map(|_| Arc::default()).collect();
        let view = |mine| Bells { all: all.clone(), mine, due: vec![false; workers], any_due: false };
        (0..workers).map(view).collect()
    }

    /// What wakes this worker if it sleeps, for a thread that has pushed something and has no port.
    pub fn alarm(&self) -> Box<dyn Fn() + Send> {
        let bell = Arc::clone(&self.all[self.mine]);
        Box::new(move || {
            if bell.door.must_ring()
                && let Some(waker) = bell.waker.get()
            {
                waker.wake();
            }
        })
    }

    /// How this worker is woken.
    pub(super) fn connect(&self, waker: Waker) {
        // A second connection would be a second thread of one worker; the first stays.
        let _ = self.all[self.mine].waker.set(waker);
    }

    /// This worker is about to block; it looks at its mail once more after this.
    pub(super) fn will_sleep(&self) {
        self.all[self.mine].door.will_sleep();
    }

    /// This worker is awake.
    pub(super) fn awake(&self) {
        self.all[self.mine].door.awake();
    }

    /// There is mail for `other`.
    #[inline]
    pub(super) fn after_push(&mut self, other: usize) {
        if self.all[other].door.must_ring() {
            self.due[other] = true;
            self.any_due = true;
        }
    }

    /// Wakes those who slept when mail for them was pushed.
    #[inline]
    pub(super) fn ring_due<P: Port>(
        &mut self,
        port: &mut P,
        counters: &WorkerCounters,
    ) -> std::io::Result<()> {
        if !self.any_due {
            return Ok(());
        }
        self.any_due = false;
        for (bell, due) in self.all.iter().zip(&mut self.due) {
            if std::mem::take(due)
                && let Some(waker) = bell.waker.get()
            {
                counters.workers_woken.add(1);
                port.wake(waker)?;
            }
        }
        Ok(())
    }
}
