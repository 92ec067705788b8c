//! Connections in the batch: the plain reads that their input begins with. Unlike a datagram, which is in the batch as a whole or
//! not at all, a connection joins with as many reads as there is room for, and goes on behind them.

use crate::limits::{STREAM_LINE_BLANKS_MAX, TICK_READS_MAX};
use crate::net::{ConnectionId, Outbox};
use crate::session::batch::{Batch, Tally};
use crate::session::execute::answer::{Form, MetaForm, classic};
use crate::session::serial::Position;
use crate::session::serial::position::KeysLeft;
use crate::session::serial::reads::Reading;
use crate::session::stream::Conversation;
use crate::session::stream::open_get::{OpenGet, is_long_line};
use crate::session::{After, Read, Session};
use cache::shard::Look;
use cache::table::Lookup;
use protocol::meta::Kind;
use protocol::request::{Command, Commands, Get, Missing, Parsed, Store};
use protocol::{Dialect, Reply};

/// A connection's part in a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamTurn {
    pub(crate) id: ConnectionId,
    first: usize,
    end: usize,
    /// Where its reads begin.
    from: Position,
    /// Where it goes on behind them.
    to: Position,
    tail: Tail,
}

/// What stands behind the reads of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing that is a whole command.
    Input,
    /// A command that is run alone.
    Serial,
    /// More reads than the batch had room for.
    More,
    /// Its reads are not answered, because there is no room for the reply.
    Unanswered,
}

/// What became of a connection's part in a batch: it goes on at the position.
pub(crate) type Outcome = (ConnectionId, Position, Tail);

impl<'a> Batch<'a> {
    /// Whether no further connection may join.
    pub(crate) fn is_full(&self) -> bool {
        self.reads.is_full() || self.turns.is_full()
    }

    /// Takes in the plain reads that a connection's window begins with. The batch is not full.
    #[inline]
    pub(crate) fn join_stream(&mut self, session: &Session, conversation: &Conversation, window: &'a [u8]) {
        let first = self.reads.len();
        let from = conversation.position;
        let (to, tail) = self.join_window(session, window, from);
        let turn = StreamTurn { id: conversation.id, first, end: self.reads.len(), from, to, tail };
        self.turns.push(turn);
    }

    #[inline]
    fn join_window(&mut self, session: &Session, window: &'a [u8], from: Position) -> (Position, Tail) {
        let first = self.reads.len();
        let mut at = from.at;
        if let Some(left) = from.keys {
            let get = left.get(window);
            if get.touch.is_some() {
                return (from, Tail::Serial);
            }
            match self.join_keys(session, &get) {
                KeysJoined::All => at = left.behind,
                KeysJoined::Some(rest) => {
                    let keys = Some(KeysLeft::of(&rest, window, left.behind));
                    return (Position { keys, ..from }, Tail::More);
                }
                KeysJoined::None => return (from, Tail::Serial),
            }
        }
        let mut commands =
            Commands::resume(window, at, session.executor.value_bytes_max()).of(Dialect::Stream);
        loop {
            // What becomes of a line that is too long is decided where commands are run one by one.
            let here = Position { at: commands.at(), ..Position::default() };
            match commands.parse() {
                None => return (here, Tail::Input),
                Some(Parsed::Incomplete {
                    missing: Missing::RefusedValue | Missing::TooLargeValue(_),
                    ..
                }) => return (here, Tail::Serial),
                Some(Parsed::Incomplete { .. }) => return (here, Tail::Input),
                Some(Parsed::Command(_)) if is_too_long(window, here.at, commands.at()) => {
                    return (here, Tail::Serial);
                }
                Some(Parsed::Command(Command::Get(get))) if get.touch.is_none() => {
                    match self.join_keys(session, &get) {
                        KeysJoined::All => {}
                        KeysJoined::Some(rest) => {
                            let keys = Some(KeysLeft::of(&rest, window, commands.at()));
                            return (Position { keys, ..here }, Tail::More);
                        }
                        KeysJoined::None => return (here, Tail::More),
                    }
                }
                Some(Parsed::Command(Command::Meta(meta))) if meta.is_plain_read() => {
                    let form = Form::Meta(MetaForm::of(&meta));
                    if !self.take(session, Read { key: meta.key_word, form, after: After::Nothing }) {
                        return (here, Tail::More);
                    }
                }
                Some(Parsed::Command(Command::Meta(meta)))
                    if meta.kind == Kind::Noop && self.reads.len() > first && self.may_join_noop() =>
                {
                    self.join_noop();
                }
                Some(parsed) => {
                    self.expect_stream(session, parsed, commands);
                    return (here, Tail::Serial);
                }
            }
        }
    }

    /// Brings into the cache what the commands will touch that are run alone, behind the batch.
    #[inline]
    fn expect_stream(&mut self, session: &Session, first: Parsed<'a>, mut commands: Commands<'a>) {
        let mut next = Some(first);
        while let Some(Parsed::Command(command)) = next
            && !self.stores.is_full()
        {
            self.warm_command(session, &command);
            next = commands.parse();
        }
    }

    /// Brings into the cache what a command will touch that is run alone.
    #[inline]
    pub(super) fn warm_command(&mut self, session: &Session, command: &Command<'a>) {
        match command {
            Command::Get(get) => get.keys().for_each(|key| self.warm(session, key.bytes())),
            Command::Store(Store { key, .. })
            | Command::Delete { key, .. }
            | Command::Arithmetic { key, .. }
            | Command::Touch { key, .. } => self.warm(session, key.bytes()),
            Command::Meta(meta) if meta.kind != Kind::Noop && !meta.has(b'b') => {
                self.warm(session, meta.key_word);
            }
            _ => {}
        }
    }

    #[inline]
    fn warm(&mut self, session: &Session, key: &'a [u8]) {
        let own = session.executor.own_shard();
        if !self.stores.is_full() && session.executor.owner_of(key) == own {
            let hash = session.executor.shards().hash(key);
            self.stores.push(Lookup { key, hash, table: own as u8 });
        }
    }

    /// A `mn` can stand behind a meta read only, and not behind the end of a classic one.
    fn may_join_noop(&self) -> bool {
        self.reads.last().is_some_and(|read| read.after != After::End)
    }

    #[inline]
    fn join_keys(&mut self, session: &Session, get: &Get<'a>) -> KeysJoined<'a> {
        let (mut rest, mut is_any) = (*get, false);
        while let Some((key, behind)) = rest.split_first() {
            let is_last = !get.is_open && behind.keys.peek().is_none();
            if !self.take(session, classic(key, get.with_cas, is_last)) {
                return if is_any { KeysJoined::Some(rest) } else { KeysJoined::None };
            }
            (rest, is_any) = (behind, true);
        }
        if is_any { KeysJoined::All } else { KeysJoined::None }
    }

    /// Takes a read in; says whether there was room.
    #[inline(always)]
    fn take(&mut self, session: &Session, read: Read<'a>) -> bool {
        if self.reads.is_full() {
            return false;
        }
        let hash = session.executor.shards().hash(read.key);
        self.lookups.push(Lookup { key: read.key, hash, table: session.executor.owner_of(read.key) as u8 });
        self.reads.push(read);
        true
    }

    /// Writes the replies of all connections. Says what became of each through `settle`.
    pub(super) fn answer_streams<'g>(
        &self,
        reading: &mut Reading<'_, 'g>,
        found: &[Look<'g>; TICK_READS_MAX],
        outbox: &mut Outbox,
        tally: &mut Tally,
        outcomes: &mut Vec<Outcome>,
    ) {
        for turn in &self.turns {
            let (position, tail) = self.answer_stream(turn, reading, found, outbox, tally);
            outcomes.push((turn.id, position, tail));
        }
    }

    fn answer_stream<'g>(
        &self,
        turn: &StreamTurn,
        reading: &mut Reading<'_, 'g>,
        found: &[Look<'g>; TICK_READS_MAX],
        outbox: &mut Outbox,
        tally: &mut Tally,
    ) -> (Position, Tail) {
        let reads = turn.first..turn.end;
        if reads.is_empty() {
            return (turn.to, turn.tail);
        }
        if !outbox.streams.has_room() {
            return (turn.from, Tail::Unanswered);
        }
        if reads.clone().any(|i| self.needs_owner(i, found[i])) {
            return (turn.from, Tail::Serial);
        }
        let mut reply = Reply::new(outbox.streams.room(), 0, Dialect::Stream);
        let mut own = Tally::default();
        for i in reads {
            let hit = self.answer_read(reading, i, found[i], &mut reply);
            own.note(hit, &self.reads[i]);
        }
        if reply.overflown() {
            // Too long for the room of one reply: run alone it goes in several.
            return (turn.from, Tail::Serial);
        }
        tally.add(&own);
        let bytes = reply.bytes();
        outbox.streams.commit(turn.id, bytes);
        (turn.to, turn.tail)
    }
}

/// Whether a command between two places of a window is a line that is longer than lines may be, and no read with many keys.
#[inline]
fn is_too_long(window: &[u8], at: usize, behind: usize) -> bool {
    behind - at > STREAM_LINE_BLANKS_MAX
        && is_long_line(&window[at..])
        && OpenGet::of(&window[at..]).is_none()
}

/// How many keys of a read joined.
enum KeysJoined<'a> {
    All,
    /// These did not.
    Some(Get<'a>),
    None,
}
