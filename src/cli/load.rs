//! `sherwood load`: flags → [`Plan`] → fill, run → table, JSON, interval log, exit code.

use super::Outcome;
use crate::load::keys::{Distribution, KeySpace};
use crate::load::options;
use crate::load::plan::{CONNECTIONS_MAX, Plan, Protocol, Stage, THREADS_MAX};
use crate::load::replay::Trace;
use crate::load::report::Report;
use crate::load::run::{Context, Measured, Merged, run as run_stage};
use crate::load::schedule::Arrivals;
use crate::load::sizes::Size;
use crate::load::target::{TARGETS_MAX, Targets};
use crate::load::wait::Polling;
use crate::load::workload::{Command, Mix};
use crate::load::{in_flight, in_flight::BATCH_MAX};
use crate::stats::histogram::IntervalLog;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Arguments of `sherwood load`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Server; several form one cache (rendezvous hashing of the key)
    #[arg(long, required = true, value_name = "ADDR:PORT")]
    target: Vec<String>,
    /// What to speak
    #[arg(long, value_enum, default_value = "text")]
    protocol: Protocol,
    /// Requests a second (open loop), or max: as fast as replies allow (closed loop)
    #[arg(long, default_value = "max", value_name = "N|max")]
    rate: String,
    /// Spacing of an open loop's requests
    #[arg(long, value_enum, default_value = "constant")]
    arrivals: Arrivals,
    /// Closed loop: datagrams in flight a connection
    #[arg(long, default_value_t = 32, value_name = "N")]
    window: usize,
    /// Connections, all threads together [default: one a thread]
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// Threads
    #[arg(long, default_value_t = 1, value_name = "N")]
    threads: usize,
    /// Processors to pin the threads to, as in 0,2-3
    #[arg(long, value_name = "LIST", value_parser = options::cpus)]
    cpus: Option<std::vec::Vec<usize>>,
    /// Measured time [default: 10s; a trace: to its end]
    #[arg(long, value_name = "TIME", value_parser = options::duration)]
    duration: Option<Duration>,
    /// Time before it that is not counted [default: 1s; a trace: none]
    #[arg(long, value_name = "TIME", value_parser = options::duration)]
    warmup: Option<Duration>,
    /// Seed: the same seed asks the same
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Number of keys (k, M, G)
    #[arg(long, default_value = "1M", value_name = "N", value_parser = options::count)]
    keys: u64,
    /// Popularity: uniform, zipf:0.99, hotspot:0.1:0.9 (keys:requests), sequential
    #[arg(long, default_value = "zipf:0.99")]
    dist: Distribution,
    /// Shares of get, set, delete, touch
    #[arg(long, default_value = "get:95,set:5")]
    mix: Mix,
    /// Bytes of a key: 16, 16-40, etc, usr
    #[arg(long, default_value = "16", value_name = "SIZE")]
    key_size: String,
    /// Bytes of a value: 100, 10-1000, lognormal:MEAN:SIGMA, etc, usr
    #[arg(long, default_value = "100", value_name = "SIZE")]
    value_size: String,
    /// Seconds to live of what is set or touched, 0 = for ever
    #[arg(long, default_value_t = 0, value_name = "S")]
    ttl: u32,
    /// Keys of a get datagram
    #[arg(long, default_value_t = 1, value_name = "N")]
    batch: usize,
    /// Send and receive one datagram at a time, like an ordinary client
    #[arg(long)]
    no_coalesce: bool,
    /// First set every key once
    #[arg(long)]
    fill: bool,
    /// Values carry key, version and checksum; check every one that comes back
    #[arg(long)]
    verify: bool,
    /// Replay a trace (.ctr, .oracleGeneral, .txt; also .zst): a miss is followed by a set
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// At the trace's own times, or as fast as the window allows
    #[arg(long, value_enum, default_value = "max")]
    trace_speed: TraceSpeed,
    /// A request without a reply for this long is lost
    #[arg(long, default_value = "200ms", value_name = "TIME", value_parser = options::duration)]
    timeout: Duration,
    /// How a thread waits for replies
    #[arg(long, value_enum, default_value = "adaptive")]
    poll: Polling,
    /// Write an HdrHistogram V2 interval log, a tag a command
    #[arg(long, value_name = "FILE.hlog")]
    out: Option<PathBuf>,
    /// Write the result as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// How fast a trace is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum TraceSpeed {
    Recorded,
    Max,
}

/// Runs the subcommand.
///
/// # Errors
/// One line for people, with the remedy.
pub fn run(args: &Args) -> Outcome {
    let plan = args.plan()?;
    let context = Context::new(&plan);
    let fill = match args.fill {
        true => Some(fill(&plan, &context)?),
        false => None,
    };
    let mut log = args.open_log()?;
    let epoch_ns = context.clock.now().ns;
    let quiet = !std::io::stderr().is_terminal();
    let measured = run_stage(&plan, &context, Stage::Measure, &mut |merged| {
        if let Some(log) = &mut log
            && let Err(error) = write_interval(log, merged, epoch_ns)
        {
            eprintln!("sherwood: the interval log cannot be written: {error}");
        }
        if !quiet {
            progress(merged);
        }
    })?;
    if !quiet {
        eprint!("\r\x1b[K");
    }
    if let Some(log) = log {
        log.finish()?;
    }
    let report = Report {
        measured: &measured,
        offered_per_s: plan.rate_per_s,
        fill: fill.as_ref(),
        verify: plan.verify,
        trace: plan.trace.is_some(),
    };
    args.show(&report)?;
    judge(&report, args)
}

fn judge(report: &Report, args: &Args) -> Outcome {
    let tally = &report.measured.tally;
    if tally.answered() == 0 && tally.sent() > 0 {
        return Err(format!(
            "no reply at all from {}: is a server listening there on UDP? memcached needs -U PORT",
            args.target.join(", ")
        )
        .into());
    }
    if tally.events.wrong > 0 {
        return Err(format!("{} values of {} were wrong", tally.events.wrong, tally.events.checked).into());
    }
    Ok(ExitCode::SUCCESS)
}

fn fill(plan: &Plan, context: &Context) -> Result<Measured, String> {
    let filled = run_stage(plan, context, Stage::Fill, &mut |_| {})?;
    let counts = filled.tally.of(Command::Set);
    eprintln!(
        "fill: {} keys in {:.2} s, {} lost and sent again, {} errors, {} missing",
        plan.keys.keys() - filled.unfilled,
        filled.seconds,
        counts.lost,
        counts.errors,
        filled.unfilled
    );
    Ok(filled)
}

fn progress(merged: &Merged) {
    let all = merged.latencies.all().summary();
    let seconds = (merged.end_ns - merged.start_ns).max(1) as f64 / 1e9;
    let (answered, lost) = (merged.latencies.all().count() as f64, merged.latencies.lost.count() as f64);
    eprint!(
        "\r\x1b[K{:>11.0}/s  p50 {:.1} µs  p99 {:.1} µs  lost {:.3} %",
        answered / seconds,
        all.p50,
        all.p99,
        100.0 * lost / (answered + lost).max(1.0)
    );
}

fn write_interval<W: Write>(log: &mut IntervalLog<W>, merged: &Merged, epoch_ns: u64) -> std::io::Result<()> {
    let at = Duration::from_nanos(merged.start_ns.saturating_sub(epoch_ns));
    let length = Duration::from_nanos(merged.end_ns - merged.start_ns);
    for command in Command::ALL {
        log.write(command.name(), at, length, merged.latencies.of(command))?;
    }
    log.write("lost", at, length, &merged.latencies.lost)
}

impl Args {
    fn plan(&self) -> Result<Plan, String> {
        let bounded = |name: &str, value: usize, most: usize| {
            if (1..=most).contains(&value) {
                Ok(value)
            } else {
                Err(format!("{name} {value}: between 1 and {most}"))
            }
        };
        let threads = bounded("--threads", self.threads, THREADS_MAX)?;
        let connections = bounded("--connections", self.connections.unwrap_or(threads), CONNECTIONS_MAX)?;
        let value_size = Size::parse_value(&self.value_size, self.seed)?;
        let key_size = Size::parse_key(&self.key_size, self.seed)?;
        let trace = match &self.trace {
            Some(path) => Some(Trace::load(path, &value_size, 16)?),
            None => None,
        };
        if trace.is_some() && self.batch > 1 {
            return Err("--batch does not go with --trace: each record is a request of its own".into());
        }
        let keys = match &trace {
            Some(trace) => KeySpace::named(trace.names.clone(), key_size)?,
            None => KeySpace::numbered(self.keys, key_size)?,
        };
        let untimed = if trace.is_some() { Duration::from_secs(1 << 30) } else { Duration::from_secs(10) };
        let warmup = if trace.is_some() { Duration::ZERO } else { Duration::from_secs(1) };
        Ok(Plan {
            targets: self.targets()?,
            protocol: self.protocol,
            rate_per_s: self.rate_per_s()?,
            arrivals: self.arrivals,
            window: bounded("--window", self.window, in_flight::IN_FLIGHT_MAX)?,
            connections,
            threads: threads.min(connections),
            cpus: self.cpus.clone().unwrap_or_default(),
            duration: self.duration.unwrap_or(untimed),
            warmup: self.warmup.unwrap_or(warmup),
            seed: self.seed,
            keys,
            distribution: self.dist.clone(),
            mix: self.mix.clone(),
            value_size,
            ttl_s: self.ttl,
            batch: bounded("--batch", self.batch, BATCH_MAX)?,
            coalesce: !self.no_coalesce,
            verify: self.verify,
            recorded: trace.is_some() && self.trace_speed == TraceSpeed::Recorded,
            trace: trace.map(Arc::new),
            timeout: self.timeout,
            polling: self.poll,
            interval: Duration::from_secs(1),
        })
    }

    fn rate_per_s(&self) -> Result<Option<f64>, String> {
        match self.rate.as_str() {
            "max" => Ok(None),
            text => match options::count(text)? {
                0 => Err("--rate 0: at least 1, or max".into()),
                rate => Ok(Some(rate as f64)),
            },
        }
    }

    fn targets(&self) -> Result<Targets, String> {
        let resolve = |text: &String| -> Result<SocketAddr, String> {
            let wrong = |why: String| format!("--target {text}: {why} (example: 127.0.0.1:11211)");
            let mut found = text.to_socket_addrs().map_err(|e| wrong(e.to_string()))?;
            found.next().ok_or_else(|| wrong("no address".into()))
        };
        let addresses: Vec<SocketAddr> = self.target.iter().map(resolve).collect::<Result<_, _>>()?;
        if addresses.len() > TARGETS_MAX {
            return Err(format!("{} targets: at most {TARGETS_MAX}", addresses.len()));
        }
        Ok(Targets::new(addresses))
    }

    fn open_log(&self) -> Result<Option<IntervalLog<BufWriter<File>>>, String> {
        let Some(path) = &self.out else { return Ok(None) };
        let about = format!("sherwood load {}", self.target.join(" "));
        let wrong = |e: std::io::Error| format!("--out {}: {e}", path.display());
        let file = File::create(path).map_err(wrong)?;
        IntervalLog::begin(BufWriter::new(file), SystemTime::now(), &about).map(Some).map_err(wrong)
    }

    fn show(&self, report: &Report) -> Result<(), String> {
        match &self.json {
            Some(path) if path.as_os_str() == "-" => {
                println!("{:#}", report.json());
                eprint!("{}", report.text());
            }
            Some(path) => {
                std::fs::write(path, format!("{:#}\n", report.json()))
                    .map_err(|e| format!("--json {}: {e}", path.display()))?;
                print!("{}", report.text());
            }
            None => print!("{}", report.text()),
        }
        Ok(())
    }
}
