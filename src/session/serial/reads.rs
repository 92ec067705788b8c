//! Reads outside the batch, and what a hit leaves behind.

use crate::session::Read;
use crate::session::hits::Hits;
use crate::session::serial::Executor;
use crate::session::serial::{Halt, Request};
use crate::stats::counters::WorkerCounters;
use cache::base::clock::Now;
use cache::memory::Lent;
use cache::shard::{Look, View};
use cache::table::Lookup;
use protocol::Reply;
use protocol::request::{Get, Key};

impl Executor {
    /// A plain read, outside the batch. What only the owner of its key can settle, or has to settle behind others, is
    /// elsewhere: with that owner, who may be this worker.
    pub(crate) fn read(
        &mut self,
        read: &Read<'_>,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Halt> {
        request.expects_room(reply)?;
        let owner = self.owner_of(read.key);
        if request.follows && owner != self.owner.index() {
            return Err(Halt::Elsewhere(owner));
        }
        let mark = reply.mark();
        let settled = self.read_shared(read, owner, request.now, reply);
        if reply.overflown() {
            reply.rewind(mark);
            return Err(Halt::Room);
        }
        settled.ok_or(Halt::Elsewhere(owner))
    }

    /// Answers a read from the table of `owner`, to whom its key belongs; `None` if only the owner can settle it. What
    /// does not fit the reply is not counted.
    fn read_shared(&mut self, read: &Read<'_>, owner: usize, now: Now, reply: &mut Reply<'_>) -> Option<()> {
        let lookup = Lookup { key: read.key, hash: self.shards.hash(read.key), table: owner as u8 };
        let before = reply.bytes();
        let mut reading = self.reading(now);
        let hit = match reading.view.find(&lookup) {
            Look::Hit(found) if !read.needs_owner(&found.item()) => {
                reading.answer_hit(read, &lookup, found, reply)
            }
            Look::Miss => false,
            Look::Hit(_) | Look::Unsettled => {
                self.counters.unsettled_misses.add(1);
                return None;
            }
        };
        if !hit {
            read.answer_miss(reply);
        }
        self.work.spend(reply.bytes() - before);
        if !reply.overflown() {
            self.counters.cmd_get.add(1);
            self.counters.get_hits.add(hit as u64);
            self.counters.get_misses.add(!hit as u64);
        }
        Some(())
    }

    /// A key of a classic read that only its owner may settle, and touch.
    pub(crate) fn get_as_owner(
        &mut self,
        get: &Get<'_>,
        key: Key<'_>,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Halt> {
        request.expects_room(reply)?;
        match self.owner_of(key.bytes()) {
            owner if owner != self.owner.index() => Err(Halt::Elsewhere(owner)),
            _ => self.execute_here(request.now, reply, |execution| execution.get(get, key)),
        }
    }

    /// What answering reads takes of this worker.
    #[inline]
    pub(crate) fn reading(&mut self, now: Now) -> Reading<'_, '_> {
        let Executor { shards, pin, hits, counters, .. } = self;
        Reading { view: shards.view(pin), hits, counters, now }
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
