//! The configuration of `serve`: flags over a TOML file over defaults become one valid [`Config`].

use crate::clock::Clock;
use crate::config::{limits, size};
use crate::io::socket::SocketConfig;
use crate::policy::{Goal, PolicyKind};
use crate::worker::Poll;
use crate::worker::access::{Access, Cidr};
use crate::worker::cookie::Secret;
use clap::ValueEnum;
use numa::{CpuList, Huge, Workers};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Every option of `serve`, as flags and as keys of the TOML file (with `_` for `-`). A flag wins over the file.
#[derive(clap::Args, Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Address to serve on; port 0 picks a free one [default: 127.0.0.1:11211]
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Worker threads, each with a core of its own; auto = usable CPUs less one [default: auto]
    #[arg(long, value_name = "N|auto")]
    pub workers: Option<String>,
    /// CPUs for all threads, workers first [default: all that the process may use]
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<String>,
    /// NUMA node for threads and memory [default: chosen by the plan]
    #[arg(long, value_name = "N")]
    pub node: Option<usize>,
    /// Memory for items and index. Beside it the server takes 13 MiB a worker, 8 MiB, and for the policy 20 bytes an item (s3fifo:
    /// 30, none: 0) [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Pages: auto takes the largest that there are [default: auto]
    #[arg(long, value_name = "auto|1g|2m|thp|off")]
    pub huge: Option<String>,
    /// Keep the memory out of swap
    #[arg(long)]
    pub mlock: bool,
    /// Bytes that an item is expected to take with its header, to size the index [default: 128]
    #[arg(long, value_name = "SIZE")]
    pub mean_item: Option<String>,
    /// Way to the network; auto takes io_uring where it works [default: auto]
    #[arg(long, value_enum, value_name = "auto|uring|mmsg")]
    pub io: Option<Io>,
    /// Let addresses alone decide which worker gets a batch frame, and not its first key
    #[arg(long)]
    pub no_steering: bool,
    /// How an idle worker waits [default: adaptive]
    #[arg(long, value_enum, value_name = "busy|adaptive|block")]
    pub poll: Option<PollMode>,
    /// Eviction policy. Needs up to 20 bytes per item on top of --memory (s3fifo: up to 30). `none` evicts by sampled LRU and
    /// disables hot-key statistics [default: wtinylfu]
    #[arg(long, value_name = "wtinylfu|s3fifo|lru|none")]
    pub policy: Option<String>,
    /// What a good cache is: most hits, or most bytes served [default: objects]
    #[arg(long, value_name = "objects|bytes")]
    pub policy_goal: Option<String>,
    /// Largest value; a UDP request carries at most 64 KiB [default: 1MiB]
    #[arg(long, value_name = "SIZE")]
    pub value_max: Option<String>,
    /// Character at which the namespace of a key ends; deleting the key that ends with it invalidates the namespace
    /// [default: off]
    #[arg(long, value_name = "CHAR")]
    pub namespace_separator: Option<String>,
    /// Network that gets answers, beside loopback; may be repeated. Source addresses can be forged: use it only where
    /// the network filters them
    #[arg(long, value_name = "CIDR")]
    pub allow: Vec<String>,
    /// Network that may also use stats and flush_all, beside loopback; may be repeated
    #[arg(long, value_name = "CIDR")]
    pub admin: Vec<String>,
    /// File with a secret of 16 bytes or more: any other address may then read and write after it has shown, with a
    /// cookie, that it can be reached, or, with a seal on its batch frames, that it knows the secret
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// Serve Prometheus metrics over HTTP on this address, to loopback and to the networks of --allow and --admin
    /// [default: off]
    #[arg(long, value_name = "ADDR:PORT")]
    pub metrics: Option<SocketAddr>,
    /// Write the workers' histograms to this HdrHistogram log, once a second [default: off]
    #[arg(long, value_name = "FILE")]
    pub hist_log: Option<PathBuf>,
    /// How stats shows the most read keys: by a hash, with the first 8 bytes, or wholly [default: hash]
    #[arg(long, value_enum, value_name = "hash|prefix|full")]
    pub hot_keys: Option<KeyNames>,
    /// Time one tick in so many, on average; 0 = none [default: 16]
    #[arg(long, value_name = "N")]
    pub watch_one_in: Option<u32>,
}

/// Which port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Io {
    /// io_uring if it works.
    #[default]
    Auto,
    /// io_uring.
    Uring,
    /// recvmmsg and sendmsg.
    Mmsg,
}

/// How an idle worker waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PollMode {
    /// Never sleeps.
    Busy,
    /// Spins for 50 µs, then sleeps.
    #[default]
    Adaptive,
    /// Sleeps at once.
    Block,
}

/// How much of a key people are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyNames {
    /// Half of its hash, which says nothing outside of this process.
    #[default]
    Hash,
    /// The hash and the first bytes.
    Prefix,
    /// The hash and the key.
    Full,
}

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address to serve on.
    pub listen: SocketAddr,
    /// How many workers.
    pub workers: Workers,
    /// CPUs for all threads.
    pub cpus: Option<CpuList>,
    /// Node for threads and memory.
    pub node: Option<usize>,
    /// Bytes of items and index.
    pub memory_bytes: usize,
    /// Pages.
    pub huge: Huge,
    /// Keep the memory out of swap.
    pub mlock: bool,
    /// Bytes that an item is expected to take.
    pub mean_item_bytes: usize,
    /// Which port.
    pub io: Io,
    /// How an idle worker waits.
    pub poll: Poll,
    /// Who is evicted.
    pub policy: PolicyKind,
    /// What a good cache is.
    pub goal: Goal,
    /// Largest value, in bytes.
    pub value_bytes_max: usize,
    /// Where the namespace of a key ends; `None`: keys have none.
    pub namespace_separator: Option<u8>,
    /// Who may ask for what.
    pub access: Access,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// Where the workers' histograms are logged.
    pub hist_log: Option<PathBuf>,
    /// How much of the most read keys is shown.
    pub hot_keys: KeyNames,
    /// One tick in so many is timed; 0 = none.
    pub watch_one_in: u32,
    /// What sockets ask for.
    pub socket: SocketConfig,
    /// Seed of the key hash; random unless a test wants the same run twice.
    pub seed: u64,
    /// Where time comes from; the system unless a test moves it.
    pub clock: Clock,
}

impl Options {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// One line: what is wrong with the file, and where.
    pub fn from_file(path: &Path) -> Result<Options, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| format!("cannot read the configuration {}: {e}", path.display()))?;
        toml::from_str(&text).map_err(|e| {
            let line = e.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
            format!("{}, line {line}: {} (sherwood serve --help lists the keys)", path.display(), e.message())
        })
    }

    /// These options where they are set, `file`'s where they are not.
    pub fn over(self, file: Options) -> Options {
        Options {
            listen: self.listen.or(file.listen),
            workers: self.workers.or(file.workers),
            cpus: self.cpus.or(file.cpus),
            node: self.node.or(file.node),
            memory: self.memory.or(file.memory),
            huge: self.huge.or(file.huge),
            mlock: self.mlock || file.mlock,
            mean_item: self.mean_item.or(file.mean_item),
            io: self.io.or(file.io),
            no_steering: self.no_steering || file.no_steering,
            poll: self.poll.or(file.poll),
            policy: self.policy.or(file.policy),
            policy_goal: self.policy_goal.or(file.policy_goal),
            value_max: self.value_max.or(file.value_max),
            namespace_separator: self.namespace_separator.or(file.namespace_separator),
            allow: if self.allow.is_empty() { file.allow } else { self.allow },
            admin: if self.admin.is_empty() { file.admin } else { self.admin },
            secret_file: self.secret_file.or(file.secret_file),
            metrics: self.metrics.or(file.metrics),
            hist_log: self.hist_log.or(file.hist_log),
            hot_keys: self.hot_keys.or(file.hot_keys),
            watch_one_in: self.watch_one_in.or(file.watch_one_in),
        }
    }

    /// The same with every default filled in.
    pub fn with_defaults(self) -> Options {
        let text = |value: Option<String>, default: &str| value.or_else(|| Some(default.into()));
        Options {
            listen: self.listen.or_else(|| Some(DEFAULT_LISTEN.parse().expect("a valid address"))),
            workers: text(self.workers, "auto"),
            memory: text(self.memory, "1GiB"),
            huge: text(self.huge, "auto"),
            mean_item: text(self.mean_item, "128"),
            io: self.io.or(Some(Io::Auto)),
            poll: self.poll.or(Some(PollMode::Adaptive)),
            policy: text(self.policy, "wtinylfu"),
            policy_goal: text(self.policy_goal, "objects"),
            value_max: text(self.value_max, "1MiB"),
            hot_keys: self.hot_keys.or(Some(KeyNames::Hash)),
            watch_one_in: self.watch_one_in.or(Some(limits::WATCH_ONE_IN_DEFAULT)),
            ..self
        }
    }

    /// The options as a TOML file, defaults included.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.clone().with_defaults()).expect("options are plain values")
    }

    /// Checks everything.
    ///
    /// # Errors
    /// One line: what is wrong and what would be right.
    pub fn check(self) -> Result<Config, String> {
        let options = self.with_defaults();
        let listen = options.listen.expect("a default");
        let access = Access {
            allow: networks(&options.allow)?,
            admin: networks(&options.admin)?,
            secret: options.secret_file.as_deref().map(secret).transpose()?,
            distrust_loopback: false,
        };
        if is_group(listen.ip().to_canonical()) {
            return Err(format!(
                "--listen {listen} is a broadcast or multicast address: give an address of this machine"
            ));
        }
        if !listen.ip().to_canonical().is_loopback() && access.allow.is_empty() && access.secret.is_none() {
            return Err(format!(
                "--listen {listen} is open to the network: name who may ask with --allow CIDR, let others prove \
                 their address with --secret-file FILE, or listen on 127.0.0.1"
            ));
        }
        if let Some(metrics) = options.metrics.filter(|addr| !addr.ip().to_canonical().is_loopback())
            && access.allow.is_empty()
            && access.admin.is_empty()
        {
            return Err(format!(
                "--metrics {metrics} is open to the network: name who may scrape with --allow CIDR or --admin CIDR, or \
                 serve metrics on 127.0.0.1"
            ));
        }
        let memory_bytes = bytes("memory", options.memory)?;
        if memory_bytes < limits::MEMORY_BYTES_MIN {
            return Err(format!(
                "--memory {memory_bytes} bytes is too small: at least 16MiB, and 16MiB per worker"
            ));
        }
        let value_bytes_max = bytes("value-max", options.value_max)?;
        if !(1..=limits::VALUE_BYTES_LIMIT).contains(&value_bytes_max) {
            return Err(format!("--value-max must be 1 to {} bytes", limits::VALUE_BYTES_LIMIT));
        }
        let mean_item_bytes = bytes("mean-item", options.mean_item)?.clamp(32, 1 << 20);
        Ok(Config {
            listen,
            workers: parse("workers", options.workers)?,
            cpus: options.cpus.map(|list| list.parse()).transpose()?,
            node: options.node,
            memory_bytes,
            huge: parse("huge", options.huge)?,
            mlock: options.mlock,
            mean_item_bytes,
            io: options.io.unwrap_or_default(),
            poll: match options.poll.unwrap_or_default() {
                PollMode::Busy => Poll::Busy,
                PollMode::Adaptive => Poll::Adaptive,
                PollMode::Block => Poll::Block,
            },
            policy: parse("policy", options.policy)?,
            goal: parse("policy-goal", options.policy_goal)?,
            value_bytes_max,
            namespace_separator: options.namespace_separator.as_deref().map(separator).transpose()?,
            access,
            metrics: options.metrics,
            hist_log: options.hist_log,
            hot_keys: options.hot_keys.unwrap_or_default(),
            watch_one_in: options.watch_one_in.expect("a default"),
            socket: SocketConfig {
                receive_buffer_bytes: limits::SOCKET_BUFFER_BYTES,
                send_buffer_bytes: limits::SOCKET_BUFFER_BYTES,
                gro: true,
                steering: !options.no_steering,
            },
            seed: crate::hash::KeyHash::random_seed(),
            clock: Clock::system(),
        })
    }
}

const DEFAULT_LISTEN: &str = "127.0.0.1:11211";

/// The options of a command line and of the file that it names.
///
/// # Errors
/// As [`Options::from_file`].
pub fn effective(flags: Options, file: Option<&PathBuf>) -> Result<Options, String> {
    match file {
        None => Ok(flags),
        Some(path) => Ok(flags.over(Options::from_file(path)?)),
    }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
    name: &str,
    text: Option<String>,
) -> Result<T, String> {
    let text = text.unwrap_or_default();
    text.parse().map_err(|e| format!("--{name} {text}: {e}"))
}

fn bytes(name: &str, text: Option<String>) -> Result<usize, String> {
    let text = text.unwrap_or_default();
    size::bytes(&text).map_err(|e| format!("--{name} {text}: {e}"))
}

fn is_group(ip: IpAddr) -> bool {
    ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
}

fn separator(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [byte] if byte.is_ascii_graphic() => Ok(*byte),
        _ => Err(format!("--namespace-separator {text}: give one visible ASCII character, such as :")),
    }
}

fn secret(path: &Path) -> Result<Secret, String> {
    let content =
        std::fs::read(path).map_err(|e| format!("cannot read the secret file {}: {e}", path.display()))?;
    Secret::new(&content).map_err(|e| format!("{}: {e}", path.display()))
}

fn networks(texts: &[String]) -> Result<Vec<Cidr>, String> {
    texts.iter().map(|text| text.parse()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_defaults_fill_the_rest() {
        let file: Options = toml::from_str("memory = \"64MiB\"\npoll = \"busy\"\nnode = 1").unwrap();
        let flags = Options { memory: Some("32MiB".into()), ..Options::default() };
        let config = flags.over(file).check().unwrap();
        assert_eq!((config.memory_bytes, config.poll, config.node), (32 << 20, Poll::Busy, Some(1)));
        assert_eq!(config.listen.to_string(), "127.0.0.1:11211");
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        let text = Options::default().to_toml();
        let again: Options = toml::from_str(&text).unwrap();
        assert_eq!(again.to_toml(), text);
    }

    #[test]
    fn mistakes_are_named() {
        let with = |f: fn(&mut Options)| {
            let mut options = Options::default();
            f(&mut options);
            options.check().unwrap_err()
        };
        assert!(with(|o| o.memory = Some("1KiB".into())).contains("too small"));
        assert!(with(|o| o.memory = Some("much".into())).contains("--memory"));
        assert!(with(|o| o.listen = Some("0.0.0.0:1".parse().unwrap())).contains("--allow"));
        for group in ["224.0.0.1:1", "255.255.255.255:1", "[ff02::1]:1"] {
            let options = Options { listen: Some(group.parse().unwrap()), ..Options::default() };
            assert!(options.check().unwrap_err().contains("multicast"), "{group}");
        }
        assert!(with(|o| o.namespace_separator = Some("::".into())).contains("one visible"));
        assert!(with(|o| o.policy = Some("best".into())).contains("known"));
        assert!(with(|o| o.allow = vec!["nonsense".into()]).contains("no network"));
        assert!(toml::from_str::<Options>("memroy = \"1GiB\"").is_err());
    }
}
