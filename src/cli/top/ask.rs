//! Asking a server for its `stats`, over UDP, TCP or a UNIX socket: a time limit, and an error that says what to do.

mod datagrams;
mod streams;

use crate::load::target::Peer;
use crate::load::transport::Kind;
use datagrams::{Datagrams, TRIES_MAX};
use std::io;
use std::time::Duration;
use streams::Streams;

/// How long one try waits for the whole reply.
const PATIENCE: Duration = Duration::from_millis(500);

/// A client that asks for figures.
pub struct Asker {
    target: Peer,
    wire: Wire,
    /// The other way, where nobody has answered yet and none was asked for.
    otherwise: Option<Wire>,
}

/// How it asks.
enum Wire {
    Datagrams(Datagrams),
    Streams(Streams),
}

/// Why there is no answer.
enum Silence {
    /// Nobody listens there.
    Nobody,
    /// Somebody does and says nothing in time.
    Mute,
    /// The system's error.
    Failed(io::Error),
}

impl Asker {
    /// A client of `target`; without a transport of its own it tries UDP, and then TCP.
    ///
    /// # Errors
    /// One line: no socket to this address can be had.
    pub fn connect(target: Peer, transport: Option<Kind>) -> Result<Asker, String> {
        let streams = Wire::Streams(Streams::new(target.clone()));
        let (wire, otherwise) = match (transport, target.ip()) {
            (None | Some(Kind::Udp), Some(address)) => {
                let socket = Datagrams::connect(address);
                let socket = socket.map_err(|e| format!("cannot reach {target}: {e}"))?;
                (Wire::Datagrams(socket), transport.is_none().then_some(streams))
            }
            _ => (streams, None),
        };
        Ok(Asker { target, wire, otherwise })
    }

    /// Who is asked.
    pub fn target(&self) -> &Peer {
        &self.target
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

    /// The whole reply to a request. The first answer decides which way is taken from then on.
    fn ask(&mut self, body: &[u8]) -> Result<Vec<u8>, String> {
        let asked = self.wire.ask(body);
        let silence = match asked {
            Ok(reply) => {
                self.otherwise = None;
                return Ok(reply);
            }
            Err(silence) => silence,
        };
        if let Some(mut other) = self.otherwise.take() {
            if let Ok(reply) = other.ask(body) {
                self.wire = other;
                return Ok(reply);
            }
            self.otherwise = Some(other);
        }
        Err(self.why(&silence))
    }

    /// The line for a server that gave no answer.
    fn why(&self, silence: &Silence) -> String {
        let Asker { target, .. } = self;
        let neither = if self.otherwise.is_some() { ", neither on UDP nor on TCP" } else { "" };
        match (silence, &self.wire) {
            (Silence::Nobody, _) => {
                format!("nobody listens on {target}{neither}: is the server running, and at this address?")
            }
            (Silence::Mute, Wire::Datagrams(_)) => format!(
                "{target} gives no stats ({TRIES_MAX} × {} ms): only loopback and --admin get them",
                PATIENCE.as_millis()
            ),
            (Silence::Mute, Wire::Streams(_)) => {
                format!("{target} gives no stats within {} ms: is it a memcached?", PATIENCE.as_millis())
            }
            (Silence::Failed(error), _) => format!("cannot ask {target}: {error}"),
        }
    }
}

impl Wire {
    fn ask(&mut self, body: &[u8]) -> Result<Vec<u8>, Silence> {
        match self {
            Wire::Datagrams(datagrams) => datagrams.ask(body),
            Wire::Streams(streams) => streams.ask(body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::datagrams::frame::Frame;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, UdpSocket};
    use std::os::unix::net::UnixListener;

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
        Asker::connect(server(pieces).into(), None).unwrap().stats("")
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
        let error = Asker::connect(addr.into(), None).unwrap().stats("").unwrap_err();
        assert!(error.contains("gives no stats"), "{error}");
        drop(silent);
        let error = Asker::connect(addr.into(), None).unwrap().stats("").unwrap_err();
        assert!(error.contains("nobody listens"), "{error}");
    }

    /// Answers every request on one connection after another, cut in two, and closes each after two answers.
    fn serve<S: Read + Write>(streams: impl Iterator<Item = S> + Send + 'static) {
        std::thread::spawn(move || {
            for mut stream in streams {
                for _ in 0..2 {
                    if stream.read(&mut [0; 64]).is_ok_and(|length| length > 0) {
                        // The reader may be gone.
                        let _ = stream.write_all(b"STAT a 1\r\nSTAT b EN");
                        let _ = stream.write_all(b"D\r\nEND\r\n");
                    }
                }
            }
        });
    }

    #[test]
    fn streams_are_asked_and_opened_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = Peer::from(listener.local_addr().unwrap());
        serve((0..).map_while(move |_| listener.accept().ok().map(|(stream, _)| stream)));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        serve((0..).map_while(move |_| listener.accept().ok().map(|(stream, _)| stream)));
        // Nobody has this port of UDP, or somebody who does not answer: TCP it is.
        for (peer, transport) in [(tcp.clone(), None), (tcp, Some(Kind::Tcp)), (Peer::Unix(path), None)] {
            let mut asker = Asker::connect(peer, transport).unwrap();
            for _ in 0..5 {
                let told = asker.stats("").unwrap().unwrap();
                assert_eq!(told, [("a".into(), "1".into()), ("b".into(), "END".into())]);
            }
        }
        let nobody = Peer::Unix(folder.path().join("nobody"));
        let error = Asker::connect(nobody, None).unwrap().stats("").unwrap_err();
        assert!(error.contains("nobody listens on unix:/"), "{error}");
    }
}
