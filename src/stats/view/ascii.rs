//! A percentile plot in plain text: latency upwards (logarithmic), percentiles to the right (by decades).

use super::figure::{decades, log_axis, share_at, tick};
use super::log::Series;

/// Series in one plot at most.
pub const SERIES_MAX: usize = 8;
const ROWS: usize = 16;
const COLUMNS: usize = 72;
const LABEL: usize = 8;
const MARKS: &[u8; SERIES_MAX] = b"*o+x#@%&";

/// Draws up to [`SERIES_MAX`] series.
pub fn plot(all: &[&Series]) -> String {
    let shown = &all[..all.len().min(SERIES_MAX)];
    let Some(events) = shown.iter().map(|s| s.total.len()).max() else { return String::new() };
    let decades = decades(events);
    let low = shown.iter().map(|s| s.quantile_us(0.0)).fold(f64::MAX, f64::min);
    let high = shown.iter().map(|s| s.quantile_us(share_at(decades))).fold(0.0, f64::max);
    let (floor, ceiling, ticks) = log_axis(low, high);
    let row = |us: f64| {
        let part = (us.max(floor) / floor).ln() / (ceiling / floor).ln();
        ROWS - 1 - (part.min(1.0) * (ROWS - 1) as f64).round() as usize
    };
    let mut grid = vec![[b' '; COLUMNS]; ROWS];
    // The first series is drawn last: it lies on top where two meet.
    for (series, mark) in shown.iter().zip(MARKS).rev() {
        let mut previous = row(series.quantile_us(0.0));
        for column in 0..COLUMNS {
            let share = share_at(decades * column as f64 / (COLUMNS - 1) as f64);
            let here = row(series.quantile_us(share));
            // A steep rise is a line, not a gap.
            for line in &mut grid[here..=previous.saturating_sub(1).max(here)] {
                line[column] = *mark;
            }
            previous = here;
        }
    }
    let mut out = String::new();
    for (at, line) in grid.iter().enumerate() {
        let label = ticks.iter().find(|&&t| row(t) == at).map(|&t| tick(t)).unwrap_or_default();
        let pad = " ".repeat(LABEL.saturating_sub(label.chars().count()));
        let edge = if label.is_empty() { '│' } else { '┤' };
        let text = String::from_utf8_lossy(line);
        out += &format!("{pad}{label} {edge}{}\n", text.trim_end());
    }
    out += &axis(decades);
    for (series, mark) in shown.iter().zip(MARKS) {
        out += &format!("{} {} {}\n", " ".repeat(LABEL), *mark as char, series.name());
    }
    if all.len() > shown.len() {
        out += &format!("{} (and {} more series)\n", " ".repeat(LABEL), all.len() - shown.len());
    }
    out
}

/// The line below: a tick at each decade and its percentile.
fn axis(decades: f64) -> String {
    let mut line = vec!['─'; COLUMNS];
    let mut labels = vec![' '; COLUMNS + 8];
    for decade in 0..=decades as usize {
        let column = (decade as f64 / decades * (COLUMNS - 1) as f64).round() as usize;
        line[column] = '┴';
        let name = match decade {
            0 => "0 %".to_string(),
            1 => "90".to_string(),
            2 => "99".to_string(),
            more => format!("99.{}", "9".repeat(more - 2)),
        };
        let from = column.saturating_sub(name.len() / 2);
        labels.splice(from..from + name.chars().count(), name.chars());
    }
    let labels: String = labels.into_iter().collect();
    let pad = " ".repeat(LABEL);
    format!("{pad} └{}\n{pad}  {}\n", line.into_iter().collect::<String>(), labels.trim_end())
}

#[cfg(test)]
mod tests {
    use super::super::log::Unit;
    use super::*;
    use hdrhistogram::Histogram;

    fn series(name: &str, scale: u64) -> Series {
        let mut total = Histogram::<u64>::new(3).unwrap();
        (1..=10_000u64).for_each(|v| total.record(v * scale).unwrap());
        Series { file: name.into(), tag: String::new(), intervals: Vec::new(), total, unit: Unit::Ns }
    }

    #[test]
    fn a_slower_series_lies_above() {
        let (fast, slow) = (series("fast", 10), series("slow", 1000));
        let text = plot(&[&fast, &slow]);
        let first = |mark: char| text.lines().position(|l| l.chars().skip(9).any(|c| c == mark)).unwrap();
        assert!(first('o') < first('*'), "{text}");
        assert!(text.contains("99.9") && text.contains("fast") && text.contains("10 ms"), "{text}");
        assert!(text.lines().all(|l| l.chars().count() <= LABEL + 4 + COLUMNS));
    }

    #[test]
    fn one_value_alone_still_draws() {
        let mut one = series("one", 1);
        one.total.reset();
        one.total.record(5000).unwrap();
        assert_eq!(plot(&[&one]).lines().filter(|l| l.contains('*')).count(), 2);
        assert_eq!(plot(&[]), "");
    }
}
