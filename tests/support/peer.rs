//! A client over a real UDP socket that checks every frame that it gets.

use sherwood::config::limits::REPLY_DATAGRAM_BYTES_MAX;
use sherwood::protocol::frame::Header;
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// Longer than a busy machine keeps a thread from running, so that only a fault runs into it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client.
pub struct Peer {
    socket: UdpSocket,
    last_id: u16,
    strict: bool,
}

impl Peer {
    /// A client that holds the server to our promises: one message a request, 1400 bytes a datagram.
    pub fn new(server: SocketAddr) -> Peer {
        Peer::with(server, true)
    }

    /// A client that takes messages as memcached sends them: one for each key.
    pub fn lenient(server: SocketAddr) -> Peer {
        Peer::with(server, false)
    }

    fn with(server: SocketAddr, strict: bool) -> Peer {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Peer { socket, last_id: 0, strict }
    }

    /// Sends bytes as they are, frame or not.
    pub fn send_raw(&self, datagram: &[u8]) {
        self.socket.send(datagram).unwrap();
    }

    /// Sends a request; returns its id.
    pub fn send(&mut self, body: &[u8]) -> u16 {
        self.send_frame(Header { total: 1, ..Header::default() }, body)
    }

    /// Sends a request whose frame says what `header` says, but for the id.
    pub fn send_frame(&mut self, header: Header, body: &[u8]) -> u16 {
        self.last_id = self.last_id.wrapping_add(1);
        let header = Header { request_id: self.last_id, ..header };
        let datagram = [&header.to_bytes()[..], body].concat();
        self.socket.send(&datagram).unwrap();
        self.last_id
    }

    /// The id of the last request.
    pub fn last_id(&self) -> u16 {
        self.last_id
    }

    /// The body of the reply to request `id`, which is the next one that comes.
    pub fn reply(&mut self, id: u16) -> Vec<u8> {
        let mut parts = BTreeMap::new();
        loop {
            let (header, body, length) = self.receive();
            assert_eq!(header.request_id, id, "a reply to another request: {}", body.escape_ascii());
            assert!(header.sequence < header.total && header.reserved == 0, "{header:?}");
            assert!(length <= REPLY_DATAGRAM_BYTES_MAX, "a datagram of {length} bytes");
            let is_last = header.sequence + 1 == header.total;
            assert!(is_last || length == REPLY_DATAGRAM_BYTES_MAX, "only the last may be shorter");
            assert!(parts.insert(header.sequence, body).is_none(), "sequence {} twice", header.sequence);
            if parts.len() == header.total as usize {
                return parts.into_values().flatten().collect();
            }
        }
    }

    /// Sends a request and returns the body of its reply.
    pub fn ask(&mut self, body: &[u8]) -> Vec<u8> {
        let id = self.send(body);
        self.reply(id)
    }

    /// The bodies of all datagrams that come before the answer to an `mn` that is sent now.
    pub fn until_fence(&mut self) -> Vec<u8> {
        let before = self.last_id;
        let fence = self.send(b"mn\r\n");
        let mut bodies = Vec::new();
        loop {
            let (header, body, _) = self.receive();
            if header.request_id == fence {
                assert_eq!(body, b"MN\r\n");
                return bodies;
            }
            assert!(!self.strict || header.request_id == before, "a reply to request {}", header.request_id);
            bodies.extend_from_slice(&body);
        }
    }

    fn receive(&self) -> (Header, Vec<u8>, usize) {
        let mut buffer = [0; 65_536];
        let length = self.socket.recv(&mut buffer).expect("no reply");
        let (header, body) = Header::split(&buffer[..length]).expect("a frame");
        (header, body.to_vec(), length)
    }
}
