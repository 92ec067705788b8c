//! Meta commands that the owner executes: all but plain `mg` and `mn`.

use crate::clock::Now;
use crate::config::limits::KEY_BYTES_MAX;
use crate::item_ref::ItemRef;
use crate::memory::Parts;
use crate::memory::item::item_bytes;
use crate::protocol::meta::{Kind, Meta, Terms};
use crate::protocol::request::{Expiry, Mode};
use crate::protocol::{Error, Reply};
use crate::shard::execute::{StoreTerms, Stored};
use crate::shard::owner::{Owner, Wait, deadline_ms};
use crate::shard::read::{Marks, MetaForm, put_item_flags, put_meta_hit, put_request_flag};

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
            Kind::Set => self.meta_set(hash, key, meta, &form, now, reply),
            Kind::Delete => self.meta_delete(hash, key, meta, &form, now, reply),
            Kind::Arithmetic => self.meta_arithmetic(hash, key, meta, &form, now, reply),
            Kind::Debug => self.meta_debug(hash, key, now, reply),
            Kind::Noop => unreachable!("answered above"),
        }
    }

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
        if let (Some(expiry), None) = (terms.vivify, self.find(hash, key, now)) {
            self.put_new(hash, key, b"", 0, expiry, terms.new_cas, now)?;
            created = true;
        }
        if let (Some(expiry), false) = (terms.ttl, created) {
            self.touch_item(hash, key, expiry, now);
        }
        let Some((_, item)) = self.find(hash, key, now) else {
            if !form.quiet {
                reply.put(b"EN\r\n");
            }
            return Ok(());
        };
        let state = item.state();
        let left_ms = state.deadline_ms().saturating_sub(now.ms());
        let recache =
            terms.recache_ms.is_some_and(|recache_ms| state.deadline_ms() != 0 && left_ms < recache_ms);
        let won = created || !state.win_sent() && (recache || state.stale());
        let marks = Marks { won, stale: state.stale(), win_sent: state.win_sent() };
        if won {
            item.set_state(state.with_win_sent(true));
        }
        put_meta_hit(reply, form, key, &item, now, marks);
        item.note_access(now.s());
        Ok(())
    }

    fn meta_set(
        &mut self,
        hash: u64,
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
        let mut stored = self.store_terms(&store, now)?;
        if let (Stored::Forbidden, Some(expiry), Mode::Append | Mode::Prepend) = (stored, terms.vivify, mode)
        {
            (store.mode, store.expiry) = (Mode::Add, expiry);
            stored = self.store_terms(&store, now)?;
        }
        let code: &[u8] = match stored {
            Stored::Yes if form.quiet => return Ok(()),
            Stored::Yes => b"HD",
            Stored::Forbidden => b"NS",
            Stored::OtherCas => b"EX",
            Stored::Absent => b"NF",
        };
        self.put_result(code, hash, key, form, stored == Stored::Yes, now, reply);
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
            b"NF" => self.counters.delete_misses.add(1),
            _ => self.counters.delete_hits.add(1),
        }
        if !(form.quiet && code != b"EX") {
            self.put_result(code, hash, key, form, false, now, reply);
        }
        Ok(())
    }

    /// Puts a copy in the item's place: stale (`I`), or without its value (`x`), with a new cas number.
    fn invalidate(&mut self, hash: u64, at: ItemRef, meta: &Meta<'_>, now: Now) -> Result<(), Wait> {
        let items = self.slab.items().clone();
        let slot = self.allocate(items.get(at).bytes(), now)?;
        let item = items.get(at);
        let state = item.state();
        let emptied = meta.has(b'x');
        let cas = match meta.terms.new_cas {
            Some(cas) => cas,
            None => self.next_cas(),
        };
        let parts = Parts {
            key: item.key(),
            value: [if emptied { b"" } else { item.value() }, b""],
            flags: if emptied { 0 } else { item.flags() },
            cas,
            deadline_ms: meta.terms.ttl.map_or(state.deadline_ms(), |expiry| deadline_ms(expiry, now)),
            generation: self.shard().generation(),
            now_s: now.s(),
        };
        self.publish_item(hash, slot, &parts)?;
        let copy = items.get(slot.at);
        copy.set_state(copy.state().with_stale(meta.has(b'I')));
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
        let up = match terms.mode {
            None | Some(b'I' | b'i' | b'+') => true,
            Some(b'D' | b'd' | b'-') => false,
            Some(_) => return Err(Error::BadArithmeticMode.into()),
        };
        let cas = self.find(hash, key, now).map(|(_, item)| item.cas());
        if let (Some(cas), Some(wanted)) = (cas, terms.compare_cas)
            && cas != wanted
        {
            self.put_result(b"EX", hash, key, form, false, now, reply);
            return Ok(());
        }
        let change = (terms.new_cas, terms.ttl.map(|expiry| deadline_ms(expiry, now)));
        let delta = terms.delta.unwrap_or(1);
        let number = self.count_item(hash, key, up, delta, Some(change), now)?;
        self.note_arithmetic(up, number.is_some());
        match (number, terms.vivify) {
            (Some(_), _) => {}
            (None, Some(expiry)) => {
                let digits = crate::protocol::token::Digits::of(terms.initial);
                self.put_new(hash, key, digits.as_bytes(), 0, expiry, terms.new_cas, now)?;
            }
            (None, None) => {
                if !form.quiet {
                    self.put_result(b"NF", hash, key, form, false, now, reply);
                }
                return Ok(());
            }
        }
        if form.quiet {
            return Ok(());
        }
        if let Some((_, item)) = self.find(hash, key, now) {
            put_meta_hit(reply, form, key, &item, now, Marks::default());
        }
        Ok(())
    }

    fn meta_debug(&mut self, hash: u64, key: &[u8], now: Now, reply: &mut Reply<'_>) -> Result<(), Wait> {
        let Some((at, item)) = self.find(hash, key, now) else {
            reply.put(b"EN\r\n");
            return Ok(());
        };
        reply.put(b"ME ");
        reply.put(key);
        match item.state().deadline_ms() {
            0 => reply.put(b" exp=-1"),
            deadline_ms => {
                reply.put(b" exp=");
                reply.put_number(deadline_ms.saturating_sub(now.ms()).div_ceil(1000));
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

    /// Stores a new item for a key that has none, its win sent already if it is empty.
    #[expect(clippy::too_many_arguments, reason = "the fields of an item, and where it goes")]
    fn put_new(
        &mut self,
        hash: u64,
        key: &[u8],
        value: &[u8],
        flags: u32,
        expiry: Expiry,
        cas: Option<u64>,
        now: Now,
    ) -> Result<(), Wait> {
        let slot = self.allocate(item_bytes(key.len(), value.len(), flags), now)?;
        let cas = match cas {
            Some(cas) => cas,
            None => self.next_cas(),
        };
        let parts = Parts {
            key,
            value: [value, b""],
            flags,
            cas,
            deadline_ms: deadline_ms(expiry, now),
            generation: self.shard().generation(),
            now_s: now.s(),
        };
        self.publish_item(hash, slot, &parts)?;
        Ok(())
    }

    /// `<code> <flags>*\r\n`
    #[expect(clippy::too_many_arguments, reason = "a reply line is made of all of it")]
    fn put_result(
        &self,
        code: &[u8],
        hash: u64,
        key: &[u8],
        form: &MetaForm<'_>,
        with_item: bool,
        now: Now,
        reply: &mut Reply<'_>,
    ) {
        reply.put(code);
        match self.find(hash, key, now) {
            Some((_, item)) if with_item => put_item_flags(reply, form, key, &item, now),
            _ => form.words.for_each(|word| put_request_flag(reply, form.base64, key, word)),
        }
        reply.put(b"\r\n");
    }
}
