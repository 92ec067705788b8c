//! Who may ask for what: loopback and `--allow` networks get answers, loopback and `--admin` networks get all of them.
//!
//! UDP source addresses can be forged: `--allow` is fit only where the network filters sources. Others get silence, or
//! with `--secret-file` a challenge (`cookie`), so that the server cannot be used to flood a third party.

use crate::guard::cookie::Secret;
use crate::net::PeerAddr;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// A network, as `address/bits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Cidr, String> {
        let wrong = || format!("{text} is no network (write 10.0.0.0/8 or fd00::/8)");
        let (address, bits) = text.split_once('/').unwrap_or((text, ""));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = if text.contains('/') { bits.parse().map_err(|_| wrong())? } else { width };
        if bits > width { Err(wrong()) } else { Ok(Cidr { address, bits }) }
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Cidr {
    /// Whether the network has this address. An IPv4 address in IPv6 form counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let differing = match (self.address, ip.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => ((a.to_bits() ^ b.to_bits()) as u128) << 96,
            (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() ^ b.to_bits(),
            _ => return false,
        };
        differing.leading_zeros() >= self.bits as u32
    }
}

/// What an address may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Not even be answered.
    Nothing,
    /// Be challenged; with a cookie, read and write.
    Unvalidated,
    /// Read and write.
    Data,
    /// `stats`, `flush_all` and the like, too.
    Admin,
}

/// The rules.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Networks that get answers.
    pub allow: Vec<Cidr>,
    /// Networks that may administrate.
    pub admin: Vec<Cidr>,
    /// With it, others may prove that their address is theirs.
    pub secret: Option<Secret>,
    /// Treat loopback as any other network.
    pub distrust_loopback: bool,
}

impl Access {
    /// Lowest source port of strangers: what runs below it (DNS, NTP, chargen, …) answers to what it is sent.
    const STRANGER_PORT_MIN: u16 = 1024;

    /// What a peer may do. A reply to port 0, to a group or to nobody can only be an attack.
    pub fn right(&self, peer: &PeerAddr) -> Right {
        let ip = peer.ip().to_canonical();
        let is_in = |networks: &[Cidr]| networks.iter().any(|network| network.contains(ip));
        if peer.port() == 0
            || ip.is_multicast()
            || ip.is_unspecified()
            || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
        {
            Right::Nothing
        } else if ip.is_loopback() && !self.distrust_loopback || is_in(&self.admin) {
            Right::Admin
        } else if is_in(&self.allow) {
            Right::Data
        } else if self.secret.is_some() && peer.port() >= Self::STRANGER_PORT_MIN {
            Right::Unvalidated
        } else {
            Right::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn right(access: &Access, addr: &str) -> Right {
        access.right(&PeerAddr::from(addr.parse::<SocketAddr>().unwrap()))
    }

    #[test]
    fn strangers_get_silence() {
        let access = Access {
            allow: vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()],
            admin: vec!["10.1.2.3".parse().unwrap()],
            ..Access::default()
        };
        let table = [
            ("127.0.0.1:5", Right::Admin),
            ("127.0.0.1:0", Right::Nothing),
            ("224.0.0.1:5", Right::Nothing),
            ("255.255.255.255:5", Right::Nothing),
            ("0.0.0.0:5", Right::Nothing),
            ("[::1]:5", Right::Admin),
            ("[::ffff:127.0.0.1]:5", Right::Admin),
            ("10.1.2.3:5", Right::Admin),
            ("10.1.200.3:5", Right::Data),
            ("[::ffff:10.1.200.3]:5", Right::Data),
            ("10.2.0.1:5", Right::Nothing),
            ("[fd12::1]:5", Right::Data),
            ("[fe80::1]:5", Right::Nothing),
        ];
        for (addr, want) in table {
            assert_eq!(right(&access, addr), want, "{addr}");
        }
        assert_eq!(right(&Access::default(), "8.8.8.8:5353"), Right::Nothing);
    }

    #[test]
    fn with_a_secret_strangers_may_prove_themselves() {
        let secret = Some(Secret::new(b"0123456789abcdef").unwrap());
        let access = Access { secret, ..Access::default() };
        assert_eq!(right(&access, "8.8.8.8:5353"), Right::Unvalidated);
        assert_eq!(right(&access, "8.8.8.8:53"), Right::Nothing);
        assert_eq!(right(&access, "127.0.0.1:5"), Right::Admin);
        let distrustful = Access { distrust_loopback: true, ..access };
        assert_eq!(right(&distrustful, "127.0.0.1:5353"), Right::Unvalidated);
    }

    #[test]
    fn networks_are_checked() {
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0.0/x", "host/8"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
        assert!("0.0.0.0/0".parse::<Cidr>().unwrap().contains("9.9.9.9".parse().unwrap()));
    }
}
