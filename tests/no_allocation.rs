//! The heap is for the start: a worker's tick takes nothing from it, whatever the tick brings.
//!
//! The allocator of this program counts by thread. One test drives two workers in this thread, on ports that hand bytes
//! over and take them (`belt`), through everything that a tick can meet: reads and stores of all sizes, text, meta and
//! batch frames, forwards, times to live, evictions, a mix of sizes that shifts, tables that grow, flushes. It counts
//! from the first tick on: there is no warm-up. Another does so over connections, from when their number and the shape of their
//! pipelines are known: queues and lists of connections grow to the most that there were. The last looks at the threads of real
//! servers on real sockets.
//!
//! What takes memory of connections: to open one; a command that was cut; the line of a value of more than 16 KiB; a reply of more
//! than a megabyte; what a peer has no room for; a dump.
//!
//! Not counted: `stats` and its kin, which build a text for people, and the policy, which takes memory as items come
//! (`docs/policy.md`); on a machine with a single CPU the policy runs on a worker's core, between its ticks.

#![allow(unsafe_code)] // a global allocator is unsafe to implement; see `Counting`

#[path = "no_allocation/belt.rs"]
mod belt;
mod support;

use belt::{BeltPort, CONNECTIONS, MemoryPort};
use cache::base::clock::Clock;
use cache::base::random::Random;
use cache::policy::{Limits, run_once};
use protocol::batch::{Code, FrameWriter, Operation};
use sherwood::config::serve::Io;
use sherwood::limits::STREAM_BUFFER_BYTES;
use sherwood::server::Server;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use support::in_process::{Parts, Size};
use support::peer::Peer;

/// The system's allocator, which notes who asked.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Threads that are told apart.
const THREADS_MAX: usize = 256;
static ALLOCATIONS: [AtomicU64; THREADS_MAX] = [const { AtomicU64::new(0) }; THREADS_MAX];
static THREAD_IDS: [AtomicI32; THREADS_MAX] = [const { AtomicI32::new(0) }; THREADS_MAX];
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Which of the counts is this thread's, plus 1.
    static PLACE: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator with the arguments that it came with; counting beside it allocates
// nothing (constant-initialized thread-local without a destructor, static atomics, one system call).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise about `layout` is what `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note();
        // SAFETY: `at` came from `System` by one of these methods, with this layout, as the caller promises.
        unsafe { System.realloc(at, layout, bytes) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

fn note() {
    let place = PLACE.get();
    let place = if place > 0 { place } else { take_place() };
    // Relaxed: figures; whoever reads another thread's has waited for an answer of it.
    ALLOCATIONS[place - 1].fetch_add(1, Ordering::Relaxed);
}

fn take_place() -> usize {
    let place = THREADS.fetch_add(1, Ordering::Relaxed) + 1;
    assert!(place <= THREADS_MAX, "this program has few threads");
    THREAD_IDS[place - 1].store(nix::unistd::gettid().as_raw(), Ordering::Relaxed);
    PLACE.set(place);
    place
}

/// What this thread has taken from the heap while `work` ran.
fn counted<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let here = || ALLOCATIONS[PLACE.get().max(1) - 1].load(Ordering::Relaxed);
    let before = here();
    let result = work();
    (here() - before, result)
}

#[test]
fn the_count_counts() {
    assert_eq!(counted(|| std::hint::black_box(Box::new(7u64))).0, 1);
    assert_eq!(counted(|| std::hint::black_box(vec![0u8; 100]).push(1)).0, 2, "it grows");
    assert_eq!(counted(|| std::hint::black_box(7)).0, 0);
}

/// What is asked in a tick, drawn from a seed.
struct Traffic {
    random: Random,
    value: Vec<u8>,
}

impl Traffic {
    const KEYS: u64 = 60_000;
    /// While values are up to this long, everything is flushed now and then.
    const FLUSHED: u64 = 3_000;
    /// While values are up to this long, none is longer: the mix of sizes is steady.
    const STEADY: u64 = 1_900;

    /// Puts a datagram onto a belt; `value_bytes` is what most values of the time have.
    fn put(&mut self, belt: &mut MemoryPort, value_bytes: u64) {
        let start = belt.bytes.len();
        belt.bytes.extend_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
        let key = self.key();
        let out = &mut belt.bytes;
        // Popular keys are read, all are stored.
        let popular = key % 500;
        let done = match self.random.below(28) {
            0..8 => write!(out, "get n{popular}:k{popular}\r\n"),
            8 => write!(out, "get a n1:k1 n2:k2 n3:k3 absent\r\ngets n4:k4\r\n"),
            9 => write!(out, "mg n{popular}:k{popular} v t f c\r\nmn\r\n"),
            10 => write!(out, "gat 5 n{popular}:k{popular}\r\n"),
            11 => write!(out, "touch n{popular}:k{popular} 3\r\n"),
            12 => write!(out, "mg n{popular}:k{popular} v N30 R10\r\n"),
            13 => write!(out, "delete n{key}:k{key}\r\n"),
            14 => write!(out, "md n{popular}:k{popular} I T9\r\n"),
            15 => {
                write!(out, "set n{key}:number 0 0 2\r\n41\r\nincr n{key}:number 7\r\nma n{key}:number\r\n")
            }
            16 => write!(out, "append n{key}:k{key} 0 0 5\r\nabcde\r\nprepend n{key}:k{key} 0 0 2\r\nxy\r\n"),
            17 => {
                write!(out, "add n{key}:k{key} 0 0 1\r\na\r\nnonsense\r\ncas n{key}:k{key} 0 0 1 7\r\nb\r\n")
            }
            18 if self.random.below(200) == 0 => write!(out, "delete n{popular}:\r\n"),
            18 if value_bytes == Self::FLUSHED && self.random.below(200) == 0 => write!(out, "flush_all\r\n"),
            18..21 => {
                self.frame(out, value_bytes);
                belt.datagrams.push(start..belt.bytes.len());
                return;
            }
            21..23 if value_bytes != Self::STEADY => self.store(out, 60_000, 0),
            _ => {
                let ttl_s = if self.random.chance(30) { 1 + self.random.below(3) } else { 0 };
                self.store(out, value_bytes, ttl_s)
            }
        };
        done.expect("bytes in memory");
        belt.datagrams.push(start..belt.bytes.len());
    }

    fn key(&mut self) -> u64 {
        self.random.below(Self::KEYS)
    }

    fn store(&mut self, out: &mut Vec<u8>, value_bytes: u64, ttl_s: u64) -> std::io::Result<()> {
        let key = self.key();
        let bytes = match value_bytes {
            Self::STEADY => value_bytes,
            // Long values are few.
            60_000 if self.random.chance(90) => self.random.below(100),
            _ => self.random.below(value_bytes),
        };
        let value = &self.value[..bytes as usize];
        write!(out, "set n{key}:k{key} {} {ttl_s} {}\r\n", key % 2, value.len())?;
        out.write_all(value)?;
        out.write_all(b"\r\n")
    }

    /// A batch frame of reads, or of reads and stores of keys of both owners.
    fn frame(&mut self, out: &mut Vec<u8>, value_bytes: u64) {
        out.truncate(out.len() - 8);
        let mut frame = Vec::new();
        let mut writer = FrameWriter::begin(1, &mut frame);
        let stores = self.random.chance(50);
        for i in 0..20 {
            let key = self.key() % 500;
            let name = format!("n{key}:k{key}");
            let value = &self.value[..(value_bytes.min(500) / 2) as usize];
            let code = if stores && i % 3 == 0 { Code::Set } else { Code::Get };
            let value = if code == Code::Set { value } else { &[] };
            writer.put(&Operation { value, ..Operation::short(code, name.as_bytes()) }, &mut frame);
        }
        writer.finish(&mut frame);
        out.extend_from_slice(&frame);
    }
}

#[test]
fn a_tick_takes_nothing_from_the_heap() {
    const WORKERS: usize = 2;
    const TICKS_OF_A_SIZE: u64 = 1_500;
    const STEADY: u64 = Traffic::STEADY;
    let clock = Clock::manual(1_000_000_000);
    let size = Size { workers: WORKERS, memory_bytes: 32 << 20, keys: 4_000, is_cramped: true };
    let Parts { seats, mut round, .. } = Parts::new(3, size, &clock, |_| true);
    let belts: Vec<Rc<RefCell<MemoryPort>>> = (0..WORKERS).map(|_| Rc::default()).collect();
    let (mut workers, owners) = seats.seat(belts.iter().map(BeltPort::new).collect(), None);
    let mut traffic = Traffic { random: Random::new(11), value: vec![b'v'; 64 << 10] };
    let mut of_policy = 0;
    for (phase, value_bytes) in
        [60, Traffic::FLUSHED, 400, 20_000, 150, STEADY, STEADY, STEADY, STEADY].into_iter().enumerate()
    {
        for tick in 0..TICKS_OF_A_SIZE {
            for (worker, belt) in workers.iter_mut().zip(&belts) {
                (0..24).for_each(|_| traffic.put(&mut belt.borrow_mut(), value_bytes));
                let (allocations, busy) = counted(|| worker.tick().map_err(|error| error.kind()));
                assert_eq!((allocations, busy.is_ok()), (0, true), "phase {phase}, tick {tick}");
            }
            let (allocations, _) = counted(|| run_once(&mut round, clock.now().ms(), &Limits::default()));
            of_policy += allocations;
            clock.advance(Duration::from_millis(2));
        }
        println!("phase {phase}, values up to {value_bytes} bytes: {of_policy} by the policy so far");
    }
    // A test in which nothing happens proves nothing.
    let sum = |pick: fn(&sherwood::stats::counters::OwnerCounters) -> u64| -> u64 {
        owners.iter().map(|owner| pick(owner)).sum()
    };
    let happened = [
        ("stores", sum(|owner| owner.total_items.get())),
        ("evicted by the policy", sum(|owner| owner.evicted_by_policy.get())),
        ("evicted by pressure", sum(|owner| owner.evicted_by_pressure.get())),
        ("expired", sum(|owner| owner.expired.get())),
        ("pages moved", sum(|owner| owner.pages_moved.get())),
        ("items moved", sum(|owner| owner.items_moved.get())),
        ("doublings", sum(|owner| owner.table_doublings.get())),
        ("namespaces", sum(|owner| owner.namespaces_invalidated.get())),
        ("flushes", sum(|owner| owner.cmd_flush.get())),
        ("hits", workers.iter().map(|worker| worker.counters().get_hits.get()).sum()),
        ("forwarded", workers.iter().map(|worker| worker.counters().forwarded.get()).sum()),
        ("suspended", workers.iter().map(|worker| worker.counters().suspended.get()).sum()),
        ("errors", workers.iter().map(|worker| worker.counters().protocol_errors.get()).sum()),
        ("values", belts.iter().map(|belt| belt.borrow().answers.0[b'V' as usize]).sum()),
        (
            "results of frames",
            belts.iter().map(|belt| belt.borrow().answers.0[0x80..].iter().sum::<u64>()).sum(),
        ),
    ];
    println!("{happened:?}");
    for (what, count) in happened {
        assert!(count > 0, "no {what}");
    }
}

/// Puts a pipeline of a connection onto a belt: whole commands.
fn put_pipeline(random: &mut Random, belt: &mut MemoryPort, place: u32, value: &[u8]) {
    let start = belt.bytes.len();
    let out = &mut belt.bytes;
    for _ in 0..1 + random.below(12) {
        let key = random.below(2_000);
        let bytes = if random.below(20) == 0 { random.below(6_000) } else { random.below(200) };
        let done = match random.below(16) {
            0..4 => write!(out, "get k{key}\r\n"),
            4 => write!(out, "get a k1 k2 k3 k4 k5 k6 absent k7 k{key}\r\ngets k4\r\n"),
            5 => write!(out, "mg k{key} v t f c\r\nmn\r\n"),
            6 => write!(out, "touch k{key} 3\r\ndelete k{}\r\n", key / 2),
            7 => write!(out, "set n{key} 0 0 2 noreply\r\n41\r\nincr n{key} 7\r\nma n{key}\r\n"),
            8 => write!(out, "nonsense\r\ncas k{key} 0 0 1 7\r\nb\r\n"),
            9 => write!(out, "gat 0 k{key}\r\nmg k{key} s v N30\r\nmd k{key} q\r\n"),
            _ => write!(out, "set k{key} 0 0 {bytes}\r\n")
                .and_then(|()| out.write_all(&value[..bytes as usize]))
                .and_then(|()| out.write_all(b"\r\n")),
        };
        done.expect("bytes in memory");
        if out.len() - start > STREAM_BUFFER_BYTES - 6_100 {
            break;
        }
    }
    belt.pieces.push((place, start..belt.bytes.len()));
}

#[test]
fn a_tick_over_connections_takes_nothing_from_the_heap() {
    const WORKERS: usize = 2;
    const TICKS: u64 = 3_000;
    const WARM_UP_TICKS: u64 = 500;
    let clock = Clock::manual(1_000_000_000);
    let size = Size { workers: WORKERS, memory_bytes: 32 << 20, keys: 4_000, is_cramped: false };
    let Parts { seats, mut round, .. } = Parts::new(3, size, &clock, |_| true);
    let belt = |_| Rc::new(RefCell::new(MemoryPort { connections: CONNECTIONS, ..MemoryPort::default() }));
    let belts: Vec<_> = (0..WORKERS).map(belt).collect();
    let (mut workers, _) = seats.seat(belts.iter().map(BeltPort::new).collect(), None);
    let (mut random, value) = (Random::new(5), [b'v'; 8 << 10]);
    for tick in 0..TICKS {
        for (worker, belt) in workers.iter_mut().zip(&belts) {
            for place in 0..CONNECTIONS {
                // At first all send in each tick, later about half of them.
                if tick < WARM_UP_TICKS / 2 || random.chance(50) {
                    put_pipeline(&mut random, &mut belt.borrow_mut(), place, &value);
                }
            }
            let (allocations, busy) = counted(|| worker.tick().map_err(|error| error.kind()));
            assert!(busy.is_ok() && (allocations == 0 || tick < WARM_UP_TICKS), "tick {tick}: {allocations}");
        }
        run_once(&mut round, clock.now().ms(), &Limits::default());
        clock.advance(Duration::from_millis(1));
    }
    for (worker, belt) in workers.iter().zip(&belts) {
        let (counters, belt) = (worker.counters(), belt.borrow());
        assert!(counters.get_hits.get() > 10_000 && counters.forwarded.get() > 10_000);
        assert!(belt.sends > 10_000 && belt.bytes_sent > 10 << 20, "{} {}", belt.sends, belt.bytes_sent);
    }
}

/// What the threads of this process whose names begin with `name` have taken from the heap so far.
fn allocations_of(name: &str) -> u64 {
    let threads = THREAD_IDS.iter().zip(&ALLOCATIONS).take(THREADS.load(Ordering::Relaxed));
    let named = threads.filter(|(id, _)| {
        let path = format!("/proc/self/task/{}/comm", id.load(Ordering::Relaxed));
        // A thread that has ended has no name any more.
        std::fs::read_to_string(path).is_ok_and(|comm| comm.starts_with(name))
    });
    named.map(|(_, count)| count.load(Ordering::Relaxed)).sum()
}

/// The same on real sockets, io_uring's and recvmmsg's: what the workers' threads take from the heap, they take before
/// the server is ready.
#[test]
fn a_port_takes_nothing_from_the_heap() {
    for io in [Io::Mmsg, Io::Uring] {
        let server = match Server::start(support::config(io, 1), &|_| ()) {
            Ok(server) => server,
            Err(error) => {
                assert!(io == Io::Uring, "recvmmsg works anywhere: {error}");
                println!("SKIPPED {io:?}: {error}");
                continue;
            }
        };
        let mut peer = Peer::new(server.addr());
        let value = "v".repeat(3_000);
        let mut ask = |i: usize| {
            let key = i % 40;
            assert_eq!(peer.ask(format!("set k{key} 0 0 3000\r\n{value}\r\n").as_bytes()), b"STORED\r\n");
            let reply = peer.ask(format!("get k{key} absent\r\n").as_bytes());
            assert!(reply.starts_with(b"VALUE") && reply.len() > 3_000);
            assert_eq!(peer.ask(format!("delete k{}\r\n", 100 + i).as_bytes()), b"NOT_FOUND\r\n");
        };
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        let mut ask_over_stream = |i: usize| {
            let key = i % 40;
            let request = format!("get none\r\nset s{key} 0 0 3000\r\n{value}\r\nget s{key} none\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let mut reply = vec![0; format!("END\r\nSTORED\r\nVALUE s{key} 0 3000\r\n").len() + 3_000 + 7];
            stream.read_exact(&mut reply).unwrap();
            assert!(reply.starts_with(b"END\r\nSTORED\r\nVALUE") && reply.ends_with(b"v\r\nEND\r\n"));
        };
        // The first round trip ends after the worker's start.
        ask(0);
        (0..100).for_each(&mut ask_over_stream);
        let before = allocations_of("worker-");
        assert!(before > 0, "a worker is made on its thread");
        (1..1_000).for_each(&mut ask);
        (100..1_000).for_each(&mut ask_over_stream);
        assert_eq!(allocations_of("worker-"), before, "{io:?}");
        server.stop().unwrap();
    }
}
