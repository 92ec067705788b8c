//! What a running server tells of itself: latencies, hot keys, its histogram log.

mod support;

use std::collections::BTreeMap;
use support::client::Client;
use support::program::{Serve, load, run};

/// The lines of `stats WHAT`.
fn stats(server: &Serve, what: &str) -> BTreeMap<String, String> {
    let reply = Client::new(server.addr).ask(format!("stats {what}\r\n").as_bytes()).expect("an answer");
    let text = String::from_utf8(reply).unwrap();
    let body = text.strip_suffix("END\r\n").unwrap_or_else(|| panic!("no END: {text}"));
    let line = |line: &str| {
        let (name, value) = line.strip_prefix("STAT ")?.split_once(' ')?;
        Some((name.to_owned(), value.to_owned()))
    };
    body.lines().map(|text| line(text).unwrap_or_else(|| panic!("no figure: {text}"))).collect()
}

fn number(figures: &BTreeMap<String, String>, name: &str) -> u64 {
    figures
        .get(name)
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {figures:?}"))
}

#[test]
fn the_workers_time_every_kind_of_command() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("serve.hlog").display().to_string();
    let options = ["--memory", "32MiB", "--huge", "off", "--watch-one-in", "1", "--hist-log", &log];
    let server = Serve::start(&options);
    let traffic = ["--keys", "5k", "--fill", "--mix", "get:70,set:20,delete:5,touch:5", "--warmup", "0s"];
    load(server.addr, &[&traffic[..], &["--duration", "300ms"]].concat());

    let latency = stats(&server, "latency");
    for measure in ["get_ns", "set_ns", "delete_ns", "touch_ns", "tick_ns", "syscall_ns", "batch_keys"] {
        let of = |statistic: &str| number(&latency, &format!("{measure}:{statistic}"));
        assert!(of("count") > 0, "{measure}");
        assert!(of("p50") <= of("p99") && of("p99") <= of("p999") && of("p999") <= of("max"), "{measure}");
    }
    // Every tick is watched, so every read is counted: alone, or in a batch whose keys add up.
    assert!(number(&latency, "get_ns:count") >= server.stat("cmd_get"));
    assert!(number(&stats(&server, "workers"), "0:profiled_ticks") <= server.stat("ticks"));

    assert!(server.terminate().0.success());
    let (status, table, error) = run(&["hist", &log]);
    assert!(status.success(), "{error}");
    for tag in ["get", "set", "delete", "touch", "tick", "syscall"] {
        assert!(table.contains(tag), "no {tag} in {table}");
    }
}

#[test]
fn a_server_that_is_not_watched_measures_nothing() {
    let server = Serve::start(&["--memory", "32MiB", "--huge", "off", "--watch-one-in", "0"]);
    load(server.addr, &["--keys", "1k", "--fill", "--warmup", "0s", "--duration", "100ms"]);
    let latency = stats(&server, "latency");
    assert!(latency.iter().all(|(_, value)| value == "0"), "{latency:?}");
    assert!(server.terminate().0.success());
}

/// The most read key is the first, under as much of its name as was allowed, and all keys are counted.
#[test]
fn hot_and_distinct_keys_are_told() {
    for (names, ending) in [("hash", ""), ("prefix", "=00000000…"), ("full", "=0000000000000000")] {
        let server = Serve::start(&["--memory", "32MiB", "--huge", "off", "--hot-keys", names]);
        let traffic = ["--keys", "2k", "--fill", "--dist", "zipf:1.2", "--mix", "get:1", "--warmup", "0s"];
        load(server.addr, &[&traffic[..], &["--duration", "200ms"]].concat());
        // The board is written once a second.
        let told = loop {
            let told = stats(&server, "hotkeys");
            if number(&told, "distinct_keys") > 0 && told.contains_key("hot:100") {
                break told;
            }
            std::thread::yield_now();
        };
        assert!((1_850..2_150).contains(&number(&told, "distinct_keys")), "{told:?}");
        let [name, reads, share] = told["hot:1"].split(' ').collect::<Vec<_>>()[..] else {
            panic!("{told:?}")
        };
        // Zipf 1.2 over 2,000 ranks: a quarter of the reads.
        assert!((0.2..0.3).contains(&share.parse::<f64>().unwrap()), "{told:?}");
        assert!(reads.parse::<u64>().unwrap() > 100);
        let hash = name.strip_suffix(ending).unwrap_or_else(|| panic!("{name} does not end in {ending}"));
        assert!(hash.len() == 8 && u32::from_str_radix(hash, 16).is_ok(), "{name}");
        assert!(!told.contains_key("hot:101"));
        assert!(server.terminate().0.success());
    }
}

/// Every byte has one place, and the places add up, after a load that stores, replaces and deletes items of many sizes.
#[test]
fn the_figures_of_memory_add_up() {
    for workers in ["1", "2"] {
        let server = Serve::start(&["--memory", "48MiB", "--workers", workers, "--huge", "off"]);
        let sizes = ["--keys", "60k", "--fill", "--value-size", "1-3000", "--warmup", "0s"];
        let traffic = ["--mix", "get:40,set:40,delete:20", "--duration", "300ms"];
        load(server.addr, &[&sizes[..], &traffic[..]].concat());
        // The policy may still evict, and a page may be on its way: what an idle server tells is exact.
        let is_whole = |memory: &BTreeMap<String, String>| {
            let of = |name: &str| number(memory, name);
            of("live_bytes") + of("unfinished_bytes") + of("backlog_bytes") + of("external_waste_bytes")
                == of("slab_bytes")
                && of("backlog_bytes") == 0
                && of("pages_index") + of("pages_slab") + of("pages_gathered") + of("pages_free")
                    == of("pages_total")
        };
        let mut memory = stats(&server, "memory");
        let give_up = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !is_whole(&memory) || stats(&server, "memory") != memory {
            assert!(std::time::Instant::now() < give_up, "{memory:?}");
            std::thread::yield_now();
            memory = stats(&server, "memory");
        }
        let of = |name: &str| number(&memory, name);
        let (asked, granted) = (of("cache:asked_bytes"), of("cache:granted_bytes"));
        assert!(asked == 48 << 20 && granted >= asked && of("granted_bytes") == granted);
        let parts = ["index_bytes", "slab_bytes", "gathered_bytes", "free_bytes", "rest_bytes"];
        assert_eq!(parts.map(of).iter().sum::<u64>(), granted);
        let with = |start: &str, end: &str| -> u64 {
            let named = memory.iter().filter(|(name, _)| name.starts_with(start) && name.ends_with(end));
            named.map(|(_, value)| value.parse::<u64>().unwrap()).sum()
        };
        assert_eq!(with("cache:granted_bytes:4k", ""), granted, "--huge off");
        assert!([0, granted].contains(&with("cache:granted_bytes:node", "")), "{memory:?}");
        assert_eq!(of("item_bytes") + of("internal_waste_bytes"), of("live_bytes"));
        assert!(of("internal_waste_bytes") * 8 < of("live_bytes"), "{memory:?}");
        // Classes tell the same in slots.
        let slabs = stats(&server, "slabs");
        let classes: Vec<u64> =
            slabs.keys().filter_map(|name| name.strip_suffix(":chunk_size")?.parse().ok()).collect();
        assert_eq!(classes.len() as u64, number(&slabs, "active_slabs"));
        let of_class = |class: &u64, name: &str| number(&slabs, &format!("{class}:{name}"));
        let sum = |of: &dyn Fn(&u64) -> u64| classes.iter().map(of).sum::<u64>();
        let live = sum(&|class| of_class(class, "used_chunks") * of_class(class, "chunk_size"));
        assert_eq!(live, of("live_bytes"));
        assert_eq!(sum(&|class| of_class(class, "total_pages")), of("pages_slab"));
        assert_eq!(number(&slabs, "total_malloced"), of("slab_bytes"));
        for class in &classes {
            let used = ["used_chunks", "retired_chunks", "free_chunks"].map(|name| of_class(class, name));
            assert_eq!(used.iter().sum::<u64>(), of_class(class, "total_chunks"), "class {class}");
        }
        let items = stats(&server, "items");
        let numbers = items.iter().filter(|(name, _)| name.ends_with(":number"));
        let items: u64 = numbers.map(|(_, count)| count.parse::<u64>().unwrap()).sum();
        assert!(items > 1_000 && items == server.stat("curr_items"));
        assert_eq!(server.stat("item_bytes"), of("item_bytes"));
        assert!(of("policy_bytes") > 12 * items && of("pages_moved") == server.stat("pages_moved"));
        assert!(server.terminate().0.success());
    }
}

#[test]
fn a_log_that_cannot_be_written_is_said_at_the_start() {
    let path = "/nowhere/serve.hlog";
    let options =
        ["serve", "--listen", "127.0.0.1:0", "--memory", "16MiB", "--huge", "off", "--hist-log", path];
    let (status, _, error) = run(&options);
    assert!(!status.success());
    assert!(error.contains("--hist-log /nowhere/serve.hlog"), "{error}");
}

#[test]
fn top_shows_a_server_once_and_says_why_it_cannot() {
    let server = Serve::start(&["--memory", "32MiB", "--huge", "off", "--watch-one-in", "1"]);
    let target = server.addr.to_string();
    load(server.addr, &["--keys", "1k", "--fill", "--warmup", "0s", "--duration", "100ms"]);
    let (status, text, error) = run(&["top", &target, "--once", "--interval", "100ms"]);
    assert!(status.success(), "{error}");
    for word in ["sherwood", &target, "requests", "items 1.00 k", "evicted", "trouble", "tick", "worker"] {
        assert!(text.contains(word), "no {word} in\n{text}");
    }
    let (status, json, error) = run(&["top", &target, "--json", "--interval", "100ms"]);
    assert!(status.success(), "{error}");
    let view: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((view["items"].as_u64(), view["workers"].as_array().map(Vec::len)), (Some(1_000), Some(1)));

    assert!(server.terminate().0.success());
    let (status, _, error) = run(&["top", &target, "--once"]);
    assert!(!status.success() && error.contains("nobody listens"), "{error}");
}
