//! Storing a value: the verb behind set, add, replace, append, prepend and compare-and-set.
//!
//! Room for the new item is allocated before any item is looked at, because pressure may evict what was looked at.
//! A store that is blocked leaves no trace: the caller repeats it in a later tick.

use crate::base::clock::Now;
use crate::base::item_ref::ItemRef;
use crate::memory::grace::Pin;
use crate::memory::{Item, Parts, Size, Value};
use crate::shard::error::WriteError;
use crate::shard::owner::{Found, Owner};
use crate::table::Place;

/// When a store stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Always.
    Set,
    /// Only if the key is absent.
    Add,
    /// Only if it is present.
    Replace,
    /// Only if present: behind its value.
    Append,
    /// Only if present: before its value.
    Prepend,
}

/// A value to store, and under which conditions.
#[derive(Clone, Copy, Debug)]
pub struct Store<'a> {
    /// When to store.
    pub mode: Mode,
    /// 1 to 250 bytes.
    pub key: &'a [u8],
    /// Bytes of the value, or of what is joined to it.
    pub value: &'a [u8],
    /// Kept with the value for the client.
    pub flags: u32,
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

/// What a store did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The key has the new value.
    Stored,
    /// The mode forbade it.
    NotStored,
    /// The item has another cas number.
    Exists,
    /// There is no such item.
    NotFound,
}

/// What a store did, and the item that it stored.
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    /// What it did.
    pub outcome: Outcome,
    /// The new item of [`Outcome::Stored`].
    pub item: Option<Item<'a>>,
}

impl Mode {
    /// Whether the value is put to the old one.
    pub fn joins(self) -> bool {
        matches!(self, Mode::Append | Mode::Prepend)
    }
}

impl<'a> Store<'a> {
    /// A store without flags, expiry and conditions beyond its mode.
    pub fn new(mode: Mode, key: &'a [u8], value: &'a [u8]) -> Store<'a> {
        Store {
            mode,
            key,
            value,
            flags: 0,
            due_ms: 0,
            compare_cas: None,
            new_cas: None,
            takes_older: false,
            or_create_due_ms: None,
        }
    }

    /// What the store comes to, and whether the new item is stale.
    pub(super) fn judge(&self, old: Option<&Item<'_>>) -> (Outcome, bool) {
        let Some(old) = old else {
            return match (self.mode, self.compare_cas) {
                (Mode::Set | Mode::Replace, Some(_)) => (Outcome::NotFound, false),
                (Mode::Set | Mode::Add, _) => (Outcome::Stored, false),
                _ => (Outcome::NotStored, false),
            };
        };
        match (self.mode, self.compare_cas) {
            (Mode::Add, _) => (Outcome::NotStored, false),
            (_, None) => (Outcome::Stored, false),
            // memcached takes 0 for no number; where a number must match, none does.
            (Mode::Append | Mode::Prepend, Some(0)) => (Outcome::Stored, false),
            (_, Some(cas)) if cas == old.cas() && cas != 0 => (Outcome::Stored, false),
            (Mode::Set | Mode::Replace, Some(cas)) if self.takes_older && cas != 0 && cas < old.cas() => {
                (Outcome::Stored, true)
            }
            _ => (Outcome::Exists, false),
        }
    }

    /// Value, flags and deadline of the new item, if `value` is what is to be stored.
    pub(super) fn contents<'v>(
        &self,
        value: Value<'v>,
        old: Option<&Item<'v>>,
        is_stale: bool,
    ) -> ([Value<'v>; 2], u32, u64) {
        match old {
            Some(old) if self.mode.joins() => {
                let values =
                    if self.mode == Mode::Append { [old.value(), value] } else { [value, old.value()] };
                (values, old.flags(), old.state().deadline_ms())
            }
            // A refresh that came late keeps the time that the item had.
            Some(old) if is_stale => ([value, Value::EMPTY], self.flags, old.state().deadline_ms()),
            _ => ([value, Value::EMPTY], self.flags, self.due_ms),
        }
    }
}

impl Owner {
    /// Stores a value if its mode and its conditions allow it.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub fn store(&mut self, pin: &mut Pin, store: &Store<'_>, now: Now) -> Result<Stored<'_>, WriteError> {
        let (hash, value) = (self.contents().index.hash(store.key), Value::from(store.value));
        let (mut outcome, mut at) = self.try_store(pin, hash, store, value, now)?;
        if outcome == Outcome::NotStored
            && store.mode.joins()
            && let Some(due_ms) = store.or_create_due_ms
        {
            let store = Store { mode: Mode::Add, due_ms, ..*store };
            (outcome, at) = self.try_store(pin, hash, &store, value, now)?;
        }
        // Behind all that may have to wait: a store that is repeated counts once.
        let is_cas = store.compare_cas.is_some() && matches!(store.mode, Mode::Set | Mode::Replace);
        self.note_store(is_cas, outcome);
        Ok(Stored { outcome, item: at.map(|at| self.contents().memory.item(at)) })
    }

    /// Stores `value`, which may be another one than the store's own.
    pub(super) fn try_store(
        &mut self,
        pin: &mut Pin,
        hash: u64,
        store: &Store<'_>,
        value: Value<'_>,
        now: Now,
    ) -> Result<(Outcome, Option<ItemRef>), WriteError> {
        self.place_in_index(pin, hash, store.key, now)?;
        let place = self.contents().place(hash, store.key);
        let (size, is_overwrite) = self.size_to_store(&place, store, value.len(), now)?;
        let slot = self.allocate(pin, size, is_overwrite, now)?;
        // Room may have cost this very item.
        let place = self.contents().renew(place, hash, store.key);
        let old = self.contents().live(&place, now);
        let (outcome, is_stale) = store.judge(old.as_ref());
        if outcome != Outcome::Stored {
            self.contents_mut().memory.abandon(slot);
            return Ok((outcome, None));
        }
        let (value, flags, deadline_ms) = store.contents(value, old.as_ref(), is_stale);
        let parts = Parts {
            key: store.key,
            value,
            flags,
            cas: self.contents().cas_or(store.new_cas),
            deadline_ms,
            generation: self.shard().number(),
            now_s: now.s(),
        };
        if parts.size() != size {
            // Pressure has evicted the item to join; then there is nothing to join.
            self.contents_mut().memory.abandon(slot);
            return Ok((Outcome::NotStored, None));
        }
        let win_sent = is_stale && old.is_some_and(|old| old.state().win_sent());
        let written = self.contents().write(slot, &parts);
        let at = self.contents_mut().publish_at(place, hash, store.key, written);
        if is_stale {
            self.mark_stale(at, win_sent);
        }
        Ok((Outcome::Stored, Some(at)))
    }

    /// An item was stored with an older number than the one before it, whose right to refresh was given away or not.
    pub(super) fn mark_stale(&self, at: ItemRef, win_sent: bool) {
        let item = self.contents().memory.item(at);
        item.set_state(item.state().with_stale(true).with_win_sent(win_sent));
    }

    /// The size of the item that a store will make, as things are now, and whether it takes the place of another one.
    fn size_to_store(
        &self,
        place: &Place,
        store: &Store<'_>,
        value_bytes: usize,
        now: Now,
    ) -> Result<(Size, bool), WriteError> {
        let key_bytes = store.key.len();
        match self.contents().live(place, now) {
            Some(old) if store.mode.joins() => {
                let joined_bytes = old.value_bytes() + value_bytes;
                if joined_bytes > self.value_bytes_max() {
                    return Err(WriteError::TooLarge);
                }
                Ok((Size::of(key_bytes, joined_bytes, old.flags()), true))
            }
            old => Ok((Size::of(key_bytes, value_bytes, store.flags), old.is_some())),
        }
    }

    pub(super) fn note_store(&self, is_cas: bool, outcome: Outcome) {
        self.counters().cmd_set.add(1);
        if !is_cas {
            return;
        }
        match outcome {
            Outcome::Stored => self.counters().cas_hits.add(1),
            Outcome::NotFound => self.counters().cas_misses.add(1),
            Outcome::Exists => self.counters().cas_badval.add(1),
            Outcome::NotStored => {}
        }
    }

    /// Stores a value under a key that has none: what a read or a count creates. It does not count as a store. An item that is
    /// due at once is shown here and never found again.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub fn create(
        &mut self,
        pin: &mut Pin,
        key: &[u8],
        value: &[u8],
        due_ms: u64,
        cas: Option<u64>,
        now: Now,
    ) -> Result<Found<'_>, WriteError> {
        let hash = self.contents().index.hash(key);
        self.place_in_index(pin, hash, key, now)?;
        let slot = self.allocate(pin, Size::of(key.len(), value.len(), 0), false, now)?;
        let parts = Parts {
            key,
            value: [value.into(), Value::EMPTY],
            flags: 0,
            cas: self.contents().cas_or(cas),
            deadline_ms: due_ms,
            generation: self.shard().number(),
            now_s: now.s(),
        };
        let written = self.contents().write(slot, &parts);
        let at = self.contents_mut().publish(hash, key, written);
        Ok(Found { at, hash, item: self.contents().memory.item(at) })
    }
}
