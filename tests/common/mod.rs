//! What the end-to-end tests share: the program itself as a child, and a UDP client.
#![allow(dead_code, reason = "each test uses its part")]

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The program under test.
pub fn sherwood() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sherwood"))
}

/// A running `sherwood serve`, killed if a test fails before it stops it.
pub struct Serve {
    child: Child,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Serve {
    /// Starts a server on a free port of loopback and waits for its ready line.
    pub fn start(options: &[&str]) -> Serve {
        let mut child = sherwood()
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.strip_prefix("sherwood ready on ").and_then(|rest| rest.split(' ').next());
        let addr = addr.unwrap_or_else(|| panic!("no ready line, but {line:?}")).parse().unwrap();
        Serve { child, addr }
    }

    /// Sends SIGTERM and waits; also says how long it took.
    pub fn terminate(mut self) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let status = self.child.wait().unwrap();
        (status, asked.elapsed())
    }

    /// A figure of `stats`.
    pub fn stat(&self, name: &str) -> u64 {
        let reply = Client::new(self.addr).ask(b"stats\r\n").expect("stats are answered");
        let text = String::from_utf8(reply).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().parse().unwrap()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It has ended already unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

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

/// Runs the program to its end; status, stdout, stderr.
pub fn run(arguments: &[&str]) -> (ExitStatus, String, String) {
    let output = sherwood().args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status, text(output.stdout), text(output.stderr))
}

/// `sherwood load` against a server, as its JSON report.
pub fn load(addr: SocketAddr, arguments: &[&str]) -> serde_json::Value {
    let target = addr.to_string();
    let mut all = vec!["load", "--target", &target, "--json", "-"];
    all.extend_from_slice(arguments);
    let (status, out, err) = run(&all);
    assert!(status.success(), "load failed: {err}{out}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
}

/// Reads all that is left of a stream.
pub fn drain(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
