//! Prometheus metrics over HTTP: one thread waits for all its connections at once, and for none of them in particular.
//!
//! ```text
//! accepted ─▶ reading ─ the whole request ─▶ writing ─▶ closed
//!               └─ its time is over, or room is needed for a newer one ─▶ closed
//! ```
//! No read and no write blocks, so that whoever is idle, slow or dripping delays nobody's scrape, nor the end of the process.
//! At most [`METRICS_CONNECTIONS_MAX`] are open, each for [`METRICS_REQUEST_MS`] as a whole. Whoever may not read data over UDP
//! may not scrape: its connection is closed at once.

use crate::io::PeerAddr;
use crate::limits::{
    METRICS_ACCEPT_PAUSE_MS, METRICS_CONNECTIONS_MAX, METRICS_REQUEST_BYTES_MAX, METRICS_REQUEST_MS,
};
use crate::server::figures::Figures;
use crate::worker::access::{Access, Right};
use cache::base::sync::Arc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
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

/// Listens on `addr`; nobody is answered yet.
///
/// # Errors
/// One line with the remedy.
pub fn listen(addr: SocketAddr) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(addr).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => format!("--metrics {addr} is in use: choose another ADDR:PORT"),
        ErrorKind::AddrNotAvailable => format!("--metrics {addr} is no address of this machine: see ip addr"),
        _ => format!("cannot serve metrics on {addr}: {error}"),
    })?;
    listener.set_nonblocking(true).map_err(|e| format!("cannot serve metrics on {addr}: {e}"))?;
    Ok(listener)
}

/// Serves `figures` until it is joined.
///
/// # Errors
/// One line: no thread or descriptor is left.
pub fn serve(listener: TcpListener, figures: Arc<Figures>, access: Access) -> Result<Endpoint, String> {
    let wrong = |e: io::Error| format!("cannot serve metrics: {e}");
    let (end, ended) = UnixStream::pair().map_err(wrong)?;
    let host = Host { listener, ended, figures, access, connections: Vec::new(), paused_until: None };
    let thread = std::thread::Builder::new().name("metrics".into()).spawn(move || host.run());
    Ok(Endpoint { end, thread: thread.map_err(wrong)? })
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
                figures.scrapes.metrics_closed.add(is_late as u64);
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
            let flags = if connection.is_answered() { PollFlags::POLLOUT } else { PollFlags::POLLIN };
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
            let idle = self.connections.iter().position(|connection| !connection.is_answered());
            self.connections.remove(idle.unwrap_or(0));
            self.figures.scrapes.metrics_closed.add(1);
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
}

impl Connection {
    fn new(stream: TcpStream) -> Connection {
        let until = Instant::now() + Duration::from_millis(METRICS_REQUEST_MS);
        Connection { stream, until, request: Vec::new(), answer: Vec::new(), written: 0 }
    }

    fn is_answered(&self) -> bool {
        !self.answer.is_empty()
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
        while !self.is_answered() {
            match self.stream.read(&mut buffer)? {
                0 => return Ok(true),
                count => self.request.extend_from_slice(&buffer[..count]),
            }
            let is_whole = self.request.windows(4).any(|end| end == b"\r\n\r\n");
            if is_whole || self.request.len() >= METRICS_REQUEST_BYTES_MAX {
                figures.scrapes.metrics_answered.add(1);
                self.answer = answer(&self.request, figures);
            }
        }
        while self.written < self.answer.len() {
            self.written += self.stream.write(&self.answer[self.written..])?;
        }
        Ok(true)
    }
}

fn answer(request: &[u8], figures: &Figures) -> Vec<u8> {
    let is_known = |method: &str| request.starts_with(format!("{method} /metrics").as_bytes());
    let (status, body) = match is_known("GET") || is_known("HEAD") {
        true => ("200 OK", figures.metrics()),
        false => ("404 Not Found", "metrics are at /metrics\n".into()),
    };
    let shown = if request.starts_with(b"HEAD ") { "" } else { &body };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{shown}"
    )
    .into_bytes()
}
