//! Every option of `serve`, once. From this list follow the flags and their help, the keys of the TOML file, the defaults, and what
//! `--print-config` prints.
//!
//! ```text
//! flags given ─▶ over ─▶ file ─▶ over ─▶ defaults   =   Options ─▶ check ─▶ Config
//! ```
//! An option with a default has a plain type, one that may be missing is an `Option`. Its key in the file is its flag with `_` for `-`.

use crate::config::address::Address;
use crate::config::mode::{self, FileMode};
use crate::config::{printed, size, text};
use crate::guard::Cidr;
use crate::limits;
use crate::net::socket::transports::Transports;
use crate::worker::Poll;
use cache::policy::{Goal, PolicyKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use numa::{CpuList, Huge, Pin, Workers};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What flags, file and defaults say.
#[derive(Args, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Address to serve on, or a name of this machine; port 0 picks a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:11211")]
    #[serde(with = "text::one")]
    pub listen: Address,
    /// Transports of --listen: udp,tcp, one of them, or none where --unix is all that is wanted. TCP serves loopback and the
    /// networks of --allow and --admin; addresses that only --secret-file lets in use UDP
    #[arg(long, value_name = "LIST", default_value = "udp,tcp")]
    #[serde(with = "text::one")]
    pub transport: Transports,
    /// Also serve on this UNIX stream socket; whoever may open it may use every command [default: off]
    #[arg(long, value_name = "PATH")]
    pub unix: Option<PathBuf>,
    /// Permissions of the file of --unix, in octal; a configuration file has them in quotes
    #[arg(long, value_name = "MODE", default_value = "700")]
    #[serde(with = "mode")]
    pub unix_mode: FileMode,
    /// Connections at once, over TCP and UNIX together; one more is told `ERROR Too many open connections` and closed. The limit of
    /// open files is raised to fit
    #[arg(long, value_name = "N", default_value_t = limits::CONNECTIONS_DEFAULT)]
    pub max_connections: usize,
    /// Close connections that sent nothing for this many seconds; 0 = never
    #[arg(id = "idle_timeout", long = "idle-timeout", value_name = "S", default_value_t = 0, value_parser = whole_seconds)]
    #[serde(rename = "idle_timeout")]
    pub idle_timeout_s: u64,
    /// Let connections of administrators end the server with the command shutdown
    #[arg(long)]
    pub allow_shutdown: bool,
    /// File that names the servers of the cluster, one `HOST|IP PORT` a line; connections get it as the answer to
    /// `config get cluster` (auto discovery). Read again when it changes [default: off]
    #[arg(long, value_name = "FILE")]
    pub peers: Option<PathBuf>,
    /// Worker threads, each with a core of its own; auto = usable CPUs less one
    #[arg(long, value_name = "N|auto", default_value = "auto")]
    #[serde(with = "text::one")]
    pub workers: Workers,
    /// CPUs for all threads, workers first [default: all that the process may use]
    #[arg(long, value_name = "LIST")]
    #[serde(with = "text::option")]
    pub cpus: Option<CpuList>,
    /// NUMA node for threads and memory [default: chosen by the plan]
    #[arg(long, value_name = "N")]
    pub node: Option<usize>,
    /// Threads that keep a CPU each: auto pins all where every one gets a core that no other server has pinned and that is not busy,
    /// or where --cpus names the CPUs; else, and with none, the kernel moves them. cores pins whoever else is there
    #[arg(long, value_name = "auto|cores|none", default_value = "auto")]
    #[serde(with = "text::one")]
    pub pin: Pin,
    /// Memory for items and index. Beside it the server takes 16 MiB a worker (22 MiB with several), 8 MiB, for the policy up to 20 bytes
    /// an item (s3fifo: 30, none: 0), and up to 44 MiB a worker while connections do not read
    #[arg(id = "memory", long = "memory", value_name = "SIZE", default_value = "1GiB", value_parser = size::bytes)]
    #[serde(rename = "memory", with = "size")]
    pub memory_bytes: usize,
    /// Pages: auto takes the largest that there are
    #[arg(long, value_name = "auto|1g|2m|thp|off", default_value = "auto")]
    #[serde(with = "text::one")]
    pub huge: Huge,
    /// Keep the memory out of swap
    #[arg(long)]
    pub mlock: bool,
    /// Bytes that an item is expected to take with its header, to size the index
    #[arg(id = "mean_item", long = "mean-item", value_name = "SIZE", default_value = "128", value_parser = size::bytes)]
    #[serde(rename = "mean_item", with = "size")]
    pub mean_item_bytes: usize,
    /// Refuse new items when memory is full (SERVER_ERROR out of memory storing object) instead of evicting, as memcached's -M.
    /// Expired items make room all the same; --policy decides nothing then
    #[arg(long)]
    pub no_eviction: bool,
    /// Way to the network; auto takes io_uring where it works
    #[arg(long, value_enum, value_name = "auto|uring|mmsg", default_value = "auto")]
    pub io: Io,
    /// Let addresses alone decide which worker gets a batch frame, and not its first key
    #[arg(long)]
    pub no_steering: bool,
    /// How an idle worker waits
    #[arg(long, value_enum, value_name = "busy|adaptive|block", default_value = "adaptive")]
    pub poll: Poll,
    /// Eviction policy. Needs up to 20 bytes per item on top of --memory (s3fifo: up to 30). `none` evicts by sampled LRU and
    /// disables hot-key statistics
    #[arg(long, value_name = "wtinylfu|s3fifo|lru|none", default_value = "wtinylfu")]
    #[serde(with = "text::one")]
    pub policy: PolicyKind,
    /// What a good cache is: most hits, or most bytes served
    #[arg(long, value_name = "objects|bytes", default_value = "objects")]
    #[serde(with = "text::one")]
    pub policy_goal: Goal,
    /// Largest value; a UDP request carries at most 64 KiB
    #[arg(id = "value_max", long = "value-max", value_name = "SIZE", default_value = "1MiB", value_parser = size::bytes)]
    #[serde(rename = "value_max", with = "size")]
    pub value_bytes_max: usize,
    /// Character at which the namespace of a key ends; deleting the key that ends with it invalidates the namespace
    /// [default: off]
    #[arg(long, value_name = "CHAR", value_parser = separator::parse)]
    #[serde(with = "separator")]
    pub namespace_separator: Option<u8>,
    /// Network that gets answers, beside loopback; may be repeated. Source addresses can be forged: use it only where
    /// the network filters them
    #[arg(long, value_name = "CIDR")]
    #[serde(with = "text::list")]
    pub allow: Vec<Cidr>,
    /// Network that may also use stats and flush_all, beside loopback; may be repeated
    #[arg(long, value_name = "CIDR")]
    #[serde(with = "text::list")]
    pub admin: Vec<Cidr>,
    /// File with a secret of 16 bytes or more: any other address may then read and write over UDP after it has shown, with a
    /// cookie, that it can be reached, or, with a seal on its batch frames, that it knows the secret
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// Serve Prometheus metrics over HTTP on this address, to loopback and to the networks of --allow and --admin
    /// [default: off]
    #[arg(long, value_name = "ADDR:PORT")]
    #[serde(with = "text::option")]
    pub metrics: Option<Address>,
    /// Append the workers' histograms to this HdrHistogram log, once a second; SIGHUP opens it again [default: off]
    #[arg(long, value_name = "FILE")]
    pub hist_log: Option<PathBuf>,
    /// How stats shows the most read keys: by a hash, with the first 8 bytes, or wholly
    #[arg(long, value_enum, value_name = "hash|prefix|full", default_value = "hash")]
    pub hot_keys: KeyNames,
    /// Time one tick in so many, on average; 0 = none
    #[arg(long, value_name = "N", default_value_t = limits::WATCH_ONE_IN_DEFAULT)]
    pub watch_one_in: u32,
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

/// The defaults.
impl Default for Options {
    fn default() -> Options {
        let mut matches = Options::augment_args(Command::new("serve")).get_matches_from(["serve"]);
        Options::from_arg_matches_mut(&mut matches).expect("every option has a default or may be missing")
    }
}

impl Options {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// One line: what is wrong with the file, and where.
    pub fn from_file(path: &Path) -> Result<Options, String> {
        let wrong = |why: &dyn Display| format!("cannot read the configuration {}: {why}", path.display());
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(|e| wrong(&e))?;
        file.take(limits::CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| wrong(&e))?;
        if bytes.len() as u64 > limits::CONFIG_BYTES_MAX {
            return Err(wrong(&format_args!("it is longer than {} bytes", limits::CONFIG_BYTES_MAX)));
        }
        let text = String::from_utf8(bytes).map_err(|e| {
            let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
            let line = good.iter().filter(|&&byte| byte == b'\n').count() + 1;
            wrong(&format_args!("line {line} is not UTF-8; save it as UTF-8"))
        })?;
        toml::from_str(&text).map_err(|e| format!("{}, {}", path.display(), printed::mistake(&text, &e)))
    }

    /// The keys that have a value, and their values.
    ///
    /// # Errors
    /// As [`Options::to_toml`].
    pub(super) fn to_table(&self) -> Result<toml::Table, String> {
        toml::Table::try_from(self).map_err(not_toml)
    }

    /// The options as a TOML file, defaults included.
    ///
    /// # Errors
    /// A path that is not UTF-8: TOML cannot name it.
    pub fn to_toml(&self) -> Result<String, String> {
        toml::to_string(self).map_err(not_toml)
    }
}

/// The options of a command line, and which of them it names.
#[derive(Clone, Debug)]
pub struct Flags {
    options: Options,
    given: BTreeSet<String>,
}

impl Flags {
    /// The flags where they are given, the file's options where they are not, defaults elsewhere.
    ///
    /// # Errors
    /// As [`Options::from_file`].
    pub fn over(&self, file: Option<&Path>) -> Result<Options, String> {
        match file {
            None => Ok(self.options.clone()),
            Some(path) => self.over_options(&Options::from_file(path)?),
        }
    }

    fn over_options(&self, file: &Options) -> Result<Options, String> {
        let mut merged = toml::Table::try_from(file).map_err(not_toml)?;
        let flags = toml::Table::try_from(&self.options).map_err(not_toml)?;
        merged.extend(flags.into_iter().filter(|(key, _)| self.given.contains(key)));
        merged.try_into().map_err(|e: toml::de::Error| e.message().to_owned())
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Flags, clap::Error> {
        let is_given = |id: &&clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        let given = matches.ids().filter(is_given).map(|id| id.to_string()).collect();
        Ok(Flags { options: Options::from_arg_matches(matches)?, given })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Flags::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        Options::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Options::augment_args_for_update(command)
    }
}

fn not_toml(error: toml::ser::Error) -> String {
    format!("the options cannot be written as TOML: {error}")
}

/// A namespace ends at one visible character.
mod separator {
    use crate::config::text;
    use serde::de::{Deserializer, Error};
    use serde::ser::Serializer;

    pub fn parse(text: &str) -> Result<u8, String> {
        match text.as_bytes() {
            [byte] if byte.is_ascii_graphic() => Ok(*byte),
            _ => Err(format!("{text:?} is not a separator: give one visible ASCII character, such as :")),
        }
    }

    pub fn serialize<S: Serializer>(byte: &Option<u8>, to: S) -> Result<S::Ok, S::Error> {
        match byte {
            Some(byte) => to.collect_str(&(*byte as char)),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u8>, D::Error> {
        parse(&text::words(from)?).map(Some).map_err(D::Error::custom)
    }
}

/// Reads a number of seconds.
fn whole_seconds(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no whole number of seconds; write 60 for a minute, or 0 for never"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every option, each with another value than its default.
    const ALL: &str = r#"listen = "127.0.0.1:7"
transport = "tcp"
unix = "/run/sherwood.sock"
unix_mode = "770"
max_connections = 100
idle_timeout = 60
allow_shutdown = true
peers = "peers.txt"
workers = "3"
cpus = "0-2,5"
node = 1
pin = "none"
memory = "1536MiB"
huge = "2m"
mlock = true
mean_item = "200"
no_eviction = true
io = "mmsg"
no_steering = true
poll = "block"
policy = "s3fifo"
policy_goal = "bytes"
value_max = "2MiB"
namespace_separator = ":"
allow = ["10.0.0.0/8", "fd00::/8"]
admin = ["10.1.0.0/16"]
secret_file = "secret"
metrics = "127.0.0.1:9100"
hist_log = "hist.log"
hot_keys = "full"
watch_one_in = 5
"#;

    fn flags(line: &str) -> Flags {
        let line = ["serve"].into_iter().chain(line.split_whitespace());
        Flags::from_arg_matches(
            &Flags::augment_args(Command::new("serve")).try_get_matches_from(line).unwrap(),
        )
        .unwrap()
    }

    fn options(text: &str) -> Options {
        toml::from_str(text).unwrap()
    }

    /// The flags that say what `ALL` says.
    fn all_as_flags() -> String {
        let table: toml::Table = ALL.parse().unwrap();
        let mut line = String::new();
        for (key, value) in &table {
            let flag = key.replace('_', "-");
            let words = match value {
                toml::Value::Boolean(_) => vec![None],
                toml::Value::Array(all) => all.iter().map(|each| each.as_str().map(str::to_owned)).collect(),
                toml::Value::Integer(number) => vec![Some(number.to_string())],
                other => vec![other.as_str().map(str::to_owned)],
            };
            for word in words {
                line += &format!(" --{flag} {}", word.unwrap_or_default());
            }
        }
        line
    }

    #[test]
    fn each_flag_has_a_key_and_each_key_a_flag() {
        let command = Options::augment_args(Command::new("serve"));
        let named: BTreeSet<String> =
            command.get_arguments().map(|arg| arg.get_long().unwrap().replace('-', "_")).collect();
        assert!(command.get_arguments().all(|arg| named.contains(arg.get_id().as_str())), "ids are keys");
        let keys: BTreeSet<String> = ALL.parse::<toml::Table>().unwrap().keys().cloned().collect();
        assert_eq!(named, keys, "ALL has every option");
        let written: toml::Table = options(ALL).to_toml().unwrap().parse().unwrap();
        assert_eq!(written.keys().cloned().collect::<BTreeSet<_>>(), keys);
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        for text in
            ["", ALL, "memory = 100000000", "workers = 2", "unix_mode = \"0o660\"", "unix_mode = \"7\""]
        {
            let printed = options(text).to_toml().unwrap();
            assert_eq!(options(&printed), options(text), "{printed}");
            assert_eq!(options(&printed).to_toml().unwrap(), printed);
        }
        assert_eq!(options(""), Options::default());
        assert_eq!(options(ALL).to_toml().unwrap(), ALL);
    }

    #[test]
    fn flags_and_file_say_the_same() {
        assert_eq!(flags(&all_as_flags()).options, options(ALL));
        assert_eq!(flags("").options, Options::default());
    }

    #[test]
    fn flags_win_over_the_file_and_defaults_fill_the_rest() {
        let file =
            options("memory = \"64MiB\"\npoll = \"busy\"\nnode = 1\nmlock = true\nallow = [\"10.0.0.0/8\"]");
        let merged = flags("--memory 32MiB --admin ::1/128").over_options(&file).unwrap();
        assert_eq!((merged.memory_bytes, merged.poll, merged.node), (32 << 20, Poll::Busy, Some(1)));
        assert_eq!((merged.mlock, merged.allow.len(), merged.admin.len()), (true, 1, 1));
        assert_eq!(merged.listen, Options::default().listen);
        // Each option wins, also where its flag says what is the default.
        assert_eq!(flags(&all_as_flags()).over_options(&Options::default()).unwrap(), options(ALL));
        assert_eq!(flags("--poll adaptive --allow ::/0").over_options(&file).unwrap().poll, Poll::Adaptive);
        assert_eq!(flags("--allow ::/0").over_options(&file).unwrap().allow.len(), 1);
    }

    #[test]
    fn a_mistake_in_the_file_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sherwood.toml");
        for (text, want) in [
            ("poll = \"busy\"\nmemroy = \"1GiB\"", "line 2: unknown key memroy; did you mean memory?"),
            ("\n\nmemory = \"much\"", "line 3, memory: \"much\""),
            ("memory = \"1GB\"", "line 1, memory: \"1GB\": GB can mean"),
            ("node = 1\npolicy = \"best\"", "line 2, policy: unknown policy best"),
            ("allow = [\n\"nonsense\"]", ", allow: nonsense is no network"),
            ("listen = \"localhost\"", "line 1, listen: \"localhost\" is no address with a port"),
            ("memory = \"1GiB\"\n[server]\nworkers = 2", "line 2: unknown key server"),
            ("pin = \"yes\"", "line 1, pin: \"yes\" is not a way to pin"),
            ("namespace_separator = \"::\"", "line 1, namespace_separator: \"::\" is not a separator"),
            ("transport = \"sctp\"", "line 1, transport: unknown transport sctp; give udp,tcp"),
            ("unix_mode = \"888\"", "line 1, unix_mode: \"888\" is not a mode"),
            ("unix_mode = 0o660", "line 1, unix_mode: a mode is a text"),
            ("unix_mode = 660", "put its digits in quotes, as in \"660\""),
            ("unix_mode = true", "line 1, unix_mode: expected octal digits in quotes"),
            ("max_connections = -1", "line 1, max_connections: invalid"),
            ("mlock = 3", "line 1, mlock: invalid type"),
            ("poll = ", "line 1"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = flags("").over(Some(&path)).unwrap_err();
            assert!(error.contains(want) && error.contains("sherwood.toml"), "{text}: {error}");
        }
        assert!(flags("").over(Some(&folder.path().join("none"))).unwrap_err().contains("cannot read"));
    }
}
