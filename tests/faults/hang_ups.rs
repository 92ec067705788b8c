//! What cannot be a request of memcached is hung up on without a word, as memcached does: HTTP, and a line without an end. A line that is only
//! wrong has an answer, and the connection goes on.

use crate::support::program::Program;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than any test waits for an answer that comes.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn who_speaks_http_or_no_lines_is_hung_up_on() {
    let program = Program::serve(&[]);
    let addr = program.ready();
    let open = || {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let endless = ["incr ", &" ".repeat(16_384), "key 1"].concat();
    for request in
        ["GET / HTTP/1.0\r\n", "PUT /key HTTP/1.1\r\n", "DELETE HTTP/1.1\n", &" ".repeat(30_000), &endless]
    {
        let mut stream = open();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            // A hang-up, too: not all of a long line may have been read.
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{request:.20}: {error}");
        }
        assert!(answer.is_empty(), "{:.20}: {}", request, answer.escape_ascii());
    }
    let mut stream = open();
    for (request, want) in [
        ("PUT key\r\n", "ERROR\r\n"),
        ("HTTP/1.1 key\r\n", "ERROR\r\n"),
        ("shutdown now\r\n", "CLIENT_ERROR invalid shutdown mode\r\n"),
        ("shutdown\r\n", "ERROR: shutdown not enabled\r\n"),
    ] {
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = vec![0; want.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), want, "{request}");
    }
    let (status, said, _) = program.terminate();
    assert!(status.success(), "{said}");
}
