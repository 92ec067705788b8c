//! `sherwood load` against real servers and refusing ones: addresses and names, times to live, errors, and searches that end early.

use crate::server::{Faults, Server};
use crate::support::client::Client;
use crate::support::program::{self, Program, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::process::Stdio;

const SHORT: &[&str] =
    &["--keys", "5", "--warmup", "0s", "--duration", "500ms", "--timeout", "2s", "--json", "-"];

/// A short run: exit code, JSON, what was said.
fn load(target: &str, more: &str) -> (Option<i32>, Value, String) {
    let mut arguments = vec!["load", "--target", target];
    arguments.extend(SHORT);
    arguments.extend(more.split_whitespace());
    let (status, out, said) = run(&arguments);
    (status.code(), serde_json::from_str(&out).unwrap_or(Value::Null), said)
}

#[test]
fn a_name_is_an_address_and_so_is_ipv6() {
    let server = Program::serve(&[]);
    let target = format!("localhost:{}", server.ready().port());
    let (code, json, said) = load(&target, "--fill --mix get:1");
    assert_eq!((code, &json["hit_ratio"]), (Some(0), &Value::from(1.0)), "{said}");
    let (status, shown, said) = run(&["top", &target, "--once", "--interval", "100ms"]);
    assert!(status.success() && shown.contains("requests"), "{said}");
    let (status, _, said) = run(&["top", "localhost", "--once"]);
    assert!(
        status.code() == Some(1) && said.contains("the server: \"localhost\" is no address with a port"),
        "{said}"
    );
    if UdpSocket::bind("[::1]:0").is_err() {
        return println!("SKIPPED: no IPv6 here");
    }
    let mut options = program::SMALL.to_vec();
    options[2] = "[::1]:0";
    let server = Program::start(&options);
    let target = server.ready().to_string();
    assert!(target.starts_with("[::1]:"));
    assert_eq!(load(&target, "--fill").0, Some(0));
    assert!(run(&["top", &target, "--once", "--interval", "100ms"]).0.success());
}

/// Seconds to live that a server knows of key 0.
fn ttl_of_key_0(server: &mut Client) -> u64 {
    let reply = String::from_utf8(server.ask(b"mg 0000000000000000 t\r\n").unwrap()).unwrap();
    let ttl = reply.strip_prefix("HD t").and_then(|rest| rest.trim().parse().ok());
    ttl.unwrap_or_else(|| panic!("{reply}"))
}

#[test]
fn a_time_to_live_means_what_it_says_or_is_refused() {
    let server = Program::serve(&[]);
    let addr = server.ready();
    let mut client = Client::new(addr);
    for (protocol, ttl_s) in [
        ("text", 2_592_000),
        ("text", 2_592_001),
        ("meta", 2_592_001),
        ("meta", 100_000_000),
        ("batch", 2_592_001),
        ("batch", 4_294_967),
    ] {
        let more = format!("--fill --protocol {protocol} --ttl {ttl_s} --mix get:1,touch:1");
        let (code, json, said) = load(&addr.to_string(), &more);
        assert_eq!(code, Some(0), "{protocol} {ttl_s}: {said}");
        for verb in ["get", "touch"] {
            assert_eq!(json["commands"][verb]["misses"], 0, "{protocol} {ttl_s}: {json}");
        }
        let left_s = ttl_of_key_0(&mut client);
        assert!((ttl_s - 60..=ttl_s).contains(&left_s), "{protocol} {ttl_s}: {left_s} s");
    }
    for (protocol, ttl) in [("text", "4294967295"), ("meta", "2000000000"), ("batch", "4294968")] {
        let (code, _, said) = load(&addr.to_string(), &format!("--protocol {protocol} --ttl {ttl}"));
        assert!(code == Some(1) && said.contains(&format!("--ttl {ttl}: ")), "{said}");
    }
}

#[test]
fn a_server_that_answers_errors_alone_is_told_by_its_first_one() {
    let server = Server::start(Faults { error: 1, ..Faults::default() });
    for more in ["", "--fill", "--search p50<1s --rate 100"] {
        let (code, json, said) = load(&server.address.to_string(), more);
        assert_eq!(code, Some(1), "{more}: {said}");
        assert!(said.contains("SERVER_ERROR busy"), "{more}: {said}");
        if more.contains("--search") {
            assert!(said.contains("no rate down to 10/s meets `p50<1s`: nothing but errors"), "{said}");
        }
        if more.is_empty() {
            assert!(said.contains("nothing but errors from 127.0.0.1:"), "{said}");
            assert_eq!(json["first_error"], "SERVER_ERROR busy");
        }
    }
    let server = Server::start(Faults { error: 3, ..Faults::default() });
    let (code, json, said) = load(&server.address.to_string(), "");
    assert!(code == Some(0) && said.contains("answers; the first: SERVER_ERROR busy"), "{said}");
    assert_eq!(json["first_error"], "SERVER_ERROR busy");
    let (_, json, _) = load(&Server::start(Faults::default()).address.to_string(), "");
    assert_eq!(json["first_error"], Value::Null);
}

/// A search that is interrupted after a line of it that has this: exit code, JSON, what was said after it.
fn interrupted_search(objective: &str, after: &str) -> (Option<i32>, Value, String) {
    let server = Server::start(Faults::default());
    let target = server.address.to_string();
    let mut command = program::sherwood();
    command.args(["load", "--target", &target, "--keys", "10", "--warmup", "0s", "--duration", "100ms"]);
    command.args(["--rate", "200", "--json", "-", "--search", objective]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(after) {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it ended before {after}");
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or(Value::Null), rest)
}

#[test]
fn a_search_that_is_interrupted_gives_what_held() {
    let (code, json, said) = interrupted_search("p50<10s,lost<100%", "holds");
    assert_eq!(code, Some(0), "{said}");
    assert!(json["search"]["best_rate_per_s"].as_f64().unwrap() >= 10.0, "{json}");
    assert!(json["search"]["interrupted"] == true && json["commands"]["get"]["hits"].is_number());
    assert!(said.contains("a higher rate may hold"), "{said}");
    // Nothing held yet: an error, and the object all the same.
    let (code, json, said) = interrupted_search("max<1ns", "max");
    assert!(code == Some(1) && said.contains("interrupted before `max<1ns` held"), "{said}");
    assert_eq!(json["search"]["best_rate_per_s"], Value::Null);
    assert!(!json["search"]["steps"].as_array().unwrap().is_empty(), "{json}");
}

#[test]
fn a_search_that_fails_writes_its_steps() {
    let server = Server::start(Faults::default());
    let (code, json, said) = load(&server.address.to_string(), "--rate 20 --search max<1ns");
    assert!(code == Some(1) && said.contains("no rate down to 10/s meets `max<1ns`"), "{said}");
    let steps = json["search"]["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["missed"].is_string()) && steps.len() >= 4, "{json}");
    assert_eq!(
        (&json["search"]["best_rate_per_s"], &json["search"]["interrupted"]),
        (&Value::Null, &false.into())
    );
}

#[test]
fn a_flag_that_is_wrong_is_named_with_its_value() {
    for (flag, value) in [
        ("--rate", "0.5"),
        ("--rate", "fast"),
        ("--keys", "1.5"),
        ("--duration", "x"),
        ("--timeout", "1week"),
        ("--dist", "pareto"),
        ("--mix", "put:1"),
        ("--search", "p99<100"),
        ("--cpus", "x"),
        ("--key-size", "zero"),
        ("--value-size", "many"),
        ("--ttl", "-1"),
        ("--batch", "0"),
        ("--window", "0"),
        ("--threads", "0"),
        ("--target", "nowhere"),
        ("--trace", "nothing.txt"),
        ("--json", "/nowhere/run.json"),
        ("--out", "/nowhere/run.hlog"),
    ] {
        let (status, _, said) = run(&["load", "--target", "127.0.0.1:1", &format!("{flag}={value}")]);
        assert!(!status.success() && said.contains(flag) && said.contains(value), "{flag} {value}: {said}");
    }
}

/// A run that was interrupted while it filled the cache told of a closed loop of 0 requests whose client was the limit.
#[test]
fn a_fill_that_is_interrupted_says_so() {
    let server = Program::serve(&[]);
    let addr = server.ready();
    let load = ["load", "--target", &addr.to_string(), "--fill", "--keys", "200M", "--duration", "1s"]
        .map(str::to_owned);
    let mut command = program::sherwood();
    let child = command.args(load).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut client = Client::new(addr);
    let stored = |client: &mut Client| {
        let text = String::from_utf8(client.ask(b"stats\r\n").unwrap_or_default()).unwrap();
        text.lines().any(|line| line.starts_with("STAT cmd_set ") && line != "STAT cmd_set 0")
    };
    while !stored(&mut client) {}
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
    assert!(said.contains("interrupted during the fill: nothing was measured"), "{said}");
}
