//! The commands of a connection, one by one: everything but plain reads, which the batch answers.

use crate::guard::Admitted;
use crate::limits::{LONG_REPLY_ROOM_BYTES, SMALL_REQUEST_BYTES};
use crate::net::{ConnectionId, Outbox};
use crate::session::Session;
use crate::session::order::Origin;
use crate::session::serial::{Position, Request, Step};
use cache::base::clock::Now;
use protocol::meta::Kind;
use protocol::request::{Command, Commands, Missing, Parsed};
use protocol::{Dialect, Error, Reply, binary};
use std::ops::Range;

/// How a turn of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// All that is there is done; the rest, if any, is not a whole command.
    Input(Position),
    /// There is more for the next turn.
    Turn(Position),
    /// A pending request is under way; what follows it begins here.
    UnderWay(Position),
    /// The same of a store that is refused, of which so many bytes are still to come.
    UnderWayRefused(usize),
    /// No pending request is free: it is tried again in the next tick.
    Waits(Position),
    /// The next answer is longer than the room of an outbox.
    Long(Position),
    /// All items are listed before the command at the position.
    Dump(Position),
    /// The read at the position has a longer line than others may have: its keys are read one by one.
    ReadKeys(Position),
    /// A store is refused, and so many bytes of it are still to come.
    Refused(usize),
    /// It ends here.
    Close,
}

/// Why a connection is hung up on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// A line, or a key in it, is longer than any may be.
    LongLine,
    /// There is no memory to keep what is cut.
    Memory,
}

/// What travels of a connection, and where what follows begins.
struct Travels {
    /// Of the body.
    range: Range<usize>,
    /// Where it stands in that.
    position: Position,
    rest: Position,
    /// Bytes of a refused value that are still to come behind the body.
    to_come: usize,
}

impl Session {
    /// Serves commands of a connection from a position on. The outbox has room.
    pub(crate) fn serve_stream(
        &mut self,
        id: ConnectionId,
        admitted: Admitted<'_>,
        from: Position,
        outbox: &mut Outbox,
        now: Now,
    ) -> Progress {
        let mut reply = Reply::new(outbox.streams.room(), 0, Dialect::Stream);
        self.executor.begin_turn();
        let progress = self.run_stream(id, admitted, from, &mut reply, now);
        let bytes = reply.bytes();
        outbox.streams.commit(id, bytes);
        progress
    }

    /// Serves one command, or one key of it, with a reply that may be as long as any value: what follows may do with less. The outbox has nothing
    /// for the connection. Returns the bytes of the reply, too.
    pub(crate) fn serve_long(
        &mut self,
        id: ConnectionId,
        admitted: Admitted<'_>,
        from: Position,
        outbox: &mut Outbox,
        now: Now,
    ) -> (Progress, usize) {
        let mut buffer = vec![0; self.executor.value_bytes_max() + LONG_REPLY_ROOM_BYTES];
        let mut reply = Reply::new(&mut buffer, 0, Dialect::Stream);
        self.executor.begin_short_turn();
        let mut progress = self.run_stream(id, admitted, from, &mut reply, now);
        if let Progress::Long(position) = progress {
            // Longer than the longest value: some `stats` perhaps.
            let position = Position { reply_bytes: 0, ..position };
            progress =
                Progress::Turn(self.refuse_part(admitted.body, position, Error::OutOfMemory, &mut reply));
        }
        let bytes = reply.bytes();
        buffer.truncate(bytes);
        buffer.shrink_to_fit();
        // A key of many that is gone by now has no answer of its own.
        if bytes > 0 {
            outbox.streams.send_long(id, buffer);
        }
        (progress, bytes)
    }

    /// Tells a request in the retired binary protocol that it is not spoken.
    #[cold]
    pub(crate) fn refuse_binary_stream(&self, id: ConnectionId, request: &[u8], outbox: &mut Outbox) {
        self.executor.counters().refused_binary.add(1);
        if let Some(answer) = binary::refusal(request) {
            outbox.streams.send(id, &answer);
        }
    }

    /// Counts why a connection is hung up on, and tells it if the fault is not its own. Where a line has no end memcached hangs up without
    /// a word, too: what it was sent speaks another protocol, or is not to be trusted.
    #[cold]
    pub(crate) fn give_up_stream(&self, id: ConnectionId, why: GivenUp, outbox: &mut Outbox) {
        let counters = self.executor.counters();
        match why {
            GivenUp::LongLine => counters.protocol_errors.add(1),
            GivenUp::Memory => {
                counters.streams_over_memory.add(1);
                outbox.streams.send(id, Error::OutOfMemory.line());
            }
        }
    }

    fn run_stream(
        &mut self,
        id: ConnectionId,
        admitted: Admitted<'_>,
        from: Position,
        reply: &mut Reply<'_>,
        now: Now,
    ) -> Progress {
        let request = Request { admitted, now, may_grow: true, may_yield: true, follows: false };
        let step = self.executor.run(request, from, None, reply);
        match step {
            Step::Done => unreachable!("a stream has no end of its own"),
            Step::Cut { position } => Progress::Input(position),
            Step::ReadKeys { position } => Progress::ReadKeys(position),
            Step::Refused { to_come } => Progress::Refused(to_come),
            Step::Dump { position } => Progress::Dump(position),
            Step::Close => Progress::Close,
            Step::Yield { position } => Progress::Turn(position),
            Step::Enlarge { position } if reply.bytes() == 0 => Progress::Long(position),
            Step::Enlarge { position } => Progress::Turn(position),
            Step::Forward { position, .. } | Step::Wait { position } => {
                self.send_on(id, admitted, step, position, now).unwrap_or(Progress::Waits(position))
            }
        }
    }

    /// Suspends the command at `position`, with those behind it that have short answers as well; says where the connection goes on.
    /// `None`: no pending request is free.
    fn send_on(
        &mut self,
        id: ConnectionId,
        admitted: Admitted<'_>,
        step: Step,
        position: Position,
        now: Now,
    ) -> Option<Progress> {
        let Travels { range, position, rest, to_come } = self.what_travels(admitted.body, position);
        let mut pending = self.pool.take(range.len(), 0, true)?;
        pending.begin(&Admitted { body: &admitted.body[range], ..admitted }, b"");
        pending.connection = Some(id);
        pending.footprint.begin(Origin::of(admitted.peer, self.executor.shards()));
        let step = match step {
            Step::Forward { owner, .. } => Step::Forward { owner, position },
            _ => Step::Wait { position },
        };
        self.begin(pending, step, now);
        Some(if to_come == 0 { Progress::UnderWay(rest) } else { Progress::UnderWayRefused(to_come) })
    }

    fn what_travels(&self, body: &[u8], position: Position) -> Travels {
        let inner = Position { part: position.part, ..Position::default() };
        if let Some(keys) = position.keys
            && let Some((first, rest)) = keys.split_first(body)
        {
            // Key by key: values may be long.
            let range = first.range();
            let keys = Some(first.moved_up(range.start));
            let rest = Position { at: position.at, keys: Some(rest), ..Position::default() };
            return Travels { range, position: Position { keys, ..inner }, rest, to_come: 0 };
        }
        let mut commands = Commands::resume(body, position.at, self.executor.value_bytes_max()).of_stream();
        let (mut end, mut to_come) = (position.at, 0);
        loop {
            let is_first = end == position.at;
            let command = match commands.parse() {
                Some(Parsed::Command(command)) => command,
                Some(Parsed::Incomplete { at_least, missing: Missing::TooLargeValue(_), .. }) if is_first => {
                    // Its line is all that its owner has to see.
                    end += memchr::memchr(b'\n', &body[end..]).map_or(0, |at| at + 1);
                    to_come = at_least.get();
                    break;
                }
                _ => break,
            };
            let fits = commands.at() - position.at <= SMALL_REQUEST_BYTES;
            if !(is_first || fits && has_short_answer(&command)) {
                break;
            }
            end = commands.at();
            if !has_short_answer(&command) {
                break;
            }
        }
        let rest = Position { at: end, ..Position::default() };
        Travels { range: position.at..end, position: inner, rest, to_come }
    }
}

/// Whether a command answers with a line and no value.
fn has_short_answer(command: &Command<'_>) -> bool {
    match command {
        Command::Store(_)
        | Command::TooLarge(_)
        | Command::Delete { .. }
        | Command::Arithmetic { .. }
        | Command::Touch { .. } => true,
        Command::Meta(meta) => meta.kind != Kind::Get && meta.kind != Kind::Debug,
        _ => false,
    }
}
