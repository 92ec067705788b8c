//! What goes where no policy decides: of a sample behind a hand, the dead items, then those used longest ago.
//!
//! As `cache::shard`'s owner under pressure, with two differences. An item's age is the number of the request that used it last; a
//! server knows it to the second. And as many items go as the new one needs, from all sizes; a server takes them from one size
//! class, several at once.

use super::slots::Slots;
use cache::limits::PRESSURE_SAMPLE;
use cache::policy::PolicyStats;

/// What is used, and where the hand stands.
pub(super) struct SampledAge {
    budget_units: u64,
    used_units: u64,
    hand: usize,
    evicted: u64,
    expired: u64,
}

impl SampledAge {
    pub(super) fn new(budget_units: u64) -> SampledAge {
        SampledAge { budget_units, used_units: 0, hand: 0, evicted: 0, expired: 0 }
    }

    /// The slot that must be emptied before so many units fit; `None` = they fit, or never will.
    pub(super) fn victim(&mut self, slots: &Slots, units: u32, now_ms: u64) -> Option<u32> {
        let fits = self.used_units + units as u64 <= self.budget_units;
        if fits || units as u64 > self.budget_units {
            return None;
        }
        let mut oldest: Option<(u64, usize)> = None;
        let (mut seen, mut passed) = (0, 0);
        while seen < PRESSURE_SAMPLE && passed < slots.all.len() {
            let at = self.hand % slots.all.len();
            let slot = &slots.all[at];
            (self.hand, passed) = (at + 1, passed + 1);
            if slot.last_used > 0 {
                seen += 1;
                let age = (if slot.is_dead(now_ms) { 0 } else { slot.last_used }, at);
                oldest = Some(oldest.map_or(age, |oldest| oldest.min(age)));
            }
        }
        let (last_used, at) = oldest?;
        *(if last_used == 0 { &mut self.expired } else { &mut self.evicted }) += 1;
        Some(at as u32)
    }

    /// Takes units for an item; `false` = they do not fit.
    pub(super) fn take(&mut self, units: u32) -> bool {
        let fits = self.used_units + units as u64 <= self.budget_units;
        self.used_units += if fits { units as u64 } else { 0 };
        fits
    }

    /// Gives the units of an item back.
    pub(super) fn freed(&mut self, units: u32) {
        self.used_units -= units as u64;
    }

    /// Adds what it did to what the policy reports.
    pub(super) fn report(&self, stats: &mut PolicyStats) {
        stats.evicted += self.evicted;
        stats.expired += self.expired;
    }
}
