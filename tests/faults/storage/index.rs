//! The index grows in time and as far as items need: a key that was just stored is not crowded out while memory is free.

use super::{World, framed};
use crate::support::client::Client;
use crate::support::program::Serve;
use cache::policy::PolicyKind;

fn sets(keys: std::ops::Range<u64>) -> Vec<u8> {
    framed(keys.map(|key| format!("set k{key} 0 0 4\r\nabcd\r\n")).collect::<String>().as_bytes())
}

/// Two hundred thousand stores in one tick, into an index for a thousand: all are there afterwards.
#[test]
fn the_stores_of_one_tick_make_the_index_grow() {
    let mut world = World::new(1, 64 << 20, 1_000, PolicyKind::Wtinylfu);
    let slots = world.owner("table_slots");
    let (count, step) = (200_000, 2_000);
    let datagrams: Vec<_> =
        (0..count).step_by(step as usize).map(|first| sets(first..first + step)).collect();
    for reply in world.ask_all(0, &datagrams) {
        assert!(reply == b"STORED\r\n".repeat(step as usize), "{}", reply[..100].escape_ascii());
    }
    for first in (0..count).step_by(step as usize) {
        let reads: String = (first..first + step).map(|key| format!("mg k{key} s\r\n")).collect();
        assert!(world.ask(0, reads.as_bytes()) == b"HD s4\r\n".repeat(step as usize), "from key {first} on");
    }
    assert_eq!(world.owner("evicted_by_crowding") + world.owner("evicted_by_growth"), 0);
    assert!(world.owner("table_slots") > 16 * slots.max(1) && world.owner("table_doublings") > 4);
}

/// An index that was sized for items of a mebibyte holds as many of four bytes as memory does; 92 in 100 were crowded out.
#[test]
fn an_index_for_large_items_grows_for_tiny_ones() {
    let serve =
        Serve::start(&["--memory", "64MiB", "--workers", "1", "--huge", "off", "--mean-item", "1MiB"]);
    let mut client = Client::new(serve.addr);
    let count = 600_000;
    for first in (0..count).step_by(2_000) {
        let reply = client.ask(&sets(first..first + 2_000)[8..]).expect("a reply");
        assert!(reply == b"STORED\r\n".repeat(2_000), "{}", reply[..100].escape_ascii());
    }
    assert_eq!((serve.stat("curr_items"), serve.stat("evicted_by_crowding")), (count, 0));
    assert!(serve.terminate().0.success());
}
