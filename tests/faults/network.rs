//! Datagrams between us and the kernel: sockets, ports, paths, and io_uring where it is refused.

use crate::support::netns::Machines;
use crate::support::peer::Peer;
use crate::support::program::{drain, sherwood};
use crate::support::{KINDS, config};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sherwood::config::serve::Io;
use sherwood::server::Server;
use sherwood::stats::counters::{Counter, WorkerCounters};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, SocketAddrV6, UdpSocket};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A server on its machine, for the client's networks; `None`, with a line that says so, where it cannot run.
fn server_on(machines: &Machines, listen: &str, io: Io, workers: usize) -> Option<Server> {
    let mut config = config(io, workers);
    config.listen = listen.parse().unwrap();
    config.access.admin = vec!["10.77.0.0/24".parse().unwrap(), "fd77::/64".parse().unwrap()];
    match machines.on_server(|| Server::start(config, &|_| ())) {
        Ok(server) => Some(server),
        Err(error) => {
            println!("SKIPPED: {io:?} with {workers} workers: {error}");
            None
        }
    }
}

/// The sum of a counter over the workers.
fn count(server: &Server, counter: impl Fn(&WorkerCounters) -> &Counter) -> u64 {
    server.figures().workers.iter().map(|worker| counter(worker).get()).sum()
}

fn set_and_get(peer: &mut Peer, bytes: usize) {
    set(peer, bytes);
    let got = peer.ask(format!("get k{bytes}\r\n").as_bytes());
    assert!(got.ends_with(b"\r\nEND\r\n") && got.len() > bytes, "{} of {bytes} bytes", got.len());
}

fn set(peer: &mut Peer, bytes: usize) {
    let value = vec![b'v'; bytes];
    let set = [format!("set k{bytes} 0 0 {bytes}\r\n").as_bytes(), &value, b"\r\n"].concat();
    assert_eq!(peer.ask(&set), b"STORED\r\n");
}

/// A train whose segments are longer than the path to a peer takes was refused by the kernel, each time that the client
/// asked again, so values of 3,000 bytes and more never arrived behind a tunnel.
#[test]
fn long_replies_arrive_over_a_path_that_carries_less_than_a_segment() {
    let Some(machines) = Machines::new() else { return };
    for (network, near) in [("10.77.0.", "10.77.0.3"), ("fd77::", "fd77::3")] {
        for mtu in [1420, 1280] {
            machines.ip_on_server(&format!("route replace {network}2 dev cable mtu {mtu}"));
            for (io, workers) in KINDS {
                let listen = SocketAddr::new(format!("{network}1").parse().unwrap(), 0).to_string();
                let Some(server) = server_on(&machines, &listen, io, workers) else { continue };
                let (mut far, mut near) = machines.on_client(|| {
                    (
                        Peer::from_address(&format!("{network}2"), server.addr()),
                        Peer::from_address(near, server.addr()),
                    )
                });
                set_and_get(&mut far, 1_380);
                set_and_get(&mut far, 2_000);
                // The first train is refused: its datagrams are sent behind the end of the reply.
                set(&mut far, 3_000);
                let id = far.send(b"get k3000\r\n");
                assert!(far.replies(1)[&id].ends_with(b"\r\nEND\r\n"));
                set_and_get(&mut far, 10_000);
                set_and_get(&mut far, 60_000);
                // What a turn sent is counted behind it: when the next request is answered, it has been.
                far.ask(b"version\r\n");
                let fallbacks = count(&server, |worker| &worker.gso_fallbacks);
                assert!(
                    (1..=workers as u64).contains(&fallbacks),
                    "{fallbacks} with {io:?}, {workers} workers"
                );
                assert_eq!(count(&server, |worker| &worker.send_failures), 0);
                // 43 datagrams and the rest of the value are two messages, or three. The answers to the set and to the requests for
                // the version are one each.
                let before = count(&server, |worker| &worker.sends);
                set_and_get(&mut near, 60_000);
                near.ask(b"version\r\n");
                assert!(
                    count(&server, |worker| &worker.sends) - before <= 6,
                    "the other peer gets no trains"
                );
                assert_eq!(count(&server, |worker| &worker.gso_fallbacks), fallbacks);
                server.stop().unwrap();
            }
        }
    }
}

/// An address of loopback that no other process of this machine uses, so that a port of it is free as long as we say.
fn own_loopback(test: u8) -> String {
    let [.., high, low] = std::process::id().to_be_bytes();
    format!("127.{test}.{high}.{low}")
}

/// A server on an address that is given, not chosen; its ready line, or what it said and how it ended.
fn start_at(listen: &str, io: &str, workers: usize) -> Result<(Child, String), String> {
    let workers = workers.to_string();
    let mut child = sherwood()
        .args(["serve", "--listen", listen, "--io", io, "--workers", &workers])
        .args(["--memory", "32MiB", "--huge", "off"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    match line.strip_prefix("sherwood ready on ") {
        Some(rest) => Ok((child, rest.split(' ').next().unwrap().to_owned())),
        None => {
            let text = drain(child.stderr.take().unwrap());
            Err(format!("{text}({})", child.wait().unwrap()))
        }
    }
}

/// The kernel kept a port of a server with io_uring for some 40 ms after its end, so a restart found it in use.
#[test]
fn a_server_restarts_on_its_port_at_once() {
    for (io, workers) in [("mmsg", 1), ("uring", 1), ("mmsg", 2), ("uring", 2)] {
        let mut listen = format!("{}:0", own_loopback(1));
        for signal in [Signal::SIGTERM, Signal::SIGKILL].into_iter().cycle().take(6) {
            let (mut child, addr) = match start_at(&listen, io, workers) {
                Ok(started) => started,
                Err(text) if listen.ends_with(":0") => {
                    println!("SKIPPED: {io} with {workers} workers: {text}");
                    break;
                }
                Err(text) => panic!("{io}, {workers} workers: {text}"),
            };
            kill(Pid::from_raw(child.id() as i32), signal).unwrap();
            let status = child.wait().unwrap();
            if signal == Signal::SIGTERM {
                assert!(status.success());
                UdpSocket::bind(&addr).expect("the port is free when the process has ended");
            }
            listen = addr;
        }
    }
}

/// Servers of one user that were started at the same moment shared a port, and each had a part of the datagrams.
#[test]
fn of_two_servers_that_start_at_one_moment_one_runs() {
    let pairs = (0..6).map(|_| {
        std::thread::spawn(|| {
            let ip = own_loopback(2);
            let port = UdpSocket::bind((ip.as_str(), 0)).unwrap().local_addr().unwrap().port();
            let start = || start_at(&format!("{ip}:{port}"), "auto", 1);
            std::thread::scope(|scope| {
                let (one, other) = (scope.spawn(start), scope.spawn(start));
                [one.join().unwrap(), other.join().unwrap()]
            })
        })
    });
    for pair in pairs.collect::<Vec<_>>() {
        let mut running = 0;
        for server in pair.join().unwrap() {
            match server {
                Ok((mut child, _)) => {
                    running += 1;
                    child.kill().unwrap();
                    child.wait().unwrap();
                }
                Err(text) => assert!(text.contains("is in use"), "{text}"),
            }
        }
        assert_eq!(running, 1);
    }
}

fn request(id: u16, body: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes()[..], &[0, 0, 0, 1, 0, 0], body].concat()
}

/// On a wildcard address the kernel chose where a reply came from: the first address of the interface, which a client that
/// had asked another one never saw.
#[test]
fn replies_come_from_the_address_that_was_asked() {
    let Some(machines) = Machines::new() else { return };
    for (listen, asked) in [
        ("0.0.0.0:0", &["10.77.0.1", "10.77.0.9"][..]),
        ("[::]:0", &["fd77::1", "fd77::9", "10.77.0.1", "10.77.0.9"][..]),
    ] {
        for (io, workers) in KINDS {
            let Some(server) = server_on(&machines, listen, io, workers) else { continue };
            let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), server.addr().port());
            for ip in asked {
                let from = if ip.contains(':') { "fd77::2" } else { "10.77.0.2" };
                let mut peer = machines.on_client(|| Peer::from_address(from, at(ip)));
                // Also in trains, and of several datagrams.
                [10, 1_390, 60_000].into_iter().for_each(|bytes| set_and_get(&mut peer, bytes));
            }
            // One client that asks all addresses at once: a train to it has one of them.
            for family in ["10.77.0.", "fd77::"] {
                let here: Vec<_> =
                    asked.iter().filter(|ip| ip.starts_with(family)).map(|ip| at(ip)).collect();
                if !here.is_empty() {
                    let socket =
                        machines.on_client(|| UdpSocket::bind(format!("{}:0", bracketed(family))).unwrap());
                    ask_all(&socket, &here);
                }
            }
            server.stop().unwrap();
        }
    }
}

fn bracketed(family: &str) -> String {
    if family.contains(':') { format!("[{family}2]") } else { format!("{family}2") }
}

fn ask_all(socket: &UdpSocket, servers: &[SocketAddr]) {
    const ROUNDS: usize = 20;
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for id in 0..ROUNDS * servers.len() {
        socket.send_to(&request(id as u16, b"get absent\r\n"), servers[id % servers.len()]).unwrap();
    }
    let mut reply = [0; 1_500];
    for _ in 0..ROUNDS * servers.len() {
        let (_, from) = socket.recv_from(&mut reply).expect("a reply");
        let id = u16::from_be_bytes([reply[0], reply[1]]) as usize;
        assert_eq!((from.ip(), from.port()), (servers[id % servers.len()].ip(), servers[0].port()));
    }
}

/// A datagram to a broadcast or multicast address was answered, by every server of the network at once.
#[test]
fn groups_are_not_answered() {
    let Some(machines) = Machines::new() else { return };
    machines.ip_on_client("route add 224.0.0.0/4 dev cable");
    machines.ip_on_client("route add 255.255.255.255/32 dev cable");
    for listen in ["0.0.0.0:0", "[::]:0"] {
        for (io, workers) in KINDS {
            let Some(server) = server_on(&machines, listen, io, workers) else { continue };
            let port = server.addr().port();
            let (v4, v6, mut peer) = machines.on_client(|| {
                let address = SocketAddr::new("10.77.0.1".parse().unwrap(), port);
                let bind = |address: &str| UdpSocket::bind(address).unwrap();
                (bind("10.77.0.2:0"), bind("[fd77::2]:0"), Peer::from_address("10.77.0.2", address))
            });
            v4.set_broadcast(true).unwrap();
            let mut groups = 0;
            // A socket for IPv6 gets no multicast of IPv4.
            let of_v4 = if listen.starts_with('[') { 2 } else { 3 };
            for group in &["10.77.0.255", "255.255.255.255", "224.0.0.1"][..of_v4] {
                v4.send_to(&request(7, b"version\r\n"), (*group, port)).unwrap();
                groups += 1;
            }
            if listen.starts_with('[') {
                let all_nodes =
                    SocketAddrV6::new("ff02::1".parse().unwrap(), port, 0, machines.client_interface());
                v6.send_to(&request(7, b"version\r\n"), all_nodes).unwrap();
                groups += 1;
            }
            // Each worker's socket gets a copy.
            let wanted = (groups * workers) as u64;
            let began = Instant::now();
            let refused = || count(&server, |worker| &worker.refused_groups);
            while refused() < wanted && began.elapsed() < Duration::from_secs(20) {
                peer.ask(b"version\r\n");
            }
            assert_eq!(refused(), wanted, "{io:?} with {workers} workers on {listen}");
            server.stop().unwrap();
            for socket in [v4, v6] {
                socket.set_nonblocking(true).unwrap();
                let reply = socket.recv(&mut [0; 1_500]);
                assert_eq!(reply.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
            }
        }
    }
}
