//! The round that feeds the policies, and the thread that repeats it.
//!
//! ```text
//! per worker  hits   ─┐                         ┌─▶ commands ─ per owner
//! per owner   events ─┴▶ Round: page → owner ─▶ policies
//! ```
//!
//! A round is bounded: so many events and hits a ring, so many steps and commands a policy. Hits name items of any
//! owner; the page of a reference says whose, because every `Store` tells who holds its page.
//! The same round runs on the thread, on a worker's core between ticks (`--workers` takes all cores), and in tests.
//! The thread never spins: a round that found little is followed by a wait, which is a parameter. Records are taken by
//! the hundred then, and the line in which a worker says how many there are does not travel with each of them.

use super::popularity::Popularity;
use super::{CommandBuffer, Counters, Policy};
use crate::base::clock::Clock;
use crate::base::sync::{Arc, AtomicBool, Ordering};
use crate::limits::COMMAND_RING_RECORDS;
use crate::ring::{Consumer, Event, Hit, Producer};
use std::time::Duration;

/// One owner, seen from its policy.
pub struct Link {
    /// What the owner did.
    pub events: Consumer<Event>,
    /// What it is asked to do.
    pub commands: Producer<crate::ring::PolicyCommand>,
    /// Wakes the owner when it is asked, so that memory comes back while nobody asks for anything.
    pub wake: Box<dyn Fn() + Send>,
    /// Who decides.
    pub policy: Box<dyn Policy>,
    /// Where the figures are published.
    pub counters: Arc<Counters>,
}

/// Bounds of one round.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Events taken from an owner at most.
    pub events_max: usize,
    /// Hits taken from a worker at most.
    pub hits_max: usize,
    /// Steps of one policy (expiry, eviction) at most.
    pub work_max: usize,
}

impl Default for Limits {
    /// For a thread of its own.
    fn default() -> Limits {
        Limits { events_max: 4096, hits_max: 4096, work_max: 8192 }
    }
}

impl Limits {
    /// For a round between two ticks of a worker: well under 1 ms. Of hits it takes fewer, since each is a node in memory
    /// that nobody has asked for: 512 took a third of the core that serves them. Workers sample what is not
    /// taken.
    pub const COOPERATIVE: Limits = Limits { events_max: 768, hits_max: 64, work_max: 768 };
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Events taken in.
    pub events: usize,
    /// Hits taken in.
    pub hits: usize,
    /// Commands given.
    pub commands: usize,
    /// More waits: a limit was reached.
    pub more: bool,
    /// Of events or decisions, that is: memory waits for it. Hits that wait are only a little late.
    pub urgent: bool,
    /// When there will be work though nothing happens, in ms since the server epoch.
    pub next_ms: Option<u64>,
}

impl Progress {
    /// Whether the round found nothing to do.
    pub fn is_idle(&self) -> bool {
        self.events + self.hits + self.commands == 0 && !self.more
    }

    /// Whether the next round is not worth its while yet.
    pub fn was_little(&self) -> bool {
        self.events + self.hits < ROUND_RECORDS_MIN && !self.more
    }
}

/// All owners and workers of a process, seen from its policy thread.
pub struct Round {
    links: Vec<Link>,
    hits: Vec<Consumer<Hit>>,
    owner_of_page: Box<[u16]>,
    page_units: u64,
    buffer: CommandBuffer,
    events: Vec<Event>,
    batches: Vec<Vec<Hit>>,
    popularity: Popularity,
}

const NOBODY: u16 = u16::MAX;
/// Records collected for one owner before they are handed over.
const BATCH_RECORDS: usize = 256;

impl Round {
    /// A round over `links` (one an owner) and `hits` (one a worker), in a region of `pages` pages of `page_units`.
    pub fn new(
        page_units: u64,
        pages: usize,
        links: Vec<Link>,
        hits: Vec<Consumer<Hit>>,
        popularity: Popularity,
    ) -> Round {
        assert!(links.len() < NOBODY as usize);
        Round {
            batches: links.iter().map(|_| Vec::with_capacity(BATCH_RECORDS)).collect(),
            links,
            hits,
            owner_of_page: vec![NOBODY; pages].into(),
            page_units,
            buffer: CommandBuffer::with_capacity(COMMAND_RING_RECORDS),
            events: Vec::with_capacity(BATCH_RECORDS),
            popularity,
        }
    }

    /// The owners, for their figures.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Publishes the figures of every policy, and what keys are popular. Not every round: it walks a few structures.
    pub fn publish(&mut self, now_ms: u64) {
        self.popularity.advance(now_ms);
        for link in &self.links {
            link.counters.publish(&link.policy.stats());
        }
    }

    fn take_events(&mut self, owner: usize, now_ms: u64, max: usize) -> usize {
        let Link { events, policy, .. } = &mut self.links[owner];
        let (pages, page_units) = (&mut self.owner_of_page, self.page_units);
        let (popularity, batch) = (&mut self.popularity, &mut self.events);
        let taken = events.drain(max, |event| {
            let item = match event {
                Event::Store { item, .. } | Event::Move { to: item, .. } => Some(item),
                _ => None,
            };
            // Pages change hands through the pool of free pages: whoever stores on one holds it.
            if let Some(holder) = item.and_then(|i| pages.get_mut((i.units() / page_units) as usize)) {
                *holder = owner as u16;
            }
            if let Event::Store { hash, .. } = event {
                popularity.key(hash);
            }
            batch.push(event);
            if batch.len() == BATCH_RECORDS {
                policy.events(batch, now_ms);
                batch.clear();
            }
        });
        policy.events(batch, now_ms);
        batch.clear();
        taken
    }

    fn take_hits(&mut self, worker: usize, max: usize) -> usize {
        let Round { links, hits, owner_of_page, page_units, batches, popularity, .. } = self;
        let taken = hits[worker].drain(max, |hit| {
            popularity.hit(&hit);
            let page = (hit.item.units() / *page_units) as usize;
            let Some(batch) = owner_of_page.get(page).and_then(|&owner| batches.get_mut(owner as usize))
            else {
                return; // Its Store has not come yet.
            };
            batch.push(hit);
            if batch.len() == BATCH_RECORDS {
                links[owner_of_page[page] as usize].policy.hits(batch);
                batch.clear();
            }
        });
        for (link, batch) in links.iter_mut().zip(batches).filter(|(_, batch)| !batch.is_empty()) {
            link.policy.hits(batch);
            batch.clear();
        }
        taken
    }

    fn decide(&mut self, owner: usize, now_ms: u64, work_max: usize) -> (usize, bool) {
        let Link { policy, commands, wake, .. } = &mut self.links[owner];
        self.buffer.reset(commands.room());
        let work = policy.advance(now_ms, work_max, &mut self.buffer);
        for &command in self.buffer.as_slice() {
            commands.push(command).expect("the buffer's room was the ring's");
        }
        if !self.buffer.as_slice().is_empty() {
            wake();
        }
        (self.buffer.as_slice().len(), work >= work_max || self.buffer.room() == 0)
    }
}

/// One bounded round at `now_ms`: events first, so that hits find their items, then hits, then decisions.
pub fn run_once(round: &mut Round, now_ms: u64, limits: &Limits) -> Progress {
    let mut progress = Progress::default();
    for owner in 0..round.links.len() {
        let events = round.take_events(owner, now_ms, limits.events_max);
        progress.events += events;
        progress.urgent |= events == limits.events_max;
    }
    for worker in 0..round.hits.len() {
        let hits = round.take_hits(worker, limits.hits_max);
        progress.hits += hits;
        progress.more |= hits == limits.hits_max;
    }
    for owner in 0..round.links.len() {
        let (commands, more) = round.decide(owner, now_ms, limits.work_max);
        progress.commands += commands;
        // With a full command ring there is nothing to do before its owner has drained it.
        progress.urgent |= more && commands > 0;
        let next = round.links[owner].policy.next_ms();
        progress.next_ms = progress.next_ms.into_iter().chain(next).min();
    }
    progress.more |= progress.urgent;
    progress
}

/// How long an idle thread waits at most: the base of the wheel. Rings hold far more than comes in this time.
pub const IDLE_WAIT: Duration = Duration::from_millis(1);
/// A round of fewer records is followed by a wait. At the rate at which a wait gathers more, the thread waits no more.
const ROUND_RECORDS_MIN: usize = 1024;
/// Figures are published once in so many ms.
const PUBLISH_MS: u64 = 100;

/// Repeats the round until `stop`. `wait` is called after a round that found little, with the longest time to wait; the
/// product passes `std::thread::park_timeout`.
pub fn run(
    round: &mut Round,
    clock: &Clock,
    limits: &Limits,
    stop: &AtomicBool,
    mut wait: impl FnMut(Duration),
) {
    let mut publish_at_ms = 0;
    // Acquire: pairs with the Release store of whoever stops the thread; what it did before is seen after.
    while !stop.load(Ordering::Acquire) {
        let now_ms = clock.now().ms();
        let progress = run_once(round, now_ms, limits);
        if now_ms >= publish_at_ms {
            publish_at_ms = now_ms + PUBLISH_MS;
            round.publish(now_ms);
        }
        if progress.was_little() {
            wait(IDLE_WAIT);
        }
    }
    round.publish(clock.now().ms());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::item_ref::ItemRef;
    use crate::policy::{Goal, PolicyConfig, PolicyKind, build};
    use crate::ring::record::{ChunkUnits, Deadline, Verdict};
    use crate::ring::{PolicyCommand, ring};

    struct Owner {
        events: Producer<Event>,
        commands: Consumer<PolicyCommand>,
    }

    const PAGE_UNITS: u64 = 64;

    fn round(owners: usize, budget_bytes: u64) -> (Round, Vec<Owner>, Producer<Hit>) {
        let config =
            PolicyConfig { budget_bytes, page_units: PAGE_UNITS, pages: 8, mean_item_bytes: 16, seed: 1 };
        let (hit_producer, hits) = ring(64);
        let (links, owners) = (0..owners)
            .map(|_| {
                let (event_producer, events) = ring(64);
                let (commands, command_consumer) = ring(4);
                let policy = build(PolicyKind::Lru, Goal::Objects, &config);
                let link = Link { events, commands, wake: Box::new(|| ()), policy, counters: Arc::default() };
                (link, Owner { events: event_producer, commands: command_consumer })
            })
            .unzip();
        let popularity = Popularity::new(Arc::default(), 1);
        (Round::new(PAGE_UNITS, 8, links, vec![hits], popularity), owners, hit_producer)
    }

    fn store(page: u64, index: u64) -> Event {
        let item = ItemRef::new(page * PAGE_UNITS + index).unwrap();
        Event::Store {
            item,
            replaced: None,
            deadline: Deadline::new(0, 1),
            chunks: ChunkUnits::NONE,
            hash: index as u32,
        }
    }

    #[test]
    fn hits_find_the_owner_of_their_page() {
        let (mut round, mut owners, mut hits) = round(2, 1 << 20);
        owners[0].events.push(store(1, 5)).unwrap();
        owners[1].events.push(store(2, 5)).unwrap();
        let item = ItemRef::new(2 * PAGE_UNITS + 5).unwrap();
        hits.push(Hit { item, hash: 5, weight: 3 }).unwrap();
        hits.push(Hit { item: ItemRef::new(7 * PAGE_UNITS).unwrap(), hash: 5, weight: 1 }).unwrap();
        let progress = run_once(&mut round, 1, &Limits::default());
        assert_eq!((progress.events, progress.hits, progress.commands), (2, 2, 0));
        assert_eq!(round.links()[0].policy.stats().hits, 0);
        let stats = round.links()[1].policy.stats();
        assert_eq!((stats.hits, stats.reads), (1, 3));
        assert!(run_once(&mut round, 1, &Limits::default()).is_idle());
    }

    #[test]
    fn a_full_command_ring_keeps_the_verdicts() {
        let (mut round, mut owners, _hits) = round(1, 16 * 10);
        (0..30).for_each(|i| owners[0].events.push(store(1, i)).unwrap());
        let mut evicted = Vec::new();
        for _ in 0..10 {
            run_once(&mut round, 1, &Limits::default());
            // While the owner sleeps the thread has nothing to do, rather than to spin.
            assert!(run_once(&mut round, 1, &Limits::default()).is_idle());
            while let Some(command) = owners[0].commands.pop() {
                assert_eq!(command.verdict, Verdict::Evict);
                evicted.push(command.item.units() - PAGE_UNITS);
                owners[0].events.push(Event::Delete { item: command.item }).unwrap();
            }
        }
        assert_eq!(evicted, (0..20).collect::<Vec<u64>>());
    }

    #[test]
    fn a_round_is_bounded() {
        let (mut round, mut owners, _hits) = round(1, 1 << 20);
        (0..30).for_each(|i| owners[0].events.push(store(1, i)).unwrap());
        let limits = Limits { events_max: 8, hits_max: 8, work_max: 8 };
        let rounds: Vec<usize> = (0..5).map(|_| run_once(&mut round, 1, &limits).events).collect();
        assert_eq!(rounds, [8, 8, 8, 6, 0]);
    }

    #[test]
    fn the_thread_waits_when_idle_and_stops_when_told() {
        let (mut round, mut owners, _hits) = round(1, 1 << 20);
        owners[0].events.push(store(1, 0)).unwrap();
        let stop = AtomicBool::new(false);
        let mut waits = 0;
        run(&mut round, &Clock::manual(0), &Limits::default(), &stop, |wait| {
            assert_eq!(wait, IDLE_WAIT);
            waits += 1;
            stop.store(waits == 3, Ordering::Release);
        });
        assert_eq!(waits, 3);
        assert_eq!(round.links()[0].counters.items.get(), 1);
    }
}
