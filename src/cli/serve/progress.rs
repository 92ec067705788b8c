//! What a person, or a log, is told while memory is prefaulted, which takes minutes where there is much of it.

use numa::report::Bytes;
use std::sync::Mutex;
use std::time::Duration;

/// Time between two lines on a terminal.
const ON_TERMINAL: Duration = Duration::from_secs(1);
/// Time between two lines elsewhere: a log is not flooded, and whoever waits sees that something happens.
const ELSEWHERE: Duration = Duration::from_secs(5);

/// How far it is. Several threads tell it of what they did.
pub(super) struct Progress {
    total_bytes: usize,
    rhythm: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    done_bytes: usize,
    /// When the last line was due, since the beginning.
    told: Duration,
}

impl Progress {
    pub(super) fn new(total_bytes: usize, is_terminal: bool) -> Progress {
        let rhythm = if is_terminal { ON_TERMINAL } else { ELSEWHERE };
        Progress { total_bytes, rhythm, state: Mutex::default() }
    }

    /// Takes `bytes` more as done; `now` counts from the beginning. Returns the line that is due: none if all is done or the last
    /// one is not long ago, so a start that takes less than the rhythm has none.
    pub(super) fn add(&self, bytes: usize, now: Duration) -> Option<String> {
        let mut state = self.state.lock().expect("nobody panics while it holds the state");
        state.done_bytes += bytes;
        if now < state.told + self.rhythm || state.done_bytes >= self.total_bytes {
            return None;
        }
        state.told = now;
        let (done, total) = (state.done_bytes as f64, self.total_bytes as f64);
        let rate = done / now.as_secs_f64();
        Some(format!(
            "memory: {} of {} ({:.0} %), {}/s, about {:.0} s left",
            Bytes(state.done_bytes as u64),
            Bytes(self.total_bytes as u64),
            done / total * 100.0,
            Bytes(rate as u64),
            ((total - done) / rate).ceil(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const MIB: usize = 1 << 20;

    /// 1 GiB in steps of 16 MiB, each taking so long; the lines with their times in ms.
    fn lines(is_terminal: bool, step: Duration) -> Vec<(u128, String)> {
        let progress = Progress::new(1024 * MIB, is_terminal);
        let steps = (1..=64).map(|number| step * number);
        steps.filter_map(|now| progress.add(16 * MIB, now).map(|line| (now.as_millis(), line))).collect()
    }

    #[test]
    fn a_log_gets_a_line_in_five_seconds_and_a_terminal_one_a_second() {
        let log = lines(false, S / 4);
        assert_eq!(log.iter().map(|(ms, _)| *ms).collect::<Vec<_>>(), [5_000, 10_000, 15_000]);
        assert_eq!(log[0].1, "memory: 320 MiB of 1 GiB (31 %), 64 MiB/s, about 11 s left");
        assert_eq!(log[1].1, "memory: 640 MiB of 1 GiB (62 %), 64 MiB/s, about 6 s left");
        assert_eq!(lines(true, S / 4).len(), 15);
    }

    #[test]
    fn a_short_start_says_nothing() {
        assert_eq!(lines(false, S / 20).len() + lines(true, S / 80).len(), 0);
        // Nor is the end of a long one a line: the ready line follows.
        assert_eq!(Progress::new(MIB, true).add(MIB, 100 * S), None);
    }
}
