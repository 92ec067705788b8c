//! Reads outside the batch, and what a hit leaves behind.

use crate::session::Read;
use crate::session::hits::Hits;
use crate::session::serial::Executor;
use crate::session::serial::Halt;
use crate::session::serial::run::Run;
use crate::stats::counters::WorkerCounters;
use cache::base::clock::Now;
use cache::memory::Lent;
use cache::shard::{Look, View};
use cache::table::Lookup;
use protocol::Reply;
use protocol::request::{Get, Key};

impl Executor {
    /// What answering reads takes of this worker.
    #[inline]
    pub(crate) fn reading(&mut self, now: Now) -> Reading<'_, '_> {
        let Executor { shards, pin, hits, counters, .. } = self;
        Reading { view: shards.view(pin), hits, counters, now }
    }
}

impl<'a> Run<'_, 'a, '_> {
    /// A plain read, outside the batch. What only the owner of its key can settle, or has to settle behind others, is
    /// elsewhere: with that owner, who may be this worker.
    pub(crate) fn read(&mut self, read: &Read<'_>) -> Result<(), Halt> {
        self.expects_room()?;
        let owner = self.executor.owner_of(read.key);
        if self.request.follows && owner != self.executor.owner.index() {
            return Err(Halt::Elsewhere(owner));
        }
        let mark = self.reply.mark();
        let settled = self.read_shared(read, owner);
        if self.reply.overflown() {
            self.reply.rewind(mark);
            return Err(Halt::Room);
        }
        settled.ok_or(Halt::Elsewhere(owner))
    }

    /// Answers a read from the table of `owner`, to whom its key belongs; `None` if only the owner can settle it. What
    /// does not fit the reply is not counted.
    fn read_shared(&mut self, read: &Read<'_>, owner: usize) -> Option<()> {
        let lookup = Lookup { key: read.key, hash: self.executor.shards.hash(read.key), table: owner as u8 };
        let before = self.reply.bytes();
        let mut reading = self.executor.reading(self.request.now);
        let hit = match reading.view.find(&lookup) {
            Look::Hit(found) if !read.needs_owner(&found.item()) => {
                reading.answer_hit(read, &lookup, found, self.reply)
            }
            Look::Miss => false,
            Look::Hit(_) | Look::Unsettled => {
                self.executor.counters.unsettled_misses.add(1);
                return None;
            }
        };
        if !hit {
            read.answer_miss(self.reply);
        }
        self.executor.work.spend(self.reply.bytes() - before);
        if !self.reply.overflown() {
            self.executor.counters.cmd_get.add(1);
            self.executor.counters.get_hits.add(hit as u64);
            self.executor.counters.get_misses.add(!hit as u64);
        }
        Some(())
    }

    /// A key of a classic read that only its owner may settle, and touch.
    pub(crate) fn get_as_owner(&mut self, get: &Get<'_>, key: Key<'_>) -> Result<(), Halt> {
        self.expects_room()?;
        match self.executor.owner_of(key.bytes()) {
            owner if owner != self.executor.owner.index() => Err(Halt::Elsewhere(owner)),
            _ => self.execute_here(|execution| execution.get(get, key)),
        }
    }
}

/// Reads of one tick.
pub(crate) struct Reading<'c, 'g> {
    pub(crate) view: View<'g>,
    hits: &'c mut Hits,
    counters: &'c WorkerCounters,
    now: Now,
}

impl<'g> Reading<'_, 'g> {
    /// Answers a hit, unless the item's time is over; notes it for the policy if the answer fits.
    #[inline]
    pub(crate) fn answer_hit(
        &mut self,
        read: &Read<'_>,
        lookup: &Lookup<'_>,
        found: Lent<'g>,
        reply: &mut Reply<'_>,
    ) -> bool {
        let (item, now) = (found.item(), self.now);
        if !self.view.is_live(lookup.table as usize, &item, now) {
            return false;
        }
        read.answer_hit(&item, now, reply);
        if read.leaves_trace() && !reply.overflown() {
            let told = self.hits.note(found.at(), lookup.hash, self.counters);
            item.note_access(now.s(), told);
        }
        true
    }
}
