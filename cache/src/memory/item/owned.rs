//! A slot that one owner has to itself, to build an item in.

#![allow(unsafe_code)]

use crate::base::item_ref::ItemRef;

/// A slot that is allocated and not published: nobody else has its reference. It ends in [`OwnedSlot::publish`], or goes back
/// to the slab.
#[derive(Debug)]
#[must_use = "a slot that is neither published nor given back is lost"]
pub struct OwnedSlot {
    at: ItemRef,
    bytes: usize,
}

impl OwnedSlot {
    /// # Safety
    /// The slot of `bytes` bytes at `at` is in use by nobody, and this is its only `OwnedSlot`.
    #[inline]
    pub(crate) unsafe fn new(at: ItemRef, bytes: usize) -> OwnedSlot {
        OwnedSlot { at, bytes }
    }

    /// Where it is.
    #[inline]
    pub fn at(&self) -> ItemRef {
        self.at
    }

    /// Its size, in bytes.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives the right to write it up: others may get the reference now.
    #[inline]
    pub fn publish(self) -> ItemRef {
        self.at
    }
}
