//! Memory of the real server: long values, sizes that shift, an index that was sized for something else.

mod support;

use support::client::Client;
use support::program::Serve;

/// A value longer than any request, built by appends, comes back whole; also through the second worker.
#[test]
fn a_value_of_a_mebibyte_is_built_by_appends() {
    let serve = Serve::start(&["--memory", "64MiB", "--workers", "2"]);
    let mut client = Client::new(serve.addr);
    if !client.wants_room_for(4 << 20) {
        println!("SKIPPED a_value_of_a_mebibyte: SO_RCVBUFFORCE is not ours to set");
        return;
    }
    for key in ["first", "second", "third"] {
        let mut want = Vec::new();
        for n in 0..17u32 {
            let piece: Vec<u8> = (0..60_000u32).map(|i| (i.wrapping_mul(n + 3) >> 5) as u8).collect();
            let verb = if n == 0 { "set" } else { "append" };
            let mut body = format!("{verb} {key} 7 0 {}\r\n", piece.len()).into_bytes();
            body.extend_from_slice(&piece);
            body.extend_from_slice(b"\r\n");
            assert_eq!(client.ask(&body).as_deref(), Some(&b"STORED\r\n"[..]));
            want.extend_from_slice(&piece);
        }
        let got = client.ask(format!("get {key}\r\n").as_bytes()).expect("a reply");
        let head = format!("VALUE {key} 7 {}\r\n", want.len());
        assert!(got.starts_with(head.as_bytes()) && got.ends_with(b"\r\nEND\r\n"));
        assert!(got[head.len()..got.len() - 7] == want[..], "the bytes of {key}");
        // Beyond --value-max nothing changes.
        let mut body = format!("append {key} 0 0 60000\r\n").into_bytes();
        body.extend_from_slice(&[b'x'; 60_000]);
        body.extend_from_slice(b"\r\n");
        let refused = b"SERVER_ERROR object too large for cache\r\n";
        assert_eq!(client.ask(&body).as_deref(), Some(&refused[..]));
        let reply = client.ask(format!("mg {key} s\r\n").as_bytes()).unwrap();
        assert_eq!(reply, format!("HD s{}\r\n", want.len()).as_bytes());
    }
    assert!(serve.terminate().0.success());
}

/// Many times the memory in one size after the other: no store fails, and the last size has the memory.
#[test]
fn no_store_fails_when_sizes_shift() {
    let serve = Serve::start(&["--memory", "32MiB", "--workers", "1"]);
    let mut client = Client::new(serve.addr);
    let mut number = 0;
    for value_bytes in [64, 4_000, 48_000, 300, 20_000] {
        let value = vec![b'v'; value_bytes];
        let mut left = 3 * (32 << 20) / (value_bytes + 80);
        while left > 0 {
            let mut body = Vec::new();
            let mut asked = 0;
            while left > 0 && body.len() + value_bytes + 64 < 60_000 {
                number += 1;
                body.extend_from_slice(format!("set key:{number} 0 0 {value_bytes}\r\n").as_bytes());
                body.extend_from_slice(&value);
                body.extend_from_slice(b"\r\n");
                (left, asked) = (left - 1, asked + 1);
            }
            let reply = client.ask(&body).expect("a reply");
            assert!(reply == b"STORED\r\n".repeat(asked), "{value_bytes}: {}", reply.escape_ascii());
        }
        let (live, granted) = (serve.stat("item_bytes"), serve.stat("limit_maxbytes"));
        // A small memory, two in a hundred of it the reserve; an item of 64 bytes and its key fills 88 % of its slot. Seen on a busy
        // machine: 77 to 90.
        assert!(live * 100 > granted * 75, "{value_bytes}: {live} of {granted} bytes are items");
    }
    assert!(serve.stat("pages_moved") > 0);
    assert!(serve.terminate().0.success());
}

/// Items of a few bytes in a table that was sized for 64 KiB. No key that was stored is crowded out, however seldom a worker has its
/// turn: fifty keys a datagram, so that one is answered in time also where workers wait for each other's time slices.
#[test]
fn the_table_grows_under_traffic() {
    const KEYS: u64 = 50;
    let serve = Serve::start(&["--memory", "64MiB", "--workers", "2", "--mean-item", "64KiB"]);
    let slots = serve.stat("table_slots");
    let mut client = Client::new(serve.addr);
    let count = 30_000;
    for first in (0..count).step_by(KEYS as usize) {
        let keys = first..first + KEYS;
        let sets: String = keys.clone().map(|n| format!("set key:{n} 0 0 8\r\n{n:08}\r\n")).collect();
        assert_eq!(client.ask(sets.as_bytes()), Some(b"STORED\r\n".repeat(KEYS as usize)));
        let gets: String = keys.map(|n| format!(" key:{n}")).collect();
        let reply = String::from_utf8(client.ask(format!("get{gets}\r\n").as_bytes()).unwrap()).unwrap();
        let hits = reply.lines().filter(|line| line.starts_with("VALUE ")).count() as u64;
        assert_eq!(hits, KEYS, "of the keys that were just stored");
    }
    let (grown, doublings) = (serve.stat("table_slots"), serve.stat("table_doublings"));
    assert!(grown >= 4 * slots && doublings >= 4, "{slots} -> {grown} slots, {doublings} doublings");
    assert_eq!((serve.stat("evicted_by_crowding"), serve.stat("evicted_by_growth")), (0, 0));
    for first in (0..count).step_by(KEYS as usize) {
        let gets: String = (first..first + KEYS).map(|n| format!(" key:{n}")).collect();
        let reply = client.ask(format!("get{gets}\r\n").as_bytes()).expect("an answer");
        assert_eq!(
            reply.windows(6).filter(|bytes| bytes == b"VALUE ").count() as u64,
            KEYS,
            "from {first} on"
        );
    }
    assert!(serve.terminate().0.success());
}
