//! Commands that the owner executes, and their answers.
//!
//! Room for a new item is allocated before any item is looked at, because pressure may evict what was looked at.
//! A command that must wait for memory leaves no trace: it is executed again, from its beginning, in a later tick.

use crate::clock::Now;
use crate::item_ref::ItemRef;
use crate::memory::{Item, Parts, Size, Value};
use crate::protocol::request::{Command, Expiry, Get, Key, Mode, Store};
use crate::protocol::token::Digits;
use crate::protocol::{Error, Reply};
use crate::ring::Event;
use crate::shard::owner::{Owner, SettledRead, Wait, deadline, deadline_ms};
use crate::shard::read::put_value;
use crate::shard::value::{COUNTED_BYTES_MAX, count};

/// What a store did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The key has the new value.
    Stored,
    /// The mode forbade it.
    NotStored,
    /// The item has another cas number.
    Exists,
    /// There is no such item.
    NotFound,
}

/// What a counter gets beside another number.
#[derive(Clone, Copy, Default)]
pub(super) struct Change {
    pub(super) new_cas: Option<u64>,
    pub(super) deadline_ms: Option<u64>,
}

/// A store, classic or meta.
pub(super) struct StoreTerms<'a> {
    pub(super) mode: Mode,
    pub(super) key: &'a [u8],
    pub(super) flags: u32,
    pub(super) expiry: Expiry,
    pub(super) compare_cas: Option<u64>,
    pub(super) new_cas: Option<u64>,
    /// Meta `I`: an older cas number stores too, and marks the item stale.
    pub(super) invalidate: bool,
    pub(super) value: &'a [u8],
}

impl StoreTerms<'_> {
    /// Whether the value is put to the old one.
    fn joins(&self) -> bool {
        matches!(self.mode, Mode::Append | Mode::Prepend)
    }

    /// What the store comes to, and whether the new item is stale.
    fn judge(&self, old: Option<&Item<'_>>) -> (Outcome, bool) {
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
            (Mode::Set | Mode::Replace, Some(cas)) if self.invalidate && cas != 0 && cas < old.cas() => {
                (Outcome::Stored, true)
            }
            _ => (Outcome::Exists, false),
        }
    }
}

impl Owner {
    /// Executes one command and writes its answer. Classic reads go key by key through [`Owner::get`]. Of `flush_all` and
    /// of the deletion of a namespace this is only this shard's part, without an answer: the worker puts the parts together.
    ///
    /// # Errors
    /// [`Wait`]; nothing has changed then.
    pub fn execute(&mut self, command: &Command<'_>, now: Now, reply: &mut Reply<'_>) -> Result<(), Wait> {
        self.settled_read = None;
        match self.dispatch(command, now, reply) {
            Err(Wait::Never(_)) if command.wants_no_reply() => Err(Wait::Never(Error::Unsaid)),
            done => done,
        }
    }

    fn dispatch(&mut self, command: &Command<'_>, now: Now, reply: &mut Reply<'_>) -> Result<(), Wait> {
        if let Some(namespace) = self.shards().namespace_invalidated_by(command) {
            return self.invalidate_namespace(namespace);
        }
        match command {
            Command::Store(store) => self.store(store, now, reply),
            Command::Delete { key, quiet } => self.delete(*key, *quiet, now, reply),
            Command::Arithmetic { key, up, delta, quiet } => {
                self.arithmetic(*key, *up, *delta, *quiet, now, reply)
            }
            Command::Touch { key, expiry, quiet } => self.touch(*key, *expiry, *quiet, now, reply),
            Command::Meta(meta) => self.meta(meta, now, reply),
            Command::FlushAll { delay_s, .. } => self.flush(*delay_s, now),
            Command::Get(_)
            | Command::Version
            | Command::Verbosity { .. }
            | Command::MemoryLimit { .. }
            | Command::Stats { .. }
            | Command::Quit => Err(Wait::Never(Error::UnknownCommand)),
        }
    }

    /// Answers one key of `get` and its kin, without the end, and touches it if the command does.
    ///
    /// # Errors
    /// [`Wait::ForRoom`]; nothing has changed then.
    pub fn get(&mut self, get: &Get<'_>, key: Key<'_>, now: Now, reply: &mut Reply<'_>) -> Result<(), Wait> {
        let hash = self.shards().hash(key.bytes());
        self.settled_read = None;
        let found = self.find(hash, key.bytes(), now);
        if let Some((_, item)) = &found {
            put_value(reply, key.bytes(), item, get.with_cas.then(|| item.cas()));
            if reply.overflown() {
                return Err(Wait::ForRoom);
            }
        }
        self.settled_read = Some(SettledRead::of(hash, found.map(|(at, _)| at), true));
        if let Some(expiry) = get.touch {
            // Behind the read: a time in the past still answers with the value, once.
            self.counters.cmd_touch.add(1);
            self.touch_item(hash, key.bytes(), deadline_ms(expiry, now), false, now);
        }
        Ok(())
    }

    fn store(&mut self, store: &Store<'_>, now: Now, reply: &mut Reply<'_>) -> Result<(), Wait> {
        let terms = StoreTerms {
            mode: store.mode,
            key: store.key.bytes(),
            flags: store.flags,
            expiry: store.expiry,
            compare_cas: store.cas,
            new_cas: None,
            invalidate: false,
            value: store.value,
        };
        let text: &[u8] = match self.store_terms(&terms, now)?.0 {
            Outcome::Stored => b"STORED\r\n",
            Outcome::NotStored => b"NOT_STORED\r\n",
            Outcome::Exists => b"EXISTS\r\n",
            Outcome::NotFound => b"NOT_FOUND\r\n",
        };
        say(reply, store.quiet, text)
    }

    /// Stores a value if the mode and the cas number allow it; says where.
    pub(super) fn store_terms(
        &mut self,
        terms: &StoreTerms<'_>,
        now: Now,
    ) -> Result<(Outcome, Option<ItemRef>), Wait> {
        let hash = self.shards().hash(terms.key);
        self.place_in_index(hash, terms.key, now)?;
        let size = match self.find(hash, terms.key, now) {
            Some((_, old)) if terms.joins() => {
                if old.value_bytes() + terms.value.len() > self.value_bytes_max {
                    return Err(Error::TooLargeForCache.into());
                }
                Size::of(terms.key.len(), old.value_bytes() + terms.value.len(), old.flags())
            }
            _ => Size::of(terms.key.len(), terms.value.len(), terms.flags),
        };
        let slot = self.allocate(size, now)?;
        let items = self.slab.items().clone();
        let old = self.find(hash, terms.key, now).map(|(at, _)| items.get(at));
        let (verdict, stale) = terms.judge(old.as_ref());
        self.counters.cmd_set.add(1);
        if terms.compare_cas.is_some() {
            match verdict {
                Outcome::Stored => self.counters.cas_hits.add(1),
                Outcome::NotFound => self.counters.cas_misses.add(1),
                Outcome::Exists => self.counters.cas_badval.add(1),
                Outcome::NotStored => {}
            }
        }
        if verdict != Outcome::Stored {
            self.slab.abandon(slot);
            return Ok((verdict, None));
        }
        let (value, flags, deadline) = match &old {
            Some(old) if terms.joins() => {
                let (old_value, deadline) = (old.value(), old.state().deadline_ms());
                let is_append = terms.mode == Mode::Append;
                let value = Value::from(terms.value);
                let value = if is_append { [old_value, value] } else { [value, old_value] };
                (value, old.flags(), deadline)
            }
            // A refresh that came late keeps the time that the item had.
            Some(old) if stale => {
                ([terms.value.into(), Value::EMPTY], terms.flags, old.state().deadline_ms())
            }
            _ => ([terms.value.into(), Value::EMPTY], terms.flags, deadline_ms(terms.expiry, now)),
        };
        let win_sent = stale && old.as_ref().is_some_and(|old| old.state().win_sent());
        let parts = Parts {
            key: terms.key,
            value,
            flags,
            cas: self.cas_or(terms.new_cas),
            deadline_ms: deadline,
            generation: self.shard().number(),
            now_s: now.s(),
        };
        if parts.size() != size {
            // Pressure has evicted the item to join; then there is nothing to join.
            self.slab.abandon(slot);
            return Ok((Outcome::NotStored, None));
        }
        self.publish_item(hash, slot, &parts);
        if stale {
            let item = items.get(slot.at);
            item.set_state(item.state().with_stale(true).with_win_sent(win_sent));
        }
        Ok((Outcome::Stored, Some(slot.at)))
    }

    /// The cas number that a command asks for, or the next one.
    pub(super) fn cas_or(&mut self, asked: Option<u64>) -> u64 {
        match asked {
            Some(cas) => cas,
            None => self.next_cas(),
        }
    }

    fn delete(&mut self, key: Key<'_>, quiet: bool, now: Now, reply: &mut Reply<'_>) -> Result<(), Wait> {
        let found = self.delete_key(key.bytes(), now)?;
        say(reply, quiet, if found { b"DELETED\r\n" } else { b"NOT_FOUND\r\n" })
    }

    /// Deletes a key; says whether there was one.
    pub(super) fn delete_key(&mut self, key: &[u8], now: Now) -> Result<bool, Wait> {
        let hash = self.shards().hash(key);
        let was_live = self.find(hash, key, now).is_some();
        self.room_in_limbo()?;
        self.remove(hash, key);
        let counter = if was_live { &self.counters.delete_hits } else { &self.counters.delete_misses };
        counter.add(1);
        Ok(was_live)
    }

    fn arithmetic(
        &mut self,
        key: Key<'_>,
        up: bool,
        delta: u64,
        quiet: bool,
        now: Now,
        reply: &mut Reply<'_>,
    ) -> Result<(), Wait> {
        let hash = self.shards().hash(key.bytes());
        let counted = self.count_item(hash, key.bytes(), up, delta, Change::default(), now)?;
        self.note_arithmetic(up, counted.is_some());
        match counted {
            None => say(reply, quiet, b"NOT_FOUND\r\n"),
            Some(_) if quiet => Ok(()),
            Some((number, _)) => {
                reply.put_number(number);
                say(reply, false, b"\r\n")
            }
        }
    }

    /// Adds to a counter, and gives it another cas number and deadline if `change` has them; `None` when there is none.
    pub(super) fn count_item(
        &mut self,
        hash: u64,
        key: &[u8],
        up: bool,
        delta: u64,
        change: Change,
        now: Now,
    ) -> Result<Option<(u64, ItemRef)>, Wait> {
        let old_bytes = match self.find(hash, key, now) {
            None => return Ok(None),
            Some((_, old)) => old.value_bytes(),
        };
        if old_bytes > COUNTED_BYTES_MAX {
            return Err(Error::NonNumeric.into());
        }
        let slot = self.allocate(Size::of(key.len(), old_bytes.max(Digits::BYTES_MAX), 1), now)?;
        let items = self.slab.items().clone();
        // Room may have cost this very item.
        let old = self.find(hash, key, now).map(|(at, _)| items.get(at));
        let counted = match old.map(|old| count(number_of(&old), up, delta).map(|counted| (old, counted))) {
            Some(Ok(counted)) => Some(counted),
            Some(Err(error)) => {
                self.slab.abandon(slot);
                return Err(error.into());
            }
            None => None,
        };
        let Some((old, counted)) = counted else {
            self.slab.abandon(slot);
            return Ok(None);
        };
        let parts = Parts {
            key,
            value: [counted.as_bytes().into(), Value::EMPTY],
            flags: old.flags(),
            cas: self.cas_or(change.new_cas),
            deadline_ms: change.deadline_ms.unwrap_or_else(|| old.state().deadline_ms()),
            generation: self.shard().number(),
            now_s: now.s(),
        };
        let (marks, fetched) = (old.state(), old.fetched());
        self.publish_item(hash, slot, &parts);
        if counted.in_place {
            let item = items.get(slot.at);
            item.set_state(item.state().with_stale(marks.stale()).with_win_sent(marks.win_sent()));
            if fetched {
                item.note_access(now.s(), true);
            }
        }
        Ok(Some((counted.number, slot.at)))
    }

    pub(super) fn note_arithmetic(&self, up: bool, found: bool) {
        let counters = &self.counters;
        let counter = match (up, found) {
            (true, true) => &counters.incr_hits,
            (true, false) => &counters.incr_misses,
            (false, true) => &counters.decr_hits,
            (false, false) => &counters.decr_misses,
        };
        counter.add(1);
    }

    fn touch(
        &mut self,
        key: Key<'_>,
        expiry: Expiry,
        quiet: bool,
        now: Now,
        reply: &mut Reply<'_>,
    ) -> Result<(), Wait> {
        self.counters.cmd_touch.add(1);
        let hash = self.shards().hash(key.bytes());
        if let Some((_, item)) = self.find(hash, key.bytes(), now) {
            item.note_access(now.s(), true);
        }
        let found = self.touch_item(hash, key.bytes(), deadline_ms(expiry, now), true, now);
        say(reply, quiet, if found { b"TOUCHED\r\n" } else { b"NOT_FOUND\r\n" })
    }

    /// Gives an item another deadline, in ms since the server epoch; says whether there was one. `is_use`: nothing else tells
    /// the policy that the item was used.
    pub(super) fn touch_item(&mut self, hash: u64, key: &[u8], due_ms: u64, is_use: bool, now: Now) -> bool {
        let found = self.find(hash, key, now).map(|(at, item)| {
            item.set_state(item.state().with_deadline_ms(due_ms));
            at
        });
        if let Some(item) = found {
            let deadline = deadline(due_ms, self.slab.slot_bytes(item));
            self.events.send(Event::Touch { item, deadline, is_use });
        }
        let counter = if found.is_some() { &self.counters.touch_hits } else { &self.counters.touch_misses };
        counter.add(1);
        found.is_some()
    }

    /// Room to retire one more item.
    pub(super) fn room_in_limbo(&mut self) -> Result<(), Wait> {
        if self.slab.limbo().is_full() {
            self.breathe();
        }
        if self.slab.limbo().is_full() { Err(Wait::ForGrace) } else { Ok(()) }
    }
}

/// The value of an item that is to be counted: too long to be one if it was cut.
fn number_of<'a>(item: &Item<'a>) -> &'a [u8] {
    item.value().whole().unwrap_or(&[b' '; COUNTED_BYTES_MAX + 1])
}

/// A reply line, unless the command was quiet.
pub(super) fn say(reply: &mut Reply<'_>, quiet: bool, line: &[u8]) -> Result<(), Wait> {
    if !quiet {
        reply.put(line);
    }
    Ok(())
}
