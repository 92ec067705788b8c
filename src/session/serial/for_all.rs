//! Commands for administrators, and those that go to every shard.

use crate::limits::KEY_BYTES_MAX;
use crate::session::execute::answer::{MetaForm, put_result};
use crate::session::serial::Executor;
use crate::session::serial::commands::Halted;
use crate::session::serial::{Halt, Request};
use protocol::request::Command;
use protocol::{Error, Reply};

impl Executor {
    pub(super) fn administrate(
        &mut self,
        command: &Command<'_>,
        part: usize,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Halted<'static>> {
        match command {
            Command::FlushAll { quiet, .. } => {
                let done = self.in_all_shards(command, part, request, reply)?;
                reply.put(if *quiet || !done { b"" } else { b"OK\r\n" });
            }
            Command::Stats { what } => match (self.stats_provider)(what, self.shards.view(&self.pin)) {
                Some(text) if request.may_grow && reply.room() < text.len() => return Err(Halt::Room.into()),
                Some(text) => reply.put(&text),
                None => reply.put_error(Error::UnknownCommand),
            },
            // Memory is fixed at start, so a limit can only hold already.
            Command::MemoryLimit { quiet: true, .. } => {}
            Command::MemoryLimit { mib, .. } => reply.put(match self.owner.memory_bytes() >> 20 {
                used_mib if used_mib <= *mib as usize => b"OK\r\n",
                _ => b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n",
            }),
            Command::Verbosity { quiet } => reply.put(if *quiet { b"" } else { b"OK\r\n" }),
            _ => unreachable!("only these are for administrators"),
        }
        Ok(())
    }

    /// A new generation of a namespace, answered as the delete that it was asked for with.
    pub(super) fn invalidate(
        &mut self,
        command: &Command<'_>,
        part: usize,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Halted<'static>> {
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
    ) -> Result<bool, Halted<'static>> {
        for shard in part..self.shards.count() {
            let halted = |why| Halted { why, part: shard, keys: None };
            if shard != self.owner.index() {
                return Err(halted(Halt::Elsewhere(shard)));
            }
            let mark = reply.mark();
            self.execute_here(request.now, reply, |execution| execution.command(command)).map_err(halted)?;
            if reply.mark() != mark {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
