//! The cheapest possible server: answers every request with a miss, a train for a train. It bounds what the load
//! generator can generate, since no server answers faster.
//!
//! ```text
//! cargo run --release --example load_echo -- 127.0.0.1:22500 &
//! sherwood load --target 127.0.0.1:22500 --mix get:1 --window 512 --connections 4 --cpus 0
//! ```

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use std::io::{IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

const REPLY: &[u8] = b"\0\0\0\0\0\x01\0\0END\r\n";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("usage: load_echo ADDR:PORT")?;
    let socket = UdpSocket::bind(address)?;
    setsockopt(&socket, sockopt::UdpGroSegment, &true)?;
    // Without the privilege the system's limit applies.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20));
    let mut buffer = vec![0; 1 << 16];
    let mut control = nix::cmsg_space!(i32);
    let mut train = Vec::new();
    loop {
        let mut iov = [IoSliceMut::new(&mut buffer)];
        let fd = socket.as_raw_fd();
        let got = recvmsg::<SockaddrStorage>(fd, &mut iov, Some(&mut control), MsgFlags::empty())?;
        let bytes = got.bytes;
        let segment = got
            .cmsgs()?
            .find_map(|c| match c {
                ControlMessageOwned::UdpGroSegments(bytes) => Some(bytes as usize),
                _ => None,
            })
            .unwrap_or(bytes.max(1));
        let peer = got.address.ok_or("a datagram without a sender")?;
        train.clear();
        for request in buffer[..bytes].chunks(segment).filter(|r| r.len() >= 8) {
            train.extend_from_slice(&request[..2]);
            train.extend_from_slice(&REPLY[2..]);
        }
        let size = REPLY.len() as u16;
        // A peer that is gone is no reason to stop.
        let _ = sendmsg(
            fd,
            &[IoSlice::new(&train)],
            &[ControlMessage::UdpGsoSegments(&size)],
            MsgFlags::empty(),
            Some(&peer),
        );
    }
}
