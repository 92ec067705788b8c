//! Asking a server for its `stats` over UDP: a few tries, a time limit each, and an error that says what to do.

use crate::limits::DATAGRAM_BYTES_MAX;
use crate::load::datagrams::frame::Frame;
use crate::load::datagrams::reassembly::{Piece, Reassembly};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How long one try waits for the whole reply.
const PATIENCE: Duration = Duration::from_millis(500);
/// Tries before a server counts as silent: UDP may lose a datagram.
const TRIES_MAX: usize = 3;

/// A client that asks for figures.
pub struct Asker {
    target: SocketAddr,
    socket: UdpSocket,
    request_id: u16,
    replies: Reassembly,
}

impl Asker {
    /// A client of `target`.
    ///
    /// # Errors
    /// One line: no socket to this address can be had.
    pub fn connect(target: SocketAddr) -> Result<Asker, String> {
        let any: SocketAddr = match target {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).and_then(|socket| socket.connect(target).map(|()| socket));
        let socket = socket.map_err(|e| format!("cannot reach {target}: {e}"))?;
        Ok(Asker { target, socket, request_id: 0, replies: Reassembly::default() })
    }

    /// Who is asked.
    pub fn target(&self) -> SocketAddr {
        self.target
    }

    /// The figures of `stats WHAT`, in order; `None` if the server does not know this word.
    ///
    /// # Errors
    /// One line: nobody answers, or not to us.
    pub fn stats(&mut self, what: &str) -> Result<Option<Vec<(String, String)>>, String> {
        let command = if what.is_empty() { "stats\r\n".into() } else { format!("stats {what}\r\n") };
        let reply = self.ask(command.as_bytes())?;
        let text = String::from_utf8_lossy(&reply);
        if text.contains("not allowed") {
            return Err(format!(
                "{} does not show its figures to this address: start it with --admin NETWORK",
                self.target
            ));
        }
        let Some(body) = text.strip_suffix("END\r\n") else { return Ok(None) };
        let figure = |line: &str| {
            let (name, value) = line.strip_prefix("STAT ")?.split_once(' ')?;
            Some((name.to_owned(), value.trim_end().to_owned()))
        };
        Ok(Some(body.lines().filter_map(figure).collect()))
    }

    /// The body of the whole reply to a request.
    fn ask(&mut self, body: &[u8]) -> Result<Vec<u8>, String> {
        let Asker { target, .. } = *self;
        for _ in 0..TRIES_MAX {
            self.request_id = self.request_id.wrapping_add(1);
            let datagram = [&Frame::request(self.request_id)[..], body].concat();
            let reply = self.socket.send(&datagram).and_then(|_| self.receive());
            match reply {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => {}
                Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
                    return Err(format!(
                        "nobody listens on {target}: is the server running, and on this port?"
                    ));
                }
                Err(e) => return Err(format!("cannot ask {target}: {e}")),
            }
        }
        Err(format!(
            "{target} gives no stats ({TRIES_MAX} × {} ms): only loopback and --admin get them",
            PATIENCE.as_millis()
        ))
    }

    /// The reply to the last request; `None` when the time is over.
    fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        let until = Instant::now() + PATIENCE;
        let mut partial = None;
        let mut whole = None;
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        while whole.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.socket.set_read_timeout(Some(left))?;
            let length = match self.socket.recv(&mut buffer) {
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                received => received?,
            };
            // What is no reply, or one to an earlier try, is nobody's business.
            let Some((frame, body)) = Frame::decode(&buffer[..length]) else { continue };
            if frame.request_id != self.request_id {
                continue;
            }
            let Some(id) = partial.or_else(|| self.replies.begin(frame.total)) else { break };
            partial = Some(id);
            if self.replies.add(id, frame, body) == Piece::Whole {
                whole = Some(self.replies.message(id).to_vec());
            }
        }
        partial.into_iter().for_each(|id| self.replies.release(id));
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers every request with these datagram bodies, in this order.
    fn server(pieces: Vec<(u16, &'static [u8])>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                let (asked, _) = Frame::decode(&buffer[..length]).unwrap();
                let total = pieces.len() as u16;
                for &(sequence, body) in &pieces {
                    let frame = Frame { request_id: asked.request_id, sequence, total };
                    socket.send_to(&[&frame.encode()[..], body].concat(), peer).unwrap();
                }
            }
        });
        addr
    }

    fn figures(pieces: Vec<(u16, &'static [u8])>) -> Result<Option<Vec<(String, String)>>, String> {
        Asker::connect(server(pieces)).unwrap().stats("")
    }

    #[test]
    fn datagrams_are_put_in_order() {
        let told = figures(vec![(1, b" 2\r\nEND\r\n"), (0, b"STAT a 1 x\r\nSTAT b")]).unwrap().unwrap();
        assert_eq!(told, [("a".into(), "1 x".into()), ("b".into(), "2".into())]);
    }

    #[test]
    fn what_is_unknown_is_none_and_what_is_forbidden_says_the_remedy() {
        assert_eq!(figures(vec![(0, b"ERROR\r\n")]), Ok(None));
        let error = figures(vec![(0, b"CLIENT_ERROR command not allowed\r\n")]).unwrap_err();
        assert!(error.contains("--admin"), "{error}");
    }

    #[test]
    fn silence_and_absence_are_told_apart() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = silent.local_addr().unwrap();
        let error = Asker::connect(addr).unwrap().stats("").unwrap_err();
        assert!(error.contains("gives no stats"), "{error}");
        drop(silent);
        let error = Asker::connect(addr).unwrap().stats("").unwrap_err();
        assert!(error.contains("nobody listens"), "{error}");
    }
}
