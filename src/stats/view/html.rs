//! The report as one HTML file: data as JSON inside `report.html`, which draws it. No network, no other file.
//!
//! | part of the page | data |
//! | --- | --- |
//! | table | `series[].stats` |
//! | latency by percentile | `series[].curve` |
//! | latency over time | `series[].heat`: counts by time (columns) and latency (rows, logarithmic), `series[].time` |
//! | rate over time | `series[].time` |
//! | loss over time | `loss[]`: counts of the tag `lost` beside the answers of the same file |

use super::curve::points;
use super::figure::{SHARES, log_axis, share_name};
use super::log::{Interval, Series};
use serde_json::{Value, json};

/// Columns of a heat map at most: intervals are put together until they fit.
pub const COLUMNS_MAX: usize = 240;
/// Rows of a heat map.
pub const ROWS: usize = 48;

/// The page.
pub fn page(all: &[Series]) -> String {
    let series: Vec<Value> = all.iter().filter(|s| !s.is_lost()).map(series).collect();
    let loss: Vec<Value> = all.iter().filter(|s| s.is_lost()).map(|lost| loss(lost, all)).collect();
    let shares: Vec<String> = SHARES.iter().map(|&s| share_name(s)).collect();
    let data = json!({ "shares": shares, "series": series, "loss": loss });
    // Names come from files: inside a script element `<` must not begin anything.
    include_str!("report.html").replace("/*DATA*/null", &data.to_string().replace('<', "\\u003c"))
}

fn series(series: &Series) -> Value {
    let stats: Vec<f64> = SHARES.iter().map(|&s| series.quantile_us(s)).collect();
    let columns = columns(&series.intervals);
    let time: Vec<Value> = columns
        .iter()
        .map(|c| {
            let us = |share| c.events.value_at_quantile(share) as f64 * series.unit.us();
            json!([c.at_s, c.length_s, c.events.len(), us(0.5), us(0.99), us(1.0)])
        })
        .collect();
    json!({
        "name": series.name(), "count": series.total.len(), "mean": series.total.mean() * series.unit.us(),
        "stats": stats, "curve": points(series), "time": time, "heat": heat(series, &columns),
    })
}

/// Puts neighbouring intervals together until at most [`COLUMNS_MAX`] are left.
fn columns(intervals: &[Interval]) -> Vec<Interval> {
    let together = intervals.len().div_ceil(COLUMNS_MAX).max(1);
    intervals
        .chunks(together)
        .map(|chunk| {
            let mut column = chunk[0].clone();
            chunk[1..].iter().for_each(|more| column.extend(more));
            column
        })
        .collect()
}

/// The ends of the latency axis, and the counts of each column from the lowest row up.
fn heat(series: &Series, columns: &[Interval]) -> Value {
    let (low, high) = (series.quantile_us(0.0), series.max_us());
    let (floor, ceiling, _) = log_axis(low, high);
    let rows: Vec<Vec<u64>> = columns
        .iter()
        .map(|column| {
            let mut rows = vec![0u64; ROWS];
            for step in column.events.iter_recorded() {
                let us = step.value_iterated_to() as f64 * series.unit.us();
                let part = (us / floor).ln() / (ceiling / floor).ln();
                rows[((part * ROWS as f64) as usize).min(ROWS - 1)] += step.count_at_value();
            }
            rows
        })
        .collect();
    json!({ "low": floor, "high": ceiling, "counts": rows })
}

/// Lost requests of a file over time, with the answers of the same file in the same time.
fn loss(lost: &Series, all: &[Series]) -> Value {
    let mut time: Vec<(f64, f64, u64, u64)> = Vec::new();
    let answered = all.iter().filter(|s| s.file == lost.file && !s.is_lost());
    for interval in answered.flat_map(|s| &s.intervals) {
        match time.iter_mut().find(|t| (t.0 - interval.at_s).abs() < interval.length_s / 2.0) {
            Some(slot) => slot.3 += interval.events.len(),
            None => time.push((interval.at_s, interval.length_s, 0, interval.events.len())),
        }
    }
    for interval in &lost.intervals {
        match time.iter_mut().find(|t| (t.0 - interval.at_s).abs() < interval.length_s / 2.0) {
            Some(slot) => slot.2 += interval.events.len(),
            None => time.push((interval.at_s, interval.length_s, interval.events.len(), 0)),
        }
    }
    time.sort_by(|a, b| a.0.total_cmp(&b.0));
    json!({ "name": lost.file, "time": time })
}

#[cfg(test)]
mod tests {
    use super::super::log::{LOST, Unit};
    use super::*;
    use hdrhistogram::Histogram;

    fn log(tag: &str, seconds: usize, per_second: u64) -> Series {
        let mut total = Histogram::<u64>::new(3).unwrap();
        let intervals: Vec<Interval> = (0..seconds)
            .map(|s| {
                let mut events = Histogram::<u64>::new(3).unwrap();
                (1..=per_second).for_each(|v| events.record(v * 1000).unwrap());
                total.add(&events).unwrap();
                Interval { at_s: s as f64, length_s: 1.0, events }
            })
            .collect();
        Series { file: "</script>".into(), tag: tag.into(), intervals, total, unit: Unit::Ns }
    }

    #[test]
    fn heat_maps_hold_every_event() {
        let series = log("get", 1000, 50);
        let value = super::series(&series);
        let counts = value["heat"]["counts"].as_array().unwrap();
        assert!(counts.len() <= COLUMNS_MAX);
        let sum: u64 = counts.iter().flat_map(|c| c.as_array().unwrap()).map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(sum, 50_000);
    }

    #[test]
    fn loss_stands_beside_the_answers_of_its_second() {
        let all = [log("get", 3, 90), log(LOST, 3, 10)];
        let value = loss(&all[1], &all);
        assert_eq!(value["time"].as_array().unwrap().len(), 3);
        assert_eq!(value["time"][1], json!([1.0, 1.0, 10, 90]));
    }

    #[test]
    fn a_page_stands_alone_and_no_name_breaks_out_of_it() {
        let page = page(&[log("get", 2, 10)]);
        assert_eq!(page.matches("</script>").count(), 1);
        assert!(!page.contains("/*DATA*/null") && page.contains("u003c/script>"));
        assert!(!page.contains("src=") && !page.contains("href="));
    }
}
