//! A series as a line of points on the percentile axis, for every kind of plot.

use super::figure::{decades, share_at};
use super::log::Series;

/// Points of a line at most.
pub const POINTS_MAX: usize = 240;

/// Points (decade, latency in microseconds) from the minimum to the last decade that the events reach.
pub fn points(series: &Series) -> Vec<(f64, f64)> {
    let end = decades(series.total.len());
    let mut points: Vec<(f64, f64)> = Vec::with_capacity(POINTS_MAX);
    for step in 0..POINTS_MAX {
        let decade = end * step as f64 / (POINTS_MAX - 1) as f64;
        let us = series.quantile_us(share_at(decade)).max(1e-3);
        // Of a level stretch only the two ends matter.
        if let [.., before, last] = points.as_mut_slice()
            && before.1 == us
            && last.1 == us
        {
            last.0 = decade;
            continue;
        }
        points.push((decade, us));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::super::log::Unit;
    use super::*;
    use hdrhistogram::Histogram;

    #[test]
    fn a_line_rises_and_ends_at_its_last_event() {
        let mut total = Histogram::<u64>::new(3).unwrap();
        (1..=10_000u64).for_each(|v| total.record(v).unwrap());
        let series =
            Series { file: "a".into(), tag: String::new(), intervals: Vec::new(), total, unit: Unit::Us };
        let line = points(&series);
        assert!(line.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1));
        assert_eq!(line.last().unwrap().0, 4.0);
        assert!(line.len() <= POINTS_MAX);
    }
}
