//! Debian's memcached as a child process, if it is installed.

use crate::support::peer::Peer;
use crate::support::stream::StreamClient;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What names another memcached than that of the path, for comparisons over TCP.
pub const ANOTHER: &str = "SHERWOOD_MEMCACHED";

/// A running memcached with one thread, so that it answers in order.
pub struct Memcached {
    child: Child,
    pub addr: SocketAddr,
}

impl Memcached {
    /// Starts one on a free UDP port; `None`, with a line that says so, where there is none to start.
    pub fn start() -> Option<Memcached> {
        if Command::new("memcached").arg("-V").stdout(Stdio::null()).status().is_err() {
            println!("SKIPPED: memcached is not installed");
            return None;
        }
        // Another process may take the free port before memcached does.
        (0..5).find_map(|_| Memcached::try_start())
    }

    fn try_start() -> Option<Memcached> {
        let addr = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut memcached = Memcached::run("memcached", addr, ["0", &addr.port().to_string()]);
        memcached.answers().then_some(memcached)
    }

    /// Starts one on a free TCP port: the one that [`ANOTHER`] names, or that of the path.
    pub fn start_tcp() -> Option<Memcached> {
        let program = std::env::var(ANOTHER).unwrap_or_else(|_| "memcached".into());
        if Command::new(&program).arg("-V").stdout(Stdio::null()).status().is_err() {
            println!("SKIPPED: {program} is not installed");
            return None;
        }
        // Another process may take the free port before memcached does.
        (0..5).find_map(|_| {
            let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let mut memcached = Memcached::run(&program, addr, [&addr.port().to_string(), "0"]);
            memcached.accepts().then_some(memcached)
        })
    }

    fn run(program: &str, addr: SocketAddr, [tcp, udp]: [&str; 2]) -> Memcached {
        let child = Command::new(program)
            .args(["-p", tcp, "-U", udp, "-l", "127.0.0.1", "-u", "root", "-t", "1", "-m", "64"])
            // Its own threads must not touch items: what they hold is not counted in place.
            .args(["-o", "no_lru_maintainer,no_lru_crawler"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Memcached { child, addr }
    }

    fn accepts(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline && self.child.try_wait().unwrap().is_none() {
            // Refused until it listens.
            if StreamClient::try_tcp(self.addr).is_ok_and(|mut client| !client.ask(b"version\r\n").is_empty())
            {
                return true;
            }
        }
        false
    }

    fn answers(&mut self) -> bool {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.addr).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut buffer = [0; 1500];
        while Instant::now() < deadline && self.child.try_wait().unwrap().is_none() {
            // Refused until it listens.
            let _ = socket.send(b"\0\x01\0\0\0\x01\0\0version\r\n");
            if socket.recv(&mut buffer).is_ok_and(|length| buffer[8..length].starts_with(b"VERSION")) {
                return true;
            }
        }
        false
    }

    /// A client of it.
    pub fn peer(&self) -> Peer {
        Peer::new(self.addr)
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
