//! Reads: what any worker may answer, and how the answer looks.

use base64::Engine;
use cache::base::clock::Now;
use cache::memory::{Item, Value};
use protocol::Reply;
use protocol::batch::Status;
use protocol::meta::Meta;
use protocol::request::Key;
use protocol::token::{Number, Tokens};

/// One key to read, and how to answer.
#[derive(Clone, Copy, Debug)]
pub struct Read<'a> {
    /// The key.
    pub key: &'a [u8],
    /// How a hit and a miss look.
    pub form: Form<'a>,
    /// What follows behind the answer.
    pub after: After,
}

/// How an answer looks.
#[derive(Clone, Copy, Debug)]
pub enum Form<'a> {
    /// `VALUE …`, nothing on a miss.
    Classic {
        /// With the cas number.
        with_cas: bool,
    },
    /// `VA`/`HD …`, `EN` on a miss.
    Meta(MetaForm<'a>),
    /// A result of a batch frame.
    Batch,
}

/// How a meta answer looks.
#[derive(Clone, Copy, Debug)]
pub struct MetaForm<'a> {
    /// The flags as they were sent.
    pub words: Tokens<'a>,
    /// `v`
    pub with_value: bool,
    /// `C`: without the value, if the item has this cas number.
    pub unless_cas: bool,
    /// `q`
    pub quiet: bool,
    /// `b`
    pub base64: bool,
    /// `u`: leave no trace in the item.
    pub unseen: bool,
}

/// Fixed bytes behind an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    Nothing,
    /// The end of a classic get.
    End,
    /// The answer to one or more `mn` that follow.
    Noop(u16),
}

impl<'a> MetaForm<'a> {
    /// The form that a meta command asks for.
    pub fn of(meta: &Meta<'a>) -> MetaForm<'a> {
        MetaForm {
            words: meta.words,
            with_value: meta.has(b'v'),
            unless_cas: meta.has(b'C'),
            quiet: meta.quiet(),
            base64: meta.has(b'b'),
            unseen: meta.has(b'u'),
        }
    }

    /// The value, if the answer has it.
    #[inline]
    pub fn value_of<'i>(&self, item: &Item<'i>) -> Option<Value<'i>> {
        let is_known = self.unless_cas && self.named_cas() == Some(item.cas());
        if self.with_value && !is_known { Some(item.value()) } else { None }
    }

    /// The number of `C`. It is read again, because nearly no read has one and all would carry it.
    #[cold]
    fn named_cas(&self) -> Option<u64> {
        self.words.into_iter().find_map(|word| u64::parse(word.strip_prefix(b"C")?))
    }
}

impl Read<'_> {
    /// Whether only the owner may answer this hit: the first to see a stale item wins the right to refresh it.
    #[inline]
    pub fn needs_owner(&self, item: &Item<'_>) -> bool {
        let state = item.state();
        matches!(self.form, Form::Meta(_)) && state.stale() && !state.win_sent()
    }

    /// Whether its command asks for no key behind this one.
    #[inline]
    pub fn ends_command(&self) -> bool {
        !matches!(self.form, Form::Classic { .. }) || self.after == After::End
    }

    /// Whether a hit leaves a trace: in the item, and with the policy.
    #[inline]
    pub fn leaves_trace(&self) -> bool {
        !matches!(self.form, Form::Meta(MetaForm { unseen: true, .. }))
    }

    /// Writes the answer to a hit.
    #[inline]
    pub fn answer_hit(&self, item: &Item<'_>, now: Now, reply: &mut Reply<'_>) {
        match &self.form {
            Form::Classic { with_cas } => {
                let cas = with_cas.then(|| item.cas());
                put_value(reply, item.key(), item, cas);
            }
            Form::Batch => put_item(reply, item),
            Form::Meta(form) => {
                let (state, value) = (item.state(), form.value_of(item));
                put_head(reply, value);
                for word in form.words {
                    put_item_flag(reply, form.base64, self.key, item, state.deadline_ms(), now, word);
                }
                put_marks(reply, Marks { won: false, stale: state.stale(), win_sent: state.win_sent() });
                put_tail(reply, value);
            }
        }
        self.put_after(reply);
    }

    /// Writes the answer to a miss.
    #[inline]
    pub fn answer_miss(&self, reply: &mut Reply<'_>) {
        match &self.form {
            Form::Classic { .. } => {}
            Form::Batch => reply.put_result(Status::Missing, 0, 0, b""),
            Form::Meta(form) if form.quiet => {}
            Form::Meta(form) => put_result(reply, b"EN", form, self.key),
        }
        self.put_after(reply);
    }

    #[inline]
    fn put_after(&self, reply: &mut Reply<'_>) {
        match self.after {
            After::Nothing => {}
            After::End => reply.put(b"END\r\n"),
            After::Noop(count) => (0..count).for_each(|_| reply.put(b"MN\r\n")),
        }
    }
}

/// What a meta answer says of leases and staleness.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
    /// `W`: this client may refresh the item.
    pub won: bool,
    /// `X`: the item is stale.
    pub stale: bool,
    /// `Z`: another client was told that it won.
    pub win_sent: bool,
}

/// `VA <bytes>`, or `HD` without a value: what a hit begins with.
#[inline]
pub fn put_head(reply: &mut Reply<'_>, value: Option<Value<'_>>) {
    match value {
        Some(value) => {
            reply.put(b"VA ");
            reply.put_number(value.len() as u64);
        }
        None => reply.put(b"HD"),
    }
}

/// Ends the line, and puts the value behind it.
#[inline]
pub fn put_tail(reply: &mut Reply<'_>, value: Option<Value<'_>>) {
    reply.put(b"\r\n");
    if let Some(value) = value {
        put_bytes(reply, value);
        reply.put(b"\r\n");
    }
}

/// `VALUE <key> <flags> <bytes>[ <cas>]\r\n<value>\r\n`
#[inline]
pub fn put_value(reply: &mut Reply<'_>, key: &[u8], item: &Item<'_>, cas: Option<u64>) {
    let value = item.value();
    reply.put_value_head(key, item.flags(), value.len(), cas);
    put_bytes(reply, value);
    reply.put(b"\r\n");
}

/// The result of a batch frame's read.
#[inline]
pub fn put_item(reply: &mut Reply<'_>, item: &Item<'_>) {
    let value = item.value();
    reply.put_result_head(Status::Value, item.flags(), item.cas(), value.len());
    put_bytes(reply, value);
}

#[inline]
fn put_bytes(reply: &mut Reply<'_>, value: Value<'_>) {
    match value.whole() {
        Some(whole) => reply.put(whole),
        None => value.pieces().for_each(|piece| reply.put(piece)),
    }
}

/// ` Z`, ` X`, ` W`
#[inline]
pub fn put_marks(reply: &mut Reply<'_>, marks: Marks) {
    for (is_set, mark) in [(marks.win_sent, b" Z"), (marks.stale, b" X"), (marks.won, b" W")] {
        if is_set {
            reply.put(mark);
        }
    }
}

/// `<code> <flags>*\r\n` with the flags that repeat the request.
pub fn put_result(reply: &mut Reply<'_>, code: &[u8], form: &MetaForm<'_>, key: &[u8]) {
    reply.put(code);
    form.words.for_each(|word| put_request_flag(reply, form.base64, key, word));
    reply.put(b"\r\n");
}

/// The flag `word`, if it asks for something of the item, whose deadline may be about to change. `key` is the decoded
/// key.
#[inline]
pub fn put_item_flag(
    reply: &mut Reply<'_>,
    base64: bool,
    key: &[u8],
    item: &Item<'_>,
    deadline_ms: u64,
    now: Now,
    word: &[u8],
) {
    match word[0] {
        b'c' => put_flag(reply, b" c", item.cas()),
        b'f' => put_flag(reply, b" f", item.flags() as u64),
        b'h' => reply.put(if item.fetched() { b" h1" } else { b" h0" }),
        b'l' => put_flag(reply, b" l", now.s().saturating_sub(item.last_access_s())),
        b's' => put_flag(reply, b" s", item.value_bytes() as u64),
        b't' => put_ttl(reply, deadline_ms, now),
        _ => put_request_flag(reply, base64, key, word),
    }
}

/// ` t<seconds>`, rounded up, so that a TTL that was just set reads as it was set; ` t-1` for none.
pub fn put_ttl(reply: &mut Reply<'_>, deadline_ms: u64, now: Now) {
    match deadline_ms {
        0 => reply.put(b" t-1"),
        deadline_ms => put_flag(reply, b" t", deadline_ms.saturating_sub(now.ms()).div_ceil(1000)),
    }
}

/// The flags that repeat the request: `k` and `O`.
pub fn put_request_flag(reply: &mut Reply<'_>, base64: bool, key: &[u8], word: &[u8]) {
    match word[0] {
        b'O' => {
            reply.put(b" ");
            reply.put(word);
        }
        b'k' => {
            reply.put(b" k");
            if base64 {
                put_base64(reply, key);
                reply.put(b" b");
            } else {
                reply.put(key);
            }
        }
        _ => {}
    }
}

/// A key in base64.
pub fn put_base64(reply: &mut Reply<'_>, key: &[u8]) {
    let mut buffer = [0u8; BASE64_KEY_BYTES_MAX];
    let length = base64::engine::general_purpose::STANDARD
        .encode_slice(key, &mut buffer)
        .expect("room for the longest key");
    reply.put(&buffer[..length]);
}

const BASE64_KEY_BYTES_MAX: usize = crate::limits::KEY_BYTES_MAX.div_ceil(3) * 4;

/// ` <flag><number>`
#[inline]
pub fn put_flag(reply: &mut Reply<'_>, flag: &[u8], number: u64) {
    reply.put(flag);
    reply.put_number(number);
}

/// The plain reads of a classic get, one per key.
pub fn classic<'a>(key: Key<'a>, with_cas: bool, last: bool) -> Read<'a> {
    let after = if last { After::End } else { After::Nothing };
    Read { key: key.bytes(), form: Form::Classic { with_cas }, after }
}

/// The read of a batch frame.
pub fn of_frame(key: Key<'_>) -> Read<'_> {
    Read { key: key.bytes(), form: Form::Batch, after: After::Nothing }
}
