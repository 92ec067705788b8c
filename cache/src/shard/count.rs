//! Counting: the verb behind incr and decr. The value is a decimal number in text (`decimal`).

use crate::base::clock::Now;
use crate::base::item_ref::ItemRef;
use crate::memory::grace::Pin;
use crate::memory::{Item, Parts, Size, Value};
use crate::shard::decimal::{COUNTED_BYTES_MAX, Counter, DIGITS_MAX};
use crate::shard::error::WriteError;
use crate::shard::owner::Owner;

/// What to count, and how.
#[derive(Clone, Copy, Debug)]
pub struct Count<'a> {
    /// 1 to 250 bytes.
    pub key: &'a [u8],
    /// Adds, wrapping at 2^64; else subtracts, down to 0.
    pub up: bool,
    /// By how much.
    pub delta: u64,
    /// The cas number of the new value, instead of the next one.
    pub new_cas: Option<u64>,
    /// When the item expires from now on, in ms since the server epoch; 0 = never.
    pub due_ms: Option<u64>,
    /// Where there is no counter: create one with this number, due at this time.
    pub or_create: Option<(u64, u64)>,
}

/// A counter that was counted, or created.
#[derive(Clone, Copy)]
pub struct Counted<'a> {
    /// Its number now.
    pub number: u64,
    /// Its item.
    pub item: Item<'a>,
    /// Whether it was created.
    pub is_new: bool,
}

impl<'a> Count<'a> {
    /// Counts by `delta`, and leaves cas number and deadline alone.
    pub fn new(key: &'a [u8], up: bool, delta: u64) -> Count<'a> {
        Count { key, up, delta, new_cas: None, due_ms: None, or_create: None }
    }
}

impl Owner {
    /// Counts; `None` where there is no counter and none is to be created.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then.
    pub fn count(
        &mut self,
        pin: &mut Pin,
        count: &Count<'_>,
        now: Now,
    ) -> Result<Option<Counted<'_>>, WriteError> {
        let counted = self.count_present(pin, count, now)?;
        let created = match (&counted, count.or_create) {
            (None, Some((number, due_ms))) => {
                let text = Counter::first(number);
                Some((number, self.create(pin, count.key, text.as_bytes(), due_ms, count.new_cas, now)?.at))
            }
            _ => None,
        };
        // Behind all that may have to wait: a count that is repeated counts once. One that creates is neither hit nor miss.
        if created.is_none() {
            self.note_count(count.up, counted.is_some());
        }
        let (is_new, done) = (created.is_some(), counted.or(created));
        Ok(done.map(|(number, at)| Counted { number, item: self.contents().memory.item(at), is_new }))
    }

    fn count_present(
        &mut self,
        pin: &mut Pin,
        count: &Count<'_>,
        now: Now,
    ) -> Result<Option<(u64, ItemRef)>, WriteError> {
        let (key, hash) = (count.key, self.contents().index.hash(count.key));
        let Some((_, old)) = self.contents().find(hash, key, now) else { return Ok(None) };
        let old_bytes = old.value_bytes();
        if old_bytes > COUNTED_BYTES_MAX {
            return Err(WriteError::NotANumber);
        }
        let slot = self.allocate(pin, Size::of(key.len(), old_bytes.max(DIGITS_MAX), 1), true, now)?;
        // Room may have cost this very item.
        let Some((_, old)) = self.contents().find(hash, key, now) else {
            self.contents_mut().memory.abandon(slot);
            return Ok(None);
        };
        let Some(counted) = Counter::count(number_of(&old), count.up, count.delta) else {
            self.contents_mut().memory.abandon(slot);
            return Err(WriteError::NotANumber);
        };
        let (marks, fetched) = (old.state(), old.fetched());
        let parts = Parts {
            key,
            value: [counted.as_bytes().into(), Value::EMPTY],
            flags: old.flags(),
            cas: self.contents().cas_or(count.new_cas),
            deadline_ms: count.due_ms.unwrap_or(marks.deadline_ms()),
            generation: self.shard().number(),
            now_s: now.s(),
        };
        let written = self.contents().write(slot, &parts);
        let at = self.contents_mut().publish(hash, key, written);
        if counted.in_place {
            let item = self.contents().memory.item(at);
            item.set_state(item.state().with_stale(marks.stale()).with_win_sent(marks.win_sent()));
            if fetched {
                item.note_access(now.s(), true);
            }
        }
        Ok(Some((counted.number, at)))
    }

    fn note_count(&self, up: bool, was_there: bool) {
        let counters = self.counters();
        let counter = match (up, was_there) {
            (true, true) => &counters.incr_hits,
            (true, false) => &counters.incr_misses,
            (false, true) => &counters.decr_hits,
            (false, false) => &counters.decr_misses,
        };
        counter.add(1);
    }
}

/// The value of an item that is to be counted: too long to be one if it was cut.
fn number_of<'a>(item: &Item<'a>) -> &'a [u8] {
    item.value().whole().unwrap_or(&[b' '; COUNTED_BYTES_MAX + 1])
}
