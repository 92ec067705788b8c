//! The owner of a shard: the one thread that writes it.

use crate::clock::Now;
use crate::config::limits::TICK_RECLAIM_MAX;
use crate::item_ref::ItemRef;
use crate::memory::grace::Member;
use crate::memory::item::{Chunks, Shape};
use crate::memory::{Allocation, Item, Items, Parts, Slab, Used};
use crate::protocol::Error;
use crate::protocol::request::Expiry;
use crate::ring::mercy::Mercy;
use crate::ring::{ChunkUnits, Command, Consumer, Deadline, Event};
use crate::shard::events::Events;
use crate::shard::growth::Growth;
use crate::shard::mover::Mover;
use crate::shard::pressure::Pressure;
use crate::shard::route::{Shard, Shards};
use crate::shard::scrub::Scrub;
use crate::stats::counters::OwnerCounters;
use crate::sync::Arc;
use crate::table::{Upsert, Writer};

/// Why a write did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Memory was evicted, but other workers may still read it: try again in the next tick.
    ForGrace,
    /// The answer does not fit the reply; nothing has changed.
    ForRoom,
    /// It will not work: tell the client.
    Never(Error),
}

impl From<Error> for Wait {
    fn from(error: Error) -> Wait {
        Wait::Never(error)
    }
}

/// A part of an owner's tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Memory whose grace is over was freed.
    Reclaim,
    /// What flushes left was removed, commands of the policy were obeyed.
    Obey,
    /// The table grew, pages were emptied.
    Rearrange,
}

/// What an owner is made of.
pub struct OwnerConfig {
    /// Which shard.
    pub index: usize,
    /// All shards.
    pub shards: Arc<Shards>,
    /// Its memory.
    pub slab: Slab,
    /// Its part in the grace protocol.
    pub member: Member,
    /// To the policy.
    pub events: Events,
    /// From the policy.
    pub commands: Consumer<Command>,
    /// What it counts.
    pub counters: Arc<OwnerCounters>,
    /// Largest value, in bytes; appends may not exceed it.
    pub value_bytes_max: usize,
}

/// Everything that only the owner touches.
pub struct Owner {
    pub(super) index: usize,
    pub(super) shards: Arc<Shards>,
    pub(super) writer: Writer,
    pub(super) slab: Slab,
    pub(super) member: Member,
    pub(super) events: Events,
    pub(super) commands: Consumer<Command>,
    pub(super) pressure: Pressure,
    pub(super) mover: Mover,
    pub(super) growth: Growth,
    pub(super) scrub: Scrub,
    pub(super) counters: Arc<OwnerCounters>,
    item_bytes: usize,
    /// Bytes of items written since they were last asked for.
    written_bytes: usize,
    pub(super) value_bytes_max: usize,
    last_cas: u64,
    /// When the last tick began, in ns.
    pub(super) last_tick_ns: u64,
    pub(super) mercy: Mercy,
    /// When a delayed flush_all is due, in ms since the server epoch.
    flush_at_ms: Option<u64>,
    /// What the last command read.
    pub(super) settled_read: Option<SettledRead>,
}

/// A client's read that the owner settled, as its worker has to count it and to tell the policy of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettledRead {
    /// The key was there.
    Hit {
        /// Its item.
        item: ItemRef,
        /// Its hash.
        hash: u64,
        /// Whether the read leaves a trace, in the item and with the policy.
        leaves_trace: bool,
    },
    /// The key was not there.
    Miss,
}

impl SettledRead {
    pub(super) fn of(hash: u64, item: Option<ItemRef>, leaves_trace: bool) -> SettledRead {
        match item {
            Some(item) => SettledRead::Hit { item, hash, leaves_trace },
            None => SettledRead::Miss,
        }
    }
}

impl Owner {
    /// The owner of shard `index`.
    ///
    /// # Panics
    /// When the shard has an owner already.
    pub fn new(config: OwnerConfig) -> Owner {
        let OwnerConfig { index, shards, slab, member, events, commands, counters, value_bytes_max } = config;
        let writer = shards.shard(index).table.writer().expect("a shard has one owner");
        let pressure = Pressure::new();
        let scrub = Scrub::new(shards.shard(index).namespaces());
        Owner {
            index,
            shards,
            writer,
            slab,
            member,
            events,
            commands,
            pressure,
            mover: Mover::default(),
            growth: Growth::default(),
            scrub,
            counters,
            item_bytes: 0,
            written_bytes: 0,
            value_bytes_max,
            last_cas: 0,
            last_tick_ns: 0,
            mercy: Mercy::default(),
            flush_at_ms: None,
            settled_read: None,
        }
    }

    /// Which shard.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The shard as others see it.
    pub fn shard(&self) -> &Shard {
        self.shards.shard(self.index)
    }

    /// All shards.
    pub fn shards(&self) -> &Arc<Shards> {
        &self.shards
    }

    /// The worker's part in the grace protocol.
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// The first thing of a tick: free memory, obey the policy, tidy up, send again what the policy did not hear. Says
    /// whether there is more of that, so that the next tick should come soon. `done` is told when a stage is over.
    pub fn tick(&mut self, now: Now, mut done: impl FnMut(Stage)) -> bool {
        self.slab.reclaim(self.member.grace(), TICK_RECLAIM_MAX);
        done(Stage::Reclaim);
        if self.flush_at_ms.is_some_and(|at_ms| at_ms <= now.ms()) && self.flush_now().is_ok() {
            self.flush_at_ms = None;
        }
        self.scrub_on(now);
        let obeyed = self.obey(now);
        done(Stage::Obey);
        // What waits for grace is free in the next tick, not when an idle worker has slept.
        let has_more = obeyed | self.grow(now) | self.tidy(now) | !self.slab.limbo().is_empty();
        done(Stage::Rearrange);
        self.catch_up_events();
        self.publish();
        has_more || self.events.can_catch_up()
    }

    /// What the last command or operation read for a client, once. Whoever executes one asks behind it.
    pub fn take_settled_read(&mut self) -> Option<SettledRead> {
        self.settled_read.take()
    }

    /// The item of a key, if it may still be served.
    pub(super) fn find(&self, hash: u64, key: &[u8], now: Now) -> Option<(ItemRef, Item<'_>)> {
        let at = self.writer.get(self.slab.items(), hash, key)?;
        let item = self.slab.items().get(at);
        self.shard().is_live(&item, now).then_some((at, item))
    }

    /// Stores an item under its key, in place of the one that it may have. `slot` holds room for it.
    pub(super) fn publish_item(&mut self, hash: u64, slot: Allocation, parts: &Parts<'_>) {
        self.slab.write(slot, parts);
        self.note_stored(parts.key);
        let (replaced, evicted) = match self.writer.upsert(self.slab.items(), hash, parts.key, slot.at) {
            Upsert::Inserted => (None, None),
            Upsert::Replaced(old) => (Some(old), None),
            Upsert::Evicted(victim) => (None, Some(victim)),
        };
        self.item_bytes += parts.size().bytes();
        self.written_bytes += parts.size().bytes();
        self.counters.total_items.add(1);
        self.events.send(Event::Store {
            item: slot.at,
            replaced,
            deadline: deadline(parts.deadline_ms, slot.slot_bytes),
            chunks: chunk_units(self.slab.items().chunks(), parts.size().shape(self.slab.items().chunks())),
            hash: upper(hash),
        });
        replaced.into_iter().for_each(|old| self.retire(old));
        if let Some(item) = evicted {
            self.counters.evicted_by_crowding.add(1);
            self.events.send(Event::Delete { item });
            self.retire(item);
        }
    }

    /// Removes a key and its item.
    pub(super) fn remove(&mut self, hash: u64, key: &[u8]) -> bool {
        let Some(gone) = self.writer.remove(self.slab.items(), hash, key) else { return false };
        self.events.send(Event::Delete { item: gone });
        self.retire(gone);
        true
    }

    /// Removes an item of this owner, whatever its key; says whether the table had it.
    pub(super) fn evict(&mut self, victim: ItemRef) -> bool {
        let hash = self.shards.hash(self.slab.items().get(victim).key());
        self.evict_hashed(upper(hash), victim)
    }

    /// As [`Owner::evict`], without a look at the item.
    pub(super) fn evict_hashed(&mut self, upper: u32, victim: ItemRef) -> bool {
        let was_there = self.writer.remove_item(upper, victim);
        if was_there {
            self.events.send(Event::Delete { item: victim });
            self.retire(victim);
        }
        was_there
    }

    /// The next cas number: unique in the process.
    pub(super) fn next_cas(&mut self) -> u64 {
        self.last_cas += 1;
        (self.last_cas - 1) * self.shards.count() as u64 + self.index as u64 + 1
    }

    /// Makes everything stale at once, or after `delay_s` seconds.
    ///
    /// # Errors
    /// Busy, while dead items are being removed.
    pub(super) fn flush(&mut self, delay_s: i32, now: Now) -> Result<(), Wait> {
        // A command goes to every shard; one of them counts it.
        self.counters.cmd_flush.add((self.index == 0) as u64);
        match Expiry::from_exptime(delay_s) {
            Expiry::Never | Expiry::Past => self.flush_now(),
            expiry => {
                self.flush_at_ms = Some(deadline_ms(expiry, now));
                Ok(())
            }
        }
    }

    fn flush_now(&mut self) -> Result<(), Wait> {
        if !self.scrub.may_step() {
            return Err(Error::Busy.into());
        }
        let number = self.shard().flush();
        self.scrub.note_step(number);
        Ok(())
    }

    pub(super) fn retire(&mut self, old: ItemRef) {
        self.item_bytes -= self.slab.items().get(old).bytes();
        self.slab.retire(old);
    }

    fn catch_up_events(&mut self) {
        let Owner { events, slab, writer, shards, counters, .. } = self;
        events.catch_up(&counters.event_resyncs, |page, slot| {
            let (index, used) = slab.next_used_slot(page, slot)?;
            // Chunks are told with the items that they belong to.
            let Used::Item(at) = used else { return Some((index, None)) };
            let item = slab.items().get(at);
            let hash = upper(shards.hash(item.key()));
            let store = writer.holds(hash, at).then(|| {
                let deadline = deadline(item.state().deadline_ms(), slab.slot_bytes(at));
                let chunks = chunk_units(slab.items().chunks(), item.shape());
                Event::Store { item: at, replaced: None, deadline, chunks, hash }
            });
            Some((index, store))
        });
    }

    fn publish(&self) {
        self.counters.curr_items.set(self.writer.items());
        self.counters.used_bytes.set(self.slab.used_bytes() as u64);
        self.counters.item_bytes.set(self.item_bytes as u64);
        self.counters.pages.set(self.slab.pages_held() as u64);
        self.counters.table_slots.set(self.writer.table().capacity());
        self.counters.limbo_items.set(self.slab.limbo().len() as u64);
    }

    /// Counts a store that begins to wait for memory which others may still read.
    pub fn note_grace_wait(&self) {
        self.counters.grace_waits.add(1);
    }

    /// Bytes of items written since the last call: what commands cost beside looking up their keys.
    #[inline]
    pub fn take_written_bytes(&mut self) -> usize {
        std::mem::take(&mut self.written_bytes)
    }

    /// The memory.
    pub fn items(&self) -> &Items {
        self.slab.items()
    }
}

/// The half of a key hash that travels in records.
#[inline]
pub fn upper(hash: u64) -> u32 {
    (hash >> 32) as u32
}

pub(super) fn deadline(deadline_ms: u64, slot_bytes: usize) -> Deadline {
    Deadline::new(deadline_ms, (slot_bytes / ItemRef::UNIT_BYTES) as u32)
}

/// What an item of this shape takes beside its slot.
fn chunk_units(chunks: Chunks, shape: Shape) -> ChunkUnits {
    ChunkUnits::new((shape.chunks * chunks.slot_bytes() / ItemRef::UNIT_BYTES) as u64)
}

/// When an expiry is due, in ms since the server epoch; 0 = never. A time that has passed is 1: due at once.
pub(super) fn deadline_ms(expiry: Expiry, now: Now) -> u64 {
    const LATEST_MS: u64 = (1 << 44) - 1;
    match expiry {
        Expiry::Never => 0,
        Expiry::Past => 1,
        Expiry::InMs(ms) => now.ms().saturating_add(ms).min(LATEST_MS),
        Expiry::AtUnixS(at_s) => match at_s.checked_sub(now.unix_s) {
            None | Some(0) => 1,
            Some(in_s) => now.ms().saturating_add(in_s.saturating_mul(1000)).min(LATEST_MS),
        },
    }
}
