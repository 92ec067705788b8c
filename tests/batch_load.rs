//! `load --protocol batch` against the real program: every value checked, over both ports, with one worker and two.
//! What strangers get is in `strangers.rs`.

mod support;

use support::program::{Serve, load, run};

fn count(report: &serde_json::Value, command: &str, field: &str) -> u64 {
    report["commands"][command][field].as_u64().unwrap_or_else(|| panic!("no {command}.{field} in {report}"))
}

/// Every reply is accounted for, and no value is wrong or stale.
fn assert_right(report: &serde_json::Value) {
    let sum = ["hits", "misses", "lost"].map(|field| count(report, "get", field)).iter().sum::<u64>();
    assert_eq!(sum, count(report, "get", "sent"), "{report}");
    assert!(count(report, "get", "hits") > 0, "{report}");
    for command in ["get", "set"] {
        assert_eq!(count(report, command, "errors"), 0, "{report}");
    }
    assert!(report["verify"]["checked"].as_u64().unwrap() > 0);
    assert_eq!((&report["verify"]["wrong"], &report["verify"]["stale"]), (&0.into(), &0.into()), "{report}");
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

#[test]
fn every_value_is_right() {
    for (io, workers) in [("mmsg", "1"), ("uring", "1"), ("mmsg", "2"), ("uring", "2")] {
        let line = format!("--memory 64MiB --huge off --io {io} --workers {workers}");
        let server = Serve::start(&words(&line));
        for line in [
            "--keys 20k --fill --batch 20 --mix get:80,set:15,delete:3,touch:2 --value-size 50-900 --duration 700ms",
            "--keys 5k --fill --batch 64 --no-coalesce --value-size 30 --connections 3 --duration 300ms",
            "--keys 5k --fill --owners 2 --batch 7 --key-size 16-200 --mix get:50,set:50 --duration 300ms",
        ] {
            let line = format!("--protocol batch --verify --warmup 0s --ttl 1000 --window 16 {line}");
            assert_right(&load(server.addr, &words(&line)));
        }
        assert_eq!(server.stat("refused_frames") + server.stat("protocol_errors"), 0);
        assert!(server.terminate().0.success());
    }
}

#[test]
fn trains_for_one_owner_need_no_second_worker() {
    let server = Serve::start(&words("--memory 64MiB --huge off --workers 2"));
    let line = "--protocol batch --verify --keys 5k --fill --batch 10 --mix get:50,set:50 --warmup 0s --duration 300ms";
    let of = |report: &serde_json::Value| count(report, "set", "sent");
    let sets = of(&load(server.addr, &words(&format!("{line} --owners 2"))));
    let forwarded = server.stat("forwarded");
    // A read that moving keys pass in every round is the owner's, too: rare.
    assert!(sets > 0 && forwarded <= sets / 100, "{forwarded} of {sets} sets were forwarded");
    // Trains of mixed owners go where their first datagram goes.
    let mixed = of(&load(server.addr, &words(line)));
    assert!(server.stat("forwarded") - forwarded > mixed / 10, "{mixed} sets, none forwarded");
    assert!(server.terminate().0.success());
}

#[test]
fn a_trace_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.txt");
    let keys: String = (0..20_000u64).map(|i| format!("{}\n", i * i % 997)).collect();
    std::fs::write(&trace, keys).unwrap();
    let server = Serve::start(&words("--memory 32MiB --huge off"));
    let line = format!("--protocol batch --verify --value-size 100 --trace {}", trace.display());
    let report = load(server.addr, &words(&line));
    assert_right(&report);
    assert_eq!(count(&report, "get", "sent"), 20_000);
    assert!(server.terminate().0.success());
}

#[test]
fn a_secret_has_to_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "short").unwrap();
    let path = path.to_str().unwrap();
    let line = ["load", "--target", "127.0.0.1:1", "--protocol", "batch", "--secret-file", path];
    let (status, _, said) = run(&line);
    assert!(!status.success() && said.contains("at least 16"), "{said}");
}
