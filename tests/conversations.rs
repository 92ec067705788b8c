//! Plays every file of `tests/conversations` to a server over a real socket: both ports, one worker and two.
//!
//! See `support/script.rs` for the language of the files. `tests/memcached_parity.rs` plays them to memcached, too.

mod support;

use cache::base::clock::Clock;
use protocol::frame::Header;
use sherwood::server::Server;
use sherwood::stats::counters::{Counter, WorkerCounters};
use support::peer::Peer;
use support::script::{Exchange, Names, Step, files, parse};
use support::{KINDS, server_with_clock};

#[test]
fn every_conversation_goes_as_written() {
    let files = files();
    assert!(files.len() >= 8, "the conversations are gone");
    for (io, workers) in KINDS {
        let Some((server, clock)) = server_with_clock(io, workers) else { continue };
        let mut faults = Vec::new();
        for (name, text) in &files {
            let mut peer = Peer::new(server.addr());
            assert_eq!(peer.ask(b"flush_all\r\n"), b"OK\r\n");
            play(&mut peer, &clock, name, text, &mut || all_executed(&server), &mut faults);
        }
        assert!(faults.is_empty(), "{io:?}, {workers} workers:\n{}", faults.join("\n"));
        server.stop().unwrap();
    }
}

/// Waits until no command is on its way between workers: a quiet one says nothing when it is done, and the next datagram
/// might overtake it.
fn all_executed(server: &Server) {
    let of = |pick: fn(&WorkerCounters) -> &Counter| -> u64 {
        server.figures().workers.iter().map(|worker| pick(worker).get()).sum()
    };
    while of(|w| &w.executed_for_others) < of(|w| &w.forwarded) {
        std::thread::yield_now();
    }
}

fn play(
    peer: &mut Peer,
    clock: &Clock,
    file: &str,
    text: &str,
    all_executed: &mut impl FnMut(),
    faults: &mut Vec<String>,
) {
    let mut names = Names::new();
    for step in parse(text) {
        match step {
            Step::Advance(by) => clock.advance(by),
            Step::Exchange(exchange) => {
                exchange_one(peer, file, &exchange, &mut names, faults);
                if exchange.reply.is_none() {
                    all_executed();
                }
            }
        }
    }
    assert_eq!(peer.until_fence(), b"", "something came late");
}

fn exchange_one(
    peer: &mut Peer,
    file: &str,
    exchange: &Exchange,
    names: &mut Names,
    faults: &mut Vec<String>,
) {
    let (sequence, total, reserved) = exchange.frame;
    let request = exchange.request.bytes(names);
    // Shown if the test fails: a reply that does not come has no line of its own.
    println!("{file}, line {}", exchange.line);
    let id = peer.send_frame(Header { request_id: 0, sequence, total, reserved }, &request);
    let (got, as_expected) = match &exchange.reply {
        Some(reply) => {
            let got = peer.reply(id);
            let as_expected = reply.matches(&got, names);
            (got, as_expected)
        }
        None => {
            let got = peer.until_fence();
            let is_empty = got.is_empty();
            (got, is_empty)
        }
    };
    if !as_expected {
        faults.push(exchange.fault(file, &request, &got));
    }
}
