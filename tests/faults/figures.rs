//! Every figure that is shown is moved by something: each scene makes some of them happen, and what none has moved is named here
//! with the reason, or should not be shown.

use crate::support::batch::sealed;
use crate::support::config;
use crate::support::in_process::{InProcess, Size};
use crate::support::peer::Peer;
use crate::support::stepped::Stepped;
use cache::base::clock::Clock;
use protocol::batch::SealKey;
use protocol::steer::{owner, steer};
use sherwood::config::serve::Io;
use sherwood::guard::Secret;
use sherwood::limits::{PENDING_REQUESTS_MAX, POOL_WAIT_MS, READ_POOL_WAIT_MS, SOURCE_BUDGET_PER_S};
use sherwood::net::PeerAddr;
use sherwood::net::sim::Faults;
use sherwood::server::Server;
use sherwood::stats::counters::{
    Counter, HistLogCounters, MetricsCounters, OwnerCounters, PeersCounters, WorkerCounters,
};
use sherwood::worker::Access;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Moved by tests that need more than this process, or by nothing that a test can do.
const ELSEWHERE: &[(&str, &str)] = &[
    ("metrics_answered", "metrics::nobody_delays_a_scrape_or_the_end"),
    ("metrics_closed", "metrics::a_request_has_its_time_as_a_whole"),
    ("metrics_refused", "metrics::whoever_may_not_read_data_may_not_scrape"),
    ("metrics_accept_failures", "metrics::without_descriptors_it_pauses_and_goes_on_when_there_are_some"),
    ("peers_file_failures", "peers::a_file_that_became_wrong_is_said_once_and_counted"),
    ("hist_log_failures", "endings::a_log_on_a_full_disk_is_said_at_once_and_the_cache_goes_on"),
    ("send_failures", "a path that refuses datagrams needs a network namespace: see network.rs"),
    ("gso_fallbacks", "a path that refuses trains needs a network namespace: see network.rs"),
    ("refused_groups", "network::groups_are_not_answered"),
    ("evicted_by_crowding", "shard::tests::index, where memory has no room for a larger index"),
    ("growth_waits", "shard::tests::index, where an index grows and memory is free"),
    ("curr_connections", "limits::connections_beyond_the_limit_are_told_so_and_counted in tests/streams"),
    ("total_connections", "limits::connections_beyond_the_limit_are_told_so_and_counted in tests/streams"),
    ("rejected_connections", "limits::connections_beyond_the_limit_are_told_so_and_counted in tests/streams"),
    ("idle_kicks", "limits::idle_connections_are_closed_and_busy_ones_stay in tests/streams"),
    ("slow_values", "crowds::values_that_come_too_slowly_make_room_for_others in tests/streams"),
    ("streams_broken", "half_open::an_idle_peer_that_vanishes_is_noticed in tests/streams"),
    ("accept_failures", "limits::without_descriptors_accepts_wait_until_there_are in tests/streams"),
    (
        "stream_sends",
        "readers::replies_wait_for_a_peer_that_does_not_read_and_others_are_served in tests/streams",
    ),
    (
        "streams_stuck",
        "readers::replies_wait_for_a_peer_that_does_not_read_and_others_are_served in tests/streams",
    ),
    ("streams_unsent_bytes", "unsent::peers_that_do_not_read_cost_no_more_than_is_bounded in tests/streams"),
    (
        "streams_unsent_limited",
        "unsent::peers_that_do_not_read_cost_no_more_than_is_bounded in tests/streams",
    ),
    ("streams_over_memory", "limits::what_is_kept_of_connections_is_bounded in tests/streams"),
    (
        "long_values",
        "values::values_beyond_the_memory_of_unfinished_ones_wait_for_each_other in tests/streams",
    ),
    ("stream_buffers_empty", "leaks::no_connection_leaves_anything_behind in tests/streams"),
    ("unfinished_items", "shard::tests::unfinished, where values come in pieces"),
    ("unfinished_bytes", "shard::tests::unfinished, where values come in pieces"),
    ("unfinished_waits", "shard::tests::unfinished, where values come in pieces"),
    ("unfinished_abandoned", "shard::tests::unfinished, where values come in pieces"),
    ("store_no_memory", "no_eviction::a_full_cache_refuses_what_is_new_and_keeps_what_it_has"),
    ("evicted_by_growth", "sixteen full lines in a row at half load, which random keys do not make"),
];

/// Longer than a busy machine keeps a thread from running, so that only a fault runs into it.
const PATIENCE: Duration = Duration::from_secs(30);
const PERFECT: Faults = Faults { drop_percent: 0, duplicate_percent: 0, reorder_percent: 0 };

/// Names of counters that were seen to be other than 0.
#[derive(Default)]
struct Moved(BTreeSet<&'static str>);

impl Moved {
    fn look(&mut self, list: Vec<(&'static str, &'static str, &Counter)>) {
        self.0.extend(list.iter().filter(|(.., counter)| counter.get() != 0).map(|(name, ..)| *name));
    }

    fn look_at(&mut self, server: &Server) {
        server.figures().workers.iter().for_each(|worker| self.look(worker.list()));
        server.figures().owners.iter().for_each(|owner| self.look(owner.list()));
    }
}

/// A whole server in this thread, whose figures are looked at after every tick.
struct Scene<'m> {
    whole: InProcess,
    clock: Clock,
    moved: &'m mut Moved,
}

impl Scene<'_> {
    fn new(workers: usize, memory_bytes: usize, is_cramped: bool, moved: &mut Moved) -> Scene<'_> {
        let clock = Clock::manual(1_000_000_000);
        let size = Size { workers, memory_bytes, keys: memory_bytes as u64 / 140, is_cramped };
        Scene { whole: InProcess::new(1, size, PERFECT, &clock, |_| true), clock, moved }
    }

    fn send(&self, worker: usize, body: &str) {
        self.send_raw(worker, &[&[0, 7, 0, 0, 0, 1, 0, 0][..], body.as_bytes()].concat());
    }

    fn send_raw(&self, worker: usize, datagram: &[u8]) {
        let client = PeerAddr::from(SocketAddr::from(([127, 0, 0, 1], 40_000)));
        self.whole.wires[worker].send(client, datagram);
    }

    /// A tick of one worker, `us` later.
    fn tick_one(&mut self, worker: usize, us: u64) {
        self.clock.advance(Duration::from_micros(us));
        self.whole.workers[worker].tick().unwrap();
        self.moved.look(self.whole.workers[worker].counters().list());
        self.whole.owners.iter().for_each(|owner| self.moved.look(owner.list()));
    }

    fn ticks(&mut self, count: usize, us: u64) {
        for _ in 0..count {
            (0..self.whole.workers.len()).for_each(|worker| self.tick_one(worker, us));
        }
    }

    /// The bodies of all replies so far.
    fn replies(&self) -> String {
        let of = |wire: &sherwood::net::sim::Wire| std::iter::from_fn(|| wire.receive()).collect::<Vec<_>>();
        let all = self.whole.wires.iter().flat_map(of);
        all.map(|(_, datagram)| String::from_utf8_lossy(&datagram[8..]).into_owned()).collect()
    }

    fn ask(&mut self, body: &str) -> String {
        self.send(0, body);
        self.ticks(6, 10);
        self.replies()
    }

    /// Stores items of so many bytes, so many to a datagram, `us` apart.
    fn store(&mut self, keys: std::ops::Range<usize>, value_bytes: usize, per_datagram: usize, us: u64) {
        let value = "v".repeat(value_bytes);
        for first in keys.clone().step_by(per_datagram) {
            let set = |key| format!("set key{key} 0 0 {value_bytes} noreply\r\n{value}\r\n");
            self.send(0, &(first..keys.end.min(first + per_datagram)).map(set).collect::<String>());
            self.tick_one(0, us);
        }
        self.ticks(4, us);
    }
}

/// Each command with and without its key, over both workers.
fn commands(moved: &mut Moved) {
    let mut scene = Scene::new(2, 16 << 20, false, moved);
    for i in 0..8 {
        let key = format!("k{i}");
        for line in [
            "touch K 9",
            "delete K",
            "incr K 1",
            "decr K 1",
            "cas K 0 0 1 1\r\nx",
            "get K",
            "set K 0 0 1\r\n5",
            "get K",
            "touch K 9",
            "incr K 1",
            "decr K 1",
            "cas K 0 0 1 1234567\r\nx",
            "md K I T30",
            "mg K k v",
            "mg K v",
            "mg K t N30",
            "ms K 1048577\r\n",
        ] {
            scene.ask(&format!("{}\r\n", line.replace('K', &key)));
        }
        scene.ask(&format!("set {key} 0 0 1\r\n5\r\n"));
        let value = scene.ask(&format!("gets {key}\r\n"));
        let cas = value.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned();
        assert_eq!(scene.ask(&format!("cas {key} 0 0 1 {cas}\r\n6\r\n")), "STORED\r\n");
        scene.ask(&format!("delete {key}\r\nset n:{key} 0 1 1\r\nx\r\n"));
    }
    // The last of them expire, and a namespace and everything are invalidated.
    scene.ticks(300, 10_000);
    scene.ask("delete n:\r\nflush_all\r\n");
    scene.ask("nonsense\r\n");
    for datagram in [
        &[0, 1, 0, 0, 0, 1, 0, 0][..],
        &[0, 1, 0, 0, 0, 2, 0, 0, b'g'],
        &[0, 1, 0, 0, 0, 1, 0, 0, 0x80],
        &[0, 1, 0, 0, 0, 0, 0x53, 1, b'g'],
        &[0, 1, 0, 0, 0, 1, 0, 0, b'E', b'N', b'D'],
    ] {
        scene.send_raw(0, datagram);
    }
    scene.ticks(2, 10);
}

/// Items of generations that come again are removed before.
fn generations(moved: &mut Moved) {
    let mut scene = Scene::new(1, 16 << 20, false, moved);
    let sets: String = (0..50).map(|i| format!("set n:{i} 0 0 1 noreply\r\nx\r\n")).collect();
    scene.ask(&sets);
    for _ in 0..(1 << 17) / 512 {
        scene.ask(&"md n: q\r\n".repeat(512));
    }
}

/// Memory that is full: of the policy's choice, of its late and lost records, and of what comes faster than it can choose.
fn evictions(moved: &mut Moved) {
    let mut scene = Scene::new(1, 16 << 20, false, moved);
    scene.store(0..120_000, 64, 400, 1000);
    // Reads that the policy does not hear of, because its ring is full, of items that are the next to go.
    for part in 0..600 {
        let keys: String = (part * 100..(part + 1) * 100).map(|key| format!(" key{key}")).collect();
        scene.send(0, &format!("get{keys}\r\n"));
    }
    scene.ticks(6, 100);
    scene.store(500_000..600_000, 64, 400, 1000);
    // More reads and more events in one tick than their rings hold.
    for burst in 0..6 {
        for part in 0..30 {
            let from = 60_000 + burst * 5_000 + part * 100;
            let keys: String = (from..from + 1_000).map(|key| format!(" key{key}")).collect();
            scene.send(0, &format!("get{keys}\r\n"));
            let touches: String =
                (from..from + 1_000).map(|key| format!("touch key{key} 0 noreply\r\n")).collect();
            scene.send(0, &touches);
        }
        scene.ticks(3, 100);
        // What the policy has chosen meanwhile is overwritten before it is evicted.
        scene.store(60_000..90_000, 64, 400, 0);
        scene.store(200_000 + burst * 20_000..220_000 + burst * 20_000, 64, 400, 100);
        scene.ticks(400, 100);
    }
    // Sixteen MiB in one tick.
    let value = "v".repeat(50_000);
    for i in 0..500 {
        scene.send(0, &format!("set long{i} 0 0 50000 noreply\r\n{value}\r\n"));
    }
    scene.ticks(10, 100);
}

/// An index that is too small, then too large; pages whose sizes nobody stores any more.
fn sizes(moved: &mut Moved) {
    let mut scene = Scene::new(1, 16 << 20, true, moved);
    scene.store(0..60_000, 32, 400, 100);
    scene.ticks(2_000, 1000);
    let mut scene = Scene::new(1, 16 << 20, false, scene.moved);
    for (round, value_bytes) in [64, 2 << 10, 300, 64].into_iter().enumerate() {
        let count = 3 * (16 << 20) / (value_bytes + 64);
        let first = round * 1_000_000;
        scene.store(first..first + count, value_bytes, 40_000 / (value_bytes + 40), 500);
        scene.ticks(2_000, 1000);
    }
}

/// Requests for a worker that does not tick.
fn waiting(moved: &mut Moved) {
    let mut scene = Scene::new(2, 16 << 20, false, moved);
    let keys_of = |worker| {
        (0..).map(|i| format!("key{i}")).filter(move |key| owner(steer(key.as_bytes()), 2) == worker)
    };
    for key in keys_of(1).take(PENDING_REQUESTS_MAX + 5) {
        scene.send(0, &format!("set {key} 0 0 1\r\nx\r\n"));
    }
    scene.tick_one(0, 10);
    scene.tick_one(0, 10);
    scene.tick_one(0, (POOL_WAIT_MS + 1) * 1000);
    scene.ticks(8, 10);
    for key in keys_of(1).take(PENDING_REQUESTS_MAX + 5) {
        scene.send(0, &format!("gat 0 {key}\r\n"));
    }
    scene.tick_one(0, 10);
    scene.tick_one(0, 10);
    scene.tick_one(0, (READ_POOL_WAIT_MS + 1) * 1000);
    scene.tick_one(0, 10);
    scene.ticks(8, 10);
    // Nor is any of its memory free before the other has looked away.
    let value = "v".repeat(20_000);
    for key in keys_of(0).take(2_000) {
        scene.send(0, &format!("set {key} 0 0 20000 noreply\r\n{value}\r\n"));
        scene.tick_one(0, 10);
    }
    scene.ticks(100, 1000);
}

/// Addresses that nobody vouches for.
fn strangers(moved: &mut Moved) {
    const SECRET: &[u8] = b"what nobody outside can guess";
    let secret = Some(Secret::new(SECRET).unwrap());
    let mut stepped = Stepped::with_access(Access {
        secret,
        allow: vec!["10.78.0.0/24".parse().unwrap()],
        ..Access::default()
    });
    let peer = |network: u8, port| PeerAddr::from(SocketAddr::from(([10, network, 0, 1], port)));
    let text = |body: &str| [&[0, 7, 0, 0, 0, 1, 0, 0][..], body.as_bytes()].concat();
    for _ in 0..=SOURCE_BUDGET_PER_S {
        stepped.send_from(0, peer(77, 40_000), &text("cookie ????????????????\r\n"));
        stepped.send_from(0, peer(78, 40_000), &text("nonsense\r\n"));
    }
    stepped.send_from(0, peer(77, 53), &text("get a\r\n"));
    let (ours, others) = (SealKey::new(SECRET).unwrap(), SealKey::new(b"what somebody guessed").unwrap());
    let now_ms = stepped.unix_s() * 1000;
    let mut seal = |key, time_ms, session, sequence| {
        stepped.send_from(0, peer(77, 40_000), &sealed(key, (time_ms, session, sequence), 7, "a"));
        stepped.settle();
    };
    (0..2_000).for_each(|session| seal(&ours, now_ms, session, 1));
    seal(&ours, now_ms, 0, 1);
    seal(&ours, now_ms - 3_600_000, 0, 2);
    seal(&others, now_ms, 0, 3);
    moved.look(stepped.worker(0).counters().list());
}

/// What only the kernel does: its queue that is full, its buffers that are used up, a worker that sleeps.
fn sockets(moved: &mut Moved) {
    for (io, workers, wanted) in [
        (Io::Mmsg, 1, &["receive_drops", "sends", "bytes_written"][..]),
        (Io::Uring, 1, &["receive_buffers_empty"]),
        (Io::Mmsg, 2, &["workers_woken"]),
    ] {
        let mut config = config(io, workers);
        if wanted.contains(&"receive_drops") {
            config.socket.receive_buffer_bytes = 4096;
        }
        let server = match Server::start(config, &|_| ()) {
            Ok(server) => server,
            Err(error) => {
                println!("SKIPPED: {wanted:?}: {io:?} with {workers} workers: {error}");
                moved.0.extend(wanted);
                continue;
            }
        };
        let (mut peer, began) = (Peer::new(server.addr()), Instant::now());
        let keys: String = (0..1_000).map(|key| format!(" key{key}")).collect();
        let many = format!("get{keys}\r\n");
        let mut number = 0;
        while wanted.iter().any(|name| !moved.0.contains(name)) {
            assert!(began.elapsed() < PATIENCE, "{wanted:?} did not move");
            number += 1;
            if workers == 2 {
                // One at a time, so that both workers sleep in between.
                peer.ask(format!("set key{number} 0 0 1\r\nx\r\n").as_bytes());
            } else {
                // Nobody reads the answers.
                let flood = Peer::new(server.addr());
                (0..300)
                    .for_each(|_| flood.send_raw(&[&[0, 1, 0, 0, 0, 1, 0, 0][..], many.as_bytes()].concat()));
            }
            moved.look_at(&server);
        }
        server.stop().unwrap();
    }
}

#[test]
fn every_counter_is_moved_by_something() {
    let mut moved = Moved::default();
    commands(&mut moved);
    generations(&mut moved);
    evictions(&mut moved);
    sizes(&mut moved);
    waiting(&mut moved);
    strangers(&mut moved);
    sockets(&mut moved);
    let (owners, workers) = (OwnerCounters::default(), WorkerCounters::default());
    let (scrapes, log) = (MetricsCounters::default(), HistLogCounters::default());
    let peers = PeersCounters::default();
    let all: BTreeSet<_> = [owners.list(), workers.list(), scrapes.list(), log.list(), peers.list()]
        .concat()
        .iter()
        .map(|(name, ..)| *name)
        .collect();
    let elsewhere: BTreeSet<_> = ELSEWHERE.iter().map(|(name, _)| *name).collect();
    assert!(elsewhere.is_subset(&all), "named, and not shown: {:?}", elsewhere.difference(&all));
    let never: Vec<_> =
        all.iter().filter(|name| !moved.0.contains(*name) && !elsewhere.contains(*name)).collect();
    assert!(never.is_empty(), "shown, and moved by nothing: {never:?}");
}

/// A count that creates is neither hit nor miss, only stores over an item compare cas numbers, and what is marked stale is not
/// deleted, as memcached counts.
#[test]
fn what_memcached_does_not_count_is_not_counted() {
    let mut stepped = Stepped::of(1, Access::default());
    let bodies = ["ma a N0\r\n", "ms b 1 ME C5\r\nx\r\n", "ms b 1 MA C5\r\nx\r\n", "ms b 1 MP C0\r\nx\r\n"];
    for (id, body) in (0u16..).zip(bodies) {
        stepped.send(0, &[&id.to_be_bytes()[..], &[0, 0, 0, 1, 0, 0], body.as_bytes()].concat());
        stepped.settle();
    }
    let owner = stepped.owned(0);
    let cas = [&owner.cas_hits, &owner.cas_misses, &owner.cas_badval];
    assert_eq!((cas.map(Counter::get), owner.incr_misses.get(), owner.cmd_set.get()), ([0, 0, 0], 0, 3));
    for (id, body) in
        (9u16..).zip(["md a I\r\n", "md a x\r\n", "md nothing I\r\n", "md a C1 I\r\n", "md a\r\n"])
    {
        stepped.send(0, &[&id.to_be_bytes()[..], &[0, 0, 0, 1, 0, 0], body.as_bytes()].concat());
        stepped.settle();
    }
    let owner = stepped.owned(0);
    assert_eq!((owner.delete_hits.get(), owner.delete_misses.get()), (1, 2), "a mark is no deletion");
}
