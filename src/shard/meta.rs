//! Meta commands that the owner executes: all but plain `mg` and `mn`.

use crate::clock::Now;
use crate::config::limits::KEY_BYTES_MAX;
use crate::item_ref::ItemRef;
use crate::memory::{Parts, Size, Value};
use crate::protocol::meta::{Kind, Meta, Terms};
use crate::protocol::request::{Expiry, Mode};
use crate::protocol::token::Digits;
use crate::protocol::{Error, Reply};
use crate::shard::execute::{Change, Outcome, StoreTerms};
use crate::shard::owner::{Owner, SettledRead, Wait, deadline_ms};
use crate::shard::read::{
    Marks, MetaForm, put_base64, put_flag, put_head, put_item_flag, put_marks, put_request_flag, put_result,
    put_tail, put_ttl,
};

impl Owner {
    pub(super) fn meta(&mut self, meta: &Meta<'_>, now: Now, reply: &mut Reply<'_>) -> Result<(), Wait> {
        let mut buffer = [0; KEY_BYTES_MAX + 2];
        let key = match meta.kind {
            Kind::Noop => {
                reply.put(b"MN\r\n");
                return Ok(());
            }
            _ => meta.key(&mut buffer)?.bytes(),
        };
        let hash = self.shards().hash(key);
        let form = MetaForm::of(meta);
        match meta.kind {
            Kind::Get => self.meta_get(hash, key, &meta.terms, &form, now, reply),
            Kind::Set => self.meta_set(key, meta, &form, now, reply),
            Kind::Delete => self.meta_delete(hash, key, meta, &form, now, reply),
            Kind::Arithmetic => self.meta_arithmetic(hash, key, meta, &form, now, reply),
            Kind::Debug => self.meta_debug(hash, key, &form, now, reply),
            Kind::Noop => unreachable!("answered above"),
        }
    }

    /// The flags take effect one after the other, in the order in which they came, as in memcached: `t T9` tells the
    /// time that was left before.
    fn meta_get(
        &mut self,
        hash: u64,
        key: &[u8],
        terms: &Terms,
        form: &MetaForm<'_>,
        now: Now,
        reply: &mut Reply<'_>,
    ) -> Result<(), Wait> {
        let mut created = false;
        let found = match (self.find(hash, key, now), terms.vivify) {
            (Some((at, _)), _) => Some(at),
            (None, None) => None,
            (None, Some(expiry)) => {
                created = true;
                Some(self.put_new(hash, key, b"", expiry, terms.new_cas, now)?)
            }
        };
        let read = if created { None } else { found };
        self.settled_read = Some(SettledRead::of(hash, read, !form.unseen));
        let Some(at) = found else {
            if !form.quiet {
                put_result(reply, b"EN", form, key);
            }
            return Ok(());
        };
        let items = self.slab.items().clone();
        let item = items.get(at);
        let value = if form.with_value { Some(item.value()) } else { None };
        let before = item.state();
        let (mut due_ms, mut won) = (if created { 0 } else { before.deadline_ms() }, false);
        put_head(reply, value);
        for word in form.words {
            match word[0] {
                b'T' | b'A' => due_ms = deadline_ms(terms.ttl.unwrap_or(Expiry::Never), now),
                b'N' if created => {
                    due_ms = before.deadline_ms();
                    won = true;
                }
                b'R' => {
                    // In seconds, rounded as `t` tells them.
                    let left_s = due_ms.saturating_sub(now.ms()).div_ceil(1000);
                    let is_late = due_ms != 0 && left_s < terms.recache_s.unwrap_or(0);
                    won |= is_late && !created && !before.win_sent();
                }
                _ => put_item_flag(reply, form.base64, key, &item, due_ms, now, word),
            }
        }
        won |= before.stale() && !before.win_sent();
        put_marks(reply, Marks { won, stale: before.stale(), win_sent: before.win_sent() });
        put_tail(reply, value);
        if reply.overflown() {
            self.settled_read = None;
            return Err(Wait::ForRoom);
        }
        if terms.ttl.is_some() {
            self.counters.cmd_touch.add(1);
            self.touch_item(hash, key, due_ms, false, now);
        }
        if won {
            item.set_state(item.state().with_win_sent(true));
        }
        if created && !form.unseen {
            item.note_access(now.s(), true);
        }
        Ok(())
    }

    fn meta_set(
        &mut self,
        key: &[u8],
        meta: &Meta<'_>,
        form: &MetaForm<'_>,
        now: Now,
        reply: &mut Reply<'_>,
    ) -> Result<(), Wait> {
        let terms = &meta.terms;
        let mode = match terms.mode {
            None | Some(b'S' | b's') => Mode::Set,
            Some(b'E' | b'e') => Mode::Add,
            Some(b'A' | b'a') => Mode::Append,
            Some(b'P' | b'p') => Mode::Prepend,
            Some(b'R' | b'r') => Mode::Replace,
            Some(_) => return Err(Error::BadMode.into()),
        };
        let mut store = StoreTerms {
            mode,
            key,
            flags: terms.client_flags,
            expiry: terms.ttl.unwrap_or(Expiry::Never),
            compare_cas: terms.compare_cas,
            new_cas: terms.new_cas,
            invalidate: meta.has(b'I'),
            value: meta.value,
        };
        let (mut stored, mut at) = self.store_terms(&store, now)?;
        if let (Outcome::NotStored, Some(expiry), Mode::Append | Mode::Prepend) = (stored, terms.vivify, mode)
        {
            (store.mode, store.expiry) = (Mode::Add, expiry);
            // One command, which counts once, also when it has to wait here and is executed again.
            self.counters.cmd_set.sub(1);
            (stored, at) = self.store_terms(&store, now)?;
        }
        let code: &[u8] = match stored {
            Outcome::Stored if form.quiet => return Ok(()),
            Outcome::Stored => b"HD",
            Outcome::NotStored => b"NS",
            Outcome::Exists => b"EX",
            Outcome::NotFound => b"NF",
        };
        let (cas, value_bytes) = match at.map(|at| self.slab.items().get(at)) {
            Some(item) => (item.cas(), item.value_bytes()),
            None => (0, meta.value.len()),
        };
        reply.put(code);
        for word in form.words {
            match word[0] {
                b'c' => put_flag(reply, b" c", cas),
                b's' => put_flag(reply, b" s", value_bytes as u64),
                _ => put_request_flag(reply, form.base64, key, word),
            }
        }
        reply.put(b"\r\n");
        Ok(())
    }

    fn meta_delete(
        &mut self,
        hash: u64,
        key: &[u8],
        meta: &Meta<'_>,
        form: &MetaForm<'_>,
        now: Now,
        reply: &mut Reply<'_>,
    ) -> Result<(), Wait> {
        let terms = &meta.terms;
        self.room_in_limbo()?;
        let found = self.find(hash, key, now).map(|(at, item)| (at, item.cas()));
        let code: &[u8] = match (found, terms.compare_cas) {
            (None, _) => b"NF",
            (Some((_, cas)), Some(wanted)) if cas != wanted => b"EX",
            (Some((at, _)), _) => {
                if meta.has(b'I') || meta.has(b'x') {
                    self.invalidate(hash, at, meta, now)?;
                } else {
                    self.remove(hash, key);
                }
                b"HD"
            }
        };
        match code {
            b"HD" => self.counters.delete_hits.add(1),
            _ => self.counters.delete_misses.add(1),
        }
        if !(form.quiet && code == b"HD") {
            put_result(reply, code, form, key);
        }
        Ok(())
    }

    /// Puts a copy in the item's place: stale and with a new cas number (`I`), without its value (`x`), or both.
    fn invalidate(&mut self, hash: u64, at: ItemRef, meta: &Meta<'_>, now: Now) -> Result<(), Wait> {
        let (becomes_stale, emptied) = (meta.has(b'I'), meta.has(b'x'));
        let items = self.slab.items().clone();
        let mut key = [0; KEY_BYTES_MAX];
        let key_bytes = items.get(at).key_bytes();
        key[..key_bytes].copy_from_slice(items.get(at).key());
        let key = &key[..key_bytes];
        let value_bytes = if emptied { 0 } else { items.get(at).value_bytes() };
        // Whatever the flags will be, there is room for them.
        let slot = self.allocate(Size::of(key.len(), value_bytes, u32::MAX), now)?;
        let Some((_, item)) = self.find(hash, key, now).map(|(at, _)| (at, items.get(at))) else {
            // Room has cost this very item: it is gone, as with a plain delete.
            self.slab.abandon(slot);
            return Ok(());
        };
        let (state, fetched) = (item.state(), item.fetched());
        let asked_ms = meta.terms.ttl.map(|expiry| deadline_ms(expiry, now));
        let parts = Parts {
            key,
            value: [if emptied { Value::EMPTY } else { item.value() }, Value::EMPTY],
            flags: if emptied { meta.terms.client_flags } else { item.flags() },
            cas: match meta.terms.new_cas {
                None if !becomes_stale => item.cas(),
                asked => self.cas_or(asked),
            },
            deadline_ms: asked_ms.unwrap_or(if emptied { 0 } else { state.deadline_ms() }),
            generation: self.shard().number(),
            now_s: now.s(),
        };
        self.publish_item(hash, slot, &parts);
        let copy = items.get(slot.at);
        copy.set_state(copy.state().with_stale(becomes_stale));
        if fetched && !emptied {
            copy.note_access(now.s(), true);
        }
        Ok(())
    }

    fn meta_arithmetic(
        &mut self,
        hash: u64,
        key: &[u8],
        meta: &Meta<'_>,
        form: &MetaForm<'_>,
        now: Now,
        reply: &mut Reply<'_>,
    ) -> Result<(), Wait> {
        let terms = &meta.terms;
        let up = !matches!(terms.mode, Some(b'D' | b'd' | b'-'));
        if let Some((_, item)) = self.find(hash, key, now)
            && let Some(wanted) = terms.compare_cas
            && item.value_bytes() > 0
            && wanted != 0
            && wanted != item.cas()
        {
            put_result(reply, b"EX", form, key);
            return Ok(());
        }
        let before_ms = self.find(hash, key, now).map_or(0, |(_, item)| item.state().deadline_ms());
        let change =
            Change { new_cas: terms.new_cas, deadline_ms: terms.ttl.map(|expiry| deadline_ms(expiry, now)) };
        let counted = self.count_item(hash, key, up, terms.delta.unwrap_or(1), change, now)?;
        let made = match (counted, terms.vivify) {
            (None, Some(expiry)) => Some(self.put_number(hash, key, terms, expiry, form, now)?),
            _ => None,
        };
        // Behind all that may have to wait: a command that is executed again counts once.
        self.note_arithmetic(up, counted.is_some());
        let (at, before_ms) = match (counted, made) {
            (Some(_), _) if form.quiet => return Ok(()),
            (Some((_, at)), _) => (at, before_ms),
            (None, Some(at)) => (at, 0),
            (None, None) => {
                put_result(reply, b"NF", form, key);
                return Ok(());
            }
        };
        let items = self.slab.items().clone();
        let item = items.get(at);
        // The digits alone: what pads them to the old length is not told.
        let digits = item.value().whole().unwrap_or_default().trim_ascii_end();
        let value = if form.with_value { Some(Value::from(digits)) } else { None };
        let mut due_ms = before_ms;
        put_head(reply, value);
        for word in form.words {
            match word[0] {
                // As the flags take effect one after the other: what `t` tells between two is what the first has set.
                b'N' if counted.is_none() => due_ms = deadline_ms(terms.vivify.unwrap_or(Expiry::Never), now),
                b'T' | b'A' => due_ms = deadline_ms(terms.ttl.unwrap_or(Expiry::Never), now),
                b'c' => put_flag(reply, b" c", item.cas()),
                b't' => put_ttl(reply, due_ms, now),
                _ => put_request_flag(reply, form.base64, key, word),
            }
        }
        put_tail(reply, value);
        Ok(())
    }

    fn meta_debug(
        &mut self,
        hash: u64,
        key: &[u8],
        form: &MetaForm<'_>,
        now: Now,
        reply: &mut Reply<'_>,
    ) -> Result<(), Wait> {
        let Some((at, item)) = self.find(hash, key, now) else {
            reply.put(b"EN\r\n");
            return Ok(());
        };
        reply.put(b"ME ");
        if form.base64 {
            put_base64(reply, key)
        } else {
            reply.put(key)
        }
        match item.state().deadline_ms() {
            0 => reply.put(b" exp=-1"),
            // memcached tells it as a negative number.
            deadline_ms => {
                let left_s = deadline_ms.saturating_sub(now.ms()).div_ceil(1000);
                reply.put(if left_s == 0 { b" exp=" } else { b" exp=-" });
                reply.put_number(left_s);
            }
        }
        reply.put(b" la=");
        reply.put_number(now.s().saturating_sub(item.last_access_s()));
        reply.put(b" cas=");
        reply.put_number(item.cas());
        reply.put(if item.fetched() { b" fetch=yes" } else { b" fetch=no" });
        reply.put(b" cls=");
        reply.put_number(crate::memory::class::Class::of(self.slab.slot_bytes(at)).index() as u64);
        reply.put(b" size=");
        reply.put_number(item.bytes() as u64);
        reply.put(b"\r\n");
        Ok(())
    }

    /// Stores the first number of a counter that does not exist. Of T (or A) and N the one that comes last holds.
    fn put_number(
        &mut self,
        hash: u64,
        key: &[u8],
        terms: &Terms,
        expiry: Expiry,
        form: &MetaForm<'_>,
        now: Now,
    ) -> Result<ItemRef, Wait> {
        let digits = Digits::of(terms.initial);
        let last = form.words.filter(|word| matches!(word[0], b'T' | b'A' | b'N')).last();
        let is_ttl = last.is_some_and(|word| word[0] != b'N');
        let expiry = if is_ttl { terms.ttl.unwrap_or(expiry) } else { expiry };
        self.put_new(hash, key, digits.as_bytes(), expiry, terms.new_cas, now)
    }

    /// Stores a new item for a key that has none.
    fn put_new(
        &mut self,
        hash: u64,
        key: &[u8],
        value: &[u8],
        expiry: Expiry,
        cas: Option<u64>,
        now: Now,
    ) -> Result<ItemRef, Wait> {
        self.place_in_index(hash, key, now)?;
        let slot = self.allocate(Size::of(key.len(), value.len(), 0), now)?;
        let parts = Parts {
            key,
            value: [value.into(), Value::EMPTY],
            flags: 0,
            cas: self.cas_or(cas),
            deadline_ms: deadline_ms(expiry, now),
            generation: self.shard().number(),
            now_s: now.s(),
        };
        self.publish_item(hash, slot, &parts);
        Ok(slot.at)
    }
}
