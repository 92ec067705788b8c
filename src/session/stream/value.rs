//! Long values: from the receive buffers into their item, without a buffer between that grows.
//!
//! ```text
//! line ─▶ reserve ─▶ fill, as bytes come ─▶ publish ─▶ the answer        with the owner of the key: here, or by an errand (`forward`)
//!         waits while others have as much    └─▶ abandon: the connection broke, or the value does not end where it should
//! ```
//! What a store comes to is decided when it is published, as in memcached, which links an item when its last byte has come.

use crate::limits::{
    CROWD_WAIT_S, GRACE_WAIT_MS, KEY_BYTES_MAX, VALUE_BYTES_PER_S_MIN, VALUE_GRACE_S, VALUE_GRACE_WAITED_MS,
};
use crate::net::stream::{Demand, Waiting};
use crate::net::{ConnectionId, Outbox, PeerAddr};
use crate::session::Session;
use crate::session::forward::errand::{Errand, Homecoming};
use crate::session::order::Origin;
use crate::session::serial::values::{NoMemory, Patience};
use arrayvec::ArrayVec;
use cache::base::clock::Now;
use cache::memory::Unfinished;
use protocol::meta::Kind;
use protocol::request::{Command, Commands};
use protocol::{Dialect, Error, Reply};

/// A value that is coming.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// The line of its command, with its end.
    line: Box<[u8]>,
    value_bytes: usize,
    pub(crate) stage: Stage,
    /// Since when it waits for memory, in ns since the server epoch; 0 = it does not.
    waits_since_ns: u64,
    /// Its wait for room that other values have.
    waiting: Option<Waiting>,
    /// When it got its memory, in ns since the server epoch.
    room_since_ns: u64,
    /// How long it may have its memory before its rate matters, in ms.
    grace_ms: u64,
}

/// How far it is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// It has no memory yet.
    Line,
    /// Its memory is being asked for, or it is being published, by another owner.
    UnderWay,
    /// It is being filled; behind its last byte a line end has to come.
    Filling(Unfinished, ArrayVec<u8, 2>),
    /// All of it is there.
    Whole(Unfinished),
    /// It is stored or refused, and so many bytes of it are still to come.
    Over(usize),
}

/// What came of asking an owner.
#[derive(Debug)]
pub(crate) enum Asked {
    /// It is done.
    Done(Stage),
    /// Try again in the next tick.
    Later(Stage),
    /// Other values that are coming have the memory: try again when some is free.
    Crowded,
}

/// How a step of a value ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stepped {
    /// As far as it goes.
    Done,
    /// It is tried again in the next tick.
    Later,
    /// It is tried again when memory is free.
    Crowded,
}

impl Incoming {
    /// The value of a store whose line this is.
    pub(crate) fn new(line: &[u8], value_bytes: usize) -> Incoming {
        Incoming {
            line: line.into(),
            value_bytes,
            stage: Stage::Line,
            waits_since_ns: 0,
            waiting: None,
            room_since_ns: 0,
            grace_ms: 0,
        }
    }

    /// An errand for it has come home.
    pub(crate) fn came_home(&mut self, homecoming: Homecoming, now: Now) {
        self.stage = match homecoming {
            Homecoming::Reserved(unfinished) => self.filling(unfinished, now),
            Homecoming::Waits { is_crowded } => {
                self.waits_since_ns = if is_crowded { 0 } else { self.waits_since_ns };
                Stage::Line
            }
            Homecoming::Refused => self.refused(),
            Homecoming::Published => Stage::Over(0),
        };
    }

    /// It has its memory.
    fn filling(&mut self, unfinished: Unfinished, now: Now) -> Stage {
        // What its peer could send while it waited is in the socket by now.
        let waited_ms = self.waiting.take().map_or(0, |waiting| waiting.waited_ms(now.ns));
        self.grace_ms = (VALUE_GRACE_S * 1_000).saturating_sub(waited_ms).max(VALUE_GRACE_WAITED_MS);
        (self.waits_since_ns, self.room_since_ns) = (0, now.ns);
        Stage::Filling(unfinished, ArrayVec::new())
    }

    /// There will be none for it: it is passed over.
    fn refused(&mut self) -> Stage {
        self.waiting = None;
        Stage::Over(self.bytes())
    }

    /// Other values have the room for it.
    pub(crate) fn waits_for_room(&mut self, demand: &Demand, now: Now) {
        self.waiting.get_or_insert_with(|| demand.wait(now.ns));
    }

    /// Whether it has its memory and comes more slowly than one may while others wait for room.
    pub(crate) fn is_slow(&self, now: Now) -> bool {
        let Stage::Filling(unfinished, _) = &self.stage else { return false };
        let had_ms = now.ns.saturating_sub(self.room_since_ns) / 1_000_000;
        had_ms > self.grace_ms
            && (self.value_bytes.saturating_sub(unfinished.missing()) as u64)
                < VALUE_BYTES_PER_S_MIN * had_ms / 1_000
    }

    /// Its memory, if it has any here.
    pub(crate) fn into_memory(self) -> Option<Unfinished> {
        match self.stage {
            Stage::Filling(unfinished, _) | Stage::Whole(unfinished) => Some(unfinished),
            Stage::Line | Stage::UnderWay | Stage::Over(_) => None,
        }
    }

    /// Bytes of the value and its line end.
    pub(crate) fn bytes(&self) -> usize {
        self.value_bytes + LINE_END.len()
    }
}

impl Stage {
    /// Takes bytes of the stream; says how many.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> usize {
        match self {
            Stage::Filling(unfinished, end) => {
                let taken = unfinished.fill(bytes);
                let behind = &bytes[taken..];
                let of_end = behind.len().min(end.remaining_capacity());
                end.extend(behind[..of_end].iter().copied());
                taken + of_end
            }
            Stage::Over(left) => {
                let passed = bytes.len().min(*left);
                *left -= passed;
                passed
            }
            Stage::Line | Stage::UnderWay | Stage::Whole(_) => 0,
        }
    }
}

const LINE_END: &[u8; 2] = b"\r\n";

/// The store of a line, without its value.
pub(crate) fn store_of(line: &[u8], value_bytes_max: usize) -> Option<Command<'_>> {
    Commands::new(line, value_bytes_max).without_values().next()?.ok()
}

/// The key of a store, decoded into `buffer` if it is base64, and the client's flags.
pub(crate) fn key_of<'k>(
    command: &Command<'k>,
    buffer: &'k mut [u8; KEY_BYTES_MAX + 2],
) -> Result<(&'k [u8], u32), Error> {
    match command {
        Command::Store(store) => Ok((store.key.bytes(), store.flags)),
        Command::Meta(meta) if meta.kind == Kind::Set => {
            Ok((meta.key(buffer)?.bytes(), meta.terms.client_flags))
        }
        _ => Err(Error::BadLine),
    }
}

impl Session {
    /// Goes on with a value by one step that needs no more bytes: asks for its memory, or publishes it. The outbox has
    /// room.
    pub(crate) fn advance_value(
        &mut self,
        id: ConnectionId,
        peer: &PeerAddr,
        incoming: &mut Incoming,
        outbox: &mut Outbox,
        now: Now,
    ) -> Stepped {
        let stage = std::mem::replace(&mut incoming.stage, Stage::UnderWay);
        let asked = match stage {
            Stage::Line => self.reserve(id, peer, incoming, outbox, now),
            Stage::Whole(unfinished) => self.publish(id, peer, incoming, unfinished, outbox, now),
            Stage::Filling(unfinished, end) if end.is_full() => {
                self.end_of_value(id, incoming, unfinished, &end, outbox)
            }
            stage => Asked::Done(stage),
        };
        let (stage, stepped) = match asked {
            Asked::Done(stage) => (stage, Stepped::Done),
            Asked::Later(stage) => (stage, Stepped::Later),
            Asked::Crowded => (Stage::Line, Stepped::Crowded),
        };
        incoming.stage = stage;
        stepped
    }

    /// All bytes of a value are there: it must end with a line end.
    fn end_of_value(
        &mut self,
        id: ConnectionId,
        incoming: &Incoming,
        unfinished: Unfinished,
        end: &[u8],
        outbox: &mut Outbox,
    ) -> Asked {
        if end == LINE_END {
            return Asked::Done(Stage::Whole(unfinished));
        }
        self.abandon(unfinished);
        self.answer_value(id, incoming, Error::BadDataChunk, outbox);
        Asked::Done(Stage::Over(0))
    }

    fn reserve(
        &mut self,
        id: ConnectionId,
        peer: &PeerAddr,
        incoming: &mut Incoming,
        outbox: &mut Outbox,
        now: Now,
    ) -> Asked {
        let (owner, patience) = (self.owner_of_value(incoming), incoming.patience(now));
        if owner != self.executor.own_shard() {
            let errand = Errand::Reserve { value_bytes: incoming.value_bytes, patience };
            return match self.send_errand(id, peer, (owner, errand), &incoming.line, None, now) {
                Ok(()) => Asked::Done(Stage::UnderWay),
                Err(_) => Asked::Later(Stage::Line),
            };
        }
        match self.executor.reserve(&incoming.line, incoming.value_bytes, patience, now) {
            Ok(unfinished) => Asked::Done(incoming.filling(unfinished, now)),
            Err(NoMemory::OnGrace) => Asked::Later(Stage::Line),
            Err(NoMemory::Crowded) => {
                incoming.waits_since_ns = 0;
                Asked::Crowded
            }
            Err(NoMemory::Refused(error)) => {
                self.answer_value(id, incoming, error, outbox);
                Asked::Done(incoming.refused())
            }
        }
    }

    fn publish(
        &mut self,
        id: ConnectionId,
        peer: &PeerAddr,
        incoming: &mut Incoming,
        unfinished: Unfinished,
        outbox: &mut Outbox,
        now: Now,
    ) -> Asked {
        let owner = self.owner_of_value(incoming);
        if owner != self.executor.own_shard() {
            let sent =
                self.send_errand(id, peer, (owner, Errand::Publish), &incoming.line, Some(unfinished), now);
            return match sent {
                Ok(()) => Asked::Done(Stage::UnderWay),
                Err(back) => Asked::Later(back.map_or(Stage::Over(0), Stage::Whole)),
            };
        }
        let is_patient = incoming.waits(now);
        let mut reply = Reply::new(outbox.streams.room(), 0, Dialect::Stream);
        let published = self.executor.publish(&incoming.line, unfinished, is_patient, now, &mut reply);
        let bytes = reply.bytes();
        outbox.streams.commit(id, bytes);
        match published {
            Some(unfinished) => Asked::Later(Stage::Whole(unfinished)),
            None => Asked::Done(Stage::Over(0)),
        }
    }

    fn owner_of_value(&self, incoming: &Incoming) -> usize {
        let mut buffer = [0; KEY_BYTES_MAX + 2];
        let command = store_of(&incoming.line, self.executor.value_bytes_max());
        let key = command.as_ref().map(|command| key_of(command, &mut buffer));
        // A key that cannot be read is refused here.
        key.map_or(self.executor.own_shard(), |key| {
            key.map_or(self.executor.own_shard(), |(key, _)| self.executor.owner_of(key))
        })
    }

    /// Says what is wrong with a value, unless its command wants no reply.
    fn answer_value(&mut self, id: ConnectionId, incoming: &Incoming, error: Error, outbox: &mut Outbox) {
        self.executor.note_failure(error);
        let command = store_of(&incoming.line, self.executor.value_bytes_max());
        if !command.is_some_and(|command| command.wants_no_reply()) {
            outbox.streams.send(id, error.line());
        }
    }

    /// Gives up a value.
    pub(crate) fn abandon(&mut self, unfinished: Unfinished) {
        let owner = self.executor.owner_of(unfinished.key());
        if owner == self.executor.own_shard() {
            return self.executor.abandon(unfinished);
        }
        self.to_abandon.push((owner, unfinished));
    }

    /// Sends away values that were given up, as far as pending requests are free.
    pub(crate) fn send_abandoned(&mut self, now: Now) {
        while let Some((owner, unfinished)) = self.to_abandon.pop() {
            let nobody = ConnectionId::NOBODY;
            let errand = (owner, Errand::Abandon);
            if let Err(Some(back)) =
                self.send_errand(nobody, &PeerAddr::NOBODY, errand, b"", Some(unfinished), now)
            {
                return self.to_abandon.push((owner, back));
            }
        }
    }

    /// Whether values wait to be given up.
    pub(crate) fn has_abandoned(&self) -> bool {
        !self.to_abandon.is_empty()
    }

    fn send_errand(
        &mut self,
        id: ConnectionId,
        peer: &PeerAddr,
        (owner, errand): (usize, Errand),
        line: &[u8],
        value: Option<Unfinished>,
        now: Now,
    ) -> Result<(), Option<Unfinished>> {
        let Some(mut pending) = self.pool.take(line.len(), 0, true) else { return Err(value) };
        pending.begin_errand(id, peer, errand, line, value);
        pending.footprint.begin(Origin::of(peer, self.executor.shards()));
        self.send(pending, owner, now);
        Ok(())
    }
}

impl Incoming {
    /// It asks for memory; says for what it may still wait.
    fn patience(&mut self, now: Now) -> Patience {
        let waited_ms = self.waiting.as_ref().map_or(0, |waiting| waiting.waited_ms(now.ns));
        Patience { for_grace: self.waits(now), for_room: waited_ms <= CROWD_WAIT_S * 1_000 }
    }

    /// It waits for memory; says whether it may still do so.
    fn waits(&mut self, now: Now) -> bool {
        if self.waits_since_ns == 0 {
            self.waits_since_ns = now.ns.max(1);
        }
        now.ns - self.waits_since_ns <= GRACE_WAIT_MS * 1_000_000
    }
}
