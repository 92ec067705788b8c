//! The slow way: the commands of one datagram, one after the other.
//!
//! ```text
//! run ─▶ Done
//!     ─▶ Forward   the command at this position belongs to another shard      ┐
//!     ─▶ Wait      its memory is still under grace                            │ the datagram becomes a pending request
//!     ─▶ Yield     it has had its turn of work                                │ and goes on from there (`forward`)
//!     ─▶ Enlarge   its reply needs a larger pending request                    ┘
//! ```

use crate::VERSION;
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
use protocol::request::{Command, Commands, Get, Key, Parsed, Store};
use protocol::too_large::TooLarge;
use protocol::{Dialect, Error, Reply};

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// All commands are done.
    Done,
    /// Of a stream: all that are wholly there are done; the next begins at the position.
    Cut { position: Position },
    /// Of a stream: the read at the position has a longer line than others may have, and is wrong: its keys are read one by one.
    ReadKeys { position: Position },
    /// Of a stream: a store is refused, and so many bytes of it are still to come.
    Refused { to_come: usize },
    /// Of a stream: the client wants all items listed before the command at the position.
    Dump { position: Position },
    /// Of a stream: the client wants it to end here, or does not speak memcached's protocol.
    Close,
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

/// A request that is running: who executes it, and where its answers go.
pub(super) struct Run<'e, 'a, 'b> {
    pub(super) executor: &'e mut Executor,
    pub(super) request: Request<'a>,
    pub(super) reply: &'e mut Reply<'b>,
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
        let mut run = Run { executor: self, request, reply };
        match request.admitted.dialect {
            Dialect::Text | Dialect::Stream => run.run_commands(from, first),
            Dialect::Batch { .. } => run.run_operations(from),
        }
    }
}

impl<'a> Run<'_, 'a, '_> {
    /// Whether there is room for any answer but a value; where the reply can grow it is looked for before anything is done.
    pub(super) fn expects_room(&self) -> Result<(), Halt> {
        let is_short = self.request.may_grow && self.reply.room() < ANSWER_LINE_BYTES_MAX;
        if is_short { Err(Halt::Room) } else { Ok(()) }
    }

    /// The same before a command. One that changes something is not begun where its answer could not be told, even where the
    /// reply cannot grow.
    fn expects_room_for(&self, command: &Command<'_>) -> Result<(), Halt> {
        let is_told = match command {
            Command::Store(_) | Command::TooLarge(_) | Command::Delete { .. } => true,
            Command::Arithmetic { .. } | Command::Touch { .. } | Command::FlushAll { .. } => true,
            Command::Meta(meta) => meta.kind != Kind::Noop && !meta.is_plain_read(),
            _ => false,
        };
        let is_short = self.reply.room() < ANSWER_LINE_BYTES_MAX && !command.wants_no_reply();
        if is_told && is_short { Err(Halt::Room) } else { self.expects_room() }
    }

    fn run_commands(&mut self, from: Position, mut first: Option<&First<'a>>) -> Step {
        let (body, mut part, mut keys) = (self.request.admitted.body, from.part, from.keys);
        let next = keys.map_or(from.at, |keys| keys.behind);
        let dialect = self.request.admitted.dialect;
        let mut commands = Commands::resume(body, next, self.executor.value_bytes_max).of(dialect);
        let (mut at, mut mark) = (from.at, Mark::behind(from.reply_bytes));
        self.executor.profiler.mark();
        loop {
            if !self.request.may_grow && self.reply.is_full() {
                // What is done now could not be told.
                return Step::Done;
            }
            let command = match keys.take() {
                Some(left) => Ok(Command::Get(left.get(body))),
                None => {
                    at = commands.at();
                    let Some(command) = self.next_command(body, &mut commands, first.take()) else {
                        return self.end_of_commands(at);
                    };
                    if let Some(step) = self.step_of_stream(&command, at, commands.at()) {
                        return step;
                    }
                    command
                }
            };
            let permitted = command.as_ref().map_err(|&error| error);
            match permitted.and_then(|command| permit(command, &self.request).map(|()| command)) {
                Err(error) => {
                    self.executor.work.spend(0);
                    if !self.answer_fault(error) {
                        return Step::Done;
                    }
                }
                Ok(command) => {
                    let halted = self.run_command(command, part);
                    self.executor.work.spend_on(command);
                    if !matches!(halted, Err(Halted { why: Halt::Elsewhere(_), .. })) {
                        self.executor.profiler.record_stage(measure_of(command));
                    }
                    match halted {
                        Ok(()) => {}
                        Err(Halted { why: Halt::Room, .. }) if !self.request.may_grow => {
                            self.reply.give_up(mark, Error::TooLargeForUdp);
                        }
                        Err(Halted { why, part, keys }) => {
                            let keys = keys.map(|get| KeysLeft::of(&get, body, commands.at()));
                            return why.at(Position { at, part, keys, reply_bytes: mark.bytes() });
                        }
                    }
                }
            }
            self.reply.settle(mark);
            (mark, part) = (self.reply.mark(), 0);
            if self.request.may_yield && self.executor.work.is_spent() {
                let (at, reply_bytes) = (commands.at(), self.reply.bytes());
                return Halt::Turn.at(Position { at, part, keys: None, reply_bytes });
            }
        }
    }

    /// Runs one command from `part` on; an error says why it stopped, and where.
    pub(super) fn run_command(&mut self, command: &Command<'a>, part: usize) -> Result<(), Halted<'a>> {
        if let Command::Get(get) = command {
            return self.run_get(*get);
        }
        self.expects_room_for(command).map_err(|why| Halted { why, part, keys: None })?;
        if invalidated_by(command, &self.executor.shards).is_some() {
            return self.invalidate(command, part);
        }
        match command {
            Command::Get(_) => unreachable!("run above"),
            Command::Store(store) => Ok(self.write(command, store.key.bytes())?),
            Command::Delete { key, .. } | Command::Arithmetic { key, .. } | Command::Touch { key, .. } => {
                Ok(self.write(command, key.bytes())?)
            }
            Command::Meta(meta) => Ok(self.count_meta(command, meta)?),
            Command::TooLarge(store) => Ok(self.refuse_store(command, store)?),
            Command::Quit => Ok(()),
            Command::Version => {
                [b"VERSION ", VERSION.as_bytes(), b"\r\n"].iter().for_each(|part| self.reply.put(part));
                Ok(())
            }
            Command::FlushAll { .. }
            | Command::Stats { .. }
            | Command::Verbosity { .. }
            | Command::ClusterConfig
            | Command::Shutdown { .. }
            | Command::MemoryLimit { .. } => self.administrate(command, part),
            Command::MetaDump => unreachable!("not run here"),
        }
    }

    /// The keys of a classic read, one by one.
    fn run_get(&mut self, mut get: Get<'a>) -> Result<(), Halted<'a>> {
        let halted = |why, get| Halted { why, part: 0, keys: Some(get) };
        while let Some((key, rest)) = get.split_first() {
            if self.request.may_yield && self.executor.work.is_spent() {
                return Err(halted(Halt::Turn, get));
            }
            let done = match get.touch {
                Some(_) => self.get_as_owner(&get, key),
                None => match self.read(&classic(key, get.with_cas, false)) {
                    Err(Halt::Elsewhere(owner)) if owner == self.executor.owner.index() => {
                        self.get_as_owner(&get, key)
                    }
                    done => done,
                },
            };
            done.map_err(|why| halted(why, get))?;
            get = rest;
        }
        self.expects_room().map_err(|why| halted(why, get))?;
        self.reply.put(if get.is_open { b"" } else { b"END\r\n" });
        Ok(())
    }

    /// Runs a meta command, and counts it if it is done here.
    fn count_meta(&mut self, command: &Command<'_>, meta: &Meta<'_>) -> Result<(), Halt> {
        let done = self.run_meta(command, meta);
        self.executor.counters.cmd_meta.add((done.is_ok() && meta.kind != Kind::Noop) as u64);
        done
    }

    fn run_meta(&mut self, command: &Command<'_>, meta: &Meta<'_>) -> Result<(), Halt> {
        if meta.kind == Kind::Noop {
            self.reply.put(b"MN\r\n");
            return Ok(());
        }
        if meta.is_plain_read() {
            let form = Form::Meta(MetaForm::of(meta));
            let read = Read { key: meta.key_word, form, after: After::Nothing };
            return match self.read(&read) {
                Err(Halt::Elsewhere(owner)) if owner == self.executor.owner.index() => {
                    self.write(command, read.key)
                }
                done => done,
            };
        }
        let mut buffer = [0; KEY_BYTES_MAX + 2];
        match meta.key(&mut buffer).map(Key::bytes) {
            Ok(key) => self.write(command, key),
            Err(error) => {
                self.reply.put_error(error);
                Ok(())
            }
        }
    }

    /// A store with a longer value than is taken: the owner may have something to remove.
    #[cold]
    fn refuse_store(&mut self, command: &Command<'_>, store: &TooLarge<'_>) -> Result<(), Halt> {
        let mut buffer = [0; KEY_BYTES_MAX + 2];
        let key = store.key(&mut buffer).expect("a key that was permitted").bytes();
        self.write(command, key)?;
        self.executor.counters.cmd_meta.add(store.is_meta as u64);
        Ok(())
    }

    /// A command that only the owner of its key may execute.
    fn write(&mut self, command: &Command<'_>, key: &[u8]) -> Result<(), Halt> {
        match self.executor.owner_of(key) {
            owner if owner != self.executor.owner.index() => Err(Halt::Elsewhere(owner)),
            _ => self.execute_here(|execution| execution.command(command)),
        }
    }

    /// Executes something with our own shard; what has to wait leaves no trace in the reply.
    pub(crate) fn execute_here(
        &mut self,
        execute: impl FnOnce(&mut Execution<'_, '_>) -> Result<(), Stop>,
    ) -> Result<(), Halt> {
        let mark = self.reply.mark();
        let mut execution =
            Execution::new(&mut self.executor.owner, &mut self.executor.pin, self.request.now, self.reply);
        let done = execute(&mut execution);
        let read = execution.settled_read();
        self.executor.note_settled_read(read, self.request.now);
        self.executor.work.spend(self.executor.owner.take_written_bytes());
        let Err(stop) = done else { return Ok(()) };
        self.reply.rewind(mark);
        self.executor.note_stop(done);
        match stop {
            Stop::OnGrace => return Err(Halt::Memory),
            Stop::OnRoom => return Err(Halt::Room),
            Stop::Failed(error) => self.reply.put_error(error),
            Stop::Silent(_) => {}
        }
        Ok(())
    }

    /// The next command: the first of a datagram may have been read already.
    #[inline]
    fn next_command(
        &self,
        body: &'a [u8],
        commands: &mut Commands<'a>,
        first: Option<&First<'a>>,
    ) -> Option<Result<Command<'a>, Error>> {
        if let Some(&First { store, behind }) = first {
            *commands = Commands::resume(body, behind, self.executor.value_bytes_max);
            return Some(Ok(Command::Store(store)));
        }
        match self.request.admitted.dialect {
            Dialect::Stream => match commands.parse()? {
                Parsed::Command(command) => Some(Ok(command)),
                Parsed::Wrong(error) => Some(Err(error)),
                Parsed::Incomplete { .. } => None,
            },
            _ => commands.next(),
        }
    }
}
