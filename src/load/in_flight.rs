//! The requests of one socket that wait for their replies: a fixed array, indexed by the request id.
//!
//! ```text
//! id = generation │ slot        ids ascend; an id whose slot still waits is skipped
//! oldest ◀─▶ … ◀─▶ newest       list in the order of sending: a timeout looks at its head only
//! ```
//! How each of the 65,536 ids ended is remembered (two bits each) until it is used again: so a reply that comes twice
//! or too late is told from one that nobody asked for. A reply that is later than 65,536 requests may be taken for
//! another request's, which the key in the reply (text, or meta with `--verify`) reveals.
//!
//! No allocation after [`InFlight::new`].

use super::datagrams::reassembly::PartialId;
use super::workload::{Ask, Verb};

/// Keys of one datagram at most: an answered key is one bit of a word.
pub const BATCH_MAX: usize = 64;
/// Requests in flight on one socket at most: half of the ids, so that a skip always ends.
pub const IN_FLIGHT_MAX: usize = 1 << 15;

const NONE: u32 = u32::MAX;

/// A key that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// What was asked.
    pub ask: Ask,
    /// A write's version; a read's floor.
    pub version: u32,
}

/// A datagram that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// When it was meant to be sent, in nanoseconds; latency counts from here.
    pub intended_ns: u64,
    /// When it was sent, in nanoseconds; the timeout counts from here.
    pub sent_ns: u64,
    /// The tick in which it was sent: trains leave in any order within one.
    pub tick: u32,
    /// Bit per key that has its answer.
    pub answered: u64,
    /// Keys in it.
    pub count: u8,
    /// What is done to all its keys.
    pub command: Verb,
    /// Whether it counts (not warm-up).
    pub measured: bool,
    /// The part of its reply that has arrived.
    pub partial: Option<PartialId>,
    waiting: bool,
    id: u16,
    older: u32,
    newer: u32,
}

/// Whose reply it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The request in this slot waits for it.
    Waiting(usize),
    /// That request has its reply.
    Answered,
    /// That request was given up.
    Lost,
    /// Nobody asked.
    Unknown,
}

/// The requests in flight of one socket.
pub struct InFlight {
    slots: Vec<Slot>,
    keys: Vec<Pending>,
    history: History,
    batch: usize,
    max: usize,
    waiting: usize,
    next_id: u16,
    oldest: u32,
    newest: u32,
}

impl InFlight {
    /// Room for `max` datagrams (at most [`IN_FLIGHT_MAX`]) of up to `batch` keys (at most [`BATCH_MAX`]).
    pub fn new(max: usize, batch: usize) -> InFlight {
        assert!((1..=IN_FLIGHT_MAX).contains(&max) && (1..=BATCH_MAX).contains(&batch));
        // Twice the window: a skip over slots that wait always ends.
        let slots = (max * 2).next_power_of_two();
        let slot = Slot {
            intended_ns: 0,
            sent_ns: 0,
            tick: 0,
            answered: 0,
            count: 0,
            command: Verb::Get,
            measured: false,
            partial: None,
            waiting: false,
            id: 0,
            older: NONE,
            newer: NONE,
        };
        let ask = Ask { command: Verb::Get, key: 0, value_bytes: 0, ttl_s: 0 };
        InFlight {
            slots: vec![slot; slots],
            keys: vec![Pending { ask, version: 0 }; slots * batch],
            history: History::default(),
            batch,
            max,
            waiting: 0,
            next_id: 0,
            oldest: NONE,
            newest: NONE,
        }
    }

    /// Datagrams that wait for a reply.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether no more may be sent now.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.waiting >= self.max
    }

    /// Takes a slot for a datagram with these keys; its request id. There must be room.
    #[inline]
    pub fn begin(
        &mut self,
        keys: &[Pending],
        intended_ns: u64,
        sent_ns: u64,
        tick: u32,
        measured: bool,
    ) -> u16 {
        assert!(!self.is_full() && (1..=self.batch).contains(&keys.len()));
        let mask = self.slots.len() - 1;
        // Ends: at most half of the slots wait.
        while self.slots[self.next_id as usize & mask].waiting {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        let at = id as usize & mask;
        self.slots[at] = Slot {
            intended_ns,
            sent_ns,
            tick,
            answered: 0,
            count: keys.len() as u8,
            command: keys[0].ask.command,
            measured,
            partial: None,
            waiting: true,
            id,
            older: self.newest,
            newer: NONE,
        };
        self.history.set(id, State::Waiting);
        self.keys[at * self.batch..][..keys.len()].copy_from_slice(keys);
        match self.newest {
            NONE => self.oldest = at as u32,
            newest => self.slots[newest as usize].newer = at as u32,
        }
        self.newest = at as u32;
        self.waiting += 1;
        id
    }

    /// Whose reply carries `id`.
    #[inline]
    pub fn lookup(&self, id: u16) -> Lookup {
        match self.history.get(id) {
            State::Waiting => Lookup::Waiting(id as usize & (self.slots.len() - 1)),
            State::Answered => Lookup::Answered,
            State::Lost => Lookup::Lost,
            State::Unused => Lookup::Unknown,
        }
    }

    /// A slot, and the keys of its datagram.
    #[inline]
    pub fn slot(&mut self, at: usize) -> (&mut Slot, &[Pending]) {
        let slot = &mut self.slots[at];
        let keys = &self.keys[at * self.batch..][..slot.count as usize];
        (slot, keys)
    }

    /// The slot's request has its whole reply.
    #[inline]
    pub fn answer(&mut self, at: usize) {
        self.end(at, State::Answered);
    }

    /// The oldest request if it was sent before `before_ns`: give it up with [`InFlight::give_up`].
    #[inline]
    pub fn overdue(&self, before_ns: u64) -> Option<usize> {
        let slot = self.slots.get(self.oldest as usize)?;
        (slot.sent_ns < before_ns).then_some(self.oldest as usize)
    }

    /// When the oldest request was sent, in nanoseconds.
    pub fn oldest_sent_ns(&self) -> Option<u64> {
        self.slots.get(self.oldest as usize).map(|slot| slot.sent_ns)
    }

    /// The slot's request is lost.
    pub fn give_up(&mut self, at: usize) {
        self.end(at, State::Lost);
    }

    fn end(&mut self, at: usize, state: State) {
        let slot = &mut self.slots[at];
        assert!(slot.waiting, "a request ends once");
        slot.waiting = false;
        self.history.set(slot.id, state);
        let (older, newer) = (slot.older, slot.newer);
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
        self.waiting -= 1;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unused,
    Waiting,
    Answered,
    Lost,
}

/// The state of every id: 16 KiB.
struct History {
    words: Vec<u64>,
}

impl Default for History {
    fn default() -> History {
        History { words: vec![0; (1 << 16) / 32] }
    }
}

impl History {
    #[inline]
    fn get(&self, id: u16) -> State {
        let bits = self.words[id as usize / 32] >> (id % 32 * 2) & 3;
        [State::Unused, State::Waiting, State::Answered, State::Lost][bits as usize]
    }

    #[inline]
    fn set(&mut self, id: u16, state: State) {
        let shift = id % 32 * 2;
        let word = &mut self.words[id as usize / 32];
        *word = *word & !(3 << shift) | (state as u64) << shift;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn get(key: u32) -> Pending {
        Pending { ask: Ask { command: Verb::Get, key, value_bytes: 0, ttl_s: 0 }, version: 0 }
    }

    #[test]
    fn late_and_double_replies_are_told_apart() {
        let mut table = InFlight::new(4, 1);
        let first = table.begin(&[get(1)], 0, 0, 0, true);
        let second = table.begin(&[get(2)], 0, 5, 0, true);
        let Lookup::Waiting(at) = table.lookup(second) else { panic!() };
        table.answer(at);
        assert_eq!(table.lookup(second), Lookup::Answered);
        assert_eq!(table.overdue(0), None);
        let at = table.overdue(1).unwrap();
        table.give_up(at);
        assert_eq!(table.lookup(first), Lookup::Lost);
        assert_eq!(table.lookup(99), Lookup::Unknown);
        assert_eq!(table.overdue(u64::MAX), None);
    }

    proptest! {
        /// Against a queue: ids that wait are distinct, the oldest is the one sent first, counts agree.
        #[test]
        fn behaves_like_a_queue(max in 1usize..40, ops in prop::collection::vec((0u8..4, any::<u16>()), 1..3000)) {
            let mut table = InFlight::new(max, 2);
            let mut model: VecDeque<(u16, u64)> = VecDeque::new();
            let mut now = 0;
            for (op, pick) in ops {
                now += 1;
                match op {
                    0 | 1 if !table.is_full() => {
                        let id = table.begin(&[get(now as u32)], now, now, 0, true);
                        prop_assert!(model.iter().all(|m| m.0 != id));
                        model.push_back((id, now));
                    }
                    2 if !model.is_empty() => {
                        let (id, sent) = model.remove(pick as usize % model.len()).unwrap();
                        let Lookup::Waiting(at) = table.lookup(id) else { panic!("{id} does not wait") };
                        prop_assert_eq!(table.slot(at).1[0].ask.key as u64, sent);
                        table.answer(at);
                        prop_assert_eq!(table.lookup(id), Lookup::Answered);
                    }
                    3 => {
                        let due = table.overdue(now - now / 8);
                        let want = model.front().filter(|m| m.1 < now - now / 8).copied();
                        prop_assert_eq!(due.is_some(), want.is_some());
                        if let Some(at) = due {
                            prop_assert_eq!(table.slot(at).0.id, want.unwrap().0);
                            table.give_up(at);
                            model.pop_front();
                        }
                    }
                    _ => {}
                }
                prop_assert_eq!(table.waiting(), model.len());
                prop_assert_eq!(table.is_full(), model.len() == max);
            }
        }
    }
}
