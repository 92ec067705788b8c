//! Peers that ask for more than they read, many more than there is memory for their replies: whoever reads is served at once, and those that take
//! nothing make room. All on a clock that the test moves.

use crate::slow::Town;
use sherwood::limits::STREAM_UNREAD_MS;
use sherwood::net::sim::{Link, StreamFaults};
use sherwood::worker::StreamSetup;
use std::time::Duration;

const VALUE_BYTES: usize = 50_000;

/// A town where replies of so many connections wait for memory.
fn crowded(count: usize) -> (Town, Vec<Link>) {
    let sockets = StreamFaults { socket_bytes: 120_000, ..StreamFaults::default() };
    let setup = StreamSetup { unsent_bytes_max: 8 << 20, ..StreamSetup::default() };
    let mut town = Town::new(64 << 20, sockets, setup);
    let value = "v".repeat(VALUE_BYTES);
    town.bystander.write(format!("set big 0 0 {VALUE_BYTES}\r\n{value}\r\n").as_bytes());
    town.tick(60);
    assert_eq!(town.bystander.read(usize::MAX), b"STORED\r\n");
    let links = town.connect(count);
    links.iter().for_each(|link| link.write(&b"get big\r\n".repeat(20)));
    town.tick(400);
    (town, links)
}

fn gets_big(town: &mut Town, ticks: u32) -> bool {
    town.bystander.write(b"get big\r\n");
    let mut reply = Vec::new();
    for _ in 0..ticks {
        town.tick(1);
        reply.extend(town.bystander.read(usize::MAX));
    }
    reply == format!("VALUE big 0 {VALUE_BYTES}\r\n{}\r\nEND\r\n", "v".repeat(VALUE_BYTES)).as_bytes()
}

#[test]
fn whoever_reads_does_not_wait_for_those_who_do_not() {
    let (mut town, links) = crowded(600);
    for _ in 0..20 {
        assert!(gets_big(&mut town, 20), "served within a millisecond");
    }
    assert_eq!(town.sum(|worker| worker.streams_over_memory.get()), 0);
    drop(links);
}

#[test]
fn peers_that_take_nothing_make_room_for_those_that_wait() {
    let (mut town, links) = crowded(600);
    let open = |links: &[Link]| links.iter().filter(|link| !link.is_closed()).count();
    assert_eq!(open(&links), 600);
    // Those that take some now and then stay.
    let mut taken = vec![0; 40];
    for _ in 0..4 * STREAM_UNREAD_MS / 100 {
        links.iter().zip(&mut taken).for_each(|(link, taken)| *taken += link.read(20_000).len());
        town.clock.advance(Duration::from_millis(100));
        town.tick(60);
    }
    assert!(open(&links[..40]) == 40 && taken.iter().all(|&bytes| bytes > 3 * VALUE_BYTES), "{taken:?}");
    let closed = town.sum(|worker| worker.streams_over_memory.get());
    assert!(closed > 50, "{closed}");
    assert_eq!(open(&links) as u64, 600 - closed);
    assert!(gets_big(&mut town, 20));
    links.iter().for_each(Link::reset);
    town.nothing_is_left();
}
