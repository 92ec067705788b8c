//! A memcached-like UDP server in a thread, with faults that depend on nothing but the number of the request.
//!
//! It speaks enough of the text and meta protocols for the load generator, one datagram at a time, and is simple
//! enough to be believed. It ends when it is dropped.

use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What goes wrong. A number `n` means: at every n-th request; 0: never.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    /// The reply is not sent.
    pub drop: u64,
    /// The reply is sent twice.
    pub duplicate: u64,
    /// The reply is sent after the next one.
    pub swap: u64,
    /// The reply is sent this long after it was due.
    pub hold: (u64, Duration),
    /// A byte of the value is changed.
    pub flip: u64,
    /// Another key's value is returned.
    pub other: u64,
    /// A set is acknowledged and not done.
    pub forget: u64,
    /// The request is answered with an error.
    pub error: u64,
    /// Once, after this many requests, the server does nothing for this long.
    pub stall: (u64, Duration),
    /// Datagrams of one reply are sent last first.
    pub backwards: bool,
    /// One reply message a key, as memcached does it.
    pub split_keys: bool,
}

/// What the server saw and did.
#[derive(Clone, Default)]
pub struct Seen {
    /// Datagrams received.
    pub requests: u64,
    /// Commands, each key of a get counted.
    pub commands: u64,
    /// Replies dropped, in commands.
    pub dropped: u64,
    /// Replies sent twice, in datagrams.
    pub duplicated: u64,
    /// Replies held back, in datagrams.
    pub held: u64,
    /// Values spoilt.
    pub spoilt: u64,
    /// Errors sent.
    pub errors: u64,
    /// The first bodies, for comparing runs.
    pub bodies: Vec<Vec<u8>>,
}

/// A running server.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts one with these faults.
    pub fn start(faults: Faults) -> Server {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let address = socket.local_addr().unwrap();
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let (their_seen, their_stop) = (seen.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut state = State { faults, socket, ..State::new(faults) };
            while !their_stop.load(Ordering::Relaxed) {
                state.turn(&their_seen);
            }
        });
        Server { address, seen, stop, thread: Some(thread) }
    }

    /// What it saw so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

struct State {
    faults: Faults,
    socket: UdpSocket,
    items: HashMap<Vec<u8>, Vec<u8>>,
    held: VecDeque<(Instant, Vec<u8>, SocketAddr)>,
    swapped: Option<(Vec<Vec<u8>>, SocketAddr)>,
    number: u64,
}

impl State {
    fn new(faults: Faults) -> State {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        State { faults, socket, items: HashMap::new(), held: VecDeque::new(), swapped: None, number: 0 }
    }

    fn turn(&mut self, seen: &Mutex<Seen>) {
        let mut buffer = vec![0; 1 << 16];
        let got = self.socket.recv_from(&mut buffer);
        while self.held.front().is_some_and(|h| h.0 <= Instant::now()) {
            let (_, datagram, peer) = self.held.pop_front().unwrap();
            self.socket.send_to(&datagram, peer).unwrap();
        }
        let Ok((bytes, peer)) = got else { return };
        self.number += 1;
        if self.faults.stall.0 == self.number {
            std::thread::sleep(self.faults.stall.1); // the fault itself, not a wait for something
        }
        let mut seen = seen.lock().unwrap();
        seen.requests += 1;
        if seen.bodies.len() < 500 {
            seen.bodies.push(buffer[8..bytes].to_vec());
        }
        let commands = count_commands(&buffer[8..bytes]);
        seen.commands += commands;
        let messages = self.messages(&buffer[8..bytes], &mut seen);
        let mut datagrams: Vec<Vec<u8>> = Vec::new();
        for message in messages {
            datagrams.extend(split([buffer[0], buffer[1]], &message));
        }
        if self.faults.backwards {
            datagrams.reverse();
        }
        self.reply(datagrams, peer, commands, &mut seen);
    }

    fn reply(&mut self, datagrams: Vec<Vec<u8>>, peer: SocketAddr, commands: u64, seen: &mut Seen) {
        if self.due(self.faults.drop) {
            seen.dropped += commands;
            return;
        }
        if self.due(self.faults.hold.0) {
            for datagram in datagrams {
                seen.held += 1;
                self.held.push_back((Instant::now() + self.faults.hold.1, datagram, peer));
            }
            return;
        }
        if self.due(self.faults.swap) && self.swapped.is_none() {
            self.swapped = Some((datagrams, peer));
            return;
        }
        let twice = self.due(self.faults.duplicate);
        for datagram in &datagrams {
            self.socket.send_to(datagram, peer).unwrap();
            if twice {
                seen.duplicated += 1;
                self.socket.send_to(datagram, peer).unwrap();
            }
        }
        if let Some((datagrams, peer)) = self.swapped.take() {
            for datagram in datagrams {
                self.socket.send_to(&datagram, peer).unwrap();
            }
        }
    }

    fn due(&self, every: u64) -> bool {
        every > 0 && self.number.is_multiple_of(every)
    }

    /// The reply messages to one datagram: one, or with `split_keys` one a key.
    fn messages(&mut self, body: &[u8], seen: &mut Seen) -> Vec<Vec<u8>> {
        if self.due(self.faults.error) {
            seen.errors += count_commands(body);
            return vec![b"SERVER_ERROR busy\r\n".repeat(lines(body))];
        }
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let mut rest = body;
        while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
            let line: Vec<&[u8]> = rest[..end].split(|&b| b == b' ').collect();
            rest = &rest[end + 2..];
            match line[0] {
                b"get" => {
                    for key in &line[1..] {
                        let Some(value) = self.value(key, seen) else { continue };
                        let head = format!("VALUE {} 0 {}\r\n", key.escape_ascii(), value.len());
                        parts.push([head.as_bytes(), &value, b"\r\n"].concat());
                    }
                    match parts.last_mut() {
                        Some(last) => last.extend_from_slice(b"END\r\n"),
                        None => parts.push(b"END\r\n".to_vec()),
                    }
                }
                b"mg" if line[2].starts_with(b"T") => parts.push(self.known(line[1], b"HD\r\n", b"EN\r\n")),
                b"mg" => {
                    let flags: Vec<u8> = line[2..]
                        .iter()
                        .filter_map(|f| match f[0] {
                            b'k' => Some([b" k", line[1]].concat()),
                            b'O' => Some([b" ", *f].concat()),
                            _ => None,
                        })
                        .flatten()
                        .collect();
                    parts.push(match self.value(line[1], seen) {
                        None => [b"EN", &flags[..], b"\r\n"].concat(),
                        Some(value) => {
                            let head = format!("VA {}", value.len());
                            [head.as_bytes(), &flags, b"\r\n", &value, b"\r\n"].concat()
                        }
                    });
                }
                b"set" | b"ms" => {
                    let at = if line[0] == b"set" { 4 } else { 2 };
                    let bytes: usize = std::str::from_utf8(line[at]).unwrap().parse().unwrap();
                    if !self.due(self.faults.forget) {
                        self.items.insert(line[1].to_vec(), rest[..bytes].to_vec());
                    }
                    rest = &rest[bytes + 2..];
                    parts.push(if at == 4 { b"STORED\r\n".to_vec() } else { b"HD\r\n".to_vec() });
                }
                b"touch" => parts.push(self.known(line[1], b"TOUCHED\r\n", b"NOT_FOUND\r\n")),
                b"delete" | b"md" => {
                    let (yes, no): (&[u8], &[u8]) = if line[0] == b"md" {
                        (b"HD\r\n", b"NF\r\n")
                    } else {
                        (b"DELETED\r\n", b"NOT_FOUND\r\n")
                    };
                    parts.push(self.known(line[1], yes, no));
                    self.items.remove(line[1]);
                }
                other => panic!("the test server does not know {}", other.escape_ascii()),
            }
        }
        if self.faults.split_keys { parts } else { vec![parts.concat()] }
    }

    fn known(&self, key: &[u8], yes: &[u8], no: &[u8]) -> Vec<u8> {
        if self.items.contains_key(key) { yes.to_vec() } else { no.to_vec() }
    }

    fn value(&mut self, key: &[u8], seen: &mut Seen) -> Option<Vec<u8>> {
        let mut value = self.items.get(key)?.clone();
        if self.due(self.faults.flip) && !value.is_empty() {
            let at = self.number as usize % value.len();
            value[at] ^= 1;
            seen.spoilt += 1;
        }
        if self.due(self.faults.other)
            && let Some(theirs) = self.items.iter().find(|(k, _)| k.as_slice() != key)
        {
            seen.spoilt += 1;
            value = theirs.1.clone();
        }
        Some(value)
    }
}

fn count_commands(body: &[u8]) -> u64 {
    if body.starts_with(b"get ") {
        body.iter().filter(|&&b| b == b' ').count() as u64
    } else {
        lines(body) as u64
    }
}

/// Command lines in a datagram; a value is not looked into.
fn lines(body: &[u8]) -> usize {
    if body.starts_with(b"mg ") { body.windows(2).filter(|w| w == b"\r\n").count() } else { 1 }
}

/// A message as datagrams of 1400 bytes at most.
fn split(id: [u8; 2], message: &[u8]) -> Vec<Vec<u8>> {
    let total = message.len().div_ceil(1392).max(1) as u16;
    message
        .chunks(1392)
        .enumerate()
        .map(|(sequence, chunk)| {
            let mut datagram = id.to_vec();
            datagram.extend_from_slice(&(sequence as u16).to_be_bytes());
            datagram.extend_from_slice(&total.to_be_bytes());
            datagram.extend_from_slice(&[0, 0]);
            datagram.extend_from_slice(chunk);
            datagram
        })
        .collect()
}
