//! Long values: over both shards, many at once, with every byte looked at.

use crate::support::program::Program;
use crate::support::stream::StreamClient;
use crate::{IOS, found, set, start, value, wait_until};

const LONGEST: usize = (16 << 20) - 1;

#[test]
fn values_of_any_length_come_back_as_they_were_sent() {
    for io in IOS {
        let server = start(io, &["--workers", "2", "--memory", "512MiB", "--value-max", "16777215"]);
        let mut client = StreamClient::tcp(server.addr);
        // Around the bounds of pieces, receive buffers and the outbox, and the longest.
        for (seed, bytes) in [16_384, 16_385, 65_536, 1_048_576, 1_119_999, 1_120_001, 5_000_000, LONGEST]
            .into_iter()
            .enumerate()
        {
            let whole = value(seed, bytes);
            for key in ["a", "b", "c", "d"] {
                set(&mut client, key, &whole);
            }
            for key in ["a", "b", "c", "d"] {
                assert!(
                    client.ask(format!("get {key}\r\n").as_bytes()) == found(key, &whole),
                    "{key} {bytes}"
                );
            }
            let both = client.ask(b"get a none b\r\n");
            let want =
                [found("a", &whole)[..].strip_suffix(b"END\r\n").unwrap(), &found("b", &whole)].concat();
            assert!(both == want, "two of {bytes}");
            let head = format!("ms e {bytes}\r\n");
            client.send(head.as_bytes());
            client.send(&whole);
            assert_eq!(client.asks("\r\n"), "HD\r\n");
            let got = client.ask(b"mg e v s\r\n");
            let head = format!("VA {bytes} s{bytes}\r\n");
            assert!(got == [head.as_bytes(), &whole, b"\r\n"].concat(), "mg of {bytes}");
        }
        client.send(b"set a 0 0 16777216\r\n");
        assert_eq!(client.line(), "SERVER_ERROR object too large for cache");
        client.send(&value(0, LONGEST + 1));
        assert_eq!(client.asks("\r\nmn\r\n"), "MN\r\n");
        server.terminate();
    }
}

/// A store with a value that is too long, however it is cut and whoever owns its key: what it removes, as memcached does, and what not.
#[test]
fn a_set_that_is_refused_leaves_no_old_value() {
    const REMOVE: [&str; 7] = [
        "set K 0 0 N",
        "set K 9 100 N noreply",
        "ms K N",
        "ms K N q",
        "ms K N ME",
        "ms K N MA C1",
        "ms K64 N b",
    ];
    const LEAVE: [&str; 8] = [
        "add K 0 0 N",
        "replace K 0 0 N",
        "append K 0 0 N noreply",
        "prepend K 0 0 N",
        "cas K 0 0 N 7",
        "ms K N !",
        "ms K N MX",
        "set K x 0 N",
    ];
    for io in IOS {
        let server = start(io, &["--workers", "2", "--memory", "64MiB", "--value-max", "2000"]);
        let mut client = StreamClient::tcp(server.addr);
        let (mut quiet, mut refused) = (0, 0);
        for (line, removes) in
            REMOVE.map(|line| (line, true)).into_iter().chain(LEAVE.map(|line| (line, false)))
        {
            for (key, key64) in [("a", "YQ=="), ("b", "Yg=="), ("c", "Yw=="), ("d", "ZA==")] {
                for bytes in [2_001, 17_000, 70_000] {
                    client.ask(format!("set {key} 0 0 3\r\nold\r\n").as_bytes());
                    let line = line.replace("K64", key64).replace('K', key).replace('N', &bytes.to_string());
                    // With a line end, commands behind it, or cut in the middle of them.
                    let value = "get a\r\n".repeat(bytes / 7) + &"x".repeat(bytes % 7);
                    let sent = format!("{line}\r\n{value}\r\nget {key}\r\nmn\r\n");
                    let cut = (bytes * 7 + key.len()) % sent.len();
                    let (head, rest) = sent.as_bytes().split_at(cut);
                    client.send(head);
                    client.send(rest);
                    let got = String::from_utf8(client.until_fence()).unwrap();
                    assert_eq!(got.contains("VALUE"), !removes, "{line}: {got}");
                    assert_eq!(
                        got.starts_with("SERVER_ERROR object too large for cache\r\n")
                            || got.starts_with("CLIENT_ERROR"),
                        !line.contains("noreply"),
                        "{line}: {got}"
                    );
                    quiet += line.contains("noreply") as u64;
                    refused += !got.starts_with("CLIENT_ERROR") as u64;
                }
            }
        }
        assert!(
            quiet > 0 && server.stat("store_too_large") == refused,
            "{} of {refused}",
            server.stat("store_too_large")
        );
        server.terminate();
    }
}

#[test]
fn long_values_are_appended_and_compared() {
    for io in IOS {
        let server = start(io, &["--workers", "2", "--memory", "128MiB", "--value-max", "4MiB"]);
        let mut client = StreamClient::tcp(server.addr);
        let [one, two] = [value(1, 700_000), value(2, 900_000)];
        for key in ["a", "b", "c"] {
            set(&mut client, key, &one);
            client.send(format!("append {key} 0 0 {}\r\n", two.len()).as_bytes());
            client.send(&two);
            assert_eq!(client.asks("\r\n"), "STORED\r\n");
            assert!(
                client.ask(format!("get {key}\r\n").as_bytes()) == found(key, &[&one[..], &two].concat())
            );
            let cas = client.asks(&format!("mg {key} c\r\n"));
            let cas = cas.trim_end().strip_prefix("HD c").unwrap().to_owned();
            for want in ["STORED\r\n", "EXISTS\r\n"] {
                client.send(format!("cas {key} 0 0 {} {cas}\r\n", two.len()).as_bytes());
                client.send(&two);
                assert_eq!(client.asks("\r\n"), want);
            }
            assert!(client.ask(format!("get {key}\r\n").as_bytes()) == found(key, &two));
        }
        server.terminate();
    }
}

/// More values at once than unfinished ones may have memory: they wait for each other, and all are stored.
#[test]
fn values_beyond_the_memory_of_unfinished_ones_wait_for_each_other() {
    for io in IOS {
        let server = start(io, &["--workers", "2", "--memory", "128MiB"]);
        let whole = value(3, 1 << 20);
        let mut clients: Vec<StreamClient> = (0..40).map(|_| StreamClient::tcp(server.addr)).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(format!("set k{number} 0 0 1048576\r\nabc").as_bytes());
        }
        wait_until(&server, "long_values", |values| values == 40);
        wait_until(&server, "unfinished_waits", |waits| waits > 0);
        let held = server.stat("unfinished_bytes");
        assert!(held <= (128 << 20) / 16 + (4 << 20), "{held} bytes");
        // Meanwhile others are served.
        assert_eq!(StreamClient::tcp(server.addr).asks("set x 0 0 1\r\ny\r\n"), "STORED\r\n");
        let threads = clients.into_iter().map(|mut client| {
            let rest = [b"abc", &whole[3..], b"\r\n"].concat()[3..].to_vec();
            std::thread::spawn(move || {
                client.send(&rest);
                assert_eq!(client.until(b"\r\n"), b"STORED\r\n");
                client
            })
        });
        let threads: Vec<_> = threads.collect();
        let mut clients: Vec<StreamClient> =
            threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        wait_until(&server, "unfinished_items", |items| items == 0);
        let want = [b"abc", &whole[3..]].concat();
        let mut there = 0;
        for number in 0..40 {
            let key = format!("k{number}");
            let got = clients[0].ask(format!("get {key}\r\n").as_bytes());
            assert!(got == b"END\r\n" || got == found(&key, &want), "{key}");
            there += (got != b"END\r\n") as usize;
        }
        assert!(there >= 30, "{there} of 40 are there");
        server.terminate();
    }
}

/// Half of a worker's memory is the most that a value may have: the server says so when it starts, and what it says is true.
#[test]
fn values_that_memory_is_too_small_for_are_announced() {
    let options =
        ["--listen", "127.0.0.1:0", "--workers", "2", "--memory", "32MiB", "--value-max", "16777215"];
    let server = Program::serve(&options);
    let addr = server.ready();
    let said = server.says("are refused as too large");
    let kib: usize = said.split_whitespace().find_map(|word| word.parse().ok()).expect("a number of KiB");
    let mut client = StreamClient::tcp(addr);
    set(&mut client, "most", &value(1, (kib - 1) << 10));
    client.send(format!("set more 0 0 {}\r\n", kib << 10).as_bytes());
    client.send(&vec![b'x'; kib << 10]);
    assert_eq!(client.asks("\r\n"), "SERVER_ERROR object too large for cache\r\n");
    server.terminate();
}
