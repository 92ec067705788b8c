//! Reads that the owner of a key settles (leases, `gat`, `mg` with a new time to live) are reads: the policy hears of them, and
//! they are counted once.

use super::{World, framed, set};
use crate::support::batch;
use cache::policy::PolicyKind;
use protocol::batch::{Code, Operation, Status};

const HOT: usize = 10_000;

/// How a client reads.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// `mg KEY v` and more flags.
    Meta(&'static str),
    Gat,
    /// Get and touch in a frame.
    Frame,
}

fn fill(world: &mut World, name: &str, count: usize) {
    let value = [b'x'; 100];
    let datagram = |first: usize| -> Vec<u8> {
        framed(&(first..first + 20).flat_map(|i| set(&format!("{name}{i:06}"), &value)).collect::<Vec<u8>>())
    };
    for first in (0..count).step_by(400) {
        let datagrams: Vec<_> = (first..first + 400).step_by(20).map(datagram).collect();
        for reply in world.ask_all(0, &datagrams) {
            assert_eq!(reply, b"STORED\r\n".repeat(20));
        }
    }
}

/// Reads all hot keys; says how many are there.
fn read(world: &mut World, way: Way) -> usize {
    let datagram = |first: usize| -> Vec<u8> {
        let keys = (first..first + 10).map(|i| format!("hot{i:06}"));
        match way {
            Way::Meta(flags) => {
                framed(keys.map(|key| format!("mg {key} v{flags}\r\n")).collect::<String>().as_bytes())
            }
            Way::Gat => framed(format!("gat 0 {}\r\n", keys.collect::<Vec<_>>().join(" ")).as_bytes()),
            Way::Frame => {
                let keys: Vec<String> = keys.collect();
                let operations: Vec<Operation<'_>> =
                    keys.iter().map(|key| batch::op(Code::GetAndTouch, key)).collect();
                batch::frame(&operations)
            }
        }
    };
    let mut found = 0;
    for first in (0..HOT).step_by(50) {
        let datagrams: Vec<_> = (first..first + 50).step_by(10).map(datagram).collect();
        for reply in world.ask_all(0, &datagrams) {
            found += match way {
                Way::Frame => {
                    batch::statuses(&reply).iter().filter(|&&status| status == Status::Value).count()
                }
                // The empty value that a lease on a missing key makes is none of ours.
                _ => reply.windows(100).filter(|window| window == &[b'x'; 100]).count(),
            };
        }
    }
    found
}

/// Ten thousand items are read again and again while five times as many as fit come and go: they stay, however they are read.
#[test]
fn hot_items_stay_however_they_are_read() {
    let ways = [Way::Meta(""), Way::Meta(" R5"), Way::Meta(" N30"), Way::Meta(" T100"), Way::Gat, Way::Frame];
    for kind in [PolicyKind::Lru, PolicyKind::Wtinylfu] {
        for way in ways {
            let mut world = World::new(1, 16 << 20, 200_000, kind);
            fill(&mut world, "hot", HOT);
            for _ in 0..3 {
                read(&mut world, way);
            }
            for other in 0..3 {
                fill(&mut world, &format!("b{other}:"), 50_000);
                read(&mut world, way);
            }
            let there = read(&mut world, Way::Meta(""));
            let others = ["evicted_by_pressure", "evicted_by_crowding"].map(|name| world.owner(name));
            assert_eq!(
                there, HOT,
                "{kind:?}, {way:?}: items that were read are there; by pressure, crowding: {others:?}"
            );
            assert!(
                world.owner("evicted_by_policy") > 40_000,
                "{kind:?}, {way:?}: memory was too small for all"
            );
            assert!(
                world.whole.policies[0].reads.get() >= 6 * HOT as u64,
                "{kind:?}, {way:?}: the policy heard of reads"
            );
        }
    }
}

/// What a command adds to the counters: keys asked for, found, not found; touches.
const COUNTED: [(&str, [u64; 4]); 14] = [
    ("get there\r\n", [1, 1, 0, 0]),
    ("get gone\r\n", [1, 0, 1, 0]),
    ("get there gone there\r\n", [3, 2, 1, 0]),
    ("gat 0 there\r\n", [1, 1, 0, 1]),
    ("gat 0 gone\r\n", [1, 0, 1, 1]),
    ("gats 0 there gone there\r\n", [3, 2, 1, 3]),
    ("mg there v\r\n", [1, 1, 0, 0]),
    ("mg there v R5\r\n", [1, 1, 0, 0]),
    ("mg there v N30\r\n", [1, 1, 0, 0]),
    ("mg there T100 u\r\n", [1, 1, 0, 1]),
    ("mg gone v T100\r\n", [1, 0, 1, 0]),
    ("mg gone v R5\r\n", [1, 0, 1, 0]),
    ("touch there 0\r\n", [0, 0, 0, 1]),
    ("incr there 1\r\n", [0, 0, 0, 0]),
];

fn counters(world: &World) -> [u64; 4] {
    let touches = world.owner("cmd_touch");
    [world.worker("cmd_get"), world.worker("get_hits"), world.worker("get_misses"), touches]
}

fn moved(world: &World, before: [u64; 4]) -> [u64; 4] {
    let after = counters(world);
    std::array::from_fn(|i| after[i] - before[i])
}

/// Whichever worker is asked, and whichever owns the key.
#[test]
fn a_read_is_counted_once() {
    for workers in [1, 2] {
        let mut world = World::new(workers, 32 << 20, 10_000, PolicyKind::Wtinylfu);
        for key in ["there", "other"] {
            world.set(key, b"7");
        }
        for asked in 0..workers {
            for (command, want) in COUNTED {
                for command in
                    [command.to_owned(), command.replace("there", "other").replace("gone", "missing")]
                {
                    let before = counters(&world);
                    world.ask(asked, command.as_bytes());
                    assert_eq!(
                        moved(&world, before),
                        want,
                        "{command:?}, asked of worker {asked} of {workers}"
                    );
                }
            }
            let frame = |code, key| batch::frame(&[batch::op(code, key)]);
            for (code, key, want) in [
                (Code::Get, "there", [1, 1, 0, 0]),
                (Code::Get, "gone", [1, 0, 1, 0]),
                (Code::GetAndTouch, "there", [1, 1, 0, 1]),
                (Code::GetAndTouch, "gone", [1, 0, 1, 1]),
                (Code::Touch, "other", [0, 0, 0, 1]),
            ] {
                let before = counters(&world);
                world.ask_all(asked, &[frame(code, key)]);
                assert_eq!(
                    moved(&world, before),
                    want,
                    "{code:?} {key}, asked of worker {asked} of {workers}"
                );
            }
        }
    }
}

/// More replies than the outbox holds: datagrams are looked at a second time, and count once.
#[test]
fn datagrams_that_are_looked_at_twice_count_once() {
    let mut world = World::new(1, 32 << 20, 1_000, PolicyKind::Wtinylfu);
    world.set("big", &[b'b'; 50_000]);
    for command in ["get big\r\n", "gat 0 big\r\n", "mg big v N30\r\n"] {
        let before = counters(&world);
        let datagrams = vec![framed(command.as_bytes()); 300];
        let replies = world.ask_all(0, &datagrams);
        assert!(replies.iter().all(|reply| reply.len() > 50_000), "{command:?}");
        assert_eq!(moved(&world, before)[..3], [300, 300, 0], "{command:?}");
    }
}

/// A lease on a key that is missing makes an item, and is a miss.
#[test]
fn a_lease_that_is_granted_is_a_miss() {
    let mut world = World::new(1, 32 << 20, 1_000, PolicyKind::Wtinylfu);
    let before = counters(&world);
    assert_eq!(world.ask(0, b"mg leased v N30\r\n"), b"VA 0 W\r\n\r\n");
    assert_eq!(moved(&world, before), [1, 0, 1, 0]);
    assert_eq!(world.ask(0, b"mg leased v N30\r\n"), b"VA 0 Z\r\n\r\n");
    assert_eq!(moved(&world, before), [2, 1, 1, 0]);
}
