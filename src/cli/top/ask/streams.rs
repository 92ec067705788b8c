//! Asking over TCP or a UNIX socket. A connection that broke, as one that was idle for too long, is opened again once.

use super::{PATIENCE, Silence};
use crate::load::target::Peer;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A connection that is opened when it is needed.
pub(super) struct Streams {
    target: Peer,
    stream: Option<Box<dyn Stream>>,
}

/// Either kind of stream.
trait Stream: Read + Write {
    fn wait_at_most(&self, time: std::time::Duration) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn wait_at_most(&self, time: std::time::Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }
}

impl Stream for UnixStream {
    fn wait_at_most(&self, time: std::time::Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }
}

impl Streams {
    /// Asks this server.
    pub fn new(target: Peer) -> Streams {
        Streams { target, stream: None }
    }

    /// The whole answer to a request, up to its `END` or error.
    pub fn ask(&mut self, body: &[u8]) -> Result<Vec<u8>, Silence> {
        let was_open = self.stream.is_some();
        match self.try_ask(body) {
            Err(Silence::Failed(_)) if was_open => self.try_ask(body),
            asked => asked,
        }
    }

    fn try_ask(&mut self, body: &[u8]) -> Result<Vec<u8>, Silence> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.open()?,
        };
        let answer =
            stream.write_all(body).and_then(|()| read(&mut *stream)).map_err(|e| match e.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Silence::Mute,
                _ => Silence::Failed(e),
            })?;
        // Only a connection whose answers are all read goes on: a late one would be taken for the next.
        self.stream = Some(stream);
        Ok(answer)
    }

    fn open(&self) -> Result<Box<dyn Stream>, Silence> {
        let opened: io::Result<Box<dyn Stream>> = match &self.target {
            Peer::Ip(address) => {
                TcpStream::connect_timeout(address, PATIENCE).map(|stream| Box::new(stream) as _)
            }
            Peer::Unix(path) => UnixStream::connect(path).map(|stream| Box::new(stream) as _),
        };
        opened.map_err(|e| match e.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => Silence::Nobody,
            ErrorKind::TimedOut => Silence::Mute,
            _ => Silence::Failed(e),
        })
    }
}

/// Reads an answer.
fn read(stream: &mut dyn Stream) -> io::Result<Vec<u8>> {
    let until = Instant::now() + PATIENCE;
    let (mut answer, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    while !is_whole(&answer) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.wait_at_most(left)?;
        match stream.read(&mut buffer) {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "it closed the connection")),
            Ok(length) => answer.extend_from_slice(&buffer[..length]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(io::Error::other("its answer does not end"));
        }
    }
    Ok(answer)
}

/// Whether an answer has its last line.
fn is_whole(answer: &[u8]) -> bool {
    let is_error = |line: &[u8]| {
        [&b"ERROR"[..], b"CLIENT_ERROR ", b"SERVER_ERROR "].iter().any(|error| line.starts_with(error))
    };
    answer.ends_with(b"END\r\n") && (answer.len() == 5 || answer[..answer.len() - 5].ends_with(b"\r\n"))
        || answer.ends_with(b"\r\n") && is_error(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_with_end_or_is_an_error() {
        for whole in ["END\r\n", "STAT a 1\r\nEND\r\n", "ERROR\r\n", "CLIENT_ERROR command not allowed\r\n"] {
            assert!(is_whole(whole.as_bytes()), "{whole}");
        }
        for cut in ["", "EN", "STAT a END\r\n", "STAT a 1\r\n", "ERROR", "STAT a 1\r\nEND"] {
            assert!(!is_whole(cut.as_bytes()), "{cut}");
        }
    }
}
