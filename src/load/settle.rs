//! What the answers of a reply mean for the request that asked: counts, latency, and the checks of `--verify`.

use super::client::Setup;
use super::codec::{Answer, DatagramCodec, NoReply, Split, StreamCodec};
use super::in_flight::{Pending, Slot};
use super::latency::Latencies;
use super::source::End;
use super::tally::Tally;
use super::workload::{Ask, Verb};
use crate::limits::KEY_BYTES_MAX;

/// What was taken of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Bytes that were used.
    pub bytes: usize,
    /// The last answer was an error.
    pub is_refused: bool,
}

/// Settles requests into counts.
pub struct Settle<'a> {
    /// What the client is made of.
    pub setup: &'a Setup,
    /// Counts.
    pub tally: &'a mut Tally,
    /// Latencies of the interval.
    pub latencies: &'a mut Latencies,
    /// What ended, for the source.
    pub ends: &'a mut Vec<(Ask, End)>,
}

impl Settle<'_> {
    /// Settles one message; whether the request now has all its answers.
    #[inline]
    pub fn message<C: DatagramCodec>(
        &mut self,
        codec: &C,
        slot: &mut Slot,
        keys: &[Pending],
        body: &[u8],
        now_ns: u64,
    ) -> bool {
        let before = slot.answered;
        let all = u64::MAX >> (64 - keys.len());
        codec.decode(body, &mut |answer| self.answer(slot, keys, all, answer));
        self.record(slot, before, now_ns);
        slot.answered == all
    }

    /// Settles what `bytes` has of the reply to a request, of which `left` answers are to come. With none left the request is over: what has no answer of its own by then is lost, or was refused with the rest.
    ///
    /// # Errors
    /// The bytes are no reply of this protocol.
    #[inline]
    pub fn stream<C: StreamCodec>(
        &mut self,
        codec: &C,
        slot: &mut Slot,
        keys: &[Pending],
        left: &mut u8,
        bytes: &[u8],
        now_ns: u64,
    ) -> Result<Taken, NoReply> {
        let before = slot.answered;
        let all = u64::MAX >> (64 - keys.len());
        let (mut rest, mut is_refused) = (bytes, false);
        while *left > 0 {
            let (answer, behind) = match codec.split(rest) {
                Split::Whole(answer, behind) => (answer, behind),
                Split::Cut => break,
                Split::Garbage => return Err(NoReply),
            };
            rest = behind;
            *left -= u8::from(codec.ends(&answer));
            self.answer(slot, keys, all, answer);
            is_refused = matches!(answer, Answer::Error(_));
            if is_refused && *left == 0 && slot.answered != all {
                self.each_left(slot, keys, End::Error);
            }
        }
        self.record(slot, before, now_ns);
        if *left == 0 && slot.answered != all {
            self.lost(slot, keys, now_ns);
        }
        Ok(Taken { bytes: bytes.len() - rest.len(), is_refused })
    }

    /// Records the latency of what was answered since `before`.
    #[inline]
    fn record(&mut self, slot: &Slot, before: u64, now_ns: u64) {
        let fresh = (slot.answered ^ before).count_ones();
        if fresh > 0 && slot.measured {
            let latency_ns = now_ns.saturating_sub(slot.intended_ns);
            self.latencies.commands[slot.command as usize].record_n(latency_ns, fresh as u64);
        }
    }

    /// Ends every key that has no answer.
    fn each_left(&mut self, slot: &mut Slot, keys: &[Pending], end: End) {
        for (index, pending) in keys.iter().enumerate() {
            if slot.answered >> index & 1 == 0 {
                self.end(slot, index, pending, end);
            }
        }
    }

    /// The request has waited too long: what is not answered is lost.
    pub fn lost(&mut self, slot: &mut Slot, keys: &[Pending], now_ns: u64) {
        let left = (keys.len() as u32 - slot.answered.count_ones()) as u64;
        if left > 0 && slot.measured {
            self.latencies.lost.record_n(now_ns.saturating_sub(slot.intended_ns), left);
        }
        self.each_left(slot, keys, End::Lost);
    }

    #[inline]
    fn answer(&mut self, slot: &mut Slot, keys: &[Pending], all: u64, answer: Answer) {
        let waiting = all & !slot.answered;
        let first = (waiting != 0).then(|| waiting.trailing_zeros() as usize);
        let get = slot.command == Verb::Get;
        let settled = match answer {
            Answer::Value { index, key, data } if get => {
                let found = self.find(keys, waiting, index, key);
                if self.setup.versions.is_some() {
                    self.check(found.map(|index| (keys[index].ask.key, keys[index].version)), key, data);
                }
                found.map(|index| (index, End::Done))
            }
            Answer::Miss { index, key } if get => {
                self.find(keys, waiting, index, key).map(|index| (index, End::Miss))
            }
            Answer::End if get => return self.each_left(slot, keys, End::Miss),
            Answer::Done if !get => first.map(|index| (index, End::Done)),
            Answer::Refused if !get => first.map(|index| (index, End::Miss)),
            Answer::Error(line) => {
                if slot.measured {
                    self.tally.first_error.keep_first(line);
                }
                first.map(|index| (index, End::Error))
            }
            Answer::Garbage => {
                self.tally.events.garbage += 1;
                return;
            }
            // The meta protocol answers a touch of a missing key with EN, a touched one with HD.
            Answer::Miss { .. } => first.map(|index| (index, End::Miss)),
            _ => None,
        };
        match settled {
            Some((index, end)) => self.end(slot, index, &keys[index], end),
            None => self.tally.events.mismatched += 1,
        }
    }

    /// The waiting key that an answer is about.
    #[inline]
    fn find(
        &self,
        keys: &[Pending],
        waiting: u64,
        index: Option<usize>,
        key: Option<&[u8]>,
    ) -> Option<usize> {
        let mut buffer = [0; KEY_BYTES_MAX];
        let mut candidates = match index {
            Some(index) if index < 64 => waiting & 1 << index,
            Some(_) => 0,
            None => waiting,
        };
        while candidates != 0 {
            let index = candidates.trailing_zeros() as usize;
            match key {
                Some(key) if self.setup.keys.write(keys[index].ask.key, &mut buffer) != key => {}
                _ => return Some(index),
            }
            candidates &= candidates - 1;
        }
        None
    }

    /// Checks a value: it must be that of the key the server named, or else of the key that was asked for.
    fn check(&mut self, asked: Option<(u32, u32)>, named: Option<&[u8]>, data: &[u8]) {
        let mut buffer = [0; KEY_BYTES_MAX];
        let key: &[u8] = match (named, asked) {
            (Some(key), _) => key,
            (None, Some((key, _))) => self.setup.keys.write(key, &mut buffer),
            (None, None) => return,
        };
        self.tally.events.checked += 1;
        match (self.setup.values.check(key, data), asked) {
            (Err(_), _) => self.tally.events.wrong += 1,
            (Ok(version), Some((_, floor))) if version < floor => self.tally.events.stale += 1,
            _ => {}
        }
    }

    /// One key has ended.
    #[inline]
    fn end(&mut self, slot: &mut Slot, index: usize, pending: &Pending, end: End) {
        slot.answered |= 1 << index;
        let command = pending.ask.command;
        if slot.measured {
            let counts = &mut self.tally.commands[command as usize];
            match end {
                End::Done => counts.hits += 1,
                End::Miss => counts.misses += 1,
                End::Error => counts.errors += 1,
                End::Lost => counts.lost += 1,
            }
        }
        if let (Some(versions), Verb::Set | Verb::Delete) = (&self.setup.versions, command) {
            match end {
                End::Done => versions.acknowledged(pending.ask.key, pending.version),
                // A delete of a missing key changed nothing, nor did a refused set.
                End::Miss | End::Error => versions.refused(pending.ask.key),
                End::Lost => versions.lost(pending.ask.key),
            }
        }
        self.ends.push((pending.ask, end));
    }
}
