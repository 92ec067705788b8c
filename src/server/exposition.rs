//! All figures in the text format of Prometheus, version 0.0.4: families with their meaning and type, and samples.
//!
//! ```text
//! # HELP sherwood_ticks_total Ticks that did something.
//! # TYPE sherwood_ticks_total counter
//! sherwood_ticks_total{worker="0"} 17
//! ```
//! What only grows is a counter and ends in `_total`; what is now is a gauge. Times are in seconds and shares in 1, as Prometheus
//! wants them; `stats` keeps memcached's names and our units. Why the writer is our own: docs/notes/exposition.md.

use crate::server::figures::Figures;
use crate::server::{hotkeys, latency, memory};
use crate::stats::counters::{Figure, Kind};
use std::fmt::{Display, Write};

/// The type of this format, for the head of an answer.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Families, one after the other.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

/// What Prometheus is told of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets, sum and count.
    Histogram,
}

/// A family that is being written.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: String,
}

impl Exposition {
    /// Begins a family: `sherwood_NAME`, with `_total` behind it if it is a counter. Each name is begun once.
    pub fn family(&mut self, name: &str, help: &str, kind: Type) -> Family<'_> {
        let end = if kind == Type::Counter { "_total" } else { "" };
        self.standard(format!("sherwood_{name}{end}"), help, kind)
    }

    /// Begins a family whose name is given as a whole.
    pub fn standard(&mut self, name: String, help: &str, kind: Type) -> Family<'_> {
        let (help, kind) = (escaped(help.trim()), kind.name());
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { text: &mut self.text, name }
    }

    /// The whole text.
    pub fn into_text(self) -> String {
        self.text
    }
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        }
    }
}

impl From<Kind> for Type {
    fn from(kind: Kind) -> Type {
        match kind {
            Kind::Counter => Type::Counter,
            Kind::Gauge => Type::Gauge,
        }
    }
}

impl Family<'_> {
    /// A sample with its labels.
    pub fn sample(&mut self, labels: &[(&str, &dyn Display)], value: impl Display) {
        self.sample_of("", labels, value);
    }

    /// A sample of a series of the family, such as `_bucket`.
    pub fn sample_of(&mut self, series: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        let label = |(name, value): &(&str, &dyn Display)| {
            format!("{name}=\"{}\"", escaped(&value.to_string()).replace('"', "\\\""))
        };
        let labels: Vec<String> = labels.iter().map(label).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.text, "{}{series}{labels} {value}", self.name);
    }
}

/// Backslashes and line ends as the format writes them.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

/// All figures of a server.
pub fn text(figures: &Figures) -> String {
    let mut out = Exposition::default();
    process(figures, &mut out);
    by_index(&mut out, "worker", figures.workers.iter().map(|worker| worker.figures()).collect());
    by_index(&mut out, "shard", figures.owners.iter().map(|owner| owner.figures()).collect());
    policies(figures, &mut out);
    let others = [
        figures.scrapes.figures(),
        figures.doorman.figures(),
        figures.peers.figures(),
        figures.histlog.figures(),
    ];
    for figure in others.into_iter().flatten() {
        out.family(figure.name, figure.help, figure.kind.into()).sample(&[], figure.counter.get());
    }
    latency::metrics(&figures.times, &mut out);
    hotkeys::metrics(&figures.hot_key_snapshot.read(), &mut out);
    memory::metrics(figures, &mut out);
    out.into_text()
}

/// What the process is, and since when.
fn process(figures: &Figures, out: &mut Exposition) {
    let (io, steering) = (figures.io.name(), if figures.steering { "kernel" } else { "none" });
    out.family("build_info", "What is running; always 1.", Type::Gauge)
        .sample(&[("version", &env!("CARGO_PKG_VERSION")), ("io", &io), ("steering", &steering)], 1);
    let now = figures.clock.now();
    out.standard(
        "process_start_time_seconds".into(),
        "When the process started, in seconds since 1970.",
        Type::Gauge,
    )
    .sample(&[], now.unix_s.saturating_sub(now.s()));
}

/// Families of several workers or shards: each name once, with a sample for each of them.
fn by_index(out: &mut Exposition, label: &str, sets: Vec<Vec<Figure<'_>>>) {
    for at in 0..sets.first().map_or(0, Vec::len) {
        let Figure { name, help, kind, .. } = sets[0][at];
        let mut family = out.family(metric_name(name), help, kind.into());
        for (index, set) in sets.iter().enumerate() {
            family.sample(&[(label, &index)], set[at].counter.get());
        }
    }
}

fn policies(figures: &Figures, out: &mut Exposition) {
    let sets: Vec<Vec<Figure<'_>>> = figures.policies.iter().map(|policy| policy.list()).collect();
    for at in 0..sets.first().map_or(0, Vec::len) {
        let Figure { name, help, kind, .. } = sets[0][at];
        // A thousandth is neither a second nor a share.
        let (base, divisor) = match name {
            "expiry_lag_ms" => ("expiry_lag_seconds", 1e3),
            "window_permille" => ("window_ratio", 1e3),
            name => (name, 1.0),
        };
        let mut family = out.family(&format!("policy_{base}"), base_help(help), kind.into());
        for (index, set) in sets.iter().enumerate() {
            family.sample(&[("shard", &index)], set[at].counter.get() as f64 / divisor);
        }
    }
}

/// The meaning, in the unit of the metric.
fn base_help(help: &str) -> &str {
    help.strip_suffix(", in ms.").or(help.strip_suffix(", in 1/1000.")).unwrap_or(help)
}

/// The name of a figure of `stats` among the metrics, where memcached's name would read badly before `_total`.
fn metric_name(name: &str) -> &str {
    match name {
        "total_items" => "items_stored",
        "bytes_read" => "received_bytes",
        "bytes_written" => "sent_bytes",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_its_meaning_and_type_once_and_its_labels_escaped() {
        let mut out = Exposition::default();
        let mut family = out.family("ticks", "Ticks:\na \\ line. ", Type::Counter);
        family.sample(&[("worker", &0), ("of", &"a \"b\\\nc")], 7);
        family.sample(&[], 0.5);
        out.standard("process_start_time_seconds".into(), "Since when.", Type::Gauge).sample(&[], 1);
        let want = "# HELP sherwood_ticks_total Ticks:\\na \\\\ line.\n# TYPE sherwood_ticks_total counter\n\
                    sherwood_ticks_total{worker=\"0\",of=\"a \\\"b\\\\\\nc\"} 7\nsherwood_ticks_total 0.5\n\
                    # HELP process_start_time_seconds Since when.\n# TYPE process_start_time_seconds gauge\n\
                    process_start_time_seconds 1\n";
        assert_eq!(out.into_text(), want);
    }

    #[test]
    fn a_meaning_says_no_unit_that_the_metric_has_not() {
        assert_eq!(base_help("How late the wheel is, in ms."), "How late the wheel is");
        assert_eq!(base_help("Items."), "Items.");
    }
}
