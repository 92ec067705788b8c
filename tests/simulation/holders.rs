//! Clients that have sent a part of a command and hold memory with it: others that need memory get it, or are told that there is none. All
//! on a clock that the test moves.

use crate::slow::Town;
use sherwood::limits::{CROWD_WAIT_S, VALUE_BYTES_PER_S_MIN, VALUE_GRACE_S, VALUE_IDLE_S};
use sherwood::limits::{KEPT_STILL_S, STREAM_KEPT_BYTES_MAX};
use sherwood::net::sim::{Link, StreamFaults};
use sherwood::worker::StreamSetup;
use std::time::Duration;

/// Two of them leave no room in a shard for one of the others.
const LONG: usize = 1_000_000;
const HONEST: usize = 200_000;
const OUT_OF_MEMORY: &[u8] = b"SERVER_ERROR out of memory storing object\r\n";

fn town(idle_timeout_s: u64) -> Town {
    let setup = StreamSetup { idle_timeout_s, ..StreamSetup::default() };
    Town::new(64 << 20, StreamFaults::default(), setup)
}

/// So many clients begin to send long values, more than there is room for.
fn holders(town: &mut Town, count: usize) -> Vec<Link> {
    let links = town.connect(count);
    for (number, link) in links.iter().enumerate() {
        link.write(format!("set held{number} 0 0 {LONG}\r\nabc").as_bytes());
    }
    town.tick(20);
    links
}

fn honest(town: &mut Town, count: usize) -> Vec<Link> {
    let links = town.connect(count);
    for (number, link) in links.iter().enumerate() {
        link.write(format!("set h{number} 0 0 {HONEST}\r\n{}\r\n", "w".repeat(HONEST)).as_bytes());
    }
    town.tick(20);
    links
}

/// Lets so many seconds pass, in each of which `each` is done.
fn seconds(town: &mut Town, count: u64, mut each: impl FnMut()) {
    for _ in 0..count {
        each();
        town.clock.advance(Duration::from_secs(1));
        town.tick(40);
    }
}

#[test]
fn values_that_come_too_slowly_make_room_for_those_that_wait() {
    for idle_timeout_s in [0, 2] {
        let mut town = town(idle_timeout_s);
        let slow = holders(&mut town, 20);
        let honest = honest(&mut town, 4);
        assert!(honest.iter().all(|link| link.read(usize::MAX).is_empty()), "there is no room");
        // A byte now and then does not help them, nor has anybody else to wait for long.
        seconds(&mut town, VALUE_GRACE_S + 3, || slow.iter().for_each(|link| link.write(b"x")));
        for link in &honest {
            assert_eq!(link.read(usize::MAX).escape_ascii().to_string(), "STORED\\r\\n");
        }
        let given_up = town.sum(|worker| worker.slow_values.get());
        assert!(given_up > 0);
        assert_eq!(slow.iter().filter(|link| link.is_over()).count() as u64, given_up);
        slow.iter().chain(&honest).for_each(Link::reset);
        town.nothing_is_left();
    }
}

#[test]
fn a_slow_value_may_take_its_time_while_nobody_waits() {
    let mut town = town(0);
    let slow = town.connect(1).remove(0);
    slow.write(b"set slow 0 0 20000\r\n");
    seconds(&mut town, 2 * VALUE_IDLE_S, || slow.write(b"x"));
    slow.write("y".repeat(20_000 - 2 * VALUE_IDLE_S as usize).as_bytes());
    slow.write(b"\r\n");
    town.tick(20);
    assert_eq!(slow.read(usize::MAX), b"STORED\r\n");
    assert_eq!(town.sum(|worker| worker.slow_values.get()), 0);
    slow.reset();
    town.nothing_is_left();
}

/// Values that come fast enough keep their memory. Others do not wait for it for ever, and are no idle connections meanwhile.
#[test]
fn a_store_that_waits_for_room_in_vain_is_refused_and_its_connection_lives() {
    let mut town = town(CROWD_WAIT_S / 3);
    let busy = holders(&mut town, 40);
    let honest = honest(&mut town, 4);
    // What is written in a second is looked at in the next one.
    let piece = vec![b'x'; 2 * VALUE_BYTES_PER_S_MIN as usize];
    seconds(&mut town, CROWD_WAIT_S - 1, || busy.iter().for_each(|link| link.write(&piece)));
    for link in &honest {
        assert_eq!(
            (link.read(usize::MAX).escape_ascii().to_string(), link.is_over()),
            (String::new(), false)
        );
    }
    assert_eq!(town.sum(|worker| worker.slow_values.get()), 0);
    seconds(&mut town, 2, || busy.iter().for_each(|link| link.write(&piece)));
    for (number, link) in honest.iter().enumerate() {
        assert_eq!(
            link.read(usize::MAX).escape_ascii().to_string(),
            OUT_OF_MEMORY.escape_ascii().to_string()
        );
        link.write(format!("get h{number}\r\nset h{number} 0 0 1\r\nx\r\n").as_bytes());
    }
    town.tick(20);
    assert!(honest.iter().all(|link| link.read(usize::MAX) == b"END\r\nSTORED\r\n"));
    assert_eq!(town.sum(|worker| worker.slow_values.get()), 0);
    assert_eq!(town.sum(|worker| worker.idle_kicks.get()), 1, "the bystander, who sends nothing");
    busy.iter().chain(&honest).for_each(Link::reset);
    town.nothing_is_left();
}

/// A part of a value that is not long holds memory, too.
#[test]
fn the_rest_of_a_small_value_may_not_stay_away_for_ever() {
    let mut town = town(0);
    let links = town.connect(3);
    links[0].write(b"set small 0 0 100\r\nabc");
    links[1].write(b"get a_line_may_sta");
    seconds(&mut town, VALUE_IDLE_S - 2, || {});
    assert!(!links.iter().any(Link::is_over));
    seconds(&mut town, 5, || {});
    assert_eq!(links.iter().map(Link::is_over).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(town.sum(|worker| worker.idle_kicks.get()), 1);
    links.iter().for_each(Link::reset);
    town.nothing_is_left();
}

/// Values that are not long enough for items of their own hold all the memory there is for what is cut. Others get it, in time.
#[test]
fn who_holds_a_part_of_a_small_value_makes_room_for_others() {
    const PART: usize = 15_500;
    let mut town = town(0);
    let slow = town.connect(2 * STREAM_KEPT_BYTES_MAX / PART + 10);
    for link in &slow {
        link.write(format!("set held 0 0 16000\r\n{}", "v".repeat(PART)).as_bytes());
    }
    town.tick(400);
    let over = |town: &Town| town.sum(|worker| worker.streams_over_memory.get());
    assert_eq!(over(&town), 0, "all of them have just sent something");
    let honest = town.connect(20);
    let halves = format!("set honest 0 0 10000\r\n{}\r\n", "w".repeat(10_000));
    honest.iter().for_each(|link| link.write(&halves.as_bytes()[..4_000]));
    town.tick(40);
    honest.iter().for_each(|link| link.write(&halves.as_bytes()[4_000..]));
    seconds(&mut town, KEPT_STILL_S + 2, || {});
    for link in &honest {
        assert_eq!(
            (link.read(usize::MAX).escape_ascii().to_string(), link.is_over()),
            ("STORED\\r\\n".to_owned(), false)
        );
    }
    // Whoever comes now is served at once.
    let late = town.connect(20);
    late.iter().for_each(|link| link.write(&halves.as_bytes()[..9_000]));
    town.tick(40);
    late.iter().for_each(|link| link.write(&halves.as_bytes()[9_000..]));
    town.tick(40);
    assert!(late.iter().all(|link| link.read(usize::MAX) == b"STORED\r\n"));
    let closed = slow.iter().filter(|link| link.is_over()).count() as u64;
    assert_eq!(over(&town), closed);
    assert!((1..100).contains(&closed), "{closed} were closed, and no more than had to be");
    slow.iter().chain(&honest).chain(&late).for_each(Link::reset);
    town.nothing_is_left();
}
