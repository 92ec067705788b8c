//! Expired items give their memory back soon, and a mass of them is nobody's stall: a whole server in one thread, on a clock
//! that the test moves. The policy runs on the worker's core, between its ticks.

mod support;

use cache::base::clock::Clock;
use sherwood::net::PeerAddr;
use sherwood::net::sim::Faults;
use std::net::SocketAddr;
use std::time::Duration;
use support::in_process::{InProcess, Size};

const PERFECT: Faults = Faults { drop_percent: 0, duplicate_percent: 0, reorder_percent: 0 };

struct Scene {
    whole: InProcess,
    clock: Clock,
    client: PeerAddr,
}

impl Scene {
    fn new(keys: u64) -> Scene {
        let clock = Clock::manual(1_000_000_000);
        let size = Size { workers: 1, memory_bytes: 64 << 20, keys, is_cramped: false };
        let whole = InProcess::new(1, size, PERFECT, &clock, |_| true);
        Scene { whole, clock, client: PeerAddr::from(SocketAddr::from(([127, 0, 0, 1], 40_000))) }
    }

    fn send(&self, body: &str) {
        let datagram = [&[0, 1, 0, 0, 0, 1, 0, 0][..], body.as_bytes()].concat();
        self.whole.wires[0].send(self.client, &datagram);
    }

    /// A tick that begins `us` after the last.
    fn tick(&mut self, us: u64) {
        self.clock.advance(Duration::from_micros(us));
        self.whole.workers[0].tick().unwrap();
    }

    fn replies(&self) -> String {
        let datagrams = std::iter::from_fn(|| self.whole.wires[0].receive());
        datagrams.map(|(_, datagram)| String::from_utf8_lossy(&datagram[8..]).into_owned()).collect()
    }

    /// Stores one item for each time to live, all in this moment, in ticks that take no time.
    fn store(&mut self, name: &str, ttls_ms: &[u64]) {
        for (part, ttls_ms) in ttls_ms.chunks(500).enumerate() {
            let one =
                |(i, ttl_ms): (usize, &u64)| format!("ms {name}:{part}:{i} 8 A{ttl_ms} q\r\nsherwood\r\n");
            self.send(&ttls_ms.iter().enumerate().map(one).collect::<String>());
            self.tick(0);
            self.tick(0);
            assert_eq!(self.replies(), "", "stores that succeed say nothing");
        }
    }

    fn items(&self) -> u64 {
        self.whole.owners[0].curr_items.get()
    }
}

/// 100 items a ms, which is 100,000 a second: two ticks of the wheel, 1 ms each, after its deadline an item's slot is free.
#[test]
fn memory_is_back_within_two_ticks_of_the_wheel() {
    const PER_MS: u64 = 100;
    let mut scene = Scene::new(40_000);
    let ttls_ms: Vec<u64> = (0..20_000).map(|i| 300 + i / PER_MS).collect();
    scene.store("a", &ttls_ms);
    // The policy has heard of all of them.
    (0..1_000).for_each(|_| scene.tick(250));
    let (items, bytes) = (scene.items(), scene.whole.owners[0].used_bytes.get());
    assert_eq!(items, 20_000);
    for ms in 251..=510u64 {
        (0..4).for_each(|_| scene.tick(250));
        let due = |by_ms: u64| (by_ms + 1).saturating_sub(300).saturating_mul(PER_MS).min(items);
        let owner = &scene.whole.owners[0];
        let left = owner.used_bytes.get() / (bytes / items);
        assert!(left <= items - due(ms - 2), "{ms} ms: {left} slots in use, {} items were due", due(ms - 2));
        assert!(scene.items() >= items - due(ms), "{ms} ms: items went before their time");
    }
    assert_eq!((scene.items(), scene.whole.owners[0].used_bytes.get()), (0, 0));
    assert_eq!(scene.whole.owners[0].expired.get(), 20_000);
}

/// All at once: every tick does a bounded part of it beside the reads that came, and soon it is over.
#[test]
fn a_mass_expiry_is_taken_in_small_parts() {
    const ITEMS: usize = 200_000;
    /// A busy worker's tick.
    const TICK_US: u64 = 40;
    let mut scene = Scene::new(2 * ITEMS as u64);
    scene.send("set stays 0 0 4 noreply\r\nhere\r\n");
    scene.store("a", &vec![2_000; ITEMS]);
    (0..1_500).for_each(|_| scene.tick(1_000));
    assert_eq!(scene.items(), ITEMS as u64 + 1);
    scene.replies();
    while scene.clock.now().ms() < 3_000 {
        scene.tick(1_000);
    }
    let (began_ms, mut before) = (scene.clock.now().ms(), scene.items());
    while before > 1 {
        scene.send("get stays\r\n");
        scene.tick(TICK_US);
        scene.tick(TICK_US);
        assert_eq!(scene.replies(), "VALUE stays 0 4\r\nhere\r\nEND\r\n");
        let gone = before - scene.items();
        // A quarter of two ticks, at 200 ns a command, and what a batch is too long.
        assert!(gone <= 2 * (TICK_US * 1_000 / 4 / 200 + 16), "{gone} items in two ticks");
        before = scene.items();
        assert!(scene.clock.now().ms() - began_ms < 200, "a million items a second, not fewer");
    }
}
