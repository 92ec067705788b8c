//! Replay of a trace: its records as asks, one in flight per key.
//!
//! A get that misses is followed by a set of the record's size and TTL (look-aside caching). A record whose key
//! still has a request in flight waits for it, so each key sees the trace's own order and the hit ratio does not
//! depend on the window: without that, a second get of a key would miss while its set is still on the way.
//!
//! With several threads, each replays the keys of its own; the order between keys of different threads is lost.

use super::sizes::Size;
use super::trace::{Op, Reader, Record};
use super::workload::{Ask, Verb};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// A record, ready to be asked.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Nanoseconds after the first record of the trace.
    pub due_ns: u64,
    /// What to ask.
    pub ask: Ask,
}

/// A whole trace in memory, its keys numbered in the order of their first appearance.
#[derive(Debug)]
pub struct Trace {
    /// The original key of each number.
    pub names: Vec<u64>,
    /// All records.
    pub steps: Vec<Step>,
    /// Records whose size was unknown and taken from `--value-size`.
    pub sizes_unknown: u64,
}

impl Trace {
    /// Reads `path`; a record's value has its size less `key_bytes`, or `value_size` where it is unknown.
    ///
    /// # Errors
    /// As [`Reader`]'s; also an empty trace.
    pub fn load(path: &Path, value_size: &Size, key_bytes: u32) -> Result<Trace, String> {
        let wrong = |e: std::io::Error| format!("{}: {e}", path.display());
        let mut trace = Trace { names: Vec::new(), steps: Vec::new(), sizes_unknown: 0 };
        let mut numbers: HashMap<u64, u32> = HashMap::new();
        for record in Reader::open(path).map_err(wrong)? {
            let record = record.map_err(wrong)?;
            let names = &mut trace.names;
            let key = *numbers.entry(record.key).or_insert_with(|| {
                names.push(record.key);
                names.len() as u32 - 1
            });
            trace.push(key, &record, value_size, key_bytes);
        }
        if trace.steps.is_empty() {
            return Err(format!("{}: no records", path.display()));
        }
        Ok(trace)
    }

    /// Whether all records are of one time, as in a trace that has none.
    pub fn is_of_one_time(&self) -> bool {
        // Times do not go back, and begin at zero.
        self.steps.len() > 1 && self.steps.last().is_some_and(|last| last.due_ns == 0)
    }

    fn push(&mut self, key: u32, record: &Record, value_size: &Size, key_bytes: u32) {
        let value_bytes = if record.size <= 1 {
            self.sizes_unknown += 1;
            value_size.of(key)
        } else {
            record.size.saturating_sub(key_bytes).max(1)
        };
        let command = match record.op {
            Op::Get => Verb::Get,
            Op::Set => Verb::Set,
            Op::Delete => Verb::Delete,
        };
        let ask = Ask { command, key, value_bytes, ttl_s: record.ttl_s };
        self.steps.push(Step { due_ns: record.t_ms * 1_000_000, ask });
    }
}

/// One thread's share of a trace.
pub struct Replay {
    trace: Arc<Trace>,
    next: usize,
    part: u32,
    parts: u32,
    recorded: bool,
    busy: Vec<u64>,
    /// Times at which a record had to wait for an earlier one of its key.
    pub stalls: u64,
}

/// What a replay says when asked for the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask this.
    Ask(Ask),
    /// Not before this time, in nanoseconds since the start.
    NotBefore(u64),
    /// The key of the next record is busy: ask again after a reply.
    Stalled,
    /// The trace is over.
    End,
}

impl Replay {
    /// The records of the keys of thread `part` of `parts`; at their `recorded` times or as fast as possible.
    pub fn new(trace: Arc<Trace>, part: usize, parts: usize, recorded: bool) -> Replay {
        let busy = vec![0; trace.names.len().div_ceil(64)];
        let (part, parts) = (part as u32, parts as u32);
        Replay { trace, next: 0, part, parts, recorded, busy, stalls: 0 }
    }

    /// The next step; `elapsed_ns` since the start of the replay.
    pub fn next(&mut self, elapsed_ns: u64) -> Next {
        while let Some(step) = self.trace.steps.get(self.next) {
            if step.ask.key % self.parts != self.part {
                self.next += 1;
                continue;
            }
            if self.recorded && step.due_ns > elapsed_ns {
                return Next::NotBefore(step.due_ns);
            }
            if self.is_busy(step.ask.key) {
                self.stalls += 1;
                return Next::Stalled;
            }
            self.next += 1;
            self.busy[step.ask.key as usize / 64] |= 1 << (step.ask.key % 64);
            return Next::Ask(step.ask);
        }
        Next::End
    }

    /// When the step that [`Replay::next`] gave last was due, in nanoseconds since the start.
    pub fn due_ns(&self) -> u64 {
        self.trace.steps[self.next - 1].due_ns
    }

    /// The key's request is answered or lost, and nothing follows it.
    pub fn release(&mut self, key: u32) {
        self.busy[key as usize / 64] &= !(1 << (key % 64));
    }

    fn is_busy(&self, key: u32) -> bool {
        self.busy[key as usize / 64] >> (key % 64) & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(steps: &[(u64, u32)]) -> Arc<Trace> {
        let steps = steps
            .iter()
            .map(|&(due_ns, key)| Step {
                due_ns,
                ask: Ask { command: Verb::Get, key, value_bytes: 1, ttl_s: 0 },
            })
            .collect();
        Arc::new(Trace { names: vec![0, 1, 2], steps, sizes_unknown: 0 })
    }

    fn key(next: Next) -> Option<u32> {
        if let Next::Ask(ask) = next { Some(ask.key) } else { None }
    }

    #[test]
    fn a_key_in_flight_holds_its_next_record() {
        let mut replay = Replay::new(trace(&[(0, 1), (0, 2), (0, 1)]), 0, 1, false);
        assert_eq!(key(replay.next(0)), Some(1));
        assert_eq!(key(replay.next(0)), Some(2));
        assert_eq!(replay.next(0), Next::Stalled);
        replay.release(1);
        assert_eq!(key(replay.next(0)), Some(1));
        assert_eq!(replay.next(0), Next::End);
    }

    #[test]
    fn recorded_times_are_kept() {
        let mut replay = Replay::new(trace(&[(0, 1), (500, 2)]), 0, 1, true);
        assert_eq!(key(replay.next(0)), Some(1));
        assert_eq!(replay.next(499), Next::NotBefore(500));
        assert_eq!(key(replay.next(500)), Some(2));
        assert_eq!(replay.due_ns(), 500);
    }

    #[test]
    fn threads_share_the_keys_out() {
        let trace = trace(&[(0, 0), (0, 1), (0, 2)]);
        let mut second = Replay::new(trace.clone(), 1, 2, false);
        assert_eq!(key(second.next(0)), Some(1));
        assert_eq!(second.next(0), Next::End);
    }

    #[test]
    fn unknown_sizes_come_from_the_value_size() {
        let mut trace = Trace { names: vec![7], steps: Vec::new(), sizes_unknown: 0 };
        for size in [1, 500] {
            let record = Record { key: 7, t_ms: 3, size, ttl_s: 9, op: Op::Set };
            trace.push(0, &record, &Size::Fixed(100), 16);
        }
        assert_eq!(trace.steps[0].ask.value_bytes, 100);
        assert_eq!(trace.steps[1].ask.value_bytes, 484);
        assert_eq!((trace.sizes_unknown, trace.steps[1].due_ns), (1, 3_000_000));
    }
}
