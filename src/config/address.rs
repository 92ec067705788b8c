//! Addresses as operators write them: numbers or a name, and a port. A name is looked up once, where it is read.

use std::fmt::{self, Display};
use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::Deref;
use std::str::FromStr;

/// An address, and how it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    text: String,
    addr: SocketAddr,
}

impl Address {
    /// How it was written and what was taken for it, if it was a name.
    pub fn found(&self) -> Option<(&str, SocketAddr)> {
        self.text.parse::<SocketAddr>().is_err().then_some((&self.text, self.addr))
    }
}

impl Deref for Address {
    type Target = SocketAddr;
    fn deref(&self) -> &SocketAddr {
        &self.addr
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Address {
        Address { text: addr.to_string(), addr }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        lookup(text, |text| text.to_socket_addrs().map(Iterator::collect))
            .map(|addr| Address { text: text.to_owned(), addr })
    }
}

/// As it was written.
impl Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.text)
    }
}

/// The address that a flag names: its first one of IPv4, or else its first one.
///
/// # Errors
/// One line with the flag: there is no port, or no such name.
pub fn resolve(flag: &str, text: &str) -> Result<SocketAddr, String> {
    text.parse::<Address>().map(|address| address.addr).map_err(|why| format!("{flag}: {why}"))
}

/// `ask` answers for names; numbers are not asked for.
fn lookup(
    text: &str,
    ask: impl FnOnce(&str) -> std::io::Result<Vec<SocketAddr>>,
) -> Result<SocketAddr, String> {
    if let Ok(addr) = text.parse() {
        return Ok(addr);
    }
    let has_port = text.rsplit_once(':').is_some_and(|(host, port)| {
        // An address of IPv6 is in brackets, so a host has no other colon.
        !host.is_empty() && !host.contains(':') && port.parse::<u16>().is_ok()
    });
    if !has_port {
        let path = if text.contains('/') { "; a client names a UNIX socket unix:PATH" } else { "" };
        return Err(format!(
            "{text:?} is no address with a port; write 127.0.0.1:11211, [::1]:11211 or host:11211{path}"
        ));
    }
    let found =
        ask(text).map_err(|error| format!("{text:?}: the name is not found ({error}); write an address"))?;
    let first = found.iter().find(|addr| addr.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| format!("{text:?}: the name has no address; write an address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error, ErrorKind};

    #[test]
    fn numbers_are_taken_as_they_are() {
        for text in ["127.0.0.1:11211", "[::1]:0", "0.0.0.0:65535"] {
            let addr = lookup(text, |_| panic!("{text} is no name")).unwrap();
            assert_eq!(addr.to_string(), text);
            assert_eq!(text.parse::<Address>().unwrap().found(), None);
        }
    }

    #[test]
    fn of_a_name_the_first_address_of_ipv4_is_taken() {
        let six: SocketAddr = "[::1]:7".parse().unwrap();
        let four: SocketAddr = "127.0.0.1:7".parse().unwrap();
        assert_eq!(lookup("localhost:7", |_| Ok(vec![six, four])), Ok(four));
        assert_eq!(lookup("localhost:7", |_| Ok(vec![six])), Ok(six));
        assert!(lookup("localhost:7", |_| Ok(vec![])).unwrap_err().contains("has no address"));
        let error = lookup("nowhere:7", |_| Err(Error::from(ErrorKind::NotFound))).unwrap_err();
        assert!(error.contains("\"nowhere:7\": the name is not found"), "{error}");
    }

    #[test]
    fn without_a_port_nothing_is_looked_up() {
        for text in ["localhost", "127.0.0.1", "::1", "::1:7", ":7", "host:", "host:99999", "host:x", ""] {
            let error = lookup(text, |_| panic!("{text} is looked up")).unwrap_err();
            assert!(error.contains("no address with a port"), "{error}");
        }
        assert!(resolve("--metrics", "x").unwrap_err().starts_with("--metrics: \"x\""));
    }

    #[test]
    fn a_name_that_every_machine_has_is_found() {
        let address: Address = "localhost:11211".parse().unwrap();
        assert!(address.ip().is_loopback() && address.port() == 11211);
        assert_eq!(address.found(), Some(("localhost:11211", *address)));
        assert_eq!(address.to_string(), "localhost:11211");
    }
}
