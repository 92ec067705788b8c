//! `lru_crawler metadump`: a line for each item, a bounded piece a turn, so that other connections are served between.
//!
//! ```text
//! key=<as in a URL> exp=<unix s, or -1> la=<unix s> cas=<n> fetch=yes|no cls=<n> size=<bytes> flags=<n>
//! ```
//! As memcached's, but for the order; an item that lives all the time is there, also where the index grows meanwhile.

use crate::limits::DUMP_LINES;
use crate::net::{ConnectionId, Outbox};
use crate::session::Session;
use cache::base::clock::Now;
use cache::memory::Item;
use cache::memory::class::Class;
use cache::shard::Walk;
use protocol::{Dialect, Reply};

/// A dump that is under way.
#[derive(Debug)]
pub(crate) struct Dump {
    walk: Walk,
}

impl Dump {
    /// One that begins.
    pub(crate) fn new() -> Dump {
        Dump { walk: Walk::new(0) }
    }
}

impl Session {
    /// Tells a connection that enough dumps are under way, in memcached's words.
    pub(crate) fn refuse_dump(&self, id: ConnectionId, outbox: &mut Outbox) {
        self.executor.counters().busy.add(1);
        outbox.streams.send(id, b"BUSY currently processing crawler request\r\n");
    }

    /// Writes the next piece of a dump to a connection; says whether it was the last. The outbox has room.
    pub(crate) fn dump_on(
        &mut self,
        dump: &mut Dump,
        id: ConnectionId,
        outbox: &mut Outbox,
        now: Now,
    ) -> bool {
        let shards = self.executor.shards().count();
        let mut reply = Reply::new(outbox.streams.room(), 0, Dialect::Stream);
        let view = self.executor.reading(now).view;
        view.walk(&mut dump.walk, DUMP_LINES, now, |item| put_line(&mut reply, &item, now));
        if dump.walk.is_done() && dump.walk.shard() + 1 < shards {
            dump.walk = Walk::new(dump.walk.shard() + 1);
        }
        let is_done = dump.walk.is_done();
        reply.put(if is_done { b"END\r\n" } else { b"" });
        let bytes = reply.bytes();
        outbox.streams.commit(id, bytes);
        is_done
    }
}

fn put_line(reply: &mut Reply<'_>, item: &Item<'_>, now: Now) {
    reply.put(b"key=");
    item.key().iter().for_each(|&byte| put_key_byte(reply, byte));
    let since_1970 = |ms: u64| (now.unix_s + ms.div_ceil(1000)).saturating_sub(now.s());
    match item.state().deadline_ms() {
        0 => reply.put(b" exp=-1"),
        due_ms => put(reply, b" exp=", since_1970(due_ms)),
    }
    put(reply, b" la=", since_1970(item.last_access_s() * 1000));
    put(reply, b" cas=", item.cas());
    reply.put(if item.fetched() { b" fetch=yes" } else { b" fetch=no" });
    put(reply, b" cls=", Class::of(item.bytes_in_slot()).index() as u64);
    put(reply, b" size=", item.bytes() as u64);
    put(reply, b" flags=", item.flags() as u64);
    reply.put(b"\n");
}

/// A byte of a key: letters, digits and `-._~` as they are (RFC 3986), others as `%` and two digits.
fn put_key_byte(reply: &mut Reply<'_>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        reply.put(&[byte]);
    } else {
        reply.put(&[b'%', DIGITS[byte as usize >> 4], DIGITS[byte as usize & 15]]);
    }
}

fn put(reply: &mut Reply<'_>, name: &[u8], number: u64) {
    reply.put(name);
    reply.put_number(number);
}
