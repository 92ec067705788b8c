//! Reads outside the batch, and what a hit leaves behind.

use crate::session::Read;
use crate::worker::Core;
use crate::worker::serial::{Halt, Request};
use cache::base::clock::Now;
use cache::base::item_ref::ItemRef;
use cache::table::Found;
use protocol::Reply;
use protocol::request::{Get, Key};

impl Core {
    /// A plain read, outside the batch. What only the owner of its key can settle, or has to settle behind others, is
    /// elsewhere: with that owner, who may be this worker.
    pub(super) fn read(
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
        let hash = self.shards.hash(read.key);
        let before = reply.bytes();
        let hit = match self.shards.shard(owner).table.find(self.shards.items(), hash, read.key) {
            Found::Hit(at) if !read.needs_owner(&self.shards.items().get(at)) => {
                self.answer_hit(read, owner as u8, hash, at, now, reply)
            }
            Found::Miss => false,
            Found::Hit(_) | Found::Unsettled => {
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
    pub(super) fn get_as_owner(
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

    /// Answers a hit, unless the item's time is over; notes it for the policy if the answer fits.
    #[inline]
    pub(super) fn answer_hit(
        &mut self,
        read: &Read<'_>,
        owner: u8,
        hash: u64,
        at: ItemRef,
        now: Now,
        reply: &mut Reply<'_>,
    ) -> bool {
        let item = self.shards.items().get(at);
        if !self.shards.shard(owner as usize).is_live(&item, now) {
            return false;
        }
        read.answer_hit(&item, now, reply);
        if read.leaves_trace() && !reply.overflown() {
            let told = self.hits.note(at, hash, &self.counters);
            item.note_access(now.s(), told);
        }
        true
    }
}
