//! The fast way: plain reads of many datagrams, looked up together, across datagrams.
//!
//! A datagram that holds nothing but plain reads (`get gets`, `mg` without a flag that writes, `mn` behind them; a batch
//! frame of GETs) joins the batch; any other one is served alone, behind it (`serial`), and so is a read of a key that its
//! client changes in a datagram before it (`order`). Datagrams of one tick may be answered in any order, as UDP may deliver
//! them in any; commands within a datagram keep theirs.

mod streams;

pub(crate) use streams::{Outcome, Tail};

use crate::guard::{Admission, Admitted};
use crate::limits::TICK_READS_MAX;
use crate::net::{Datagram, Inbox, Outbox, PeerAddr};
use crate::session::Session;
use crate::session::execute::answer::{Form, MetaForm, classic, of_frame};
use crate::session::order::Origin;
use crate::session::order::footprint::{self, Touch};
use crate::session::serial::First;
use crate::session::serial::reads::Reading;
use crate::session::{After, Read};
use crate::udp::UdpSink;
use arrayvec::ArrayVec;
use cache::base::clock::Now;
use cache::shard::Look;
use cache::table::Lookup;
use protocol::batch::{Code, Frame, Operation, Operations};
use protocol::meta::Kind;
use protocol::request::{Command, Commands, Get};
use protocol::{Dialect, Reply};
use std::ops::Range;
use streams::StreamTurn;

/// A datagram of the inbox that is not refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged {
    pub(crate) number: u16,
    pub(crate) admission: Admission,
}

/// One that is served alone, and what was read of it.
#[derive(Clone, Copy)]
pub(crate) struct Waiting<'a> {
    pub(crate) judged: Judged,
    pub(crate) first: Option<First<'a>>,
}

/// Datagrams that are served one by one: as many as a batch has, and those of the batch that only an owner can settle.
pub(crate) type Alone<'a> = ArrayVec<Waiting<'a>, ALONE_MAX>;

pub(crate) const ALONE_MAX: usize = 2 * TICK_READS_MAX;

/// Reads of several datagrams.
pub(crate) struct Batch<'a> {
    pub(crate) reads: ArrayVec<Read<'a>, TICK_READS_MAX>,
    lookups: ArrayVec<Lookup<'a>, TICK_READS_MAX>,
    groups: ArrayVec<Group, TICK_READS_MAX>,
    /// Keys of our own shard that datagrams store which will be served alone: their lines and items can be on the way
    /// meanwhile.
    stores: ArrayVec<Lookup<'a>, TICK_READS_MAX>,
    /// Whose datagram was the last.
    last: Option<Client<'a>>,
    /// The store that the last datagram begins with, if it has to be served alone and was read so far.
    pub(crate) first: Option<First<'a>>,
    /// Connections that joined.
    turns: ArrayVec<StreamTurn, TICK_READS_MAX>,
}

/// Whose datagram joins.
#[derive(Clone, Copy)]
struct Client<'p> {
    peer: &'p PeerAddr,
    /// Known if something is under way.
    origin: Option<Origin>,
    /// Whether reads have to be compared with what the client has under way.
    is_compared: bool,
}

impl<'p> Client<'p> {
    /// The client at `peer`; `last` is the one before, which is often the same.
    #[inline]
    fn of(session: &Session, peer: &'p PeerAddr, last: Option<Client<'p>>) -> Client<'p> {
        let known = last.filter(|last| std::ptr::eq(last.peer, peer)).and_then(|last| last.origin);
        if session.order.is_idle() {
            return Client { peer, origin: known, is_compared: false };
        }
        let origin = known.unwrap_or_else(|| Origin::of(peer, session.executor.shards()));
        Client { peer, origin: Some(origin), is_compared: session.order.has_any_of(origin) }
    }

    #[inline]
    fn origin(&self, session: &Session) -> Origin {
        self.origin.unwrap_or_else(|| Origin::of(self.peer, session.executor.shards()))
    }
}

/// The reads of one datagram.
#[derive(Clone, Copy)]
struct Group {
    judged: Judged,
    first: usize,
    end: usize,
}

/// What became of a datagram.
pub(crate) enum Joined {
    /// It is in the batch.
    Batch,
    /// It has to be served alone.
    Serial,
    /// The batch has no room for it.
    Full,
}

impl<'a> Batch<'a> {
    pub(crate) fn new() -> Batch<'a> {
        Batch {
            reads: ArrayVec::new(),
            lookups: ArrayVec::new(),
            groups: ArrayVec::new(),
            stores: ArrayVec::new(),
            last: None,
            first: None,
            turns: ArrayVec::new(),
        }
    }

    /// Takes a datagram in, if it is made of plain reads.
    #[inline]
    pub(crate) fn join(&mut self, session: &mut Session, admitted: &Admitted<'a>, judged: Judged) -> Joined {
        let Admitted { peer, dialect, body, .. } = *admitted;
        let first = self.reads.len();
        let client = Client::of(session, peer, self.last);
        self.last = Some(client);
        let joined = match dialect {
            Dialect::Text | Dialect::Stream => self.join_commands(session, client, body, first),
            Dialect::Batch { .. } => self.join_operations(session, client, body),
        };
        if let (Joined::Batch, end) = (&joined, self.reads.len()) {
            self.groups.push(Group { judged, first, end });
        } else {
            self.reads.truncate(first);
            self.lookups.truncate(first);
        }
        joined
    }

    #[inline]
    fn join_commands(
        &mut self,
        session: &mut Session,
        client: Client<'_>,
        body: &'a [u8],
        first: usize,
    ) -> Joined {
        let mut commands = Commands::new(body, session.executor.value_bytes_max());
        loop {
            let at = commands.at();
            let command = commands.next();
            let joined = match command {
                None => break,
                Some(Ok(Command::Get(get))) if get.touch.is_none() => self.join_get(session, client, &get),
                Some(Ok(Command::Meta(meta))) if meta.is_plain_read() => {
                    let form = Form::Meta(MetaForm::of(&meta));
                    self.push(session, client, Read { key: meta.key_word, form, after: After::Nothing })
                }
                Some(Ok(Command::Meta(meta))) if meta.kind == Kind::Noop && self.reads.len() > first => {
                    self.join_noop()
                }
                Some(Ok(Command::Store(store))) => {
                    self.expect_write(session, client.origin(session), store.key.bytes());
                    let behind = commands.at();
                    self.first = if at == 0 { Some(First { store, behind }) } else { None };
                    if commands.at() < body.len() {
                        self.expect_commands(session, client, commands);
                    }
                    return Joined::Serial;
                }
                _ => Joined::Serial,
            };
            if !matches!(joined, Joined::Batch) {
                self.expect_commands(session, client, command.into_iter().chain(commands));
                return joined;
            }
        }
        if self.reads.len() == first { Joined::Serial } else { Joined::Batch }
    }

    #[inline]
    fn join_get(&mut self, session: &Session, client: Client<'_>, get: &Get<'a>) -> Joined {
        let mut keys = get.keys().peekable();
        while let Some(key) = keys.next() {
            let read = classic(key, get.with_cas, keys.peek().is_none());
            match self.push(session, client, read) {
                Joined::Batch => {}
                other => return other,
            }
        }
        Joined::Batch
    }

    fn join_noop(&mut self) -> Joined {
        let after = &mut self.reads.last_mut().expect("a read of this datagram").after;
        match *after {
            After::Nothing => *after = After::Noop(1),
            After::Noop(count) => *after = After::Noop(count + 1),
            After::End => return Joined::Serial,
        }
        Joined::Batch
    }

    #[inline]
    fn join_operations(&mut self, session: &mut Session, client: Client<'_>, body: &'a [u8]) -> Joined {
        let Some(frame) = Frame::open(body) else { return Joined::Serial };
        if self.reads.len() + frame.count as usize > TICK_READS_MAX {
            // It may be one that changes something.
            self.expect_operations(session, client, frame.operations(body));
            return Joined::Full;
        }
        let all = frame.operations(body);
        for operation in all {
            let joined = match operation {
                Some(Operation { code: Code::Get, key, .. }) => self.push(session, client, of_frame(key)),
                _ => Joined::Serial,
            };
            if let Joined::Serial = joined {
                self.expect_operations(session, client, all);
                return Joined::Serial;
            }
        }
        Joined::Batch
    }

    /// Notes what commands change of a datagram that is served behind the batch: reads behind it must not be answered before
    /// it. What it stores in our own shard can be on its way into the cache.
    #[inline]
    fn expect_commands(
        &mut self,
        session: &mut Session,
        client: Client<'_>,
        commands: impl Iterator<Item = Result<Command<'a>, protocol::Error>>,
    ) {
        let origin = client.origin(session);
        for command in commands.flatten() {
            if let Command::Store(store) = command {
                self.expect_write(session, origin, store.key.bytes());
            } else {
                expect_command(session, origin, &command);
                self.warm_command(session, &command);
            }
        }
    }

    fn expect_operations(&mut self, session: &mut Session, client: Client<'_>, operations: Operations<'a>) {
        let origin = client.origin(session);
        for operation in operations.flatten() {
            if let Touch::Write(key) = footprint::touch_of(&operation) {
                self.expect_write(session, origin, key);
            }
        }
    }

    /// Notes a change of a key, and a store of our own shard, to bring what it will touch into the cache.
    #[inline]
    fn expect_write(&mut self, session: &mut Session, origin: Origin, key: &'a [u8]) {
        let hash = session.executor.shards().hash(key);
        session.order.expect(origin, hash);
        if !self.stores.is_full() && session.executor.owner_of(key) == session.executor.own_shard() {
            self.stores.push(Lookup { key, hash, table: session.executor.own_shard() as u8 });
        }
    }

    /// Takes a read in, unless it has to wait for something that its client sent before.
    #[inline(always)]
    fn push(&mut self, session: &Session, client: Client<'_>, read: Read<'a>) -> Joined {
        if self.reads.is_full() {
            return Joined::Full;
        }
        let hash = session.executor.shards().hash(read.key);
        if client.is_compared && session.order.concerns(client.origin(session), hash) {
            return Joined::Serial;
        }
        self.lookups.push(Lookup { key: read.key, hash, table: session.executor.owner_of(read.key) as u8 });
        self.reads.push(read);
        Joined::Batch
    }

    /// Looks everything up and writes the replies; what became of connections joins `outcomes`. Datagrams with a key that only its owner can settle join `alone`.
    /// Returns the first datagram for whose reply there was no room.
    pub(crate) fn answer(
        &self,
        session: &mut Session,
        inbox: &Inbox,
        outbox: &mut Outbox,
        alone: &mut Alone<'a>,
        outcomes: &mut Vec<Outcome>,
        now: Now,
    ) -> Option<usize> {
        let own = session.executor.own_shard();
        let mut reading = session.executor.reading(now);
        let mut found = [Look::Miss; TICK_READS_MAX];
        reading.view.find_batch(&self.lookups, |i, look| found[i] = look);
        reading.view.warm(own, &self.stores);
        let mut unanswered = None;
        let mut tally = Tally::default();
        for group in &self.groups {
            if !outbox.has_room() {
                unanswered = Some(group.judged.number as usize);
                break;
            }
            let reads = group.first..group.end;
            if reads.clone().any(|i| self.needs_owner(i, found[i])) {
                alone.push(Waiting { judged: group.judged, first: None });
                continue;
            }
            let datagram: &Datagram = &inbox.datagrams()[group.judged.number as usize];
            let Admission { request_id, dialect, .. } = group.judged.admission;
            let mut sink = UdpSink::new(outbox, inbox.peer(datagram), request_id, dialect);
            let mut reply = sink.reply();
            self.answer_reads(&mut reading, reads, &found, &mut reply, &mut tally);
            let bytes = reply.bytes();
            sink.commit(bytes);
        }
        self.answer_streams(&mut reading, &found, outbox, &mut tally, outcomes);
        tally.count(session);
        unanswered
    }

    /// Writes the answers to the reads of one datagram.
    #[inline(always)]
    fn answer_reads<'g>(
        &self,
        reading: &mut Reading<'_, 'g>,
        reads: Range<usize>,
        found: &[Look<'g>; TICK_READS_MAX],
        reply: &mut Reply<'_>,
        tally: &mut Tally,
    ) {
        let mut mark = reply.mark();
        let mut given_up = false;
        for i in reads {
            let ends_command = self.reads[i].ends_command();
            if given_up {
                // The command has its answer; its other keys have none.
                given_up = !ends_command;
                continue;
            }
            let hit = self.answer_read(reading, i, found[i], reply);
            if reply.overflown() {
                reply.settle(mark);
                given_up = !ends_command;
                // Each operation of a frame has its result: room is kept for those that say only that.
                if reply.is_full() && reply.dialect() == Dialect::Text {
                    break;
                }
            } else {
                tally.note(hit, &self.reads[i]);
            }
            if ends_command | given_up {
                mark = reply.mark();
            }
        }
    }

    /// Writes the answer to read `i`; says whether it is a hit.
    #[inline(always)]
    fn answer_read<'g>(
        &self,
        reading: &mut Reading<'_, 'g>,
        i: usize,
        found: Look<'g>,
        reply: &mut Reply<'_>,
    ) -> bool {
        let (read, lookup) = (&self.reads[i], &self.lookups[i]);
        let hit = match found {
            Look::Hit(found) => reading.answer_hit(read, lookup, found, reply),
            Look::Miss => false,
            Look::Unsettled => unreachable!("its datagram is served alone"),
        };
        if !hit {
            read.answer_miss(reply);
        }
        hit
    }

    /// The datagrams of the batch from this one on.
    pub(crate) fn members_from(&self, number: usize) -> impl Iterator<Item = Judged> {
        self.groups.iter().map(|group| group.judged).filter(move |judged| judged.number as usize >= number)
    }

    /// Whether read `i` must go to the owner of its key.
    #[inline]
    fn needs_owner(&self, i: usize, found: Look<'_>) -> bool {
        match found {
            Look::Unsettled => true,
            Look::Miss => false,
            Look::Hit(found) => {
                matches!(self.reads[i].form, Form::Meta(_)) && self.reads[i].needs_owner(&found.item())
            }
        }
    }
}

/// Reads of a batch that were answered.
#[derive(Default)]
struct Tally {
    hits: u64,
    misses: u64,
    metas: u64,
}

impl Tally {
    #[inline]
    fn note(&mut self, hit: bool, read: &Read<'_>) {
        self.hits += hit as u64;
        self.misses += !hit as u64;
        self.metas += matches!(read.form, Form::Meta(_)) as u64;
    }

    fn add(&mut self, other: &Tally) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.metas += other.metas;
    }

    fn count(&self, session: &Session) {
        session.executor.counters().cmd_get.add(self.hits + self.misses);
        session.executor.counters().get_hits.add(self.hits);
        session.executor.counters().get_misses.add(self.misses);
        session.executor.counters().cmd_meta.add(self.metas);
    }
}

/// Notes what a command changes.
fn expect_command(session: &mut Session, origin: Origin, command: &Command<'_>) {
    let Session { executor, order, .. } = session;
    let shards = executor.shards();
    footprint::touches(shards, command, |touch| match touch {
        Touch::Read(_) | Touch::Fence => {}
        Touch::Write(key) => order.expect(origin, shards.hash(key)),
        Touch::All => order.expect_all(origin),
    });
}
