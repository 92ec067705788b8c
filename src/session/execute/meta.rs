//! Meta commands that the owner executes: all but plain `mg` and `mn`.

use crate::limits::KEY_BYTES_MAX;
use crate::session::execute::answer::{
    Marks, MetaForm, put_base64, put_flag, put_head, put_item_flag, put_marks, put_request_flag, put_result,
    put_tail, put_ttl,
};
use crate::session::execute::expiry::due_ms;
use crate::session::execute::{Execution, SettledRead, Stop};
use cache::base::clock::Now;
use cache::memory::class::Class;
use cache::memory::{Unfinished, Value};
use cache::shard::Terms as StoreTerms;
use cache::shard::{Count, Counted, Delete, Deleted, Found, Mode, Outcome, Remains, Store, Stored};
use protocol::meta::{Kind, Meta, Terms};
use protocol::request::Expiry;
use protocol::{Error, Reply};

/// A meta command with its key decoded.
struct Decoded<'m, 'a> {
    meta: &'m Meta<'a>,
    key: &'m [u8],
    form: MetaForm<'a>,
}

impl Execution<'_, '_> {
    pub(super) fn meta(&mut self, meta: &Meta<'_>) -> Result<(), Stop> {
        if meta.kind == Kind::Noop {
            self.reply.put(b"MN\r\n");
            return Ok(());
        }
        let mut buffer = [0; KEY_BYTES_MAX + 2];
        let key = meta.key(&mut buffer)?.bytes();
        let decoded = Decoded { meta, key, form: MetaForm::of(meta) };
        match meta.kind {
            Kind::Get => self.meta_get(&decoded),
            Kind::Set => self.meta_set(&decoded),
            Kind::Delete => self.meta_delete(&decoded),
            Kind::Arithmetic => self.meta_arithmetic(&decoded),
            Kind::Debug => self.meta_debug(&decoded),
            Kind::Noop => unreachable!("answered above"),
        }
    }

    fn meta_get(&mut self, command: &Decoded<'_, '_>) -> Result<(), Stop> {
        let Decoded { key, form, meta } = command;
        let (terms, now) = (&meta.terms, self.now);
        let mut created = false;
        let found = match terms.vivify {
            Some(expiry) if self.owner.find(key, now).is_none() => {
                created = true;
                let expiry = first_expiry(terms, expiry, form);
                Some(self.owner.create(self.pin, key, b"", due_ms(expiry, now), terms.new_cas, now)?)
            }
            _ => self.owner.find(key, now),
        };
        let read = if created { None } else { found.as_ref() };
        let read = SettledRead::of(read, !form.unseen);
        let Some(found) = found else {
            self.read = Some(read);
            if !form.quiet {
                put_result(self.reply, b"EN", form, key);
            }
            return Ok(());
        };
        let item = found.item;
        let shown = Shown { item, created, now };
        let (due_ms, won) = shown.put(self.reply, command);
        if self.reply.overflown() {
            return Err(Stop::OnRoom);
        }
        self.read = Some(read);
        if won {
            found.note_win_sent();
        }
        if created && !form.unseen {
            item.note_access(now.s(), true);
        }
        if terms.ttl.is_some() {
            self.owner.touch(key, due_ms, false, now);
        }
        Ok(())
    }

    fn meta_set(&mut self, command: &Decoded<'_, '_>) -> Result<(), Stop> {
        let Decoded { key, meta, .. } = command;
        let terms = &meta.terms;
        let store = Store {
            flags: terms.client_flags,
            due_ms: due_ms(terms.ttl.unwrap_or(Expiry::Never), self.now),
            compare_cas: terms.compare_cas,
            new_cas: terms.new_cas,
            takes_older: meta.has(b'I'),
            or_create_due_ms: terms.vivify.map(|expiry| due_ms(expiry, self.now)),
            ..Store::new(mode_of_flag(terms.mode)?, key, meta.value)
        };
        let stored = self.owner.store(self.pin, &store, self.now)?;
        put_stored(self.reply, command, &stored, meta.value.len());
        Ok(())
    }

    /// Publishes a value that has come under the terms of an `ms`.
    pub(super) fn publish_meta(
        &mut self,
        meta: &Meta<'_>,
        value: Unfinished,
    ) -> Result<(), (Stop, Unfinished)> {
        let (mut buffer, value_bytes) = ([0; KEY_BYTES_MAX + 2], value.size().value_bytes());
        let (key, mode) = match (meta.key(&mut buffer), mode_of_flag(meta.terms.mode)) {
            (Ok(key), Ok(mode)) => (key.bytes(), mode),
            (Err(error), _) | (_, Err(error)) => return Err((error.into(), value)),
        };
        let decoded = Decoded { meta, key, form: MetaForm::of(meta) };
        let terms = StoreTerms {
            mode,
            due_ms: due_ms(meta.terms.ttl.unwrap_or(Expiry::Never), self.now),
            compare_cas: meta.terms.compare_cas,
            new_cas: meta.terms.new_cas,
            takes_older: meta.has(b'I'),
            or_create_due_ms: meta.terms.vivify.map(|expiry| due_ms(expiry, self.now)),
        };
        let published = self.owner.publish(self.pin, value, &terms, self.now);
        let stored = published.map_err(|back| (back.error.into(), back.unfinished))?;
        put_stored(self.reply, &decoded, &stored, value_bytes);
        Ok(())
    }

    fn meta_delete(&mut self, command: &Decoded<'_, '_>) -> Result<(), Stop> {
        let Decoded { key, form, meta } = command;
        let (terms, is_stale, is_emptied) = (&meta.terms, meta.has(b'I'), meta.has(b'x'));
        let remains = Remains {
            is_stale,
            is_emptied,
            flags: terms.client_flags,
            new_cas: terms.new_cas,
            due_ms: terms.ttl.map(|expiry| due_ms(expiry, self.now)),
        };
        let leaves = (is_stale || is_emptied).then_some(remains);
        let delete = Delete { key, compare_cas: terms.compare_cas, leaves };
        let code: &[u8] = match self.owner.delete(self.pin, &delete, self.now)? {
            Deleted::Done if form.quiet => return Ok(()),
            Deleted::Done => b"HD",
            Deleted::Exists => b"EX",
            Deleted::NotFound => b"NF",
        };
        put_result(self.reply, code, form, key);
        Ok(())
    }

    fn meta_arithmetic(&mut self, command: &Decoded<'_, '_>) -> Result<(), Stop> {
        let Decoded { key, form, meta } = command;
        let (terms, now) = (&meta.terms, self.now);
        let before = self.owner.find(key, now).map(|found| found.item);
        let forbids = |wanted: u64| {
            before.is_some_and(|item| item.value_bytes() > 0 && wanted != 0 && wanted != item.cas())
        };
        if terms.compare_cas.is_some_and(forbids) {
            put_result(self.reply, b"EX", form, key);
            return Ok(());
        }
        let before_ms = before.map_or(0, |item| item.state().deadline_ms());
        let count = Count {
            key,
            up: !matches!(terms.mode, Some(b'D' | b'-')),
            delta: terms.delta.unwrap_or(1),
            new_cas: terms.new_cas,
            due_ms: terms.ttl.map(|expiry| due_ms(expiry, now)),
            or_create: terms
                .vivify
                .map(|expiry| (terms.initial, due_ms(first_expiry(terms, expiry, form), now))),
        };
        match self.owner.count(self.pin, &count, now)? {
            Some(Counted { is_new: false, .. }) if form.quiet => {}
            Some(counted) => put_counted(self.reply, command, &counted, before_ms, now),
            None => put_result(self.reply, b"NF", form, key),
        }
        Ok(())
    }

    fn meta_debug(&mut self, command: &Decoded<'_, '_>) -> Result<(), Stop> {
        let (now, reply) = (self.now, &mut *self.reply);
        let Some(Found { at, item, .. }) = self.owner.find(command.key, now) else {
            reply.put(b"EN\r\n");
            return Ok(());
        };
        reply.put(b"ME ");
        if command.form.base64 {
            put_base64(reply, command.key)
        } else {
            reply.put(command.key)
        }
        match item.state().deadline_ms() {
            0 => reply.put(b" exp=-1"),
            deadline_ms => put_flag(reply, b" exp=", deadline_ms.saturating_sub(now.ms()).div_ceil(1000)),
        }
        put_flag(reply, b" la=", now.s().saturating_sub(item.last_access_s()));
        put_flag(reply, b" cas=", item.cas());
        reply.put(if item.fetched() { b" fetch=yes" } else { b" fetch=no" });
        put_flag(reply, b" cls=", Class::of(self.owner.slot_bytes(at)).index() as u64);
        put_flag(reply, b" size=", item.bytes() as u64);
        reply.put(b"\r\n");
        Ok(())
    }
}

/// The answer to an `ms` of so many bytes.
fn put_stored(
    reply: &mut Reply<'_>,
    Decoded { key, form, .. }: &Decoded<'_, '_>,
    stored: &Stored<'_>,
    value_bytes: usize,
) {
    let code: &[u8] = match stored.outcome {
        Outcome::Stored if form.quiet => return,
        Outcome::Stored => b"HD",
        Outcome::NotStored => b"NS",
        Outcome::Exists => b"EX",
        Outcome::NotFound => b"NF",
    };
    let (cas, value_bytes) = match stored.item {
        Some(item) => (item.cas(), item.value_bytes()),
        None => (0, value_bytes),
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
}

/// The item that an `mg` shows.
struct Shown<'a> {
    item: cache::memory::Item<'a>,
    /// Whether this command has created it.
    created: bool,
    now: Now,
}

impl Shown<'_> {
    /// Writes the answer. The flags take effect one after the other, in the order in which they came, as in memcached: `t T9`
    /// tells the time that was left before. Says when the item is due from now on, and whether this client may refresh it.
    fn put(&self, reply: &mut Reply<'_>, command: &Decoded<'_, '_>) -> (u64, bool) {
        let Decoded { key, form, meta } = command;
        let (terms, now, before) = (&meta.terms, self.now, self.item.state());
        let value = form.value_of(&self.item);
        let mut until_ms = if self.created { 0 } else { before.deadline_ms() };
        let mut won = before.stale() && !before.win_sent();
        put_head(reply, value);
        for word in form.words {
            match word[0] {
                b'T' | b'A' => until_ms = due_ms(terms.ttl.unwrap_or(Expiry::Never), now),
                b'N' if self.created => {
                    (until_ms, won) = (due_ms(terms.vivify.unwrap_or(Expiry::Never), now), true);
                }
                b'R' => {
                    let is_late = is_due_before(until_ms, terms.recache, now);
                    won |= is_late && !self.created && !before.win_sent();
                }
                _ => put_item_flag(reply, form.base64, key, &self.item, until_ms, now, word),
            }
        }
        put_marks(reply, Marks { won, stale: before.stale(), win_sent: before.win_sent() });
        put_tail(reply, value);
        (until_ms, won)
    }
}

/// Whether an item that is due at `until_ms` (0 = never) is due before `bound`, in whole seconds, rounded as `t` tells them.
fn is_due_before(until_ms: u64, bound: Option<Expiry>, now: Now) -> bool {
    let left_s = |due_ms: u64| due_ms.saturating_sub(now.ms()).div_ceil(1000);
    match bound {
        None | Some(Expiry::Never | Expiry::Past) => false,
        Some(bound) => until_ms != 0 && left_s(until_ms) < left_s(due_ms(bound, now)),
    }
}

fn put_counted(
    reply: &mut Reply<'_>,
    Decoded { key, form, meta }: &Decoded<'_, '_>,
    Counted { item, is_new, .. }: &Counted<'_>,
    before_ms: u64,
    now: Now,
) {
    let terms = &meta.terms;
    // The digits alone: what pads them to the old length is not told.
    let digits = item.value().whole().unwrap_or_default().trim_ascii_end();
    let value = if form.with_value { Some(Value::from(digits)) } else { None };
    let mut until_ms = if *is_new { 0 } else { before_ms };
    put_head(reply, value);
    for word in form.words {
        match word[0] {
            // As the flags take effect one after the other: what `t` tells between two is what the first has set.
            b'N' if *is_new => until_ms = due_ms(terms.vivify.unwrap_or(Expiry::Never), now),
            b'T' | b'A' => until_ms = due_ms(terms.ttl.unwrap_or(Expiry::Never), now),
            b'c' => put_flag(reply, b" c", item.cas()),
            b't' => put_ttl(reply, until_ms, now),
            _ => put_request_flag(reply, form.base64, key, word),
        }
    }
    put_tail(reply, value);
}

/// How long an item that did not exist lives: of T (or A) and N the one that comes last holds.
fn first_expiry(terms: &Terms, vivify: Expiry, form: &MetaForm<'_>) -> Expiry {
    let last = form.words.filter(|word| matches!(word[0], b'T' | b'A' | b'N')).last();
    let is_ttl = last.is_some_and(|word| word[0] != b'N');
    if is_ttl { terms.ttl.unwrap_or(vivify) } else { vivify }
}

fn mode_of_flag(mode: Option<u8>) -> Result<Mode, Error> {
    match mode {
        None | Some(b'S') => Ok(Mode::Set),
        Some(b'E') => Ok(Mode::Add),
        Some(b'A') => Ok(Mode::Append),
        Some(b'P') => Ok(Mode::Prepend),
        Some(b'R') => Ok(Mode::Replace),
        Some(_) => Err(Error::BadMode),
    }
}
