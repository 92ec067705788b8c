//! Batch frames, as docs/protocol.md has them: its own examples, every operation over both ports with one worker and two,
//! and what happens to frames between two workers.

mod support;

use cache::base::clock::Clock;
use protocol::batch::{Code, FrameWriter, Operation, Status};
use protocol::steer::{owner, steer};
use sherwood::config::serve::Io;
use sherwood::guard::Secret;
use sherwood::limits::{LARGE_REQUESTS_RESERVED, LONG_REQUESTS_RESERVED, PENDING_REQUESTS_MAX, POOL_WAIT_MS};
use sherwood::server::Server;
use sherwood::worker::Access;
use std::time::Duration;
use support::batch::{frame, get, op, results, set, statuses};
use support::peer::Peer;
use support::stepped::Stepped;
use support::{KINDS, config, server_with_clock};

/// The frames of docs/protocol.md: each request with its reply, as whole datagrams.
fn documented() -> Vec<(Vec<u8>, Vec<u8>)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocol.md");
    let text = std::fs::read_to_string(path).unwrap();
    let block = text.split("```frames\n").nth(1).expect("examples").split("```").next().unwrap();
    let hex = |line: &str| -> Vec<u8> {
        let digits: Vec<u32> = line.chars().filter_map(|c| c.to_digit(16)).collect();
        digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
    };
    let mut frames: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for line in block.lines() {
        match line.split_at(1) {
            (">", rest) => {
                if frames.last().is_none_or(|(_, reply)| !reply.is_empty()) {
                    frames.push(Default::default());
                }
                frames.last_mut().unwrap().0.extend(hex(rest));
            }
            ("<", rest) => frames.last_mut().expect("a request").1.extend(hex(rest)),
            _ => assert!(line.starts_with('#'), "{line}"),
        }
    }
    frames
}

#[test]
fn the_documents_examples_are_true() {
    let frames = documented();
    assert_eq!(frames.len(), 5);
    for io in [Io::Mmsg, Io::Uring] {
        let Some((server, _)) = server_with_clock(io, 1) else { continue };
        let mut peer = Peer::new(server.addr());
        for (request, reply) in &frames {
            let id = peer.send_whole(request);
            assert_eq!(request[..2], id.to_be_bytes(), "the examples are numbered");
            assert_eq!(reply[..8], [request[0], request[1], 0, 0, 0, 1, 0x53, 1]);
            let got = peer.marked_reply(id, 0x5301);
            assert_eq!(got, reply[8..], "{}", request.escape_ascii());
        }
        server.stop().unwrap();
    }
}

#[test]
fn every_operation_does_what_its_command_does() {
    use Status::{Done, Exists, Missing, NotANumber, NotStored, Number, Value};
    for (io, workers) in KINDS {
        let Some((server, clock)) = server_with_clock(io, workers) else { continue };
        let mut peer = Peer::new(server.addr());
        let value = |code, key, value: &'static str| Operation { value: value.as_bytes(), ..op(code, key) };
        let number = |code, key, number| Operation { number, ..op(code, key) };
        let got = results(&peer.ask_frame(&frame(&[
            value(Code::Replace, "k", "no"),
            value(Code::Append, "k", "no"),
            value(Code::Add, "k", "one"),
            value(Code::Add, "k", "two"),
            value(Code::Append, "k", "!"),
            value(Code::Prepend, "k", ">"),
            get("k"),
            value(Code::Replace, "k", "7"),
            number(Code::Incr, "k", 5),
            number(Code::Decr, "k", 100),
            number(Code::Incr, "none", 1),
            set("text", "seven"),
            number(Code::Incr, "text", 1),
            op(Code::Delete, "text"),
            op(Code::Delete, "text"),
            get("text"),
        ])));
        let want = [
            NotStored, NotStored, Done, NotStored, Done, Done, Value, Done, Number, Number, Missing, Done,
            NotANumber, Done, Missing, Missing,
        ];
        assert_eq!(got.iter().map(|got| got.status).collect::<Vec<_>>(), want);
        assert_eq!(got[6].value, b">one!");
        assert_eq!((&got[8].value[..], &got[9].value[..]), (&[0, 0, 0, 0, 0, 0, 0, 12][..], &[0; 8][..]));
        // The number of a store is that of the item, and compares.
        let stored = results(&peer.ask_frame(&frame(&[set("c", "1")])))[0].cas;
        let cas = |number| Operation { number, ..value(Code::Cas, "c", "2") };
        let body = peer.ask_frame(&frame(&[cas(stored + 1000), cas(stored), cas(stored), get("c")]));
        assert_eq!(statuses(&body), [Exists, Done, Exists, Value]);
        assert_eq!(
            statuses(&peer.ask_frame(&frame(&[Operation { key: get("x").key, ..cas(1) }]))),
            [Missing]
        );
        // Milliseconds.
        let brief = |code, ttl_ms| Operation { ttl_ms, ..value(code, "brief", "b") };
        let body =
            peer.ask_frame(&frame(&[brief(Code::Set, 50), brief(Code::GetAndTouch, 20), get("brief")]));
        assert_eq!(statuses(&body), [Done, Value, Value]);
        clock.advance(Duration::from_millis(19));
        assert_eq!(statuses(&peer.ask_frame(&frame(&[brief(Code::Touch, 30)]))), [Done]);
        clock.advance(Duration::from_millis(29));
        assert_eq!(statuses(&peer.ask_frame(&frame(&[get("brief")]))), [Value]);
        clock.advance(Duration::from_millis(2));
        let body =
            peer.ask_frame(&frame(&[get("brief"), brief(Code::Touch, 1), brief(Code::GetAndTouch, 1)]));
        assert_eq!(statuses(&body), [Missing; 3]);
        // What one protocol stores the other reads, client flags and all.
        assert_eq!(peer.ask(b"set both 9 0 4\r\ntext\r\n"), b"STORED\r\n");
        let got = &results(&peer.ask_frame(&frame(&[get("both")])))[0];
        assert_eq!((got.client_flags, &got.value[..]), (9, &b"text"[..]));
        server.stop().unwrap();
    }
}

#[test]
fn frames_over_all_owners_are_answered_once_and_in_order() {
    for (io, workers) in KINDS {
        let Some((server, _)) = server_with_clock(io, workers) else { continue };
        let mut peer = Peer::new(server.addr());
        let keys: Vec<String> = (0..60).map(|i| format!("key:{i}")).collect();
        let large = "x".repeat(400);
        // Set, get, set again, get again, of every key in one frame: no answer is older than its place in the frame.
        let mut operations = Vec::new();
        for (i, key) in keys.iter().enumerate() {
            operations.push(set(key, &large[i..]));
            operations.push(get(key));
            operations.push(set(key, "new"));
            operations.push(get(key));
        }
        let got = results(&peer.ask_frame(&frame(&operations)));
        assert_eq!(got.len(), operations.len(), "{io:?}, {workers} workers");
        for (i, four) in got.chunks(4).enumerate() {
            assert_eq!((four[0].status, four[2].status), (Status::Done, Status::Done));
            assert_eq!(four[1].value, &large.as_bytes()[i..]);
            assert_eq!(four[3].value, b"new");
            assert!(four[1].cas == four[0].cas && four[3].cas == four[2].cas);
        }
        // More reads than one table batch takes.
        let reads: Vec<_> = (0..1000).map(|i| get(&keys[i % keys.len()])).collect();
        let got = results(&peer.ask_frame(&frame(&reads)));
        assert!(got.len() == 1000 && got.iter().all(|got| got.value == b"new"));
        server.stop().unwrap();
    }
}

#[test]
fn values_that_are_too_large_are_refused_one_by_one() {
    let mut config = config(Io::Mmsg, 1);
    config.value_bytes_max = 1000;
    let server = Server::start(config, &|_| ()).unwrap();
    let mut peer = Peer::new(server.addr());
    let large = "x".repeat(1001);
    let body = peer.ask_frame(&frame(&[set("a", "1"), set("b", &large), set("c", &large[1..])]));
    assert_eq!(statuses(&body), [Status::Done, Status::TooLarge, Status::Done]);
    // A set that is refused leaves no old value; other stores leave it as it is.
    let append = Operation { value: large.as_bytes(), ..op(Code::Append, "c") };
    let body = peer.ask_frame(&frame(&[set("a", &large), get("a"), append, get("c")]));
    assert_eq!(statuses(&body), [Status::TooLarge, Status::Missing, Status::TooLarge, Status::Value]);
    server.stop().unwrap();
}

/// Values that do not fit the reply are left out, never results: once a client got fewer results than it sent operations.
#[test]
fn every_operation_has_a_result_however_full_the_reply_is() {
    for (io, workers) in KINDS {
        let Some((server, _)) = server_with_clock(io, workers) else { continue };
        let mut peer = Peer::new(server.addr());
        if !peer.wants_room_for(4 << 20) {
            return println!("SKIPPED: no permission for a socket buffer of 4 MiB");
        }
        for bytes in [1_150, 1_200, 1_400, 20_000] {
            let value = "v".repeat(bytes);
            let mut operations = vec![set("k", &value)];
            operations.extend((1..1_020).map(|_| get("k")));
            operations.extend([
                set("n", "7"),
                op(Code::Delete, "k"),
                get("k"),
                Operation { number: 1, ..op(Code::Incr, "n") },
            ]);
            let got = results(&peer.ask_frame(&frame(&operations)));
            let statuses: Vec<_> = got.iter().map(|got| got.status).collect();
            let fit = statuses.iter().filter(|&&status| status == Status::Value).count();
            assert!(fit < 1_019 && fit > 1_000_000 / (bytes + 16), "{fit} values of {bytes} bytes");
            assert!(statuses[1..fit + 1].iter().all(|&status| status == Status::Value));
            assert!(statuses[fit + 1..1_020].iter().all(|&status| status == Status::NoRoom));
            assert_eq!(statuses[1_020..], [Status::Done, Status::Done, Status::Missing, Status::Number]);
        }
        server.stop().unwrap();
    }
}

#[test]
fn a_frame_that_is_cut_off_or_changed_anywhere_is_done_wholly_or_not_at_all() {
    let server = Server::start(config(Io::Mmsg, 1), &|_| ()).unwrap();
    let mut peer = Peer::new(server.addr());
    let whole = frame(&[set("a", "1"), op(Code::Delete, "a"), set("b", "22")]);
    for length in 8..whole.len() {
        let id = peer.send_whole(&whole[..length]);
        if length < 24 {
            // Not even a preamble: whoever sent it gets nothing.
            assert_eq!(peer.until_fence(), b"");
        } else {
            assert_eq!(statuses(&peer.marked_reply(id, 0x5301)), [Status::Bad], "{length}");
        }
    }
    assert_eq!(peer.ask(b"get a b\r\n"), b"END\r\n");
    let counters = &server.figures().workers[0];
    assert_eq!(counters.refused_frames.get(), 15, "a frame of nothing but the header is short");
    assert_eq!(counters.protocol_errors.get(), whole.len() as u64 - 24);
    server.stop().unwrap();
}

#[test]
fn a_frame_waits_for_its_last_owner_and_only_for_that() {
    let mut stepped = Stepped::new();
    let (mine, theirs) = (Stepped::key_of(0, 0), Stepped::key_of(1, 0));
    let next = Stepped::key_of(1, 1);
    stepped.send(0, &frame(&[set(&mine, "m"), set(&theirs, "t"), set(&next, "n"), get(&mine), get(&theirs)]));
    stepped.tick(0);
    stepped.tick(0);
    assert_eq!(stepped.worker(0).counters().forwarded.get(), 1);
    stepped.tick(0);
    assert_eq!(stepped.receive(0), None, "half of a frame was answered");
    stepped.tick(1);
    assert_eq!(stepped.worker(1).counters().executed_for_others.get(), 1, "both operations in one visit");
    stepped.tick(0);
    let reply = stepped.receive(0).expect("the reply");
    let got = results(&reply[8..]);
    assert_eq!(got.len(), 5);
    assert!(got[..3].iter().all(|got| got.status == Status::Done));
    assert_eq!((&got[3].value[..], &got[4].value[..]), (&b"m"[..], &b"t"[..]));
    assert_eq!(stepped.receive(0), None);
}

/// Keys of both workers, of which no two are equal, in pairs.
fn pairs(count: usize) -> Vec<(String, String)> {
    let keys_of = |worker| {
        let is_of = move |key: &String| owner(steer(key.as_bytes()), 2) == worker;
        (0..).map(|i| format!("key{i}")).filter(is_of).take(count)
    };
    keys_of(0).zip(keys_of(1)).collect()
}

#[test]
fn datagrams_wait_for_the_next_tick_when_no_pending_request_is_free() {
    let mut stepped = Stepped::new();
    let sent = PENDING_REQUESTS_MAX + 200;
    for (mine, theirs) in pairs(sent) {
        stepped.send(0, &frame(&[set(&theirs, "t"), set(&mine, "m")]));
    }
    // The owner does not tick: pending requests run out.
    (0..5).for_each(|_| stepped.tick(0));
    assert!(stepped.receive(0).is_none() && stepped.worker(0).counters().deferred.get() > 0);
    (0..10).for_each(|_| stepped.settle());
    for _ in 0..sent {
        assert_eq!(statuses(&stepped.receive(0).unwrap()[8..]), [Status::Done, Status::Done]);
    }
    assert_eq!(stepped.worker(0).counters().busy.get(), 0);
    // All pending requests are back.
    stepped.send(0, &frame(&[set("again", "and again")]));
    stepped.settle();
    assert_eq!(statuses(&stepped.receive(0).unwrap()[8..]), [Status::Done]);
}

#[test]
fn when_no_pending_request_is_free_in_time_an_operation_is_busy_and_the_others_are_done() {
    let mut stepped = Stepped::new();
    let sent = PENDING_REQUESTS_MAX + 200;
    for (mine, theirs) in pairs(sent) {
        stepped.send(0, &frame(&[set(&theirs, "t"), set(&mine, "m")]));
    }
    for _ in 0..5 {
        stepped.tick(0);
        stepped.advance(Duration::from_millis(POOL_WAIT_MS + 1));
    }
    let (mut refused, mut busy) = (0, 0);
    while let Some(reply) = stepped.receive(0) {
        // Keys of a thousand others are under way: some of these seem to be among them, and then all of a frame waits.
        let statuses = statuses(&reply[8..]);
        assert!(
            statuses[0] == Status::Busy && matches!(statuses[1], Status::Done | Status::Busy),
            "{statuses:?}"
        );
        refused += 1;
        busy += statuses.iter().filter(|&&status| status == Status::Busy).count() as u64;
    }
    // Stores leave some pending requests to reads, and to long replies.
    assert_eq!(refused, 200 + LONG_REQUESTS_RESERVED + LARGE_REQUESTS_RESERVED);
    assert_eq!(stepped.worker(0).counters().busy.get(), busy);
    (0..4).for_each(|_| stepped.settle());
    for _ in refused..sent {
        assert_eq!(statuses(&stepped.receive(0).unwrap()[8..]), [Status::Done, Status::Done]);
    }
}

#[test]
fn an_owner_that_answers_with_a_value_has_room_for_it() {
    let mut stepped = Stepped::new();
    let (theirs, value) = (Stepped::key_of(1, 0), "v".repeat(20_000));
    // The pending request is small when it sets out.
    let touch = Operation { ttl_ms: 1000, ..op(Code::GetAndTouch, &theirs) };
    stepped.send(1, &frame(&[set(&theirs, &value)]));
    stepped.settle();
    assert_eq!(statuses(&stepped.receive(1).unwrap()[8..]), [Status::Done]);
    stepped.send(0, &frame(&[op(Code::Delete, &Stepped::key_of(1, 1)), touch]));
    stepped.settle();
    let mut datagrams: Vec<_> = std::iter::from_fn(|| stepped.receive(0)).collect();
    // Datagrams of one length travel together; their sequence says where they belong.
    datagrams.sort_by_key(|datagram| (datagram[2], datagram[3]));
    let body: Vec<u8> = datagrams.iter().flat_map(|datagram| &datagram[8..]).copied().collect();
    let got = results(&body);
    assert_eq!((got[0].status, got[1].status), (Status::Missing, Status::Value));
    assert!(got[1].value == value.as_bytes());
}

/// A seal is good once, and a datagram whose reply finds no room is looked at twice.
#[test]
fn a_sealed_frame_that_waits_for_room_in_the_outbox_is_not_taken_for_a_copy() {
    let secret = Secret::new(b"what nobody outside can guess").unwrap();
    let seal = secret.seal;
    let access = Access { secret: Some(secret), distrust_loopback: true, ..Access::default() };
    let mut stepped = Stepped::with_access(access);
    let (key, value) = (Stepped::key_of(0, 0), "v".repeat(60_000));
    let unix_ms = Clock::MANUAL_EPOCH_UNIX_S * 1000 + 1000;
    let sealed = |sequence: u64, operations: &[Operation<'_>]| {
        let mut out = Vec::new();
        let mut writer = FrameWriter::begin(sequence as u16, &mut out).sealed(unix_ms, 1, sequence, &mut out);
        operations.iter().for_each(|operation| writer.put(operation, &mut out));
        writer.finish(&mut out);
        seal.stamp(&mut out);
        out
    };
    stepped.send(0, &sealed(1, &[set(&key, &value)]));
    stepped.settle();
    assert_eq!(statuses(&stepped.receive(0).unwrap()[8..]), [Status::Done]);
    // Twelve replies of 0.9 MB each to one tick; the outbox holds four.
    let reads = vec![get(&key); 15];
    (2..14).for_each(|sequence| stepped.send(0, &sealed(sequence, &reads)));
    // A copy is one, in the same tick, too.
    stepped.send(0, &sealed(13, &reads));
    stepped.settle();
    let mut bytes = [0; 14];
    while let Some(datagram) = stepped.receive(0) {
        bytes[datagram[1] as usize] += datagram.len() - 8;
    }
    assert_eq!(bytes[2..13], [15 * 60_016; 11]);
    assert_eq!(bytes[13], 15 * 60_016 + 16, "the reply, and the challenge to the copy");
    assert_eq!(stepped.worker(0).counters().seals_replayed.get(), 1);
}

#[test]
fn the_kernel_spares_frames_the_way_to_another_worker() {
    for (io, steering) in [(Io::Mmsg, true), (Io::Uring, true), (Io::Mmsg, false)] {
        let mut config = config(io, 2);
        config.socket.steering = steering;
        let server = match Server::start(config, &|_| ()) {
            Ok(server) => server,
            Err(error) => {
                println!("SKIPPED: {io:?} with 2 workers: {error}");
                continue;
            }
        };
        const FRAMES: u64 = 300;
        let mut peer = Peer::new(server.addr());
        for i in 0..FRAMES {
            let key = format!("key:{i}");
            assert_eq!(
                statuses(&peer.ask_frame(&frame(&[set(&key, "x"), get(&key)]))),
                [Status::Done, Status::Value]
            );
        }
        let forwarded: u64 = server.figures().workers.iter().map(|worker| worker.forwarded.get()).sum();
        if steering {
            assert_eq!(forwarded, 0, "{io:?}");
            // What is no frame goes by address, as ever.
            assert_eq!(peer.ask(b"get key:1\r\n"), b"VALUE key:1 0 1\r\nx\r\nEND\r\n");
        } else {
            // One socket of one client: all frames came to one worker, which owns half of the keys.
            assert!((FRAMES / 3..FRAMES * 2 / 3).contains(&forwarded), "{forwarded} of {FRAMES}");
        }
        server.stop().unwrap();
    }
}
