//! All figures of a running server, under memcached's names where it has them, for `stats` and for the metrics.

use crate::config::mode::FileMode;
use crate::config::serve::KeyNames;
use crate::net::Backend;
use crate::net::socket::transports::Transports;
use crate::net::stream::Roster;
use crate::server::exposition;
use crate::server::health::Health;
use crate::server::stats_reply::Baseline;
use crate::stats::counters::{
    DoormanCounters, HistLogCounters, MetricsCounters, OwnerCounters, PeersCounters, WorkerCounters,
};
use crate::stats::times::WorkerTimes;
use cache::base::clock::Clock;
use cache::base::hash::ShownHash;
use cache::base::sync::Arc;
use cache::memory::{PagePool, SlabStats};
use cache::policy::Counters;
use cache::policy::PolicyKind;
use cache::policy::hot_key_snapshot::HotKeySnapshot;
use numa::RegionReport;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where the figures are.
pub struct Figures {
    /// Of every worker.
    pub workers: Vec<Arc<WorkerCounters>>,
    /// What every worker measured of itself.
    pub times: Vec<Arc<WorkerTimes>>,
    /// Of every owner.
    pub owners: Vec<Arc<OwnerCounters>>,
    /// The connections of every worker.
    pub rosters: Vec<Arc<Roster>>,
    /// Of the metrics endpoint.
    pub scrapes: Arc<MetricsCounters>,
    /// Of the thread of the UNIX socket.
    pub doorman: Arc<DoormanCounters>,
    /// Of the log of histograms.
    pub histlog: Arc<HistLogCounters>,
    /// Of the file of --peers.
    pub peers: Arc<PeersCounters>,
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
    /// Where it listens.
    pub listen: SocketAddr,
    /// What it was started with, of that which clients ask for.
    pub settings: Settings,
    /// What was counted before the last `stats reset`.
    pub baseline: Baseline,
    /// What the ports are made on.
    pub io: Backend,
    /// Whether the kernel brings batch frames to their owners.
    pub steering: bool,
}

/// What the server was started with, of that which clients ask for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether a full cache evicts.
    pub evicts: bool,
    /// Largest value, in bytes.
    pub value_bytes_max: usize,
    /// Bytes that an item is expected to take.
    pub mean_item_bytes: usize,
    /// Who is evicted.
    pub policy: PolicyKind,
    /// What the address is served by.
    pub transport: Transports,
    /// The UNIX socket, and the permissions of its file.
    pub unix: Option<(PathBuf, FileMode)>,
    /// Connections that may be open at once.
    pub max_connections: usize,
    /// How long a connection may be idle, in s; 0 = for ever.
    pub idle_timeout_s: u64,
    /// Whether clients may end the server.
    pub allow_shutdown: bool,
}

impl Figures {
    /// The figures in the text format of Prometheus.
    pub fn metrics(&self) -> String {
        exposition::text(self)
    }
}

pub(super) fn stat(text: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = write!(text, "STAT {name} {value}\r\n");
}
