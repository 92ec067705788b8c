//! What the workers measured, as `stats latency` tells it and as Prometheus reads it.
//!
//! `stats` tells quantiles since the start. Prometheus gets cumulative buckets, of which it makes quantiles of any time
//! and of many servers together; a bucket ends below every second power of two, exactly where buckets of ours end.

use crate::server::exposition::{Exposition, Type};
use crate::server::figures::stat;
use crate::stats::times::{Measure, WorkerTimes, read_all};
use cache::base::sync::Arc;

/// `STAT NAME:p50 …` and so on for each measure, all workers together. Times are in nanoseconds.
pub fn stats(times: &[Arc<WorkerTimes>], text: &mut String) {
    for &measure in Measure::ALL {
        let all = read_all(times.iter().map(|worker| &**worker), measure);
        let name = measure.name();
        stat(text, &format!("{name}:count"), all.count());
        stat(text, &format!("{name}:sum"), all.sum());
        for (quantile, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
            stat(text, &format!("{name}:{quantile}"), all.quantile(share));
        }
        stat(text, &format!("{name}:max"), all.max());
    }
}

/// `STAT NAME MAX VALUE:COUNT,…`: the largest value, and the buckets that have events, by their smallest values. Of two such answers a client makes
/// the quantiles of the time between them.
pub fn buckets(times: &[Arc<WorkerTimes>], text: &mut String) {
    for &measure in Measure::ALL {
        let all = read_all(times.iter().map(|worker| &**worker), measure);
        let pairs: Vec<String> = all.buckets().map(|(value, count)| format!("{value}:{count}")).collect();
        stat(text, measure.name(), format_args!("{} {}", all.max(), pairs.join(",")));
    }
}

/// A histogram for each measure, all workers together. Times are in seconds.
pub fn metrics(times: &[Arc<WorkerTimes>], out: &mut Exposition) {
    for &measure in Measure::ALL {
        let all = read_all(times.iter().map(|worker| &**worker), measure);
        let (unit, divisor, exponents) =
            if measure.is_time() { ("_seconds", 1e9, TIME_EXPONENTS) } else { ("", 1.0, SIZE_EXPONENTS) };
        let help = format!("{} In watched ticks.", measure.help());
        let mut family = out.family(&format!("{}{unit}", measure.tag()), &help, Type::Histogram);
        for &exponent in exponents {
            let bound = ((1u64 << exponent) - 1) as f64 / divisor;
            family.sample_of("_bucket", &[("le", &bound)], all.count_below_power(exponent));
        }
        family.sample_of("_bucket", &[("le", &"+Inf")], all.count());
        family.sample_of("_sum", &[], all.sum() as f64 / divisor);
        family.sample_of("_count", &[], all.count());
    }
}

/// 31 ns to 134 ms.
const TIME_EXPONENTS: &[u32] = &[5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 17, 19, 21, 23, 25, 27];
/// 1 to 4,095.
const SIZE_EXPONENTS: &[u32] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

#[cfg(test)]
mod tests {
    use super::*;

    fn times() -> Vec<Arc<WorkerTimes>> {
        let times: Vec<Arc<WorkerTimes>> = vec![Arc::default(), Arc::default()];
        times[0].record(Measure::Get, 100, 3);
        times[1].record(Measure::Get, 200, 1);
        times[1].record(Measure::BatchKeys, 20, 2);
        times
    }

    #[test]
    fn stats_name_every_measure_and_quantile() {
        let mut text = String::new();
        stats(&times(), &mut text);
        assert_eq!(text.lines().count(), Measure::ALL.len() * 7);
        for line in ["get_ns:count 4", "get_ns:sum 500", "get_ns:p50 101", "get_ns:max 200", "tick_ns:p99 0"]
        {
            assert!(text.contains(&format!("STAT {line}\r\n")), "no {line} in {text}");
        }
    }

    #[test]
    fn buckets_are_told_by_their_smallest_value() {
        let mut text = String::new();
        buckets(&times(), &mut text);
        for line in ["get_ns 200 100:3,200:1", "batch_keys 20 20:2", "tick_ns 0 "] {
            assert!(text.contains(&format!("STAT {line}\r\n")), "no {line} in {text}");
        }
    }

    #[test]
    fn metrics_are_cumulative_histograms_in_seconds() {
        let mut out = Exposition::default();
        metrics(&times(), &mut out);
        let text = out.into_text();
        for line in [
            "# TYPE sherwood_get_seconds histogram",
            "sherwood_get_seconds_bucket{le=\"0.000000063\"} 0",
            "sherwood_get_seconds_bucket{le=\"0.000000127\"} 3",
            "sherwood_get_seconds_bucket{le=\"0.000000255\"} 4",
            "sherwood_get_seconds_bucket{le=\"+Inf\"} 4",
            "sherwood_get_seconds_sum 0.0000005",
            "sherwood_get_seconds_count 4",
            "sherwood_batch_keys_bucket{le=\"15\"} 0",
            "sherwood_batch_keys_bucket{le=\"31\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in {text}");
        }
    }
}
