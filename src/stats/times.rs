//! What a worker measures of itself: how long things take and how large its batches are.
//!
//! A worker measures *watched* ticks only, on average one in `--watch-one-in` of those that did something (see
//! `session::profiler`), so counts here are counts of samples, not of commands.
//!
//! What the figures mean:
//! - **`get_ns`**: the time of a table batch, from the first byte parsed to the last reply encoded, divided by its
//!   keys (and by the datagrams that were looked at there and are served alone): processor time that a key costs, not how
//!   long its client waited. One key weighs as one event.
//! - **`set_ns` …**: from the end of the command before it to the reply encoded, measured for each command alone, on
//!   the worker that executes it. A store that a datagram begins with was read with the batch, which has that time.
//! - **`tick_ns`**: what a request can wait inside of the server: it is received at the end of one tick and answered at
//!   the end of the next.

use super::live::{LiveHistogram, Reading};

macro_rules! measures {
    ($($(#[doc = $doc:literal])* $variant:ident $name:literal,)*) => {
        /// Something that a worker measures.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Measure {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Measure {
            /// All of them, in the order in which they are shown.
            pub const ALL: &[Measure] = &[$(Measure::$variant,)*];

            /// Its name in `stats`; one that ends in `_ns` counts nanoseconds.
            pub fn name(self) -> &'static str {
                match self { $(Measure::$variant => $name,)* }
            }

            /// What it is, for people.
            pub fn help(self) -> &'static str {
                match self { $(Measure::$variant => concat!($($doc),*).trim_ascii(),)* }
            }
        }

        const COUNT: usize = [$(Measure::$variant,)*].len();
    };
}

measures! {
    /// Processor time of a key that was read, in a table batch or alone.
    Get "get_ns",
    /// Processor time of a store.
    Set "set_ns",
    /// Processor time of a delete.
    Delete "delete_ns",
    /// Processor time of an increment or decrement.
    Count "count_ns",
    /// Processor time of a touch, and of a read that changes its item.
    Touch "touch_ns",
    /// Processor time of any other command.
    Other "other_ns",
    /// Duration of a tick that did something, its way through the kernel included.
    Tick "tick_ns",
    /// The part of a tick in the kernel: replies out, datagrams in.
    Syscall "syscall_ns",
    /// The part of a tick in which memory is freed whose grace is over.
    Reclaim "reclaim_ns",
    /// The part of a tick in which what flushes left is removed, and the policy's commands are executed.
    PolicyCommands "policy_commands_ns",
    /// The part of a tick in which the table grows, and the mover empties pages.
    MovePages "move_pages_ns",
    /// The part of a tick that the policy takes where it has no core of its own.
    Policy "policy_ns",
    /// Processor time of the three stages before together.
    OwnerCpu "owner_cpu_ns",
    /// Processor time of a tick but for its way through the kernel.
    WorkCpu "work_cpu_ns",
    /// From sending a command to its owner until its answer is taken up.
    Forward "forward_ns",
    /// Datagrams received together.
    TickDatagrams "tick_datagrams",
    /// Keys looked up together.
    BatchKeys "batch_keys",
}

impl Measure {
    /// Whether it counts nanoseconds.
    pub fn is_time(self) -> bool {
        self.name().ends_with("_ns")
    }

    /// Its name without the unit.
    pub fn tag(self) -> &'static str {
        self.name().trim_end_matches("_ns")
    }
}

/// Everything that one worker measures. Written by its own thread only.
#[derive(Debug, Default)]
pub struct WorkerTimes {
    live: [LiveHistogram; COUNT],
}

impl WorkerTimes {
    /// Records `count` events of one value.
    #[inline]
    pub fn record(&self, measure: Measure, value: u64, count: u64) {
        self.live[measure as usize].record(value, count);
    }

    /// What was recorded so far.
    pub fn read(&self, measure: Measure) -> Reading {
        self.live[measure as usize].read()
    }
}

/// What all workers measured together.
pub fn read_all<'a>(workers: impl IntoIterator<Item = &'a WorkerTimes>, measure: Measure) -> Reading {
    workers.into_iter().fold(Reading::default(), |mut all, worker| {
        all.merge(&worker.read(measure));
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_merged_on_reading() {
        let workers = [WorkerTimes::default(), WorkerTimes::default()];
        workers[0].record(Measure::Get, 100, 20);
        workers[1].record(Measure::Get, 300, 20);
        workers[1].record(Measure::Tick, 5_000, 1);
        let all = read_all(&workers, Measure::Get);
        assert_eq!((all.count(), all.sum(), all.max()), (40, 8_000, 300));
        assert_eq!(read_all(&workers, Measure::Tick).count(), 1);
    }

    #[test]
    fn names_say_their_unit() {
        let names: Vec<_> = Measure::ALL.iter().map(|m| (m.tag(), m.is_time())).collect();
        assert_eq!(names[0], ("get", true));
        assert_eq!(names[COUNT - 1], ("batch_keys", false));
        assert!(Measure::ALL.iter().enumerate().all(|(i, &m)| m as usize == i && !m.help().is_empty()));
    }
}
