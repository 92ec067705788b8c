//! Peers that vanish without a word, as when a cable is cut: no end and no reset of theirs arrives.
//!
//! The client's machine is a network namespace, whose way to the server is taken away. Idle, in the middle of a value and with replies unread, the
//! connection ends, and the server has what it held.

use crate::support::config;
use crate::support::netns::Machines;
use crate::support::stream::{PATIENCE, StreamClient};
use crate::{set, value};
use cache::base::clock::Clock;
use sherwood::config::serve::Io;
use sherwood::limits::VALUE_IDLE_S;
use sherwood::net::socket::listener::KeepAlive;
use sherwood::server::Server;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A server on its machine, and that machine's cable.
struct Scene {
    machines: Machines,
    server: Server,
    clock: Clock,
}

impl Scene {
    /// `None`, with a line that says so, where namespaces or a server cannot be had.
    fn new(io: Io, keep_alive: KeepAlive) -> Option<Scene> {
        let machines = Machines::new()?;
        let clock = Clock::manual(1_000_000_000);
        let mut config = config(io, 1);
        config.listen = "10.77.0.1:0".parse().unwrap();
        config.access.admin = vec!["10.77.0.0/24".parse().unwrap()];
        (config.keep_alive, config.clock) = (keep_alive, clock.clone());
        match machines.on_server(|| Server::start(config, &|_| ())) {
            Ok(server) => Some(Scene { machines, server, clock }),
            Err(error) => {
                println!("SKIPPED: {io:?}: {error}");
                None
            }
        }
    }

    fn connect(&self) -> StreamClient {
        let addr: SocketAddr = self.server.addr();
        let client = self.machines.on_client(|| StreamClient::tcp(addr));
        self.wait_until("the connection", || self.connections() == 1);
        client
    }

    /// Nothing of the client reaches the server any more.
    fn cut(&self) {
        self.machines.ip_on_client("route add blackhole 10.77.0.1/32");
    }

    fn connections(&self) -> u64 {
        self.server.figures().workers.iter().map(|worker| worker.curr_connections.get()).sum()
    }

    fn broken(&self) -> u64 {
        self.server.figures().workers.iter().map(|worker| worker.streams_broken.get()).sum()
    }

    fn unfinished(&self) -> u64 {
        self.server.figures().owners.iter().map(|owner| owner.unfinished_items.get()).sum()
    }

    fn stuck(&self) -> u64 {
        self.server.figures().workers.iter().map(|worker| worker.streams_stuck.get()).sum()
    }

    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < PATIENCE, "{what}: not in time");
            std::thread::yield_now();
        }
    }

    /// Nothing of the connection is left, and the server serves.
    fn ends(self) {
        self.wait_until("its end", || self.connections() == 0);
        self.wait_until("the memory of its value", || self.unfinished() == 0);
        let addr = self.server.addr();
        let mut other = self.machines.on_server(|| StreamClient::tcp(addr));
        assert_eq!(other.asks("mn\r\n"), "MN\r\n");
        drop(other);
        self.server.stop().unwrap();
    }
}

const SOON: KeepAlive = KeepAlive { idle_s: 1, interval_s: 1, probes: 1 };

#[test]
fn an_idle_peer_that_vanishes_is_noticed() {
    for io in [Io::Uring, Io::Mmsg] {
        let Some(scene) = Scene::new(io, SOON) else { continue };
        // It has been sent nothing: what is not acknowledged is another matter, see below.
        let client = scene.connect();
        scene.cut();
        scene.wait_until("the kernel's probes", || scene.broken() == 1);
        scene.ends();
        drop(client);
    }
}

/// Its value holds memory that others want, so it is not waited for until the kernel finds out.
#[test]
fn a_peer_that_vanishes_within_a_value_is_given_up() {
    for io in [Io::Uring, Io::Mmsg] {
        let Some(scene) = Scene::new(io, KeepAlive::default()) else { continue };
        let mut client = scene.connect();
        client.send(b"set a 0 0 100000\r\nabc");
        scene.wait_until("memory for the value", || scene.unfinished() == 1);
        scene.cut();
        scene.clock.advance(Duration::from_secs(VALUE_IDLE_S + 2));
        scene.wait_until("the end of patience", || scene.connections() == 0);
        let kicked: u64 = scene.server.figures().workers.iter().map(|worker| worker.idle_kicks.get()).sum();
        assert_eq!((kicked, scene.broken()), (1, 0));
        scene.ends();
        drop(client);
    }
}

/// What it has not read is sent again and again by the kernel, which gives up after net.ipv4.tcp_retries2 attempts.
#[test]
fn a_peer_that_vanishes_with_replies_unread_is_given_up_by_the_kernel() {
    for io in [Io::Uring, Io::Mmsg] {
        let Some(scene) = Scene::new(io, KeepAlive::default()) else { continue };
        let retries = || std::fs::write("/proc/sys/net/ipv4/tcp_retries2", "2");
        if let Err(error) = scene.machines.on_server(retries) {
            return println!("SKIPPED: net.ipv4.tcp_retries2 cannot be set here: {error}");
        }
        let mut client = scene.connect();
        set(&mut client, "long", &value(1, 100_000));
        client.send(&b"get long\r\n".repeat(300));
        scene.wait_until("a full socket", || scene.stuck() > 0);
        scene.cut();
        scene.wait_until("the kernel's patience", || scene.broken() == 1);
        scene.ends();
        drop(client);
    }
}
