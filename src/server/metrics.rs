//! Prometheus metrics over HTTP: one thread, one connection at a time, one answer.

use crate::server::figures::Figures;
use crate::sync::{Arc, AtomicBool, Ordering};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

const REQUEST_BYTES_MAX: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(1);

/// A running endpoint.
pub struct Endpoint {
    /// Where it listens, the port filled in.
    pub addr: SocketAddr,
    thread: JoinHandle<()>,
}

/// Serves `figures` on `addr` until `stop`.
///
/// # Errors
/// The address is in use or not ours.
pub fn serve(addr: SocketAddr, figures: Arc<Figures>, stop: Arc<AtomicBool>) -> std::io::Result<Endpoint> {
    let listener = TcpListener::bind(addr)?;
    let addr = listener.local_addr()?;
    let thread = std::thread::Builder::new().name("metrics".into()).spawn(move || {
        for stream in listener.incoming() {
            // Acquire: pairs with the Release of `Server::stop`, which then connects to end the wait.
            if stop.load(Ordering::Acquire) {
                return;
            }
            // A peer that goes away is its own trouble.
            let _ = stream.and_then(|stream| answer(stream, &figures));
        }
    })?;
    Ok(Endpoint { addr, thread })
}

impl Endpoint {
    /// Ends the thread; its stop flag is set already.
    pub fn join(self) {
        // The connection ends the wait for one.
        let _ = TcpStream::connect_timeout(&self.addr, PATIENCE);
        let _ = self.thread.join();
    }
}

fn answer(mut stream: TcpStream, figures: &Figures) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    let mut buffer = [0; 512];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < REQUEST_BYTES_MAX {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => request.extend_from_slice(&buffer[..count]),
        }
    }
    let (status, body) = match request.starts_with(b"GET /metrics") {
        true => ("200 OK", figures.metrics()),
        false => ("404 Not Found", "metrics are at /metrics\n".into()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}
