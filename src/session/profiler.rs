//! How a worker measures itself: some ticks are *watched*, and in those every command is timed.
//!
//! ```text
//! tick            . . . . W . . . . . . . . . . . W . . . . . .      one in `one_in` on average, at random gaps,
//! in a watched:   begin ─ stage ─ stage ─ … ─ work done ─ polled         so that no client is in step with them
//! ```
//! Sampling whole ticks and not commands keeps the unwatched ones free of everything but a branch that is always the
//! same. A stage costs one reading of the clock, about 25 ns: the end of a command is the beginning of the next.
//! What it costs is measured by `scripts/measure watch-cost`; `docs/observe.md` has the figures.

use crate::stats::times::{Measure, WorkerTimes};
use cache::base::clock::{Clock, Now};
use cache::base::random::Random;
use cache::base::sync::Arc;
use cache::shard::owner::Stage;
use protocol::meta;
use protocol::request::Command;

/// One worker's watch.
pub struct TickProfiler {
    times: Arc<WorkerTimes>,
    clock: Clock,
    one_in: u32,
    busy_ticks_left: u32,
    random: Random,
    is_on: bool,
    began_ns: u64,
    mark_ns: u64,
    /// How long the stages of the owner's tick took, and the policy.
    stages_ns: [u64; STAGES.len()],
    policy_ns: u64,
    /// Processor time when the tick began, and what the owner's stages took of it.
    began_cpu_ns: u64,
    owner_cpu_ns: u64,
}

const STAGES: [Measure; 3] = [Measure::Reclaim, Measure::PolicyCommands, Measure::MovePages];

impl TickProfiler {
    /// A watch that measures one busy tick in `one_in`, on average; 0 = none. `seed` tells workers apart.
    pub fn new(times: Arc<WorkerTimes>, clock: Clock, one_in: u32, seed: u64) -> TickProfiler {
        TickProfiler {
            times,
            clock,
            one_in,
            busy_ticks_left: 0,
            random: Random::new(seed),
            is_on: false,
            began_ns: 0,
            mark_ns: 0,
            stages_ns: [0; STAGES.len()],
            policy_ns: 0,
            began_cpu_ns: 0,
            owner_cpu_ns: 0,
        }
    }

    /// A tick begins.
    #[inline]
    pub(crate) fn begin_tick(&mut self, now: Now) {
        self.is_on = self.busy_ticks_left == 0 && self.one_in > 0;
        (self.began_ns, self.mark_ns) = (now.ns, now.ns);
        if self.is_on {
            self.began_cpu_ns = self.clock.thread_cpu_ns();
        }
    }

    /// A stage of the owner's tick is over.
    #[inline]
    pub(crate) fn owner_stage(&mut self, stage: Stage) {
        if self.is_on {
            let now_ns = self.clock.ns();
            self.stages_ns[stage as usize] = now_ns.saturating_sub(self.mark_ns);
            self.mark_ns = now_ns;
            if stage == Stage::MovePages {
                self.owner_cpu_ns = self.work_cpu_ns();
            }
        }
    }

    /// What comes now is measured from here on.
    #[inline]
    pub(crate) fn mark(&mut self) {
        if self.is_on {
            self.mark_ns = self.clock.ns();
        }
    }

    /// A command has ended, and the next begins.
    #[inline]
    pub(crate) fn record_stage(&mut self, measure: Measure) {
        if self.is_on {
            self.record_shared(measure, 1, 1);
        }
    }

    /// A batch of `keys` has ended, in which `alone` datagrams that are served behind it were looked at as well.
    #[inline]
    pub(crate) fn record_batch(&mut self, keys: usize, alone: usize) {
        if self.is_on && keys > 0 {
            self.times.record(Measure::BatchKeys, keys as u64, 1);
            self.record_shared(Measure::Get, keys as u64, (keys + alone) as u64);
        }
    }

    /// The answer to a command that went to its owner in the tick that began at `sent_ns` is there.
    #[inline]
    pub(crate) fn answered(&mut self, sent_ns: u64) {
        if self.is_on {
            self.times.record(Measure::Forward, self.began_ns.saturating_sub(sent_ns), 1);
        }
    }

    /// The policy, which has no core of its own, has had its part of the tick.
    #[inline]
    pub(crate) fn policy_done(&mut self) {
        if self.is_on {
            self.policy_ns = self.clock.ns().saturating_sub(self.mark_ns);
        }
    }

    /// The work of a tick is done; what is left of it is the kernel's.
    #[inline]
    pub(crate) fn work_done(&mut self, busy: bool, datagrams: usize) {
        self.is_on &= busy;
        if self.is_on {
            self.times.record(Measure::TickDatagrams, datagrams as u64, (datagrams > 0) as u64);
            self.times.record(Measure::OwnerCpu, self.owner_cpu_ns, 1);
            self.times.record(Measure::WorkCpu, self.work_cpu_ns(), 1);
            STAGES.iter().zip(self.stages_ns).for_each(|(&stage, ns)| self.times.record(stage, ns, 1));
            self.times.record(Measure::Policy, self.policy_ns, (self.policy_ns > 0) as u64);
            self.mark();
        }
        self.busy_ticks_left = self.busy_ticks_left.saturating_sub(busy as u32);
    }

    /// The tick is over. A busy one did not sleep.
    #[inline]
    pub(crate) fn polled(&mut self) {
        if self.is_on {
            self.record_shared(Measure::Syscall, 1, 1);
            self.times.record(Measure::Tick, self.mark_ns.saturating_sub(self.began_ns), 1);
            self.busy_ticks_left = self.gap();
            self.is_on = false;
        }
    }

    fn work_cpu_ns(&self) -> u64 {
        self.clock.thread_cpu_ns().saturating_sub(self.began_cpu_ns)
    }

    fn record_shared(&mut self, measure: Measure, count: u64, shared_by: u64) {
        let now_ns = self.clock.ns();
        self.times.record(measure, now_ns.saturating_sub(self.mark_ns) / shared_by, count);
        self.mark_ns = now_ns;
    }

    /// Busy ticks until the next that is watched: 0 to twice the mean.
    fn gap(&mut self) -> u32 {
        self.random.below(2 * self.one_in.min(u32::MAX / 2) as u64 - 1) as u32
    }
}

/// What the time of a command counts as.
pub(crate) fn measure_of(command: &Command<'_>) -> Measure {
    match command {
        Command::Get(get) if get.touch.is_none() => Measure::Get,
        Command::Get(_) | Command::Touch { .. } => Measure::Touch,
        Command::Store(_) | Command::TooLarge(_) => Measure::Set,
        Command::Delete { .. } => Measure::Delete,
        Command::Arithmetic { .. } => Measure::Count,
        Command::Meta(meta) => match meta.kind {
            meta::Kind::Get if b"NRT".iter().any(|&flag| meta.has(flag)) => Measure::Touch,
            meta::Kind::Get => Measure::Get,
            meta::Kind::Set => Measure::Set,
            meta::Kind::Delete => Measure::Delete,
            meta::Kind::Arithmetic => Measure::Count,
            meta::Kind::Debug | meta::Kind::Noop => Measure::Other,
        },
        _ => Measure::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn profiler(one_in: u32) -> (TickProfiler, Clock, Arc<WorkerTimes>) {
        let (clock, times) = (Clock::manual(0), Arc::new(WorkerTimes::default()));
        (TickProfiler::new(Arc::clone(&times), clock.clone(), one_in, 1), clock, times)
    }

    #[test]
    fn a_watched_tick_is_cut_into_its_parts() {
        let (mut profiler, clock, times) = profiler(1);
        let pass = |ns| clock.advance(Duration::from_nanos(ns));
        profiler.begin_tick(clock.now());
        for (ns, stage) in [(2, Stage::Reclaim), (3, Stage::PolicyCommands), (4, Stage::MovePages)] {
            pass(ns);
            profiler.owner_stage(stage);
        }
        pass(1);
        profiler.mark();
        pass(80);
        profiler.record_batch(6, 2);
        pass(25);
        profiler.record_stage(Measure::Set);
        profiler.answered(0);
        profiler.mark();
        pass(5);
        profiler.policy_done();
        profiler.work_done(true, 3);
        pass(30);
        profiler.polled();
        let of = |measure| (times.read(measure).count(), times.read(measure).sum());
        assert_eq!((of(Measure::Get), of(Measure::BatchKeys)), ((6, 60), (1, 6)));
        assert_eq!((of(Measure::Set), of(Measure::TickDatagrams)), ((1, 25), (1, 3)));
        assert_eq!((of(Measure::Syscall), of(Measure::Tick)), ((1, 30), (1, 150)));
        assert_eq!((STAGES.map(of), of(Measure::Policy)), ([(1, 2), (1, 3), (1, 4)], (1, 5)));
        assert_eq!((of(Measure::OwnerCpu), of(Measure::WorkCpu)), ((1, 9), (1, 120)));
    }

    #[test]
    fn idle_ticks_are_neither_counted_nor_recorded() {
        let (mut profiler, clock, times) = profiler(1);
        for busy in [false, false, true] {
            profiler.begin_tick(clock.now());
            profiler.work_done(busy, 0);
            profiler.polled();
        }
        assert_eq!(times.read(Measure::Tick).count(), 1);
        assert_eq!(times.read(Measure::TickDatagrams).count(), 0);
    }

    #[test]
    fn one_in_n_is_watched_on_average_and_none_for_zero() {
        for (one_in, want) in [(0, 0..=0), (1, 10_000..=10_000), (16, 560..=690)] {
            let (mut profiler, clock, times) = profiler(one_in);
            for _ in 0..10_000 {
                profiler.begin_tick(clock.now());
                profiler.work_done(true, 1);
                profiler.polled();
            }
            let watched = times.read(Measure::Tick).count();
            assert!(want.contains(&watched), "one in {one_in}: {watched} of 10,000");
        }
    }
}
