//! The metrics as Prometheus reads them: every series has its meaning and type, and nothing is there twice. Agents drop what has none.

use crate::support::client::Client;
use crate::support::config;
use crate::support::program::has;
use sherwood::config::serve::Io;
use sherwood::server::Server;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

/// What is in the text: the type of each family, and each sample by its name with labels.
struct Parsed {
    types: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

/// Reads the text format, and refuses what breaks its rules.
fn parse(text: &str) -> Parsed {
    let (mut helps, mut types) = (BTreeSet::new(), BTreeMap::new());
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => {
                assert!(help.len() > 5 && helps.insert(name.to_owned()), "{line}");
            }
            ["#", "TYPE", name, kind] => {
                assert!(helps.contains(name), "no meaning before {line}");
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
            }
            _ => {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
                assert!(samples.insert(name.to_owned(), value).is_none(), "twice: {line}");
            }
        }
    }
    Parsed { types, samples }
}

/// Of `sherwood_get_seconds_bucket{le="1"}`: the family with that type, or none.
fn family<'a>(types: &'a BTreeMap<String, String>, sample: &str) -> Option<(&'a str, &'a str)> {
    let series = sample.split('{').next().unwrap();
    let of = |name: &str| types.get_key_value(name).map(|(name, kind)| (name.as_str(), kind.as_str()));
    let histogram = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|end| of(series.strip_suffix(end)?).filter(|(_, kind)| *kind == "histogram"));
    of(series).or(histogram)
}

fn ask(addr: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// A server whose workers have done something of most kinds.
fn busy_server() -> (Server, SocketAddr) {
    let mut config = config(Io::Mmsg, 1);
    config.metrics = Some("127.0.0.1:0".parse().unwrap());
    config.watch_one_in = 1;
    let server = Server::start(config, &|_| ()).unwrap();
    let mut client = Client::new(server.addr());
    for key in 0..20 {
        let set = format!("set k{key} 0 0 100\r\n{}\r\n", "x".repeat(100));
        assert_eq!(client.ask(set.as_bytes()).unwrap(), b"STORED\r\n");
        client.ask(format!("get k{key} none\r\n").as_bytes()).unwrap();
    }
    let addr = server.metrics_addr().unwrap();
    (server, addr)
}

#[test]
fn every_series_has_a_meaning_a_type_and_a_name_that_says_it() {
    let (server, addr) = busy_server();
    let (head, text) = ask(addr, "GET /metrics HTTP/1.1\r\n\r\n");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let Parsed { types, samples } = parse(&text);
    assert!(types.len() > 100);
    for sample in samples.keys() {
        let (name, kind) = family(&types, sample).unwrap_or_else(|| panic!("{sample} has no type"));
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        let units = ["ms", "us", "ns", "permille", "percent"];
        assert!(!name.split('_').any(|word| units.contains(&word)), "{name} is not in a base unit");
    }
    for name in [
        "sherwood_cmd_get_total{worker=\"0\"}",
        "sherwood_cmd_set_total{shard=\"0\"}",
        "sherwood_received_bytes_total{worker=\"0\"}",
        "sherwood_memory_pages{use=\"free\"}",
    ] {
        assert!(samples.get(name).is_some_and(|value| *value > 0.0), "no {name} in {text}");
    }
    // These are told from time to time.
    for name in ["sherwood_curr_items{shard=\"0\"}", "sherwood_policy_memory_bytes{shard=\"0\"}"] {
        assert!(samples.contains_key(name), "no {name} in {text}");
    }
    let build = format!("sherwood_build_info{{version=\"{}\",", env!("CARGO_PKG_VERSION"));
    assert!(samples.iter().any(|(name, value)| name.starts_with(&build) && *value == 1.0), "{text}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let start = samples["process_start_time_seconds"];
    assert!((now - 60.0..=now).contains(&start), "{start} is not just before {now}");
    server.stop().unwrap();
}

#[test]
fn histograms_are_cumulative_and_whole() {
    let (server, addr) = busy_server();
    let Parsed { types, samples } = parse(&ask(addr, "GET /metrics HTTP/1.1\r\n\r\n").1);
    let histograms: Vec<_> = types.iter().filter(|(_, kind)| *kind == "histogram").collect();
    assert!(histograms.len() > 10);
    for (name, _) in histograms {
        let start = format!("{name}_bucket{{le=\"");
        let mut buckets: Vec<(f64, f64)> = samples
            .iter()
            .filter_map(|(sample, count)| {
                let bound = sample.strip_prefix(&start)?.strip_suffix("\"}")?;
                Some((bound.replace("+Inf", "inf").parse().unwrap(), *count))
            })
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{name}: {buckets:?}");
        let count = samples[&format!("{name}_count")];
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, count)), "{name}");
        assert!(samples[&format!("{name}_sum")] > 0.0 || count == 0.0, "{name}");
    }
    assert!(samples["sherwood_get_seconds_count"] > 0.0);
    server.stop().unwrap();
}

/// Prometheus' own check of names, types and units.
#[test]
fn promtool_has_no_complaint() {
    if !has("promtool") {
        return;
    }
    let (server, addr) = busy_server();
    let text = ask(addr, "GET /metrics HTTP/1.1\r\n\r\n").1;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.trim().is_empty(), "{said}");
    server.stop().unwrap();
}

#[test]
fn a_probe_is_told_whether_the_server_serves() {
    let (server, addr) = busy_server();
    let (head, body) = ask(addr, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && body == "ok\n", "{head}\n{body}");
    let (head, body) = ask(addr, "HEAD /healthz HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("content-length: 3"), "{head}");
    assert_eq!(body, "");
    // As a thread does that ends.
    drop(server.figures().health.alive());
    let (head, body) = ask(addr, "GET /healthz HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
    assert_eq!(body, "a thread of the server has ended\n");
    // The metrics of such a server are still to be had.
    assert!(ask(addr, "GET /metrics HTTP/1.1\r\n\r\n").0.starts_with("HTTP/1.1 200 OK\r\n"));
    server.stop().unwrap();
}
