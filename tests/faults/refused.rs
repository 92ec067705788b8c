//! Stores that wait for memory in vain: what they would have replaced is gone when their client is told.

use crate::support::batch::{frame, set, statuses};
use crate::support::stepped::Stepped;
use protocol::batch::Status;
use protocol::steer::{owner, steer};
use sherwood::worker::Access;
use std::time::Duration;

const WORKERS: usize = 3;
const REFUSED: &[u8] = b"SERVER_ERROR out of memory storing object\r\n";
const HEADER: [u8; 8] = [0, 1, 0, 0, 0, 1, 0, 0];

/// How a store reaches the server.
#[derive(Clone, Copy, Debug)]
enum Way {
    Text,
    Meta,
    Frame,
    Stream,
}

/// Lets all workers tick but the last, which holds what was overwritten; gives the answer to a datagram, or to what a connection has sent.
fn answer(server: &mut Stepped, mut take: impl FnMut(&Stepped) -> Option<Vec<u8>>) -> Vec<u8> {
    for _ in 0..1_000 {
        (0..WORKERS - 1).for_each(|worker| server.tick(worker));
        server.advance(Duration::from_millis(1));
        if let Some(reply) = take(server) {
            return reply;
        }
    }
    panic!("no answer");
}

fn ask(server: &mut Stepped, body: &[u8]) -> Vec<u8> {
    server.send(0, &[&HEADER[..], body].concat());
    answer(server, |server| server.receive(0))[HEADER.len()..].to_vec()
}

/// Says whether a set was refused for want of memory.
fn is_refused(server: &mut Stepped, way: Way, key: &str, value: &str) -> bool {
    let reply = match way {
        Way::Text => ask(server, format!("set {key} 0 0 {}\r\n{value}\r\n", value.len()).as_bytes()),
        Way::Meta => ask(server, format!("ms {key} {} q\r\n{value}\r\nmn\r\n", value.len()).as_bytes()),
        Way::Frame => {
            server.send(0, &frame(&[set(key, value)]));
            let reply = answer(server, |server| server.receive(0));
            return statuses(&reply[HEADER.len()..]) != [Status::Done];
        }
        Way::Stream => {
            let link = server.connect(0);
            link.write(format!("set {key} 0 0 {}\r\n{value}\r\n", value.len()).as_bytes());
            let came = |_: &Stepped| Some(link.read(usize::MAX)).filter(|came| !came.is_empty());
            let reply = answer(server, came);
            link.reset();
            reply
        }
    };
    assert!([&b"STORED\r\n"[..], b"MN\r\n", REFUSED].iter().any(|known| reply.starts_with(known)));
    reply.starts_with(REFUSED)
}

#[test]
fn a_set_that_waited_for_memory_in_vain_leaves_no_old_value() {
    for (way, value_bytes) in [
        (Way::Text, 60_000),
        (Way::Meta, 60_000),
        (Way::Frame, 60_000),
        (Way::Stream, 10_000),
        (Way::Stream, 100_000),
    ] {
        // Of the worker that hears it, and of another one.
        for shard in 0..WORKERS - 1 {
            let mut server = Stepped::of(WORKERS, Access::default());
            let owned = |key: &String| owner(steer(key.as_bytes()), WORKERS) == shard;
            let key = (0..).map(|i| format!("key{i}")).find(owned).unwrap();
            let value = "v".repeat(value_bytes);
            let mut stored = 0;
            while !is_refused(&mut server, way, &key, &value) {
                stored += 1;
                assert!(stored < 2_000, "{way:?}: memory has no end");
            }
            let got = ask(&mut server, format!("get {key}\r\n").as_bytes());
            assert!(stored > 0 && got == b"END\r\n", "{way:?}, {value_bytes} bytes, shard {shard}");
        }
    }
}
