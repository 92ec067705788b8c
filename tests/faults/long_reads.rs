//! Over a connection a `get` may have any number of keys, and its line may come in any pieces: with nothing but spaces for long, and cut
//! within a key.

use crate::support::program::Program;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than any test waits for an answer that comes.
const ANSWER: Duration = Duration::from_secs(20);

/// Reads until the answer ends with this.
fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let mut some = [0; 4096];
        let bytes = stream.read(&mut some).expect("an answer in time");
        assert!(bytes > 0, "closed behind {}", text.escape_ascii());
        text.extend_from_slice(&some[..bytes]);
    }
    String::from_utf8(text).unwrap()
}

/// A second command on another connection is answered, so what was sent before it has been looked at: both are with one worker.
fn let_it_be_read(other: &mut TcpStream) {
    other.write_all(b"version\r\n").unwrap();
    read_to(other, "\r\n");
}

#[test]
fn a_read_longer_than_a_line_may_come_in_any_pieces() {
    let program = Program::serve(&[]);
    let addr = program.ready();
    let open = || {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(ANSWER)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    };
    let (mut client, mut other) = (open(), open());
    // The verb is no key, though there is nothing else for long.
    client.write_all(b"set get 0 0 4\r\nverb\r\nset key 0 0 1\r\nx\r\n").unwrap();
    assert_eq!(read_to(&mut client, "STORED\r\nSTORED\r\n"), "STORED\r\nSTORED\r\n");
    let (spaces, keys, found) = (" ".repeat(3_000), "none ".repeat(600), "VALUE key 0 1\r\nx\r\n");
    for pieces in [
        vec!["get ", &spaces, "key", "\r\n"],
        vec!["get ", &spaces, &spaces, "k", "ey\r\n"],
        vec!["get none", &spaces, "ke", "y", "\r", "\n"],
        vec!["get ", &keys, "k", "e", "y\r\n"],
        vec!["get ", &keys, "ke", "y ", &keys, "\n"],
    ] {
        for piece in &pieces {
            client.write_all(piece.as_bytes()).unwrap();
            let_it_be_read(&mut other);
        }
        assert_eq!(read_to(&mut client, "END\r\n"), format!("{found}END\r\n"), "{pieces:?}");
    }
    let (status, said, _) = program.terminate();
    assert!(status.success(), "{said}");
}
