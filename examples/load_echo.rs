//! The cheapest possible server: answers every request without looking anything up, a train for a train. It bounds what
//! the load generator can generate, and what any server could answer, since none answers faster.
//!
//! ```text
//! cargo run --release --example load_echo -- 127.0.0.1:22500 &         # every get misses: the smallest reply
//! cargo run --release --example load_echo -- 127.0.0.1:22500 100 &     # every key of a get hits, with 100 bytes
//! sherwood load --target 127.0.0.1:22500 --mix get:1 --window 512 --connections 4 --cpus 0
//! ```
//! Replies that are longer than a datagram are split as a memcached would; what is equally long travels together.

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use sherwood::limits::{DATAGRAM_BYTES_MAX, REPLY_DATAGRAM_BYTES_MAX, TRAIN_SEGMENTS_MAX};
use sherwood::load::datagrams::frame::Frame;
use std::io::{IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, RawFd};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("usage: load_echo ADDR:PORT [VALUE_BYTES]")?;
    let value = arguments.next().map(|bytes| bytes.parse()).transpose()?.map(Value::new);
    let socket = UdpSocket::bind(address)?;
    setsockopt(&socket, sockopt::UdpGroSegment, &true)?;
    // Without the privilege the system's limit applies.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20));
    let mut buffer = vec![0; 1 << 16];
    let mut control = nix::cmsg_space!(i32);
    let mut runs = Runs::default();
    let mut body = Vec::new();
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
        for (frame, request) in buffer[..bytes].chunks(segment).filter_map(Frame::decode) {
            body.clear();
            if let Some(value) = &value {
                value.answer(request, &mut body);
            }
            body.extend_from_slice(b"END\r\n");
            runs.add(frame.request_id, &body);
        }
        runs.send(fd, &peer);
    }
}

/// What every key has: the bytes behind it in a reply.
struct Value(Vec<u8>);

impl Value {
    fn new(bytes: usize) -> Value {
        Value([format!(" 0 {bytes}\r\n").as_bytes(), &vec![b'v'; bytes], b"\r\n"].concat())
    }

    fn answer(&self, request: &[u8], body: &mut Vec<u8>) {
        let line = request.strip_suffix(b"\r\n").unwrap_or(request);
        for key in line.split(|&byte| byte == b' ').skip(1) {
            body.extend_from_slice(b"VALUE ");
            body.extend_from_slice(key);
            body.extend_from_slice(&self.0);
        }
    }
}

/// Datagrams of one length, waiting to be sent together.
#[derive(Default)]
struct Run {
    bytes: Vec<u8>,
    length: usize,
}

/// Runs by length; replies to equal requests have few lengths.
#[derive(Default)]
struct Runs(Vec<Run>);

impl Runs {
    fn add(&mut self, request_id: u16, body: &[u8]) {
        let pieces = body.chunks(REPLY_DATAGRAM_BYTES_MAX - 8);
        let total = pieces.len() as u16;
        for (sequence, piece) in (0..).zip(pieces) {
            let header = Frame { request_id, sequence, total }.encode();
            let length = header.len() + piece.len();
            let at = self.0.iter().position(|run| run.length == length).unwrap_or_else(|| {
                self.0.push(Run { bytes: Vec::new(), length });
                self.0.len() - 1
            });
            self.0[at].bytes.extend_from_slice(&header);
            self.0[at].bytes.extend_from_slice(piece);
        }
    }

    fn send(&mut self, fd: RawFd, peer: &SockaddrStorage) {
        for run in &mut self.0 {
            let segments = TRAIN_SEGMENTS_MAX.min(DATAGRAM_BYTES_MAX / run.length);
            for train in run.bytes.chunks(segments * run.length) {
                let size = run.length as u16;
                let control = [ControlMessage::UdpGsoSegments(&size)];
                // A peer that is gone is no reason to stop.
                let _ = sendmsg(fd, &[IoSlice::new(train)], &control, MsgFlags::empty(), Some(peer));
            }
            run.bytes.clear();
        }
    }
}
