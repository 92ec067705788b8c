//! `sherwood load` and `sherwood hist` as people call them: exit codes, JSON keys, logs, messages with a remedy.

use crate::server::{Faults, Server};
use crate::support::program;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Runs the binary; `{}` in an argument becomes the target.
fn sherwood(target: &str, line: &str) -> Output {
    let words = line.split_whitespace().map(|word| word.replace("{}", target));
    program::sherwood().args(words).output().unwrap()
}

/// `sherwood load` with JSON on standard output; short, unless the line says otherwise.
fn load(target: &str, line: &str) -> (Output, Value) {
    let mut line = format!("load --target {{}} --json - {line}");
    for default in ["--keys 500", "--warmup 0s", "--duration 300ms", "--timeout 2s"] {
        let flag = default.split(' ').next().unwrap();
        if !line.contains(flag) {
            line = format!("{line} {default}");
        }
    }
    let output = sherwood(target, &line);
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, json)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A file of this test process alone.
fn scratch(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()))
}

#[test]
fn the_json_object_has_the_promised_keys() {
    let server = Server::start(Faults::default());
    let (output, json) = load(&server.address.to_string(), "--fill --verify --mix get:8,set:2");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("pauses hide"), "a closed loop says what it cannot show");
    for command in ["get", "set"] {
        let object = &json["commands"][command];
        for key in ["sent", "hits", "misses", "lost", "rate_per_s"] {
            assert!(object[key].is_number(), "{command}.{key}");
        }
        for key in ["p50", "p90", "p99", "p999", "max"] {
            assert!(object["latency_us"][key].as_f64().unwrap() > 0.0, "{command}.{key}");
        }
    }
    assert_eq!(json["verify"]["checked"], json["commands"]["get"]["hits"]);
    assert_eq!((&json["verify"]["wrong"], &json["fill"]["stored"]), (&Value::from(0), &Value::from(500)));
}

#[test]
fn a_fill_that_nobody_answers_is_given_up() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let began = Instant::now();
    let (output, _) = load(&silent.local_addr().unwrap().to_string(), "--fill --keys 100k --window 8");
    assert!(!output.status.success());
    assert!(stderr(&output).contains("no reply at all from 127.0.0.1"), "{}", stderr(&output));
    // All rounds would be hours.
    assert!(began.elapsed() < Duration::from_secs(120));
}

#[test]
fn a_wrong_value_ends_with_1() {
    let server = Server::start(Faults { flip: 50, ..Faults::default() });
    let (output, json) = load(&server.address.to_string(), "--fill --verify");
    assert_eq!(output.status.code(), Some(1));
    assert!(json["verify"]["wrong"].as_u64().unwrap() > 0 && stderr(&output).contains("wrong"));
}

#[test]
fn no_reply_at_all_ends_with_1_and_a_remedy() {
    // Bound and never read: nobody answers, and no other process can take the port meanwhile.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (output, _) = load(&silent.local_addr().unwrap().to_string(), "--timeout 50ms --window 1");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("has TCP only, add --transport tcp"), "{}", stderr(&output));
}

#[test]
fn an_interrupted_run_reports_what_it_has() {
    let server = Server::start(Faults::default());
    let line = format!("load --target {} --keys 100 --warmup 0s --duration 100s --json -", server.address);
    let mut command = program::sherwood();
    let child = command.args(line.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while server.seen().requests < 100 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["commands"]["get"]["sent"].as_u64().unwrap() > 50);
    assert!(json["seconds"].as_f64().unwrap() < 60.0);
}

#[test]
fn impossible_flags_say_what_would_be_right() {
    for (line, want) in [
        ("--secret-file nothing.txt", "--protocol batch"),
        ("--protocol batch --secret-file nothing.txt", "nothing.txt"),
        ("--owners 0", "between 1 and 64"),
        ("--rate 0", "max"),
        ("--duration 0s", "at least 1ms"),
        ("--batch 65", "between 1 and 64"),
        ("--key-size 1", "too short"),
        ("--trace nothing.txt", "nothing.txt"),
        ("--search p99<100", "unit"),
        ("--dist pareto", "zipf"),
        ("--mix put:1", "get:95,set:5"),
        ("--cpus x", "0,2-3"),
    ] {
        let (output, _) = load("127.0.0.1:1", line);
        assert!(!output.status.success() && stderr(&output).contains(want), "{line}: {}", stderr(&output));
    }
    assert!(
        stderr(&sherwood("nowhere", "load --target {}"))
            .contains("--target: \"nowhere\" is no address with a port; write 127.0.0.1:11211")
    );
}

#[test]
fn a_trace_is_replayed_with_a_set_after_each_miss() {
    let server = Server::start(Faults::default());
    let trace = scratch("trace.txt");
    // 3 keys, 400 records: the first of each key misses, all others hit, whatever the window.
    let text: String = (0..400u64).map(|i| format!("{}\n", i * i % 3 + 1_000_000)).collect();
    std::fs::write(&trace, &text).unwrap();
    let keys = text.lines().collect::<std::collections::HashSet<_>>().len() as u64;
    for window in [1, 16] {
        let server = Server::start(Faults::default());
        let line = format!(
            "load --target {{}} --trace {} --verify --window {window} --timeout 5s --json -",
            trace.display()
        );
        let output = sherwood(&server.address.to_string(), &line);
        let json: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)));
        let get = &json["commands"]["get"];
        assert_eq!(get["misses"], keys, "window {window}");
        assert_eq!(get["hits"], 400 - keys);
        assert_eq!((&json["commands"]["set"]["sent"], &json["trace"]["keys"]), (&keys.into(), &keys.into()));
        assert!(stderr(&output).contains("hit ratio"));
    }
    drop(server);
    std::fs::remove_file(trace).unwrap();
}

#[test]
fn a_search_finds_a_rate_and_an_impossible_objective_none() {
    let server = Server::start(Faults::default());
    let target = server.address.to_string();
    let quick = "--duration 60ms --timeout 100ms --rate 500 --keys 10 --fill --mix get:1";
    // Above some rate the test server's socket overflows, or its one thread is too slow.
    let (output, json) = load(&target, &format!("{quick} --search p50<30ms,lost<5%"));
    if output.status.success() {
        assert!(json["search"]["best_rate_per_s"].as_f64().unwrap() >= 10.0);
        assert!(json["search"]["steps"].as_array().unwrap().len() >= 2);
    } else {
        assert!(stderr(&output).contains("no rate"), "{}", stderr(&output));
    }
    let (output, _) = load(&target, &format!("{quick} --search max<1ns"));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("meets `max<1ns`"), "{}", stderr(&output));
}

#[test]
fn a_log_is_shown_and_compared() {
    let server = Server::start(Faults { drop: 40, ..Faults::default() });
    let (log, png, html) = (scratch("a.hlog"), scratch("a.png"), scratch("a.html"));
    // A second: a busy machine may keep the server's thread from running for long.
    let line = format!("--rate 2000 --timeout 1s --out {}", log.display());
    let (output, json) = load(&server.address.to_string(), &line);
    assert!(output.status.success(), "{}", stderr(&output));
    let shown = sherwood("", &format!("hist {}", log.display()));
    let text = String::from_utf8(shown.stdout).unwrap();
    for (tag, count) in
        [("get", &json["commands"]["get"]["hits"]), ("lost", &json["commands"]["get"]["lost"])]
    {
        assert!(text.lines().any(|l| l.contains(tag)) && count.is_number(), "{text}");
    }
    let compared = sherwood("", &format!("hist --compare --percentiles {0} {0}", log.display()));
    let text = String::from_utf8(compared.stdout).unwrap();
    assert!(text.contains("× 1.00") && text.contains("1.000000000000"), "{text}");
    let drawn =
        sherwood("", &format!("hist {} --png {} --html {}", log.display(), png.display(), html.display()));
    assert!(drawn.status.success(), "{}", stderr(&drawn));
    assert!(std::fs::read(&png).unwrap().starts_with(b"\x89PNG"));
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.contains("createElementNS") && !page.contains("http://") && !page.contains("https://"));
    in_a_browser(&html);
    for file in [log, png, html] {
        std::fs::remove_file(file).unwrap();
    }
}

/// The report as a browser draws it: every plot has its axes and at least one curve, and on a phone nothing is wider than
/// the screen.
fn in_a_browser(html: &std::path::Path) {
    let browsers = ["chromium", "chromium-browser", "google-chrome"];
    let draw = |browser: &str| {
        // The width is the last thing that the page's own script can tell; a probe behind it writes it down.
        let probe =
            "<script>document.title = document.documentElement.scrollWidth + ' of ' + innerWidth</script>";
        let page = std::fs::read_to_string(html).unwrap() + probe;
        let probed = html.with_extension("probed.html");
        std::fs::write(&probed, page).unwrap();
        let output = Command::new(browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=390,1800"])
            .args(["--virtual-time-budget=3000", "--dump-dom"])
            .arg(format!("file://{}", probed.display()))
            .output();
        std::fs::remove_file(&probed).unwrap();
        output.ok().filter(|output| output.status.success())
    };
    let Some(output) = browsers.iter().find_map(|browser| draw(browser)) else {
        println!("SKIPPED a look at the report: no chromium here (apt-get install chromium)");
        return;
    };
    let dom = String::from_utf8(output.stdout).unwrap();
    for plot in ["Latency by percentile", "Latency over time: ", "Rate over time", "Loss over time"] {
        let start = dom.find(&format!("aria-label=\"{plot}")).unwrap_or_else(|| panic!("no plot {plot}"));
        let svg = &dom[start..start + dom[start..].find("</svg>").expect("a whole plot")];
        assert!(svg.matches("<text").count() >= 4, "{plot} has axes");
        assert!(
            ["<path", "<rect", "<circle"].iter().any(|mark| svg.contains(mark)),
            "{plot} shows something"
        );
    }
    assert!(dom.contains("<td"), "the table is filled");
    let title = dom.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next()).unwrap();
    let (width, screen) = title.split_once(" of ").expect("the probe ran");
    let (width, screen) = (width.parse::<u32>().unwrap(), screen.parse::<u32>().unwrap());
    assert!(width <= screen, "{width} pixels on a screen of {screen}");
}

#[test]
fn a_file_that_is_no_log_says_so() {
    let file = scratch("no.hlog");
    std::fs::write(&file, "hello\n").unwrap();
    let output = sherwood("", &format!("hist {}", file.display()));
    assert!(!output.status.success() && stderr(&output).contains("line 1"), "{}", stderr(&output));
    std::fs::remove_file(file).unwrap();
}

/// A real memcached on a free port, ended when dropped.
struct Memcached {
    child: Child,
    address: String,
}

impl Memcached {
    fn start() -> Option<Memcached> {
        // A free port may be taken by another test before memcached binds it: it ends then, and we try another.
        for _ in 0..20 {
            let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
            let mut command = Command::new("memcached");
            command.args(["-U", &port, "-p", &port, "-l", "127.0.0.1", "-u", "root", "-t", "1"]);
            let Ok(child) = command.stderr(Stdio::null()).spawn() else {
                println!("SKIPPED: memcached is not installed");
                return None;
            };
            let mut memcached = Memcached { child, address: format!("127.0.0.1:{port}") };
            if memcached.is_ready() {
                return Some(memcached);
            }
        }
        panic!("memcached does not answer");
    }

    /// Asks for its version until it answers or has ended; each try waits for the reply, not for the clock.
    fn is_ready(&mut self) -> bool {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(&self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline && self.child.try_wait().unwrap().is_none() {
            // "Port unreachable" until it listens.
            let _ = socket.send(b"\0\x01\0\0\0\x01\0\0version\r\n");
            if socket.recv(&mut [0; 100]).is_ok() {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn memcached_is_filled_read_and_verified_over_both_protocols() {
    let Some(memcached) = Memcached::start() else { return };
    for line in [
        "--fill --protocol text --batch 7 --value-size 30-6000 --window 4",
        "--fill --protocol meta --batch 7 --value-size etc --window 4",
        "--fill --protocol text --no-coalesce --rate 2000 --arrivals poisson",
        "--fill --protocol meta --mix get:80,set:10,delete:5,touch:5 --connections 3 --threads 2 --window 2",
    ] {
        let (output, json) = load(&memcached.address, &format!("{line} --verify"));
        assert!(output.status.success(), "{line}: {}", stderr(&output));
        assert_eq!(json["fill"]["unfilled"], 0, "{line}");
        assert!(json["verify"]["checked"].as_u64().unwrap() > 0, "{line}: {json}");
        assert_eq!((&json["verify"]["wrong"], &json["verify"]["stale"]), (&0.into(), &0.into()), "{line}");
        for (_, c) in json["commands"].as_object().unwrap() {
            let n = |key: &str| c[key].as_u64().unwrap();
            assert_eq!(n("sent"), n("hits") + n("misses") + n("lost") + n("errors"), "{line}: {c}");
        }
    }
}
