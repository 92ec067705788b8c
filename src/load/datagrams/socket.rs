//! A client's socket: connected, non-blocking, with segmentation offload both ways where the kernel has it.
//!
//! A train is one `sendmsg` with `UDP_SEGMENT` (udp(7)): the stack is traversed once for up to 64 datagrams. With
//! `UDP_GRO` the kernel hands equal datagrams back the same way, and says how long each is.

use crate::limits::DATAGRAM_BYTES_MAX;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Bytes of receive buffer that each socket asks for.
pub const RECEIVE_QUEUE_BYTES: usize = 4 << 20;

/// One connected socket.
pub struct Socket {
    inner: UdpSocket,
    coalesce: bool,
    /// Longest segment that the path took as part of a train; 0 after the kernel refused trains altogether.
    segment_bytes_max: usize,
    control: Vec<u8>,
    /// Trains that had to be sent datagram by datagram.
    pub trains_split: u64,
}

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// All of it left.
    All,
    /// The socket's queue is full; nothing left.
    Full,
    /// The kernel refused it; nothing left.
    Failed(Errno),
}

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// This many bytes: datagrams of `segment_bytes`, the last perhaps shorter.
    Train {
        /// Bytes in all.
        bytes: usize,
        /// Bytes of each datagram.
        segment_bytes: usize,
    },
    /// Nothing waits.
    Nothing,
    /// The peer answered "port unreachable": nobody listens there.
    Refused,
}

impl Socket {
    /// A socket to `peer`.
    ///
    /// # Errors
    /// The system's, when it cannot be opened or connected.
    pub fn connect(peer: SocketAddr, coalesce: bool) -> io::Result<Socket> {
        let any: SocketAddr = match peer {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let inner = UdpSocket::bind(any)?;
        inner.connect(peer)?;
        inner.set_nonblocking(true)?;
        // Forcing needs CAP_NET_ADMIN; without it the system's limit applies, and losses are counted as such.
        if setsockopt(&inner, sockopt::RcvBufForce, &RECEIVE_QUEUE_BYTES).is_err() {
            setsockopt(&inner, sockopt::RcvBuf, &RECEIVE_QUEUE_BYTES)?;
        }
        // A kernel before 5.0 has no UDP_GRO: datagrams then come one by one, which is right, only slower.
        let gro = coalesce && setsockopt(&inner, sockopt::UdpGroSegment, &true).is_ok();
        let control = if gro { nix::cmsg_space!(i32) } else { Vec::new() };
        let segment_bytes_max = if coalesce { DATAGRAM_BYTES_MAX } else { 0 };
        Ok(Socket { inner, coalesce, segment_bytes_max, control, trains_split: 0 })
    }

    /// Whether datagrams of `bytes` may travel as a train.
    #[inline]
    pub fn coalesces(&self, bytes: usize) -> bool {
        self.coalesce && bytes <= self.segment_bytes_max
    }

    /// Sends datagrams of `segment_bytes` each (the last may be shorter) in one go.
    pub fn send(&mut self, train: &[u8], segment_bytes: usize) -> Sent {
        if train.len() <= segment_bytes {
            return self.send_one(train);
        }
        let size = segment_bytes as u16;
        let control = [ControlMessage::UdpGsoSegments(&size)];
        let sent = sendmsg::<()>(
            self.inner.as_raw_fd(),
            &[IoSlice::new(train)],
            &control,
            MsgFlags::MSG_DONTWAIT,
            None,
        );
        match sent {
            // A route whose MTU is below the segment: EINVAL or EMSGSIZE; a device without checksum offload: EIO.
            Err(e @ (Errno::EINVAL | Errno::EMSGSIZE | Errno::EIO)) => {
                self.segment_bytes_max = if e == Errno::EIO { 0 } else { segment_bytes - 1 };
                self.send_split(train, segment_bytes)
            }
            // A late "port unreachable" of an earlier datagram is reported here; this train did not leave.
            Err(Errno::ECONNREFUSED) => self.send_split(train, segment_bytes),
            other => outcome(other),
        }
    }

    fn send_split(&mut self, train: &[u8], segment_bytes: usize) -> Sent {
        self.trains_split += 1;
        let mut last = Sent::All;
        for datagram in train.chunks(segment_bytes) {
            last = self.send_one(datagram);
        }
        last
    }

    fn send_one(&mut self, datagram: &[u8]) -> Sent {
        let send = |inner: &UdpSocket| {
            let iov = [IoSlice::new(datagram)];
            sendmsg::<()>(inner.as_raw_fd(), &iov, &[], MsgFlags::MSG_DONTWAIT, None)
        };
        match send(&self.inner) {
            // The error belongs to an earlier datagram; this one is still to be sent.
            Err(Errno::ECONNREFUSED) => outcome(send(&self.inner)),
            other => outcome(other),
        }
    }

    /// Receives one train into `buffer`, which should hold 64 KiB.
    #[inline]
    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
        let mut iov = [IoSliceMut::new(buffer)];
        let fd = self.inner.as_raw_fd();
        let control = if self.control.is_empty() { None } else { Some(&mut self.control[..]) };
        match recvmsg::<SockaddrStorage>(fd, &mut iov, control, MsgFlags::MSG_DONTWAIT) {
            Ok(message) => {
                let mut segment_bytes = message.bytes;
                for control in message.cmsgs().into_iter().flatten() {
                    if let ControlMessageOwned::UdpGroSegments(bytes) = control {
                        segment_bytes = bytes as usize;
                    }
                }
                Received::Train { bytes: message.bytes, segment_bytes: segment_bytes.max(1) }
            }
            Err(Errno::ECONNREFUSED) => Received::Refused,
            Err(_) => Received::Nothing,
        }
    }

    /// For polling.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

fn outcome(sent: nix::Result<usize>) -> Sent {
    match sent {
        Ok(_) => Sent::All,
        Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) => Sent::Full,
        Err(errno) => Sent::Failed(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_train_arrives_as_its_datagrams() {
        for coalesce in [true, false] {
            let server = UdpSocket::bind("127.0.0.1:0").unwrap();
            let mut socket = Socket::connect(server.local_addr().unwrap(), coalesce).unwrap();
            let train: Vec<u8> = (0..10u8).flat_map(|i| [i; 20]).collect();
            assert_eq!(socket.send(&train, 20), Sent::All);
            let mut buffer = [0; 100];
            for i in 0..10u8 {
                let (bytes, peer) = server.recv_from(&mut buffer).unwrap();
                assert_eq!(&buffer[..bytes], [i; 20]);
                server.send_to(&buffer[..bytes], peer).unwrap();
            }
            let mut back = Vec::new();
            let mut room = vec![0; 1 << 16];
            while back.len() < train.len() {
                if let Received::Train { bytes, segment_bytes } = socket.receive(&mut room) {
                    assert_eq!(segment_bytes, 20);
                    back.extend_from_slice(&room[..bytes]);
                }
            }
            assert_eq!(back, train);
        }
    }
}
