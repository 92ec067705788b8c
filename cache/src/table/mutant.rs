//! A mistake on purpose, for `scripts/models`: what [`super::view`] does tail first, done head first.
//!
//! Between two stores a key that moves is nowhere; the models must find that. Built under a cfg of its own only.

use crate::base::item_ref::ItemRef;
use crate::table::slot::Slot;
use crate::table::view::{SlotIndex, View};

impl View<'_> {
    pub(super) fn move_head_first(
        self,
        path: &[SlotIndex],
        free: SlotIndex,
        new: Slot,
        victim: Option<ItemRef>,
    ) -> Option<ItemRef> {
        let mut moving = new;
        for &place in path {
            let next = self.load(place);
            self.store(place, moving);
            moving = next;
        }
        self.store(free, moving);
        victim
    }
}
