//! The sockets of a server. Here those of UDP, one per worker, all on one address; [`listener`] has those of TCP, [`unix_listener`] that of UNIX.
//!
//! `SO_REUSEPORT` lets several sockets share a port; it would also let a second server of the same user join unnoticed,
//! so the address is first bound without it, under a lock (`claim`). Options are asked for, then read back: the kernel caps buffer sizes. When all
//! have joined, in the order of the workers, the kernel may be told how to choose among them ([`steer`]).

pub(crate) mod claim;
pub mod connection;
pub mod headers;
pub mod listener;
pub mod steer;
pub mod transports;
pub mod unix_listener;

use crate::limits::{BIND_ATTEMPTS, BIND_RETRY_MS};
use claim::Claim;
use listener::Listener;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SetSockOpt, SockFlag, SockType, SockaddrStorage, bind, getpeername, getsockname,
    getsockopt, setsockopt, socket, sockopt,
};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// What the kernel granted a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Bytes of the receive buffer, as the kernel counts them (it doubles what it grants).
    pub receive_buffer_bytes: usize,
    /// Bytes of the send buffer.
    pub send_buffer_bytes: usize,
    /// Whether trains of datagrams are received as one (`UDP_GRO`).
    pub gro: bool,
    /// Whether trains may be sent as one (`UDP_SEGMENT`).
    pub gso: bool,
    /// Whether the kernel brings batch frames to the workers that own their keys.
    pub steering: bool,
}

/// A bound socket and what it got.
#[derive(Debug)]
pub struct Socket {
    /// The socket.
    pub fd: OwnedFd,
    /// Its address, the port filled in.
    pub addr: SocketAddr,
    /// What the kernel granted.
    pub granted: Granted,
}

/// What a worker listens on.
#[derive(Debug)]
pub struct Sockets {
    /// For datagrams.
    pub datagrams: Option<Socket>,
    /// For connections.
    pub streams: Option<Listener>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct SocketConfig {
    /// Bytes of the receive buffer.
    pub receive_buffer_bytes: usize,
    /// Bytes of the send buffer.
    pub send_buffer_bytes: usize,
    /// Receive trains.
    pub gro: bool,
    /// Let the kernel bring batch frames to their owners.
    pub steering: bool,
}

/// Binds `count` sockets to `addr`, in order; port 0 picks a free one for all. An address that is in use is tried for
/// [`BIND_ATTEMPTS`] times [`BIND_RETRY_MS`].
///
/// # Errors
/// The address is in use, not ours, or not allowed; or no descriptors are left.
pub fn bind_group(addr: SocketAddr, count: usize, config: SocketConfig) -> std::io::Result<Vec<Socket>> {
    let mut sockets = bind_together(addr, count, config);
    for _ in 1..BIND_ATTEMPTS {
        match &sockets {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                std::thread::sleep(Duration::from_millis(BIND_RETRY_MS));
                sockets = bind_together(addr, count, config);
            }
            _ => break,
        }
    }
    let mut sockets = sockets?;
    // Not steered is slower, not wrong: a kernel that refuses is no reason to stop.
    let steering = config.steering && count > 1 && steer::attach(&sockets[0].fd, count).is_ok();
    sockets.iter_mut().for_each(|socket| socket.granted.steering = steering);
    Ok(sockets)
}

/// One attempt.
fn bind_together(addr: SocketAddr, count: usize, config: SocketConfig) -> std::io::Result<Vec<Socket>> {
    let claim = if addr.port() == 0 { None } else { Some(Claim::take("udp", addr.port())?) };
    // Without SO_REUSEPORT: fails if anybody has the port, and finds a free one if it is 0.
    let probe = open(addr, SockType::Datagram)?;
    bind(probe.as_raw_fd(), &SockaddrStorage::from(addr))?;
    let addr = local_addr(&probe)?;
    // A port that was just found is claimed while the probe still has it.
    let _claim = match claim {
        Some(claim) => claim,
        None => Claim::take("udp", addr.port())?,
    };
    drop(probe);
    (0..count).map(|_| bind_one(addr, config)).collect()
}

fn bind_one(addr: SocketAddr, config: SocketConfig) -> std::io::Result<Socket> {
    let fd = open(addr, SockType::Datagram)?;
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    // Force needs CAP_NET_ADMIN and passes net.core.rmem_max by; without it the cap holds.
    if setsockopt(&fd, sockopt::RcvBufForce, &config.receive_buffer_bytes).is_err() {
        setsockopt(&fd, sockopt::RcvBuf, &config.receive_buffer_bytes)?;
    }
    if setsockopt(&fd, sockopt::SndBufForce, &config.send_buffer_bytes).is_err() {
        setsockopt(&fd, sockopt::SndBuf, &config.send_buffer_bytes)?;
    }
    setsockopt(&fd, sockopt::RxqOvfl, &1)?;
    let gro = config.gro && is_there(setsockopt(&fd, sockopt::UdpGroSegment, &true))?;
    // Setting the size to 0 changes nothing, and fails where the kernel does not know the option.
    let gso = is_there(sockopt::UdpGsoSegment.set(&fd, &0))?;
    if addr.ip().is_unspecified() {
        ask_for_local_addresses(&fd, addr)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(addr))?;
    let granted = Granted {
        receive_buffer_bytes: getsockopt(&fd, sockopt::RcvBuf)?,
        send_buffer_bytes: getsockopt(&fd, sockopt::SndBuf)?,
        gro,
        gso,
        steering: false,
    };
    Ok(Socket { addr: local_addr(&fd)?, fd, granted })
}

/// A socket that listens on all addresses has to be told which of them a datagram was sent to, so that the reply comes from
/// there: a client that connected its socket sees no other. One for IPv6 may also receive over IPv4.
fn ask_for_local_addresses(fd: &OwnedFd, addr: SocketAddr) -> nix::Result<()> {
    setsockopt(fd, sockopt::Ipv4PacketInfo, &true)?;
    if addr.is_ipv6() {
        setsockopt(fd, sockopt::Ipv6RecvPacketInfo, &true)?;
    }
    Ok(())
}

/// Whether the kernel has an option (GRO and GSO: Linux 5.0 and 4.18).
fn is_there(result: nix::Result<()>) -> std::io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(Errno::ENOPROTOOPT | Errno::EOPNOTSUPP | Errno::EINVAL) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn open(addr: SocketAddr, kind: SockType) -> std::io::Result<OwnedFd> {
    let family = if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(family, kind, flags, None)?)
}

/// Who is at the other end of a connection.
///
/// # Errors
/// Nobody is any more.
pub fn peer_addr(fd: &OwnedFd) -> std::io::Result<SocketAddr> {
    internet_addr(&getpeername(fd.as_raw_fd())?)
}

fn local_addr(fd: &OwnedFd) -> std::io::Result<SocketAddr> {
    internet_addr(&getsockname(fd.as_raw_fd())?)
}

fn internet_addr(name: &SockaddrStorage) -> std::io::Result<SocketAddr> {
    let v4 = name.as_sockaddr_in().map(|addr| SocketAddr::V4((*addr).into()));
    let addr = v4.or_else(|| name.as_sockaddr_in6().map(|addr| SocketAddr::V6((*addr).into())));
    addr.ok_or_else(|| std::io::Error::other("the kernel gave a socket an address of another family"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{MsgFlags, recv};

    const CONFIG: SocketConfig =
        SocketConfig { receive_buffer_bytes: 1 << 18, send_buffer_bytes: 1 << 18, gro: true, steering: true };

    #[test]
    fn a_group_shares_one_port_and_nobody_else_does() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let group = bind_group(any, 3, CONFIG).unwrap();
        assert!(group.iter().all(|socket| socket.addr == group[0].addr && socket.addr.port() != 0));
        assert!(group[0].granted.receive_buffer_bytes > 0);
        let second = bind_group(group[0].addr, 1, CONFIG).unwrap_err();
        assert_eq!(second.kind(), std::io::ErrorKind::AddrInUse);
    }

    /// A free port, of which nobody else uses this address.
    /// A port that nobody has, and that nobody gets without asking for it: below those that the kernel gives away.
    fn free(ip: &str, number: usize) -> u16 {
        let first = 10_000 + (std::process::id() as usize * 48 + number) % 20_000;
        let free = |&port: &u16| std::net::UdpSocket::bind((ip, port)).is_ok();
        (first as u16..32_000).find(free).unwrap()
    }

    /// Both probed the address before either had bound its group, and then both had it.
    #[test]
    fn of_two_that_start_at_one_moment_one_has_the_port() {
        let pairs = [("127.7.7.7", "127.7.7.7"), ("0.0.0.0", "127.7.7.7"), ("::", "0.0.0.0"), ("::", "::")];
        let threads = pairs.iter().cycle().take(48).enumerate().map(|(number, &(one, other))| {
            std::thread::spawn(move || {
                let (port, start) = (free("127.7.7.7", number), std::sync::Barrier::new(2));
                let bind = |ip: &str| {
                    start.wait();
                    bind_group(SocketAddr::new(ip.parse().unwrap(), port), 2, CONFIG)
                };
                std::thread::scope(|scope| {
                    let (one, other) = (scope.spawn(|| bind(one)), scope.spawn(|| bind(other)));
                    [one.join().unwrap(), other.join().unwrap()].map(|group| group.map_err(|e| e.kind()))
                })
            })
        });
        for thread in threads.collect::<Vec<_>>() {
            let groups = thread.join().unwrap();
            assert_eq!(groups.iter().filter(|group| group.is_ok()).count(), 1, "{groups:?}");
            assert!(groups.iter().any(|g| g.as_ref().is_err_and(|e| *e == std::io::ErrorKind::AddrInUse)));
        }
    }

    #[test]
    fn a_port_that_comes_free_while_it_is_tried_is_taken() {
        let other = std::net::UdpSocket::bind("127.7.7.8:0").unwrap();
        let addr = other.local_addr().unwrap();
        let waiting = std::thread::spawn(move || bind_group(addr, 2, CONFIG));
        drop(other);
        assert_eq!(waiting.join().unwrap().unwrap()[0].addr, addr);
    }

    #[test]
    fn the_kernel_brings_frames_to_the_sockets_of_their_owners() {
        const WORKERS: usize = 3;
        let group = bind_group("127.0.0.1:0".parse().unwrap(), WORKERS, CONFIG).unwrap();
        assert!(group.iter().all(|socket| socket.granted.steering), "the kernel refused the program");
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for i in 0..200u32 {
            let key = format!("key:{i}");
            let (steer, mut frame) =
                (protocol::steer::steer(key.as_bytes()), vec![0, 1, 0, 0, 0, 0, 0x53, 1]);
            frame.extend_from_slice(&((steer >> 32) as u32).to_be_bytes());
            // Loopback delivers before the send returns.
            client.send_to(&frame, group[0].addr).unwrap();
            let mut got = [0; 64];
            for (number, socket) in group.iter().enumerate() {
                let here = recv(socket.fd.as_raw_fd(), &mut got, MsgFlags::MSG_DONTWAIT);
                assert_eq!(
                    here.is_ok(),
                    number == protocol::steer::owner(steer, WORKERS),
                    "{key} at socket {number}"
                );
            }
        }
    }
}
