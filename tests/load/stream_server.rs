//! A memcached-like TCP server, a thread a connection, with faults that depend on nothing but the number of the command.
//!
//! It speaks enough of the text and meta protocols for the load generator, a command at a time. It ends when it is dropped.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What goes wrong. A number `n` means: at every n-th command; 0: never.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    /// Replies leave byte by byte.
    pub cut: bool,
    /// The connection is closed instead of a reply, in the middle of it if that is `true`.
    pub close: (u64, bool),
    /// The reply waits so long, and all behind it.
    pub hold: (u64, Duration),
    /// The reply is no reply.
    pub garbage: u64,
    /// The reply is followed by one that nobody asked for.
    pub extra: u64,
    /// The command is answered with an error.
    pub error: u64,
    /// Every connection is told so and closed at once.
    pub full: bool,
    /// A byte of the value is changed.
    pub flip: u64,
}

/// A running server.
pub struct StreamServer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    items: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    commands: AtomicU64,
    connections: AtomicU64,
    stop: AtomicBool,
}

impl StreamServer {
    pub fn start(faults: Faults) -> StreamServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if theirs.stop.load(Ordering::Relaxed) {
                    return;
                }
                theirs.connections.fetch_add(1, Ordering::Relaxed);
                let shared = theirs.clone();
                // It ends with its connection.
                std::thread::spawn(move || Connection { stream, shared, faults }.serve());
            }
        });
        StreamServer { address, shared, thread: Some(thread) }
    }

    /// Commands that it has read; each key of a get counts.
    pub fn commands(&self) -> u64 {
        self.shared.commands.load(Ordering::Relaxed)
    }

    /// Connections that it has taken.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for StreamServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        self.thread.take().unwrap().join().unwrap();
    }
}

struct Connection {
    stream: TcpStream,
    shared: Arc<Shared>,
    faults: Faults,
}

impl Connection {
    /// Serves until the client is gone or a fault ends it.
    fn serve(mut self) -> Option<()> {
        self.stream.set_nodelay(true).unwrap();
        if self.faults.full {
            return self.stream.write_all(b"ERROR Too many open connections\r\n").ok();
        }
        let mut input = BufReader::new(self.stream.try_clone().unwrap());
        let mut line = Vec::new();
        while input.read_until(b'\n', &mut line).ok()? > 0 {
            let words: Vec<&[u8]> = line.trim_ascii_end().split(|&byte| byte == b' ').collect();
            let reply = self.answer(&words, &mut input)?;
            let number = self.shared.commands.load(Ordering::Relaxed);
            let is_due = |every: u64| every > 0 && number.is_multiple_of(every);
            if is_due(self.faults.close.0) {
                let part = if self.faults.close.1 { reply.len() / 2 } else { 0 };
                return self.stream.write_all(&reply[..part]).ok();
            }
            if is_due(self.faults.hold.0) {
                std::thread::sleep(self.faults.hold.1);
            }
            let reply = match () {
                () if is_due(self.faults.garbage) => b"WHAT?\r\n".to_vec(),
                () if is_due(self.faults.extra) => [&reply[..], b"END\r\n"].concat(),
                () if is_due(self.faults.error) => b"SERVER_ERROR busy\r\n".to_vec(),
                () => reply,
            };
            self.reply(&reply)?;
            line.clear();
        }
        Some(())
    }

    fn reply(&mut self, reply: &[u8]) -> Option<()> {
        let piece = if self.faults.cut { 1 } else { reply.len().max(1) };
        reply.chunks(piece).try_for_each(|piece| self.stream.write_all(piece)).ok()
    }

    fn answer(&self, words: &[&[u8]], input: &mut impl Read) -> Option<Vec<u8>> {
        let count = if words[0] == b"get" { words.len() as u64 - 1 } else { 1 };
        let number = self.shared.commands.fetch_add(count, Ordering::Relaxed) + count;
        let mut items = self.shared.items.lock().unwrap();
        let mut out = Vec::new();
        match words[0] {
            b"get" => {
                for &key in &words[1..] {
                    if let Some(value) = items.get(key) {
                        write!(out, "VALUE {} 0 {}\r\n", key.escape_ascii(), value.len()).unwrap();
                        self.push_value(value, number, &mut out);
                    }
                }
                out.extend_from_slice(b"END\r\n");
            }
            b"mg" if words.iter().any(|word| word.starts_with(b"T")) => {
                out.extend_from_slice(if items.contains_key(words[1]) { b"HD\r\n" } else { b"EN\r\n" });
            }
            b"mg" => {
                let flags: Vec<String> = words[2..]
                    .iter()
                    .filter_map(|flag| match flag[0] {
                        b'k' => Some(format!(" k{}", words[1].escape_ascii())),
                        b'O' => Some(format!(" {}", flag.escape_ascii())),
                        _ => None,
                    })
                    .collect();
                match items.get(words[1]) {
                    None => out.extend_from_slice(b"EN\r\n"),
                    Some(value) => {
                        write!(out, "VA {}{}\r\n", value.len(), flags.concat()).unwrap();
                        self.push_value(value, number, &mut out);
                    }
                }
            }
            b"set" | b"ms" => {
                let at = if words[0] == b"set" { 4 } else { 2 };
                let length: usize = std::str::from_utf8(words[at]).unwrap().parse().unwrap();
                let mut value = vec![0; length + 2];
                drop(items);
                input.read_exact(&mut value).ok()?;
                assert!(value.ends_with(b"\r\n"), "a value of {length} bytes");
                value.truncate(length);
                self.shared.items.lock().unwrap().insert(words[1].to_vec(), value);
                out.extend_from_slice(if at == 4 { b"STORED\r\n" } else { b"HD\r\n" });
            }
            b"delete" => {
                let was = items.remove(words[1]).is_some();
                out.extend_from_slice(if was { b"DELETED\r\n" } else { b"NOT_FOUND\r\n" });
            }
            b"md" => {
                let was = items.remove(words[1]).is_some();
                out.extend_from_slice(if was { b"HD\r\n" } else { b"NF\r\n" });
            }
            b"touch" => {
                let is = items.contains_key(words[1]);
                out.extend_from_slice(if is { b"TOUCHED\r\n" } else { b"NOT_FOUND\r\n" });
            }
            other => panic!("the test server does not know {}", other.escape_ascii()),
        }
        Some(out)
    }

    fn push_value(&self, value: &[u8], number: u64, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(value);
        if self.faults.flip > 0 && number.is_multiple_of(self.faults.flip) && !value.is_empty() {
            out[at + value.len() / 2] ^= 1;
        }
        out.extend_from_slice(b"\r\n");
    }
}
