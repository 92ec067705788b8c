//! Prometheus metrics over HTTP: one thread waits for all its connections at once, and for none of them in particular.
//!
//! ```text
//! accepted ─▶ reading ─ the whole request ─▶ writing ─▶ (draining what is unread) ─▶ closed
//!               └─ its time is over, or room is needed for a newer one ─▶ closed
//! ```
//! No read and no write blocks, so that whoever is idle, slow or dripping delays nobody's scrape, nor the end of the process.
//! At most [`METRICS_CONNECTIONS_MAX`] are open, each for [`METRICS_REQUEST_MS`] as a whole. Whoever may not read data over UDP
//! may not scrape: its connection is closed at once.

use crate::guard::{Access, Right};
use crate::limits::{
    METRICS_ACCEPT_PAUSE_MS, METRICS_CONNECTIONS_MAX, METRICS_DRAIN_BYTES_MAX, METRICS_REQUEST_BYTES_MAX,
    METRICS_REQUEST_MS,
};
use crate::net::PeerAddr;
use crate::net::socket::listener::{Listener, bind_alone, start_to_listen};
use crate::server::figures::Figures;
use crate::server::http::{self, Answer};
use cache::base::sync::Arc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running endpoint.
pub struct Endpoint {
    /// Its other end tells the thread to end when this is closed.
    end: UnixStream,
    thread: JoinHandle<()>,
}

/// Binds `addr`; connections are refused until [`serve`].
///
/// # Errors
/// One line with the remedy.
pub fn bind(addr: SocketAddr) -> Result<Listener, String> {
    bind_alone(addr).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => format!("--metrics {addr} is in use: choose another ADDR:PORT"),
        ErrorKind::AddrNotAvailable => format!("--metrics {addr} is no address of this machine: see ip addr"),
        _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
            format!("cannot serve metrics on {addr}: {error}; see ulimit -n")
        }
        _ => format!("cannot serve metrics on {addr}: {error}"),
    })
}

/// Serves `figures` until it is joined.
///
/// # Errors
/// One line: no thread or descriptor is left, or somebody else listens on the address by now.
pub fn serve(bound: Listener, figures: Arc<Figures>, access: Access) -> Result<Endpoint, String> {
    let wrong = |e: io::Error| format!("cannot serve metrics on {}: {e}", bound.addr);
    start_to_listen(&bound.fd).map_err(wrong)?;
    let listener = TcpListener::from(bound.fd.try_clone().map_err(wrong)?);
    let (end, ended) = UnixStream::pair().map_err(wrong)?;
    let host =
        Host { listener, _bound: bound, ended, figures, access, connections: Vec::new(), paused_until: None };
    let thread = std::thread::Builder::new().name("metrics".into()).spawn(move || host.run());
    Ok(Endpoint { end, thread: thread.map_err(|e| crate::server::no_thread("metrics", &e))? })
}

impl Endpoint {
    /// Ends the thread. What is being answered is cut off.
    ///
    /// # Errors
    /// The thread panicked.
    pub fn join(self) -> Result<(), String> {
        drop(self.end);
        self.thread.join().map_err(|_| "the thread of --metrics panicked".into())
    }
}

/// The thread's own.
struct Host {
    listener: TcpListener,
    /// Whose address it is.
    _bound: Listener,
    ended: UnixStream,
    figures: Arc<Figures>,
    access: Access,
    /// The oldest first.
    connections: Vec<Connection>,
    /// When a connection could not be accepted, it is not tried again before.
    paused_until: Option<Instant>,
}

impl Host {
    fn run(mut self) {
        while let Some(has_new) = self.wait() {
            if has_new {
                self.accept();
            }
            let (figures, now) = (&self.figures, Instant::now());
            self.connections.retain_mut(|connection| {
                let is_late = now >= connection.until;
                // A client that has its answer loses nothing.
                figures.scrapes.metrics_closed.add((is_late && connection.stage != Stage::Draining) as u64);
                // A peer that goes away is its own trouble.
                !is_late && matches!(connection.advance(figures), Ok(false))
            });
        }
    }

    /// Waits for something to do; says whether there are new connections. `None` when it is to end.
    fn wait(&mut self) -> Option<bool> {
        let now = Instant::now();
        self.paused_until = self.paused_until.filter(|&until| until > now);
        let until = self.connections.iter().map(|connection| connection.until).chain(self.paused_until).min();
        let timeout = until.map_or(PollTimeout::NONE, |until| {
            // Rounded up: too early would be a turn for nothing.
            let ms = until.saturating_duration_since(now).as_millis() + 1;
            PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)
        });
        let new = if self.paused_until.is_some() { PollFlags::empty() } else { PollFlags::POLLIN };
        let mut fds =
            vec![PollFd::new(self.ended.as_fd(), PollFlags::POLLIN), PollFd::new(self.listener.as_fd(), new)];
        fds.extend(self.connections.iter().map(|connection| {
            let flags = if connection.is_writing() { PollFlags::POLLOUT } else { PollFlags::POLLIN };
            PollFd::new(connection.stream.as_fd(), flags)
        }));
        match poll(&mut fds, timeout) {
            Ok(_) if fds[0].any() == Some(true) => None,
            Ok(_) => Some(fds[1].any() == Some(true)),
            Err(nix::errno::Errno::EINTR) => Some(false),
            Err(_) => {
                // The kernel has no memory for it: not a reason to spin.
                std::thread::sleep(Duration::from_millis(METRICS_ACCEPT_PAUSE_MS));
                Some(false)
            }
        }
    }

    /// Takes the connections that wait, as many as there is room for in all.
    fn accept(&mut self) {
        for _ in 0..METRICS_CONNECTIONS_MAX {
            match self.listener.accept() {
                Ok((stream, addr)) => self.take(stream, addr),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(_) => {
                    // No descriptor or memory is left: the connection stays in the queue, and would be tried for ever.
                    self.figures.scrapes.metrics_accept_failures.add(1);
                    self.paused_until = Some(Instant::now() + Duration::from_millis(METRICS_ACCEPT_PAUSE_MS));
                    return;
                }
            }
        }
    }

    fn take(&mut self, stream: TcpStream, addr: SocketAddr) {
        if self.access.right(&PeerAddr::from(addr)) < Right::Data || stream.set_nonblocking(true).is_err() {
            return self.figures.scrapes.metrics_refused.add(1);
        }
        if self.connections.len() == METRICS_CONNECTIONS_MAX {
            // Whoever has asked already is answered first.
            let idle = self.connections.iter().position(|connection| !connection.is_writing());
            let closed = self.connections.remove(idle.unwrap_or(0));
            self.figures.scrapes.metrics_closed.add((closed.stage != Stage::Draining) as u64);
        }
        let mut connection = Connection::new(stream);
        // Its request may be there already; then no later one takes its place before it is read.
        if matches!(connection.advance(&self.figures), Ok(false)) {
            self.connections.push(connection);
        }
    }
}

/// One client.
struct Connection {
    stream: TcpStream,
    until: Instant,
    request: Vec<u8>,
    /// Empty until the request is whole.
    answer: Vec<u8>,
    written: usize,
    /// Bytes behind the head of the request, or behind what is taken of it, that were thrown away.
    drained: usize,
    stage: Stage,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Reading,
    /// The answer goes out. `has_rest`: bytes of the request may be unread.
    Writing {
        has_rest: bool,
    },
    /// The answer is out; what is left of the request is thrown away. Were the connection closed with something unread, the
    /// kernel would reset it, and the client might lose the answer.
    Draining,
}

impl Connection {
    fn new(stream: TcpStream) -> Connection {
        let until = Instant::now() + Duration::from_millis(METRICS_REQUEST_MS);
        let (request, answer, stage) = (Vec::new(), Vec::new(), Stage::Reading);
        Connection { stream, until, request, answer, written: 0, drained: 0, stage }
    }

    /// Whether its answer waits for the peer.
    fn is_writing(&self) -> bool {
        matches!(self.stage, Stage::Writing { .. })
    }

    /// Reads and writes as far as it goes without waiting; says whether all is done.
    fn advance(&mut self, figures: &Figures) -> io::Result<bool> {
        let is_done = self.advance_blocking(figures);
        match is_done {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            done => done,
        }
    }

    fn advance_blocking(&mut self, figures: &Figures) -> io::Result<bool> {
        let mut buffer = [0; 512];
        loop {
            match self.stage {
                Stage::Reading => match self.stream.read(&mut buffer)? {
                    0 => return Ok(true),
                    count => self.take(&buffer[..count], figures),
                },
                Stage::Writing { has_rest } if self.written == self.answer.len() => {
                    if !has_rest {
                        return Ok(true);
                    }
                    self.stream.shutdown(Shutdown::Write)?;
                    self.stage = Stage::Draining;
                }
                Stage::Writing { .. } => self.written += self.stream.write(&self.answer[self.written..])?,
                Stage::Draining => match self.stream.read(&mut buffer)? {
                    0 => return Ok(true),
                    count => self.drained += count,
                },
            }
            if self.drained > METRICS_DRAIN_BYTES_MAX {
                return Ok(true);
            }
        }
    }

    /// Takes more of the request; if it is whole, or too long, it is answered.
    fn take(&mut self, bytes: &[u8], figures: &Figures) {
        self.request.extend_from_slice(bytes);
        let head = http::head_bytes(&self.request);
        let answer = match head {
            Some(bytes) => http::answer(&self.request[..bytes]),
            None if self.request.len() >= METRICS_REQUEST_BYTES_MAX => Answer::TOO_LONG,
            None => return,
        };
        figures.scrapes.metrics_answered.add(1);
        self.answer = answer.message(|| figures.metrics(), figures.health.check());
        // A whole buffer may not have been all that there is.
        self.stage = Stage::Writing { has_rest: answer.is_error() || head != Some(self.request.len()) };
    }
}
