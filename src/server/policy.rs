//! The policy of all owners: on a thread of its own, or on the last worker's core between its ticks.

use crate::config::serve::Config;
use crate::worker::Aside;
use cache::base::clock::Clock;
use cache::base::sync::{Arc, AtomicBool};
use cache::memory::PagePool;
use cache::policy::board::Board;
use cache::policy::popularity::Popularity;
use cache::policy::thread::Round;
use cache::policy::{Counters, Limits, Link, PolicyConfig, Progress, build, run_once};
use cache::ring::{Command, Consumer, Event, Hit, Producer};
use std::time::Duration;

/// The policy's ends of one owner's rings.
pub struct OwnerEnds {
    /// What the owner did.
    pub events: Consumer<Event>,
    /// What it is asked to do.
    pub commands: Producer<Command>,
    /// Wakes it if it sleeps.
    pub wake: Box<dyn Fn() + Send>,
}

/// One policy per owner, and the round that feeds them.
pub fn round(
    config: &Config,
    pool: &PagePool,
    owners: Vec<OwnerEnds>,
    hits: Vec<Consumer<Hit>>,
) -> (Round, Vec<Arc<Counters>>, Arc<Board>) {
    let layout = pool.layout();
    let page_units = layout.page_units() as u64;
    let policy_config = PolicyConfig {
        budget_bytes: pool.budget_bytes(owners.len()),
        page_units,
        pages: layout.pages,
        mean_item_bytes: config.mean_item_bytes as u64,
        seed: config.seed,
    };
    let links: Vec<Link> = owners
        .into_iter()
        .map(|OwnerEnds { events, commands, wake }| Link {
            events,
            commands,
            wake,
            policy: build(config.policy, config.policy_goal, &policy_config),
            counters: Arc::default(),
        })
        .collect();
    let counters = links.iter().map(|link| Arc::clone(&link.counters)).collect();
    let board = Arc::new(Board::default());
    let popularity = Popularity::new(Arc::clone(&board), config.seed);
    (Round::new(page_units, layout.pages, links, hits, popularity), counters, board)
}

/// Repeats the round on this thread until `stop`.
pub fn run_thread(mut round: Round, clock: &Clock, stop: &AtomicBool) {
    cache::policy::thread::run(&mut round, clock, &Limits::default(), stop, std::thread::park_timeout);
}

/// The round in small pieces, for a worker to run between its ticks: at most once in `COOPERATIVE_NS`. It says how long it
/// may be left alone: until the wheel has something to do, if nothing happens. Where a round took in all events and
/// decided all it is in no hurry: a worker under load wakes anyway, and to arm a short timer at each of its sleeps took 15 %
/// of its time in a virtual machine.
pub fn cooperative(mut round: Round) -> Aside {
    let (mut next_ns, mut publish_ns, mut rest) = (0, 0, Duration::ZERO);
    Box::new(move |now| {
        if now.ns >= next_ns {
            next_ns = now.ns + COOPERATIVE_NS;
            let progress = run_once(&mut round, now.ms(), &Limits::COOPERATIVE);
            let wheel =
                progress.next_ms.map(|at_ms| Duration::from_millis(at_ms.saturating_sub(now.ms()).max(1)));
            let records = match progress {
                Progress { urgent: true, .. } => Some(Duration::from_nanos(COOPERATIVE_NS)),
                _ if !progress.is_idle() => Some(RECORDS_WAIT),
                _ => None,
            };
            rest = wheel.into_iter().chain(records).min().unwrap_or(Duration::MAX);
        }
        if now.ns >= publish_ns {
            publish_ns = now.ns + PUBLISH_NS;
            round.publish(now.ms());
        }
        rest
    })
}

const COOPERATIVE_NS: u64 = 250_000;
/// Records may wait so long for a worker that has nothing else to do: longer than the kernel's own tick.
const RECORDS_WAIT: Duration = Duration::from_millis(10);
const PUBLISH_NS: u64 = 100_000_000;
