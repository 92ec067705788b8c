//! The slow way: the commands of one datagram, one after the other.
//!
//! ```text
//! run ─▶ Done
//!     ─▶ Forward   the command at this position belongs to another shard      ┐
//!     ─▶ Wait      its memory is still under grace                            │ the datagram becomes a pending request
//!     ─▶ Yield     it has had its turn of work                                │ and goes on from there (`post`)
//!     ─▶ Enlarge   its reply needs a larger pending request                            ┘
//! ```

use crate::guard::Admitted;
use crate::limits::{ANSWER_LINE_BYTES_MAX, KEY_BYTES_MAX};
use crate::session::execute::answer::{Form, MetaForm, classic};
use crate::session::execute::namespace::invalidated_by;
use crate::session::profiler::measure_of;
use crate::session::serial::Executor;
use crate::session::serial::permit::permit;
use crate::session::serial::position::{KeysLeft, Position};
use crate::session::{After, Execution, Read, Stop};
use cache::base::clock::Now;
use protocol::meta::{Kind, Meta};
use protocol::reply::Mark;
use protocol::request::{Command, Commands, Get, Key, Store};
use protocol::{Dialect, Error, Reply};

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// All commands are done.
    Done,
    /// The part at the position belongs to this shard's owner.
    Forward { owner: usize, position: Position },
    /// The part at the position waits for memory of our own shard.
    Wait { position: Position },
    /// The turn is over; the rest begins at the position.
    Yield { position: Position },
    /// The reply has no room for the answer to the part at the position.
    Enlarge { position: Position },
}

/// The store that a datagram begins with, which was read when the datagram was looked at: it is not read again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct First<'a> {
    pub(crate) store: Store<'a>,
    /// Where the next command begins.
    pub(crate) behind: usize,
}

/// Why a command stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    /// The part belongs to this shard's owner.
    Elsewhere(usize),
    /// Its memory is under grace.
    Memory,
    /// Its answer does not fit the reply.
    Room,
    /// The turn is over.
    Turn,
}

/// A command that stopped, and where.
pub(crate) struct Halted<'a> {
    pub(crate) why: Halt,
    /// Shards that are done, of a command for all of them.
    pub(crate) part: usize,
    /// The keys that are left, of a classic read.
    pub(crate) keys: Option<Get<'a>>,
}

/// What came of a part that was executed for another worker.
pub(crate) enum Executed {
    /// It is done; the next part begins here.
    Done(Position),
    /// It waits for memory.
    Waits,
    /// It did nothing: its answer does not fit.
    NeedsRoom,
}

/// A request as the commands see it.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) admitted: Admitted<'a>,
    pub(crate) now: Now,
    /// Whether there may be a larger reply than this.
    pub(crate) may_grow: bool,
    /// Whether the rest of it can be left for the next tick.
    pub(crate) may_yield: bool,
    /// Whether its reads go to the owner of their key, behind what was sent to it.
    pub(crate) follows: bool,
}

impl Halt {
    pub(crate) fn at(self, position: Position) -> Step {
        match self {
            Halt::Elsewhere(owner) => Step::Forward { owner, position },
            Halt::Memory => Step::Wait { position },
            Halt::Room => Step::Enlarge { position },
            Halt::Turn => Step::Yield { position },
        }
    }
}

impl From<Halt> for Halted<'_> {
    fn from(why: Halt) -> Self {
        Halted { why, part: 0, keys: None }
    }
}

impl Request<'_> {
    /// Whether there is room for any answer but a value; where the reply can grow it is looked for before anything is done.
    pub(crate) fn expects_room(&self, reply: &Reply<'_>) -> Result<(), Halt> {
        if self.may_grow && reply.room() < ANSWER_LINE_BYTES_MAX { Err(Halt::Room) } else { Ok(()) }
    }
}

impl Executor {
    /// Runs the commands of a request from `from` on, until it is done or must be suspended.
    /// `first` is the command at `from`, where it was read before.
    pub(crate) fn run<'a>(
        &mut self,
        request: Request<'a>,
        from: Position,
        first: Option<&First<'a>>,
        reply: &mut Reply<'_>,
    ) -> Step {
        match request.admitted.dialect {
            Dialect::Text => self.run_commands(request, from, first, reply),
            Dialect::Batch { .. } => self.run_operations(request, from, reply),
        }
    }

    fn run_commands<'a>(
        &mut self,
        request: Request<'a>,
        from: Position,
        mut first: Option<&First<'a>>,
        reply: &mut Reply<'_>,
    ) -> Step {
        let (body, mut part, mut keys) = (request.admitted.body, from.part, from.keys);
        let next = keys.map_or(from.at, |keys| keys.behind);
        let mut commands = Commands::resume(body, next, self.value_bytes_max);
        let (mut at, mut mark) = (from.at, Mark::behind(from.reply_bytes));
        self.profiler.mark();
        loop {
            if !request.may_grow && reply.is_full() {
                // What is done now could not be told.
                return Step::Done;
            }
            let command = match keys.take() {
                Some(left) => Ok(Command::Get(left.get(body))),
                None => {
                    at = commands.at();
                    let Some(command) = self.next_command(body, &mut commands, first.take()) else {
                        return Step::Done;
                    };
                    command
                }
            };
            let permitted = command.as_ref().map_err(|&error| error);
            match permitted.and_then(|command| permit(command, &request).map(|()| command)) {
                Err(error) => {
                    self.work.spend(0);
                    if !self.answer_fault(&request, error, reply) {
                        return Step::Done;
                    }
                }
                Ok(command) => {
                    let halted = self.run_command(command, part, request, reply);
                    self.work.spend_on(command);
                    self.profiler.record_stage(measure_of(command));
                    match halted {
                        Ok(()) => {}
                        Err(Halted { why: Halt::Room, .. }) if !request.may_grow => {
                            reply.give_up(mark, Error::TooLargeForUdp);
                        }
                        Err(Halted { why, part, keys }) => {
                            let keys = keys.map(|get| KeysLeft::of(&get, body, commands.at()));
                            return why.at(Position { at, part, keys, reply_bytes: mark.bytes() });
                        }
                    }
                }
            }
            reply.settle(mark);
            (mark, part) = (reply.mark(), 0);
            if request.may_yield && self.work.is_spent() {
                let (at, reply_bytes) = (commands.at(), reply.bytes());
                return Halt::Turn.at(Position { at, part, keys: None, reply_bytes });
            }
        }
    }

    fn is_for_all_shards(&self, command: &Command<'_>) -> bool {
        matches!(command, Command::FlushAll { .. }) || invalidated_by(command, &self.shards).is_some()
    }

    /// The next command: the first of a datagram may have been read already.
    #[inline]
    fn next_command<'a>(
        &self,
        body: &'a [u8],
        commands: &mut Commands<'a>,
        first: Option<&First<'a>>,
    ) -> Option<Result<Command<'a>, Error>> {
        let Some(&First { store, behind }) = first else { return commands.next() };
        *commands = Commands::resume(body, behind, self.value_bytes_max);
        Some(Ok(Command::Store(store)))
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
            let Some((command, behind)) = self.command_at(body, reached) else {
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

    /// The command at `position`, or what is left of it, and where the next one begins; `None` for what is none.
    fn command_at<'a>(&self, body: &'a [u8], position: Position) -> Option<(Command<'a>, usize)> {
        if let Some(left) = position.keys {
            return Some((Command::Get(left.get(body)), left.behind));
        }
        let mut commands = Commands::resume(body, position.at, self.value_bytes_max);
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

    /// Runs one command from `part` on; an error says why it stopped, and where.
    fn run_command<'a>(
        &mut self,
        command: &Command<'a>,
        part: usize,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Halted<'a>> {
        if let Command::Get(get) = command {
            return self.run_get(*get, request, reply);
        }
        request.expects_room(reply).map_err(|why| Halted { why, part, keys: None })?;
        if invalidated_by(command, &self.shards).is_some() {
            return self.invalidate(command, part, request, reply);
        }
        match command {
            Command::Get(_) => unreachable!("run above"),
            Command::Store(store) => Ok(self.write(command, store.key.bytes(), request, reply)?),
            Command::Delete { key, .. } | Command::Arithmetic { key, .. } | Command::Touch { key, .. } => {
                Ok(self.write(command, key.bytes(), request, reply)?)
            }
            Command::Meta(meta) => Ok(self.run_meta(command, meta, request, reply)?),
            Command::Quit => Ok(()),
            Command::Version => {
                reply.put(concat!("VERSION ", env!("CARGO_PKG_VERSION"), "\r\n").as_bytes());
                Ok(())
            }
            Command::FlushAll { .. }
            | Command::Stats { .. }
            | Command::Verbosity { .. }
            | Command::MemoryLimit { .. } => self.administrate(command, part, request, reply),
        }
    }

    /// The keys of a classic read, one by one.
    fn run_get<'a>(
        &mut self,
        mut get: Get<'a>,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Halted<'a>> {
        let halted = |why, get| Halted { why, part: 0, keys: Some(get) };
        while let Some((key, rest)) = get.split_first() {
            if request.may_yield && self.work.is_spent() {
                return Err(halted(Halt::Turn, get));
            }
            let done = match get.touch {
                Some(_) => self.get_as_owner(&get, key, request, reply),
                None => match self.read(&classic(key, get.with_cas, false), request, reply) {
                    Err(Halt::Elsewhere(owner)) if owner == self.owner.index() => {
                        self.get_as_owner(&get, key, request, reply)
                    }
                    done => done,
                },
            };
            done.map_err(|why| halted(why, get))?;
            get = rest;
        }
        request.expects_room(reply).map_err(|why| halted(why, get))?;
        reply.put(b"END\r\n");
        Ok(())
    }

    fn run_meta(
        &mut self,
        command: &Command<'_>,
        meta: &Meta<'_>,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Halt> {
        if meta.kind == Kind::Noop {
            reply.put(b"MN\r\n");
            return Ok(());
        }
        if meta.is_plain_read() {
            let form = Form::Meta(MetaForm::of(meta));
            let read = Read { key: meta.key_word, form, after: After::Nothing };
            return match self.read(&read, request, reply) {
                Err(Halt::Elsewhere(owner)) if owner == self.owner.index() => {
                    self.write(command, read.key, request, reply)
                }
                done => done,
            };
        }
        let mut buffer = [0; KEY_BYTES_MAX + 2];
        match meta.key(&mut buffer).map(Key::bytes) {
            Ok(key) => self.write(command, key, request, reply),
            Err(error) => {
                reply.put_error(error);
                Ok(())
            }
        }
    }

    /// A command that only the owner of its key may execute.
    fn write(
        &mut self,
        command: &Command<'_>,
        key: &[u8],
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Halt> {
        match self.owner_of(key) {
            owner if owner != self.owner.index() => Err(Halt::Elsewhere(owner)),
            _ => self.execute_here(request.now, reply, |execution| execution.command(command)),
        }
    }

    /// Executes something with our own shard; what has to wait leaves no trace in the reply.
    pub(crate) fn execute_here(
        &mut self,
        now: Now,
        reply: &mut Reply<'_>,
        execute: impl FnOnce(&mut Execution<'_, '_>) -> Result<(), Stop>,
    ) -> Result<(), Halt> {
        let mark = reply.mark();
        let mut execution = Execution::new(&mut self.owner, &mut self.pin, now, reply);
        let done = execute(&mut execution);
        let read = execution.settled_read();
        self.note_settled_read(read, now);
        self.work.spend(self.owner.take_written_bytes());
        let Err(stop) = done else { return Ok(()) };
        reply.rewind(mark);
        match stop {
            Stop::OnGrace => Err(Halt::Memory),
            Stop::OnRoom => Err(Halt::Room),
            Stop::Failed(error) => {
                reply.put_error(error);
                Ok(())
            }
        }
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
    }
    None
}
