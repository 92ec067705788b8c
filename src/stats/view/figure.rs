//! How figures are written for people, and the axis that percentile plots share.
//!
//! The percentile axis is logarithmic in what is left: 0 %, 90 %, 99 %, 99.9 % … are one *decade* apart, so that the
//! rare slow events, which matter, get room.

/// The percentiles that tables show, as shares; the last is the maximum.
pub const SHARES: [f64; 8] = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 1.0];
/// Decades of the percentile axis at most: 99.9999 %.
pub const DECADES_MAX: f64 = 6.0;

/// A share as a percentile: `p99.9`, `max`.
pub fn share_name(share: f64) -> String {
    if share >= 1.0 {
        return "max".into();
    }
    let text = format!("{:.4}", share * 100.0);
    format!("p{}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A latency in microseconds with the unit that suits it and three digits: `87.3 µs`, `1.20 ms`.
pub fn latency(us: f64) -> String {
    let (value, unit) = match us {
        us if us < 1.0 => (us * 1e3, "ns"),
        us if us < 1e3 => (us, "µs"),
        us if us < 1e6 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    let digits = if value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

/// A latency on an axis: without digits that say nothing.
pub fn tick(us: f64) -> String {
    let text = latency(us);
    let (number, unit) = text.split_once(' ').unwrap_or((&text, ""));
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number} {unit}")
}

/// A count with its thousands apart: `1 234 567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// Decades needed to show `events` events: the last one stands alone there.
pub fn decades(events: u64) -> f64 {
    (events.max(100) as f64).log10().min(DECADES_MAX)
}

/// The share at a place of the percentile axis, in decades.
pub fn share_at(decade: f64) -> f64 {
    1.0 - 10f64.powf(-decade)
}

/// The ends of a logarithmic axis for latencies from `low` to `high` microseconds, and its ticks: 1, 2 and 5 of each
/// power of ten where there is room, else the powers alone.
pub fn log_axis(low: f64, high: f64) -> (f64, f64, Vec<f64>) {
    let low = low.max(1e-3);
    let high = high.max(low * 1.5);
    let first = low.log10().floor() as i32;
    let last = high.log10().ceil() as i32;
    let steps: Vec<f64> =
        (first..=last).flat_map(|p| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(p))).collect();
    let floor = steps.iter().copied().rfind(|&s| s <= low * 1.001).unwrap_or(steps[0]);
    let ceiling = steps.iter().copied().find(|&s| s >= high * 0.999).unwrap_or(high);
    let crowded = (ceiling / floor).log10() > 2.4;
    let shown = |s: &f64| *s >= floor * 0.999 && *s <= ceiling * 1.001 && !(crowded && is_multiple(*s));
    (floor, ceiling, steps.iter().copied().filter(shown).collect())
}

/// Whether a step is 2 or 5 times a power of ten.
fn is_multiple(step: f64) -> bool {
    (step.log10() - step.log10().round()).abs() > 1e-6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        for (us, want) in
            [(0.5, "500 ns"), (87.3, "87.3 µs"), (100.0, "100 µs"), (1200.0, "1.20 ms"), (2.5e6, "2.50 s")]
        {
            assert_eq!(latency(us), want);
        }
        assert_eq!((tick(100.0), tick(1000.0), tick(20.0)), ("100 µs".into(), "1 ms".into(), "20 µs".into()));
        assert_eq!((count(0), count(999), count(1_234_567)), ("0".into(), "999".into(), "1 234 567".into()));
        let names: Vec<String> = SHARES.iter().map(|&s| share_name(s)).collect();
        assert_eq!(names, ["p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99", "max"]);
    }

    #[test]
    fn axes_enclose_their_values_and_have_ticks() {
        for (low, high) in [(3.0, 70.0), (0.5, 1e6), (10.0, 10.0), (0.0, 5.0), (999.0, 1001.0)] {
            let (floor, ceiling, ticks) = log_axis(low, high);
            assert!(floor <= low.max(1e-3) * 1.001 && ceiling >= high, "{low} {high}: {floor} {ceiling}");
            assert!((2..=16).contains(&ticks.len()), "{ticks:?}");
            assert!(ticks[0] >= floor * 0.99 && *ticks.last().unwrap() <= ceiling * 1.01);
        }
    }
}
