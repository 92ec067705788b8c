//! Sherwood's batch frames. Results come in the order of the operations, so each names its key by its place; frames are
//! padded to one of a few lengths, so that they travel as trains whatever their keys, and so do the replies.

use super::{Answer, Codec, DatagramCodec};
use crate::limits::FRAME_HEADER_BYTES;
use crate::load::datagrams::frame::Frame;
use cache::base::clock::Clock;
use protocol::batch::{Code, FrameWriter, MARK, Operation, OperationResult, SealKey, Status, write};
use protocol::frame::Header;
use std::cell::Cell;

/// Batch frames.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Whether datagrams travel as trains.
    padded: bool,
    sealer: Option<Sealer>,
    writer: Cell<FrameWriter>,
}

/// Seals frames.
#[derive(Clone, Debug)]
struct Sealer {
    key: SealKey,
    clock: Clock,
    session: u64,
    sequence: Cell<u64>,
}

impl Batch {
    /// Frames that may be padded if they are to travel as trains, and are sealed if there is a key. `session` is a
    /// number that no other run takes; each thread's is another.
    pub fn new(padded: bool, key: Option<SealKey>, clock: Clock, session: u64) -> Batch {
        let sealer = key.map(|key| Sealer { key, clock, session, sequence: Cell::new(0) });
        Batch { padded, sealer, writer: Cell::default() }
    }

    /// Begins the frame whose first eight bytes are in `out`.
    #[inline]
    fn begin(&self, out: &mut Vec<u8>) {
        let mut writer = FrameWriter::behind_header(out);
        if let Some(sealer) = &self.sealer {
            sealer.sequence.set(sealer.sequence.get() + 1);
            let unix_ms = sealer.clock.now().unix_s * 1000;
            writer = writer.sealed(unix_ms, sealer.session, sealer.sequence.get(), out);
        }
        self.writer.set(writer);
    }

    #[inline]
    fn put(&self, operation: &Operation<'_>, value_bytes: usize, out: &mut Vec<u8>) {
        let mut writer = self.writer.get();
        writer.head(operation, value_bytes, out);
        self.writer.set(writer);
    }

    fn one(&self, operation: &Operation<'_>, out: &mut Vec<u8>) {
        self.begin(out);
        self.put(operation, 0, out);
    }
}

/// The longest time to live that batch frames can say, in seconds: milliseconds of 32 bits, 49 days.
pub const TTL_MAX_S: u32 = u32::MAX / 1000;

/// Seconds as milliseconds; a plan refuses what 32 bits do not hold.
fn ttl_ms(ttl_s: u32) -> u32 {
    ttl_s.checked_mul(1000).unwrap_or(0)
}

impl Codec for Batch {
    #[inline]
    fn expiry(&self, ttl_s: u32, _clock: &Clock) -> u32 {
        ttl_s
    }

    fn of_thread(&self, thread: usize) -> Batch {
        let mut codec = self.clone();
        if let Some(sealer) = &mut codec.sealer {
            sealer.session = sealer.session.wrapping_add(thread as u64);
        }
        codec
    }

    #[inline]
    fn begin_get(&self, _count: usize, out: &mut Vec<u8>) {
        self.begin(out);
    }

    #[inline]
    fn get_key(&self, _index: usize, _count: usize, key: &[u8], out: &mut Vec<u8>) {
        let mut writer = self.writer.get();
        writer.get(key, out);
        self.writer.set(writer);
    }

    fn end_get(&self, _out: &mut Vec<u8>) {}

    fn begin_set(&self, key: &[u8], ttl_s: u32, value_bytes: usize, out: &mut Vec<u8>) {
        self.begin(out);
        self.put(&Operation { ttl_ms: ttl_ms(ttl_s), ..Operation::short(Code::Set, key) }, value_bytes, out);
    }

    fn end_set(&self, _out: &mut Vec<u8>) {}

    fn delete(&self, key: &[u8], out: &mut Vec<u8>) {
        self.one(&Operation::short(Code::Delete, key), out);
    }

    fn touch(&self, key: &[u8], ttl_s: u32, out: &mut Vec<u8>) {
        self.one(&Operation { ttl_ms: ttl_ms(ttl_s), ..Operation::short(Code::Touch, key) }, out);
    }
}

impl DatagramCodec for Batch {
    #[inline]
    fn header(&self, request_id: u16) -> [u8; FRAME_HEADER_BYTES] {
        write::header(request_id)
    }

    #[inline]
    fn frame<'a>(&self, datagram: &'a [u8]) -> Option<(Frame, &'a [u8])> {
        let (header, _) = Header::split(datagram)?;
        Frame::decode(datagram).filter(|_| header.reserved == MARK)
    }

    #[inline]
    fn finish(&self, datagram: &mut Vec<u8>) {
        let mut writer = self.writer.get();
        if self.padded {
            writer.finish_padded(datagram);
        } else {
            writer.finish(datagram);
        }
        if let Some(sealer) = &self.sealer {
            sealer.key.stamp(datagram);
        }
    }

    #[inline]
    fn decode(&self, mut body: &[u8], each: &mut impl FnMut(Answer)) {
        let mut index = 0;
        while let Some((outcome, rest)) = OperationResult::split(body) {
            body = rest;
            each(match outcome.status {
                Status::Value => Answer::Value { index: Some(index), key: None, data: outcome.value },
                Status::Missing => Answer::Miss { index: Some(index), key: None },
                Status::Done | Status::Number => Answer::Done,
                Status::Exists | Status::NotStored => Answer::Refused,
                Status::TooLarge => Answer::Error(b"too large"),
                Status::NotANumber => Answer::Error(b"not a number"),
                Status::Busy => Answer::Error(b"busy"),
                Status::NoMemory => Answer::Error(b"no memory"),
                Status::NoRoom => Answer::Error(b"no room in the reply"),
                Status::Bad => Answer::Error(b"bad frame"),
                Status::Cookie => Answer::Error(b"the server does not know this address"),
            });
            index += 1;
        }
        // Padding is zeros; anything else was no result.
        if index == 0 || body.first().is_some_and(|&byte| byte != 0) {
            each(Answer::Garbage);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::batch;

    fn codec(key: Option<SealKey>) -> Batch {
        Batch::new(true, key, Clock::manual(0), 5)
    }

    fn written(codec: &Batch, write: impl FnOnce(&Batch, &mut Vec<u8>)) -> Vec<u8> {
        let mut datagram = codec.header(7).to_vec();
        write(codec, &mut datagram);
        codec.finish(&mut datagram);
        datagram
    }

    #[test]
    fn what_it_writes_is_what_a_server_reads() {
        let codec = codec(None);
        let get = written(&codec, |codec, out| {
            codec.begin_get(2, out);
            codec.get_key(0, 2, b"a", out);
            codec.get_key(1, 2, b"bb", out);
            codec.end_get(out);
        });
        let set = written(&codec, |codec, out| {
            codec.begin_set(b"k", 3, 5, out);
            out.extend_from_slice(b"value");
            codec.end_set(out);
        });
        let touch = written(&codec, |codec, out| codec.touch(b"k", u32::MAX, out));
        for (datagram, want) in [
            (&get, vec![Operation::short(Code::Get, b"a"), Operation::short(Code::Get, b"bb")]),
            (&set, vec![Operation { ttl_ms: 3000, value: b"value", ..Operation::short(Code::Set, b"k") }]),
            (&touch, vec![Operation::short(Code::Touch, b"k")]),
        ] {
            let body = &datagram[FRAME_HEADER_BYTES..];
            let frame = batch::Frame::open(body).unwrap();
            assert_eq!((datagram.len(), frame.padded), (batch::padded_bytes(datagram.len()), true));
            assert_eq!(frame.operations(body).map(Option::unwrap).collect::<Vec<_>>(), want);
        }
    }

    #[test]
    fn sealed_frames_have_sequences_and_threads_have_sessions() {
        let key = SealKey::new(b"0123456789abcdef").unwrap();
        let codec = codec(Some(key)).of_thread(2);
        for sequence in 1..4 {
            let datagram = written(&codec, |codec, out| codec.delete(b"k", out));
            let seal = batch::Frame::open(&datagram[FRAME_HEADER_BYTES..]).unwrap().seal.unwrap();
            assert_eq!((seal.session, seal.sequence), (7, sequence));
            assert!(key.is_right(&datagram, &seal));
        }
    }

    #[test]
    fn results_are_read_up_to_the_padding() {
        let mut body = OperationResult::head(Status::Value, 2, 0, 1).to_vec();
        body.extend_from_slice(b"ab");
        for status in [Status::Missing, Status::Done, Status::Exists, Status::Busy] {
            body.extend_from_slice(&OperationResult::head(status, 0, 0, 0));
        }
        body.extend_from_slice(&[0; 40]);
        let mut got = Vec::new();
        codec(None).decode(&body, &mut |answer| got.push(format!("{answer:?}")));
        assert_eq!(got.len(), 5);
        assert!(got[0].contains("Some(0)") && got[0].contains("[97, 98]") && got[1].contains("Some(1)"));
        for bad in [&b""[..], b"garbage", &body[..17], &[&body[..18], &[0x90]].concat()] {
            let mut last = None;
            codec(None).decode(bad, &mut |answer| last = Some(answer == Answer::Garbage));
            assert_eq!(last, Some(true), "{}", bad.escape_ascii());
        }
    }
}
