//! Which parameters fit? One key in R also runs through shadow caches, one per arm; the real cache takes the arm
//! that hits most.
//!
//! ```text
//! access ─ key sampled? ─▶ 12 shadows of budget / R ─▶ who hit, who did not ─▶ duels with the arm in use ─ epoch ─▶ leader
//!                            │ estimates                                                                 │ clear lead
//!                            ▼                                                                           ▼
//!                       the real sketch                                       window share, rule, protected share
//! ```
//!
//! - No fixed policy is safe: on recency-heavy traces a small window loses 33 points, on loops a large one loses all.
//! - R = items / [`SHADOW_ITEMS`], at least 1. An epoch is a tenth of the shadows' capacity in sampled accesses, at
//!   least `EPOCH_MIN`; duels decay by `DECAY` an epoch, a memory of about ten capacities.
//! - A duel counts only the accesses that one of the two hits and the other does not: its lead is the difference, and the
//!   square root of their number is the lead's standard deviation if the arms are equally good (McNemar's test, 1947).
//! - A lead is clear beyond `LEAD_DEVIATIONS` of those and 0.2 points of hit ratio. Six deviations, because accesses are
//!   not independent: a loop or a scan gives an arm hundreds of hits in a row. With two, small caches changed their arm
//!   dozens of times on a trace of 16,000 requests and lost 4 points by it (figures: docs/policy.md).
//! - When an arm is chosen all shadows start from what the real cache holds, as the shadow of the arm in use knows it, and
//!   all duels start anew. Otherwise an arm that froze good content long ago would keep promising hits that the real cache,
//!   which does not hold that content, can not get.
//! - Cost: 12 O(1) steps for a sampled access; 28 bytes an entry, 12 × 2048 entries at most for items of one size.
//! - Source: shadow (ghost) caches as in ARC and Waldspurger et al., "Cache modeling and optimization using miniature
//!   simulations" (ATC 2017).

use super::Goal;
use super::contest::{Judge, Rule};
use super::shadow::{Sample, Shadow};

/// Items of the largest shadow; a real cache of fewer has shadows of its own size.
pub const SHADOW_ITEMS: usize = 2048;
/// Sampled accesses of an epoch at least.
const EPOCH_MIN: u32 = 64;
const EPOCHS_PER_CAPACITY: u32 = 10;
const DECAY: f64 = 0.99;
const LEAD_RATIO: f64 = 0.002;
/// Standard deviations of a lead that is clear.
const LEAD_DEVIATIONS: f64 = 6.0;

/// A set of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arm {
    /// Share of the budget that the window may take, in 1/1000.
    pub window_permille: u64,
    /// Share of main that protected items may take, in 1/1000.
    pub protected_permille: u64,
    /// Who wins a contest.
    pub rule: Rule,
}

/// The arms; the first is the one to start with.
pub const ARMS: [Arm; 12] = [
    arm(10, 800, Rule::More),
    arm(100, 800, Rule::More),
    arm(300, 800, Rule::More),
    arm(700, 800, Rule::More),
    arm(1000, 800, Rule::More),
    arm(10, 800, Rule::MuchMore),
    arm(10, 800, Rule::AsMuch),
    arm(100, 800, Rule::AsMuch),
    arm(10, 800, Rule::Twice),
    arm(100, 800, Rule::Twice),
    arm(300, 800, Rule::Twice),
    arm(10, 100, Rule::More),
];

const fn arm(window_permille: u64, protected_permille: u64, rule: Rule) -> Arm {
    Arm { window_permille, protected_permille, rule }
}

/// Chooses the arm.
#[derive(Debug)]
pub struct Adapt {
    shadows: Vec<Shadow>,
    one_in: u32,
    epoch_samples: u32,
    samples: u32,
    duels: [Duel; ARMS.len()],
    /// Gains of all samples since the arm in use was chosen, decaying as the duels do.
    weight: f64,
    chosen: usize,
    changes: u64,
}

/// An arm against the arm in use, since that one was chosen; decaying.
#[derive(Clone, Copy, Debug, Default)]
struct Duel {
    /// Gains of what it alone hit, less those of what the other alone hit.
    lead: f64,
    /// Sum of the squares of both: the variance of `lead` if the two are equally good.
    variance: f64,
}

impl Duel {
    /// The lead that is left when chance has had its share.
    fn clear_lead(&self) -> f64 {
        self.lead - LEAD_DEVIATIONS * self.variance.sqrt()
    }
}

impl Adapt {
    /// Empty shadows of a cache of `budget_units` that holds about `items` items.
    pub fn new(budget_units: u64, items: usize) -> Adapt {
        let one_in = items.div_ceil(SHADOW_ITEMS).max(1);
        let shadow_items = (items / one_in) as u32;
        let shadow = |arm: &Arm| Shadow::new((budget_units / one_in as u64).max(1), arm);
        Adapt {
            shadows: ARMS.iter().map(shadow).collect(),
            one_in: one_in as u32,
            epoch_samples: (shadow_items / EPOCHS_PER_CAPACITY).max(EPOCH_MIN),
            samples: 0,
            duels: [Duel::default(); ARMS.len()],
            weight: 0.0,
            chosen: 0,
            changes: 0,
        }
    }

    /// Starts again with shadows of another size; the arm in use stays.
    pub fn restart(&mut self, budget_units: u64, items: usize) {
        *self = Adapt { chosen: self.chosen, changes: self.changes, ..Adapt::new(budget_units, items) };
    }

    /// The arm in use.
    #[inline]
    pub fn arm(&self) -> &'static Arm {
        &ARMS[self.chosen]
    }

    /// Its index in [`ARMS`].
    pub fn chosen(&self) -> usize {
        self.chosen
    }

    /// Times that another arm was chosen.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// One key in so many is sampled.
    pub fn one_in(&self) -> u32 {
        self.one_in
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.shadows.iter().map(Shadow::bytes).sum()
    }

    /// Whether a key runs through the shadows.
    #[inline]
    pub fn samples(&self, hash: u32) -> bool {
        (hash.wrapping_mul(0x85eb_ca6b) as u64 * self.one_in as u64) >> 32 == 0
    }

    /// One sampled access; whether another arm is chosen now.
    pub fn access(&mut self, sample: &Sample, judge: &Judge) -> bool {
        let mut hits = [false; ARMS.len()];
        for ((shadow, arm), hit) in self.shadows.iter_mut().zip(&ARMS).zip(&mut hits) {
            *hit = shadow.access(sample, &Judge { rule: arm.rule, ..*judge });
        }
        // Hits are counted in bytes if they are the goal, and so are the samples that they are a share of.
        let size = if judge.goal == Goal::Bytes { sample.units } else { 1 };
        let gain = size as f64 * sample.weight as f64;
        let of_used = hits[self.chosen];
        for (duel, _) in self.duels.iter_mut().zip(hits).filter(|&(_, hit)| hit != of_used) {
            duel.lead += if of_used { -gain } else { gain };
            duel.variance += gain * gain;
        }
        self.samples += 1;
        self.weight += gain;
        self.samples >= self.epoch_samples && self.end_epoch()
    }

    fn end_epoch(&mut self) -> bool {
        self.samples = 0;
        let lead = |arm: usize| self.duels[arm].clear_lead();
        let leader =
            (0..ARMS.len()).fold(self.chosen, |best, arm| if lead(arm) > lead(best) { arm } else { best });
        let is_clear = leader != self.chosen && lead(leader) > LEAD_RATIO * self.weight;
        if is_clear {
            self.take_up(leader);
        }
        for duel in &mut self.duels {
            duel.lead *= DECAY;
            duel.variance *= DECAY;
        }
        self.weight *= DECAY;
        is_clear
    }

    fn take_up(&mut self, leader: usize) {
        let real = self.shadows[self.chosen].clone();
        for (shadow, arm) in self.shadows.iter_mut().zip(&ARMS) {
            shadow.clone_from(&real);
            shadow.set_arm(arm);
        }
        self.duels = [Duel::default(); ARMS.len()];
        self.weight = 0.0;
        self.chosen = leader;
        self.changes += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::sketch::Sketch;

    /// The arm in use after `requests` keys went through shadows of a cache of `items`.
    fn arm_after(items: usize, requests: impl Iterator<Item = u32>) -> Arm {
        let mut sketch = Sketch::new(items, 1);
        let mut adapt = Adapt::new(items as u64, items);
        for key in requests {
            let hash = key.wrapping_mul(0x9e37_79b9);
            sketch.increment(hash);
            if adapt.samples(hash) {
                let rule = adapt.arm().rule;
                let judge = Judge { sketch: &sketch, rule, goal: Goal::Objects, now: 0, turnover_ms: 0 };
                adapt.access(&Sample { hash, units: 1, deadline: 0, now: 0, weight: 1 }, &judge);
            }
        }
        *adapt.arm()
    }

    #[test]
    fn a_loop_takes_an_arm_that_resists() {
        let arm = arm_after(300, (0..100_000).map(|i| i % 900));
        assert!(arm.window_permille <= 10, "{arm:?}");
    }

    #[test]
    fn a_moving_front_takes_a_large_window() {
        // Each key is asked for five times shortly after it appears, and never again.
        let arm = arm_after(300, (0..200_000u32).map(|i| (i / 5).saturating_sub((i % 5) * 40)));
        assert!(arm.window_permille >= 300, "{arm:?}");
    }

    #[test]
    fn large_caches_sample() {
        let adapt = Adapt::new(1 << 20, 1 << 20);
        assert_eq!(adapt.one_in(), 512);
        let sampled = (0..1u32 << 20).filter(|key| adapt.samples(key.wrapping_mul(0x9e37_79b9))).count();
        assert!((1800..2300).contains(&sampled), "{sampled}");
    }
}
