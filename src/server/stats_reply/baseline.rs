//! `stats reset`: what was counted until then, which is taken off what is told. The counters themselves go on, because each has
//! one writer, and because the metrics must never fall. Gauges are not touched.

use crate::server::figures::Figures;
use crate::stats::counters::{
    Counter, DoormanCounters, Figure, HistLogCounters, Kind, MetricsCounters, OwnerCounters, PeersCounters,
    WorkerCounters,
};
use cache::memory::class::{CLASSES_MAX, Class};
use cache::memory::slab_stats::Losses;

/// Sums as they were at the last reset; zeros before.
#[derive(Debug)]
pub struct Baseline {
    workers: WorkerCounters,
    owners: OwnerCounters,
    scrapes: MetricsCounters,
    doorman: DoormanCounters,
    peers: PeersCounters,
    histlog: HistLogCounters,
    classes: Vec<Losses>,
}

impl Default for Baseline {
    fn default() -> Baseline {
        Baseline {
            workers: WorkerCounters::default(),
            owners: OwnerCounters::default(),
            scrapes: MetricsCounters::default(),
            doorman: DoormanCounters::default(),
            peers: PeersCounters::default(),
            histlog: HistLogCounters::default(),
            classes: (0..CLASSES_MAX).map(|_| Losses::default()).collect(),
        }
    }
}

impl Baseline {
    /// Everything counted so far is taken off from now on. Two workers that do this at once write nearly the same.
    pub fn take(&self, figures: &Figures) {
        keep(self.workers.figures(), sums(figures.workers.iter().map(|one| one.figures())));
        keep(self.owners.figures(), sums(figures.owners.iter().map(|one| one.figures())));
        keep(self.scrapes.figures(), sums([figures.scrapes.figures()]));
        keep(self.doorman.figures(), sums([figures.doorman.figures()]));
        keep(self.peers.figures(), sums([figures.peers.figures()]));
        keep(self.histlog.figures(), sums([figures.histlog.figures()]));
        for class in (0..CLASSES_MAX).map(Class::from_index) {
            let lost = sums(figures.slab_stats.iter().map(|owner| owner.losses(class).figures()));
            keep(self.classes[class.index()].figures(), lost);
        }
    }
}

/// Figures since the last reset.
impl Figures {
    /// Of all workers together.
    pub(super) fn worker_figures(&self) -> Vec<(&'static str, u64)> {
        since(self.baseline.workers.figures(), sums(self.workers.iter().map(|one| one.figures())))
    }

    /// Of all owners together.
    pub(super) fn owner_figures(&self) -> Vec<(&'static str, u64)> {
        since(self.baseline.owners.figures(), sums(self.owners.iter().map(|one| one.figures())))
    }

    /// Of the metrics endpoint, the UNIX socket, the file of --peers and the log of histograms.
    pub(super) fn other_figures(&self) -> Vec<(&'static str, u64)> {
        let mut figures = since(self.baseline.scrapes.figures(), sums([self.scrapes.figures()]));
        figures.extend(since(self.baseline.doorman.figures(), sums([self.doorman.figures()])));
        figures.extend(since(self.baseline.peers.figures(), sums([self.peers.figures()])));
        figures.extend(since(self.baseline.histlog.figures(), sums([self.histlog.figures()])));
        figures
    }

    /// One figure of all workers together.
    pub(super) fn of_workers(&self, pick: fn(&WorkerCounters) -> &Counter) -> u64 {
        let all: u64 = self.workers.iter().map(|worker| pick(worker).get()).sum();
        all.saturating_sub(pick(&self.baseline.workers).get())
    }

    /// One figure of all owners together.
    pub(super) fn of_owners(&self, pick: fn(&OwnerCounters) -> &Counter) -> u64 {
        let all: u64 = self.owners.iter().map(|owner| pick(owner).get()).sum();
        all.saturating_sub(pick(&self.baseline.owners).get())
    }

    /// One figure of a class, of all owners together.
    pub(super) fn lost_of(&self, class: Class, pick: fn(&Losses) -> &Counter) -> u64 {
        let all: u64 = self.slab_stats.iter().map(|owner| pick(owner.losses(class)).get()).sum();
        all.saturating_sub(pick(&self.baseline.classes[class.index()]).get())
    }

    /// The same of all classes.
    pub(super) fn lost(&self, pick: fn(&Losses) -> &Counter) -> u64 {
        (0..CLASSES_MAX).map(|i| self.lost_of(Class::from_index(i), pick)).sum()
    }
}

/// Each figure of several sets that were declared alike, added up.
pub fn sums<'a>(sets: impl IntoIterator<Item = Vec<Figure<'a>>>) -> Vec<u64> {
    let mut all = Vec::new();
    for set in sets {
        all.resize(set.len(), 0u64);
        all.iter_mut().zip(set).for_each(|(sum, figure)| *sum = sum.wrapping_add(figure.counter.get()));
    }
    all
}

fn keep(baseline: Vec<Figure<'_>>, now: Vec<u64>) {
    for (figure, now) in baseline.into_iter().zip(now).filter(|(figure, _)| figure.kind == Kind::Counter) {
        figure.counter.set(now);
    }
}

fn since(baseline: Vec<Figure<'_>>, now: Vec<u64>) -> Vec<(&'static str, u64)> {
    let since = |(figure, now): (Figure<'_>, u64)| (figure.name, now.saturating_sub(figure.counter.get()));
    baseline.into_iter().zip(now).map(since).collect()
}
