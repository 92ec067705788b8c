//! A server that refuses what is new instead of evicting, as memcached's `-M`, and memories of a few MiB, which were refused.

use crate::support::KINDS;
use crate::support::config;
use crate::support::peer::Peer;
use crate::support::stream::StreamClient;
use cache::base::random::Random;
use sherwood::config::serve::Config;
use sherwood::server::Server;
use sherwood::stats::counters::OwnerCounters;
use std::time::{Duration, Instant};

const REFUSED: &[u8] = b"SERVER_ERROR out of memory storing object\r\n";

fn start(config: Config) -> Option<(Server, Peer)> {
    match Server::start(config, &|_| ()) {
        Ok(server) => {
            let peer = Peer::new(server.addr());
            Some((server, peer))
        }
        Err(error) => {
            println!("SKIPPED: {error}");
            None
        }
    }
}

fn set(key: usize, value: &str) -> String {
    format!("set key{key} 0 0 {}\r\n{value}\r\n", value.len())
}

/// Stores keys until one is refused; says how many were stored.
fn fill(peer: &mut Peer, from: usize, value: &str) -> usize {
    for key in from.. {
        match &peer.ask(set(key, value).as_bytes())[..] {
            b"STORED\r\n" => {}
            REFUSED => return key - from,
            other => panic!("{}", other.escape_ascii()),
        }
    }
    unreachable!("memory has an end")
}

fn evicted(server: &Server) -> u64 {
    let of = |owner: &OwnerCounters| {
        owner.evicted_by_policy.get()
            + owner.evicted_by_pressure.get()
            + owner.evicted_by_crowding.get()
            + owner.evicted_by_growth.get()
    };
    server.figures().owners.iter().map(|owner| of(owner)).sum()
}

#[test]
fn a_full_cache_refuses_what_is_new_and_keeps_what_it_has() {
    for (io, workers) in KINDS {
        let mut config = config(io, workers);
        (config.no_eviction, config.memory_bytes) = (true, workers * (4 << 20));
        let Some((server, mut peer)) = start(config) else { continue };
        let value = "v".repeat(1_000);
        let stored = fill(&mut peer, 0, &value);
        assert!(stored > workers * 2_500 / 2, "{stored} with {workers} workers");
        // It is said at once, for all ways of storing.
        let began = Instant::now();
        for key in 0..200 {
            peer.ask(set(1_000_000 + key, &value).as_bytes());
        }
        assert!(began.elapsed() < Duration::from_secs(20));
        let refusals: u64 = server.figures().workers.iter().map(|worker| worker.store_no_memory.get()).sum();
        assert!(refusals > 0);
        for key in 0..stored {
            let got = peer.ask(format!("get key{key}\r\n").as_bytes());
            assert!(got.starts_with(b"VALUE "), "key{key} of {stored} is gone");
        }
        assert_eq!(evicted(&server), 0);
        // Deletes make room.
        for key in 0..stored / 2 {
            assert_eq!(peer.ask(format!("delete key{key}\r\n").as_bytes()), b"DELETED\r\n");
        }
        assert!(fill(&mut peer, 2_000_000, &value) > stored / 4);
        nothing_old_is_left_by_a_set_that_is_refused(&mut |body| peer.ask(body), 2_000_000);
        let mut client = StreamClient::tcp(server.addr());
        nothing_old_is_left_by_a_set_that_is_refused(&mut |body| client.ask(body), 2_000_100);
        assert_eq!(evicted(&server), 0);
        server.stop().unwrap();
    }
}

/// Sets of keys from `first` on, with values of a size for which there is no memory, remove what their keys have; other stores leave
/// it as it is.
fn nothing_old_is_left_by_a_set_that_is_refused(ask: &mut dyn FnMut(&[u8]) -> Vec<u8>, first: usize) {
    let large = "w".repeat(60_000);
    let mut refused = [0; 4];
    for key in first..first + 80 {
        let line = match key % 4 {
            0 => format!("set key{key} 0 0 60000"),
            1 => format!("ms key{key} 60000"),
            2 => format!("append key{key} 0 0 60000"),
            _ => format!("ms key{key} 60000 MA"),
        };
        if ask(format!("{line}\r\n{large}\r\n").as_bytes()) == REFUSED {
            refused[key % 4] += 1;
            let is_there = ask(format!("get key{key}\r\n").as_bytes()).starts_with(b"VALUE ");
            assert_eq!(is_there, key % 4 >= 2, "{line}");
        }
    }
    // Few of them find room, which others have left.
    assert!(refused.iter().all(|&count| count >= 10), "{refused:?}");
}

#[test]
fn the_setting_is_told() {
    let mut config = config(sherwood::config::serve::Io::Mmsg, 1);
    config.no_eviction = true;
    let Some((server, mut peer)) = start(config) else { return };
    let settings = String::from_utf8(peer.ask(b"stats settings\r\n")).unwrap();
    assert!(settings.contains("STAT evictions off\r\n"), "{settings}");
    server.stop().unwrap();
}

/// More sizes than there are pages: each size gets a page when it needs one, and no store fails.
#[test]
fn small_memories_take_every_size() {
    for (io, workers) in KINDS {
        let mut config = config(io, workers);
        config.memory_bytes = workers * (2 << 20);
        let Some((server, mut peer)) = start(config) else { continue };
        let mut random = Random::new(3);
        for _ in 0..3_000 {
            // As many of each magnitude, from 1 byte to 64 KB.
            let bytes = (1usize << random.below(16)) + random.below(1 << 8) as usize;
            let reply =
                peer.ask(set(random.below(50_000) as usize, &"v".repeat(bytes.min(60_000))).as_bytes());
            assert_eq!(reply, b"STORED\r\n", "{bytes} bytes with {workers} workers");
        }
        server.stop().unwrap();
    }
}

/// The smallest memory holds items of many sizes, evicts, and serves what was stored last.
#[test]
fn a_memory_of_two_mebibytes_is_a_cache() {
    for (io, workers) in KINDS {
        for no_eviction in [false, true] {
            let mut config = config(io, workers);
            (config.memory_bytes, config.no_eviction) = (workers * (2 << 20), no_eviction);
            let Some((server, mut peer)) = start(config) else { continue };
            for value_bytes in [1, 100, 1_000, 10_000, 60_000, 300] {
                let value = "v".repeat(value_bytes);
                let (mut stored, mut there) = (0, 0);
                for key in 0..200 {
                    let reply = peer.ask(format!("{}get key{key}\r\n", set(key, &value)).as_bytes());
                    let is_stored = reply.starts_with(b"STORED\r\n");
                    assert!(
                        is_stored || no_eviction && reply.starts_with(REFUSED),
                        "{}",
                        reply.escape_ascii()
                    );
                    stored += is_stored as usize;
                    there += reply.starts_with(b"STORED\r\nVALUE ") as usize;
                }
                let told = format!("{stored} values of {value_bytes} bytes, {there} there");
                assert!(stored == 200 || no_eviction, "{told}");
                // A long value may be one too many for the policy, which lets it go at once.
                assert!(there == stored || value_bytes > 1_000 && there * 2 > stored, "{told}");
            }
            server.stop().unwrap();
        }
    }
}
