//! What the fuzz targets do with bytes, and what must hold afterwards.
//!
//! Shared by libFuzzer (`fuzz_targets/`) and by the short run of `tests/fuzz_smoke.rs`, which needs no fuzzer.

#![allow(dead_code)] // each target uses one of them

use cache::base::item_ref::ItemRef;
use cache::limits::PROBE_LINES_MAX;
use cache::table::{Found, Keys, Table, Upsert};
use protocol::batch::{Code, Frame, FrameWriter, Operation, OperationResult, Status};
use protocol::frame::{self, Header};
use protocol::limits::{FRAME_HEADER_BYTES, KEY_BYTES_MAX, REPLY_DATAGRAM_BYTES_MAX};
use protocol::request::{Command, Commands};
use protocol::{Dialect, Reply, datagrams};
use std::collections::HashMap;

/// A datagram from anywhere: a request is what one whole frame holds, and nothing else is.
pub fn frame(data: &[u8]) {
    let split = Header::split(data);
    assert_eq!(split.is_some(), data.len() >= 8);
    if let Some((header, body)) = split {
        assert_eq!([&header.to_bytes()[..], body].concat(), data);
        if let Ok((id, dialect, request)) = frame::request(data) {
            assert!(header.request_id == id && request == body && !body.is_empty());
            assert_eq!(header.total == 1, dialect == Dialect::Text);
        }
    }
    match frame::request(data) {
        Ok((_, Dialect::Text | Dialect::Stream, body)) => request(body),
        Ok((_, Dialect::Batch { .. }, body)) => batch(body),
        Err(_) => {}
    }
}

/// The body of a batch frame: reading ends, goes forward, yields only what the bytes hold; what it yields can be written
/// again. The same bytes as a reply: results that can be told from padding.
pub fn batch(body: &[u8]) {
    if let Some(frame) = Frame::open(body) {
        let mut operations = frame.operations(body);
        let (is_sound, mut read) = (operations.are_sound(), Vec::new());
        loop {
            let place = operations.place();
            let Some(operation) = operations.next() else { break };
            assert!(operations.place().at > place.at || operation.is_none(), "reading does not go forward");
            // A frame that was suspended goes on from a place: it must see the same operation there.
            assert_eq!(frame.operations(body).from(place).next(), Some(operation));
            read.extend(operation);
        }
        assert_eq!(is_sound, read.len() == frame.count as usize);
        read.iter().for_each(|operation| check_operation(operation, body));
        if is_sound {
            write_again(&frame, &read);
        }
    }
    let mut rest = body;
    while let Some((outcome, behind)) = OperationResult::split(rest) {
        assert!(behind.len() < rest.len() && is_within(outcome.value, body));
        assert!(Status::of(rest[0]) == Some(outcome.status) && rest[0] >= 0x80);
        rest = behind;
    }
}

fn check_operation(operation: &Operation<'_>, body: &[u8]) {
    let key = operation.key.bytes();
    assert!((1..=KEY_BYTES_MAX).contains(&key.len()) && is_within(key, body));
    assert!(operation.value.is_empty() || is_within(operation.value, body));
    assert_eq!(Code::of(operation.code as u8), Some(operation.code));
}

fn write_again(frame: &Frame, operations: &[Operation<'_>]) {
    let mut out = Vec::new();
    let mut writer = FrameWriter::begin(0, &mut out);
    operations.iter().for_each(|operation| writer.put(operation, &mut out));
    writer.finish(&mut out);
    let again = Frame::open(&out[8..]).expect("what we write can be read");
    assert_eq!(again.count, frame.count);
    let read: Vec<_> = again.operations(&out[8..]).map(|operation| operation.expect("sound")).collect();
    assert_eq!(read, operations);
}

/// The body of a request: parsing ends, goes forward, and yields only what the bytes hold.
pub fn request(body: &[u8]) {
    const VALUE_BYTES_MAX: usize = 1 << 10;
    let mut commands = Commands::new(body, VALUE_BYTES_MAX);
    loop {
        let before = commands.at();
        let Some(command) = commands.next() else { break };
        assert!(before < commands.at() && commands.at() <= body.len(), "parsing does not go forward");
        // A datagram that was suspended goes on from a position: it must see the same command there.
        let again = Commands::resume(body, before, VALUE_BYTES_MAX).next().expect("the same command");
        assert_eq!(format!("{command:?}"), format!("{again:?}"));
        if let Ok(command) = command {
            check(&command, &body[before..commands.at()]);
        }
    }
    assert_eq!(commands.at(), body.len(), "bytes are left over");
}

fn check(command: &Command<'_>, bytes: &[u8]) {
    let key = |key: &[u8]| assert!((1..=KEY_BYTES_MAX).contains(&key.len()) && is_within(key, bytes));
    match command {
        Command::Get(get) => {
            assert!(get.keys().count() > 0);
            get.keys().for_each(|one| key(one.bytes()));
        }
        Command::Store(store) => {
            key(store.key.bytes());
            assert!(is_within(store.value, bytes) && bytes.ends_with(&[store.value, b"\r\n"].concat()));
        }
        Command::Delete { key: one, .. }
        | Command::Arithmetic { key: one, .. }
        | Command::Touch { key: one, .. } => key(one.bytes()),
        Command::Meta(meta) => {
            let mut buffer = [0; KEY_BYTES_MAX + 2];
            if let Ok(decoded) = meta.key(&mut buffer) {
                assert!(decoded.bytes().len() <= KEY_BYTES_MAX);
            }
            assert!(meta.value.is_empty() || is_within(meta.value, bytes));
        }
        _ => {}
    }
}

fn is_within(part: &[u8], whole: &[u8]) -> bool {
    whole.as_ptr_range().start <= part.as_ptr_range().start
        && part.as_ptr_range().end <= whole.as_ptr_range().end
}

/// Replies of any make: whole frames with one sequence space, holding what was put into them, or an error line.
pub fn reply(data: &[u8]) {
    let [size, id, ops @ ..] = data else { return };
    let mut buffer = vec![0xaa; REPLY_DATAGRAM_BYTES_MAX + *size as usize * 97];
    let body_bytes = datagrams::body_bytes_max(buffer.len());
    let mut reply = Reply::new(&mut buffer[FRAME_HEADER_BYTES..][..body_bytes], 0, Dialect::Text);
    let mut want = Vec::new();
    for op in ops.chunks_exact(3) {
        let mark = reply.mark();
        let value = vec![op[1]; op[2] as usize * 41];
        let cas = (op[0] & 2 != 0).then_some(op[1] as u64);
        reply.put_value_head(b"key", op[0] as u32 >> 2, value.len(), cas);
        reply.put(&value);
        reply.put(b"\r\n");
        if op[0] & 1 == 1 {
            reply.rewind(mark);
            continue;
        }
        if reply.overflown() {
            want.extend_from_slice(b"SERVER_ERROR object too large for udp\r\n");
        } else {
            let cas = cas.map_or(String::new(), |cas| format!(" {cas}"));
            let head = format!("VALUE key {} {}{cas}\r\n", op[0] >> 2, value.len());
            want.extend_from_slice(&[head.as_bytes(), &value, b"\r\n"].concat());
        }
        let was_overflown = reply.overflown();
        reply.settle(mark);
        if was_overflown && reply.overflown() {
            // Not even the error fits: the reply is full.
            return;
        }
    }
    let bytes = reply.bytes();
    let bytes = datagrams::frame(&mut buffer, bytes, *id as u16, Dialect::Text);
    let datagrams: Vec<_> = buffer[..bytes]
        .chunks(REPLY_DATAGRAM_BYTES_MAX)
        .map(|d| Header::split(d).expect("a frame"))
        .collect();
    for (i, (header, _)) in datagrams.iter().enumerate() {
        let total = datagrams.len() as u16;
        assert_eq!(*header, Header { request_id: *id as u16, sequence: i as u16, total, reserved: 0 });
    }
    let got: Vec<u8> = datagrams.iter().flat_map(|(_, body)| body.iter().copied()).collect();
    assert_eq!(got, want);
}

/// Operations on a small, crowded table: a map of the standard library says what comes out.
pub fn table(data: &[u8]) {
    let [crowd, ops @ ..] = data else { return };
    let crowd = *crowd as u32 % 4;
    let table = Table::on_heap(PROBE_LINES_MAX as u64 * 2, 0);
    let mut writer = table.writer().expect("a fresh table");
    let mut model: HashMap<u64, ItemRef> = HashMap::new();
    for (version, op) in ops.chunks_exact(2).enumerate() {
        let (key, version) = (op[1] as u64 + 1 + (op[0] as u64 & 1) * 256, version as u64 % 4096);
        let (hash, name, new) = (hash(key, crowd), key.to_le_bytes(), item(key, version));
        match op[0] >> 1 & 3 {
            0 | 1 => match writer.upsert(&Numbers, hash, &name, new) {
                Upsert::Inserted => assert_eq!(model.insert(key, new), None),
                Upsert::Replaced(old) => assert_eq!(model.insert(key, new), Some(old)),
                Upsert::Evicted(victim) => {
                    assert_eq!(model.insert(key, new), None);
                    assert_eq!(model.remove(&(victim.units() & 0xff_ffff)), Some(victim));
                }
            },
            2 => assert_eq!(writer.remove(&Numbers, hash, &name), model.remove(&key)),
            _ => {
                let want = model.get(&key).map_or(Found::Miss, |at| Found::Hit(*at));
                assert_eq!(table.find(&Numbers, hash, &name), want);
            }
        }
        assert_eq!(writer.items(), model.len() as u64);
    }
}

struct Numbers;

impl Keys for Numbers {
    fn key_is(&self, at: ItemRef, key: &[u8]) -> bool {
        // Versions of a key differ in the bits above 2^24.
        (at.units() & 0xff_ffff).to_le_bytes() == key
    }
    fn prefetch(&self, _at: ItemRef) {}
}

fn item(key: u64, version: u64) -> ItemRef {
    ItemRef::new(key | version << 24).expect("not zero")
}

/// A hash that fills few homes, so that runs are long, or a good one.
fn hash(key: u64, crowd: u32) -> u64 {
    let mixed = (key ^ key >> 7).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 31).wrapping_mul(0xd6e8_feb8_6659_fd93) << crowd >> crowd
}
