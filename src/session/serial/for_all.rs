//! Commands for administrators, and those that go to every shard.

use crate::limits::KEY_BYTES_MAX;
use crate::session::execute::answer::{MetaForm, put_result};
use crate::session::serial::Halt;
use crate::session::serial::run::{Halted, Run};
use protocol::Error;
use protocol::request::Command;

impl<'a> Run<'_, 'a, '_> {
    pub(super) fn administrate(&mut self, command: &Command<'_>, part: usize) -> Result<(), Halted<'static>> {
        match command {
            Command::FlushAll { quiet, .. } => {
                let done = self.in_all_shards(command, part)?;
                self.reply.put(if *quiet || !done { b"" } else { b"OK\r\n" });
            }
            Command::Stats { words } => {
                let view = self.executor.shards.view(&self.executor.pin);
                match self.executor.administration.stats(*words, view) {
                    Some(text) if self.request.may_grow && self.reply.room() < text.len() => {
                        return Err(Halt::Room.into());
                    }
                    Some(text) => self.reply.put(&text),
                    None => self.reply.put_error(Error::UnknownCommand),
                }
            }
            // Memory is fixed at start, so a limit can only hold already.
            Command::MemoryLimit { quiet: true, .. } => {}
            Command::MemoryLimit { mib, .. } => {
                self.reply.put(match self.executor.owner.memory_bytes() >> 20 {
                    used_mib if used_mib <= *mib as usize => b"OK\r\n",
                    _ => b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n",
                })
            }
            Command::ClusterConfig => match self.executor.administration.cluster() {
                Some(text) if self.reply.room() < text.len() => return Err(Halt::Room.into()),
                Some(text) => self.reply.put(&text),
                None => self.reply.put_error(Error::UnknownCommand),
            },
            Command::Shutdown { .. } => self.reply.put_error(Error::NoShutdown),
            Command::Verbosity { quiet } => self.reply.put(if *quiet { b"" } else { b"OK\r\n" }),
            _ => unreachable!("only these are for administrators"),
        }
        Ok(())
    }

    /// A new generation of a namespace, answered as the delete that it was asked for with.
    pub(super) fn invalidate(&mut self, command: &Command<'_>, part: usize) -> Result<(), Halted<'static>> {
        let is_done = self.in_all_shards(command, part)?;
        self.executor.counters.cmd_meta.add(matches!(command, Command::Meta(_)) as u64);
        if !is_done {
            return Ok(());
        }
        match command {
            Command::Meta(meta) if !meta.quiet() => {
                let mut buffer = [0; KEY_BYTES_MAX + 2];
                let key = meta.key(&mut buffer).expect("a namespace was found by it").bytes();
                put_result(self.reply, b"HD", &MetaForm::of(meta), key);
            }
            Command::Delete { quiet: false, .. } => self.reply.put(b"DELETED\r\n"),
            _ => {}
        }
        Ok(())
    }

    /// Runs the parts of a command that goes to every shard, from `part` on; says whether all are done without an error.
    fn in_all_shards(&mut self, command: &Command<'_>, part: usize) -> Result<bool, Halted<'static>> {
        for shard in part..self.executor.shards.count() {
            let halted = |why| Halted { why, part: shard, keys: None };
            if shard != self.executor.owner.index() {
                return Err(halted(Halt::Elsewhere(shard)));
            }
            let mark = self.reply.mark();
            self.execute_here(|execution| execution.command(command)).map_err(halted)?;
            if self.reply.mark() != mark {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
