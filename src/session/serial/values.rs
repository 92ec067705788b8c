//! Long values of connections, as the owner of their key sees them: reserved, published or abandoned.

use crate::limits::KEY_BYTES_MAX;
use crate::session::execute::refused::remove_replaced;
use crate::session::serial::Executor;
use crate::session::stream::value::{key_of, store_of};
use crate::session::{Execution, Stop};
use cache::base::clock::Now;
use cache::memory::Unfinished;
use cache::shard::{Blocked, Reserve, WriteError};
use protocol::{Error, Reply};

/// Why there is no memory for a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoMemory {
    /// Readers may still look at it, and the store is patient.
    OnGrace,
    /// Other values that are coming have as much as they may; it waits as long as they do.
    Crowded,
    /// The store will not work.
    Refused(Error),
}

/// For what a value may wait that asks for its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For readers, who may still look at what was evicted, and for a page that is being emptied.
    pub for_grace: bool,
    /// For room that other values have which are coming.
    pub for_room: bool,
}

impl Executor {
    /// Takes the memory for a value of so many bytes, of the store whose line this is.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(crate) fn reserve(
        &mut self,
        line: &[u8],
        value_bytes: usize,
        patience: Patience,
        now: Now,
    ) -> Result<Unfinished, NoMemory> {
        let mut buffer = [0; KEY_BYTES_MAX + 2];
        let command = store_of(line, self.value_bytes_max).ok_or(NoMemory::Refused(Error::BadLine))?;
        let (key, flags) = key_of(&command, &mut buffer).map_err(NoMemory::Refused)?;
        let reserve = Reserve { key, value_bytes, flags };
        let error = match self.owner.reserve(&mut self.pin, &reserve, now) {
            Ok(unfinished) => return Ok(unfinished),
            Err(WriteError::Blocked(Blocked::OnUnfinished)) if patience.for_room => {
                return Err(NoMemory::Crowded);
            }
            Err(WriteError::Blocked(Blocked::OnUnfinished)) => Error::OutOfMemory,
            Err(error) => refusal(error.into(), patience.for_grace).ok_or(NoMemory::OnGrace)?,
        };
        remove_replaced(&command, error, &mut self.owner, &mut self.pin, now);
        Err(NoMemory::Refused(error))
    }

    /// Stores a value that has come, under the terms of its line, and writes the answer. Gives the value back if it has to wait for
    /// memory, and is patient.
    pub(crate) fn publish(
        &mut self,
        line: &[u8],
        unfinished: Unfinished,
        is_patient: bool,
        now: Now,
        reply: &mut Reply<'_>,
    ) -> Option<Unfinished> {
        let Some(command) = store_of(line, self.value_bytes_max) else {
            self.owner.abandon(unfinished);
            return None;
        };
        let mark = reply.mark();
        let mut execution = Execution::new(&mut self.owner, &mut self.pin, now, reply);
        let Err((stop, unfinished)) = execution.publish(&command, unfinished) else { return None };
        reply.rewind(mark);
        let Some(error) = refusal(stop, is_patient) else { return Some(unfinished) };
        self.owner.abandon(unfinished);
        remove_replaced(&command, error, &mut self.owner, &mut self.pin, now);
        self.note_failure(error);
        if !command.wants_no_reply() {
            reply.put_error(error);
        }
        None
    }

    /// Frees the memory of a value that will not come.
    pub(crate) fn abandon(&mut self, unfinished: Unfinished) {
        self.owner.abandon(unfinished);
    }

    /// Whether the store of a line wants no reply.
    pub(crate) fn is_quiet(&self, line: &[u8]) -> bool {
        store_of(line, self.value_bytes_max).is_some_and(|command| command.wants_no_reply())
    }
}

/// The error that a store is refused with; `None` if it waits for memory, and is patient.
fn refusal(stop: Stop, is_patient: bool) -> Option<Error> {
    match stop {
        Stop::OnGrace | Stop::OnRoom if is_patient => None,
        Stop::OnGrace | Stop::OnRoom => Some(Error::OutOfMemory),
        Stop::Failed(error) | Stop::Silent(error) => Some(error),
    }
}
