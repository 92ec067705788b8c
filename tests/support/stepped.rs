//! Two workers without threads or a kernel: a test says which of them ticks, so what happens between them happens in the
//! order that the test wants.

use cache::Cache;
use cache::base::clock::Clock;
use cache::policy::thread::Round;
use cache::policy::{Goal, PolicyKind};
use cache::ring::mesh;
use cache::shard::{Owner, OwnerCounters};
use protocol::steer::{owner, steer};
use sherwood::limits::PENDING_REQUESTS_MAX;
use sherwood::net::sim::{Faults, Link, SimPort, StreamFaults, StreamFigures, Wire};
use sherwood::net::{PeerAddr, StreamPeer};
use sherwood::session::Wakeups;
use sherwood::session::hits::Hits;
use sherwood::session::profiler::TickProfiler;
use sherwood::worker::{Access, Poll, StreamSetup, Worker, WorkerConfig};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Two workers, or one, and the wire to each.
pub struct Stepped {
    /// Stands still unless the test moves it.
    clock: Clock,
    workers: Vec<Worker<SimPort>>,
    wires: Vec<Wire>,
    owners: Vec<Arc<OwnerCounters>>,
    client: PeerAddr,
    /// It never runs: full rings are no trouble.
    _policy: Round,
}

impl Stepped {
    /// Two workers with 8 MiB of memory between them, and a client that they trust.
    pub fn new() -> Stepped {
        Stepped::with_access(Access::default())
    }

    /// The same under other rules.
    pub fn with_access(access: Access) -> Stepped {
        Stepped::of(2, access)
    }

    /// So many workers with 8 MiB of memory between them.
    pub fn of(workers: usize, access: Access) -> Stepped {
        Stepped::with_streams(workers, access, 1, StreamFaults::default())
    }

    /// The same with faults of connections, from a seed.
    pub fn with_streams(workers: usize, access: Access, seed: u64, faults: StreamFaults) -> Stepped {
        const BYTES: usize = 8 << 20;
        let count = workers;
        let clock = Clock::manual(1_000_000_000);
        let built = Cache::builder()
            .shards(count)
            .memory_bytes(BYTES)
            .index_lines(1024)
            .value_bytes_max(1 << 20)
            .seed(1)
            .policy(PolicyKind::None, Goal::Objects)
            .build();
        let (mut workers, mut wires) = (Vec::new(), Vec::new());
        let owners = built.owners.iter().map(|owner| Arc::clone(owner.counters())).collect();
        let ends = mesh(count, PENDING_REQUESTS_MAX).into_iter().zip(Wakeups::for_workers(count));
        let owned = built.owners.into_iter().zip(built.participants).zip(built.hits);
        for (index, (((owner, participant), hits), (mesh, wakeups))) in owned.zip(ends).enumerate() {
            wires.push(Wire::with_streams(seed, Faults::default(), faults));
            workers.push(Worker::new(WorkerConfig {
                port: SimPort::new(wires[index].clone()).unwrap(),
                owner: Owner::new(owner),
                participant,
                mesh,
                wakeups,
                hits: Hits::new(hits),
                background: None,
                clock: clock.clone(),
                counters: Arc::default(),
                value_bytes_max: 1 << 20,
                access: access.clone(),
                poll: Poll::Busy,
                administration: Arc::new(()),
                streams: StreamSetup::default(),
                profiler: TickProfiler::new(Arc::default(), clock.clone(), 1, index as u64),
            }));
        }
        let client = Stepped::client(9999);
        Stepped { clock, workers, wires, owners, client, _policy: built.round }
    }

    /// Puts a datagram on its way to a worker.
    pub fn send(&self, worker: usize, datagram: &[u8]) {
        self.wires[worker].send(self.client, datagram);
    }

    /// Opens a connection to a worker.
    pub fn connect(&self, worker: usize) -> Link {
        self.wires[worker].connect(StreamPeer::Inet(self.client))
    }

    /// What is true of the connections of a worker now.
    pub fn streams(&self, worker: usize) -> StreamFigures {
        self.wires[worker].streams()
    }

    /// Lets all workers tick, and 1 µs pass each time, until nothing has happened for a while; gives what came of a connection.
    pub fn converse(&mut self, link: &Link) -> Vec<u8> {
        const QUIET_TICKS: u32 = 8;
        const TICKS_MAX: u32 = 1_000_000;
        let (mut reply, mut quiet) = (Vec::new(), 0);
        for _ in 0..TICKS_MAX {
            let is_busy = self.workers.iter_mut().fold(false, |busy, worker| worker.tick().unwrap() | busy);
            self.advance(Duration::from_micros(1));
            let came = link.read(usize::MAX);
            let is_quiet = !is_busy && came.is_empty() && link.unreceived() == 0;
            quiet = if is_quiet { quiet + 1 } else { 0 };
            reply.extend(came);
            if quiet > QUIET_TICKS {
                return reply;
            }
        }
        panic!("it never comes to rest");
    }

    /// A client on loopback with this port.
    pub fn client(port: u16) -> PeerAddr {
        PeerAddr::from(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// Puts a datagram of somebody else on its way to a worker.
    pub fn send_from(&self, worker: usize, peer: PeerAddr, datagram: &[u8]) {
        self.wires[worker].send(peer, datagram);
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Sets the wall time, and nothing else.
    pub fn set_wall(&self, by_s: i64) {
        self.clock.set_wall(by_s);
    }

    /// The wall time, in seconds since 1970.
    pub fn unix_s(&self) -> u64 {
        self.clock.now().unix_s
    }

    /// Lets a worker tick once.
    pub fn tick(&mut self, worker: usize) {
        self.workers[worker].tick().unwrap();
    }

    /// Lets both tick until nothing can be on its way any more.
    pub fn settle(&mut self) {
        (0..8).for_each(|_| (0..self.workers.len()).for_each(|worker| self.tick(worker)));
    }

    /// The next datagram that a worker sent.
    pub fn receive(&self, worker: usize) -> Option<Vec<u8>> {
        self.wires[worker].receive().map(|(_, datagram)| datagram)
    }

    /// The next datagram that a worker sent, and the port that it goes to.
    pub fn receive_with_port(&self, worker: usize) -> Option<(u16, Vec<u8>)> {
        self.wires[worker].receive().map(|(peer, datagram)| (peer.port(), datagram))
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// A worker.
    pub fn worker(&self, worker: usize) -> &Worker<SimPort> {
        &self.workers[worker]
    }

    /// What the owner of a shard counts.
    pub fn owned(&self, worker: usize) -> &OwnerCounters {
        &self.owners[worker]
    }

    /// The `number`-th key that a worker owns.
    pub fn key_of(worker: usize, number: usize) -> String {
        let keys = (0..).map(|i| format!("key{i}"));
        keys.filter(|key| owner(steer(key.as_bytes()), 2) == worker).nth(number).unwrap()
    }
}
