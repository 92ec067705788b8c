//! The slow way: the commands of one datagram, one after the other.
//!
//! ```text
//! run ─▶ Done
//!     ─▶ Forward   the command at this position belongs to another shard      ┐ the datagram becomes a parcel
//!     ─▶ Wait      its memory is still under grace                            ┘ and goes on from there (`post`)
//! ```

use crate::clock::Now;
use crate::config::limits::KEY_BYTES_MAX;
use crate::item_ref::ItemRef;
use crate::protocol::meta::{Kind, Meta};
use crate::protocol::reply::Mark;
use crate::protocol::request::{Command, Commands, Key};
use crate::protocol::{Dialect, Error, Reply};
use crate::shard::read::{Form, MetaForm, classic, put_result};
use crate::shard::{After, Read, Wait};
use crate::table::Found;
use crate::worker::watch::measure_of;
use crate::worker::{Core, operations};

/// Where in a request: byte of the command, and which part of it (a key of `gat`, a shard of `flush_all`); in a batch
/// frame, byte and number of the operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Byte of the body where the command begins.
    pub at: usize,
    /// Parts of it that are done.
    pub part: usize,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All commands are done.
    Done,
    /// The part at the position belongs to this shard's owner.
    Forward { owner: usize, position: Position, answer_is_value: bool },
    /// The part at the position waits for memory of our own shard.
    Wait { position: Position },
}

/// Where one part of a command has to run.
pub(super) enum Place {
    /// Here: it is done.
    Done,
    /// Here, but later.
    Later,
    /// There.
    Elsewhere(usize),
}

/// A request as the commands see it.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) body: &'a [u8],
    pub(super) dialect: Dialect,
    pub(super) is_admin: bool,
    pub(super) now: Now,
}

impl Core {
    /// Runs the commands of a request from `from` on, until it is done or must be suspended.
    pub(super) fn run(&mut self, request: Request<'_>, from: Position, reply: &mut Reply<'_>) -> Step {
        match request.dialect {
            Dialect::Text => self.run_commands(request, from, reply),
            Dialect::Batch { .. } => self.run_operations(request, from, reply),
        }
    }

    fn run_commands(&mut self, request: Request<'_>, from: Position, reply: &mut Reply<'_>) -> Step {
        let mut part = from.part;
        let mut commands = Commands::resume(request.body, from.at, self.value_bytes_max);
        self.watch.mark();
        loop {
            let at = commands.at();
            let Some(command) = commands.next() else { return Step::Done };
            let mark = reply.mark();
            match command {
                Err(error) => {
                    self.counters.protocol_errors.add(1);
                    if self.errors_muted {
                        self.counters.errors_muted.add(1);
                    } else {
                        reply.put_error(error);
                    }
                }
                Ok(command) => {
                    let step = self.run_command(&command, part, request, reply);
                    if let Err((part, place)) = step {
                        let position = Position { at, part };
                        let answer_is_value = match command {
                            Command::Get(_) => true,
                            Command::Meta(meta) => meta.kind == Kind::Get && meta.has(b'v'),
                            _ => false,
                        };
                        match place {
                            Place::Elsewhere(owner) => {
                                return Step::Forward { owner, position, answer_is_value };
                            }
                            Place::Later => return Step::Wait { position },
                            Place::Done => unreachable!("a part that is done suspends nothing"),
                        }
                    }
                    self.watch.lap(measure_of(&command));
                }
            }
            reply.settle(mark);
            part = 0;
        }
    }

    fn is_for_all_shards(&self, command: &Command<'_>) -> bool {
        matches!(command, Command::FlushAll { .. }) || self.shards.namespace_invalidated_by(command).is_some()
    }

    /// Where the next command or operation begins, after the one at `position` was given up.
    pub(super) fn position_behind(&self, dialect: Dialect, body: &[u8], position: Position) -> Position {
        if dialect != Dialect::Text {
            return operations::behind(body, position);
        }
        let mut commands = Commands::resume(body, position.at, self.value_bytes_max);
        commands.next();
        Position { at: commands.at(), part: 0 }
    }

    /// Executes the part of the command at `position`, as its owner. Returns where the next part begins; `None` if it
    /// waits for memory and is to be tried again, which only one who `is_patient` wants.
    pub(super) fn execute_part(
        &mut self,
        body: &[u8],
        position: Position,
        is_patient: bool,
        now: Now,
        reply: &mut Reply<'_>,
    ) -> Option<Position> {
        let mut commands = Commands::resume(body, position.at, self.value_bytes_max);
        let Some(Ok(command)) = commands.next() else { return Some(Position { at: commands.at(), part: 0 }) };
        let mark = reply.mark();
        self.watch.mark();
        let done = self.owner.execute(&command, position.part, now, reply);
        self.note_settled_read(now);
        self.watch.lap(measure_of(&command));
        conclude(done, is_patient, mark, reply)?;
        let has_more_parts = match command {
            Command::Get(_) => true,
            // A part of a command that goes to every shard answers nothing but an error, and that ends the command.
            command => reply.mark() == mark && self.is_for_all_shards(&command),
        };
        Some(if has_more_parts {
            Position { at: position.at, part: position.part + 1 }
        } else {
            Position { at: commands.at(), part: 0 }
        })
    }

    /// Runs one command from `part` on; an error says at which part it stopped, and where that has to run.
    fn run_command(
        &mut self,
        command: &Command<'_>,
        part: usize,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), (usize, Place)> {
        if self.shards.namespace_invalidated_by(command).is_some() {
            return self.invalidate(command, part, request, reply);
        }
        match command {
            Command::Get(get) => {
                for (part, key) in get.keys().enumerate().skip(part) {
                    let place = match get.touch {
                        Some(_) => self.write(command, part, key.bytes(), request, reply),
                        None => {
                            let read = classic(key, get.with_cas, false);
                            self.read(command, part, &read, request, reply)
                        }
                    };
                    stop_unless_done(part, place)?;
                }
                reply.put(b"END\r\n");
                Ok(())
            }
            Command::Store(store) => {
                stop_unless_done(0, self.write(command, 0, store.key.bytes(), request, reply))
            }
            Command::Delete { key, .. } | Command::Arithmetic { key, .. } | Command::Touch { key, .. } => {
                stop_unless_done(0, self.write(command, 0, key.bytes(), request, reply))
            }
            Command::Meta(meta) => self.run_meta(command, meta, request, reply),
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

    fn run_meta(
        &mut self,
        command: &Command<'_>,
        meta: &Meta<'_>,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), (usize, Place)> {
        if meta.kind == Kind::Noop {
            reply.put(b"MN\r\n");
            return Ok(());
        }
        if meta.is_plain_read() {
            let form = Form::Meta(MetaForm::of(meta));
            let read = Read { key: meta.key_word, form, after: After::Nothing };
            return stop_unless_done(0, self.read(command, 0, &read, request, reply));
        }
        let mut buffer = [0; KEY_BYTES_MAX + 2];
        match meta.key(&mut buffer).map(Key::bytes) {
            Ok(key) => stop_unless_done(0, self.write(command, 0, key, request, reply)),
            Err(error) => {
                reply.put_error(error);
                Ok(())
            }
        }
    }

    fn administrate(
        &mut self,
        command: &Command<'_>,
        part: usize,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), (usize, Place)> {
        if !request.is_admin {
            reply.put_error(Error::NotAllowed);
            return Ok(());
        }
        match command {
            Command::FlushAll { quiet, .. } => {
                let done = self.in_all_shards(command, part, request, reply)?;
                reply.put(if *quiet || !done { b"" } else { b"OK\r\n" });
            }
            Command::Stats { what } => match (self.teller)(what, &self.shards) {
                Some(text) => reply.put(&text),
                None => reply.put_error(Error::UnknownCommand),
            },
            // Memory is fixed at start, so a limit can only hold already.
            Command::MemoryLimit { quiet: true, .. } => {}
            Command::MemoryLimit { mib, .. } => reply.put(match self.owner.items().bytes() >> 20 {
                used_mib if used_mib <= *mib as usize => b"OK\r\n",
                _ => b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n",
            }),
            Command::Verbosity { quiet } => reply.put(if *quiet { b"" } else { b"OK\r\n" }),
            _ => unreachable!("only these are for administrators"),
        }
        Ok(())
    }

    /// A new generation of a namespace, answered as the delete that it was asked for with.
    fn invalidate(
        &mut self,
        command: &Command<'_>,
        part: usize,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), (usize, Place)> {
        if !self.in_all_shards(command, part, request, reply)? {
            return Ok(());
        }
        match command {
            Command::Meta(meta) if !meta.quiet() => {
                let mut buffer = [0; KEY_BYTES_MAX + 2];
                let key = meta.key(&mut buffer).expect("a namespace was found by it").bytes();
                put_result(reply, b"HD", &MetaForm::of(meta), key);
            }
            Command::Delete { quiet: false, .. } => reply.put(b"DELETED\r\n"),
            _ => {}
        }
        Ok(())
    }

    /// Runs the parts of a command that goes to every shard, from `part` on; says whether all are done without an error.
    fn in_all_shards(
        &mut self,
        command: &Command<'_>,
        part: usize,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<bool, (usize, Place)> {
        for shard in part..self.shards.count() {
            if shard != self.owner.index() {
                return Err((shard, Place::Elsewhere(shard)));
            }
            let mark = reply.mark();
            stop_unless_done(shard, self.execute_here(command, shard, request.now, reply))?;
            if reply.mark() != mark {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A plain read, outside the batch.
    fn read(
        &mut self,
        command: &Command<'_>,
        part: usize,
        read: &Read<'_>,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Place {
        match self.read_shared(read, request.now, reply) {
            Some(()) => Place::Done,
            None => self.write(command, part, read.key, request, reply),
        }
    }

    /// Answers a read from the table that its key belongs to, whosever that is; `None` if only the owner can settle it.
    pub(super) fn read_shared(&mut self, read: &Read<'_>, now: Now, reply: &mut Reply<'_>) -> Option<()> {
        let owner = self.shards.owner_of(read.key);
        let hash = self.shards.hash(read.key);
        let hit = match self.shards.shard(owner).table.find(self.shards.items(), hash, read.key) {
            Found::Hit(at) if !read.needs_owner(&self.shards.items().get(at)) => {
                self.answer_hit(read, owner as u8, hash, at, now, reply)
            }
            Found::Miss => false,
            Found::Hit(_) | Found::Unsettled => {
                self.counters.unsettled_misses.add(1);
                return None;
            }
        };
        self.counters.cmd_get.add(1);
        if hit {
            self.counters.get_hits.add(1);
        } else {
            self.counters.get_misses.add(1);
            read.answer_miss(reply);
        }
        Some(())
    }

    /// A part that only the owner of its key may execute.
    fn write(
        &mut self,
        command: &Command<'_>,
        part: usize,
        key: &[u8],
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Place {
        let owner = self.shards.owner_of(key);
        if owner != self.owner.index() {
            return Place::Elsewhere(owner);
        }
        self.execute_here(command, part, request.now, reply)
    }

    fn execute_here(&mut self, command: &Command<'_>, part: usize, now: Now, reply: &mut Reply<'_>) -> Place {
        let mark = reply.mark();
        let done = self.owner.execute(command, part, now, reply);
        self.note_settled_read(now);
        match done {
            Ok(()) => Place::Done,
            Err(Wait::ForGrace) => {
                reply.rewind(mark);
                Place::Later
            }
            Err(Wait::Never(error)) => {
                reply.put_error(error);
                Place::Done
            }
        }
    }

    /// Answers a hit, unless the item's time is over; notes it for the policy.
    #[inline]
    pub(super) fn answer_hit(
        &mut self,
        read: &Read<'_>,
        owner: u8,
        hash: u64,
        at: ItemRef,
        now: Now,
        reply: &mut Reply<'_>,
    ) -> bool {
        let item = self.shards.items().get(at);
        if !self.shards.shard(owner as usize).is_live(&item, now) {
            return false;
        }
        read.answer_hit(&item, now, reply);
        if read.leaves_trace() {
            let told = self.hits.note(at, hash, &self.counters);
            item.note_access(now.s(), told);
        }
        true
    }
}

/// Ends what was written since `mark` as it came out; `None` if it is to be tried again.
pub(super) fn conclude(
    done: Result<(), Wait>,
    is_patient: bool,
    mark: Mark,
    reply: &mut Reply<'_>,
) -> Option<()> {
    if let Err(wait) = done {
        reply.rewind(mark);
        match wait {
            Wait::ForGrace if is_patient => return None,
            Wait::ForGrace => reply.put_error(Error::OutOfMemory),
            Wait::Never(error) => reply.put_error(error),
        }
    }
    reply.settle(mark);
    Some(())
}

fn stop_unless_done(part: usize, place: Place) -> Result<(), (usize, Place)> {
    match place {
        Place::Done => Ok(()),
        elsewhere => Err((part, elsewhere)),
    }
}
