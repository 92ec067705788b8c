//! Storing a value that comes in pieces: it is written where it will stay, by whichever thread receives it.
//!
//! ```text
//! owner    reserve ─▶ Unfinished ═══▶                              ═══▶ publish ─▶ as a store, now      slots of its own
//!                                     any thread: room, advance, …      abandon ─▶ the slots are free
//! ```
//! Between the two the owner goes on with other work. Nobody finds the item; nobody evicts, moves or scrubs it. What the store
//! comes to (`add`, `replace`, a cas number, a flush meanwhile) is decided when it is published, by what is there then: as in
//! memcached, which links an item when its last byte has come.
//!
//! How much memory such values may have is bounded (`share`): beyond it one waits ([`Blocked::OnUnfinished`]).

use crate::base::clock::Now;
use crate::base::item_ref::ItemRef;
use crate::limits::KEY_BYTES_MAX;
use crate::memory::grace::Pin;
use crate::memory::{Head, Size, Unfinished};
use crate::shard::error::{Blocked, WriteError};
use crate::shard::owner::Owner;
use crate::shard::pressure::is_too_large;
use crate::shard::store::{Mode, Outcome, Store, Stored};
use arrayvec::ArrayVec;

/// What must be known of a value before it comes.
#[derive(Clone, Copy, Debug)]
pub struct Reserve<'a> {
    /// 1 to 250 bytes.
    pub key: &'a [u8],
    /// Length of the value, or of what is joined to one.
    pub value_bytes: usize,
    /// Kept with the value for the client.
    pub flags: u32,
}

/// Under which conditions a value is stored that has come: as in [`Store`].
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// When to store.
    pub mode: Mode,
    /// When the item expires, in ms since the server epoch; 0 = never. A value that is joined to another keeps that one's time.
    pub due_ms: u64,
    /// Store only over the item with this cas number.
    pub compare_cas: Option<u64>,
    /// The cas number of the new item, instead of the next one.
    pub new_cas: Option<u64>,
    /// A lower cas number than the item's stores too, and marks the item stale.
    pub takes_older: bool,
    /// An append or prepend that finds no item stores the value as a new one, due at this time.
    pub or_create_due_ms: Option<u64>,
}

/// A value that could not be published, and is not lost by that: publish it again in a later tick, or abandon it.
#[derive(Debug)]
pub struct Unpublished {
    /// Why.
    pub error: WriteError,
    /// The value.
    pub unfinished: Unfinished,
}

/// What becomes of a value that has come.
enum Ending {
    /// It is the new item. One that is stale is given the mark of the old one, that the right to refresh it was given away.
    Item { head: Head, stale_win_sent: Option<bool> },
    /// It was copied to where it belongs, or refused: its slots are free.
    Free(Outcome, Option<ItemRef>),
}

impl Terms {
    /// Without expiry and conditions beyond the mode.
    pub fn new(mode: Mode) -> Terms {
        Terms {
            mode,
            due_ms: 0,
            compare_cas: None,
            new_cas: None,
            takes_older: false,
            or_create_due_ms: None,
        }
    }

    /// The store of a key under these terms.
    pub(super) fn store<'a>(&self, key: &'a [u8], flags: u32) -> Store<'a> {
        let Terms { mode, due_ms, compare_cas, new_cas, takes_older, or_create_due_ms } = *self;
        Store { mode, key, value: &[], flags, due_ms, compare_cas, new_cas, takes_older, or_create_due_ms }
    }
}

impl Owner {
    /// Takes the memory of an item whose value comes later. The item has the shape that a store gives it. Whether it will be
    /// stored is decided when it is published.
    ///
    /// # Errors
    /// [`WriteError`]: [`Blocked::OnUnfinished`] where others must be published or abandoned first, and what a store may meet.
    pub fn reserve(
        &mut self,
        pin: &mut Pin,
        reserve: &Reserve<'_>,
        now: Now,
    ) -> Result<Unfinished, WriteError> {
        let Reserve { key, value_bytes, flags } = *reserve;
        let size = Size::of(key.len(), value_bytes, flags);
        if value_bytes > self.value_bytes_max() || is_too_large(&self.contents().memory, size) {
            return Err(WriteError::TooLarge);
        }
        let hash = self.contents().index.hash(key);
        let bytes = self.contents().memory.slab().slot_bytes_for(size);
        if !self.lets_in_unfinished((hash, bytes), now) {
            return Err(self.wait_for_unfinished());
        }
        let is_overwrite = self.contents().find(hash, key, now).is_some();
        let slot = self.allocate(pin, size, is_overwrite, now)?;
        let memory = &mut self.contents_mut().memory;
        let unfinished = memory.reserve(slot, key, value_bytes, flags);
        if !self.keeps_unfinished(hash, now) {
            self.contents_mut().memory.abandon_unfinished(unfinished);
            return Err(self.wait_for_unfinished());
        }
        Ok(unfinished)
    }

    /// Stores a value that has come, if its mode and its conditions allow it now.
    ///
    /// # Errors
    /// [`Unpublished`], with the value; nothing has changed then.
    ///
    /// # Panics
    /// When bytes of the value are missing, or another owner has reserved it.
    pub fn publish(
        &mut self,
        pin: &mut Pin,
        unfinished: Unfinished,
        terms: &Terms,
        now: Now,
    ) -> Result<Stored<'_>, Unpublished> {
        assert!(unfinished.missing() == 0, "a value is published when all of it is there");
        let key: ArrayVec<u8, KEY_BYTES_MAX> = unfinished.key().iter().copied().collect();
        let store = terms.store(&key, unfinished.flags());
        let hash = self.contents().index.hash(&key);
        let (outcome, at) = match self.ending(pin, hash, &unfinished, &store, now) {
            Err(error) => return Err(Unpublished { error, unfinished }),
            Ok(Ending::Item { head, stale_win_sent }) => {
                let written = self.contents_mut().finish(unfinished, head);
                let at = self.contents_mut().publish(hash, &key, written);
                stale_win_sent.inspect(|&win_sent| self.mark_stale(at, win_sent));
                (Outcome::Stored, Some(at))
            }
            Ok(Ending::Free(outcome, at)) => {
                self.contents_mut().memory.abandon_unfinished(unfinished);
                (outcome, at)
            }
        };
        // Behind all that may have to wait: a store that is repeated counts once.
        let is_cas = store.compare_cas.is_some() && matches!(store.mode, Mode::Set | Mode::Replace);
        self.note_store(is_cas, outcome);
        Ok(Stored { outcome, item: at.map(|at| self.contents().memory.item(at)) })
    }

    /// Gives up a value, whether it has come or not: its memory is free at once.
    ///
    /// # Panics
    /// When another owner has reserved it.
    pub fn abandon(&mut self, unfinished: Unfinished) {
        self.contents_mut().memory.abandon_unfinished(unfinished);
        self.counters().unfinished_abandoned.add(1);
    }

    /// What becomes of a value that has come, by what is there now.
    fn ending(
        &mut self,
        pin: &mut Pin,
        hash: u64,
        unfinished: &Unfinished,
        store: &Store<'_>,
        now: Now,
    ) -> Result<Ending, WriteError> {
        if !store.mode.joins() {
            return self.link(pin, hash, store, now);
        }
        // The two together are another item.
        let (outcome, at) = self.try_store(pin, hash, store, unfinished.value(), now)?;
        match store.or_create_due_ms {
            Some(due_ms) if outcome == Outcome::NotStored => {
                self.link(pin, hash, &Store { mode: Mode::Add, due_ms, ..*store }, now)
            }
            _ => Ok(Ending::Free(outcome, at)),
        }
    }

    /// What becomes of a value that needs no other beside it.
    fn link(&mut self, pin: &mut Pin, hash: u64, store: &Store<'_>, now: Now) -> Result<Ending, WriteError> {
        self.place_in_index(pin, hash, store.key, now)?;
        self.room_to_retire(pin)?;
        let old = self.contents().find(hash, store.key, now).map(|(_, item)| item);
        let (outcome, is_stale) = store.judge(old.as_ref());
        if outcome != Outcome::Stored {
            return Ok(Ending::Free(outcome, None));
        }
        // A refresh that came late keeps the time that the item had.
        let old = old.filter(|_| is_stale).map(|old| old.state());
        let head = Head {
            cas: self.contents().cas_or(store.new_cas),
            deadline_ms: old.map_or(store.due_ms, |old| old.deadline_ms()),
            generation: self.shard().number(),
            now_s: now.s(),
        };
        Ok(Ending::Item { head, stale_win_sent: old.map(|old| old.win_sent()) })
    }

    /// Counts a value that waits for others.
    fn wait_for_unfinished(&self) -> WriteError {
        self.counters().unfinished_waits.add(1);
        Blocked::OnUnfinished.into()
    }
}
