//! What is shown: the difference of two looks, as rates, shares and quantiles. Pure: no socket, no terminal.

use super::figures::{Figures, Snapshot};
use crate::stats::times::Measure;
use serde::Serialize;
use std::time::Duration;

/// What happened between two looks.
#[derive(Clone, Debug, Default, Serialize)]
pub struct View {
    /// Where the server is.
    pub target: String,
    /// Its version.
    pub version: String,
    /// Which port it uses; empty for other servers.
    pub io: String,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Seconds between the looks.
    pub seconds: f64,
    /// Keys read, keys found, stores; by second.
    pub gets_per_s: f64,
    /// Keys found.
    pub hits_per_s: f64,
    /// Stores.
    pub sets_per_s: f64,
    /// Deletes, touches, increments and decrements.
    pub others_per_s: f64,
    /// Keys found by keys read; absent when none was read.
    pub hit_ratio: Option<f64>,
    /// Datagrams in and out by second; 0 for servers that do not count them.
    pub datagrams_in_per_s: f64,
    /// Datagrams out.
    pub datagrams_out_per_s: f64,
    /// Connections now, also of whoever asks.
    pub connections: u64,
    /// Bytes in and out by second.
    pub bytes_in_per_s: f64,
    /// Bytes out.
    pub bytes_out_per_s: f64,
    /// Items now.
    pub items: u64,
    /// Bytes that items take now.
    pub used_bytes: u64,
    /// Bytes that there are.
    pub limit_bytes: u64,
    /// Why items went.
    pub gone: Vec<Rate>,
    /// What should not happen, where it did.
    pub troubles: Vec<Rate>,
    /// Quantiles of what the workers measured.
    pub times: Vec<Times>,
    /// Every worker.
    pub workers: Vec<WorkerView>,
    /// The most read keys.
    pub hot: Vec<Hot>,
    /// Different keys since the start, about.
    pub distinct_keys: u64,
    /// Why the view is old, if it is.
    pub trouble: Option<String>,
    /// Seconds since the server answered for the last time, where the view is old.
    #[serde(skip)]
    pub silent_s: Option<u64>,
    /// For how many seconds the server had not answered, where it did so for the first time again.
    #[serde(skip)]
    pub back_after_s: Option<u64>,
}

/// Something that is counted.
#[derive(Clone, Debug, Serialize)]
pub struct Rate {
    /// What.
    pub name: &'static str,
    /// By second.
    pub per_s: f64,
}

/// A histogram, in short. Of times in ns.
#[derive(Clone, Debug, Serialize)]
pub struct Times {
    /// What was measured.
    pub name: &'static str,
    /// Whether it is a time.
    pub is_time: bool,
    /// Samples.
    pub count: u64,
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// Largest.
    pub max: u64,
}

/// One worker.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerView {
    /// The share of time that it was in ticks that did something; absent where ticks are not watched.
    pub busy: Option<f64>,
    /// Keys that it read, by second.
    pub gets_per_s: f64,
    /// Datagrams that it received, by second.
    pub datagrams_per_s: f64,
}

/// A key that is read often.
#[derive(Clone, Debug, Serialize)]
pub struct Hot {
    /// As much of it as the server shows.
    pub name: String,
    /// Its share of all reads.
    pub share: f64,
}

/// What counts the commands that are no reads and no stores.
const OTHERS: &[&str] =
    &["delete_hits", "delete_misses", "cmd_touch", "incr_hits", "incr_misses", "decr_hits", "decr_misses"];

/// Causes for which items go, and their names on the screen.
const GONE: &[(&str, &str)] = &[
    ("evicted_by_policy", "policy"),
    ("evicted_by_pressure", "pressure"),
    ("evicted_by_crowding", "crowding"),
    ("evicted_by_growth", "growth"),
    ("expired", "expired"),
];

/// Counters that stand still when all is well.
const TROUBLES: &[&str] = &[
    "receive_drops",
    "send_failures",
    "receive_buffers_empty",
    "busy",
    "protocol_errors",
    "refused_peers",
    "refused_fragments",
    "errors_muted",
    "challenges_muted",
    "event_resyncs",
    "grace_waits",
    "hit_records_dropped",
    "gso_fallbacks",
    "rejected_connections",
    "accept_failures",
    "streams_stuck",
    "slow_values",
    "streams_over_memory",
    "stream_buffers_empty",
];

impl View {
    /// What happened between two looks at a server; all rates are 0 for twice the same.
    pub fn between(before: &Snapshot, now: &Snapshot) -> View {
        let span = Span { seconds: now.at.duration_since(before.at).as_secs_f64() };
        let rate = |name: &str| span.rate(&before.general, &now.general, name);
        let gone = if now.general.has(GONE[0].0) { GONE } else { &[("evictions", "evictions")] };
        let (gets, hits) = (rate("cmd_get"), rate("get_hits"));
        View {
            target: now.target.to_string(),
            version: now.general.text("version").into(),
            io: now.general.text("io").into(),
            uptime_s: now.general.number("uptime"),
            seconds: span.seconds,
            gets_per_s: gets,
            hits_per_s: hits,
            sets_per_s: rate("cmd_set"),
            others_per_s: OTHERS.iter().map(|name| rate(name)).sum(),
            hit_ratio: (gets > 0.0).then(|| (hits / gets).min(1.0)),
            datagrams_in_per_s: rate("datagrams_received"),
            datagrams_out_per_s: rate("datagrams_sent"),
            connections: now.general.number("curr_connections"),
            bytes_in_per_s: rate("bytes_read"),
            bytes_out_per_s: rate("bytes_written"),
            items: now.general.number("curr_items"),
            used_bytes: used_bytes(&now.general),
            limit_bytes: now.general.number("limit_maxbytes"),
            gone: gone.iter().map(|&(figure, name)| Rate { name, per_s: rate(figure) }).collect(),
            troubles: TROUBLES
                .iter()
                .map(|&name| Rate { name, per_s: rate(name) })
                .filter(|trouble| trouble.per_s > 0.0)
                .collect(),
            times: Measure::ALL.iter().filter_map(|&measure| times(measure, before, now)).collect(),
            workers: workers(span, &before.workers, &now.workers),
            hot: (1..).map_while(|rank| hot(now.hot.text(&format!("hot:{rank}")))).collect(),
            distinct_keys: now.hot.number("distinct_keys"),
            ..View::default()
        }
    }

    /// The view of a server that answers, where the view before it was silent for so many seconds. One that was started meanwhile
    /// has counted from 0, so there is nothing to take the difference to.
    pub fn after(before: &Snapshot, now: &Snapshot, silent_s: Option<u64>) -> View {
        let is_another = now.general.number("uptime") < before.general.number("uptime");
        let view = View::between(if is_another { now } else { before }, now);
        View { back_after_s: silent_s, ..view }
    }

    /// The same view, which is this old, because of this trouble.
    pub fn without_answer(self, silent: Duration, trouble: &str) -> View {
        let silent_s = silent.as_secs();
        let trouble = Some(format!("no answer for {silent_s} s: {trouble}"));
        View { trouble, silent_s: Some(silent_s), back_after_s: None, ..self }
    }

    /// Commands by key and second. A `gat` is a read and a touch.
    pub fn requests_per_s(&self) -> f64 {
        self.gets_per_s + self.sets_per_s + self.others_per_s
    }
}

/// The time between two looks.
#[derive(Clone, Copy)]
struct Span {
    seconds: f64,
}

impl Span {
    /// How fast a counter grew. One that was set back (the server was started again) did not grow.
    fn rate(self, before: &Figures, now: &Figures, name: &str) -> f64 {
        let grown = now.number(name).saturating_sub(before.number(name));
        if self.seconds > 0.0 { grown as f64 / self.seconds } else { 0.0 }
    }
}

fn used_bytes(general: &Figures) -> u64 {
    general.number(if general.has("used_bytes") { "used_bytes" } else { "bytes" })
}

/// The quantiles of the time between; before anything has happened in it, those since the start.
fn times(measure: Measure, before: &Snapshot, now: &Snapshot) -> Option<Times> {
    let all = now.buckets.reading(measure.name());
    let reading = match before.at == now.at {
        true => all,
        false => all.since(&before.buckets.reading(measure.name())),
    };
    (reading.count() > 0).then(|| Times {
        name: measure.tag(),
        is_time: measure.is_time(),
        count: reading.count(),
        p50: reading.quantile(0.5),
        p99: reading.quantile(0.99),
        p999: reading.quantile(0.999),
        max: reading.max(),
    })
}

fn workers(span: Span, before: &Figures, now: &Figures) -> Vec<WorkerView> {
    let worker = |i: usize| {
        let name = |figure: &str| format!("{i}:{figure}");
        let rate = |figure: &str| span.rate(before, now, &name(figure));
        now.has(&name("ticks")).then(|| {
            let (watched, ns) = (rate("profiled_ticks"), rate("profiled_ticks_ns"));
            // As many ticks as there were, each as long as the watched ones were on average.
            let busy = (watched > 0.0).then(|| (rate("ticks") * ns / watched / 1e9).min(1.0));
            // No tick at all is no load; ticks of which none was watched are an unknown one.
            let busy = if rate("ticks") == 0.0 { Some(0.0) } else { busy };
            let (gets_per_s, datagrams_per_s) = (rate("cmd_get"), rate("datagrams_received"));
            WorkerView { busy, gets_per_s, datagrams_per_s }
        })
    };
    (0..).map_while(worker).collect()
}

/// A line `NAME READS SHARE`.
fn hot(line: &str) -> Option<Hot> {
    let mut words = line.split(' ');
    let (name, _reads, share) = (words.next()?, words.next()?, words.next()?);
    Some(Hot { name: name.into(), share: share.parse().ok()? })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::load::target::Peer;
    use std::time::Instant;

    fn figures(pairs: &[(&str, &str)]) -> Figures {
        Figures::of(pairs.iter().map(|&(name, value)| (name.into(), value.into())))
    }

    /// Two looks, two seconds apart, at a server with two workers.
    pub fn looks() -> (Snapshot, Snapshot) {
        let at = Instant::now();
        let target = Peer::Ip("127.0.0.1:11211".parse().unwrap());
        let before = Snapshot {
            target: target.clone(),
            at,
            general: figures(&[("cmd_get", "1000"), ("get_hits", "900"), ("evicted_by_policy", "5")]),
            workers: figures(&[("0:ticks", "10"), ("1:ticks", "7")]),
            buckets: figures(&[("get_ns", "64 64:100"), ("tick_ns", "4100 4096:2")]),
            hot: figures(&[]),
        };
        let now = Snapshot {
            target,
            at: at + Duration::from_secs(2),
            general: figures(&[
                ("version", "0.1.0"),
                ("io", "uring"),
                ("uptime", "3725"),
                ("cmd_get", "2001000"),
                ("get_hits", "1800900"),
                ("cmd_set", "200000"),
                ("datagrams_received", "120000"),
                ("bytes_read", "24000000"),
                ("curr_items", "1234567"),
                ("used_bytes", "536870912"),
                ("limit_maxbytes", "1073741824"),
                ("evicted_by_policy", "2005"),
                ("expired", "40"),
                ("receive_drops", "60"),
            ]),
            workers: figures(&[
                ("0:ticks", "1000010"),
                ("0:profiled_ticks", "1000"),
                ("0:profiled_ticks_ns", "1500000"),
                ("0:cmd_get", "2000000"),
                ("1:ticks", "7"),
            ]),
            buckets: figures(&[
                ("get_ns", "260 64:100,128:90,256:10"),
                ("tick_ns", "4100 4096:2"),
                ("set_ns", "520 512:3"),
            ]),
            hot: figures(&[
                ("hot:1", "9f3a01bc=user:123 100 0.25"),
                ("hot:2", "0000beef 10 0.025"),
                ("distinct_keys", "77"),
            ]),
        };
        (before, now)
    }

    #[test]
    fn rates_are_of_the_time_between() {
        let (before, now) = looks();
        let view = View::between(&before, &now);
        assert_eq!((view.gets_per_s, view.sets_per_s, view.hit_ratio), (1e6, 1e5, Some(0.9)));
        assert_eq!((view.datagrams_in_per_s, view.items, view.used_bytes), (6e4, 1_234_567, 512 << 20));
        let gone: Vec<_> = view.gone.iter().map(|rate| (rate.name, rate.per_s)).collect();
        assert_eq!(
            gone,
            [("policy", 1e3), ("pressure", 0.0), ("crowding", 0.0), ("growth", 0.0), ("expired", 20.0)]
        );
        assert_eq!(
            view.troubles.iter().map(|t| (t.name, t.per_s)).collect::<Vec<_>>(),
            [("receive_drops", 30.0)]
        );
    }

    #[test]
    fn quantiles_are_of_the_time_between() {
        let (before, now) = looks();
        let times = View::between(&before, &now).times;
        let shown: Vec<_> = times.iter().map(|t| (t.name, t.count, t.p50, t.p99)).collect();
        assert_eq!(shown, [("get", 100, 131, 260), ("set", 3, 520, 520)]);
    }

    #[test]
    fn a_worker_is_as_busy_as_its_profiled_ticks_were_long() {
        let (before, now) = looks();
        let workers = View::between(&before, &now).workers;
        // 500,000 ticks a second of 1.5 µs.
        assert_eq!(workers.iter().map(|w| w.busy).collect::<Vec<_>>(), [Some(0.75), Some(0.0)]);
        assert_eq!(workers[0].gets_per_s, 1e6);
    }

    #[test]
    fn hot_keys_come_in_their_order_and_other_servers_have_none() {
        let (before, now) = looks();
        let view = View::between(&before, &now);
        assert_eq!(
            view.hot.iter().map(|h| h.name.as_str()).collect::<Vec<_>>(),
            ["9f3a01bc=user:123", "0000beef"]
        );
        assert_eq!((view.hot[0].share, view.distinct_keys), (0.25, 77));
        let other = Snapshot { general: figures(&[("evictions", "4")]), hot: figures(&[]), ..before.clone() };
        let view = View::between(&before, &other);
        assert_eq!((view.hot.len(), view.gone[0].name, view.hit_ratio), (0, "evictions", None));
    }

    #[test]
    fn every_command_is_a_request() {
        let (before, now) = looks();
        for name in OTHERS {
            let general = figures(&[("uptime", "1"), (name, "8")]);
            let view = View::between(&before, &Snapshot { general, ..now.clone() });
            assert_eq!((view.others_per_s, view.requests_per_s()), (4.0, 4.0), "{name}");
        }
    }

    #[test]
    fn a_server_goes_away_and_comes_back() {
        let (before, now) = looks();
        let old = View::between(&before, &now).without_answer(Duration::from_secs(12), "nobody listens");
        assert_eq!(old.trouble.as_deref(), Some("no answer for 12 s: nobody listens"));
        assert_eq!((old.gets_per_s, old.silent_s), (1e6, Some(12)));
        let back = View::after(&before, &now, old.silent_s);
        assert_eq!((back.trouble, back.back_after_s, back.gets_per_s), (None, Some(12), 1e6));
        // Started again: what it has counted since is no difference to what another process had counted.
        let general = figures(&[("uptime", "1"), ("cmd_get", "9000000")]);
        let another = Snapshot { general, at: now.at + Duration::from_secs(14), ..now.clone() };
        assert_eq!(View::after(&now, &another, Some(12)).gets_per_s, 0.0);
    }

    #[test]
    fn a_server_that_was_started_again_has_no_negative_rates() {
        let (before, now) = looks();
        assert_eq!(
            View::between(&now, &Snapshot { at: now.at + Duration::from_secs(1), ..before }).gets_per_s,
            0.0
        );
    }
}
