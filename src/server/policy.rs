//! The policy of all owners: on a thread of its own, or on the last worker's core between its ticks.

use crate::clock::{Clock, Now};
use crate::config::serve::Config;
use crate::memory::PagePool;
use crate::policy::thread::Round;
use crate::policy::{Counters, Limits, Link, PolicyConfig, build, run_once};
use crate::ring::{Command, Consumer, Event, Hit, Producer};
use crate::sync::{Arc, AtomicBool};

/// The policy's ends of one owner's rings.
pub struct OwnerEnds {
    /// What the owner did.
    pub events: Consumer<Event>,
    /// What it is asked to do.
    pub commands: Producer<Command>,
}

/// One policy per owner, and the round that feeds them.
pub fn round(
    config: &Config,
    pool: &PagePool,
    owners: Vec<OwnerEnds>,
    hits: Vec<Consumer<Hit>>,
) -> (Round, Vec<Arc<Counters>>) {
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
        .map(|OwnerEnds { events, commands }| Link {
            events,
            commands,
            policy: build(config.policy, config.goal, &policy_config),
            counters: Arc::default(),
        })
        .collect();
    let counters = links.iter().map(|link| Arc::clone(&link.counters)).collect();
    (Round::new(page_units, layout.pages, links, hits), counters)
}

/// Repeats the round on this thread until `stop`.
pub fn run_thread(mut round: Round, clock: &Clock, stop: &AtomicBool) {
    crate::policy::thread::run(&mut round, clock, &Limits::default(), stop, std::thread::park_timeout);
}

/// The round in small pieces, for a worker to run between its ticks: at most once in `COOPERATIVE_NS`.
pub fn cooperative(mut round: Round) -> Box<dyn FnMut(Now) + Send> {
    let (mut next_ns, mut publish_ns) = (0, 0);
    Box::new(move |now| {
        if now.ns >= next_ns {
            next_ns = now.ns + COOPERATIVE_NS;
            run_once(&mut round, now.ms(), &Limits::COOPERATIVE);
        }
        if now.ns >= publish_ns {
            publish_ns = now.ns + PUBLISH_NS;
            round.publish();
        }
    })
}

const COOPERATIVE_NS: u64 = 250_000;
const PUBLISH_NS: u64 = 100_000_000;
