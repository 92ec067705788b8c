//! The file of `--peers` changes while a server runs, and becomes wrong: connections are told the last good list.

use crate::support::program::Program;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Longer than any test waits for an answer that comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a command is answered, up to its `END`.
fn ask(stream: &mut TcpStream, command: &str) -> String {
    stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"END\r\n") {
        let mut some = [0; 4096];
        let bytes = stream.read(&mut some).expect("an answer in time");
        assert!(bytes > 0, "closed behind {}", text.escape_ascii());
        text.extend_from_slice(&some[..bytes]);
    }
    String::from_utf8(text).unwrap()
}

/// The version and the servers that a client is told.
fn cluster(stream: &mut TcpStream) -> (u64, String) {
    let text = ask(stream, "config get cluster");
    let (head, body) = text.split_once("\r\n").unwrap();
    let bytes: usize = head.strip_prefix("CONFIG cluster 0 ").unwrap().parse().unwrap();
    assert_eq!(&body[bytes..], "\r\nEND\r\n", "{text}");
    let mut lines = body[..bytes].lines();
    (lines.next().unwrap().parse().unwrap(), lines.next().unwrap().to_owned())
}

/// Asks until it is so.
fn until(stream: &mut TcpStream, is_so: impl Fn(&mut TcpStream) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so(stream) {
        assert!(Instant::now() < end, "it did not come to that in {PATIENCE:?}");
    }
}

#[test]
fn a_file_that_became_wrong_is_said_once_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    let rename = |text: &str| {
        let new = folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &path).unwrap();
    };
    rename("a.example|10.0.0.1 11211\n");
    let program = Program::serve(&["--peers", path.to_str().unwrap()]);
    let mut client = TcpStream::connect(program.ready()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let (first, servers) = cluster(&mut client);
    assert_eq!(servers, "a.example|10.0.0.1|11211");

    rename("a.example|10.0.0.1 11211\n10.0.0.2 7\n");
    until(&mut client, |client| cluster(client).1 == "a.example|10.0.0.1|11211 10.0.0.2|10.0.0.2|7");
    let (second, _) = cluster(&mut client);
    assert!(second > first, "{second} after {first}");

    rename("nonsense\n");
    until(&mut client, |client| {
        let same = cluster(client).0;
        assert_eq!(same, second, "the last good list");
        ask(client, "stats").contains("STAT peers_file_failures 1\r\n")
    });
    assert!(program.says("line 1").contains("goes on with version"));
    let (status, said, _) = program.terminate();
    assert!(status.success() && !said.contains("line 1"), "{said}");
}
