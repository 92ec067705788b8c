//! An item that a pinned thread has found, in any shard.

#![allow(unsafe_code)]

use super::{Item, Items};
use crate::base::item_ref::ItemRef;

/// Where an item is that was found while its finder is pinned for `'g`. The item is looked at when it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Lent<'g> {
    items: &'g Items,
    at: ItemRef,
}

impl<'g> Lent<'g> {
    /// # Safety
    /// `at` was read from a slot of a table over `items` by a thread that is pinned for `'g`.
    #[inline]
    pub(crate) unsafe fn new(items: &'g Items, at: ItemRef) -> Lent<'g> {
        Lent { items, at }
    }

    /// Where it is.
    #[inline]
    pub fn at(self) -> ItemRef {
        self.at
    }

    /// The item.
    #[inline]
    pub fn item(self) -> Item<'g> {
        // SAFETY: as `new` says: a published item does not change, and grace keeps its memory while the thread is pinned.
        unsafe { self.items.get(self.at) }
    }
}
