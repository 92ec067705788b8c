//! A mistake on purpose, for `scripts/models`: what [`super::write`] does tail first, done head first.
//!
//! Between two stores a key that moves is nowhere; the models must find that. Built under a cfg of its own only.

use crate::table::slot::Slot;
use crate::table::write::{Place, View};

impl View<'_> {
    pub(super) fn move_head_first(self, path: &[Place], free: Place, new: Slot) {
        let mut moving = new;
        for &place in path {
            let next = self.load(place);
            self.store(place, moving);
            moving = next;
        }
        self.store(free, moving);
    }
}
