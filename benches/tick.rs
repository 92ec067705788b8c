//! What a request costs a worker without a kernel: ticks over datagrams that lie ready, replies that go nowhere.
//!
//! One worker, keys that fit, values of 100 bytes, trains of 256 datagrams a tick from one peer; the policy runs on the same core. Processor
//! time of the thread by request, median and least of the rounds. To compare two versions, run both in turn.
//!
//! `cargo bench --bench tick [-- --smoke] [--keys 100000] [--policy wtinylfu|s3fifo|lru|none] [--only ROW]`
//!
//! Memory is the heap's: `GLIBC_TUNABLES=glibc.malloc.hugetlb=1` gives it huge pages, as a server has.

#[path = "../tests/support/mod.rs"]
mod support;

use cache::base::clock::Clock;
use cache::base::random::Random;
use cache::policy::PolicyKind;
use sherwood::net::{Datagram, Inbox, Outbox, PeerAddr, PollTimeout, Port, Traffic, Waker};
use sherwood::server::policy::cooperative;
use sherwood::worker::Worker;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use support::in_process::{Parts, Size};

const DATAGRAMS: usize = 256;
/// Ticks that are drawn: so many that what they touch is in no cache when they come again.
const TICKS: usize = 512;

/// The datagrams of the ticks to come, over and over.
#[derive(Default)]
struct Script {
    ticks: Vec<Vec<Vec<u8>>>,
    next: usize,
}

/// A port that receives what is in the script, and sends to nobody.
struct ScriptPort {
    script: Rc<RefCell<Script>>,
    now: Vec<Vec<u8>>,
    peer: PeerAddr,
    waker: Waker,
}

impl Port for ScriptPort {
    fn poll(
        &mut self,
        outbox: &mut Outbox,
        inbox: &mut Inbox,
        _timeout: PollTimeout,
    ) -> std::io::Result<Traffic> {
        outbox.clear();
        inbox.clear();
        let mut script = self.script.borrow_mut();
        if script.ticks.is_empty() {
            return Ok(Traffic::default());
        }
        let at = script.next % script.ticks.len();
        script.next += 1;
        // The bytes move here and back: nothing is copied.
        let before = (at + script.ticks.len() - 1) % script.ticks.len();
        if !self.now.is_empty() {
            script.ticks[before] = std::mem::take(&mut self.now);
        }
        self.now = std::mem::take(&mut script.ticks[at]);
        for (i, datagram) in self.now.iter().enumerate() {
            inbox.push_train(self.peer, i as u16, 0, datagram.len(), 0);
        }
        Ok(Traffic::default())
    }

    fn flush(&mut self, outbox: &mut Outbox) -> std::io::Result<Traffic> {
        outbox.clear();
        Ok(Traffic::default())
    }

    fn bytes(&self, datagram: &Datagram) -> &[u8] {
        &self.now[datagram.buffer as usize][datagram.start as usize..][..datagram.length as usize]
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

/// Memory for each key: its item, what waits for grace, and its place in the index.
const BYTES_OF_KEY: usize = 512;

struct Bench {
    worker: Worker<ScriptPort>,
    script: Rc<RefCell<Script>>,
}

impl Bench {
    fn new(keys: u64, policy: PolicyKind) -> Bench {
        let clock = Clock::system();
        let memory_bytes = (keys as usize * BYTES_OF_KEY).max(128 << 20);
        let size = Size { workers: 1, memory_bytes, keys: 2 * keys, is_cramped: false };
        let Parts { seats, round, .. } = Parts::with_policy(1, size, &clock, |_| true, Some(policy));
        let script = Rc::new(RefCell::new(Script::default()));
        let port = ScriptPort {
            script: Rc::clone(&script),
            now: Vec::new(),
            peer: PeerAddr::from(SocketAddr::from(([127, 0, 0, 1], 9_999))),
            waker: Waker::new().unwrap(),
        };
        let (mut workers, _) = seats.seat(vec![port], Some(cooperative(round)));
        Bench { worker: workers.remove(0), script }
    }

    /// Runs ticks over these datagrams for at least so much processor time; ns by datagram.
    fn run(&mut self, ticks: Vec<Vec<Vec<u8>>>, least: Duration) -> f64 {
        let count = ticks.len();
        *self.script.borrow_mut() = Script { ticks, next: 0 };
        (0..count).for_each(|_| _ = self.worker.tick().unwrap());
        let clock = Clock::system();
        let (began_ns, mut ran) = (clock.thread_cpu_ns(), 0);
        while u128::from(clock.thread_cpu_ns() - began_ns) < least.as_nanos() {
            (0..count).for_each(|_| _ = self.worker.tick().unwrap());
            ran += count;
        }
        let took_ns = clock.thread_cpu_ns() - began_ns;
        *self.script.borrow_mut() = Script::default();
        self.worker.tick().unwrap();
        took_ns as f64 / (ran * DATAGRAMS) as f64
    }
}

fn text(body: &str) -> Vec<u8> {
    [&[0, 1, 0, 0, 0, 1, 0, 0], body.as_bytes()].concat()
}

fn get(key: u64) -> String {
    format!("get {key:016x}\r\n")
}

fn set(key: u64) -> String {
    format!("set {key:016x} 0 0 100\r\n{}\r\n", "x".repeat(100))
}

/// Draws a datagram over so many keys.
type Draw = fn(&mut Random, u64) -> String;

/// The value of an option.
fn option(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--smoke");
    let (rounds, least) = if smoke { (1, 5) } else { (9, 200) };
    let keys = option("--keys").map_or(100_000, |keys| keys.parse().expect("a number of keys"));
    let policy = option("--policy").map_or(PolicyKind::Wtinylfu, |name| name.parse().expect("a policy"));
    let rows: [(&str, Draw); 6] = [
        ("get", |random, keys| get(random.below(keys))),
        ("get of 20 keys", |random, keys| {
            let keys: Vec<String> = (0..20).map(|_| format!("{:016x}", random.below(keys))).collect();
            format!("get {}\r\n", keys.join(" "))
        }),
        ("95 gets, 5 sets", |random, keys| {
            let key = random.below(keys);
            if random.below(100) < 5 { set(key) } else { get(key) }
        }),
        ("50 gets, 50 sets", |random, keys| {
            let key = random.below(keys);
            if random.below(2) == 0 { set(key) } else { get(key) }
        }),
        ("set", |random, keys| set(random.below(keys))),
        ("10 sets", |random, keys| (0..10).map(|_| set(random.below(keys))).collect()),
    ];
    let only = option("--only");
    let rows: Vec<_> =
        rows.into_iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)).collect();
    let mut bench = Bench::new(keys, policy);
    let fill = (0..keys).collect::<Vec<_>>();
    let fill: Vec<Vec<Vec<u8>>> =
        fill.chunks(DATAGRAMS).map(|keys| keys.iter().map(|&key| text(&set(key))).collect()).collect();
    bench.run(fill, Duration::ZERO);
    let mut random = Random::new(1);
    let mut figures = vec![Vec::new(); rows.len()];
    for _ in 0..rounds {
        for ((_, draw), figures) in rows.iter().zip(&mut figures) {
            let tick = |random: &mut Random| (0..DATAGRAMS).map(|_| text(&draw(random, keys))).collect();
            let ticks = (0..if smoke { 4 } else { TICKS }).map(|_| tick(&mut random)).collect();
            figures.push(bench.run(ticks, Duration::from_millis(least)));
        }
    }
    println!("{:<20}{:>10}{:>10}", "ns by datagram", "median", "least");
    for ((name, _), mut figures) in rows.iter().zip(figures) {
        figures.sort_by(f64::total_cmp);
        println!("{name:<20}{:>10.0}{:>10.0}", figures[figures.len() / 2], figures[0]);
    }
}
