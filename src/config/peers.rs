//! The file of `--peers`: the servers of a cluster, as `config get cluster` names them.
//!
//! ```text
//! # one server a line: its name, its address, its port
//! cache-1.example.com|10.0.0.1 11211
//! 10.0.0.2 11211                        # the address is the name, too
//! ```

use crate::limits::{PEERS_BYTES_MAX, PEERS_MAX};
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

/// A server of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name, or its address where it has none.
    pub host: String,
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
}

/// Reads the file of `--peers`.
///
/// # Errors
/// One line: the file cannot be read, or which line of it is wrong.
pub fn read(path: &Path) -> Result<Vec<Peer>, String> {
    let wrong = |why: String| format!("--peers {}: {why}", path.display());
    let mut text = String::new();
    let opened = std::fs::File::open(path).and_then(|file| {
        // A pipe would wait for who writes to it.
        if !file.metadata()?.is_file() {
            return Err(std::io::Error::other("it is no regular file"));
        }
        file.take(PEERS_BYTES_MAX + 1).read_to_string(&mut text)
    });
    opened.map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if text.len() as u64 > PEERS_BYTES_MAX {
        return Err(wrong(format!("longer than {PEERS_BYTES_MAX} bytes; give one server a line")));
    }
    parse(&text).map_err(wrong)
}

/// The servers that a text names, in its order.
///
/// # Errors
/// Which line is wrong, and what would be right; or there is no server in it.
pub fn parse(text: &str) -> Result<Vec<Peer>, String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let lines = lines.enumerate().filter(|(_, line)| !line.is_empty());
    let peers: Vec<Peer> = lines
        .map(|(at, line)| {
            peer(line).ok_or_else(|| {
                format!("line {}: {line:?} is no server; write HOST|IP PORT or IP PORT", at + 1)
            })
        })
        .collect::<Result<_, _>>()?;
    match peers.len() {
        0 => Err("no server in it; write HOST|IP PORT, one a line".into()),
        count if count > PEERS_MAX => Err(format!("{count} servers; {PEERS_MAX} are the most")),
        _ => Ok(peers),
    }
}

fn peer(line: &str) -> Option<Peer> {
    let mut words = line.split_whitespace();
    let (Some(name), Some(port), None) = (words.next(), words.next(), words.next()) else { return None };
    let (host, ip) = name.split_once('|').unwrap_or((name, name));
    // Clients take the reply apart at these.
    let is_host =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'|' && byte != b',');
    let port = port.parse().ok().filter(|&port| port != 0)?;
    is_host.then_some(Peer { host: host.to_owned(), ip: ip.parse().ok()?, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_server() {
        let text =
            "# the cluster\n\na.example|10.0.0.1 11211\r\n  10.0.0.2\t7 # no name\nsix|fd00::1 65535\n";
        let peer = |host: &str, ip: &str, port| Peer { host: host.into(), ip: ip.parse().unwrap(), port };
        let want = [
            peer("a.example", "10.0.0.1", 11211),
            peer("10.0.0.2", "10.0.0.2", 7),
            peer("six", "fd00::1", 65535),
        ];
        assert_eq!(parse(text).unwrap(), want);
    }

    #[test]
    fn a_wrong_line_is_named() {
        for line in [
            "a.example 11211",
            "a|10.0.0.1",
            "a|10.0.0.1 0",
            "|10.0.0.1 1",
            "a|b|10.0.0.1 1",
            "10.0.0.1 1 2",
            "10.0.0.1:11211",
            "a|10.0.0.1 x",
        ] {
            let error = parse(&format!("10.0.0.9 1\n{line}\n")).unwrap_err();
            assert!(error.starts_with("line 2: ") && error.contains("HOST|IP PORT"), "{line}: {error}");
        }
        assert!(parse("# nobody\n").unwrap_err().contains("no server"));
        assert!(parse(&"10.0.0.1 1\n".repeat(PEERS_MAX + 1)).unwrap_err().contains("are the most"));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers");
        assert!(read(&path).unwrap_err().contains("cannot be read"));
        assert!(read(folder.path()).unwrap_err().contains("cannot be read"));
        std::fs::write(&path, b"10.0.0.1 1\n").unwrap();
        assert_eq!(read(&path).unwrap().len(), 1);
        std::fs::write(&path, b"\xff\n").unwrap();
        assert!(read(&path).unwrap_err().contains("cannot be read"));
        std::fs::write(&path, vec![b'\n'; PEERS_BYTES_MAX as usize + 1]).unwrap();
        assert!(read(&path).unwrap_err().contains("longer than"));
    }
}
