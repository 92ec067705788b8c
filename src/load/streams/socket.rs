//! A stream to a server, over TCP or a UNIX socket: non-blocking, without delay of short writes.

use crate::load::target::Peer;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, connect, recv,
    send, setsockopt, socket, sockopt,
};
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long the first connection to a server may take.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// One stream.
pub struct Socket {
    inner: OwnedFd,
}

/// What became of a read or a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// So many bytes, at least one.
    Bytes(usize),
    /// None now: the queue is full, or nothing waits, or the connection is not made yet.
    Nothing,
    /// The connection is over: closed, reset or refused.
    Broken,
}

impl Socket {
    /// Connects, and waits until that is done.
    ///
    /// # Errors
    /// The system's.
    pub fn connect(peer: &Peer) -> io::Result<Socket> {
        let inner: OwnedFd = match peer {
            Peer::Ip(address) => {
                let stream = TcpStream::connect_timeout(address, CONNECT_WAIT)?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                stream.into()
            }
            Peer::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                stream.into()
            }
        };
        Ok(Socket { inner })
    }

    /// Begins to connect. Until it is connected reads and writes do nothing, and if that fails they say so.
    ///
    /// # Errors
    /// The system's: no descriptor is left, or the server refuses at once.
    pub fn begin(peer: &Peer) -> io::Result<Socket> {
        match peer {
            Peer::Ip(address) => {
                let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
                Self::begin_to(family, &SockaddrStorage::from(*address), true)
            }
            Peer::Unix(path) => Self::begin_to(AddressFamily::Unix, &UnixAddr::new(path.as_path())?, false),
        }
    }

    fn begin_to(family: AddressFamily, to: &dyn SockaddrLike, has_delay: bool) -> io::Result<Socket> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let inner = socket(family, SockType::Stream, flags, None)?;
        if has_delay {
            setsockopt(&inner, sockopt::TcpNoDelay, &true)?;
        }
        match connect(inner.as_raw_fd(), to) {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(Socket { inner }),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Reads what is there, as much as fits.
    #[inline]
    pub fn read(&self, room: &mut [u8]) -> Moved {
        match recv(self.inner.as_raw_fd(), room, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Moved::Broken,
            other => moved(other),
        }
    }

    /// Writes as much as the queue takes.
    #[inline]
    pub fn write(&self, bytes: &[u8]) -> Moved {
        moved(send(self.inner.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL))
    }

    /// For polling.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

fn moved(result: nix::Result<usize>) -> Moved {
    match result {
        Ok(bytes) => Moved::Bytes(bytes),
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS | Errno::ENOTCONN) => Moved::Nothing,
        Err(_) => Moved::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_connection_that_is_begun_carries_bytes_once_it_is_made() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = Socket::begin(&listener.local_addr().unwrap().into()).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        while socket.write(b"hello") == Moved::Nothing {
            std::thread::yield_now();
        }
        let mut room = [0; 5];
        io::Read::read_exact(&mut served, &mut room).unwrap();
        assert_eq!((&room, socket.read(&mut [0; 5])), (b"hello", Moved::Nothing));
        drop(served);
        while socket.read(&mut [0; 5]) == Moved::Nothing {
            std::thread::yield_now();
        }
        assert_eq!(socket.read(&mut [0; 5]), Moved::Broken);
    }

    #[test]
    fn a_refused_one_is_broken() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(Socket::connect(&address.into()).is_err());
        let socket = Socket::begin(&address.into());
        // Loopback refuses at once or a moment later.
        if let Ok(socket) = socket {
            while socket.read(&mut [0; 5]) == Moved::Nothing {
                std::thread::yield_now();
            }
        }
        let folder = tempfile::tempdir().unwrap();
        assert!(Socket::begin(&Peer::Unix(folder.path().join("nobody"))).is_err());
    }
}
