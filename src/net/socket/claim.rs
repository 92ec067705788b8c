//! One server a port: locks that are held while a server takes its port.
//!
//! # Why
//! A server first binds its address alone, which fails if anybody has it, and then binds the sockets of its workers with
//! `SO_REUSEPORT`. Two servers of one user that start at the same moment may both be between the two steps, and would
//! share the port: each would get a part of the datagrams. The kernel refuses a third one later, but not the second.
//!
//! # How
//! An abstract unix socket (`unix(7)`) named after the port. The kernel lets one socket have a name, and frees the name
//! when its process ends, however it ends. The name belongs to the network namespace, as the port does. It has no
//! address in it: `0.0.0.0`, `[::]` and one address of the machine may exclude each other, and the lock is held only
//! until the group is bound; from then on the kernel itself refuses whatever overlaps.
//!
//! A group of TCP does not listen yet when it is bound, and the kernel refuses only what overlaps with a listener. So each address has
//! a name of its own, which its server has until it ends: two servers of different addresses may start together with one port.

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self, UnixDatagram};

/// The right to bind a port, or to have an address, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    /// None where there are no unix sockets to be had: the port is bound without a lock.
    _lock: Option<OwnedFd>,
}

impl Claim {
    /// Claims a port of `udp` or `tcp`.
    ///
    /// # Errors
    /// `AddrInUse`: another server is about to bind it.
    pub(super) fn take(transport: &str, port: u16) -> io::Result<Claim> {
        Self::take_name(&format!("sherwood {transport} {port}"))
    }

    /// Claims an address with its port.
    ///
    /// # Errors
    /// `AddrInUse`: another server has it.
    pub(super) fn take_addr(transport: &str, addr: SocketAddr) -> io::Result<Claim> {
        Self::take_name(&format!("sherwood {transport} {addr}"))
    }

    fn take_name(name: &str) -> io::Result<Claim> {
        match lock(name) {
            Ok(lock) => Ok(Claim { _lock: Some(lock) }),
            Err(Errno::EADDRINUSE) => Err(Errno::EADDRINUSE.into()),
            // A sandbox without unix sockets is no reason not to serve.
            Err(_) => Ok(Claim { _lock: None }),
        }
    }
}

/// Takes an abstract name; it is free again when the descriptor is closed.
///
/// # Errors
/// `EADDRINUSE`: somebody has it. Others: there are no unix sockets to be had.
pub(crate) fn lock(name: &str) -> nix::Result<OwnedFd> {
    let fd = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    bind(fd.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
    Ok(fd)
}

/// Whether somebody has this name; where there are no unix sockets, nobody has.
pub(crate) fn is_taken(name: &str) -> bool {
    let addr = net::SocketAddr::from_abstract_name(name);
    addr.is_ok_and(|addr| UnixDatagram::unbound().is_ok_and(|probe| probe.connect_addr(&addr).is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_a_port_until_it_lets_go() {
        // No server binds port 0 itself, so nobody else has this name.
        let first = Claim::take("udp", 0).unwrap();
        assert_eq!(Claim::take("udp", 0).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(is_taken("sherwood udp 0"));
        Claim::take("tcp", 0).expect("a port of its own");
        drop(first);
        assert!(!is_taken("sherwood udp 0"));
        Claim::take("udp", 0).unwrap();
    }
}
