//! Debian's memcached as a child process, if it is installed.

use crate::support::peer::Peer;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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
        let port = addr.port().to_string();
        let child = Command::new("memcached")
            .args(["-p", "0", "-U", &port, "-l", "127.0.0.1", "-u", "root", "-t", "1", "-m", "64"])
            // Its own threads must not touch items: what they hold is not counted in place.
            .args(["-o", "no_lru_maintainer,no_lru_crawler"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut memcached = Memcached { child, addr };
        memcached.answers().then_some(memcached)
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
