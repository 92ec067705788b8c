//! What a socket connected to its peer would save: replies sent from one socket to a named peer, as the server does it,
//! and from a socket that is connected to that peer.
//!
//! `cargo bench --bench send`: datagrams of 140 bytes (a hit of 100 bytes), one a message and 64 a message (GSO), over
//! loopback, interleaved rounds, medians. Time is that of the sending calls alone; the receiver is drained in between.
//! With `-- --smoke` one short round: CI runs it so that it cannot rot.

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg, setsockopt, sockopt};
use std::io::IoSlice;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const DATAGRAM_BYTES: usize = 140;
/// Messages between two drains; they fit the receiver's buffer.
const BURST: usize = 8;

struct Sender {
    socket: UdpSocket,
    peer: Option<SockaddrStorage>,
}

impl Sender {
    fn new(receiver: &UdpSocket, connected: bool) -> Sender {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer = receiver.local_addr().unwrap();
        if connected {
            socket.connect(peer).unwrap();
        }
        Sender { socket, peer: (!connected).then(|| peer.into()) }
    }

    /// Sends a burst of messages of `datagrams` each, and says how long that took.
    fn burst(&self, payload: &[u8], datagrams: usize) -> Duration {
        let segment = DATAGRAM_BYTES as u16;
        let control = [ControlMessage::UdpGsoSegments(&segment)];
        let control = if datagrams > 1 { &control[..] } else { &[] };
        let pieces = [IoSlice::new(&payload[..datagrams * DATAGRAM_BYTES])];
        let began = Instant::now();
        for _ in 0..BURST {
            let flags = MsgFlags::MSG_DONTWAIT;
            sendmsg(self.socket.as_raw_fd(), &pieces, control, flags, self.peer.as_ref()).unwrap();
        }
        began.elapsed()
    }
}

fn drain(receiver: &UdpSocket, buffer: &mut [u8]) {
    while receiver.recv(buffer).is_ok() {}
}

fn median(mut ns: Vec<f64>) -> f64 {
    ns.sort_by(f64::total_cmp);
    ns[ns.len() / 2]
}

fn main() {
    let smoke = std::env::args().any(|arg| arg == "--smoke" || arg == "--test");
    let (rounds, bursts) = if smoke { (1, 10) } else { (41, 500) };
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_nonblocking(true).unwrap();
    setsockopt(&receiver, sockopt::RcvBuf, &(4 << 20)).unwrap();
    // Trains are taken as trains, or the receiver's side of the cut would be the sender's time.
    setsockopt(&receiver, sockopt::UdpGroSegment, &true).unwrap();
    let senders = [Sender::new(&receiver, false), Sender::new(&receiver, true)];
    let payload = vec![7; 64 * DATAGRAM_BYTES];
    let mut buffer = vec![0; 1 << 16];
    println!("{:<24} {:>14} {:>14} {:>8}", "datagrams a message", "named peer, ns", "connected, ns", "ratio");
    for datagrams in [1, 16, 64] {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for (sender, times) in senders.iter().zip(&mut times) {
                let mut total = Duration::ZERO;
                for _ in 0..bursts {
                    total += sender.burst(&payload, datagrams);
                    drain(&receiver, &mut buffer);
                }
                times.push(total.as_nanos() as f64 / (BURST * bursts) as f64);
            }
        }
        let [named, connected] = times.map(median);
        println!("{datagrams:<24} {named:>14.0} {connected:>14.0} {:>8.3}", connected / named);
    }
}
