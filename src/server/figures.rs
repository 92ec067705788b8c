//! All figures of a running server, under memcached's names where it has them, for `stats` and for the metrics.

use crate::config::serve::KeyNames;
use crate::net::Backend;
use crate::server::health::Health;
use crate::server::{exposition, hotkeys, latency, memory};
use crate::stats::counters::{Counter, HistLogCounters, MetricsCounters, OwnerCounters, WorkerCounters};
use crate::stats::times::{Measure, WorkerTimes};
use cache::base::clock::Clock;
use cache::base::hash::ShownHash;
use cache::base::sync::Arc;
use cache::memory::{PagePool, SlabStats};
use cache::policy::Counters;
use cache::policy::hot_key_snapshot::HotKeySnapshot;
use cache::shard::View;
use numa::RegionReport;
use std::fmt::Write;

/// Where the figures are.
pub struct Figures {
    /// Of every worker.
    pub workers: Vec<Arc<WorkerCounters>>,
    /// What every worker measured of itself.
    pub times: Vec<Arc<WorkerTimes>>,
    /// Of every owner.
    pub owners: Vec<Arc<OwnerCounters>>,
    /// Of the metrics endpoint.
    pub scrapes: Arc<MetricsCounters>,
    /// Of the log of histograms.
    pub histlog: Arc<HistLogCounters>,
    /// Of every owner's policy.
    pub policies: Vec<Arc<Counters>>,
    /// What the policy says of keys.
    pub hot_key_snapshot: Arc<HotKeySnapshot>,
    /// How much of a key is shown.
    pub hot_key_names: KeyNames,
    /// How hashes of keys are shown.
    pub shown_hash: ShownHash,
    /// Asked and granted.
    pub reports: Vec<RegionReport>,
    /// Who has which pages.
    pub pool: Arc<PagePool>,
    /// What every owner's slots are used for.
    pub slab_stats: Vec<Arc<SlabStats>>,
    /// Whether the server serves.
    pub health: Health,
    /// Since when.
    pub clock: Clock,
    /// Bytes of items and index.
    pub memory_bytes: usize,
    /// What the ports are made on.
    pub io: Backend,
    /// Whether the kernel brings batch frames to their owners.
    pub steering: bool,
}

impl Figures {
    /// What `stats WHAT` answers: `STAT name value` lines and `END`; `None` for a word that we do not know. The caller is
    /// within a tick, because keys may be looked at.
    pub fn stats(&self, what: &[u8], view: View<'_>) -> Option<Vec<u8>> {
        let mut text = String::new();
        match what {
            b"" => self.general(&mut text),
            b"memory" => memory::stats(self, &mut text),
            b"slabs" => memory::slabs(self, &mut text),
            b"items" => memory::items(self, &mut text),
            b"policy" => self.policy(&mut text),
            // No item is shown to anybody: the dump is always empty.
            b"cachedump" => {}
            b"workers" => self.per_worker(&mut text),
            b"hotkeys" => hotkeys::stats(
                &self.hot_key_snapshot.read(),
                self.hot_key_names,
                self.shown_hash,
                view,
                &mut text,
            ),
            b"buckets" => latency::buckets(&self.times, &mut text),
            b"latency" => latency::stats(&self.times, &mut text),
            _ => return None,
        }
        text.push_str("END\r\n");
        Some(text.into_bytes())
    }

    /// The figures in the text format of Prometheus.
    pub fn metrics(&self) -> String {
        exposition::text(self)
    }

    fn general(&self, text: &mut String) {
        let now = self.clock.now();
        let owners = |pick: fn(&OwnerCounters) -> &Counter| sum(self.owners.iter().map(|o| pick(o).get()));
        stat(text, "pid", std::process::id());
        stat(text, "uptime", now.s());
        stat(text, "time", now.unix_s);
        stat(text, "version", env!("CARGO_PKG_VERSION"));
        stat(text, "pointer_size", 64);
        stat(text, "threads", self.workers.len());
        stat(text, "io", self.io.name());
        stat(text, "steering", if self.steering { "kernel" } else { "none" });
        stat(text, "limit_maxbytes", self.memory_bytes);
        for report in &self.reports {
            stat(text, &format!("{}_asked_bytes", report.name), report.asked_bytes);
            stat(text, &format!("{}_granted_bytes", report.name), report.granted_bytes);
            stat(text, &format!("{}_pages", report.name), report.granted_kind);
        }
        stat(text, "bytes", owners(|o| &o.item_bytes));
        let evicted = owners(|o| &o.evicted_by_policy) + owners(|o| &o.evicted_by_pressure);
        let evicted = evicted + owners(|o| &o.evicted_by_growth);
        stat(text, "evictions", evicted + owners(|o| &o.evicted_by_crowding));
        for (i, (name, ..)) in OwnerCounters::default().list().into_iter().enumerate() {
            stat(text, name, sum(self.owners.iter().map(|owner| owner.list()[i].2.get())));
        }
        for (i, (name, ..)) in WorkerCounters::default().list().into_iter().enumerate() {
            stat(text, name, sum(self.workers.iter().map(|worker| worker.list()[i].2.get())));
        }
        for (name, _, counter) in self.scrapes.list().into_iter().chain(self.histlog.list()) {
            stat(text, name, counter.get());
        }
    }

    fn policy(&self, text: &mut String) {
        for (i, policy) in self.policies.iter().enumerate() {
            for (name, value) in policy.figures() {
                stat(text, &format!("{i}:{name}"), value);
            }
        }
    }

    fn per_worker(&self, text: &mut String) {
        for (i, worker) in self.workers.iter().enumerate() {
            for (name, _, counter) in worker.list() {
                stat(text, &format!("{i}:{name}"), counter.get());
            }
            // With `ticks` they say how busy a worker is.
            let tick = self.times[i].read(Measure::Tick);
            stat(text, &format!("{i}:profiled_ticks"), tick.count());
            stat(text, &format!("{i}:profiled_ticks_ns"), tick.sum());
        }
    }
}

fn sum(figures: impl Iterator<Item = u64>) -> u64 {
    figures.fold(0, u64::wrapping_add)
}

pub(super) fn stat(text: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = write!(text, "STAT {name} {value}\r\n");
}
