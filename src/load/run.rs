//! A stage of a run: threads, their intervals merged as they come, one result.

use super::client::{Client, Setup, Sink};
use super::codec::{DatagramCodec, StreamCodec, batch::Batch, meta::Meta, text::Text};
use super::datagrams::Datagrams;
use super::fill::FILL_ROUNDS_MAX;
use super::latency::Latencies;
use super::phase::{Interval, Pacing, Phase};
use super::plan::{Plan, Protocol, Stage};
use super::source::Source;
use super::streams::Streams;
use super::tally::Tally;
use super::transport::Transport;
use super::value::Values;
use super::versions::Versions;
use cache::base::clock::Clock;
use cache::base::hash::KeyHash;
use cache::base::sync::{AtomicBool, Ordering};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Intervals a thread may be ahead of the collector.
const INTERVALS_WAITING_MAX: usize = 64;
/// Time between the decision to start and the start, in nanoseconds: threads open their sockets meanwhile.
const START_DELAY_NS: u64 = 5_000_000;

/// An interval of all threads together.
pub struct Merged {
    /// Its beginning, in nanoseconds since the run's clock began.
    pub start_ns: u64,
    /// Its end.
    pub end_ns: u64,
    /// Latencies in it.
    pub latencies: Latencies,
    /// Counts since the beginning of the stage.
    pub tally: Tally,
}

/// What a stage came to.
pub struct Measured {
    /// All counts.
    pub tally: Tally,
    /// All latencies.
    pub latencies: Latencies,
    /// Measured time, in seconds.
    pub seconds: f64,
    /// Share of its time in which the busiest thread had something to do, 0..=1.
    pub busy_share: f64,
    /// Share of a processor that the busiest thread used, 0..=1.
    pub cpu_share: f64,
    /// Keys that could not be filled.
    pub unfilled: u64,
    /// Records of a trace that waited for an earlier one of their key.
    pub stalls: u64,
    /// Requests of an open loop that were due and never left: the client was too far behind.
    pub unsent: u64,
    /// Trains that had to be sent datagram by datagram, because of the path's MTU or the device.
    pub trains_split: u64,
}

/// What all stages of a run share.
pub struct Context {
    /// The clock.
    pub clock: Clock,
    /// The values.
    pub values: Values,
    /// The versions, with `--verify`.
    pub versions: Option<Arc<Versions>>,
    /// Set by anybody: the run ends early, and its result is that of the time until then.
    pub stop: Arc<AtomicBool>,
}

impl Context {
    /// For this plan.
    pub fn new(plan: &Plan) -> Context {
        let versions = plan.verify.then(|| Arc::new(Versions::new(plan.keys.keys())));
        let stop = Arc::new(AtomicBool::new(false));
        Context { clock: Clock::system(), values: Values::default(), versions, stop }
    }
}

/// Runs a stage; `each` sees every merged interval.
///
/// # Errors
/// A socket that cannot be opened, or a processor that cannot be used.
pub fn run(
    plan: &Plan,
    context: &Context,
    stage: Stage,
    each: &mut dyn FnMut(&Merged),
) -> Result<Measured, String> {
    match (plan.transport.is_stream(), plan.protocol) {
        (false, Protocol::Text) => run_with(plan, context, stage, &datagrams(Text), each),
        (false, Protocol::Meta) => run_with(plan, context, stage, &datagrams(meta(plan)), each),
        (false, Protocol::Batch) => {
            let session = KeyHash::random_seed();
            let codec = Batch::new(plan.coalesce, plan.seal, context.clock.clone(), session);
            run_with(plan, context, stage, &datagrams(codec), each)
        }
        (true, Protocol::Text) => run_with(plan, context, stage, &streams(Text), each),
        (true, Protocol::Meta) => run_with(plan, context, stage, &streams(meta(plan)), each),
        (true, Protocol::Batch) => Err(BATCH_NEEDS_UDP.into()),
    }
}

/// Why batch frames and streams do not go together.
pub const BATCH_NEEDS_UDP: &str =
    "batch frames are datagrams: use --protocol text or meta over streams, or --transport udp";

fn meta(plan: &Plan) -> Meta {
    Meta { name_keys: plan.verify }
}

/// Opens the sockets of a thread.
type Open<'a, T> = dyn Fn(&Setup, usize) -> Result<T, String> + 'a;

fn datagrams<C: DatagramCodec>(codec: C) -> impl Fn(&Setup, usize) -> Result<Datagrams<C>, String> {
    move |setup, thread| Datagrams::open(setup, codec.of_thread(thread))
}

fn streams<C: StreamCodec>(codec: C) -> impl Fn(&Setup, usize) -> Result<Streams<C>, String> {
    move |setup, thread| Streams::open(setup, codec.of_thread(thread))
}

/// What a thread says when it is done.
struct Done {
    thread_ns: u64,
    cpu_ns: u64,
    idle_ns: u64,
    unfilled: u64,
    stalls: u64,
    unsent: u64,
    split: u64,
}

fn run_with<T: Transport + Send>(
    plan: &Plan,
    context: &Context,
    stage: Stage,
    open: &Open<'_, T>,
    each: &mut dyn FnMut(&Merged),
) -> Result<Measured, String> {
    // This thread only collects; it, too, stays on the processors that the run may use.
    if !plan.cpus.is_empty() {
        numa::confine_current_thread(&plan.cpus).map_err(|e| format!("--cpus: {e}"))?;
    }
    let mut clients = Vec::new();
    for thread in 0..plan.threads {
        let setup = setup(plan, context, thread);
        let transport = open(&setup, thread)?;
        clients.push(Client::new(setup, transport));
    }
    let start_ns = context.clock.now().ns + START_DELAY_NS;
    thread::scope(|scope| {
        let mut inboxes = Vec::new();
        let mut threads = Vec::new();
        for (thread, client) in clients.into_iter().enumerate() {
            let (to_main, inbox) = sync_channel(INTERVALS_WAITING_MAX);
            let (give_back, empties) = sync_channel(INTERVALS_WAITING_MAX);
            inboxes.push((inbox, give_back));
            let body = move || work(plan, context, stage, thread, client, start_ns, to_main, empties);
            threads.push(
                thread::Builder::new().name(format!("load-{thread}")).spawn_scoped(scope, body).map_err(
                    |e| {
                        // Relaxed: a wish that publishes nothing. Those that run already are waited for.
                        context.stop.store(true, Ordering::Relaxed);
                        format!(
                            "cannot start {} threads: {e}; see --threads, ulimit -u, ulimit -v and pids.max",
                            plan.threads
                        )
                    },
                )?,
            );
        }
        let (mut measured, end_ns) = collect(&inboxes, each);
        let measure_from_ns = start_ns + warmup_ns(plan, stage);
        measured.seconds = end_ns.saturating_sub(measure_from_ns).max(1) as f64 / 1e9;
        for handle in threads {
            let done = handle.join().map_err(|_| "a thread of the load generator panicked".to_string())??;
            measured.busy_share =
                measured.busy_share.max(1.0 - done.idle_ns as f64 / done.thread_ns.max(1) as f64);
            measured.cpu_share = measured.cpu_share.max(done.cpu_ns as f64 / done.thread_ns.max(1) as f64);
            measured.unfilled += done.unfilled;
            measured.stalls += done.stalls;
            measured.unsent += done.unsent;
            measured.trains_split += done.split;
        }
        Ok(measured)
    })
}

fn setup(plan: &Plan, context: &Context, thread: usize) -> Setup {
    Setup {
        targets: plan.targets.clone(),
        connections: plan.connections_of(thread),
        in_flight_max: plan.in_flight_max(),
        batch: plan.batch,
        owners: plan.owners,
        coalesce: plan.coalesce,
        timeout_ns: plan.timeout.as_nanos() as u64,
        polling: plan.polling,
        keys: plan.keys.clone(),
        values: context.values.clone(),
        versions: context.versions.clone(),
        stop: context.stop.clone(),
        clock: context.clock.clone(),
    }
}

fn warmup_ns(plan: &Plan, stage: Stage) -> u64 {
    if stage == Stage::Fill { 0 } else { plan.warmup.as_nanos() as u64 }
}

fn planned_end_ns(plan: &Plan, stage: Stage, start_ns: u64) -> u64 {
    match stage {
        Stage::Fill => u64::MAX,
        Stage::Measure => (start_ns + warmup_ns(plan, stage)).saturating_add(plan.duration.as_nanos() as u64),
    }
}

/// The body of a thread.
#[expect(clippy::too_many_arguments, reason = "the whole of a thread's world, named once")]
fn work<T: Transport>(
    plan: &Plan,
    context: &Context,
    stage: Stage,
    thread: usize,
    mut client: Client<T>,
    start_ns: u64,
    to_main: SyncSender<Interval>,
    empties: Receiver<Box<Latencies>>,
) -> Result<Done, String> {
    if !plan.cpus.is_empty() {
        let cpu = plan.cpus[thread % plan.cpus.len()];
        numa::pin_current_thread(cpu).map_err(|e| format!("--cpus: {e}"))?;
    }
    // A sleep must end when it is due, not up to 50 µs later; without it only a sleep is less exact.
    let _ = nix::sys::prctl::set_timerslack(1);
    while context.clock.now().ns < start_ns {
        cache::base::sync::spin();
    }
    let mut phase = Phase {
        source: plan.source(stage, thread),
        pacing: plan.pacing(stage, thread, start_ns),
        start_ns,
        measure_from_ns: start_ns + warmup_ns(plan, stage),
        end_ns: planned_end_ns(plan, stage, start_ns),
        interval_ns: plan.interval.as_nanos() as u64,
        over: false,
    };
    let cpu_before_ns = context.clock.thread_cpu_ns();
    let mut sink = |interval: Interval| {
        // The collector outlives the threads; if it is gone, so is the run.
        let _ = to_main.send(interval);
        empties.try_recv().ok()
    };
    if stage == Stage::Fill {
        fill(plan, &mut client, &mut phase, &mut sink);
    } else {
        client.run(&mut phase, &mut sink);
    }
    client.finish(phase.end_ns, &mut sink);
    let (unfilled, stalls) = match &phase.source {
        Source::Fill(fill) => (fill.missing(), 0),
        Source::Replay(replay) => (0, replay.stalls),
        Source::Synthetic(_) => (0, 0),
    };
    Ok(Done {
        thread_ns: context.clock.now().ns - start_ns,
        cpu_ns: context.clock.thread_cpu_ns() - cpu_before_ns,
        idle_ns: client.idle_ns(),
        unfilled,
        stalls,
        unsent: phase.unsent(),
        split: client.trains_split(),
    })
}

/// Rounds until nothing is missing (or somebody stops the run), each with half the window of the one before: loss means that the server's
/// queue was too short for us.
fn fill<T: Transport>(plan: &Plan, client: &mut Client<T>, phase: &mut Phase, sink: &mut Sink) {
    for round in 0..FILL_ROUNDS_MAX {
        phase.pacing = Pacing::Closed { window: (plan.window >> round).max(1) };
        phase.over = false;
        client.run(phase, sink);
        let Source::Fill(fill) = &mut phase.source else { unreachable!("the stage fills") };
        if fill.missing() == 0 || phase.end_ns != u64::MAX {
            return;
        }
        fill.restart();
    }
}

/// Merges the threads' intervals, one of each at a time; the result (without times) and the end in nanoseconds.
fn collect(
    inboxes: &[(Receiver<Interval>, SyncSender<Box<Latencies>>)],
    each: &mut dyn FnMut(&Merged),
) -> (Measured, u64) {
    let mut total = Latencies::default();
    let mut tallies = vec![Tally::default(); inboxes.len()];
    let mut over = vec![false; inboxes.len()];
    let mut end_ns = 0;
    while over.iter().any(|o| !o) {
        let mut merged = Merged {
            start_ns: u64::MAX,
            end_ns: 0,
            latencies: Latencies::default(),
            tally: Tally::default(),
        };
        for (thread, (inbox, give_back)) in inboxes.iter().enumerate() {
            if over[thread] {
                continue;
            }
            let Ok(mut interval) = inbox.recv() else {
                over[thread] = true;
                continue;
            };
            merged.start_ns = merged.start_ns.min(interval.start_ns);
            merged.end_ns = merged.end_ns.max(interval.end_ns);
            merged.latencies.merge(&interval.latencies);
            tallies[thread] = interval.tally;
            over[thread] = interval.last;
            interval.latencies.clear();
            // A full return channel only means that the thread has enough of them.
            let _ = give_back.try_send(interval.latencies);
        }
        for tally in &tallies {
            merged.tally += *tally;
        }
        total.merge(&merged.latencies);
        end_ns = end_ns.max(merged.end_ns);
        each(&merged);
    }
    let mut tally = Tally::default();
    for one in tallies {
        tally += one;
    }
    let measured = Measured {
        tally,
        latencies: total,
        seconds: 0.0,
        busy_share: 0.0,
        cpu_share: 0.0,
        unfilled: 0,
        stalls: 0,
        unsent: 0,
        trains_split: 0,
    };
    (measured, end_ns)
}
