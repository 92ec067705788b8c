//! Commands that the owner of their key executes, and their answers.
//!
//! A command that is stopped leaves no trace: it is executed again, from its beginning, when what stopped it is over.

pub mod answer;
pub mod expiry;
mod meta;
pub mod namespace;
mod operation;
pub mod refused;

use crate::session::execute::answer::put_value;
use crate::session::execute::expiry::due_ms;
use cache::Pin;
use cache::base::clock::Now;
use cache::base::item_ref::ItemRef;
use cache::memory::Unfinished;
use cache::shard::{Blocked, Count, Delete, Deleted, Found, Mode, Outcome, Owner, Store, Terms, WriteError};
use protocol::request::{self, Command, Expiry, Get, Key};
use protocol::{Error, Reply};

/// One command or operation in the hands of the owner of its key.
pub struct Execution<'e, 'b> {
    pub(super) owner: &'e mut Owner,
    pub(super) pin: &'e mut Pin,
    pub(super) now: Now,
    pub(super) reply: &'e mut Reply<'b>,
    pub(super) read: Option<SettledRead>,
    is_patient: bool,
}

/// Why a command was not executed; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Memory was evicted, but other workers may still read it: execute it again in the next tick.
    OnGrace,
    /// The answer does not fit the reply: execute it again with a larger one.
    OnRoom,
    /// It will not work: tell the client.
    Failed(Error),
    /// The same, and the client wants no reply.
    Silent(Error),
}

/// A client's read that the owner settled, as its worker has to count it and to tell the policy of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettledRead {
    /// The key was there.
    Hit {
        /// Its item.
        item: ItemRef,
        /// Its hash.
        hash: u64,
        /// Whether the read leaves a trace, in the item and with the policy.
        leaves_trace: bool,
    },
    /// The key was not there.
    Miss,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Failed(error)
    }
}

impl From<Blocked> for Stop {
    fn from(blocked: Blocked) -> Stop {
        match blocked {
            Blocked::OnGrace | Blocked::OnUnfinished => Stop::OnGrace,
            Blocked::OnScrub => Stop::Failed(Error::Busy),
        }
    }
}

impl From<WriteError> for Stop {
    fn from(error: WriteError) -> Stop {
        match error {
            WriteError::Blocked(blocked) => blocked.into(),
            WriteError::TooLarge => Stop::Failed(Error::TooLargeForCache),
            WriteError::OutOfMemory => Stop::Failed(Error::OutOfMemory),
            WriteError::NotANumber => Stop::Failed(Error::NonNumeric),
        }
    }
}

impl SettledRead {
    pub(super) fn of(found: Option<&Found<'_>>, leaves_trace: bool) -> SettledRead {
        match found {
            Some(found) => SettledRead::Hit { item: found.at, hash: found.hash, leaves_trace },
            None => SettledRead::Miss,
        }
    }
}

/// What a classic store answers.
fn line_of(outcome: Outcome) -> &'static [u8] {
    match outcome {
        Outcome::Stored => b"STORED\r\n",
        Outcome::NotStored => b"NOT_STORED\r\n",
        Outcome::Exists => b"EXISTS\r\n",
        Outcome::NotFound => b"NOT_FOUND\r\n",
    }
}

/// A mode as the cache has it.
pub(super) fn mode_of(mode: request::Mode) -> Mode {
    match mode {
        request::Mode::Set => Mode::Set,
        request::Mode::Add => Mode::Add,
        request::Mode::Replace => Mode::Replace,
        request::Mode::Append => Mode::Append,
        request::Mode::Prepend => Mode::Prepend,
    }
}

impl<'e, 'b> Execution<'e, 'b> {
    /// An execution that answers into `reply`.
    pub fn new(
        owner: &'e mut Owner,
        pin: &'e mut Pin,
        now: Now,
        reply: &'e mut Reply<'b>,
    ) -> Execution<'e, 'b> {
        Execution { owner, pin, now, reply, read: None, is_patient: true }
    }

    /// The same; unless it is patient, it fails for want of memory instead of waiting for it ([`Stop::OnGrace`]).
    pub fn with_patience(self, is_patient: bool) -> Execution<'e, 'b> {
        Execution { is_patient, ..self }
    }

    /// What it read for a client.
    pub fn settled_read(&self) -> Option<SettledRead> {
        self.read
    }

    /// Executes one command and writes its answer. Classic reads go key by key through [`Execution::get`]. Of `flush_all` and
    /// of the deletion of a namespace this is only this shard's part, without an answer: the worker puts the parts together.
    ///
    /// # Errors
    /// [`Stop`]; nothing has changed then, but for what a `set` would have replaced that is refused ([`refused`]).
    pub fn command(&mut self, command: &Command<'_>) -> Result<(), Stop> {
        match self.dispatch(command).map_err(|stop| self.end_of_patience(stop)) {
            Err(Stop::Failed(error)) => Err(self.refused(command, error)),
            done => done,
        }
    }

    pub(super) fn end_of_patience(&self, stop: Stop) -> Stop {
        match stop {
            Stop::OnGrace if !self.is_patient => Stop::Failed(Error::OutOfMemory),
            stop => stop,
        }
    }

    fn dispatch(&mut self, command: &Command<'_>) -> Result<(), Stop> {
        if let Some(namespace) = namespace::invalidated_by(command, self.owner.shards()) {
            return Ok(self.owner.invalidate_namespace(namespace)?);
        }
        match command {
            Command::Store(store) => self.store(store),
            Command::Delete { key, quiet } => self.delete(*key, *quiet),
            Command::Arithmetic { key, up, delta, quiet } => {
                self.arithmetic(&Count::new(key.bytes(), *up, *delta), *quiet)
            }
            Command::Touch { key, expiry, quiet } => self.touch(*key, *expiry, *quiet),
            Command::Meta(meta) => self.meta(meta),
            Command::FlushAll { delay_s, .. } => self.flush(*delay_s),
            Command::TooLarge(_) => Err(Stop::Failed(Error::TooLargeForCache)),
            Command::Get(_)
            | Command::Version
            | Command::Verbosity { .. }
            | Command::MemoryLimit { .. }
            | Command::Stats { .. }
            | Command::Quit
            | Command::ClusterConfig
            | Command::MetaDump
            | Command::Shutdown { .. } => Err(Stop::Failed(Error::UnknownCommand)),
        }
    }

    /// Answers one key of `get` and its kin, without the end, and touches it if the command does.
    ///
    /// # Errors
    /// [`Stop::OnRoom`]; nothing has changed then.
    pub fn get(&mut self, get: &Get<'_>, key: Key<'_>) -> Result<(), Stop> {
        let found = self.owner.find(key.bytes(), self.now);
        if let Some(Found { item, .. }) = &found {
            put_value(self.reply, key.bytes(), item, get.with_cas.then(|| item.cas()));
            if self.reply.overflown() {
                return Err(Stop::OnRoom);
            }
        }
        self.read = Some(SettledRead::of(found.as_ref(), true));
        if let Some(expiry) = get.touch {
            // Behind the read: a time in the past still answers with the value, once.
            self.owner.touch(key.bytes(), due_ms(expiry, self.now), false, self.now);
        }
        Ok(())
    }

    fn store(&mut self, store: &request::Store<'_>) -> Result<(), Stop> {
        let terms = Store {
            flags: store.flags,
            due_ms: due_ms(store.expiry, self.now),
            compare_cas: store.cas,
            ..Store::new(mode_of(store.mode), store.key.bytes(), store.value)
        };
        let outcome = self.owner.store(self.pin, &terms, self.now)?.outcome;
        self.put_line(store.quiet, line_of(outcome))
    }

    /// Publishes a value that has come under the terms of its command, and writes the answer.
    ///
    /// # Errors
    /// [`Stop`], and the value; nothing has changed then.
    pub fn publish(&mut self, command: &Command<'_>, value: Unfinished) -> Result<(), (Stop, Unfinished)> {
        match command {
            Command::Store(store) => {
                let terms = Terms {
                    due_ms: due_ms(store.expiry, self.now),
                    compare_cas: store.cas,
                    ..Terms::new(mode_of(store.mode))
                };
                let published = self.owner.publish(self.pin, value, &terms, self.now);
                let outcome = published.map_err(|back| (back.error.into(), back.unfinished))?.outcome;
                self.reply.put(if store.quiet { b"" } else { line_of(outcome) });
                Ok(())
            }
            Command::Meta(meta) => self.publish_meta(meta, value),
            _ => Err((Stop::Failed(Error::UnknownCommand), value)),
        }
    }

    fn delete(&mut self, key: Key<'_>, quiet: bool) -> Result<(), Stop> {
        let line: &[u8] = match self.owner.delete(self.pin, &Delete::new(key.bytes()), self.now)? {
            Deleted::Done => b"DELETED\r\n",
            Deleted::NotFound | Deleted::Exists => b"NOT_FOUND\r\n",
        };
        self.put_line(quiet, line)
    }

    fn arithmetic(&mut self, count: &Count<'_>, quiet: bool) -> Result<(), Stop> {
        match self.owner.count(self.pin, count, self.now)?.map(|counted| counted.number) {
            None => self.put_line(quiet, b"NOT_FOUND\r\n"),
            Some(_) if quiet => Ok(()),
            Some(number) => {
                self.reply.put_number(number);
                self.put_line(false, b"\r\n")
            }
        }
    }

    fn touch(&mut self, key: Key<'_>, expiry: Expiry, quiet: bool) -> Result<(), Stop> {
        let found = self.owner.touch(key.bytes(), due_ms(expiry, self.now), true, self.now);
        self.put_line(quiet, if found { b"TOUCHED\r\n" } else { b"NOT_FOUND\r\n" })
    }

    fn flush(&mut self, delay_s: i64) -> Result<(), Stop> {
        let due_ms = match Expiry::from_exptime(delay_s) {
            Expiry::Never | Expiry::Past => None,
            expiry => Some(due_ms(expiry, self.now)),
        };
        Ok(self.owner.flush(due_ms)?)
    }

    /// A reply line, unless the command was quiet.
    fn put_line(&mut self, quiet: bool, line: &[u8]) -> Result<(), Stop> {
        if !quiet {
            self.reply.put(line);
        }
        Ok(())
    }
}
