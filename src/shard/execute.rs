//! Commands that the owner executes, and their answers.
//!
//! Room for a new item is allocated before any item is looked at, because pressure may evict what was looked at.
//! A command that must wait for memory leaves no trace: it is executed again, from its beginning, in a later tick.

use crate::clock::Now;
use crate::memory::Parts;
use crate::memory::item::item_bytes;
use crate::protocol::request::{Command, Expiry, Get, Key, Mode, Store};
use crate::protocol::{Error, Reply};
use crate::ring::Event;
use crate::shard::owner::{Owner, Wait, deadline, deadline_ms};
use crate::shard::value::count;

/// What a store did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// The key has the new value.
    Yes,
    /// The mode forbade it.
    Forbidden,
    /// The item has another cas number.
    OtherCas,
    /// There is no such item.
    Absent,
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

impl Owner {
    /// Executes one command and writes its answer. Of `get` and its kin only the key number `part`, without the end;
    /// of `flush_all` only this shard's part, without an answer: the worker puts the parts together.
    ///
    /// # Errors
    /// [`Wait`]; nothing has changed then.
    pub fn execute(
        &mut self,
        command: &Command<'_>,
        part: usize,
        now: Now,
        reply: &mut Reply<'_>,
    ) -> Result<(), Wait> {
        match command {
            Command::Get(get) => self.get(get, part, now, reply),
            Command::Store(store) => self.store(store, now, reply),
            Command::Delete { key, quiet } => self.delete(*key, *quiet, now, reply),
            Command::Arithmetic { key, up, delta, quiet } => {
                self.arithmetic(*key, *up, *delta, *quiet, now, reply)
            }
            Command::Touch { key, expiry, quiet } => self.touch(*key, *expiry, *quiet, now, reply),
            Command::Meta(meta) => self.meta(meta, now, reply),
            Command::FlushAll { delay_s, .. } => {
                self.flush(*delay_s, now);
                Ok(())
            }
            Command::Version | Command::Verbosity { .. } | Command::Stats { .. } | Command::Quit => {
                Err(Wait::Never(Error::UnknownCommand))
            }
        }
    }

    fn get(&mut self, get: &Get<'_>, part: usize, now: Now, reply: &mut Reply<'_>) -> Result<(), Wait> {
        let Some(key) = get.keys().nth(part) else { return Ok(()) };
        let hash = self.shards().hash(key.bytes());
        if let Some(expiry) = get.touch {
            self.counters.cmd_touch.add(1);
            self.touch_item(hash, key.bytes(), expiry, now);
        }
        if let Some((_, item)) = self.find(hash, key.bytes(), now) {
            let cas = get.with_cas.then(|| item.cas());
            reply.put_value(key.bytes(), item.flags(), item.value(), cas);
            item.note_access(now.s());
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
        let text: &[u8] = match self.store_terms(&terms, now)? {
            Stored::Yes => b"STORED\r\n",
            Stored::Forbidden => b"NOT_STORED\r\n",
            Stored::OtherCas => b"EXISTS\r\n",
            Stored::Absent => b"NOT_FOUND\r\n",
        };
        say(reply, store.quiet, text)
    }

    /// Stores a value if the mode and the cas number allow it.
    pub(super) fn store_terms(&mut self, terms: &StoreTerms<'_>, now: Now) -> Result<Stored, Wait> {
        let joins = matches!(terms.mode, Mode::Append | Mode::Prepend);
        let hash = self.shards().hash(terms.key);
        let bytes = match self.find(hash, terms.key, now) {
            Some((_, old)) if joins => {
                item_bytes(terms.key.len(), old.value_bytes() + terms.value.len(), old.flags())
            }
            _ => item_bytes(terms.key.len(), terms.value.len(), terms.flags),
        };
        let slot = self.allocate(bytes, now)?;
        let items = self.slab.items().clone();
        let old = self.find(hash, terms.key, now).map(|(at, _)| items.get(at));
        let mut stale = false;
        let verdict = match (terms.compare_cas, &old) {
            (Some(cas), Some(old)) if cas < old.cas() && terms.invalidate => {
                stale = true;
                Stored::Yes
            }
            (Some(cas), Some(old)) if cas != old.cas() => Stored::OtherCas,
            (Some(_), None) => Stored::Absent,
            _ => Stored::Yes,
        };
        match (terms.compare_cas, verdict) {
            (None, _) => {}
            (_, Stored::Yes) => self.counters.cas_hits.add(1),
            (_, Stored::Absent) => self.counters.cas_misses.add(1),
            (_, _) => self.counters.cas_badval.add(1),
        }
        self.counters.cmd_set.add(1);
        let (old_value, flags, deadline) = match (&old, terms.mode) {
            (Some(old), Mode::Append | Mode::Prepend) => {
                (old.value(), old.flags(), old.state().deadline_ms())
            }
            _ => (&b""[..], terms.flags, deadline_ms(terms.expiry, now)),
        };
        let verdict = match (verdict, terms.mode, &old) {
            (Stored::Yes, Mode::Add, Some(item)) => {
                item.note_access(now.s());
                Stored::Forbidden
            }
            (Stored::Yes, Mode::Replace | Mode::Append | Mode::Prepend, None) => Stored::Forbidden,
            (verdict, _, _) => verdict,
        };
        let value = match terms.mode {
            Mode::Append => [old_value, terms.value],
            Mode::Prepend => [terms.value, old_value],
            _ => [terms.value, b""],
        };
        let cas = match terms.new_cas {
            Some(cas) => cas,
            None => self.next_cas(),
        };
        let parts = Parts {
            key: terms.key,
            value,
            flags,
            cas,
            deadline_ms: deadline,
            generation: self.shard().generation(),
            now_s: now.s(),
        };
        if verdict != Stored::Yes || parts.bytes() > slot.slot_bytes {
            // Pressure may have evicted the item to join; then there is nothing to join.
            self.slab.release(slot.at);
            return Ok(if verdict == Stored::Yes { Stored::Forbidden } else { verdict });
        }
        self.publish_item(hash, slot, &parts)?;
        if stale {
            let item = items.get(slot.at);
            item.set_state(item.state().with_stale(true));
        }
        Ok(Stored::Yes)
    }

    fn delete(&mut self, key: Key<'_>, quiet: bool, now: Now, reply: &mut Reply<'_>) -> Result<(), Wait> {
        let hash = self.shards().hash(key.bytes());
        let was_live = self.find(hash, key.bytes(), now).is_some();
        self.room_in_limbo()?;
        self.remove(hash, key.bytes());
        let counter = if was_live { &self.counters.delete_hits } else { &self.counters.delete_misses };
        counter.add(1);
        say(reply, quiet, if was_live { b"DELETED\r\n" } else { b"NOT_FOUND\r\n" })
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
        let number = self.count_item(hash, key.bytes(), up, delta, None, now)?;
        self.note_arithmetic(up, number.is_some());
        match number {
            None => say(reply, quiet, b"NOT_FOUND\r\n"),
            Some(_) if quiet => Ok(()),
            Some(number) => {
                reply.put_number(number);
                say(reply, false, b"\r\n")
            }
        }
    }

    /// Adds to a counter; `None` when there is none.
    pub(super) fn count_item(
        &mut self,
        hash: u64,
        key: &[u8],
        up: bool,
        delta: u64,
        change: Option<(Option<u64>, Option<u64>)>,
        now: Now,
    ) -> Result<Option<u64>, Wait> {
        let slot = self.allocate(item_bytes(key.len(), 20, 1), now)?;
        let items = self.slab.items().clone();
        let Some(old) = self.find(hash, key, now).map(|(at, _)| items.get(at)) else {
            self.slab.release(slot.at);
            return Ok(None);
        };
        let counted = match count(old.value(), up, delta) {
            Ok(counted) => counted,
            Err(error) => {
                self.slab.release(slot.at);
                return Err(error.into());
            }
        };
        let (new_cas, deadline) = change.unwrap_or_default();
        let parts = Parts {
            key,
            value: [counted.as_bytes(), b""],
            flags: old.flags(),
            cas: new_cas.unwrap_or_else(|| self.next_cas()),
            deadline_ms: deadline.unwrap_or_else(|| old.state().deadline_ms()),
            generation: self.shard().generation(),
            now_s: now.s(),
        };
        self.publish_item(hash, slot, &parts)?;
        Ok(Some(counted.number))
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
        let found = self.touch_item(hash, key.bytes(), expiry, now);
        say(reply, quiet, if found { b"TOUCHED\r\n" } else { b"NOT_FOUND\r\n" })
    }

    /// Gives an item another deadline; says whether there was one.
    pub(super) fn touch_item(&mut self, hash: u64, key: &[u8], expiry: Expiry, now: Now) -> bool {
        let due_ms = deadline_ms(expiry, now);
        let found = self.find(hash, key, now).map(|(at, item)| {
            item.set_state(item.state().with_deadline_ms(due_ms));
            at
        });
        if let Some(item) = found {
            let deadline = deadline(due_ms, self.slab.slot_bytes(item));
            self.events.send(Event::Touch { item, deadline });
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

/// A reply line, unless the command was quiet.
pub(super) fn say(reply: &mut Reply<'_>, quiet: bool, line: &[u8]) -> Result<(), Wait> {
    if !quiet {
        reply.put(line);
    }
    Ok(())
}
