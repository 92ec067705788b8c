//! What only streams have: commands that are not all there, lines that are longer than lines may be, and ends.

use crate::limits::STREAM_LINE_BLANKS_MAX;
use crate::session::serial::permit::permit;
use crate::session::serial::position::Position;
use crate::session::serial::run::{Halted, Run, Step};
use crate::session::stream::open_get::{OpenGet, is_long_line};
use protocol::request::{Command, Commands, Missing, Parsed};
use protocol::{Dialect, Error};

impl<'a> Run<'_, 'a, '_> {
    /// What a command of a stream, which stands at `at` and behind which the next one begins, comes to if it is not run here: `quit`;
    /// `shutdown` where that is allowed; a dump; a line that is too long; or the first line of HTTP, at which memcached hangs up, too.
    #[inline]
    pub(super) fn step_of_stream(
        &self,
        command: &Result<Command<'_>, Error>,
        at: usize,
        behind: usize,
    ) -> Option<Step> {
        if self.request.admitted.dialect != Dialect::Stream {
            return None;
        }
        if behind - at > STREAM_LINE_BLANKS_MAX
            && let Some(step) = self.step_of_long_line(command, at)
        {
            return Some(step);
        }
        let is_admin = self.request.admitted.is_admin();
        match command {
            Ok(Command::Quit) => Some(Step::Close),
            Ok(Command::Shutdown { .. }) if is_admin && self.executor.shut_down() => Some(Step::Close),
            Ok(Command::MetaDump) if is_admin => Some(Step::Dump { position: self.position(behind) }),
            Err(_) if is_http(&self.request.admitted.body[at..]) => Some(Step::Close),
            _ => None,
        }
    }

    /// What a command comes to whose line is too long. If it were cut, the connection would end where that is seen, so it does wherever the
    /// line lies. Only the keys of reads may be more: those before a wrong one are answered.
    #[cold]
    fn step_of_long_line(&self, command: &Result<Command<'_>, Error>, at: usize) -> Option<Step> {
        let text = &self.request.admitted.body[at..];
        if !is_long_line(text) {
            return None;
        }
        match (OpenGet::of(text), command) {
            (None, _) => Some(self.hang_up()),
            (Some(_), Ok(_)) => None,
            (Some(_), Err(_)) => Some(Step::ReadKeys { position: self.position(at) }),
        }
    }

    /// A stream with a line that is too long ends without a word, as in memcached.
    #[cold]
    fn hang_up(&self) -> Step {
        self.executor.counters().protocol_errors.add(1);
        Step::Close
    }

    fn position(&self, at: usize) -> Position {
        Position { at, reply_bytes: self.reply.bytes(), ..Position::default() }
    }

    /// Nothing more can be read from `at` on.
    pub(super) fn end_of_commands(&mut self, at: usize) -> Step {
        let body = self.request.admitted.body;
        if self.request.admitted.dialect != Dialect::Stream {
            return Step::Done;
        }
        let (position, text) = (self.position(at), &body[at..]);
        let parsed = Commands::resume(body, at, self.executor.value_bytes_max()).of_stream().parse();
        let Some(Parsed::Incomplete { at_least, otherwise, missing }) = parsed else {
            return Step::Cut { position };
        };
        match missing {
            Missing::LineEnd | Missing::Value(..) => Step::Cut { position },
            _ if is_long_line(text) => self.hang_up(),
            Missing::TooLargeValue(command) => self.run_too_large(&command, at_least.get(), position),
            Missing::RefusedValue => {
                if let Err(halt) = self.expects_room() {
                    return halt.at(position);
                }
                self.answer_fault(otherwise);
                Step::Refused { to_come: at_least.get() }
            }
        }
    }

    /// Runs a store that is too large; so many bytes of it are still to come.
    #[cold]
    fn run_too_large(&mut self, command: &Command<'a>, to_come: usize, position: Position) -> Step {
        match permit(command, &self.request) {
            Err(error) => _ = self.answer_fault(error),
            Ok(()) => {
                if let Err(Halted { why, .. }) = self.run_command(command, 0) {
                    return why.at(position);
                }
            }
        }
        Step::Refused { to_come }
    }
}

/// Whether a line that is no command is the first of an HTTP request: its last word says so.
#[cold]
fn is_http(text: &[u8]) -> bool {
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    line.rsplit(|&byte| byte == b' ').next().is_some_and(|word| word.starts_with(b"HTTP/"))
}
