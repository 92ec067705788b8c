//! Ten thousand connections of each kind leave no connection, buffer or descriptor behind.

use crate::support::stream::StreamClient;
use crate::{IOS, start, value, wait_until};
use std::path::Path;
use std::time::Instant;

const CONNECTIONS: usize = 10_000;

type End = fn(StreamClient, usize);

fn open_files(pid: i32) -> usize {
    std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")).unwrap().count()
}

#[test]
fn no_connection_leaves_anything_behind() {
    let kinds: [(&str, End); 6] = [
        ("opened and closed", |_, _| ()),
        ("reset", |client, _| client.reset()),
        ("ended within a line", |mut client, _| client.send(b"get a\r\nget b")),
        ("reset within a line", |mut client, _| {
            client.send(b"get a\r\nset b 0 0 1000\r\nabc");
            client.reset();
        }),
        ("reset within a long value", |mut client, number| {
            client.send(format!("set v{} 0 0 100000\r\nabc", number % 64).as_bytes());
            client.reset();
        }),
        ("gone without reading", |mut client, _| {
            client.wants_little_room();
            // It may be gone before all is sent.
            let _ = client.try_send(&b"get long\r\n".repeat(20));
        }),
    ];
    for io in IOS {
        let server = start(io, &["--workers", "2", "--memory", "64MiB"]);
        let mut first = StreamClient::tcp(server.addr);
        crate::set(&mut first, "long", &value(1, 100_000));
        // What the server opens once is open.
        let before = open_files(server.pid().as_raw());
        for (name, end) in kinds {
            let opened = server.stat("total_connections") as usize;
            for number in 0..CONNECTIONS {
                end(StreamClient::tcp(server.addr), number);
            }
            println!("{io}: {name}");
            // Those that were reset before they were accepted do not count.
            wait_until(&server, "total_connections", |total| total as usize > opened);
            wait_until(&server, "curr_connections", |open| open == 1);
            wait_until(&server, "unfinished_items", |items| items == 0);
            let began = Instant::now();
            while open_files(server.pid().as_raw()) != before {
                let now = open_files(server.pid().as_raw());
                assert!(began.elapsed() < crate::PATIENCE, "{io}, {name}: {now} files, before {before}");
            }
        }
        // All receive buffers are there: as many connections as there are buffers send at once.
        let ran_out = server.stat("stream_buffers_empty");
        let mut many: Vec<StreamClient> = (0..200).map(|_| StreamClient::tcp(server.addr)).collect();
        for _ in 0..20 {
            many.iter_mut().for_each(|client| client.send(b"get a\r\n"));
            assert!(many.iter_mut().all(|client| client.until(b"END\r\n") == b"END\r\n"));
        }
        assert_eq!(server.stat("stream_buffers_empty"), ran_out);
        server.terminate();
    }
}
