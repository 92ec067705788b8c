//! A client over a real UDP socket to which silence is an answer, too.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// A client that sends one datagram and waits for one reply message.
pub struct Client {
    socket: UdpSocket,
    request_id: u16,
}

impl Client {
    pub fn new(server: SocketAddr) -> Client {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        Client { socket, request_id: 0 }
    }

    /// Asks for a socket buffer that holds a reply of many datagrams; says whether it is there.
    pub fn wants_room_for(&self, bytes: usize) -> bool {
        use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
        setsockopt(&self.socket, RcvBufForce, &bytes).is_ok()
    }

    /// Sends a datagram as it is, frame header included.
    pub fn send_raw(&self, datagram: &[u8]) {
        self.socket.send(datagram).unwrap();
    }

    /// Sends a body in a frame and returns the body of the whole reply; `None` after two seconds of silence.
    pub fn ask(&mut self, body: &[u8]) -> Option<Vec<u8>> {
        self.request_id = self.request_id.wrapping_add(1);
        let mut datagram = vec![0; 8];
        datagram[..2].copy_from_slice(&self.request_id.to_be_bytes());
        datagram[5] = 1;
        datagram.extend_from_slice(body);
        self.send_raw(&datagram);
        let mut parts: Vec<Option<Vec<u8>>> = Vec::new();
        self.socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut buffer = [0; 65_536];
        loop {
            let length = self.socket.recv(&mut buffer).ok()?;
            let field = |i: usize| u16::from_be_bytes([buffer[i], buffer[i + 1]]);
            assert!(length > 8 && length <= 1400, "a reply datagram of {length} bytes");
            if field(0) != self.request_id {
                continue;
            }
            let (sequence, total) = (field(2) as usize, field(4) as usize);
            assert!(sequence < total && field(6) == 0);
            parts.resize(total, None);
            parts[sequence] = Some(buffer[8..length].to_vec());
            if parts.iter().all(Option::is_some) {
                return Some(parts.into_iter().flatten().flatten().collect());
            }
        }
    }
}
