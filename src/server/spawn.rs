//! Threads: wired, started, stopped and joined.

use crate::config::serve::Config;
use crate::limits::{BIND_ATTEMPTS, BIND_RETRY_MS};
use crate::net::socket::listener::{self, Listener, bind_both};
use crate::net::socket::unix_listener::{UnixListener, bind_unix};
use crate::net::socket::{Socket, Sockets};
use crate::net::stream::{Demand, Handover, Quota};
use crate::net::{Port, Waker};
use crate::server::administration::Office;
use crate::server::cores::Claims;
use crate::server::doorman::{self, Doorman};
use crate::server::figures::{Figures, Settings};
use crate::server::health::{Alive, Health};
use crate::server::histlog::{self, HistLog};
use crate::server::map;
use crate::server::metrics::{self, Endpoint};
use crate::server::open_files;
use crate::server::policy;
use crate::server::ports::Ports;
use crate::server::reckon::Reckoning;
use crate::server::stats_reply::Baseline;
use crate::server::wiring::{Wiring, WorkerParts, wire};
use crate::session::profiler::TickProfiler;
use crate::session::serial::Administration;
use crate::stats::counters::WorkerCounters;
use crate::worker::{BackgroundTask, StreamSetup, Worker, WorkerConfig};
use cache::base::clock::Clock;
use cache::base::hash::ShownHash;
use cache::base::sync::{Arc, AtomicBool, Ordering};
use cache::memory::PagePool;
use cache::policy::thread::Round;
use cache::shard::Owner;
use numa::pool::Kernel;
use numa::{Affinity, PageKind, Plan, RegionReport};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// A running server.
pub struct Server {
    addr: SocketAddr,
    plan: Plan,
    /// Held until the end.
    claims: Claims,
    figures: Arc<Figures>,
    stop: Arc<AtomicBool>,
    wakers: Vec<Waker>,
    workers: Vec<JoinHandle<std::io::Result<()>>>,
    policy: Option<JoinHandle<()>>,
    metrics_addr: Option<SocketAddr>,
    metrics: Option<Endpoint>,
    histlog: Option<HistLog>,
    doorman: Option<Doorman>,
}

/// What a worker's thread needs to build its worker.
struct WorkerSetup {
    parts: WorkerParts,
    streams: StreamSetup,
    background: Option<BackgroundTask>,
    counters: Arc<WorkerCounters>,
    profiler: TickProfiler,
    alive: Alive,
}

/// What a worker's thread that has its port is given.
pub(super) struct Assignment {
    seat: WorkerSetup,
    common: SharedSetup,
    /// Where it says that it is ready.
    ready: mpsc::Sender<Waker>,
}

/// What all workers share.
#[derive(Clone)]
struct SharedSetup {
    clock: Clock,
    config: Config,
    administration: Arc<dyn Administration>,
    stop: Arc<AtomicBool>,
}

/// What is opened before there is memory: prefaulting takes minutes, and a busy port or a wrong path is found out before. Connections are
/// refused meanwhile, so that whoever can connect is answered.
struct Opened {
    addr: SocketAddr,
    tcp: listener::Bound,
    steering: bool,
    ports: Ports,
    unix: Option<UnixListener>,
    connections_max: usize,
    /// Where metrics are asked for.
    metrics: Option<Listener>,
    log: Option<histlog::Opened>,
}

impl Opened {
    fn open(config: &Config, plan: &mut Plan) -> Result<Opened, String> {
        let workers = plan.workers.len();
        let (sockets, listeners) =
            bind_both(*config.listen, workers, (config.socket, config.keep_alive), config.transport)
                .map_err(|e| bind_error(*config.listen, &e))?;
        let tcp = listener::Bound::of(&listeners).map_err(|e| bind_error(*config.listen, &e))?;
        let unix = config.unix.as_deref().map(|path| bind_path(path, config)).transpose()?;
        let steering = sockets.first().is_some_and(|socket| socket.granted.steering);
        let addr = sockets.first().map(|socket| socket.addr);
        let addr = addr.or(listeners.first().map(|listener| listener.addr)).unwrap_or(*config.listen);
        let open_files = open_files::raise(config.max_connections, workers);
        plan.reasons.extend(open_files.note);
        let metrics = config.metrics.as_deref().copied().map(metrics::bind).transpose()?;
        let log = config.hist_log.as_deref().map(histlog::open).transpose()?;
        if let Some(available) = Kernel::this().bytes_available(None) {
            let kind = plan.memory.kind.unwrap_or(PageKind::Small);
            plan.reasons.extend(Reckoning::of(config, plan).check(config, kind, available)?);
        }
        let ports = Ports::open(config, plan, of_workers(workers, sockets, listeners))?;
        plan.reasons.extend(ports.note().map(str::to_owned));
        let connections_max = open_files.connections;
        Ok(Opened { addr, tcp, steering, ports, unix, connections_max, metrics, log })
    }
}

impl Server {
    /// Plans, maps, binds and starts; returns when it serves. `progress` is told bytes as memory becomes ours.
    ///
    /// # Errors
    /// One line with the remedy.
    pub fn start(config: Config, progress: &(dyn Fn(usize) + Sync)) -> Result<Server, String> {
        let (mut plan, claims) = crate::server::claimed_plan(&config)?;
        let mut opened = Opened::open(&config, &mut plan)?;
        let (items, report) = map::memory(&config, &plan, progress)?;
        let Wiring { parts, round, policies, hot_keys, pool } = wire(&config, items, plan.workers.len());
        plan.reasons.extend(refused_values(&config, &pool, plan.workers.len()));
        let stop = Arc::new(AtomicBool::new(false));
        let figures = Arc::new(Figures {
            health: Health::new(Arc::clone(&stop)),
            workers: parts.iter().map(|_| Arc::default()).collect(),
            times: parts.iter().map(|_| Arc::default()).collect(),
            owners: parts.iter().map(|part| Arc::clone(part.owner.counters())).collect(),
            rosters: parts.iter().map(|_| Arc::default()).collect(),
            scrapes: Arc::default(),
            doorman: Arc::default(),
            histlog: Arc::default(),
            peers: Arc::default(),
            policies,
            hot_key_snapshot: hot_keys,
            hot_key_names: config.hot_keys,
            shown_hash: ShownHash::new(config.seed),
            reports: vec![report],
            pool,
            slab_stats: parts.iter().map(|part| Arc::clone(part.owner.slab_stats())).collect(),
            clock: config.clock.clone(),
            memory_bytes: config.memory_bytes,
            listen: opened.addr,
            settings: Settings {
                evicts: !config.no_eviction,
                value_bytes_max: config.value_bytes_max,
                mean_item_bytes: config.mean_item_bytes,
                policy: config.policy,
                transport: config.transport,
                unix: config.unix.clone().map(|path| (path, config.unix_mode)),
                max_connections: opened.connections_max,
                idle_timeout_s: config.idle_timeout_s,
                allow_shutdown: config.allow_shutdown,
            },
            baseline: Baseline::default(),
            io: opened.ports.backend(),
            steering: opened.steering,
        });
        let mut server = Server::without_threads(&opened, figures, plan, stop);
        server.claims = claims;
        match server.start_threads(config, &mut opened, parts, round) {
            Ok(()) => Ok(server),
            Err(error) => Err(server.abandon(error)),
        }
    }

    fn without_threads(opened: &Opened, figures: Arc<Figures>, plan: Plan, stop: Arc<AtomicBool>) -> Server {
        Server {
            addr: opened.addr,
            plan,
            claims: Claims::default(),
            figures,
            stop,
            wakers: Vec::new(),
            workers: Vec::new(),
            policy: None,
            metrics_addr: opened.metrics.as_ref().map(|listener| listener.addr),
            metrics: None,
            histlog: None,
            doorman: None,
        }
    }

    fn start_threads(
        &mut self,
        config: Config,
        opened: &mut Opened,
        parts: Vec<WorkerParts>,
        round: Round,
    ) -> Result<(), String> {
        let access = config.access.clone();
        let streams = StreamSetup {
            unsent_bytes_max: crate::limits::stream_unsent_bytes_max(
                config.memory_bytes,
                self.figures.rosters.len(),
            ),
            drain_ms: crate::limits::DRAIN_MS,
            quota: Arc::new(Quota::new(opened.connections_max)),
            idle_timeout_s: config.idle_timeout_s,
            handover: Handover::default(),
            roster: Arc::default(),
            demand: Demand::default(),
        };
        let rosters = self.figures.rosters.iter().cloned();
        let each: Vec<_> =
            rosters.map(|roster| StreamSetup { roster, ..streams.for_another_worker() }).collect();
        let handovers: Vec<_> = each.iter().map(|setup| setup.handover.clone()).collect();
        let parts = parts.into_iter().zip(each).collect::<Vec<_>>();
        // Everything is there but the workers themselves, and those have to find listening sockets.
        std::mem::take(&mut opened.tcp).listen().map_err(|e| listen_error(opened.addr, &e))?;
        match self.plan.policy_affinity() {
            Some(place) => {
                self.start_workers(config, &mut opened.ports, parts, None)?;
                self.start_policy(round, place)?;
            }
            None => {
                self.start_workers(config, &mut opened.ports, parts, Some(policy::cooperative(round)))?;
            }
        }
        if let Some(listener) = opened.unix.take() {
            let doors = handovers.into_iter().zip(self.wakers.iter().cloned()).collect();
            let counters = Arc::clone(&self.figures.doorman);
            self.doorman = Some(doorman::start(listener, doors, counters)?);
        }
        if let Some(log) = opened.log.take() {
            self.histlog = Some(histlog::start(log, Arc::clone(&self.figures))?);
        }
        if let Some(bound) = opened.metrics.take() {
            self.metrics = Some(metrics::serve(bound, Arc::clone(&self.figures), access)?);
        }
        Ok(())
    }

    /// Gives each worker's thread its parts, the last one the policy as well if that has no core of its own (`background`), and
    /// waits until all are ready.
    fn start_workers(
        &mut self,
        config: Config,
        ports: &mut Ports,
        parts: Vec<(WorkerParts, StreamSetup)>,
        mut background: Option<BackgroundTask>,
    ) -> Result<(), String> {
        let (count, figures) = (parts.len(), Arc::clone(&self.figures));
        let common = SharedSetup {
            clock: config.clock.clone(),
            administration: Arc::new(Office::open(&config, figures)?),
            config,
            stop: Arc::clone(&self.stop),
        };
        let (ready, when_ready) = mpsc::channel();
        for (parts, streams) in parts {
            let is_last = parts.owner.index() + 1 == count;
            let background = if is_last { background.take() } else { None };
            let seat = self.seat(&common, parts, streams, background);
            let assignment = Assignment { seat, common: common.clone(), ready: ready.clone() };
            self.workers.push(ports.seat(assignment));
        }
        drop(ready);
        for _ in 0..count {
            self.wakers.push(when_ready.recv().map_err(|_| "a worker ended before it began")?);
        }
        Ok(())
    }

    fn seat(
        &self,
        common: &SharedSetup,
        parts: WorkerParts,
        streams: StreamSetup,
        background: Option<BackgroundTask>,
    ) -> WorkerSetup {
        let index = parts.owner.index();
        let times = Arc::clone(&self.figures.times[index]);
        WorkerSetup {
            counters: Arc::clone(&self.figures.workers[index]),
            alive: self.figures.health.alive(),
            profiler: TickProfiler::new(
                times,
                common.clock.clone(),
                common.config.watch_one_in,
                index as u64,
            ),
            parts,
            streams,
            background,
        }
    }

    fn start_policy(&mut self, round: Round, place: Affinity) -> Result<(), String> {
        let (clock, stop) = (self.figures.clock.clone(), Arc::clone(&self.stop));
        let alive = self.figures.health.alive();
        let thread = std::thread::Builder::new().name("policy".into()).spawn(move || {
            // Not pinned is slower, not wrong.
            let _ = place.apply();
            policy::run_thread(round, &clock, &stop);
            drop(alive);
        });
        self.policy = Some(thread.map_err(|e| crate::server::no_thread("policy", &e))?);
        Ok(())
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

    /// Opens the file of `--hist-log` again, so that one that was moved away is replaced by a new one. What came of it is said on
    /// stderr. Returns whether there is such a file.
    pub fn reopen_hist_log(&self) -> bool {
        self.histlog.as_ref().inspect(|log| log.reopen()).is_some()
    }

    /// Answers what has come in, ends all threads and waits for them.
    ///
    /// # Errors
    /// What ended a thread before its time.
    pub fn stop(self) -> Result<(), String> {
        // First, so that the workers are there for its last connections.
        let mut result = self.doorman.map_or(Ok(()), Doorman::join);
        // Release: pairs with the Acquire loads of the threads.
        self.stop.store(true, Ordering::Release);
        self.wakers.iter().for_each(Waker::wake);
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
    let SharedSetup { clock, config, administration, stop } = common;
    let waker = port.waker();
    let WorkerParts { owner, participant, mesh, wakeups, hits } = seat.parts;
    let worker = Worker::new(WorkerConfig {
        port,
        owner: Owner::new(owner),
        participant,
        mesh,
        wakeups,
        hits,
        background: seat.background,
        clock,
        counters: seat.counters,
        profiler: seat.profiler,
        value_bytes_max: config.value_bytes_max,
        poll: config.poll,
        access: config.access,
        administration,
        streams: seat.streams,
    });
    // The starter is gone only if it gave up; then `stop` is set.
    let _ = ready.send(waker);
    drop(ready);
    let _alive = seat.alive;
    worker.run(&stop)
}

/// What the operator should know where values may be longer than this memory takes.
fn refused_values(config: &Config, pool: &PagePool, workers: usize) -> Option<String> {
    // As the owner of a shard reckons: an item has half of its pages at most.
    let most_bytes = pool.slab_pages() / workers * pool.layout().page_bytes / 2;
    (config.value_bytes_max > most_bytes).then(|| {
        format!(
            "values of {} KiB and more are refused as too large: they have half of a worker's memory at most; for all of --value-max give \
             more --memory or fewer --workers",
            most_bytes >> 10
        )
    })
}

/// What each worker listens on.
fn of_workers(workers: usize, sockets: Vec<Socket>, listeners: Vec<Listener>) -> Vec<Sockets> {
    let (mut sockets, mut listeners) = (sockets.into_iter(), listeners.into_iter());
    (0..workers).map(|_| Sockets { datagrams: sockets.next(), streams: listeners.next() }).collect()
}

fn bind_path(path: &Path, config: &Config) -> Result<UnixListener, String> {
    bind_unix(path, config.unix_mode.bits()).map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::AddrInUse => "another server answers there; stop it, or choose another path",
            ErrorKind::AlreadyExists => "remove it, or choose another path",
            ErrorKind::PermissionDenied if path.exists() => {
                "start the server as the user who owns the file, have that user remove it if no server is behind it, or choose \
                 another path"
            }
            _ => "choose a path in a folder that exists and may be written to",
        };
        format!("--unix {}: {error}; {remedy}", path.display())
    })
}

fn listen_error(addr: SocketAddr, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => format!(
            "{addr} is in use: another server began to listen on it while this one started; stop it or choose another --listen \
             ADDR:PORT"
        ),
        _ => format!("cannot listen on {addr}: {error}"),
    }
}

fn bind_error(addr: SocketAddr, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => {
            let tried_ms = BIND_ATTEMPTS as u64 * BIND_RETRY_MS;
            format!(
                "{addr} is in use, for {tried_ms} ms already: stop the other server or choose another --listen ADDR:PORT"
            )
        }
        ErrorKind::AddrNotAvailable => format!("{addr} is no address of this machine: see ip addr"),
        ErrorKind::PermissionDenied => {
            format!("{addr} may not be bound: choose a port from 1024 on, or grant CAP_NET_BIND_SERVICE")
        }
        _ => format!("cannot listen on {addr}: {error}"),
    }
}
