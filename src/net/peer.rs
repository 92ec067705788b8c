//! The address of a peer, in the kernel's own form, so that it goes back as it came; and where it comes from, if the
//! socket has several addresses: the address that the peer sent to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// A `sockaddr_in` or `sockaddr_in6`, as bytes (`ip(7)`, `ipv6(7)`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C, align(4))]
pub struct PeerAddr {
    raw: [u8; Self::BYTES_MAX],
    length: u32,
    local: LocalAddr,
}

/// The address of ours that a peer sent to; none where the socket has just one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LocalAddr {
    /// In IPv6 form; all zero for none.
    octets: [u8; 16],
    /// Index of its interface, where the address means something only with it (`fe80::/10`); else 0.
    interface: u32,
}

impl LocalAddr {
    /// An address. The interface counts for those that are local to a link only.
    pub fn new(ip: IpAddr, interface: u32) -> LocalAddr {
        match ip {
            IpAddr::V4(ip) => LocalAddr { octets: ip.to_ipv6_mapped().octets(), interface: 0 },
            IpAddr::V6(ip) => {
                let interface = if ip.is_unicast_link_local() { interface } else { 0 };
                LocalAddr { octets: ip.octets(), interface }
            }
        }
    }

    /// The address, IPv4 as such, and the interface; `None` for none.
    #[inline]
    pub fn get(&self) -> Option<(IpAddr, u32)> {
        if self.octets == [0; 16] {
            return None;
        }
        Some((IpAddr::V6(Ipv6Addr::from(self.octets)).to_canonical(), self.interface))
    }
}

impl PeerAddr {
    /// Bytes of the longest address.
    pub const BYTES_MAX: usize = 28;
    const V4_BYTES: usize = 16;
    /// No address at all.
    pub const NOBODY: PeerAddr =
        PeerAddr { raw: [0; Self::BYTES_MAX], length: 0, local: LocalAddr { octets: [0; 16], interface: 0 } };

    /// From the bytes that the kernel gave; `None` for a family that UDP sockets of ours cannot have.
    pub fn from_raw(raw: &[u8]) -> Option<PeerAddr> {
        let family = u16::from_ne_bytes([*raw.first()?, *raw.get(1)?]) as i32;
        let length = match family {
            libc::AF_INET if raw.len() >= Self::V4_BYTES => Self::V4_BYTES,
            libc::AF_INET6 if raw.len() >= Self::BYTES_MAX => Self::BYTES_MAX,
            _ => return None,
        };
        let mut peer =
            PeerAddr { raw: [0; Self::BYTES_MAX], length: length as u32, local: LocalAddr::default() };
        peer.raw[..length].copy_from_slice(&raw[..length]);
        Some(peer)
    }

    /// The same peer, which sent to this address of ours.
    pub fn with_local(self, local: LocalAddr) -> PeerAddr {
        PeerAddr { local, ..self }
    }

    /// The address of ours that it sent to.
    pub fn local(&self) -> &LocalAddr {
        &self.local
    }

    /// The bytes for the kernel.
    pub fn as_raw(&self) -> &[u8] {
        &self.raw[..self.length as usize]
    }

    /// The address without port.
    pub fn ip(&self) -> IpAddr {
        if self.length as usize == Self::V4_BYTES {
            let octets: [u8; 4] = self.raw[4..8].try_into().expect("4 bytes");
            IpAddr::V4(Ipv4Addr::from(octets))
        } else {
            let octets: [u8; 16] = self.raw[8..24].try_into().expect("16 bytes");
            IpAddr::V6(Ipv6Addr::from(octets))
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        u16::from_be_bytes([self.raw[2], self.raw[3]])
    }
}

impl From<SocketAddr> for PeerAddr {
    fn from(addr: SocketAddr) -> PeerAddr {
        let mut raw = [0; Self::BYTES_MAX];
        raw[2..4].copy_from_slice(&addr.port().to_be_bytes());
        let (family, length) = match addr {
            SocketAddr::V4(v4) => {
                raw[4..8].copy_from_slice(&v4.ip().octets());
                (libc::AF_INET, Self::V4_BYTES)
            }
            SocketAddr::V6(v6) => {
                raw[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
                raw[8..24].copy_from_slice(&v6.ip().octets());
                raw[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                (libc::AF_INET6, Self::BYTES_MAX)
            }
        };
        raw[..2].copy_from_slice(&(family as u16).to_ne_bytes());
        PeerAddr { raw, length: length as u32, local: LocalAddr::default() }
    }
}

impl From<&PeerAddr> for SocketAddr {
    fn from(peer: &PeerAddr) -> SocketAddr {
        match peer.ip() {
            IpAddr::V4(ip) => SocketAddr::from((ip, peer.port())),
            IpAddr::V6(ip) => {
                let word = |at: usize| -> [u8; 4] { peer.raw[at..at + 4].try_into().expect("4 bytes") };
                let (flow, scope) = (u32::from_be_bytes(word(4)), u32::from_ne_bytes(word(24)));
                SocketAddr::V6(SocketAddrV6::new(ip, peer.port(), flow, scope))
            }
        }
    }
}

impl std::fmt::Debug for PeerAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        SocketAddr::from(self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernels_form() {
        for text in ["127.0.0.1:11211", "[::1]:1", "[fe80::1%7]:65535", "255.0.3.1:0"] {
            let addr: SocketAddr = text.parse().unwrap();
            let peer = PeerAddr::from(addr);
            assert_eq!(SocketAddr::from(&peer), addr);
            assert_eq!(PeerAddr::from_raw(peer.as_raw()), Some(peer));
        }
        assert_eq!(PeerAddr::from_raw(&[1, 0, 3]), None);
        assert_eq!(PeerAddr::from_raw(&[]), None);
    }

    #[test]
    fn one_peer_at_two_addresses_of_ours_is_two() {
        let peer = PeerAddr::from(SocketAddr::from(([127, 0, 0, 1], 1)));
        assert_eq!(peer.local().get(), None);
        for text in ["127.0.0.2", "fd77::1", "fe80::1"] {
            let ip: IpAddr = text.parse().unwrap();
            let interface = if text == "fe80::1" { 3 } else { 0 };
            let there = peer.with_local(LocalAddr::new(ip, 3));
            assert_eq!(there.local().get(), Some((ip, interface)));
            assert_ne!(there, peer);
        }
    }
}
