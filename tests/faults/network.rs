//! Datagrams between us and the kernel: sockets, ports, paths, and io_uring where it is refused.

use crate::support::netns::Machines;
use crate::support::peer::Peer;
use crate::support::{KINDS, config};
use sherwood::config::serve::Io;
use sherwood::server::Server;
use sherwood::stats::counters::{Counter, WorkerCounters};
use std::net::SocketAddr;

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
    let value = vec![b'v'; bytes];
    let set = [format!("set k{bytes} 0 0 {bytes}\r\n").as_bytes(), &value, b"\r\n"].concat();
    assert_eq!(peer.ask(&set), b"STORED\r\n");
    let got = peer.ask(format!("get k{bytes}\r\n").as_bytes());
    assert!(got.ends_with(b"\r\nEND\r\n") && got.len() > bytes, "{} of {bytes} bytes", got.len());
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
                for bytes in [1_380, 2_000, 3_000, 10_000, 60_000] {
                    set_and_get(&mut far, bytes);
                }
                let fallbacks = count(&server, |worker| &worker.gso_fallbacks);
                assert!(
                    (1..=workers as u64).contains(&fallbacks),
                    "{fallbacks} with {io:?}, {workers} workers"
                );
                assert_eq!(count(&server, |worker| &worker.send_failures), 0);
                // 43 datagrams and the rest of the value are two messages, or three.
                let before = count(&server, |worker| &worker.sends);
                set_and_get(&mut near, 60_000);
                assert!(
                    count(&server, |worker| &worker.sends) - before <= 4,
                    "the other peer gets no trains"
                );
                assert_eq!(count(&server, |worker| &worker.gso_fallbacks), fallbacks);
                server.stop().unwrap();
            }
        }
    }
}
