//! A client over a connection, TCP or UNIX, that knows where the reply to what it has sent ends.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longer than a busy machine keeps a thread from running, so that only a fault runs into it.
pub const PATIENCE: Duration = Duration::from_secs(30);

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection.
pub struct StreamClient {
    socket: Socket,
    /// What came behind the last thing that was looked for.
    ahead: Vec<u8>,
    fences: u64,
}

impl StreamClient {
    /// Over TCP.
    pub fn tcp(addr: SocketAddr) -> StreamClient {
        StreamClient::try_tcp(addr).unwrap()
    }

    /// The same from an address of this machine.
    pub fn tcp_from(address: &str, addr: SocketAddr) -> StreamClient {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        let from: SocketAddr = SocketAddr::new(address.parse().unwrap(), 0);
        let raw = std::os::fd::AsRawFd::as_raw_fd(&fd);
        let [from, to] = [from, addr].map(|addr| match addr {
            SocketAddr::V4(addr) => SockaddrIn::from(addr),
            SocketAddr::V6(_) => unreachable!("no test asks for it"),
        });
        bind(raw, &from).unwrap();
        connect(raw, &to).unwrap();
        let stream = TcpStream::from(fd);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        StreamClient::of(Socket::Tcp(stream))
    }

    /// The same, where the connection may be refused.
    pub fn try_tcp(addr: SocketAddr) -> io::Result<StreamClient> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(StreamClient::of(Socket::Tcp(stream)))
    }

    /// Over a UNIX socket.
    pub fn unix(path: &Path) -> StreamClient {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        StreamClient::of(Socket::Unix(stream))
    }

    fn of(socket: Socket) -> StreamClient {
        StreamClient { socket, ahead: Vec::new(), fences: 0 }
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    /// The same, where the server may have ended the connection.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    /// Sends every byte by itself.
    pub fn send_cut(&mut self, bytes: &[u8]) -> io::Result<()> {
        bytes.chunks(1).try_for_each(|byte| self.try_send(byte))
    }

    /// Sends nothing more; what comes is still received.
    pub fn end(&self) {
        match &self.socket {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
        }
    }

    /// Breaks the connection: the server is told so by a reset, and what is under way is lost.
    pub fn reset(self) {
        if let Socket::Tcp(stream) = &self.socket {
            let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            nix::sys::socket::setsockopt(stream, nix::sys::socket::sockopt::Linger, &linger).unwrap();
        }
    }

    /// A small receive buffer, so that a server soon finds no room.
    pub fn wants_little_room(&self) {
        nix::sys::socket::setsockopt(self, nix::sys::socket::sockopt::RcvBuf, &4096).unwrap();
    }

    /// Receives so many bytes.
    pub fn receive(&mut self, bytes: usize) -> Vec<u8> {
        let mut received = vec![0; bytes];
        self.read_exact(&mut received).expect("a reply");
        received
    }

    /// Receives so many bytes, or what comes up to the end of the connection; says whether all came.
    pub fn receive_up_to(&mut self, bytes: usize) -> (Vec<u8>, bool) {
        let (mut received, mut at) = (vec![0; bytes], 0);
        while at < bytes {
            match self.read(&mut received[at..]) {
                Ok(0) => break,
                Ok(more) => at += more,
                Err(error) if is_end(&error) => break,
                Err(error) => panic!("{error} after {at} bytes"),
            }
        }
        received.truncate(at);
        (received, at == bytes)
    }

    /// Receives what comes up to this.
    pub fn until(&mut self, end: &[u8]) -> Vec<u8> {
        let (received, is_there) = self.until_or_end(end);
        assert!(is_there, "the connection ended: {}", received.escape_ascii());
        received
    }

    /// Receives what comes up to this, or to the end of the connection; says which.
    pub fn until_or_end(&mut self, end: &[u8]) -> (Vec<u8>, bool) {
        let mut received = std::mem::take(&mut self.ahead);
        let mut looked_at = 0;
        loop {
            if let Some(at) = find(&received[looked_at..], end) {
                self.ahead = received.split_off(looked_at + at + end.len());
                return (received, true);
            }
            looked_at = received.len().saturating_sub(end.len());
            let mut room = [0; 65_536];
            match self.read(&mut room) {
                Ok(0) => return (received, false),
                Ok(bytes) => received.extend_from_slice(&room[..bytes]),
                Err(error) if is_end(&error) => return (received, false),
                Err(error) => panic!("{error}; so far {}", received.escape_ascii()),
            }
        }
    }

    /// Receives a line, without its end.
    pub fn line(&mut self) -> String {
        let mut line = self.until(b"\r\n");
        line.truncate(line.len() - 2);
        String::from_utf8(line).unwrap()
    }

    /// Receives all that comes until the server ends the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        // No reply has it.
        let (rest, _) = self.until_or_end(b"\xff\xfe\xfd\xfc\xfb");
        rest
    }

    /// A command whose answer is like no other; the bytes to send, and the answer.
    pub fn fence(&mut self) -> (Vec<u8>, Vec<u8>) {
        self.fences += 1;
        let number = self.fences;
        let command = format!("md no-such-key-{number} Ofence{number}\r\n");
        (command.into_bytes(), format!("NF Ofence{number}\r\n").into_bytes())
    }

    /// All that is answered to what was sent before.
    pub fn until_fence(&mut self) -> Vec<u8> {
        let (command, answer) = self.fence();
        self.send(&command);
        let mut reply = self.until(&answer);
        reply.truncate(reply.len() - answer.len());
        reply
    }

    /// Sends commands and returns what they are answered.
    pub fn ask(&mut self, commands: &[u8]) -> Vec<u8> {
        self.send(commands);
        self.until_fence()
    }

    /// The same as text.
    pub fn asks(&mut self, commands: &str) -> String {
        String::from_utf8(self.ask(commands.as_bytes())).unwrap()
    }

    /// A figure of `stats`.
    pub fn stat(&mut self, name: &str) -> u64 {
        let text = self.asks("stats\r\n");
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().parse().unwrap()
    }
}

/// Whether an error is an end of the connection.
pub fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, what)
}

impl AsFd for StreamClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for StreamClient {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.ahead.is_empty() {
            let bytes = into.len().min(self.ahead.len());
            into[..bytes].copy_from_slice(&self.ahead[..bytes]);
            self.ahead.drain(..bytes);
            return Ok(bytes);
        }
        loop {
            let read = match &mut self.socket {
                Socket::Tcp(stream) => stream.read(into),
                Socket::Unix(stream) => stream.read(into),
            };
            match read {
                // A ring of this process may interrupt a wait with a deadline.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Write for StreamClient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.socket {
            Socket::Tcp(stream) => stream.write(bytes),
            Socket::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
