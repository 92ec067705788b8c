//! The requests of one thread that wait, by lane, and what comes of them.

use super::client::Setup;
use super::in_flight::{InFlight, Pending, Slot};
use super::latency::Latencies;
use super::settle::Settle;
use super::source::End;
use super::tally::Tally;
use super::workload::Ask;

/// What waits for replies, and the counts of what does not any more.
pub struct Requests {
    /// What the client is made of.
    pub setup: Setup,
    /// Requests in flight, by lane.
    pub lanes: Vec<InFlight>,
    /// Counts.
    pub tally: Tally,
    /// Latencies of the interval.
    pub latencies: Box<Latencies>,
    /// What ended and the source does not know yet.
    pub ends: Vec<(Ask, End)>,
}

impl Requests {
    /// Nothing waits, in any lane.
    pub fn new(setup: Setup) -> Requests {
        let lanes = setup.connections * setup.targets.peers().len();
        let lanes = (0..lanes).map(|_| InFlight::new(setup.in_flight_max, setup.batch)).collect();
        Requests { setup, lanes, tally: Tally::default(), latencies: Box::default(), ends: Vec::new() }
    }

    /// The time, in nanoseconds of the run's clock.
    #[inline]
    pub fn now(&self) -> u64 {
        self.setup.clock.now().ns
    }

    /// Requests that wait in all lanes.
    pub fn waiting(&self) -> usize {
        self.lanes.iter().map(InFlight::waiting).sum()
    }

    /// A slot of a lane with its keys, and what settles it.
    #[inline]
    pub fn at(&mut self, lane: usize, at: usize) -> (Settle<'_>, &mut Slot, &[Pending]) {
        let Requests { setup, lanes, tally, latencies, ends } = self;
        let (slot, keys) = lanes[lane].slot(at);
        (Settle { setup, tally, latencies, ends }, slot, keys)
    }

    /// Gives up the request in a slot: what is not answered is lost.
    pub fn lose(&mut self, lane: usize, at: usize, now_ns: u64, free: &mut impl FnMut(&mut Slot)) {
        let (mut settle, slot, keys) = self.at(lane, at);
        settle.lost(slot, keys, now_ns);
        free(slot);
        self.lanes[lane].give_up(at);
    }
}
