//! Window and segmented main region, over any [`Space`]: the same code runs the real cache and its shadows.
//!
//! ```text
//! new ─▶ window (LRU) ─ over its share ─▶ candidate ┐        ┌─ loser: evicted
//!                                                   ├ contest┤
//!        protected (LRU) ─ over its share ─▶ probation tail: victim
//!             ▲                                  │  └─ winner: stays, the candidate moves to probation
//!             └──────────── hit ─────────────────┘
//! ```
//!
//! All sizes are what items take, their chunks included, in units of 16 bytes, so that items of one size behave as if they were counted.
//! Source: Einziger, Eytan, Friedman, Manes, "Adaptive software cache management" (Middleware 2018).

use super::contest::Judge;
use super::list::List;
use super::node::{Segment, Space};
use crate::ring::Verdict;

/// Items that leave the window for free room in main, in one go, at most.
const SETTLE_MAX: usize = 4;
/// Items at the end of main among which the least worth is the victim, where sizes or deadlines differ.
const VICTIMS_MAX: usize = 8;
/// A guest takes at most this part of the budget: a small main that gives way to one loses more than a read of it is worth.
const GUEST_SHARE: u64 = 32;

/// The three lists.
#[derive(Clone, Debug)]
pub struct Queues {
    window: List,
    probation: List,
    protected: List,
    budget_units: u64,
    window_permille: u64,
    protected_permille: u64,
    has_guests: bool,
    /// The newest of the items that the window cannot hold: it stays beside the window until the next such item comes.
    guest: Option<Guest>,
}

#[derive(Clone, Copy, Debug)]
struct Guest {
    node: u32,
    units: u64,
}

/// Who has to go, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loser {
    /// The candidate: it lost the contest on leaving the window.
    Candidate(u32),
    /// The victim: it lost its place in main to a candidate.
    Victim(u32),
    /// The tail of the window; there was no contest.
    Newcomer(u32),
    /// The tail of the main region; there was no contest.
    Surplus(u32),
}

impl Loser {
    /// Its node, which is free now.
    pub fn node(self) -> u32 {
        match self {
            Loser::Candidate(n) | Loser::Victim(n) | Loser::Newcomer(n) | Loser::Surplus(n) => n,
        }
    }

    /// What its owner is told.
    pub fn verdict(self) -> Verdict {
        match self {
            Loser::Candidate(_) | Loser::Newcomer(_) => Verdict::Reject,
            Loser::Victim(_) | Loser::Surplus(_) => Verdict::Evict,
        }
    }
}

impl Queues {
    /// Empty queues.
    pub fn new(budget_units: u64, window_permille: u64, protected_permille: u64) -> Queues {
        Queues {
            window: List::new(Segment::Window),
            probation: List::new(Segment::Probation),
            protected: List::new(Segment::Protected),
            budget_units,
            window_permille,
            protected_permille,
            has_guests: false,
            guest: None,
        }
    }

    /// Whoever has just stored an item that is larger than the window wants to read it, too: the newest of them is no candidate. A shadow,
    /// whose window is a few items, has none: nearly all items would be large to it.
    pub fn with_guests(self) -> Queues {
        Queues { has_guests: true, ..self }
    }

    /// Changes what may stay; takes effect as items come and go.
    pub fn set_budget(&mut self, budget_units: u64) {
        self.budget_units = budget_units;
    }

    /// Changes the window's share, in 1/1000; takes effect as items come and go.
    pub fn set_shares(&mut self, window_permille: u64, protected_permille: u64) {
        self.window_permille = window_permille;
        self.protected_permille = protected_permille;
    }

    /// Units on all lists.
    #[inline]
    pub fn units(&self) -> u64 {
        self.window.units() + self.probation.units() + self.protected.units()
    }

    /// Candidate and victim of the next contest, as far as order tells.
    pub fn tails(&self) -> [Option<u32>; 2] {
        [self.window.tail(), self.probation.tail()]
    }

    /// Nodes on all lists.
    pub fn count(&self) -> usize {
        self.window.count() + self.probation.count() + self.protected.count()
    }

    /// The nodes of window, probation and protected; for checks.
    pub fn walk<S: Space>(&self, space: &S) -> Vec<u32> {
        [&self.window, &self.probation, &self.protected]
            .into_iter()
            .flat_map(|list| list.iter(space))
            .collect()
    }

    /// Whether more is held than may stay.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.units() > self.budget_units
    }

    /// A free node becomes the newest of the window.
    /// One that the window cannot hold is its next candidate but for a guest, so that it drives nobody else out of it.
    pub fn insert<S: Space>(&mut self, space: &mut S, n: u32) {
        let units = space.units(n) as u64;
        if units <= self.window_share() {
            self.window.push_front(space, n);
        } else {
            self.window.push_back(space, n);
            let is_guest = self.has_guests && units <= self.budget_units / GUEST_SHARE;
            self.guest = is_guest.then_some(Guest { node: n, units });
        }
        self.settle(space);
    }

    /// An item was used.
    #[inline]
    pub fn hit<S: Space>(&mut self, space: &mut S, n: u32) {
        match space.node(n).segment() {
            Segment::Window => self.window.refresh(space, n),
            Segment::Protected => self.protected.refresh(space, n),
            _ => self.protect(space, n),
        }
    }

    /// A free node comes back that had lost its place: it was used, unknown to us. Back to where it would be if we had known.
    pub fn restore<S: Space>(&mut self, space: &mut S, n: u32, verdict: Verdict) {
        match verdict {
            Verdict::Reject => self.window.push_front(space, n),
            Verdict::Evict | Verdict::Expire => {
                self.probation.push_front(space, n);
                self.protect(space, n);
            }
        }
    }

    /// Frees a node.
    pub fn remove<S: Space>(&mut self, space: &mut S, n: u32) {
        self.guest = self.guest.filter(|guest| guest.node != n);
        self.list_of(space, n).remove(space, n);
    }

    /// `to`, a free node, becomes the newest where `from` was; `from` becomes free.
    pub fn transfer<S: Space>(&mut self, space: &mut S, from: u32, to: u32) {
        let was_guest = self.guest.is_some_and(|guest| guest.node == from);
        let list = self.list_of(space, from);
        list.remove(space, from);
        list.push_front(space, to);
        if was_guest {
            self.guest = Some(Guest { node: to, units: space.units(to) as u64 });
        }
    }

    /// Chooses who goes and frees its node.
    pub fn evict<S: Space>(&mut self, space: &mut S, judge: &Judge) -> Option<Loser> {
        self.settle(space);
        let victim = self.victim(space, judge);
        let candidate = self.candidate(space);
        match (candidate, victim) {
            (Some(candidate), Some(_)) if self.has_room(space, candidate) => {
                // Main is short of its share: the window is too large by far and pays itself.
                self.remove(space, candidate);
                Some(Loser::Newcomer(candidate))
            }
            (Some(candidate), Some(victim)) => {
                if judge.rule.wins(judge.worth(space, candidate), judge.worth(space, victim)) {
                    self.remove(space, victim);
                    self.promote(space, candidate);
                    Some(Loser::Victim(victim))
                } else {
                    self.window.remove(space, candidate);
                    Some(Loser::Candidate(candidate))
                }
            }
            (None, Some(victim)) => {
                self.remove(space, victim);
                Some(Loser::Surplus(victim))
            }
            (_, None) => {
                let last = self.window.tail()?;
                self.remove(space, last);
                Some(Loser::Newcomer(last))
            }
        }
    }

    /// The tail of main; where sizes or deadlines differ, the least worth of the last few.
    fn victim<S: Space>(&self, space: &S, judge: &Judge) -> Option<u32> {
        let list = if self.probation.tail().is_some() { &self.probation } else { &self.protected };
        let tail = list.tail()?;
        let mut victim = (tail, judge.worth(space, tail));
        for n in list.iter(space).take(VICTIMS_MAX).skip(1) {
            if judge.weighs(space, tail, n) {
                let worth = judge.worth(space, n);
                if victim.1.exceeds(worth) {
                    victim = (n, worth);
                }
            }
        }
        Some(victim.0)
    }

    /// The tail of a window that is over its share, but for a guest.
    fn candidate<S: Space>(&self, space: &S) -> Option<u32> {
        if self.window.units() <= self.window_max() {
            return None;
        }
        self.window.iter(space).find(|&n| self.guest.is_none_or(|guest| guest.node != n))
    }

    fn window_share(&self) -> u64 {
        self.budget_units * self.window_permille / 1000
    }

    /// What may be in the window: its share, and a guest.
    fn window_max(&self) -> u64 {
        let guest_units = self.guest.map_or(0, |guest| guest.units);
        (self.window_share() + guest_units).min(self.budget_units)
    }

    fn main_units(&self) -> u64 {
        self.probation.units() + self.protected.units()
    }

    fn has_room<S: Space>(&self, space: &S, n: u32) -> bool {
        self.main_units() + space.units(n) as u64 <= self.budget_units - self.window_max()
    }

    fn promote<S: Space>(&mut self, space: &mut S, n: u32) {
        self.window.remove(space, n);
        self.probation.push_front(space, n);
    }

    /// While main has room, what the window has too much of goes there without a contest.
    fn settle<S: Space>(&mut self, space: &mut S) {
        for _ in 0..SETTLE_MAX {
            match self.candidate(space) {
                Some(n) if self.has_room(space, n) => self.promote(space, n),
                _ => return,
            }
        }
    }

    fn protect<S: Space>(&mut self, space: &mut S, n: u32) {
        self.probation.remove(space, n);
        self.protected.push_front(space, n);
        // Not by the share of what main may hold but of what it does: a main that shrinks keeps both lists.
        let protected_max = (self.budget_units - self.window_max()) * self.protected_permille / 1000;
        for _ in 0..SETTLE_MAX {
            if self.protected.units() <= protected_max {
                return;
            }
            let Some(oldest) = self.protected.pop_back(space) else { return };
            self.probation.push_front(space, oldest);
        }
    }

    fn list_of<S: Space>(&mut self, space: &S, n: u32) -> &mut List {
        match space.node(n).segment() {
            Segment::Window => &mut self.window,
            Segment::Probation => &mut self.probation,
            _ => &mut self.protected,
        }
    }
}
