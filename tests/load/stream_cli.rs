//! `sherwood load` and `sherwood top` over streams as people call them: real memcached over TCP and a UNIX socket, and what is
//! refused.

use crate::stream_server::{Faults, StreamServer};
use crate::support::program::{PATIENCE, Program, run};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

/// A short run: exit code, JSON, what was said.
fn load(target: &str, more: &str) -> (Option<i32>, Value, String) {
    let mut words = vec!["load", "--target", target, "--warmup", "0s", "--json", "-"];
    words.extend(more.split_whitespace());
    for (flag, value) in [("--keys", "500"), ("--duration", "300ms"), ("--timeout", "5s")] {
        if !words.contains(&flag) {
            words.extend([flag, value]);
        }
    }
    let (status, out, said) = run(&words);
    (status.code(), serde_json::from_str(&out).unwrap_or(Value::Null), said)
}

/// A real memcached on a free port of TCP or on a UNIX socket, ended when dropped.
struct Memcached {
    child: Child,
    target: String,
    _folder: TempDir,
}

impl Memcached {
    fn start(on_unix: bool) -> Option<Memcached> {
        if Command::new("memcached").arg("-V").stdout(Stdio::null()).status().is_err() {
            println!("SKIPPED: memcached is not installed");
            return None;
        }
        // Another process may take the free port before memcached does.
        Some((0..5).find_map(|_| Memcached::try_start(on_unix)).expect("memcached starts"))
    }

    fn try_start(on_unix: bool) -> Option<Memcached> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memcached.sock");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("memcached");
        let target = if on_unix {
            command.arg("-s").arg(&path);
            format!("unix:{}", path.display())
        } else {
            command.args(["-l", "127.0.0.1", "-U", "0", "-p", &port.to_string()]);
            format!("127.0.0.1:{port}")
        };
        let child =
            command.args(["-u", "root", "-t", "1", "-I", "16m", "-m", "128"]).stderr(Stdio::null()).spawn();
        let mut memcached = Memcached { child: child.unwrap(), target, _folder: folder };
        memcached.answers(&path, port, on_unix).then_some(memcached)
    }

    /// Asks for its version until it answers or has ended.
    fn answers(&mut self, path: &std::path::Path, port: u16, on_unix: bool) -> bool {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && self.child.try_wait().unwrap().is_none() {
            let answered = if on_unix {
                UnixStream::connect(path).is_ok_and(is_memcached)
            } else {
                TcpStream::connect(("127.0.0.1", port)).is_ok_and(is_memcached)
            };
            if answered {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }
}

fn is_memcached(mut stream: impl Read + Write) -> bool {
    let mut answer = [0; 7];
    stream.write_all(b"version\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && &answer == b"VERSION"
}

impl Drop for Memcached {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn memcached_is_filled_read_and_verified_over_tcp_and_unix() {
    for on_unix in [false, true] {
        let Some(memcached) = Memcached::start(on_unix) else { return };
        let transport = if on_unix { "" } else { "--transport tcp" };
        for line in [
            "--fill --batch 7 --value-size 30-6000",
            "--fill --protocol meta --batch 7 --value-size etc --window 4",
            "--fill --rate 2000 --arrivals poisson --connections 3 --window 2",
            "--fill --protocol meta --mix get:80,set:10,delete:5,touch:5 --connections 3 --threads 2 --window 2",
            "--fill --no-coalesce --connections 4 --ttl 3000000",
            "--fill --value-size 9000000-10000000 --keys 3 --window 2 --mix get:50,set:50",
        ] {
            let (code, json, said) = load(&memcached.target, &format!("{line} --verify {transport}"));
            assert_eq!((code, &json["fill"]["unfilled"]), (Some(0), &0.into()), "{line}: {said}");
            assert!(json["verify"]["checked"].as_u64().unwrap() > 0, "{line}: {json}");
            for name in ["wrong", "stale"] {
                assert_eq!(json["verify"][name], 0, "{line}: {json}");
            }
            for name in ["garbage", "unknown", "mismatched", "disconnects", "clamped"] {
                assert_eq!(json["events"][name], 0, "{line}: {json}");
            }
            assert_eq!(json["loss_ratio"], 0.0, "{line}: {json}");
        }
        let (status, shown, said) = run(&["top", &memcached.target, "--once", "--interval", "100ms"]);
        assert!(status.success() && shown.contains(&memcached.target), "{said}");
    }
}

#[test]
fn our_server_is_filled_read_and_verified_over_tcp_and_unix() {
    let folder = tempfile::tempdir().unwrap();
    let path = format!("{}/sherwood.sock", folder.path().display());
    for (io, workers) in [("uring", "1"), ("mmsg", "2")] {
        let options =
            ["--memory", "64MiB", "--io", io, "--workers", workers, "--unix", &path, "--value-max", "8MiB"];
        let server = Program::serve(&options);
        let tcp = server.ready().to_string();
        let unix = format!("unix:{path}");
        for (target, transport) in [(&tcp, "--transport tcp"), (&unix, "")] {
            for line in [
                "--fill --batch 7 --value-size 30-6000",
                "--fill --protocol meta --batch 20 --mix get:80,set:10,delete:5,touch:5 --connections 5 --threads 2",
                "--fill --rate 2000 --connections 3 --window 2 --no-coalesce",
                "--fill --value-size 4000000-8000000 --keys 3 --window 2 --mix get:50,set:50",
            ] {
                let (code, json, said) = load(target, &format!("{line} --verify {transport}"));
                assert_eq!(
                    (code, &json["fill"]["unfilled"]),
                    (Some(0), &0.into()),
                    "{target} {line}: {said}"
                );
                assert!(json["verify"]["checked"].as_u64().unwrap() > 0, "{target} {line}: {json}");
                for name in ["wrong", "stale", "garbage", "unknown", "mismatched", "disconnects"] {
                    assert_eq!(json["events"][name], 0, "{target} {line}: {json}");
                }
            }
            let words = ["top", target, "--once", "--interval", "100ms"];
            let transport: Vec<&str> = transport.split_whitespace().collect();
            let (status, shown, said) = run(&[&words[..], &transport].concat());
            assert!(status.success() && shown.contains(target.as_str()), "{said}");
        }
        assert!(server.terminate().0.success());
    }
}

#[test]
fn a_trace_and_a_search_go_over_tcp() {
    let server = StreamServer::start(Faults::default());
    let target = server.address.to_string();
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.txt");
    // 3 keys, 400 records: the first of each key misses, all others hit, whatever the window.
    let text: String = (0..400u64).map(|i| format!("{}\n", i * i % 3 + 1_000_000)).collect();
    std::fs::write(&trace, &text).unwrap();
    let keys = text.lines().collect::<std::collections::HashSet<_>>().len() as u64;
    let (code, json, said) = load(
        &target,
        &format!("--transport tcp --trace {} --verify --window 16 --duration 60s", trace.display()),
    );
    assert_eq!((code, &json["commands"]["get"]["misses"]), (Some(0), &keys.into()), "{said}");
    assert_eq!(json["commands"]["get"]["hits"], 400 - keys);

    let line = "--transport tcp --duration 60ms --rate 500 --keys 10 --fill --mix get:1";
    let (code, json, said) = load(&target, &format!("{line} --search p50<10s,lost<100%"));
    assert!(code == Some(0) && json["search"]["best_rate_per_s"].as_f64().unwrap() >= 500.0, "{said}");
    let (code, _, said) = load(&target, &format!("{line} --search max<1ns"));
    assert!(code == Some(1) && said.contains("meets `max<1ns`"), "{said}");
}

#[test]
fn what_does_not_go_over_streams_says_what_would() {
    let server = StreamServer::start(Faults { full: true, ..Faults::default() });
    let target = server.address.to_string();
    for (target, line, remedy) in [
        (target.as_str(), "--transport tcp --protocol batch", "--protocol text or meta"),
        (&target, "--transport tcp --owners 2", "--transport udp"),
        (&target, "--transport unix", "--target unix:PATH"),
        (&target, "--transport tcp --fill", "ERROR Too many open connections"),
        ("unix:/nowhere/socket", "", "is a server listening there?"),
        ("unix:/nowhere/socket", "--transport tcp", "--transport unix"),
        ("unix:", "", "has no path"),
    ] {
        let (code, _, said) = load(target, line);
        assert!(code != Some(0) && said.contains(remedy), "{target} {line}: {said}");
    }
    let (status, _, said) = run(&["top", "unix:/nowhere/socket", "--once"]);
    assert!(!status.success() && said.contains("nobody listens on unix:/nowhere/socket"), "{said}");
}
