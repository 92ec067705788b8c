//! Where connections are taken, and from whom.

use crate::support::netns::Machines;
use crate::support::program::Serve;
use crate::support::stream::StreamClient;
use crate::{IOS, start, wait_until};
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_unix_socket_has_its_mode_and_everything_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    for io in IOS {
        for (mode, want) in [(None, 0o700), (Some("660"), 0o660)] {
            let path = folder.path().join("socket");
            let mut options = vec!["--workers", "2", "--memory", "32MiB", "--unix", path.to_str().unwrap()];
            options.extend(mode.iter().flat_map(|mode| ["--unix-mode", mode]));
            let server = start(io, &options);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, want);
            let mut clients: Vec<StreamClient> = (0..10).map(|_| StreamClient::unix(&path)).collect();
            for client in &mut clients {
                assert_eq!(client.asks("flush_all\r\nset a 0 0 1\r\nx\r\n"), "OK\r\nSTORED\r\n");
                assert_eq!(client.asks("lru_crawler metadump all\r\n").lines().count(), 2);
            }
            // In turn: five to each worker.
            let workers = clients[0].asks("stats workers\r\n");
            let counts: Vec<&str> =
                workers.lines().filter(|line| line.contains("curr_connections")).collect();
            assert!(counts.iter().all(|line| line.ends_with(" 5")), "{workers}");
            server.terminate();
            assert!(!path.exists(), "the file goes with the server");
        }
    }
}

#[test]
fn ipv6_dual_stack_and_names_take_connections() {
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return println!("SKIPPED: no IPv6 here");
    }
    for io in IOS {
        for (listen, to) in [
            ("[::1]:0", vec!["::1"]),
            ("localhost:0", vec!["localhost"]),
            ("[::]:0", vec!["::1", "127.0.0.1"]),
        ] {
            let server = start(io, &["--listen", listen, "--allow", "10.255.255.0/24"]);
            for host in to {
                let addr = (host, server.addr.port());
                let addr = std::net::ToSocketAddrs::to_socket_addrs(&addr).unwrap();
                let addr = addr.filter(|addr| host != "localhost" || addr.is_ipv4() == server.addr.is_ipv4());
                let mut client = StreamClient::tcp(addr.into_iter().next().unwrap());
                assert_eq!(
                    client.asks("set a 0 0 1\r\nx\r\nget a\r\n"),
                    "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"
                );
                assert!(client.asks("stats\r\n").contains("STAT pid"), "{listen} {host}");
            }
            server.terminate();
        }
    }
}

#[test]
fn who_is_not_allowed_is_hung_up_on() {
    let Some(machines) = Machines::new() else { return };
    for io in IOS {
        let options: &[&str] =
            &["--listen", "0.0.0.0:0", "--allow", "10.77.0.2/32", "--admin", "10.77.0.9/32"];
        let server: Serve = machines.on_server(|| start(io, options));
        let port = server.addr.port();
        let addr = SocketAddr::from(([10, 77, 0, 1], port));
        machines.on_client(|| {
            // The kernel takes the first address of the cable, 10.77.0.2.
            let mut client = StreamClient::tcp(addr);
            assert_eq!(client.asks("set a 0 0 1\r\nx\r\n"), "STORED\r\n");
            for command in
                ["flush_all", "stats", "lru_crawler metadump all", "verbosity 1", "cache_memlimit 16"]
            {
                assert_eq!(
                    client.asks(&format!("{command}\r\n")),
                    "CLIENT_ERROR command not allowed\r\n",
                    "{command}"
                );
            }
            let mut stranger = StreamClient::tcp_from("10.77.0.3", addr);
            let _ = stranger.try_send(b"get a\r\n");
            assert_eq!(stranger.rest(), b"");
        });
        machines.on_server(|| {
            let mut local = StreamClient::tcp(SocketAddr::from(([127, 0, 0, 1], port)));
            assert_eq!(local.asks("get a\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n");
            assert!(local.stat("refused_peers") >= 1);
            let mut admin = StreamClient::tcp_from("10.77.0.9", addr);
            assert_eq!(admin.asks("flush_all\r\n"), "OK\r\n");
        });
        server.terminate();
    }
}

#[test]
fn a_transport_that_is_off_is_not_bound() {
    let server = start("uring", &["--transport", "tcp"]);
    let mut client = StreamClient::tcp(server.addr);
    assert_eq!(client.asks("mn\r\n"), "MN\r\n");
    server.terminate();
    let server = start("uring", &["--transport", "udp"]);
    assert!(StreamClient::try_tcp(server.addr).is_err());
    wait_until(&server, "curr_connections", |open| open == 0);
    server.terminate();
}
