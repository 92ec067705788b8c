//! A client over a real UDP socket that checks every frame that it gets.

use protocol::batch::MARK;
use protocol::frame::Header;
use sherwood::limits::REPLY_DATAGRAM_BYTES_MAX;
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// Longer than a busy machine keeps a thread from running, so that only a fault runs into it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client.
pub struct Peer {
    socket: UdpSocket,
    last_id: u16,
    preface: Vec<u8>,
}

impl Peer {
    /// A client of a server.
    pub fn new(server: SocketAddr) -> Peer {
        Peer::from_address("127.0.0.1", server)
    }

    /// A client with this address.
    pub fn from_address(address: &str, server: SocketAddr) -> Peer {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Peer { socket, last_id: 0, preface: Vec::new() }
    }

    /// Asks for a socket buffer that holds a reply of many datagrams; says whether it is there.
    pub fn wants_room_for(&self, bytes: usize) -> bool {
        use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
        setsockopt(&self.socket, RcvBufForce, &bytes).is_ok()
    }

    /// Sends bytes as they are, frame or not.
    pub fn send_raw(&self, datagram: &[u8]) {
        self.socket.send(datagram).unwrap();
    }

    /// Puts a line before the commands of every request from now on.
    pub fn set_preface(&mut self, line: &[u8]) {
        self.preface = line.to_vec();
    }

    /// The line that is put before the commands.
    pub fn preface(&self) -> &[u8] {
        &self.preface
    }

    /// Sends a request; returns its id.
    pub fn send(&mut self, body: &[u8]) -> u16 {
        let body = [&self.preface[..], body].concat();
        self.send_plain(&body)
    }

    /// Sends a request without the line that is put before others.
    pub fn send_plain(&mut self, body: &[u8]) -> u16 {
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
        self.marked_reply(id, 0)
    }

    /// The same of a reply whose frames have this in their reserved field.
    pub fn marked_reply(&mut self, id: u16, mark: u16) -> Vec<u8> {
        let (mut parts, mut whole) = (0, Vec::new());
        loop {
            let (header, body, length) = self.receive();
            assert_eq!(header.request_id, id, "a reply to another request: {}", body.escape_ascii());
            assert!(header.sequence < header.total && header.reserved == mark, "{header:?}");
            assert!(length <= REPLY_DATAGRAM_BYTES_MAX, "a datagram of {length} bytes");
            let is_last = header.sequence + 1 == header.total;
            assert!(is_last || length == REPLY_DATAGRAM_BYTES_MAX, "only the last may be shorter");
            assert_eq!(header.sequence, parts, "the datagrams of a reply come in their order");
            (parts, whole) = (parts + 1, [whole, body].concat());
            if parts == header.total {
                return whole;
            }
        }
    }

    /// The bodies of the replies to so many requests, in whichever order they come, by their ids.
    pub fn replies(&mut self, requests: usize) -> BTreeMap<u16, Vec<u8>> {
        let (mut parts, mut whole) = (BTreeMap::<u16, BTreeMap<u16, Vec<u8>>>::new(), BTreeMap::new());
        while whole.len() < requests {
            let (header, body, _) = self.receive();
            let of_request = parts.entry(header.request_id).or_default();
            assert!(of_request.insert(header.sequence, body).is_none(), "a datagram came twice");
            if of_request.len() == header.total as usize {
                let body = parts.remove(&header.request_id).unwrap().into_values().flatten().collect();
                assert!(whole.insert(header.request_id, body).is_none(), "a reply came twice");
            }
        }
        whole
    }

    /// The body of a reply of one datagram, to whichever request.
    pub fn any_reply(&mut self) -> Vec<u8> {
        let (header, body, _) = self.receive();
        assert_eq!((header.sequence, header.total, header.reserved), (0, 1, 0));
        body
    }

    /// Sends a request and returns the body of its reply.
    pub fn ask(&mut self, body: &[u8]) -> Vec<u8> {
        let id = self.send(body);
        self.reply(id)
    }

    /// Sends a batch frame as it is, but for its id, and returns the body of its reply.
    pub fn ask_frame(&mut self, frame: &[u8]) -> Vec<u8> {
        let id = self.send_whole(frame);
        self.marked_reply(id, MARK)
    }

    /// Sends a datagram as it is, but for its id, which it returns.
    pub fn send_whole(&mut self, frame: &[u8]) -> u16 {
        self.last_id = self.last_id.wrapping_add(1);
        self.socket.send(&[&self.last_id.to_be_bytes(), &frame[2..]].concat()).unwrap();
        self.last_id
    }

    /// The bodies of all replies to the last request, if there are any.
    ///
    /// Two `mn` follow the request, one after the answer to the other: replies of one turn of the server may overtake
    /// each other, those of two turns do not.
    pub fn until_fence(&mut self) -> Vec<u8> {
        let request = self.last_id;
        let mut bodies = Vec::new();
        for _ in 0..2 {
            let fence = self.send(b"mn\r\n");
            loop {
                let (header, body, _) = self.receive();
                if header.request_id == fence {
                    assert_eq!(body, b"MN\r\n");
                    break;
                }
                assert_eq!(header.request_id, request, "a reply to another request: {}", body.escape_ascii());
                bodies.extend_from_slice(&body);
            }
        }
        bodies
    }

    /// The body of the reply to request `id`, `None` after so long a silence. Replies to other requests are passed over.
    pub fn reply_within(&self, id: u16, patience: Duration) -> Option<Vec<u8>> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut parts = BTreeMap::new();
        let reply = loop {
            let Ok((header, body, length)) = self.try_receive() else { break None };
            assert!(!body.is_empty() && length <= REPLY_DATAGRAM_BYTES_MAX, "a datagram of {length} bytes");
            if header.request_id != id {
                continue;
            }
            assert!(header.sequence < header.total && header.reserved == 0, "{header:?}");
            parts.insert(header.sequence, body);
            if parts.len() == header.total as usize {
                break Some(parts.into_values().flatten().collect());
            }
        };
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        reply
    }

    fn receive(&self) -> (Header, Vec<u8>, usize) {
        self.try_receive().expect("no reply")
    }

    fn try_receive(&self) -> io::Result<(Header, Vec<u8>, usize)> {
        let mut buffer = [0; 65_536];
        let length = loop {
            match self.socket.recv(&mut buffer) {
                // A ring of this process may interrupt a wait with a deadline.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        let (header, body) = Header::split(&buffer[..length]).expect("a frame");
        Ok((header, body.to_vec(), length))
    }
}
