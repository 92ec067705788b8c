//! Addresses as people write them: `127.0.0.1:11211`, `[::1]:11211`, `cache.example:11211`. The only place that looks a name up.

use std::net::{SocketAddr, ToSocketAddrs};

/// The address that a text means, for the option (or argument) `flag`. Of a name's addresses the first of IPv4 is taken, or else the
/// first: servers listen on 127.0.0.1 unless they are told otherwise, and `localhost` is often `::1` first.
///
/// # Errors
/// One line that names the flag and the text: no port, or a name that has no address.
pub fn resolve(flag: &str, text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let wrong = |why: &str| {
        format!(
            "{flag} {}: {why} (example: 127.0.0.1:11211, localhost:11211 or [::1]:11211)",
            text.escape_debug()
        )
    };
    let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    match port {
        None => return Err(wrong("no port")),
        Some(Err(_)) => return Err(wrong("what follows the last colon is no port")),
        Some(Ok(_)) => {}
    }
    let found =
        text.to_socket_addrs().map_err(|error| wrong(&format!("the name has no address: {error}")))?;
    preferred(found).ok_or_else(|| wrong("the name has no address"))
}

fn preferred(found: impl Iterator<Item = SocketAddr>) -> Option<SocketAddr> {
    let all: Vec<SocketAddr> = found.collect();
    all.iter().find(|address| address.is_ipv4()).or(all.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_taken() {
        assert_eq!(resolve("--target", "10.1.2.3:11211").unwrap().to_string(), "10.1.2.3:11211");
        assert_eq!(resolve("--target", "[::1]:5").unwrap().to_string(), "[::1]:5");
        let local = resolve("--target", "localhost:11211").unwrap();
        assert!(local.ip().is_loopback() && local.port() == 11211, "{local}");
    }

    #[test]
    fn of_a_names_addresses_the_first_of_ipv4_is_taken() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (six, four, other) = (address("[::1]:1"), address("127.0.0.1:1"), address("127.0.0.2:1"));
        assert_eq!(preferred([six, four, other].into_iter()), Some(four));
        assert_eq!(preferred([six].into_iter()), Some(six));
        assert_eq!(preferred([].into_iter()), None);
    }

    #[test]
    fn what_is_wrong_names_the_flag_and_the_text() {
        for text in ["nowhere", "nowhere:x", "[::1]", "", "a\nb", "h:70000"] {
            let why = resolve("--target", text).unwrap_err();
            assert!(why.starts_with(&format!("--target {}: ", text.escape_debug())), "{why}");
            assert!(why.contains("example"), "{why}");
        }
    }
}
