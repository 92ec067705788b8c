//! What a server takes beside `--memory`, reckoned before it takes anything: a control group that has no room for it kills
//! without a word, at the start or when the cache is full of small items.
//!
//! ```text
//! sure    region, page tables │ a worker's buffers, pending requests, rings │ the policy's sketch │ the program
//! at most + long and large pending requests of every worker, what its connections may have, and the policy's nodes if all items are of
//!          the smallest size
//! ```
//! What is sure must fit, or the start is refused. What may come is said, with the `--memory` that fits whatever is stored.
//!
//! Not here: sockets' queues in the kernel, whose datagrams are dropped where there is no memory for them, and pages of the
//! kernel's pools, which no control group of memory counts.

use crate::config::serve::Config;
use crate::limits::{
    COMMAND_RING_RECORDS, EVENT_RING_RECORDS, HIT_RING_RECORDS, LARGE_REQUESTS, LONE_SMALL_REQUESTS,
    LONG_REPLY_ROOM_BYTES, LONG_REQUESTS, MEMORY_BYTES_MIN, OUTBOX_BYTES, OUTBOX_DATAGRAMS_MAX,
    PENDING_REQUESTS_MAX, PROGRAM_BYTES, RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS, SMALL_REQUESTS,
    STREAM_BUFFER_BYTES, STREAM_BUFFERS, STREAM_KEPT_BYTES_MAX, STREAM_LONG_REPLIES_MAX, STREAM_OUTBOX_BYTES,
    WORKER_BYTES, stream_unsent_bytes_max,
};
use crate::session::forward::pending::PendingRequest;
use cache::base::item_ref::ItemRef;
use cache::memory::class::Class;
use cache::policy::PolicyKind;
use cache::ring::{Event, Hit, PolicyCommand};
use numa::report::Bytes;
use numa::{PageKind, Plan};

/// Bytes that a server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reckoning {
    workers: usize,
    /// The region, as far as it counts against memory.
    pub region: usize,
    /// Beside the region, and sure to be used.
    pub fixed: usize,
    /// Beside both, for some clients and items.
    pub growth: usize,
}

impl Reckoning {
    /// What a server with this configuration takes.
    pub fn of(config: &Config, plan: &Plan) -> Reckoning {
        let kind = plan.memory.kind.unwrap_or(PageKind::Small);
        Reckoning::with(config, plan.workers.len(), kind, config.memory_bytes)
    }

    fn with(config: &Config, workers: usize, kind: PageKind, memory_bytes: usize) -> Reckoning {
        let (sure, most) = policy_bytes(
            config.policy.where_evicting(!config.no_eviction),
            memory_bytes,
            config.mean_item_bytes,
        );
        // A page of 4 KiB has an entry of 8 bytes in its table.
        let tables = if kind == PageKind::Small { memory_bytes / 512 } else { 0 };
        let region = if kind.is_pooled() { 0 } else { memory_bytes };
        let namespaces = if config.namespace_separator.is_some() { NAMESPACES_BYTES } else { 0 };
        let fixed = PROGRAM_BYTES + tables + sure + workers * (worker_bytes(workers) + namespaces);
        let pending_max =
            LARGE_REQUESTS * PendingRequest::LARGE_BYTES + LONG_REQUESTS * PendingRequest::LONG_BYTES;
        let growth = most - sure + workers * (pending_max + streams_max(config, workers));
        Reckoning { workers, region, fixed, growth }
    }

    /// Compares it with the memory that is available. A line for people where all may come to more than that.
    ///
    /// # Errors
    /// One line with the remedy: even what is sure does not fit.
    pub fn check(&self, config: &Config, kind: PageKind, available: u64) -> Result<Option<String>, String> {
        let (sure, most) = (self.region + self.fixed, self.region + self.fixed + self.growth);
        let largest = |takes: fn(&Reckoning) -> usize| self.largest(config, kind, available, takes);
        if sure as u64 > available {
            let remedy = match largest(|r| r.region + r.fixed) {
                Some(mib) => format!("give --memory {mib}MiB, or raise the limit"),
                None => "raise the limit of the control group, or use fewer --workers".into(),
            };
            return Err(format!(
                "--memory {} does not fit: with {} for buffers, rings, policy and program beside it the server takes {}, and {} are \
                 available (control group or machine); {remedy}",
                Bytes(config.memory_bytes as u64),
                Bytes(self.fixed as u64),
                Bytes(sure as u64),
                Bytes(available),
            ));
        }
        Ok((most as u64 > available).then(|| {
            let remedy = match largest(|r| r.region + r.fixed + r.growth) {
                Some(mib) => format!("--memory {mib}MiB fits whatever is stored"),
                None => "a higher limit would fit whatever is stored".into(),
            };
            format!(
                "memory may run out: beside {} it takes {}, and up to {} more if all items are as small as they can be and many long \
                 requests are forwarded or many connections do not read; {} are available (control group or machine); {remedy}",
                Bytes(self.region as u64),
                Bytes(self.fixed as u64),
                Bytes(self.growth as u64),
                Bytes(available),
            )
        }))
    }

    /// The largest `--memory`, in MiB, for which `takes` fits; `None` if none does.
    fn largest(
        &self,
        config: &Config,
        kind: PageKind,
        available: u64,
        takes: fn(&Reckoning) -> usize,
    ) -> Option<usize> {
        let least = (self.workers * MEMORY_BYTES_MIN) >> 20;
        // What is available changes while nobody takes anything: the kernel charges some for caches of its own.
        let available = available.saturating_sub(SLACK_BYTES);
        let fits =
            |mib: usize| takes(&Reckoning::with(config, self.workers, kind, mib << 20)) as u64 <= available;
        let (mut low, mut high) = (least, config.memory_bytes >> 20);
        if !fits(low) {
            return None;
        }
        while low < high {
            let middle = (low + high).div_ceil(2);
            if fits(middle) { low = middle } else { high = middle - 1 }
        }
        Some(low)
    }
}

/// What a worker of so many has on its heap and in its receive buffers.
fn worker_bytes(workers: usize) -> usize {
    let small = if workers == 1 { LONE_SMALL_REQUESTS } else { SMALL_REQUESTS };
    let rings = EVENT_RING_RECORDS * size_of::<Event>()
        + COMMAND_RING_RECORDS * size_of::<PolicyCommand>()
        + HIT_RING_RECORDS * size_of::<Hit>();
    let mesh = (workers - 1) * 2 * PENDING_REQUESTS_MAX * size_of::<usize>();
    RECEIVE_BUFFERS * RECEIVE_BUFFER_BYTES
        + STREAM_BUFFERS * STREAM_BUFFER_BYTES
        + OUTBOX_BYTES
        + OUTBOX_DATAGRAMS_MAX * OUTBOX_ENTRY_BYTES
        + small * (PendingRequest::SMALL_BYTES + size_of::<PendingRequest>())
        + rings
        + mesh
        + WORKER_BYTES
}

/// What connections may have of a worker beside its receive buffers: replies of a tick, what is copied aside, what peers have not taken, long replies.
fn streams_max(config: &Config, workers: usize) -> usize {
    if !config.transport.tcp && config.unix.is_none() {
        return 0;
    }
    let long_replies = STREAM_LONG_REPLIES_MAX * (config.value_bytes_max + LONG_REPLY_ROOM_BYTES);
    // Small replies may come on top of what is bounded, as much again.
    let unsent = 2 * stream_unsent_bytes_max(config.memory_bytes, workers) + STREAM_OUTBOX_BYTES;
    STREAM_OUTBOX_BYTES + STREAM_KEPT_BYTES_MAX + unsent + long_replies
}

/// What a shard remembers of namespaces, where there are any.
const NAMESPACES_BYTES: usize = (1 << 20) + (256 << 10);
/// What an advice leaves free.
const SLACK_BYTES: u64 = 2 << 20;
/// Place, peer and order of a datagram that waits.
const OUTBOX_ENTRY_BYTES: usize = 48;

/// What the policy takes at once, and at most: by item, from its module's own figures.
fn policy_bytes(kind: PolicyKind, memory_bytes: usize, mean_item_bytes: usize) -> (usize, usize) {
    // The smallest item: its slot, and its place in an index.
    let smallest_bytes = Class::of(1).slot_units() * ItemRef::UNIT_BYTES + size_of::<u64>();
    let (expected, smallest) = (memory_bytes / mean_item_bytes, memory_bytes / smallest_bytes);
    match kind {
        PolicyKind::None => (0, 0),
        PolicyKind::Lru => (0, 17 * smallest),
        // The sketch has 3 bytes for each item that is expected, and doubles when there are more.
        PolicyKind::Wtinylfu => (3 * expected, 20 * smallest + 3 * expected),
        // The ghosts are sized by what is expected.
        PolicyKind::S3fifo => (0, 18 * smallest + 15 * expected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::serve::Options;
    use crate::config::size;
    use clap::Args;

    const MIB: u64 = 1 << 20;

    fn config(memory: &str, policy: &str) -> Config {
        let (memory_bytes, policy) = (size::bytes(memory).unwrap(), policy.parse().unwrap());
        Options { memory_bytes, policy, ..Options::default() }.check().unwrap()
    }

    fn reckoned(config: &Config, workers: usize, kind: PageKind) -> Reckoning {
        Reckoning::with(config, workers, kind, config.memory_bytes)
    }

    /// The number before `MiB` in the remedy.
    fn remedy(line: &str) -> u64 {
        let behind = line.rsplit_once("--memory ").unwrap_or_else(|| panic!("{line}")).1;
        behind.split_once("MiB").unwrap().0.parse().unwrap()
    }

    #[test]
    fn what_is_sure_must_fit_and_the_remedy_does() {
        for workers in [1, 2, 8] {
            for policy in ["wtinylfu", "s3fifo", "lru", "none"] {
                let config = config("512MiB", policy);
                let of = reckoned(&config, workers, PageKind::Small);
                let sure = (of.region + of.fixed) as u64;
                let error = of.check(&config, PageKind::Small, sure - 1).unwrap_err();
                assert!(of.check(&config, PageKind::Small, sure).is_ok());
                let smaller = config_of(&config, remedy(&error) * MIB);
                let smaller_of = reckoned(&smaller, workers, PageKind::Small);
                assert!(smaller_of.check(&smaller, PageKind::Small, sure - 1).is_ok(), "{error}");
            }
        }
    }

    fn config_of(config: &Config, memory_bytes: u64) -> Config {
        let mut config = config.clone();
        config.memory_bytes = memory_bytes as usize;
        config
    }

    #[test]
    fn what_may_come_is_said_and_the_remedy_has_room_for_it() {
        let config = config("150MiB", "wtinylfu");
        let of = reckoned(&config, 1, PageKind::Small);
        let warning = of.check(&config, PageKind::Small, 300 * MIB).unwrap().expect("a warning");
        let safe = config_of(&config, remedy(&warning) * MIB);
        let safe_of = reckoned(&safe, 1, PageKind::Small);
        assert_eq!(safe_of.check(&safe, PageKind::Small, 300 * MIB), Ok(None), "{warning}");
        assert!(remedy(&warning) > 80, "{warning}");
        assert_eq!(of.check(&config, PageKind::Small, 1 << 40), Ok(None));
    }

    /// A figure of people's texts, rounded as they are.
    fn mib(bytes: usize) -> String {
        let mib = bytes as f64 / MIB as f64;
        if mib < 10.0 { format!("{mib:.1} MiB") } else { format!("{mib:.0} MiB") }
    }

    #[test]
    fn help_tells_what_is_reckoned() {
        let (lone, each) = (worker_bytes(1), worker_bytes(2));
        let help = format!("takes {} a worker ({} with several)", mib(lone), mib(each));
        let command = Options::augment_args(clap::Command::new("serve"));
        let option = command.get_arguments().find(|option| option.get_long() == Some("memory")).unwrap();
        let text = option.get_help().unwrap().to_string();
        assert!(text.contains(&help), "{help:?} is not in {text:?}");
        assert!(text.contains(&mib(PROGRAM_BYTES).replace(".0", "")), "{text}");
    }

    #[test]
    fn pages_of_a_pool_do_not_count() {
        let config = config("1GiB", "none");
        let of = reckoned(&config, 1, PageKind::TwoMib);
        assert_eq!(of.check(&config, PageKind::TwoMib, 250 * MIB), Ok(None));
        assert!(of.check(&config, PageKind::TwoMib, 4 * MIB).unwrap_err().contains("fewer --workers"));
    }
}
