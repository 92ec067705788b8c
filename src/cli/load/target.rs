//! Targets as people write them, and the transport that follows from them.

use crate::config::address;
use crate::load::target::{Peer, TARGETS_MAX};
use crate::load::transport::Kind;

/// The servers of `--target`.
///
/// # Errors
/// One line: no address and no path, or too many.
pub fn peers(targets: &[String]) -> Result<Vec<Peer>, String> {
    if targets.len() > TARGETS_MAX {
        return Err(format!("--target: {} of them; at most {TARGETS_MAX}", targets.len()));
    }
    targets.iter().map(|text| peer("--target", text)).collect()
}

/// One server: `unix:PATH`, or an address with a port.
///
/// # Errors
/// One line with the flag.
pub fn peer(flag: &str, text: &str) -> Result<Peer, String> {
    match text.strip_prefix(Peer::UNIX_PREFIX) {
        Some("") => Err(format!("{flag}: \"unix:\" has no path; write unix:/run/sherwood.sock")),
        Some(path) => Ok(Peer::Unix(path.into())),
        None => Ok(Peer::Ip(address::resolve(flag, text)?)),
    }
}

/// The transport that was asked for, or else what the targets are.
///
/// # Errors
/// One line: the targets are not of this transport, or of two.
pub fn transport(asked: Option<Kind>, peers: &[Peer]) -> Result<Kind, String> {
    let paths = peers.iter().filter(|peer| peer.ip().is_none()).count();
    match (asked, paths) {
        (_, paths) if paths > 0 && paths < peers.len() => {
            Err("--target: UNIX sockets and addresses do not go together; give targets of one kind".into())
        }
        (None | Some(Kind::Udp | Kind::Tcp), 0) => Ok(asked.unwrap_or(Kind::Udp)),
        (None | Some(Kind::Unix), _) if paths > 0 => Ok(Kind::Unix),
        (Some(Kind::Unix), _) => Err("--transport unix needs --target unix:PATH".into()),
        _ => Err("--target unix:PATH goes with --transport unix, which is the default for it".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_implies_unix_and_nothing_else_goes_with_it() {
        let of = |asked, targets: &[&str]| {
            let targets: Vec<String> = targets.iter().map(|&text| text.into()).collect();
            peers(&targets).and_then(|peers| transport(asked, &peers))
        };
        let (ip, path) = ("127.0.0.1:1", "unix:/run/a");
        assert_eq!((of(None, &[ip]), of(None, &[path, path])), (Ok(Kind::Udp), Ok(Kind::Unix)));
        assert_eq!(of(Some(Kind::Tcp), &[ip, ip]), Ok(Kind::Tcp));
        for (asked, targets, remedy) in [
            (None, &[ip, path][..], "of one kind"),
            (Some(Kind::Tcp), &[path], "--transport unix"),
            (Some(Kind::Udp), &[path], "--transport unix"),
            (Some(Kind::Unix), &[ip], "unix:PATH"),
            (None, &["unix:"], "/run/sherwood.sock"),
        ] {
            let error = of(asked, targets).unwrap_err();
            assert!(error.contains(remedy), "{error}");
        }
    }
}
