//! Commands that are executed for another worker, whose shard is this one's.

use crate::limits::{ANSWER_LINE_BYTES_MAX, KEY_BYTES_MAX};
use crate::session::execute::namespace::invalidated_by;
use crate::session::execute::refused::remove_replaced;
use crate::session::profiler::measure_of;
use crate::session::serial::Executor;
use crate::session::serial::position::{KeysLeft, Position};
use crate::session::{Execution, Stop};
use cache::base::clock::Now;
use protocol::meta::Kind;
use protocol::reply::Mark;
use protocol::request::{Command, Commands, Get};
use protocol::{Dialect, Error, Reply};

/// What came of a part that was executed for another worker.
pub(crate) enum Executed {
    /// It is done; the next part begins here.
    Done(Position),
    /// It waits for memory.
    Waits,
    /// It did nothing: its answer does not fit.
    NeedsRoom,
}

impl Executor {
    fn is_for_all_shards(&self, command: &Command<'_>) -> bool {
        matches!(command, Command::FlushAll { .. }) || invalidated_by(command, &self.shards).is_some()
    }

    /// Executes the part of the command at `position`, as its owner, and what follows it and is ours: so a datagram over two
    /// owners travels once a run of keys and commands. If the first is patient it waits for memory.
    pub(crate) fn execute_parts(
        &mut self,
        body: &[u8],
        position: Position,
        is_patient: bool,
        now: Now,
        reply: &mut Reply<'_>,
    ) -> Executed {
        let mut reached = position;
        loop {
            let is_first = reached == position;
            let Some((command, behind)) = self.command_at(body, reached, reply.dialect()) else {
                // Only what is no command of an owner's gets here: its home worker answers it.
                return Executed::Done(reached);
            };
            if !is_first && !self.goes_on_with(&command, reply) {
                return Executed::Done(reached);
            }
            match self.execute_part(&command, (body, behind), reached, is_patient, now, reply) {
                Executed::Done(next) if next == reached => return Executed::Done(next),
                Executed::Done(next) => reached = next,
                // Its home worker sends it again, and then it may wait.
                _ if !is_first => return Executed::Done(reached),
                halted => return halted,
            }
        }
    }

    /// The command or operation of our own shard at `position` has waited for memory for too long.
    #[cold]
    pub(crate) fn refuse_for_memory(&mut self, body: &[u8], position: Position, dialect: Dialect, now: Now) {
        let error = Error::OutOfMemory;
        self.note_failure(error);
        if let Dialect::Batch { .. } = dialect {
            return self.refuse_operation(body, position, error, now);
        }
        if let Some((command, _)) = self.command_at(body, position, dialect) {
            remove_replaced(&command, error, &mut self.owner, &mut self.pin, now);
        }
    }

    /// The command at `position`, or what is left of it, and where the next one begins; `None` for what is none.
    fn command_at<'a>(
        &self,
        body: &'a [u8],
        position: Position,
        dialect: Dialect,
    ) -> Option<(Command<'a>, usize)> {
        if let Some(left) = position.keys {
            return Some((Command::Get(left.get(body)), left.behind));
        }
        let mut commands = Commands::resume(body, position.at, self.value_bytes_max).of(dialect);
        let command = commands.next()?.ok()?;
        Some((command, commands.at()))
    }

    /// Whether a command that follows one which was sent to us is ours as well, and has room for its answer.
    fn goes_on_with(&self, command: &Command<'_>, reply: &Reply<'_>) -> bool {
        if self.work.is_spent() || reply.room() < ANSWER_LINE_BYTES_MAX {
            return false;
        }
        let is_ours = |key: &[u8]| self.owner_of(key) == self.owner.index();
        match command {
            // Reads that need no owner, and the end of one that does, are for the home worker.
            Command::Get(Get { touch: None, .. }) => false,
            Command::Get(get) => get.split_first().is_some_and(|(key, _)| is_ours(key.bytes())),
            _ if self.is_for_all_shards(command) => false,
            Command::Store(store) => is_ours(store.key.bytes()),
            Command::TooLarge(store) => {
                store.key(&mut [0; KEY_BYTES_MAX + 2]).is_ok_and(|key| is_ours(key.bytes()))
            }
            Command::Delete { key, .. } | Command::Arithmetic { key, .. } | Command::Touch { key, .. } => {
                is_ours(key.bytes())
            }
            Command::Meta(meta) if meta.kind == Kind::Noop || meta.is_plain_read() => false,
            Command::Meta(meta) => {
                meta.key(&mut [0; KEY_BYTES_MAX + 2]).is_ok_and(|key| is_ours(key.bytes()))
            }
            _ => false,
        }
    }

    /// Executes the part of a command, which was read from `body`, and behind which the next one begins.
    fn execute_part(
        &mut self,
        command: &Command<'_>,
        (body, behind): (&[u8], usize),
        position: Position,
        is_patient: bool,
        now: Now,
        reply: &mut Reply<'_>,
    ) -> Executed {
        let mark = reply.mark();
        self.profiler.mark();
        let mut keys = None;
        let mut execution =
            Execution::new(&mut self.owner, &mut self.pin, now, reply).with_patience(is_patient);
        let done = match command {
            Command::Get(get) => match get.split_first() {
                Some((key, rest)) => {
                    keys = Some(KeysLeft::of(&rest, body, behind));
                    execution.get(get, key)
                }
                None => return Executed::Done(position),
            },
            _ => execution.command(command),
        };
        let read = execution.settled_read();
        self.note_settled_read(read, now);
        self.work.spend(self.owner.take_written_bytes());
        self.profiler.record_stage(measure_of(command));
        let is_done = !matches!(done, Err(Stop::OnGrace | Stop::OnRoom));
        // The deletion of a namespace is counted where its parts are put together.
        let is_meta = is_meta(command) && !self.is_for_all_shards(command);
        self.counters.cmd_meta.add((is_done && is_meta) as u64);
        self.note_stop(done);
        if let Some(halted) = conclude(done, mark, reply) {
            return halted;
        }
        // A part of a command that goes to every shard answers nothing but an error, and that ends the command.
        let has_more_parts = reply.mark() == mark && self.is_for_all_shards(command);
        Executed::Done(if keys.is_some() {
            Position { keys, ..position }
        } else if has_more_parts {
            Position { part: position.part + 1, ..position }
        } else {
            Position { at: behind, part: 0, keys: None, reply_bytes: reply.bytes() }
        })
    }
}

/// Whether a command counts as a meta command.
pub(crate) fn is_meta(command: &Command<'_>) -> bool {
    match command {
        Command::Meta(meta) => meta.kind != Kind::Noop,
        Command::TooLarge(store) => store.is_meta,
        _ => false,
    }
}

/// Ends what was written since `mark` as it came out; says what has to happen first if it is not done.
pub(crate) fn conclude(done: Result<(), Stop>, mark: Mark, reply: &mut Reply<'_>) -> Option<Executed> {
    let Err(stop) = done else {
        reply.settle(mark);
        return None;
    };
    reply.rewind(mark);
    match stop {
        Stop::OnRoom => return Some(Executed::NeedsRoom),
        Stop::OnGrace => return Some(Executed::Waits),
        Stop::Failed(error) => reply.put_error(error),
        Stop::Silent(_) => {}
    }
    None
}
