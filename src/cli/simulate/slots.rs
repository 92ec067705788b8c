//! Where the items of a replay lie: slots, which name them to the policy, and what is known of each.

use cache::base::item_ref::ItemRef;
use cache::memory::item::Access;
use cache::ring::record::{Deadline, Event, PolicyCommand};
use std::collections::HashMap;

/// Length of a page, in units: small, because every size has pages of its own.
pub(super) const PAGE_UNITS: u64 = 1 << 12;

/// Places for items: pages of equal slots, never given back.
#[derive(Default)]
pub(super) struct Slots {
    pub(super) all: Vec<Slot>,
    free: HashMap<u32, Vec<u32>, foldhash::fast::FixedState>,
    /// First slot of a page.
    pages: Vec<u32>,
}

/// A slot, and the item in it.
pub(super) struct Slot {
    units_at: u64,
    units: u32,
    /// Units of the item, with what does not fit a slot.
    pub(super) whole_units: u32,
    pub(super) key: u64,
    /// When the item dies, in ms; 0 = never.
    pub(super) deadline_ms: u64,
    pub(super) access: Access,
    /// Number of the request that stored or read it last; 0 = the slot is free.
    pub(super) last_used: u64,
}

impl Slot {
    /// Whether the item's time is over.
    pub(super) fn is_dead(&self, now_ms: u64) -> bool {
        self.deadline_ms != 0 && self.deadline_ms <= now_ms
    }

    pub(super) fn second_chance(&self, PolicyCommand { item, verdict, .. }: PolicyCommand) -> Event {
        Event::SecondChance { item, deadline: Deadline::new(self.deadline_ms, self.units), verdict }
    }
}

impl Slots {
    /// A free slot of so many units.
    pub(super) fn take(&mut self, units: u32) -> u32 {
        if self.free.get(&units).is_none_or(Vec::is_empty) {
            self.add_page(units);
        }
        self.free.get_mut(&units).and_then(Vec::pop).expect("a page has slots")
    }

    fn add_page(&mut self, units: u32) {
        // Page 0 stays empty: reference 0 is no item.
        if self.pages.is_empty() {
            self.pages.push(0);
        }
        let first = self.pages.len() as u64 * PAGE_UNITS;
        let slots = (PAGE_UNITS / units as u64).max(1);
        let pages = (units as u64 * slots).div_ceil(PAGE_UNITS) as usize;
        let base = self.all.len() as u32;
        self.pages.extend(std::iter::repeat_n(base, pages));
        let free = self.free.entry(units).or_default();
        for i in 0..slots {
            free.push(base + i as u32);
            let units_at = first + i * units as u64;
            let access = Access::new(0);
            self.all.push(Slot {
                units_at,
                units,
                whole_units: 0,
                key: 0,
                deadline_ms: 0,
                access,
                last_used: 0,
            });
        }
    }

    /// Frees a slot; returns the name that it had.
    pub(super) fn free(&mut self, slot: u32) -> ItemRef {
        let at = &mut self.all[slot as usize];
        at.last_used = 0;
        let units = at.units;
        self.free.entry(units).or_default().push(slot);
        self.item(slot)
    }

    /// What the policy calls the item in a slot.
    pub(super) fn item(&self, slot: u32) -> ItemRef {
        ItemRef::new(self.all[slot as usize].units_at).expect("the slots of the longest trace have names")
    }

    /// The slot of such a name.
    pub(super) fn slot_of(&self, item: ItemRef) -> u32 {
        let base = self.pages[(item.units() / PAGE_UNITS) as usize];
        let slot = &self.all[base as usize];
        base + ((item.units() - slot.units_at) / slot.units as u64) as u32
    }
}
