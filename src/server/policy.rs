//! The policy of all owners: on a thread of its own, or on the last worker's core between its ticks.

use crate::worker::BackgroundTask;
use cache::base::clock::Clock;
use cache::base::sync::AtomicBool;
use cache::policy::thread::Round;
use cache::policy::{Limits, Progress, run_once};
use std::time::Duration;

/// Repeats the round on this thread until `stop`.
pub fn run_thread(mut round: Round, clock: &Clock, stop: &AtomicBool) {
    cache::policy::thread::run(&mut round, clock, &Limits::default(), stop, std::thread::park_timeout);
}

/// The round in small pieces, for a worker to run between its ticks: at most once in `COOPERATIVE_NS`. It says how long it
/// may be left alone: until the wheel has something to do, if nothing happens. Where a round took in all events and
/// decided all it is in no hurry: a worker under load wakes anyway, and to arm a short timer at each of its sleeps took 15 %
/// of its time in a virtual machine.
pub fn cooperative(mut round: Round) -> BackgroundTask {
    let (mut next_ns, mut publish_ns, mut rest) = (0, 0, Duration::ZERO);
    Box::new(move |now| {
        if now.ns >= next_ns {
            next_ns = now.ns + COOPERATIVE_NS;
            let progress = run_once(&mut round, now.ms(), &Limits::COOPERATIVE);
            let wheel =
                progress.next_ms.map(|at_ms| Duration::from_millis(at_ms.saturating_sub(now.ms()).max(1)));
            let records = match progress {
                Progress { urgent: true, .. } => Some(Duration::from_nanos(COOPERATIVE_NS)),
                _ if !progress.is_idle() => Some(RECORDS_WAIT),
                _ => None,
            };
            rest = wheel.into_iter().chain(records).min().unwrap_or(Duration::MAX);
        }
        if now.ns >= publish_ns {
            publish_ns = now.ns + PUBLISH_NS;
            round.publish(now.ms());
        }
        rest
    })
}

const COOPERATIVE_NS: u64 = 250_000;
/// Records may wait so long for a worker that has nothing else to do: longer than the kernel's own tick.
const RECORDS_WAIT: Duration = Duration::from_millis(10);
const PUBLISH_NS: u64 = 100_000_000;
