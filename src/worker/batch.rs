//! The fast way: plain reads of many datagrams, looked up together, across datagrams.
//!
//! A datagram that holds nothing but plain reads (`get gets`, `mg` without a flag that writes, `mn` behind them; a batch
//! frame of GETs) joins the batch; any other one is served alone, behind it (`serial`). Datagrams of one tick may be answered in any order,
//! as UDP may deliver them in any; commands within a datagram keep theirs.

use crate::clock::Now;
use crate::config::limits::{TICK_DATAGRAMS_MAX, TICK_READS_MAX};
use crate::io::{Datagram, Inbox, Outbox, PeerAddr, Port};
use crate::protocol::batch::{Code, Frame, Operation};
use crate::protocol::meta::Kind;
use crate::protocol::request::{Command, Commands};
use crate::protocol::{Dialect, Key, Reply};
use crate::shard::read::{Form, MetaForm, classic, of_frame};
use crate::shard::{After, Read};
use crate::table::{Found, Lookup};
use crate::worker::admission::Admission;
use crate::worker::{Core, Worker};
use arrayvec::ArrayVec;

/// Datagrams that are served one by one: as many as a batch has, and those of the batch that only an owner can settle.
type Alone = ArrayVec<u16, { 2 * TICK_READS_MAX }>;

/// Reads of several datagrams.
struct Batch<'a> {
    reads: ArrayVec<Read<'a>, TICK_READS_MAX>,
    lookups: ArrayVec<Lookup<'a>, TICK_READS_MAX>,
    owners: ArrayVec<u8, TICK_READS_MAX>,
    groups: ArrayVec<Group, TICK_READS_MAX>,
    /// Keys of datagrams that will be served alone, the first store's of text, all of a frame: their lines and items can
    /// be on the way meanwhile.
    stores: ArrayVec<Lookup<'a>, TICK_READS_MAX>,
}

/// The reads of one datagram.
#[derive(Clone, Copy)]
struct Group {
    /// Which datagram of the inbox.
    datagram: usize,
    request_id: u16,
    dialect: Dialect,
    first: usize,
    end: usize,
}

/// What became of a datagram.
enum Joined {
    /// It is in the batch.
    Batch,
    /// It has to be served alone.
    Serial,
    /// It gets no answer.
    Refused,
    /// The batch has no room for it.
    Full,
}

impl<P: Port> Worker<P> {
    /// Serves the datagrams of the inbox; says whether there were any.
    pub(super) fn serve_datagrams(&mut self, now: Now) -> std::io::Result<bool> {
        let count = self.inbox.datagrams().len();
        if count == 0 {
            return Ok(false);
        }
        self.core.hits.begin_tick();
        self.core.sealed.begin_tick();
        self.core.counters.datagrams_received.add(count as u64);
        let (mut next, mut noted) = (0, 0);
        while next < count {
            let mut alone = ArrayVec::new();
            next = self.serve_batch(next, &mut noted, &mut alone, now);
            for datagram in alone {
                self.serve_alone(datagram as usize, now)?;
            }
            if next < count && !self.outbox.has_room() {
                self.flush()?;
            }
        }
        Ok(true)
    }

    /// Answers the plain reads of as many datagrams as fit a batch, from `first` on; the others are put into `alone`.
    /// Returns the first datagram that is neither. Datagrams before `noted` were looked at in this tick, and counted.
    fn serve_batch(&mut self, first: usize, noted: &mut usize, alone: &mut Alone, now: Now) -> usize {
        let Worker { port, inbox, outbox, core, .. } = self;
        core.watch.mark();
        let mut batch = Batch::new();
        let mut next = first;
        while next < inbox.datagrams().len() && alone.len() < TICK_READS_MAX {
            let datagram = inbox.datagrams()[next];
            let note = next >= *noted;
            *noted = (*noted).max(next + 1);
            match batch.join(core, inbox.peer(&datagram), port.bytes(&datagram), next, note, now) {
                Joined::Batch | Joined::Refused => {}
                Joined::Serial => alone.push(next as u16),
                // More reads than any batch holds.
                Joined::Full if next == first => alone.push(next as u16),
                Joined::Full => break,
            }
            next += 1;
        }
        let parsed_in_vain = alone.len();
        let unanswered = batch.answer(core, inbox, outbox, alone, now);
        core.watch.lap_batch(batch.reads.len(), parsed_in_vain);
        let Some(unanswered) = unanswered else { return next };
        // No room for more replies: these datagrams are looked at again after a flush.
        alone.retain(|&mut datagram| (datagram as usize) < unanswered);
        unanswered
    }

    fn serve_alone(&mut self, datagram: usize, now: Now) -> std::io::Result<()> {
        if !self.outbox.has_room() {
            self.flush()?;
        }
        let Worker { port, inbox, outbox, core, .. } = self;
        let (number, datagram) = (datagram, inbox.datagrams()[datagram]);
        let peer = inbox.peer(&datagram);
        match core.admit(peer, port.bytes(&datagram), number, now, false) {
            Admission::Refused => {}
            Admission::Challenge { request_id, dialect, is_renewal } => {
                core.challenge(peer, (request_id, dialect), is_renewal, outbox, now);
            }
            Admission::Serve { request_id, dialect, body } => {
                core.serve_fresh(peer, (request_id, dialect), body, outbox, now);
            }
        }
        Ok(())
    }
}

impl<'a> Batch<'a> {
    fn new() -> Batch<'a> {
        Batch {
            reads: ArrayVec::new(),
            lookups: ArrayVec::new(),
            owners: ArrayVec::new(),
            groups: ArrayVec::new(),
            stores: ArrayVec::new(),
        }
    }

    /// Takes a datagram in, if it is made of plain reads.
    #[inline]
    fn join(
        &mut self,
        core: &mut Core,
        peer: &PeerAddr,
        bytes: &'a [u8],
        datagram: usize,
        note: bool,
        now: Now,
    ) -> Joined {
        core.counters.bytes_read.add(if note { bytes.len() as u64 } else { 0 });
        let (request_id, dialect, body) = match core.admit(peer, bytes, datagram, now, note) {
            Admission::Serve { request_id, dialect, body } => (request_id, dialect, body),
            Admission::Challenge { .. } => return Joined::Serial,
            Admission::Refused => return Joined::Refused,
        };
        let first = self.reads.len();
        let joined = match dialect {
            Dialect::Text => self.join_commands(core, body, first),
            Dialect::Batch { .. } => self.join_operations(core, body),
        };
        if let (Joined::Batch, end) = (&joined, self.reads.len()) {
            self.groups.push(Group { datagram, request_id, dialect, first, end });
        } else {
            self.reads.truncate(first);
            self.lookups.truncate(first);
            self.owners.truncate(first);
        }
        joined
    }

    #[inline]
    fn join_commands(&mut self, core: &Core, body: &'a [u8], first: usize) -> Joined {
        for command in Commands::new(body, core.value_bytes_max) {
            match command {
                Ok(Command::Get(get)) if get.touch.is_none() => {
                    let mut keys = get.keys().peekable();
                    while let Some(key) = keys.next() {
                        let read = classic(key, get.with_cas, keys.peek().is_none());
                        if !self.push(core, read) {
                            return Joined::Full;
                        }
                    }
                }
                Ok(Command::Meta(meta)) if meta.is_plain_read() => {
                    let form = Form::Meta(MetaForm::of(&meta));
                    if !self.push(core, Read { key: meta.key_word, form, after: After::Nothing }) {
                        return Joined::Full;
                    }
                }
                Ok(Command::Meta(meta)) if meta.kind == Kind::Noop && self.reads.len() > first => {
                    let after = &mut self.reads.last_mut().expect("a read of this datagram").after;
                    match *after {
                        After::Nothing => *after = After::Noop(1),
                        After::Noop(count) => *after = After::Noop(count + 1),
                        After::End => return Joined::Serial,
                    }
                }
                Ok(Command::Store(store)) => {
                    self.expect_store(core, store.key);
                    return Joined::Serial;
                }
                _ => return Joined::Serial,
            }
        }
        if self.reads.len() == first { Joined::Serial } else { Joined::Batch }
    }

    #[inline]
    fn join_operations(&mut self, core: &Core, body: &'a [u8]) -> Joined {
        let Some(frame) = Frame::open(body) else { return Joined::Serial };
        if self.reads.len() + frame.count as usize > TICK_READS_MAX {
            return Joined::Full;
        }
        let mut operations = frame.operations(body);
        while let Some(operation) = operations.next() {
            match operation {
                Some(Operation { code: Code::Get, key, .. }) => {
                    // There is room: it was looked at above.
                    self.push(core, of_frame(key));
                }
                Some(operation) => {
                    self.expect_store(core, operation.key);
                    operations.flatten().for_each(|operation| self.expect_store(core, operation.key));
                    return Joined::Serial;
                }
                None => return Joined::Serial,
            }
        }
        Joined::Batch
    }

    /// Notes a store of our own shard, to bring what it will touch into the cache.
    #[inline]
    fn expect_store(&mut self, core: &Core, key: Key<'a>) {
        if !self.stores.is_full() && core.shards.owner_of(key.bytes()) == core.owner.index() {
            self.stores.push(Lookup { key: key.bytes(), hash: core.shards.hash(key.bytes()) });
        }
    }

    #[inline]
    fn push(&mut self, core: &Core, read: Read<'a>) -> bool {
        if self.reads.is_full() {
            return false;
        }
        self.lookups.push(Lookup { key: read.key, hash: core.shards.hash(read.key) });
        self.owners.push(core.shards.owner_of(read.key) as u8);
        self.reads.push(read);
        true
    }

    /// Looks everything up and writes the replies. Datagrams with a key that only its owner can settle join `alone`.
    /// Returns the first datagram for whose reply there was no room.
    fn answer(
        &self,
        core: &mut Core,
        inbox: &Inbox,
        outbox: &mut Outbox,
        alone: &mut Alone,
        now: Now,
    ) -> Option<usize> {
        let mut found = [Found::Miss; TICK_READS_MAX];
        self.find(core, &mut found);
        core.owner.shard().table.warm(core.shards.items(), &self.stores);
        let (mut hits, mut misses) = (0, 0);
        let mut unanswered = None;
        for group in &self.groups {
            if !outbox.has_room() {
                unanswered = Some(group.datagram);
                break;
            }
            let reads = group.first..group.end;
            if reads.clone().any(|i| self.needs_owner(core, i, found[i])) {
                alone.push(group.datagram as u16);
                continue;
            }
            let datagram: &Datagram = &inbox.datagrams()[group.datagram];
            let mut reply = Reply::framed(outbox.room(), group.request_id, group.dialect);
            for i in reads {
                let mark = reply.mark();
                let hit = match found[i] {
                    Found::Hit(item) => core.answer_hit(
                        &self.reads[i],
                        self.owners[i],
                        self.lookups[i].hash,
                        item,
                        now,
                        &mut reply,
                    ),
                    Found::Miss => false,
                    Found::Unsettled => unreachable!("its datagram is served alone"),
                };
                if hit {
                    hits += 1;
                } else {
                    misses += 1;
                    self.reads[i].answer_miss(&mut reply);
                }
                reply.settle(mark);
            }
            let bytes = reply.finish();
            outbox.commit(inbox.peer(datagram), bytes);
        }
        core.counters.cmd_get.add(hits + misses);
        core.counters.get_hits.add(hits);
        core.counters.get_misses.add(misses);
        unanswered
    }

    /// Whether read `i` must go to the owner of its key.
    #[inline]
    fn needs_owner(&self, core: &Core, i: usize, found: Found) -> bool {
        match found {
            Found::Unsettled => true,
            Found::Miss => false,
            Found::Hit(at) => {
                matches!(self.reads[i].form, Form::Meta(_))
                    && self.reads[i].needs_owner(&core.shards.items().get(at))
            }
        }
    }

    /// One table batch per shard.
    #[inline]
    fn find(&self, core: &Core, found: &mut [Found; TICK_READS_MAX]) {
        let items = core.shards.items();
        if core.shards.count() == 1 {
            let table = &core.shards.shard(0).table;
            return table.find_batch(items, &self.lookups, |i, answer| found[i] = answer);
        }
        for owner in 0..core.shards.count() {
            let mut lookups: ArrayVec<Lookup<'_>, TICK_READS_MAX> = ArrayVec::new();
            let mut places: ArrayVec<u8, TICK_READS_MAX> = ArrayVec::new();
            for (i, lookup) in
                self.lookups.iter().enumerate().filter(|&(i, _)| self.owners[i] as usize == owner)
            {
                lookups.push(*lookup);
                places.push(i as u8);
            }
            let table = &core.shards.shard(owner).table;
            table.find_batch(items, &lookups, |i, answer| found[places[i] as usize] = answer);
        }
    }
}

const _: () = assert!(TICK_READS_MAX <= u8::MAX as usize + 1, "a place in a batch fits 8 bits");
const _: () = assert!(TICK_DATAGRAMS_MAX <= u16::MAX as usize, "a datagram's number fits 16 bits");
