//! The UDP sockets of a server: one per worker, all on one address.
//!
//! `SO_REUSEPORT` lets several sockets share a port; it would also let a second server of the same user join unnoticed,
//! so the address is first bound without it. Options are asked for, then read back: the kernel caps buffer sizes.

pub mod headers;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SetSockOpt, SockFlag, SockType, SockaddrStorage, bind, getsockname, getsockopt,
    setsockopt, socket, sockopt,
};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

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

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct SocketConfig {
    /// Bytes of the receive buffer.
    pub receive_buffer_bytes: usize,
    /// Bytes of the send buffer.
    pub send_buffer_bytes: usize,
    /// Receive trains.
    pub gro: bool,
}

/// Binds `count` sockets to `addr`, in order; port 0 picks a free one for all.
///
/// # Errors
/// The address is in use, not ours, or not allowed; or no descriptors are left.
pub fn bind_group(addr: SocketAddr, count: usize, config: SocketConfig) -> std::io::Result<Vec<Socket>> {
    // Without SO_REUSEPORT: fails if anybody has the port, and finds a free one if it is 0.
    let probe = open(addr)?;
    bind(probe.as_raw_fd(), &SockaddrStorage::from(addr))?;
    let addr = local_addr(&probe)?;
    drop(probe);
    (0..count).map(|_| bind_one(addr, config)).collect()
}

fn bind_one(addr: SocketAddr, config: SocketConfig) -> std::io::Result<Socket> {
    let fd = open(addr)?;
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
    bind(fd.as_raw_fd(), &SockaddrStorage::from(addr))?;
    let granted = Granted {
        receive_buffer_bytes: getsockopt(&fd, sockopt::RcvBuf)?,
        send_buffer_bytes: getsockopt(&fd, sockopt::SndBuf)?,
        gro,
        gso,
    };
    Ok(Socket { addr: local_addr(&fd)?, fd, granted })
}

/// Whether the kernel has an option (GRO and GSO: Linux 5.0 and 4.18).
fn is_there(result: nix::Result<()>) -> std::io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(Errno::ENOPROTOOPT | Errno::EOPNOTSUPP | Errno::EINVAL) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn open(addr: SocketAddr) -> std::io::Result<OwnedFd> {
    let family = if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(family, SockType::Datagram, flags, None)?)
}

fn local_addr(fd: &OwnedFd) -> std::io::Result<SocketAddr> {
    let name: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    let v4 = name.as_sockaddr_in().map(|addr| SocketAddr::V4((*addr).into()));
    let addr = v4.or_else(|| name.as_sockaddr_in6().map(|addr| SocketAddr::V6((*addr).into())));
    addr.ok_or_else(|| std::io::Error::other("the kernel gave a socket an address of another family"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: SocketConfig =
        SocketConfig { receive_buffer_bytes: 1 << 18, send_buffer_bytes: 1 << 18, gro: true };

    #[test]
    fn a_group_shares_one_port_and_nobody_else_does() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let group = bind_group(any, 3, CONFIG).unwrap();
        assert!(group.iter().all(|socket| socket.addr == group[0].addr && socket.addr.port() != 0));
        assert!(group[0].granted.receive_buffer_bytes > 0);
        let second = bind_group(group[0].addr, 1, CONFIG).unwrap_err();
        assert_eq!(second.kind(), std::io::ErrorKind::AddrInUse);
    }
}
