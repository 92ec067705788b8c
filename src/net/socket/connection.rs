//! What the ports ask of the socket of a connection, beside receiving and sending.

#![allow(unsafe_code)]

use crate::limits::{CLOSE_DISCARDED_BYTES_MAX, STREAM_BUFFER_BYTES};
use nix::sys::socket::{MsgFlags, recv};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Throws away what a connection has sent and nobody received, [`CLOSE_DISCARDED_BYTES_MAX`] at most: a TCP socket that is closed with input
/// unread resets the connection, and what it still had to send is lost.
pub fn discard_input(connection: BorrowedFd) {
    let mut scratch = [0; STREAM_BUFFER_BYTES];
    for _ in 0..CLOSE_DISCARDED_BYTES_MAX / STREAM_BUFFER_BYTES {
        match recv(connection.as_raw_fd(), &mut scratch, MsgFlags::MSG_DONTWAIT) {
            Ok(1..) => {}
            _ => return,
        }
    }
}

/// Bytes that were sent and that the peer has not taken: of TCP what its kernel has not acknowledged, of UNIX what it has not read, with
/// the memory that holds it (`tcp(7)`, `unix(7)`: `SIOCOUTQ`).
pub fn outgoing_bytes(connection: BorrowedFd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open while it is borrowed, and the request writes one int.
    let result = unsafe { libc::ioctl(connection.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    // An error means that it is no connection any more.
    if result == 0 { bytes.max(0) as usize } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    fn tcp_pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn a_peer_gets_what_it_was_sent_although_it_has_sent_more_than_was_read() {
        let (mut client, mut server) = tcp_pair();
        // More than the buffers hold, so that some is left to be sent at the close.
        server.set_nonblocking(true).unwrap();
        let piece = [b'r'; 1 << 16];
        let mut sent = 0;
        while let Ok(bytes) = server.write(&piece) {
            sent += bytes;
        }
        client.write_all(b"unread").unwrap();
        discard_input(server.as_fd());
        drop(server);
        let mut replies = Vec::new();
        client.read_to_end(&mut replies).unwrap();
        assert_eq!(replies.len(), sent);
    }

    #[test]
    fn outgoing_bytes_fall_to_zero_when_the_peer_takes_them() {
        let (mut client, mut server) = UnixStream::pair().unwrap();
        assert_eq!(outgoing_bytes(server.as_fd()), 0);
        server.write_all(&[1; 1000]).unwrap();
        assert!(outgoing_bytes(server.as_fd()) >= 1000);
        client.read_exact(&mut [0; 1000]).unwrap();
        assert_eq!(outgoing_bytes(server.as_fd()), 0);
    }

    #[test]
    fn outgoing_bytes_of_tcp_stay_while_the_peer_has_no_room() {
        let (client, mut server) = tcp_pair();
        server.set_nonblocking(true).unwrap();
        while server.write(&[0; 1 << 16]).is_ok() {}
        assert!(outgoing_bytes(server.as_fd()) > 0);
        drop(client);
    }
}
