//! The TCP listeners of a server: one per worker, all on one address, as the UDP sockets are.
//!
//! The kernel spreads connections over the listeners of a `SO_REUSEPORT` group by a hash of their addresses. As with UDP, the address is
//! first bound without that option, so that a second server cannot join unnoticed. `SO_REUSEADDR` lets a server start again
//! while connections of the one before are in TIME_WAIT.
//!
//! ```text
//! bind ─▶ … memory is prefaulted: the address is taken, and connections are refused … ─▶ listen ─▶ workers run
//! ```
//! With `SO_REUSEADDR` the kernel lets two servers bind one address while neither listens. So a name stands for the address until
//! the process ends (`claim`), and whether somebody else listens is looked at once more before the group does.
//!
//! `TCP_NODELAY` and keepalive are set on the listener: Linux gives an accepted socket the options of its listener, which saves the calls of each
//! connection.
//!
//! `TCP_USER_TIMEOUT` is not set: with it Linux also ends connections of peers that are there and have not read for that time
//! (`tcp_probe_timer`), and those may wait. Of a peer that vanishes with replies unread the kernel gives up the retransmission
//! (net.ipv4.tcp_retries2).

use crate::limits::{
    BIND_ATTEMPTS, BIND_RETRY_MS, KEEP_ALIVE_IDLE_S, KEEP_ALIVE_INTERVAL_S, KEEP_ALIVE_PROBES,
    LISTEN_BACKLOG, SHARED_PORT_ATTEMPTS,
};
use crate::net::socket::claim::Claim;
use crate::net::socket::transports::Transports;
use crate::net::socket::{Socket, SocketConfig, bind_group, local_addr, open};
use nix::sys::socket::{
    Backlog, Shutdown, SockType, SockaddrStorage, bind, listen, setsockopt, shutdown, sockopt,
};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// A TCP socket that takes connections once its group listens. It does not block.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub fd: OwnedFd,
    /// Its address, the port filled in.
    pub addr: SocketAddr,
    _claim: Arc<Claim>,
}

impl Listener {
    /// Refuses connections from now on, those that wait to be accepted, too.
    pub fn stop(&self) {
        // An error means that it does not listen.
        let _ = shutdown(self.fd.as_raw_fd(), Shutdown::Read);
    }
}

/// When an idle peer is taken for gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// How long nothing may come before it is asked whether it is there, in s.
    pub idle_s: u32,
    /// Time between two such probes, in s.
    pub interval_s: u32,
    /// Probes without an answer after which it is gone.
    pub probes: u32,
}

impl Default for KeepAlive {
    fn default() -> KeepAlive {
        KeepAlive { idle_s: KEEP_ALIVE_IDLE_S, interval_s: KEEP_ALIVE_INTERVAL_S, probes: KEEP_ALIVE_PROBES }
    }
}

/// Listeners that are bound and refuse connections. The sockets are those of their [`Listener`]s, which may be elsewhere by now.
#[derive(Debug, Default)]
pub struct Bound {
    addr: Option<SocketAddr>,
    fds: Vec<OwnedFd>,
}

impl Bound {
    /// Of this group.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn of(group: &[Listener]) -> io::Result<Bound> {
        let fds = group.iter().map(|listener| listener.fd.try_clone()).collect::<io::Result<_>>()?;
        Ok(Bound { addr: group.first().map(|listener| listener.addr), fds })
    }

    /// Takes connections from now on.
    ///
    /// # Errors
    /// `AddrInUse`: somebody else has begun to listen on the address meanwhile.
    pub fn listen(self) -> io::Result<()> {
        let Some(addr) = self.addr else { return Ok(()) };
        // One server at a time looks whether it is alone, and listens.
        let _claim = claim_port(addr.port())?;
        probe(addr)?;
        self.fds.iter().try_for_each(start_to_listen)
    }
}

/// Takes connections from now on.
///
/// # Errors
/// The kernel's: somebody else has begun to listen on the address meanwhile.
pub fn start_to_listen(socket: &impl AsFd) -> io::Result<()> {
    // How many connections may wait to be accepted; the kernel caps it at net.core.somaxconn.
    let backlog = Backlog::new(LISTEN_BACKLOG).unwrap_or(Backlog::MAXCONN);
    Ok(listen(socket, backlog)?)
}

/// Binds `count` listeners to `addr`, which refuse connections until [`Bound::listen`]; port 0 picks a free one for all. An address that
/// is in use is tried for [`BIND_ATTEMPTS`] times [`BIND_RETRY_MS`].
///
/// # Errors
/// The address is in use, not ours, or not allowed; or no descriptors are left.
pub fn bind_listeners(addr: SocketAddr, count: usize, keep_alive: KeepAlive) -> io::Result<Vec<Listener>> {
    patiently(|| bind_together(addr, count, keep_alive))
}

/// The same of one listener that shares its port with nobody.
///
/// # Errors
/// As [`bind_listeners`].
pub fn bind_alone(addr: SocketAddr) -> io::Result<Listener> {
    patiently(|| {
        let fd = open(addr, SockType::Stream)?;
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        bind(fd.as_raw_fd(), &SockaddrStorage::from(addr))?;
        let addr = local_addr(&fd)?;
        Ok(Listener { fd, addr, _claim: Arc::new(Claim::take_addr("tcp", addr)?) })
    })
}

fn patiently<T>(attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..BIND_ATTEMPTS {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                std::thread::sleep(Duration::from_millis(BIND_RETRY_MS));
            }
            done => return done,
        }
    }
    attempt()
}

/// Claims a port for as long as it takes to look who has it. Another server that looks has it for a moment only.
fn claim_port(port: u16) -> io::Result<Claim> {
    patiently(|| Claim::take("tcp", port))
}

/// The sockets and the listeners of a server: `count` of each transport that is asked for, all with one port. Port 0 picks one that is free
/// for both.
///
/// # Errors
/// As [`bind_group`] and [`bind_listeners`]; the address is also in use if [`SHARED_PORT_ATTEMPTS`] free ports of UDP were none of TCP.
pub fn bind_both(
    addr: SocketAddr,
    count: usize,
    (config, keep_alive): (SocketConfig, KeepAlive),
    transports: Transports,
) -> io::Result<(Vec<Socket>, Vec<Listener>)> {
    match transports {
        Transports { udp: false, tcp: false } => Ok((Vec::new(), Vec::new())),
        Transports { udp: true, tcp: false } => Ok((bind_group(addr, count, config)?, Vec::new())),
        Transports { udp: false, tcp: true } => Ok((Vec::new(), bind_listeners(addr, count, keep_alive)?)),
        Transports { udp: true, tcp: true } if addr.port() == 0 => {
            share_free_port(addr, count, config, keep_alive)
        }
        Transports { udp: true, tcp: true } => {
            let sockets = bind_group(addr, count, config)?;
            Ok((sockets, bind_listeners(addr, count, keep_alive)?))
        }
    }
}

/// UDP takes a free port, TCP the same one; where somebody else has that, another one is tried.
fn share_free_port(
    addr: SocketAddr,
    count: usize,
    config: SocketConfig,
    keep_alive: KeepAlive,
) -> io::Result<(Vec<Socket>, Vec<Listener>)> {
    let mut taken = Vec::new();
    for _ in 0..SHARED_PORT_ATTEMPTS {
        let sockets = bind_group(addr, count, config)?;
        match bind_together(sockets[0].addr, count, keep_alive) {
            Ok(listeners) => return Ok((sockets, listeners)),
            // Kept until the end, so that the kernel does not offer this port again.
            Err(error) if error.kind() == ErrorKind::AddrInUse => taken.push(sockets),
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::AddrInUse.into())
}

/// One attempt.
fn bind_together(addr: SocketAddr, count: usize, keep_alive: KeepAlive) -> io::Result<Vec<Listener>> {
    let claim = if addr.port() == 0 { None } else { Some(Claim::take("tcp", addr.port())?) };
    let (probe, addr) = probe(addr)?;
    // A port that was just found is claimed while the probe still has it.
    let _claim = match claim {
        Some(claim) => claim,
        None => Claim::take("tcp", addr.port())?,
    };
    drop(probe);
    let claim = Arc::new(Claim::take_addr("tcp", addr)?);
    (0..count).map(|_| bind_one(addr, &claim, keep_alive)).collect()
}

/// Binds without SO_REUSEPORT: fails if anybody listens on the port, and finds a free one if it is 0.
fn probe(addr: SocketAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    let probe = open(addr, SockType::Stream)?;
    setsockopt(&probe, sockopt::ReuseAddr, &true)?;
    bind(probe.as_raw_fd(), &SockaddrStorage::from(addr))?;
    let addr = local_addr(&probe)?;
    Ok((probe, addr))
}

fn bind_one(addr: SocketAddr, claim: &Arc<Claim>, keep_alive: KeepAlive) -> io::Result<Listener> {
    let fd = open(addr, SockType::Stream)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    setsockopt(&fd, sockopt::KeepAlive, &true)?;
    setsockopt(&fd, sockopt::TcpKeepIdle, &keep_alive.idle_s)?;
    setsockopt(&fd, sockopt::TcpKeepInterval, &keep_alive.interval_s)?;
    setsockopt(&fd, sockopt::TcpKeepCount, &keep_alive.probes)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(addr))?;
    Ok(Listener { addr: local_addr(&fd)?, fd, _claim: Arc::clone(claim) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{GetSockOpt, getsockopt};
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};

    const CONFIG: SocketConfig =
        SocketConfig { receive_buffer_bytes: 1 << 18, send_buffer_bytes: 1 << 18, gro: true, steering: true };

    const KEEP: KeepAlive = KeepAlive { idle_s: 7, interval_s: 5, probes: 3 };

    fn any(ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), 0)
    }

    /// Accepts one connection from whichever listener has it. A connection that is established waits in its queue.
    fn accepted(group: &[Listener]) -> TcpStream {
        let accept = |listener: &Listener| {
            TcpListener::from(listener.fd.try_clone().unwrap()).accept().map(|(stream, _)| stream).ok()
        };
        group.iter().find_map(accept).expect("one of them has it")
    }

    fn listening(ip: &str, count: usize) -> io::Result<Vec<Listener>> {
        let group = bind_listeners(any(ip), count, KEEP)?;
        Bound::of(&group)?.listen()?;
        Ok(group)
    }

    fn is_set(fd: &TcpStream, option: impl GetSockOpt<Val = bool>) -> bool {
        getsockopt(fd, option).unwrap()
    }

    fn number(fd: &TcpStream, option: impl GetSockOpt<Val = u32>) -> u32 {
        getsockopt(fd, option).unwrap()
    }

    #[test]
    fn a_group_shares_one_port_and_nobody_else_does() {
        let group = listening("127.0.0.1", 3).unwrap();
        assert!(group.iter().all(|listener| listener.addr == group[0].addr && listener.addr.port() != 0));
        let second = bind_listeners(group[0].addr, 1, KEEP).unwrap_err();
        assert_eq!(second.kind(), ErrorKind::AddrInUse);
        for Listener { fd, .. } in &group {
            // proc(5): the flags of open(2), in octal, and O_CLOEXEC with them.
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
            assert_eq!(flags & libc::O_NONBLOCK, libc::O_NONBLOCK, "{info}");
            assert_eq!(flags & libc::O_CLOEXEC, libc::O_CLOEXEC, "{info}");
        }
    }

    #[test]
    fn an_address_is_taken_while_connections_to_it_are_refused() {
        let group = bind_listeners(any("127.0.0.1"), 2, KEEP).unwrap();
        let (addr, bound) = (group[0].addr, Bound::of(&group).unwrap());
        assert_eq!(TcpStream::connect(addr).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(bind_together(addr, 2, KEEP).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert_eq!(bind_alone(addr).unwrap_err().kind(), ErrorKind::AddrInUse);
        bound.listen().unwrap();
        let _client = TcpStream::connect(addr).unwrap();
        accepted(&group);
    }

    /// The kernel lets both bind while neither listens, and with SO_REUSEPORT it would let both listen.
    #[test]
    fn of_two_that_have_bound_overlapping_addresses_one_listens() {
        let one = bind_listeners(any("0.0.0.0"), 2, KEEP).unwrap();
        let addr = SocketAddr::new("127.0.0.1".parse().unwrap(), one[0].addr.port());
        let other = match bind_listeners(addr, 2, KEEP) {
            Ok(other) => other,
            Err(error) => return println!("SKIPPED: this kernel refuses already to bind: {error}"),
        };
        Bound::of(&other).unwrap().listen().unwrap();
        assert_eq!(Bound::of(&one).unwrap().listen().unwrap_err().kind(), ErrorKind::AddrInUse);
        let _client = TcpStream::connect(addr).unwrap();
        accepted(&other);
    }

    #[test]
    fn accepted_connections_have_the_options_of_their_listener() {
        let group = listening("127.0.0.1", 2).unwrap();
        let _client = TcpStream::connect(group[0].addr).unwrap();
        let server = accepted(&group);
        assert!(is_set(&server, sockopt::TcpNoDelay), "TCP_NODELAY");
        assert!(is_set(&server, sockopt::KeepAlive), "SO_KEEPALIVE");
        assert_eq!(number(&server, sockopt::TcpKeepIdle), KEEP.idle_s);
        assert_eq!(number(&server, sockopt::TcpKeepInterval), KEEP.interval_s);
        assert_eq!(number(&server, sockopt::TcpKeepCount), KEEP.probes);
    }

    #[test]
    fn a_server_starts_again_while_connections_of_the_last_one_close() {
        let group = listening("127.0.0.1", 2).unwrap();
        let addr = group[0].addr;
        let mut client = TcpStream::connect(addr).unwrap();
        // Who closes first keeps the port in TIME_WAIT.
        drop((accepted(&group), group));
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
        drop(client);
        assert_eq!(bind_listeners(addr, 2, KEEP).unwrap()[0].addr, addr);
    }

    #[test]
    fn all_addresses_of_ipv6_are_those_of_ipv4_too() {
        let group = match listening("::", 2) {
            Err(error) => return println!("SKIPPED: no IPv6 here: {error}"),
            Ok(group) => group,
        };
        for ip in ["127.0.0.1", "::1"] {
            let mut client = TcpStream::connect((ip, group[0].addr.port())).unwrap();
            client.write_all(b"x").unwrap();
            let mut server = accepted(&group);
            server.set_nonblocking(false).unwrap();
            assert_eq!(server.read(&mut [0; 8]).unwrap(), 1);
            assert!(server.local_addr().unwrap().ip().to_canonical().is_loopback());
        }
        let other =
            bind_together(SocketAddr::new("127.0.0.1".parse().unwrap(), group[0].addr.port()), 1, KEEP);
        assert_eq!(other.unwrap_err().kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn both_transports_get_one_port() {
        let (sockets, listeners) = bind_both(any("127.0.0.1"), 2, (CONFIG, KEEP), Transports::ALL).unwrap();
        let addr = sockets[0].addr;
        assert!(sockets.len() == 2 && sockets.iter().all(|socket| socket.addr == addr));
        assert!(listeners.len() == 2 && listeners.iter().all(|listener| listener.addr == addr));
        let bound = |transports| {
            let (sockets, listeners) = bind_both(any("127.0.0.1"), 1, (CONFIG, KEEP), transports).unwrap();
            (sockets.len(), listeners.len())
        };
        assert_eq!(bound(Transports { udp: true, tcp: false }), (1, 0));
        assert_eq!(bound(Transports { udp: false, tcp: true }), (0, 1));
        assert_eq!(bound(Transports::NONE), (0, 0));
    }

    #[test]
    fn a_port_that_one_transport_lacks_is_refused() {
        let other = TcpListener::bind(any("127.0.0.1")).unwrap();
        let addr = other.local_addr().unwrap();
        if UdpSocket::bind(addr).is_err() {
            return println!("SKIPPED: somebody has the port of UDP");
        }
        assert_eq!(bind_together(addr, 2, KEEP).unwrap_err().kind(), ErrorKind::AddrInUse);
        let refused = bind_both(addr, 2, (CONFIG, KEEP), Transports::ALL).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn of_two_that_start_at_one_moment_one_has_the_port() {
        for _ in 0..16 {
            let addr = {
                let free = TcpListener::bind(any("127.7.7.9")).unwrap();
                free.local_addr().unwrap()
            };
            let start = std::sync::Barrier::new(2);
            let listen = || {
                start.wait();
                let group = bind_together(addr, 2, KEEP)?;
                Bound::of(&group)?.listen().map(|()| group)
            };
            let groups = std::thread::scope(|scope| {
                let (one, other) = (scope.spawn(listen), scope.spawn(listen));
                [one.join().unwrap(), other.join().unwrap()]
            });
            assert!(groups.iter().filter(|group| group.is_ok()).count() <= 1, "{groups:?}");
        }
    }
}
