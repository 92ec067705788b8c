//! A `set` that is refused removes what the key has, as in memcached: no client is to read an old value behind it.
//!
//! | refused | `set`, `ms` | `ms` that appends or prepends | others |
//! |---|---|---|---|
//! | its value is longer than is taken | removed | removed | stays |
//! | there is no memory for it | removed | stays | stays |
//!
//! An append to a value that is long enough is refused, too, and leaves that as it is. So does what is answered busy: it was not begun.

use crate::limits::KEY_BYTES_MAX;
use crate::session::execute::{Execution, Stop};
use cache::Pin;
use cache::base::clock::Now;
use cache::shard::Owner;
use protocol::Error;
use protocol::batch::{Code, Operation};
use protocol::meta::Kind;
use protocol::request::{Command, Key};

/// Removes what the store would have replaced that was refused with an error.
#[cold]
pub fn remove_replaced(command: &Command<'_>, error: Error, owner: &mut Owner, pin: &mut Pin, now: Now) {
    let mut buffer = [0; KEY_BYTES_MAX + 2];
    if let Error::TooLargeForCache | Error::OutOfMemory = error
        && let Some(key) = replaced_by(command, &mut buffer)
    {
        owner.remove_replaced(pin, key.bytes(), now);
    }
}

/// The same of an operation.
#[cold]
pub fn remove_replaced_by(
    operation: &Operation<'_>,
    error: Error,
    owner: &mut Owner,
    pin: &mut Pin,
    now: Now,
) {
    if let (Code::Set, Error::TooLargeForCache | Error::OutOfMemory) = (operation.code, error) {
        owner.remove_replaced(pin, operation.key.bytes(), now);
    }
}

/// The key of a store that replaces whatever that has.
fn replaced_by<'k>(command: &Command<'k>, buffer: &'k mut [u8; KEY_BYTES_MAX + 2]) -> Option<Key<'k>> {
    match command {
        Command::TooLarge(store) if store.removes => store.key(buffer).ok(),
        Command::Store(store) if store.is_set() => Some(store.key),
        Command::Meta(meta) if meta.kind == Kind::Set && !matches!(meta.terms.mode, Some(b'A' | b'P')) => {
            meta.key(buffer).ok()
        }
        _ => None,
    }
}

impl Execution<'_, '_> {
    /// A command is refused; says how it stops.
    #[cold]
    pub(super) fn refused(&mut self, command: &Command<'_>, error: Error) -> Stop {
        remove_replaced(command, error, self.owner, self.pin, self.now);
        if command.wants_no_reply() { Stop::Silent(error) } else { Stop::Failed(error) }
    }

    /// The same of an operation.
    #[cold]
    pub fn refused_operation(&mut self, operation: &Operation<'_>, error: Error) -> Stop {
        remove_replaced_by(operation, error, self.owner, self.pin, self.now);
        Stop::Failed(error)
    }
}
