//! Tables: one line a series, the whole distribution of each, or series of the same tag beside each other.

use super::figure::{SHARES, count, latency, share_name};
use super::log::Series;
use std::fmt::{self, Write};

/// One line a series.
pub fn summary(all: &[Series]) -> String {
    let mut rows = vec![vec!["series".to_string(), "events".into(), "mean".into()]];
    rows[0].extend(SHARES.iter().map(|&s| share_name(s)));
    for series in all {
        let mean_us = series.total.mean() * series.unit.us();
        let mut row = vec![series.name(), count(series.total.len()), latency(mean_us)];
        row.extend(SHARES.iter().map(|&s| latency(series.quantile_us(s))));
        rows.push(row);
    }
    aligned(&rows)
}

/// The distribution of a series as HdrHistogram prints it: five steps for each halving of what is left.
///
/// # Errors
/// Only the writer's.
pub fn percentiles(series: &Series, out: &mut impl Write) -> fmt::Result {
    writeln!(out, "{}", series.name())?;
    writeln!(
        out,
        "{:>14} {:>14} {:>14} {:>16}",
        "Value (µs)", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    for step in series.total.iter_quantiles(5) {
        let left = 1.0 - step.quantile_iterated_to();
        let value_us = step.value_iterated_to() as f64 * series.unit.us();
        let inverse = if left > 0.0 { format!("{:.2}", 1.0 / left) } else { "inf".into() };
        writeln!(
            out,
            "{value_us:>14.3} {:>14.12} {:>14} {inverse:>16}",
            step.quantile_iterated_to(),
            series.total.count_between(0, step.value_iterated_to()),
        )?;
    }
    writeln!(
        out,
        "#[Mean = {:.3}, StdDeviation = {:.3}]\n#[Max = {:.3}, Total count = {}]",
        series.total.mean() * series.unit.us(),
        series.total.stdev() * series.unit.us(),
        series.max_us(),
        series.total.len()
    )
}

/// Series of the same tag beside each other, each with its ratio to the first.
pub fn compare(all: &[Series]) -> String {
    let mut out = String::new();
    let mut tags: Vec<&str> = all.iter().map(|s| s.tag.as_str()).collect();
    tags.sort_unstable();
    tags.dedup();
    for tag in tags {
        let same: Vec<&Series> = all.iter().filter(|s| s.tag == tag).collect();
        let mut head = vec![if tag.is_empty() { "latency".into() } else { tag.to_string() }];
        head.extend(same.iter().enumerate().flat_map(|(at, s)| {
            if at == 0 { vec![s.file.clone()] } else { vec![s.file.clone(), "ratio".into()] }
        }));
        let mut rows = vec![head];
        rows.push(compared("events", &same, &|s| s.total.len() as f64, &|n| count(n as u64)));
        rows.push(compared("per second", &same, &rate, &|n| count(n as u64)));
        rows.push(compared("mean", &same, &|s| s.total.mean() * s.unit.us(), &latency));
        for share in SHARES {
            rows.push(compared(&share_name(share), &same, &|s| s.quantile_us(share), &latency));
        }
        out.push_str(&aligned(&rows));
        out.push('\n');
    }
    out
}

/// Events a second over the time that the series covers; 0 if its log has no times.
pub fn rate(series: &Series) -> f64 {
    let end_s = series.intervals.iter().map(|i| i.at_s + i.length_s).fold(0.0, f64::max);
    let start_s = series.intervals.iter().map(|i| i.at_s).fold(f64::MAX, f64::min);
    if end_s > start_s { series.total.len() as f64 / (end_s - start_s) } else { 0.0 }
}

fn compared(
    name: &str,
    same: &[&Series],
    figure: &dyn Fn(&Series) -> f64,
    show: &dyn Fn(f64) -> String,
) -> Vec<String> {
    let first = figure(same[0]);
    let mut row = vec![name.to_string(), show(first)];
    for series in &same[1..] {
        let value = figure(series);
        row.push(show(value));
        row.push(if first > 0.0 { format!("× {:.2}", value / first) } else { "-".into() });
    }
    row
}

/// Columns as wide as they need to be: the first to the left, the others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let wide = |text: &String| text.chars().count();
    let width: Vec<usize> =
        (0..columns).map(|c| rows.iter().filter_map(|r| r.get(c)).map(wide).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        for (at, text) in row.iter().enumerate() {
            let pad = " ".repeat(width[at] - wide(text));
            out += &if at == 0 { format!("{text}{pad}") } else { format!("  {pad}{text}") };
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::log::{Interval, Unit};
    use super::*;
    use hdrhistogram::Histogram;

    fn series(file: &str, tag: &str, scale: u64) -> Series {
        let mut total = Histogram::<u64>::new(3).unwrap();
        (1..=1000).for_each(|v| total.record(v * 1000 * scale).unwrap());
        let intervals = vec![Interval { at_s: 0.0, length_s: 2.0, events: total.clone() }];
        Series { file: file.into(), tag: tag.into(), intervals, total, unit: Unit::Ns }
    }

    #[test]
    fn a_summary_has_a_line_a_series() {
        let text = summary(&[series("a", "get", 1), series("a", "set", 2)]);
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().nth(1).unwrap().contains("1 000") && text.contains("p99.9"));
    }

    #[test]
    fn comparing_shows_ratios_to_the_first() {
        let text = compare(&[series("a", "get", 1), series("b", "get", 2), series("c", "get", 1)]);
        let median = text.lines().find(|l| l.starts_with("p50")).unwrap();
        assert!(median.contains("× 2.00") && median.contains("× 1.00"), "{median}");
        assert!(text.lines().any(|l| l.starts_with("per second") && l.contains("500")));
    }

    #[test]
    fn percentiles_end_at_the_maximum() {
        let mut text = String::new();
        percentiles(&series("a", "", 1), &mut text).unwrap();
        assert!(text.contains("1.000000000000") && text.contains("Total count = 1000"));
    }
}
