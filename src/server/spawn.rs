//! Threads: wired, started, stopped and joined.

use crate::config::serve::Config;
use crate::io::socket::bind_group;
use crate::io::{Port, Waker};
use crate::limits::PARCELS_MAX;
use crate::limits::{BIND_ATTEMPTS, BIND_RETRY_MS};
use crate::server::figures::Figures;
use crate::server::histlog::{self, HistLog};
use crate::server::map;
use crate::server::metrics::{self, Endpoint};
use crate::server::policy;
use crate::server::ports::Ports;
use crate::server::reckon::Reckoning;
use crate::stats::counters::WorkerCounters;
use crate::worker::hits::Hits;
use crate::worker::parcel::Parcel;
use crate::worker::watch::Watch;
use crate::worker::{Aside, Bells, Teller, Worker, WorkerConfig};
use cache::base::clock::Clock;
use cache::base::hash::ShownHash;
use cache::base::sync::{Arc, AtomicBool, Ordering};
use cache::memory::Items;
use cache::policy::PolicyKind;
use cache::ring::{MeshEnd, mesh};
use cache::shard::Owner;
use cache::shard::owner::OwnerParts;
use cache::{Built, Cache};
use numa::pool::Kernel;
use numa::{PageKind, Plan, RegionReport};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// A running server.
pub struct Server {
    addr: SocketAddr,
    plan: Plan,
    figures: Arc<Figures>,
    stop: Arc<AtomicBool>,
    wakers: Vec<Waker>,
    workers: Vec<JoinHandle<std::io::Result<()>>>,
    policy: Option<JoinHandle<()>>,
    metrics_addr: Option<SocketAddr>,
    metrics: Option<Endpoint>,
    histlog: Option<HistLog>,
}

/// What a worker's thread needs to build its worker.
struct Seat {
    owner: OwnerParts,
    mesh: MeshEnd<Box<Parcel>>,
    bells: Bells,
    hits: Hits,
    aside: Option<Aside>,
    counters: Arc<WorkerCounters>,
    watch: Watch,
}

/// What a worker's thread that has its port is given.
pub(super) struct Assignment {
    seat: Seat,
    common: Common,
    /// Where it says that it is ready.
    ready: mpsc::Sender<Waker>,
}

/// What all workers share.
#[derive(Clone)]
struct Common {
    clock: Clock,
    config: Config,
    teller: Teller,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Plans, maps, binds and starts; returns when it serves. `progress` is told bytes as memory becomes ours.
    ///
    /// # Errors
    /// One line with the remedy.
    pub fn start(config: Config, progress: &(dyn Fn(usize) + Sync)) -> Result<Server, String> {
        let mut plan = crate::server::plan(&config)?;
        let count = plan.workers.len();
        // Sockets before memory: a busy port is found out before minutes of prefaulting.
        let sockets =
            bind_group(config.listen, count, config.socket).map_err(|e| bind_error(config.listen, &e))?;
        let (addr, steering) = (sockets[0].addr, sockets[0].granted.steering);
        // And whatever else an operator can have got wrong.
        let listener = config.metrics.map(metrics::listen).transpose()?;
        let log = config.hist_log.as_deref().map(histlog::open).transpose()?;
        if let Some(available) = Kernel::this().bytes_available(None) {
            let kind = plan.memory.kind.unwrap_or(PageKind::Small);
            plan.reasons.extend(Reckoning::of(&config, &plan).check(&config, kind, available)?);
        }
        let mut ports = Ports::open(&config, &plan, sockets)?;
        let (items, report) = map::memory(&config, &plan, progress)?;
        let clock = config.clock.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let bells = Bells::for_workers(count);
        let Built { cache, owners, hits, round, policies, hot_keys } = build_cache(&config, items, &bells);
        let figures = Arc::new(Figures {
            workers: (0..count).map(|_| Arc::default()).collect(),
            times: (0..count).map(|_| Arc::default()).collect(),
            owners: owners.iter().map(|owner| Arc::clone(&owner.counters)).collect(),
            scrapes: Arc::default(),
            histlog: Arc::default(),
            policies,
            board: hot_keys,
            hot_key_names: config.hot_keys,
            shown_hash: ShownHash::new(config.seed),
            reports: vec![report],
            pool: Arc::clone(cache.pool()),
            censuses: owners.iter().map(|owner| Arc::clone(owner.slab.census())).collect(),
            clock: clock.clone(),
            memory_bytes: config.memory_bytes,
            io: ports.io,
            steering,
        });
        let told = Arc::clone(&figures);
        let common = Common {
            clock: clock.clone(),
            config: config.clone(),
            teller: Arc::new(move |what, shards| told.stats(what, shards)),
            stop: Arc::clone(&stop),
        };
        let ends = mesh(count, PARCELS_MAX);

        let (policy_cpu, mut aside, mut thread_round) = match plan.policy {
            Some(seat) => (Some(seat.cpu.index), None, Some(round)),
            None => (None, Some(policy::cooperative(round)), None),
        };
        let (ready, when_ready) = mpsc::channel();
        plan.reasons.extend(ports.note.take());
        let mut server = Server {
            addr,
            figures: Arc::clone(&figures),
            stop: Arc::clone(&stop),
            wakers: Vec::new(),
            workers: Vec::new(),
            policy: None,
            metrics_addr: listener.as_ref().and_then(|listener| listener.local_addr().ok()),
            metrics: None,
            histlog: None,
            plan,
        };
        let parts = owners.into_iter().zip(ends).zip(hits).zip(bells);
        for (index, (((owner, mesh), hits), bells)) in parts.enumerate() {
            let hits = if config.policy == PolicyKind::None { Hits::untold() } else { Hits::new(hits) };
            let seat = Seat {
                owner,
                mesh,
                bells,
                hits,
                aside: if index + 1 == count { aside.take() } else { None },
                counters: Arc::clone(&figures.workers[index]),
                watch: Watch::new(
                    Arc::clone(&figures.times[index]),
                    clock.clone(),
                    config.watch_one_in,
                    index as u64,
                ),
            };
            let assignment = Assignment { seat, common: common.clone(), ready: ready.clone() };
            server.workers.push(ports.seat(assignment));
        }
        drop(ready);
        for _ in 0..count {
            match when_ready.recv() {
                Ok(waker) => server.wakers.push(waker),
                Err(_) => return Err(server.abandon("a worker ended before it began".into())),
            }
        }
        if let (Some(cpu), Some(round)) = (policy_cpu, thread_round.take()) {
            match spawn_policy(round, cpu, clock, stop) {
                Ok(policy) => server.policy = Some(policy),
                Err(error) => return Err(server.abandon(error)),
            }
        }
        if let Some(log) = log {
            match histlog::start(log, Arc::clone(&figures)) {
                Ok(log) => server.histlog = Some(log),
                Err(error) => return Err(server.abandon(error)),
            }
        }
        if let Some(listener) = listener {
            match metrics::serve(listener, figures, config.access) {
                Ok(endpoint) => server.metrics = Some(endpoint),
                Err(error) => return Err(server.abandon(error)),
            }
        }
        Ok(server)
    }

    /// Where it listens, the port filled in.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where metrics are served, the port filled in.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_addr
    }

    /// What runs where.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Memory, asked and granted.
    pub fn reports(&self) -> &[RegionReport] {
        &self.figures.reports
    }

    /// All figures.
    pub fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }

    /// Whether a thread has ended although nobody asked.
    pub fn has_failed(&self) -> bool {
        self.workers.iter().any(JoinHandle::is_finished)
            || self.policy.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Answers what has come in, ends all threads and waits for them.
    ///
    /// # Errors
    /// What ended a thread before its time.
    pub fn stop(self) -> Result<(), String> {
        // Release: pairs with the Acquire loads of the threads.
        self.stop.store(true, Ordering::Release);
        self.wakers.iter().for_each(Waker::wake);
        let mut result = Ok(());
        for (i, worker) in self.workers.into_iter().enumerate() {
            match worker.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => result = Err(format!("worker {i} ended: {error}")),
                Err(_) => result = Err(format!("worker {i} panicked")),
            }
        }
        if let Some(policy) = self.policy {
            policy.thread().unpark();
            if policy.join().is_err() {
                result = Err("the policy thread panicked".into());
            }
        }
        if let Some(Err(error)) = self.metrics.map(Endpoint::join) {
            result = Err(error);
        }
        if let Some(Err(error)) = self.histlog.map(HistLog::join) {
            result = Err(error);
        }
        result
    }

    fn abandon(self, error: String) -> String {
        // What went wrong first is the news.
        let _ = self.stop();
        error
    }
}

/// Builds a worker on its port, and runs it until the server stops.
pub(super) fn run_worker<P: Port>(port: P, assignment: Assignment) -> std::io::Result<()> {
    let Assignment { seat, common, ready } = assignment;
    let Common { clock, config, teller, stop } = common;
    let waker = port.waker();
    let owner = Owner::new(seat.owner);
    let mut worker = Worker::new(WorkerConfig {
        port,
        owner,
        mesh: seat.mesh,
        bells: seat.bells,
        hits: seat.hits,
        aside: seat.aside,
        clock,
        counters: seat.counters,
        watch: seat.watch,
        value_bytes_max: config.value_bytes_max,
        poll: config.poll,
        access: config.access,
        teller,
    });
    // The starter is gone only if it gave up; then `stop` is set.
    let _ = ready.send(waker);
    drop(ready);
    worker.run(&stop)
}

fn spawn_policy(
    round: cache::policy::thread::Round,
    cpu: usize,
    clock: Clock,
    stop: Arc<AtomicBool>,
) -> Result<JoinHandle<()>, String> {
    let thread = std::thread::Builder::new().name("policy".into()).spawn(move || {
        // Not pinned is slower, not wrong.
        let _ = numa::pin_current_thread(cpu);
        policy::run_thread(round, &clock, &stop);
    });
    thread.map_err(|e| format!("cannot start a thread: {e}"))
}

/// The cache that the configuration asks for, in this memory; the policy wakes owners by their workers' bells.
fn build_cache(config: &Config, items: Items, bells: &[Bells]) -> Built {
    Cache::builder()
        .shards(bells.len())
        .memory(items)
        .mean_item_bytes(config.mean_item_bytes)
        .value_bytes_max(config.value_bytes_max)
        .seed(config.seed)
        .namespace_separator(config.namespace_separator)
        .policy(config.policy, config.policy_goal)
        .wakes(bells.iter().map(Bells::alarm).collect())
        .build()
}

fn bind_error(addr: SocketAddr, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            let tried_ms = BIND_ATTEMPTS as u64 * BIND_RETRY_MS;
            format!(
                "{addr} is in use, for {tried_ms} ms already: stop the other server or choose another --listen ADDR:PORT"
            )
        }
        std::io::ErrorKind::AddrNotAvailable => format!("{addr} is no address of this machine: see ip addr"),
        std::io::ErrorKind::PermissionDenied => {
            format!("{addr} may not be bound: choose a port from 1024 on, or grant CAP_NET_BIND_SERVICE")
        }
        _ => format!("cannot listen on {addr}: {error}"),
    }
}
