//! Where connections are taken, and from whom.

use crate::support::netns::Machines;
use crate::support::program::{PATIENCE, Program, Serve, sherwood};
use crate::support::stream::StreamClient;
use crate::{IOS, start, wait_until};
use nix::sys::signal::Signal;
use std::fs::Permissions;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Instant;

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
        let mut options = vec!["--listen", "0.0.0.0:0", "--allow", "10.77.0.2/32", "--admin", "10.77.0.9/32"];
        options.push("--allow-shutdown");
        let options = &options;
        let server: Serve = machines.on_server(|| start(io, options));
        let port = server.addr.port();
        let addr = SocketAddr::from(([10, 77, 0, 1], port));
        machines.on_client(|| {
            // The kernel takes the first address of the cable, 10.77.0.2.
            let mut client = StreamClient::tcp(addr);
            assert_eq!(client.asks("set a 0 0 1\r\nx\r\n"), "STORED\r\n");
            for command in [
                "flush_all",
                "stats",
                "lru_crawler metadump all",
                "verbosity 1",
                "cache_memlimit 16",
                "shutdown",
            ] {
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
fn the_ready_line_names_what_is_listened_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s").display().to_string();
    for (transport, has_unix, want) in [
        ("udp,tcp", true, "ADDR (UDP, TCP), unix:PATH with "),
        ("udp", false, "ADDR (UDP) with "),
        ("tcp", false, "ADDR (TCP) with "),
        ("none", true, "unix:PATH with "),
    ] {
        let unix: &[&str] = if has_unix { &["--unix", &path] } else { &[] };
        let program = Program::serve(&[&["--transport", transport], unix].concat());
        let line = program.first_line();
        let addresses = line.strip_prefix("sherwood ready on ").unwrap();
        let addr = addresses.split(' ').next().unwrap();
        let want = want.replace("PATH", &path).replace("ADDR", addr);
        assert!(addresses.starts_with(&want), "{transport}: {line}");
        assert!(addr.starts_with(if transport == "none" { "unix:" } else { "127.0.0.1:" }), "{line}");
        program.signal(Signal::SIGTERM);
        assert!(program.wait().0.success());
    }
}

/// A port, of an address that no other process of this machine uses, that nobody has.
fn own_port() -> SocketAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    TcpListener::bind(SocketAddr::from(([127, 16, high, low], 0))).unwrap().local_addr().unwrap()
}

/// Memory took seconds, and connections that were made meanwhile were answered only then.
#[test]
fn who_can_connect_is_answered() {
    const MIB: u64 = 512;
    let (addr, folder) = (own_port(), tempfile::tempdir().unwrap());
    let path = folder.path().join("s");
    let metrics = own_port();
    let (listen, unix, memory) = (addr.to_string(), path.display().to_string(), format!("{MIB}MiB"));
    let options =
        ["--listen", &listen, "--unix", &unix, "--metrics", &metrics.to_string(), "--memory", &memory];
    let connects: [(&str, &dyn Fn() -> bool); 3] = [
        ("TCP", &|| TcpStream::connect(addr).is_ok()),
        ("UNIX", &|| UnixStream::connect(&path).is_ok()),
        ("metrics", &|| TcpStream::connect(metrics).is_ok()),
    ];
    for (name, connect) in connects {
        let program = Program::serve(&options);
        let began = Instant::now();
        while !connect() {
            assert!(began.elapsed() < PATIENCE, "{name}: {:?}", program.said());
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap();
        let rss_kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let rss_kib: u64 = rss_kib.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(rss_kib >= MIB << 10, "{name}: connected when {rss_kib} KiB were there");
        program.signal(Signal::SIGTERM);
        assert!(program.wait().0.success());
    }
}

/// A file of a socket in a folder where everybody may make files and nobody may remove others'.
#[test]
fn a_socket_of_another_user_is_named_as_such() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return println!("SKIPPED: only root can start a server as somebody else");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
    let path = folder.path().join("s");
    for (mode, want) in [
        (0o700, "a socket that this user may not connect to"),
        (0o777, "nobody answers there, but this user may not remove the file"),
    ] {
        let _ = std::fs::remove_file(&path);
        drop(UnixListener::bind(&path).unwrap());
        chown(&path, Some(1), None).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let mut command = sherwood();
        command.args(["serve", "--transport", "none", "--memory", "16MiB", "--huge", "off", "--pin", "none"]);
        command.arg("--unix").arg(&path).uid(65534).gid(65534).current_dir("/");
        if let Err(error) = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map(|mut child| {
            let mut said = String::new();
            std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut said).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
            assert!(said.contains(want) && said.contains("start the server as the user who owns"), "{said}");
            assert!(!said.contains("another server answers"), "{said}");
        }) {
            return println!("SKIPPED: another user may not run the program: {error}");
        }
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
