//! What a datagram that was admitted may still not do: a command for administrators, or one that nobody can read.

use crate::limits::KEY_BYTES_MAX;
use crate::session::serial::Request;
use crate::session::serial::run::Run;
use protocol::meta::Kind;
use protocol::request::Command;
use protocol::{Dialect, Error};

impl<'a> Run<'_, 'a, '_> {
    /// Answers what is wrong with a request, or what its sender may not do. The only place that does, so that no such error
    /// escapes the bound of its source. Beyond the bound the datagram ends here and gets no reply at all: the rest of a
    /// reply could look like something else. What stands before the error has been done, as if the reply had been lost.
    ///
    /// Returns whether the datagram goes on. What a correct command comes to (`SERVER_ERROR busy`, a value that is no
    /// number) is an answer, and has no bound.
    #[cold]
    pub(super) fn answer_fault(&mut self, error: Error) -> bool {
        // Over UDP nobody may, in any mode.
        let is_stream = self.request.admitted.dialect == Dialect::Stream;
        let error = if error == Error::BadShutdownMode && !is_stream { Error::NoShutdown } else { error };
        self.executor.counters.protocol_errors.add(1);
        // Who is connected can be reached, and has asked for it.
        let is_answered =
            is_stream || self.executor.guard.allows_error(&self.request.admitted, self.request.now);
        if is_answered {
            self.reply.put_error(error);
        } else {
            self.executor.counters.errors_muted.add(1);
            self.reply.discard();
        }
        is_answered
    }
}

/// Whether whoever asks may use a command, and its key can be read.
///
/// # Errors
/// [`Error::NotAllowed`], or [`Error::Unsaid`] for a command that wants no reply; the error of a base64 key.
#[inline]
pub(super) fn permit(command: &Command<'_>, request: &Request<'_>) -> Result<(), Error> {
    match command {
        Command::FlushAll { .. }
        | Command::Stats { .. }
        | Command::Verbosity { .. }
        | Command::MemoryLimit { .. }
            if !request.admitted.is_admin() =>
        {
            Err(if command.wants_no_reply() { Error::Unsaid } else { Error::NotAllowed })
        }
        Command::Shutdown { .. }
            if request.admitted.dialect == Dialect::Stream && !request.admitted.is_admin() =>
        {
            Err(Error::NotAllowed)
        }
        // Where it is allowed it ends the connection.
        Command::Shutdown { .. } => Err(Error::NoShutdown),
        Command::MetaDump if request.admitted.dialect != Dialect::Stream => Err(Error::UnknownCommand),
        Command::MetaDump if !request.admitted.is_admin() => Err(Error::NotAllowed),
        Command::ClusterConfig if request.admitted.dialect != Dialect::Stream => Err(Error::UnknownCommand),
        Command::Meta(meta) if meta.has(b'b') && meta.kind != Kind::Noop => {
            meta.key(&mut [0; KEY_BYTES_MAX + 2]).map(drop)
        }
        Command::TooLarge(store) => store.key(&mut [0; KEY_BYTES_MAX + 2]).map(drop),
        _ => Ok(()),
    }
}
