//! Plays every file of `tests/conversations` to a server over real sockets: datagrams, TCP in one piece, TCP cut behind every byte, and
//! a UNIX socket; on both ports, with one worker and two.
//!
//! See `support/script.rs` for the language of the files. `tests/memcached_parity.rs` plays them to memcached, too.

mod support;

use cache::base::clock::Clock;
use protocol::frame::Header;
use sherwood::server::Server;
use sherwood::stats::counters::{Counter, WorkerCounters};
use support::peer::Peer;
use support::script::{Exchange, Names, Step, all_files, files, parse};
use support::stream::StreamClient;
use support::{KINDS, config, server_with_clock, server_with_clock_of};

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

/// How a conversation reaches a server over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Tcp,
    /// Every byte is sent by itself.
    TcpCut,
    Unix,
}

#[test]
fn every_conversation_goes_as_written_over_connections() {
    let folder = tempfile::tempdir().unwrap();
    for (io, workers) in KINDS {
        for way in [Way::Tcp, Way::TcpCut, Way::Unix] {
            let path = folder.path().join("socket");
            let mut config = config(io, workers);
            config.unix = Some(path.clone());
            let Some((server, clock)) = server_with_clock_of(config) else { continue };
            let mut faults = Vec::new();
            let connect = || match way {
                Way::Tcp | Way::TcpCut => StreamClient::tcp(server.addr()),
                Way::Unix => StreamClient::unix(&path),
            };
            for (name, text) in &all_files() {
                assert_eq!(connect().ask(b"flush_all\r\n"), b"OK\r\n");
                faults.extend(play_to_stream(&connect, way, &clock, name, text));
            }
            assert!(faults.is_empty(), "{io:?}, {workers} workers, {way:?}:\n{}", faults.join("\n"));
            server.stop().unwrap();
        }
    }
}

fn play_to_stream(
    connect: &dyn Fn() -> StreamClient,
    way: Way,
    clock: &Clock,
    file: &str,
    text: &str,
) -> Vec<String> {
    let (mut client, mut names, mut faults) = (connect(), Names::new(), Vec::new());
    for step in parse(text) {
        let exchange = match step {
            Step::Advance(by) => {
                clock.advance(by);
                continue;
            }
            Step::Exchange(exchange) if exchange.is_for_streams() => exchange,
            Step::Exchange(_) => continue,
        };
        // Shown if the test fails: a reply that does not come has no line of its own.
        println!("{way:?}: {file}, line {}", exchange.line);
        let request = exchange.request.bytes(&names);
        let sent = if way == Way::TcpCut { client.send_cut(&request) } else { client.try_send(&request) };
        let fence = (!exchange.closes).then(|| client.fence());
        let (mut got, is_open) = match fence {
            None => (client.rest(), false),
            Some((command, answer)) => {
                // If it is closed, the reply shows that.
                let _ = sent.and_then(|()| client.try_send(&command));
                let (got, is_open) = client.until_or_end(&answer);
                (got[..got.len() - if is_open { answer.len() } else { 0 }].to_vec(), is_open)
            }
        };
        if !is_open {
            client = connect();
        }
        let is_right = match exchange.reply_of_stream() {
            Some(reply) => reply.matches(&got, &mut names),
            None => got.is_empty(),
        };
        if is_open == exchange.closes {
            got.extend_from_slice(if is_open { b" and stays open" } else { b" and is closed" });
        }
        if !is_right || is_open == exchange.closes {
            faults.push(exchange.fault(file, &request, &got));
        }
    }
    faults
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
