//! The whole: the real program over real loopback UDP.

mod support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use support::client::Client;
use support::program::{Serve, load, run, sherwood};

fn count(report: &serde_json::Value, command: &str, field: &str) -> u64 {
    report["commands"][command][field].as_u64().unwrap_or_else(|| panic!("no {command}.{field} in {report}"))
}

/// Every reply is accounted for, and no value is wrong.
fn assert_accounted(report: &serde_json::Value) {
    let sum = ["hits", "misses", "lost"].map(|field| count(report, "get", field)).iter().sum::<u64>();
    assert_eq!(sum, count(report, "get", "sent"), "{report}");
    assert_eq!(report["verify"]["wrong"], 0, "{report}");
}

#[test]
fn a_million_keys_are_set_and_read_back() {
    let server = Serve::start(&["--memory", "512MiB", "--huge", "thp"]);
    let arguments = [
        "--keys",
        "1M",
        "--fill",
        "--verify",
        "--dist",
        "sequential",
        "--mix",
        "get:100",
        "--window",
        "128",
        "--warmup",
        "0s",
        "--duration",
        "3s",
    ];
    let report = load(server.addr, &arguments);
    assert_accounted(&report);
    assert!(count(&report, "get", "sent") > 0);
    assert_eq!(count(&report, "get", "misses"), 0, "all keys fit: {report}");
    assert_eq!(server.stat("curr_items"), 1_000_000);
    assert!(server.terminate().0.success());
}

/// Memory for a tenth of the keys: the policy and pressure evict, no set fails, nothing wrong comes back.
#[test]
fn a_small_memory_evicts_and_never_lies() {
    for policy in ["wtinylfu", "s3fifo", "lru"] {
        let server = Serve::start(&["--memory", "16MiB", "--huge", "off", "--policy", policy]);
        let arguments = [
            "--keys",
            "100k",
            "--fill",
            "--value-size",
            "10-1000",
            "--verify",
            "--mix",
            "get:60,set:35,delete:5",
            "--window",
            "128",
            "--warmup",
            "0s",
            "--duration",
            "2s",
        ];
        let report = load(server.addr, &arguments);
        assert_accounted(&report);
        assert_eq!(count(&report, "set", "errors"), 0, "{policy}: {report}");
        let evicted = server.stat("evictions");
        // 100,000 items of 560 bytes on average were put into 16 MiB.
        assert!(evicted > 50_000, "{policy}: {evicted} evictions");
        assert!(server.stat("curr_items") > 1000);
        assert!(server.terminate().0.success());
    }
}

#[test]
fn both_ports_serve() {
    for io in ["uring", "mmsg"] {
        let server = Serve::start(&["--memory", "32MiB", "--huge", "off", "--io", io]);
        let report = load(
            server.addr,
            &[
                "--keys",
                "10k",
                "--fill",
                "--verify",
                "--batch",
                "20",
                "--warmup",
                "0s",
                "--duration",
                "500ms",
            ],
        );
        assert_accounted(&report);
        assert!(server.stat("get_hits") > 0);
        assert!(server.terminate().0.success(), "{io}");
    }
}

/// Two shards, one of which every datagram reaches: half of the writes are forwarded.
#[test]
fn shards_forward_writes() {
    if numa::allowed_cpus().unwrap().len() < 2 {
        println!("SKIPPED shards_forward_writes: one CPU");
        return;
    }
    let server = Serve::start(&["--memory", "64MiB", "--huge", "off", "--workers", "2"]);
    let arguments = [
        "--keys",
        "20k",
        "--fill",
        "--verify",
        "--connections",
        "4",
        "--mix",
        "get:70,set:25,delete:5",
        "--warmup",
        "0s",
        "--duration",
        "2s",
    ];
    let report = load(server.addr, &arguments);
    assert_accounted(&report);
    assert!(server.stat("forwarded") > 100);
    assert_eq!(server.stat("forwarded"), server.stat("executed_for_others"));
    let mut client = Client::new(server.addr);
    for i in 0..200 {
        // Order within a datagram is kept, whoever owns the key.
        let body = format!(
            "set order:{i} 0 0 1\r\na\r\nget order:{i}\r\nincr order:{i} 1\r\ndelete order:{i}\r\nget order:{i}\r\n"
        );
        let want = format!(
            "STORED\r\nVALUE order:{i} 0 1\r\na\r\nEND\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\nDELETED\r\nEND\r\n"
        );
        assert_eq!(String::from_utf8(client.ask(body.as_bytes()).unwrap()).unwrap(), want);
    }
    assert_eq!(client.ask(b"flush_all\r\n").unwrap(), b"OK\r\n");
    let report =
        load(server.addr, &["--keys", "20k", "--mix", "get:100", "--warmup", "0s", "--duration", "300ms"]);
    assert_eq!(count(&report, "get", "hits"), 0, "{report}");
    assert!(server.terminate().0.success());
}

#[test]
fn a_real_trace_replays_without_a_wrong_value() {
    for trace in ["web12", "kv_ttl_a"] {
        let path = format!(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/traces/{}.ctr.zst"), trace);
        if !Path::new(&path).exists() {
            println!("SKIPPED a_real_trace_replays_without_a_wrong_value: no {trace}");
            continue;
        }
        let server = Serve::start(&["--memory", "64MiB", "--huge", "thp"]);
        let report = load(server.addr, &["--trace", &path, "--verify", "--window", "64"]);
        assert_accounted(&report);
        let (hits, sent) = (count(&report, "get", "hits"), count(&report, "get", "sent"));
        println!("{trace}: hit ratio {:.4} of {sent} gets", hits as f64 / sent as f64);
        assert!(hits > 0 && report["verify"]["checked"].as_u64().unwrap() >= hits);
        assert!(server.terminate().0.success());
    }
}

#[test]
fn sigterm_under_load_ends_it_within_a_second() {
    let server = Serve::start(&["--memory", "32MiB", "--huge", "off"]);
    let target = server.addr.to_string();
    let mut client = sherwood()
        .args(["load", "--target", &target, "--keys", "10k", "--duration", "3s", "--warmup", "0s"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Under load: the first requests have been answered.
    while server.stat("cmd_get") < 1000 {
        std::thread::yield_now();
    }
    let (status, took) = server.terminate();
    client.kill().unwrap();
    client.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn what_cannot_start_says_why_in_one_line() {
    let busy = Serve::start(&["--memory", "16MiB", "--huge", "off"]);
    let taken = busy.addr.to_string();
    let missing = ["--config", "/nonexistent/sherwood.toml"];
    let table: [(&[&str], &str); 6] = [
        (&["--listen", &taken, "--memory", "16MiB"], "in use"),
        (&missing, "cannot read the configuration"),
        (&["--memory", "1KiB"], "too small"),
        (&["--memory", "900TiB", "--huge", "off", "--listen", "127.0.0.1:0"], ""),
        (&["--listen", "0.0.0.0:0"], "--allow"),
        (&["--workers", "60", "--listen", "127.0.0.1:0"], ""),
    ];
    for (arguments, want) in table {
        let mut all = vec!["serve"];
        all.extend_from_slice(arguments);
        let (status, out, err) = run(&all);
        assert_eq!(status.code(), Some(1), "{arguments:?}: {out}{err}");
        assert_eq!(err.trim_end().lines().count(), 1, "{arguments:?}: {err}");
        assert!(err.starts_with("sherwood: ") && err.contains(want), "{arguments:?}: {err}");
    }
    assert!(busy.terminate().0.success());
}

#[test]
fn the_effective_configuration_is_printed() {
    let (status, out, _) = run(&["serve", "--print-config", "--memory", "3GiB"]);
    assert!(status.success());
    assert!(out.contains("memory = \"3GiB\"") && out.contains("policy = \"wtinylfu\""), "{out}");
    // What is printed is a file for --config; a flag wins over it.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, out.replace("\"wtinylfu\"", "\"lru\"")).unwrap();
    let path = file.path().to_str().unwrap();
    let (status, again, _) = run(&["serve", "--print-config", "--config", path, "--node", "0"]);
    assert!(status.success());
    let set = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('#') && *line != "node = 0");
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(again.contains("\nnode = 0\n"), "{again}");
    assert_eq!(set(&again), set(&out.replace("\"wtinylfu\"", "\"lru\"")));
}

#[test]
fn an_item_is_gone_when_its_time_is_over() {
    let server = Serve::start(&["--memory", "16MiB", "--huge", "off"]);
    let mut client = Client::new(server.addr);
    assert_eq!(
        client.ask(b"set a 0 1 1\r\nx\r\nset b 0 -1 1\r\nx\r\nget a b\r\n").unwrap(),
        b"STORED\r\nSTORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"
    );
    // Until the wheel has told the owner: readers stop seeing it at the deadline, its memory comes back soon after.
    let begun = std::time::Instant::now();
    while server.stat("expired") < 2 {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::yield_now();
    }
    assert!(begun.elapsed() > Duration::from_millis(900));
    assert_eq!(client.ask(b"get a b\r\n").unwrap(), b"END\r\n");
    assert_eq!(server.stat("curr_items"), 0);
    assert!(server.terminate().0.success());
}

/// Random and mutilated datagrams: no crash, no answer that is not an error, and the next request is served.
#[test]
fn bad_input_is_survived() {
    let server = Serve::start(&["--memory", "16MiB", "--huge", "off"]);
    let mut client = Client::new(server.addr);
    assert_eq!(client.ask(b"set good 0 0 2\r\nok\r\n").unwrap(), b"STORED\r\n");
    let items = server.stat("curr_items");
    let mut random = cache::base::random::Random::new(7);
    let commands: [&[u8]; 6] = [
        b"set k 0 0 5\r\nhello\r\n",
        b"get k\r\n",
        b"mg k v t\r\n",
        b"ms k 5\r\nhello\r\n",
        b"incr k 1\r\n",
        b"cas k 0 0 1 9\r\nx\r\n",
    ];
    let strangers = Client::new(server.addr);
    for round in 0..4000u64 {
        let mut datagram = vec![0, 1, 0, 0, 0, 1, 0, 0];
        if round % 2 == 0 {
            let length = random.below(300) as usize;
            datagram.extend((0..length).map(|_| random.bits() as u8));
            datagram.truncate(random.below(309) as usize);
        } else {
            let command = commands[random.below(6) as usize];
            // Cut off before its last line end, so that nothing of it may be stored.
            datagram.extend_from_slice(&command[..random.below(command.len() as u64 - 1) as usize]);
        }
        strangers.send_raw(&datagram);
    }
    assert_eq!(client.ask(b"get good\r\n").unwrap(), b"VALUE good 0 2\r\nok\r\nEND\r\n");
    assert_eq!(server.stat("curr_items"), items, "nothing was stored");
    assert!(server.stat("protocol_errors") > 100);
    assert!(server.terminate().0.success());
}
