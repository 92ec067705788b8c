//! The flags of `sherwood load`, and the plan that they describe.

use super::target;
use crate::config::size;
use crate::limits::WORKERS_MAX;
use crate::load::codec::{EXPIRY_UNIX_MAX_S, TTL_RELATIVE_MAX_S, batch};
use crate::load::in_flight::{BATCH_MAX, IN_FLIGHT_MAX};
use crate::load::keys::{Distribution, KeySpace};
use crate::load::options;
use crate::load::plan::{CONNECTIONS_MAX, Plan, Protocol, THREADS_MAX};
use crate::load::replay::Trace;
use crate::load::run::BATCH_NEEDS_UDP;
use crate::load::schedule::Arrivals;
use crate::load::search::{Objective, STEP_DURATION, STEP_WARMUP};
use crate::load::sizes::Size;
use crate::load::target::Targets;
use crate::load::transport::Kind;
use crate::load::wait::Polling;
use crate::load::workload::Mix;
use protocol::batch::SealKey;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Longer than any trace: it ends by itself.
const TO_ITS_END: Duration = Duration::from_secs(1 << 30);

/// Arguments of `sherwood load`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Server; several form one cache (rendezvous hashing of the key)
    #[arg(long, required = true, value_name = "ADDR:PORT|unix:PATH")]
    pub(super) target: Vec<String>,
    /// How requests travel [default: udp; a unix:PATH: unix]
    #[arg(long, value_enum)]
    transport: Option<Kind>,
    /// What to speak; batch goes with udp only
    #[arg(long, value_enum, default_value = "text")]
    protocol: Protocol,
    /// Requests a second (open loop), or max: as fast as replies allow (closed loop)
    #[arg(long, default_value = "max", value_name = "N|max", value_parser = rate)]
    rate: Rate,
    /// Spacing of an open loop's requests
    #[arg(long, value_enum, default_value = "constant")]
    arrivals: Arrivals,
    /// Requests in flight a connection: of a closed loop, and of any over tcp and unix, where more are pipelined
    #[arg(long, default_value_t = 32, value_name = "N")]
    window: usize,
    /// Connections, all threads together [default: one a thread]
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// Threads
    #[arg(long, default_value_t = 1, value_name = "N")]
    threads: usize,
    /// Processors to pin the threads to, as in 0,2-3
    #[arg(long, value_name = "LIST", value_parser = numa::cpulist::parse)]
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
    #[arg(long, default_value = "1M", value_name = "N", value_parser = size::count)]
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
    /// Seconds to live of what is set or touched, 0 = for ever; above 30 days sent as a time
    #[arg(long, default_value_t = 0, value_name = "S")]
    ttl: u32,
    /// Keys of a get
    #[arg(long, default_value_t = 1, value_name = "N")]
    batch: usize,
    /// udp: workers of each server; keys of one worker travel together (see "Steer" in docs/protocol.md)
    #[arg(long, default_value_t = 1, value_name = "N")]
    owners: usize,
    /// udp: file with the server's secret; seal batch frames with it
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Send and receive one datagram at a time, like an ordinary client; over tcp and unix: connections take turns, a request each
    #[arg(long)]
    no_coalesce: bool,
    /// First set every key once
    #[arg(long)]
    pub(super) fill: bool,
    /// Values carry key, version and checksum; check every one that comes back
    #[arg(long)]
    verify: bool,
    /// Replay a trace (.ctr, .oracleGeneral, .txt, .keys; also .zst): a miss is followed by a set
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// At the trace's own times, the first record at once, or as fast as the window allows
    #[arg(long, value_enum, default_value = "max")]
    trace_speed: TraceSpeed,
    /// Find the highest rate at which this holds, as in 'p99<100us' or 'p999<1ms,lost<1%'
    #[arg(long, value_name = "OBJECTIVE")]
    pub(super) search: Option<Objective>,
    /// A request without a reply for this long is lost, also where the reply comes later
    #[arg(long, default_value = "200ms", value_name = "TIME", value_parser = options::duration)]
    timeout: Duration,
    /// How a thread waits for replies
    #[arg(long, value_enum, default_value = "adaptive")]
    poll: Polling,
    /// Write an HdrHistogram V2 interval log, a tag a command
    #[arg(long, value_name = "FILE.hlog")]
    pub(super) out: Option<PathBuf>,
    /// Write the result as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
}

/// How fast a trace is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum TraceSpeed {
    Recorded,
    Max,
}

impl Args {
    /// The plan that these flags describe.
    ///
    /// # Errors
    /// One line that says which flag is wrong, and what would be right.
    pub(super) fn plan(&self) -> Result<Plan, String> {
        let threads = bounded("--threads", self.threads, THREADS_MAX)?;
        let connections = bounded("--connections", self.connections.unwrap_or(threads), CONNECTIONS_MAX)?;
        let value_size =
            Size::parse_value(&self.value_size, self.seed).map_err(|why| format!("--value-size: {why}"))?;
        let key_size =
            Size::parse_key(&self.key_size, self.seed).map_err(|why| format!("--key-size: {why}"))?;
        let trace = self.load_trace(&value_size)?;
        self.check_ttl(trace.as_ref())?;
        let keys = match &trace {
            Some(trace) => KeySpace::named(trace.names.clone(), key_size)?,
            None => {
                KeySpace::numbered(self.keys, key_size).map_err(|why| format!("--keys, --key-size: {why}"))?
            }
        };
        let (duration, warmup) = self.times()?;
        let peers = target::peers(&self.target)?;
        let transport = target::transport(self.transport, &peers)?;
        self.check_transport(transport)?;
        Ok(Plan {
            targets: Targets::new(peers),
            transport,
            protocol: self.protocol,
            rate_per_s: self.rate.0,
            arrivals: self.arrivals,
            window: bounded("--window", self.window, IN_FLIGHT_MAX)?,
            connections,
            threads: threads.min(connections),
            cpus: self.cpus.clone().unwrap_or_default(),
            duration,
            requests_max: u64::MAX,
            warmup,
            seed: self.seed,
            keys,
            distribution: self.dist.clone(),
            mix: self.mix.clone(),
            value_size,
            ttl_s: self.ttl,
            batch: bounded("--batch", self.batch, BATCH_MAX)?,
            owners: bounded("--owners", self.owners, WORKERS_MAX)?,
            seal: self.seal()?,
            coalesce: !self.no_coalesce,
            verify: self.verify,
            recorded: trace.is_some() && self.trace_speed == TraceSpeed::Recorded,
            trace: trace.map(Arc::new),
            timeout: self.timeout,
            polling: self.poll,
            // Some fifty columns for a heat map; a second at most, so that the progress line moves.
            interval: (duration / 50).clamp(Duration::from_millis(100), Duration::from_secs(1)),
        })
    }

    fn load_trace(&self, value_size: &Size) -> Result<Option<Trace>, String> {
        let Some(path) = &self.trace else { return Ok(None) };
        let trace = Trace::load(path, value_size, 16).map_err(|why| format!("--trace {why}"))?;
        if self.trace_speed == TraceSpeed::Recorded && trace.is_of_one_time() {
            return Err(format!(
                "--trace-speed recorded: all {} records of {} are of one time; use --trace-speed max",
                trace.steps.len(),
                path.display()
            ));
        }
        if self.batch > 1 {
            return Err("--batch does not go with --trace: each record is a request of its own".into());
        }
        if self.search.is_some() {
            return Err("--search does not go with --trace: a trace has its own rate".into());
        }
        Ok(Some(trace))
    }

    /// How long to measure, and how long to warm up before.
    fn times(&self) -> Result<(Duration, Duration), String> {
        let (duration, warmup) = match (&self.trace, &self.search) {
            (Some(_), _) => (TO_ITS_END, Duration::ZERO),
            (None, Some(_)) => (STEP_DURATION, STEP_WARMUP),
            (None, None) => (Duration::from_secs(10), Duration::from_secs(1)),
        };
        let duration = self.duration.unwrap_or(duration);
        for (name, time) in [("--duration", duration), ("--timeout", self.timeout)] {
            if time < Duration::from_millis(1) {
                return Err(format!("{name}: at least 1ms"));
            }
        }
        Ok((duration, self.warmup.unwrap_or(warmup)))
    }

    fn seal(&self) -> Result<Option<SealKey>, String> {
        let Some(path) = &self.secret_file else { return Ok(None) };
        if self.protocol != Protocol::Batch {
            return Err("--secret-file goes with --protocol batch: only batch frames can be sealed".into());
        }
        let wrong = |why: String| format!("--secret-file {}: {why}", path.display());
        let content = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
        SealKey::new(&content).map(Some).map_err(wrong)
    }

    /// Refuses a time to live that the protocol cannot say, of the flag or of a record.
    fn check_ttl(&self, trace: Option<&Trace>) -> Result<(), String> {
        let longest =
            trace.map_or(0, |trace| trace.steps.iter().map(|step| step.ask.ttl_s).max().unwrap_or(0));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        for (flag, ttl_s) in [("--ttl", self.ttl), ("--trace: a record with a TTL of", longest)] {
            longest_ttl(self.protocol, ttl_s, now.as_secs())
                .map_err(|why| format!("{flag} {ttl_s}: {why}"))?;
        }
        Ok(())
    }

    /// Refuses what only datagrams can do.
    fn check_transport(&self, transport: Kind) -> Result<(), String> {
        if !transport.is_stream() {
            return Ok(());
        }
        if self.protocol == Protocol::Batch {
            return Err(BATCH_NEEDS_UDP.into());
        }
        if self.owners > 1 {
            return Err(
                "--owners goes with --transport udp: a connection is one worker's, whatever its keys".into(),
            );
        }
        Ok(())
    }
}

/// Requests a second; `None`: as fast as replies allow.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rate(Option<f64>);

fn rate(text: &str) -> Result<Rate, String> {
    match text {
        "max" => Ok(Rate(None)),
        _ => match size::count(text)
            .map_err(|why| format!("{why}; give a whole number of requests a second, or max"))?
        {
            0 => Err("at least 1, or max".into()),
            rate => Ok(Rate(Some(rate as f64))),
        },
    }
}

/// Whether a protocol can say this time to live.
fn longest_ttl(protocol: Protocol, ttl_s: u32, now_unix_s: u64) -> Result<(), String> {
    match protocol {
        Protocol::Batch if ttl_s > batch::TTL_MAX_S => Err(format!(
            "batch frames say milliseconds in 32 bits: at most {} seconds (49 days), or 0 for ever",
            batch::TTL_MAX_S
        )),
        Protocol::Text | Protocol::Meta
            if ttl_s > TTL_RELATIVE_MAX_S && now_unix_s + u64::from(ttl_s) > EXPIRY_UNIX_MAX_S =>
        {
            Err("memcached's protocols say no time after 19 January 2038; give fewer seconds, or 0 for ever"
                .into())
        }
        _ => Ok(()),
    }
}

fn bounded(name: &str, value: usize, most: usize) -> Result<usize, String> {
    match (1..=most).contains(&value) {
        true => Ok(value),
        false => Err(format!("{name} {value}: between 1 and {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_live_are_said_or_refused() {
        let now_s = 1_800_000_000;
        let most_s = (EXPIRY_UNIX_MAX_S - now_s) as u32;
        for protocol in [Protocol::Text, Protocol::Meta] {
            for (ttl_s, is_said) in
                [(0, true), (2_592_001, true), (most_s, true), (most_s + 1, false), (u32::MAX, false)]
            {
                assert_eq!(longest_ttl(protocol, ttl_s, now_s).is_ok(), is_said, "{ttl_s}");
            }
            // However late it is, 30 days are a time to live.
            assert!(longest_ttl(protocol, TTL_RELATIVE_MAX_S, EXPIRY_UNIX_MAX_S).is_ok());
        }
        for (ttl_s, is_said) in [(0, true), (4_294_967, true), (4_294_968, false)] {
            assert_eq!(longest_ttl(Protocol::Batch, ttl_s, now_s).is_ok(), is_said, "{ttl_s}");
        }
    }

    #[test]
    fn rates_are_whole_counts_or_max() {
        assert_eq!((rate("max"), rate("50k")), (Ok(Rate(None)), Ok(Rate(Some(50_000.0)))));
        assert!(rate("0.5").unwrap_err().contains("whole") && rate("0").unwrap_err().contains("max"));
    }
}
