//! The end of a server with connections, on a clock that the test moves: who reads gets all replies, who does not holds nobody up for long,
//! and the workers end together.

use crate::slow::Town;
use sherwood::net::sim::{Link, StreamFaults};
use sherwood::worker::{StreamSetup, Worker};
use std::time::Duration;

fn has_drained(town: &Town) -> Vec<bool> {
    town.workers.iter().map(Worker::has_drained).collect()
}

fn begin_to_end(town: &mut Town) {
    town.workers.iter_mut().for_each(|worker| worker.begin_to_end().unwrap());
}

/// Also what was received and not begun is answered, over both shards.
#[test]
fn replies_are_sent_at_the_end_as_long_as_peers_take_them_and_for_a_limited_time() {
    const VALUE_BYTES: usize = 20_000;
    let sockets = StreamFaults { socket_bytes: 10_000, ..StreamFaults::default() };
    let setup = StreamSetup { drain_ms: 700, ..StreamSetup::default() };
    let mut town = Town::new(16 << 20, sockets, setup);
    let value = "v".repeat(VALUE_BYTES);
    let mut want = String::new();
    for key in ["one", "two", "three", "four"] {
        town.bystander.write(format!("set {key} 0 0 {VALUE_BYTES}\r\n{value}\r\n").as_bytes());
        want += &format!("VALUE {key} 0 {VALUE_BYTES}\r\n{value}\r\n");
    }
    want = (want + "END\r\nHD\r\n").repeat(80);
    town.tick(60);
    assert_eq!(town.bystander.read(usize::MAX), b"STORED\r\n".repeat(4));
    let links = town.connect(6);
    links.iter().for_each(|link| link.write(&b"get one two absent three four\r\nms w 1\r\nx\r\n".repeat(80)));
    town.tick(20);
    assert_eq!(town.sum(|worker| worker.streams_stuck.get()), 6);
    begin_to_end(&mut town);
    let late = town.connect(2);
    let mut replies = [const { Vec::new() }; 4];
    for _ in 0..12_000 {
        links.iter().zip(&mut replies).for_each(|(link, reply)| reply.extend(link.read(usize::MAX)));
        town.tick(1);
    }
    for reply in &replies {
        assert!(reply == want.as_bytes(), "{} of {} bytes", reply.len(), want.len());
    }
    assert!(links[..4].iter().all(Link::is_over));
    assert!(town.bystander.is_over() && late.iter().all(Link::is_over), "nothing is owed to them");
    assert_eq!(has_drained(&town), [false, false], "two have not read");
    town.clock.advance(Duration::from_millis(700));
    assert_eq!(has_drained(&town), [true, true]);
}

#[test]
fn workers_end_at_once_when_no_connection_is_owed_anything() {
    let mut town = Town::new(16 << 20, StreamFaults::default(), StreamSetup::default());
    let links = town.connect(10);
    // Of what has come of these nothing can be answered.
    links[0].write(b"set half 0 0 5\r\nab");
    links[1].write(b"set long 0 0 900000\r\nab");
    links[2].write(b"get cut");
    town.tick(8);
    begin_to_end(&mut town);
    assert_eq!(has_drained(&town), [false, false]);
    town.tick(8);
    assert!(links.iter().all(Link::is_over));
    assert_eq!(has_drained(&town), [true, true]);
    town.nothing_is_left();
}

/// A reply in the socket is lost if the peer's machine is told that nobody is there any more.
#[test]
fn a_connection_is_closed_when_its_peer_has_taken_the_replies() {
    let mut town = Town::new(16 << 20, StreamFaults::default(), StreamSetup::default());
    let link = town.connect(1).remove(0);
    link.write(b"mn\r\n");
    town.tick(4);
    begin_to_end(&mut town);
    town.tick(100);
    let open = |town: &Town| town.sum(|worker| worker.curr_connections.get());
    assert_eq!((open(&town), has_drained(&town)), (1, vec![false, false]));
    assert_eq!(link.read(usize::MAX), b"MN\r\n");
    town.tick(4);
    assert_eq!((open(&town), has_drained(&town)), (0, vec![true, true]));
}
