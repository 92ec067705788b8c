//! Commands that are not executed after all: their place in the reply says why, unless they want none.

use crate::guard::Admitted;
use crate::session::Session;
use crate::session::forward::pending::PendingRequest;
use crate::session::serial::Position;
use crate::session::serial::operations;
use protocol::reply::Mark;
use protocol::request::Commands;
use protocol::{Dialect, Error, Reply};

impl Session {
    /// Answers the command or operation at `position` with an error, in place of what it has written; returns where the next
    /// one begins.
    #[cold]
    pub(in crate::session) fn refuse_part(
        &self,
        body: &[u8],
        position: Position,
        error: Error,
        reply: &mut Reply<'_>,
    ) -> Position {
        let mark = Mark::behind(position.reply_bytes);
        let (is_answered, next) = match reply.dialect() {
            Dialect::Batch { .. } => (true, operations::behind(body, position)),
            dialect => self.behind(body, position, dialect),
        };
        reply.give_up(mark, if is_answered { error } else { Error::Unsaid });
        Position { reply_bytes: reply.bytes(), ..next }
    }

    /// Whether the command at `position` wants a reply, and where the next one begins.
    fn behind(&self, body: &[u8], position: Position, dialect: Dialect) -> (bool, Position) {
        if let Some(left) = position.keys {
            return (true, Position { at: left.behind, ..Position::default() });
        }
        let mut commands = Commands::resume(body, position.at, self.executor.value_bytes_max()).of(dialect);
        let is_answered = !matches!(commands.next(), Some(Ok(command)) if command.wants_no_reply());
        (is_answered, Position { at: commands.at(), ..Position::default() })
    }

    /// The same for the one that a pending request stands at; it goes on behind it.
    pub(super) fn refuse(&self, pending: &mut PendingRequest, error: Error) {
        let (mut buffer, bytes) = pending.take_reply();
        let mut reply = Reply::new(&mut buffer, bytes, pending.dialect);
        pending.position = self.refuse_part(&pending.request, pending.position, error, &mut reply);
        let bytes = reply.bytes();
        pending.put_reply(buffer, bytes);
        pending.waits_since_ns = 0;
    }

    /// Answers all commands from `at` on as busy, up to one that cannot be read.
    #[cold]
    pub(super) fn refuse_rest(&mut self, admitted: &Admitted<'_>, at: Position, reply: &mut Reply<'_>) {
        reply.rewind(Mark::behind(at.reply_bytes));
        let mut refuse = |is_answered: bool| {
            self.executor.counters().busy.add(1);
            let mark = reply.mark();
            if is_answered {
                reply.put_error(Error::Busy);
            }
            reply.settle(mark);
        };
        match admitted.dialect {
            Dialect::Text | Dialect::Stream => {
                let commands = Commands::resume(admitted.body, at.at, self.executor.value_bytes_max());
                let readable = commands.map_while(Result::ok);
                readable.for_each(|command| refuse(!command.wants_no_reply()));
            }
            Dialect::Batch { .. } => {
                operations::resumed(admitted.body, at).flatten().for_each(|_| refuse(true));
            }
        }
    }
}
