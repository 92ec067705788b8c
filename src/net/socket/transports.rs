//! The transports of the listen address.

use std::fmt::{self, Display};
use std::str::FromStr;

/// Which transports are served on the listen address; a UNIX socket is an option of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transports {
    /// Datagrams.
    pub udp: bool,
    /// Connections.
    pub tcp: bool,
}

impl Transports {
    /// Both.
    pub const ALL: Transports = Transports { udp: true, tcp: true };
    /// Neither: the listen address is not bound.
    pub const NONE: Transports = Transports { udp: false, tcp: false };

    /// Whether the listen address is bound at all.
    pub fn any(self) -> bool {
        self.udp || self.tcp
    }
}

impl Default for Transports {
    fn default() -> Transports {
        Transports::ALL
    }
}

/// A list as it is written: `udp,tcp`, one of both, or `none`.
impl FromStr for Transports {
    type Err = String;

    fn from_str(text: &str) -> Result<Transports, String> {
        if text.trim() == "none" {
            return Ok(Transports::NONE);
        }
        let mut transports = Transports::NONE;
        for word in text.split(',') {
            match word.trim() {
                "udp" => transports.udp = true,
                "tcp" => transports.tcp = true,
                "" => return Err(format!("{text:?} has an empty entry; {USAGE}")),
                other => return Err(format!("unknown transport {other}; {USAGE}")),
            }
        }
        Ok(transports)
    }
}

const USAGE: &str = "give udp,tcp or one of them, or none where --unix is all that is wanted";

impl Display for Transports {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match (self.udp, self.tcp) {
            (true, true) => "udp,tcp",
            (true, false) => "udp",
            (false, true) => "tcp",
            (false, false) => "none",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_written() {
        for (text, udp, tcp, written) in [
            ("udp,tcp", true, true, "udp,tcp"),
            ("tcp, udp", true, true, "udp,tcp"),
            ("udp", true, false, "udp"),
            ("tcp,tcp", false, true, "tcp"),
            (" none ", false, false, "none"),
        ] {
            let transports: Transports = text.parse().unwrap();
            assert_eq!(transports, Transports { udp, tcp }, "{text}");
            assert_eq!(transports.to_string(), written);
            assert_eq!(transports.any(), udp || tcp);
        }
        for (text, why) in
            [("", "empty"), ("udp,", "empty"), ("sctp", "sctp"), ("none,udp", "none"), ("UDP", "UDP")]
        {
            let error = text.parse::<Transports>().unwrap_err();
            assert!(error.contains(why) && error.contains("give udp,tcp"), "{text}: {error}");
        }
    }
}
