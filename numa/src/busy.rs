//! Which CPUs others keep busy: two looks at `/proc/stat` with a pause in between. The looks and the pause are given, so that
//! a test needs no busy machine.
//!
//! Time that the hypervisor takes (steal) is not counted: no thread of this machine can avoid it. A container sees the CPUs of its
//! host here, and what other containers do on them.

use std::collections::BTreeMap;

/// What a CPU has done since the machine started, in ticks of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// Ticks in which it ran something: user, nice, system, interrupts.
    pub busy: u64,
    /// All ticks.
    pub all: u64,
}

/// Reads `/proc/stat`: times by CPU. Lines that are something else are passed over.
pub fn parse(stat: &str) -> BTreeMap<usize, CpuTimes> {
    let line = |line: &str| {
        // The line of all CPUs together has no number: its first word would be its first figure.
        let (cpu, times) = line.strip_prefix("cpu")?.split_once(' ')?;
        let (cpu, words) = (cpu.parse().ok()?, times.split_whitespace());
        // user nice system idle iowait irq softirq steal; guests are counted in user already.
        let ticks: Vec<u64> = words.take(8).map_while(|word| word.parse().ok()).collect();
        let [user, nice, system, idle, iowait, irq, softirq, steal] = ticks[..] else { return None };
        let busy = user + nice + system + irq + softirq;
        Some((cpu, CpuTimes { busy, all: busy + idle + iowait + steal }))
    };
    stat.lines().filter_map(line).collect()
}

/// CPUs that ran something for at least `share_min` (0..=1) of the time between two looks, with that share in percent.
pub fn between(
    before: &BTreeMap<usize, CpuTimes>,
    after: &BTreeMap<usize, CpuTimes>,
    share_min: f64,
) -> BTreeMap<usize, u32> {
    let share = |(cpu, after): (&usize, &CpuTimes)| {
        let before = before.get(cpu)?;
        let all = after.all.saturating_sub(before.all).max(1) as f64;
        let share = after.busy.saturating_sub(before.busy) as f64 / all;
        (share >= share_min).then_some((*cpu, (share * 100.0) as u32))
    };
    after.iter().filter_map(share).collect()
}

/// Looks, pauses, looks again. What cannot be read is taken for idle.
pub fn sample(
    look: impl Fn() -> Option<String>,
    pause: impl FnOnce(),
    share_min: f64,
) -> BTreeMap<usize, u32> {
    let Some(before) = look() else { return BTreeMap::new() };
    pause();
    let Some(after) = look() else { return BTreeMap::new() };
    between(&parse(&before), &parse(&after), share_min)
}

/// Those that are busy in each of several samples, with their lowest share: what ends soon is no reason to keep away. Stops at
/// the first sample that leaves none.
pub fn steady(mut sample: impl FnMut() -> BTreeMap<usize, u32>, samples_max: usize) -> BTreeMap<usize, u32> {
    let mut busy = sample();
    for _ in 1..samples_max {
        if busy.is_empty() {
            break;
        }
        let again = sample();
        let lower = |(cpu, share): (usize, u32)| again.get(&cpu).map(|other| (cpu, share.min(*other)));
        busy = busy.into_iter().filter_map(lower).collect();
    }
    busy
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const BEFORE: &str = "cpu  40 0 10 200 0 0 0 0 0 0\ncpu0 30 0 10 100 0 0 0 0 0 0\ncpu1 10 0 0 100 0 0 0 0 0 0\n\
                          intr 12345 0 9\nctxt 1\n";
    const AFTER: &str = "cpu  49 0 11 212 0 0 0 0 0 0\ncpu0 38 0 11 101 0 0 0 0 0 0\ncpu1 11 0 0 109 0 0 0 0 0 0\n\
                         intr 12345 0 9\nctxt 1\n";

    #[test]
    fn a_cpu_that_runs_something_is_busy() {
        let is_second = Cell::new(false);
        let look = || Some(if is_second.get() { AFTER } else { BEFORE }.to_owned());
        assert_eq!(sample(look, || is_second.set(true), 0.25), BTreeMap::from([(0, 90)]));
        is_second.set(false);
        assert_eq!(sample(look, || is_second.set(true), 0.05), BTreeMap::from([(0, 90), (1, 10)]));
    }

    #[test]
    fn a_burst_is_not_busy() {
        let taken = Cell::new(0);
        let of = |samples: &'static [&'static [(usize, u32)]]| {
            taken.set(0);
            let sample = || {
                taken.set(taken.get() + 1);
                samples[taken.get() - 1].iter().copied().collect()
            };
            (steady(sample, samples.len()), taken.get())
        };
        assert_eq!(
            of(&[&[(0, 90), (1, 50)], &[(0, 40), (1, 60)], &[(0, 70)]]),
            (BTreeMap::from([(0, 40)]), 3)
        );
        assert_eq!(of(&[&[(0, 90)], &[(1, 90)], &[(0, 90)]]), (BTreeMap::new(), 2));
        assert_eq!(of(&[&[], &[(0, 90)]]), (BTreeMap::new(), 1));
    }

    #[test]
    fn what_cannot_be_read_is_idle() {
        assert_eq!(sample(|| None, || panic!("it need not wait"), 0.1), BTreeMap::new());
        assert_eq!(sample(|| Some("cpu0 1 2\ncpux\n\n".into()), || (), 0.0), BTreeMap::new());
        // A CPU that came in between.
        assert_eq!(between(&parse(BEFORE), &parse("cpu7 1 1 1 1 1 1 1 1"), 0.0), BTreeMap::new());
        // Nothing passed, or the counters went back.
        assert_eq!(between(&parse(AFTER), &parse(BEFORE), 0.1), BTreeMap::new());
    }

    #[test]
    fn this_machine_can_be_read() {
        let stat = std::fs::read_to_string("/proc/stat").unwrap();
        let times = parse(&stat);
        assert!(!times.is_empty() && times.values().all(|times| times.busy <= times.all), "{stat}");
    }
}
