//! Deleting a key, or leaving something in its place.

use crate::base::clock::Now;
use crate::base::item_ref::ItemRef;
use crate::memory::grace::Pin;
use crate::memory::{Parts, Size, Value};
use crate::shard::error::{Blocked, WriteError};
use crate::shard::owner::Owner;

/// What to delete, and under which conditions.
#[derive(Clone, Copy, Debug)]
pub struct Delete<'a> {
    /// 1 to 250 bytes.
    pub key: &'a [u8],
    /// Delete only the item with this cas number.
    pub compare_cas: Option<u64>,
    /// What is left in its place.
    pub leaves: Option<Remains>,
}

/// What a deletion leaves in the place of an item: a copy of it.
#[derive(Clone, Copy, Debug)]
pub struct Remains {
    /// Marked stale and with a new cas number: the next reader wins the right to refresh it.
    pub is_stale: bool,
    /// Without its value, and with `flags`.
    pub is_emptied: bool,
    /// Flags of an emptied item.
    pub flags: u32,
    /// Its cas number, instead of the one that follows from the rest.
    pub new_cas: Option<u64>,
    /// When it expires, in ms since the server epoch; `None`: as before, but an emptied item never.
    pub due_ms: Option<u64>,
}

/// What a deletion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The item is gone, or its remains are there.
    Done,
    /// The item has another cas number.
    Exists,
    /// There is no such item.
    NotFound,
}

impl<'a> Delete<'a> {
    /// Without conditions; nothing is left.
    pub fn new(key: &'a [u8]) -> Delete<'a> {
        Delete { key, compare_cas: None, leaves: None }
    }
}

impl Owner {
    /// Deletes a key if its condition allows it.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub fn delete(&mut self, pin: &mut Pin, delete: &Delete<'_>, now: Now) -> Result<Deleted, WriteError> {
        let (key, hash) = (delete.key, self.contents().index.hash(delete.key));
        self.room_to_retire(pin)?;
        let found = self.contents().find(hash, key, now).map(|(at, item)| (at, item.cas()));
        let deleted = match (found, delete.compare_cas) {
            (None, _) => Deleted::NotFound,
            (Some((_, cas)), Some(wanted)) if cas != wanted => Deleted::Exists,
            _ => Deleted::Done,
        };
        match (found, delete.leaves) {
            (Some((at, _)), Some(remains)) if deleted == Deleted::Done => {
                self.leave(pin, (hash, key), at, &remains, now)?;
            }
            // An item that is dead already goes as well.
            _ if deleted != Deleted::Exists => _ = self.contents_mut().remove(hash, key),
            _ => {}
        }
        match (deleted, delete.leaves) {
            (Deleted::Done, None) => self.counters().delete_hits.add(1),
            // What stays was not deleted: memcached counts nothing.
            (Deleted::Done, Some(_)) => {}
            _ => self.counters().delete_misses.add(1),
        }
        Ok(deleted)
    }

    /// Removes what a store would have replaced that has failed, so that nobody is told an old value. It is no command, and counts as none.
    /// Where no more items can be retired now, the time of the item is over at once, and its memory comes back later.
    pub fn remove_replaced(&mut self, pin: &mut Pin, key: &[u8], now: Now) {
        if self.room_to_retire(pin).is_ok() {
            let hash = self.contents().index.hash(key);
            _ = self.contents_mut().remove(hash, key);
            return;
        }
        const LONG_AGO_MS: u64 = 1;
        let Some(found) = self.find(key, now) else { return };
        found.item.set_state(found.item.state().with_deadline_ms(LONG_AGO_MS));
        let at = found.at;
        let deadline = self.contents().memory.deadline(at, LONG_AGO_MS);
        self.contents_mut().outcomes.due(at, deadline, false);
    }

    /// Puts the remains of an item in its place.
    fn leave(
        &mut self,
        pin: &mut Pin,
        (hash, key): (u64, &[u8]),
        at: ItemRef,
        remains: &Remains,
        now: Now,
    ) -> Result<(), WriteError> {
        let value_bytes = if remains.is_emptied { 0 } else { self.contents().memory.item(at).value_bytes() };
        // Whatever the flags will be, there is room for them.
        let slot = self.allocate(pin, Size::of(key.len(), value_bytes, u32::MAX), true, now)?;
        let Some((_, item)) = self.contents().find(hash, key, now) else {
            // Room has cost this very item: it is gone, as with a plain delete.
            self.contents_mut().memory.abandon(slot);
            return Ok(());
        };
        let (state, fetched) = (item.state(), item.fetched());
        let kept_due_ms = if remains.is_emptied { 0 } else { state.deadline_ms() };
        let parts = Parts {
            key,
            value: [if remains.is_emptied { Value::EMPTY } else { item.value() }, Value::EMPTY],
            flags: if remains.is_emptied { remains.flags } else { item.flags() },
            cas: match remains.new_cas {
                None if !remains.is_stale => item.cas(),
                asked => self.contents().cas_or(asked),
            },
            deadline_ms: remains.due_ms.unwrap_or(kept_due_ms),
            generation: self.shard().number(),
            now_s: now.s(),
        };
        let written = self.contents().write(slot, &parts);
        let at = self.contents_mut().publish(hash, key, written);
        let copy = self.contents().memory.item(at);
        copy.set_state(copy.state().with_stale(remains.is_stale));
        if fetched && !remains.is_emptied {
            copy.note_access(now.s(), true);
        }
        Ok(())
    }

    /// Room to retire one more item.
    pub(super) fn room_to_retire(&mut self, pin: &mut Pin) -> Result<(), WriteError> {
        let memory = &mut self.contents_mut().memory;
        if !memory.can_retire() {
            memory.reclaim_now(pin);
        }
        if memory.can_retire() { Ok(()) } else { Err(Blocked::OnGrace.into()) }
    }
}
