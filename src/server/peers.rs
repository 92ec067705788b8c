//! The servers that `config get cluster` names: the file of `--peers`, read again when it changes.
//!
//! # Reply
//! As the auto discovery of ElastiCache speaks it, and the clients made for that:
//!
//! ```text
//! CONFIG cluster 0 <bytes>\r\n
//! <version>\n
//! <host>|<ip>|<port> <host>|<ip>|<port>\n
//! \r\n
//! END\r\n
//! ```
//! `<bytes>` counts the two lines that end with `\n`.
//!
//! # Version
//! It grows with each change. A client takes a configuration only if its version is higher than the one it has, also from a server
//! that was started again; so the first one is the second at which the file was last changed, and not 1. Servers that were given one and the same file
//! agree on it.
//!
//! # Who may call it
//! Any worker: the command is rare, a lock is held while the file is looked at, once a second at most, and read, if it has changed.

use crate::config::peers::{Peer, read};
use crate::limits::PEERS_LOOK_MS;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// The servers of the file, and what is known of the file.
#[derive(Debug)]
pub struct Peers {
    path: PathBuf,
    stamp: Option<Stamp>,
    looked_ms: u64,
    peers: Vec<Peer>,
    version: u64,
    reply: Vec<u8>,
    failures: u64,
    is_failing: bool,
}

/// What changes with the content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed_ns: i128,
    changed_s: u64,
}

impl Peers {
    /// Reads the file.
    ///
    /// # Errors
    /// One line: it cannot be read, or which line of it is wrong.
    pub fn open(path: &Path, now_ms: u64) -> Result<Peers, String> {
        // The stamp before the content: what changes between them is read again.
        let stamp = Stamp::of(path);
        let mut peers = Peers {
            path: path.to_owned(),
            stamp,
            looked_ms: now_ms,
            peers: Vec::new(),
            version: 0,
            reply: Vec::new(),
            failures: 0,
            is_failing: false,
        };
        peers.take(read(path)?);
        Ok(peers)
    }

    /// Looks whether the file has changed, if the last look is a second ago, and reads it then. A file that cannot be read, or is wrong, changes
    /// nothing. Returns a line for people when that begins.
    pub fn look(&mut self, now_ms: u64) -> Option<String> {
        if now_ms < self.looked_ms.saturating_add(PEERS_LOOK_MS) {
            return None;
        }
        self.looked_ms = now_ms;
        let stamp = Stamp::of(&self.path);
        if stamp.is_some() && stamp == self.stamp {
            return None;
        }
        match read(&self.path) {
            Ok(peers) => {
                (self.stamp, self.is_failing) = (stamp, false);
                if peers != self.peers {
                    self.take(peers);
                }
                None
            }
            Err(why) => {
                self.failures += 1;
                // A wrong file is read again when it changes, one that is away when it is back.
                self.stamp = stamp;
                let is_first = !std::mem::replace(&mut self.is_failing, true);
                is_first.then(|| format!("{why}; config get cluster goes on with version {}", self.version))
            }
        }
    }

    /// The answer to `config get cluster`.
    pub fn reply(&self) -> &[u8] {
        &self.reply
    }

    /// Version of the list; it grows with each change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Looks that found the file unreadable or wrong.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    fn take(&mut self, peers: Vec<Peer>) {
        let changed_s = self.stamp.map_or(0, |stamp| stamp.changed_s);
        self.version = changed_s.max(self.version + 1);
        let mut body = format!("{}\n", self.version);
        for (at, Peer { host, ip, port }) in peers.iter().enumerate() {
            let gap = if at == 0 { "" } else { " " };
            write!(body, "{gap}{host}|{ip}|{port}").expect("a string takes it");
        }
        body.push('\n');
        self.reply = format!("CONFIG cluster 0 {}\r\n{body}\r\nEND\r\n", body.len()).into_bytes();
        self.peers = peers;
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let file = fs::metadata(path).ok()?;
        let changed_ns = file.mtime() as i128 * 1_000_000_000 + file.mtime_nsec() as i128;
        let changed_s = file.modified().ok()?.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        Some(Stamp { inode: file.ino(), bytes: file.len(), changed_ns, changed_s })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    struct File {
        _folder: tempfile::TempDir,
        path: PathBuf,
    }

    impl File {
        fn with(text: &str) -> File {
            let folder = tempfile::tempdir().unwrap();
            let file = File { path: folder.path().join("peers"), _folder: folder };
            file.write(text, 1_000);
            file
        }

        /// Writes the file as if at this second since 1970.
        fn write(&self, text: &str, at_s: u64) {
            fs::write(&self.path, text).unwrap();
            let file = fs::File::options().append(true).open(&self.path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(at_s)).unwrap();
        }
    }

    fn text(peers: &Peers) -> &str {
        std::str::from_utf8(peers.reply()).unwrap()
    }

    #[test]
    fn the_reply_is_that_of_auto_discovery() {
        let file = File::with("a.example|10.0.0.1 11211\nb.example|10.0.0.2 11212\n");
        let peers = Peers::open(&file.path, 0).unwrap();
        let body = "1000\na.example|10.0.0.1|11211 b.example|10.0.0.2|11212\n";
        assert_eq!(text(&peers), format!("CONFIG cluster 0 {}\r\n{body}\r\nEND\r\n", body.len()));
    }

    #[test]
    fn a_change_is_seen_within_a_second_and_counts_the_version_up() {
        let file = File::with("10.0.0.1 1\n");
        let mut peers = Peers::open(&file.path, 0).unwrap();
        file.write("10.0.0.2 2\n", 1_000);
        fs::rename(&file.path, file.path.with_extension("old")).unwrap();
        file.write("10.0.0.2 2\n10.0.0.3 3\n", 1_000);
        assert_eq!((peers.look(999), peers.version()), (None, 1_000), "not twice a second");
        assert_eq!((peers.look(1_000), peers.version()), (None, 1_001), "the same second, another version");
        assert!(text(&peers).contains("\n10.0.0.2|10.0.0.2|2 10.0.0.3|10.0.0.3|3\n"), "{}", text(&peers));
        file.write("10.0.0.2 2\n10.0.0.3 3\n# written again\n", 5_000);
        assert_eq!((peers.look(2_000), peers.version()), (None, 1_001), "the same servers");
        file.write("10.0.0.4 4\n", 6_000);
        assert_eq!((peers.look(3_000), peers.version()), (None, 6_000));
        let again = Peers::open(&file.path, 0).unwrap();
        assert_eq!(again.version(), 6_000, "a server that starts again does not fall back");
    }

    #[test]
    fn a_file_that_became_wrong_changes_nothing_and_is_said_once() {
        let file = File::with("10.0.0.1 1\n");
        let mut peers = Peers::open(&file.path, 0).unwrap();
        let good = text(&peers).to_owned();
        file.write("nonsense\n", 2_000);
        let said = peers.look(1_000).unwrap();
        assert!(said.contains("line 1") && said.contains("goes on with version 1000"), "{said}");
        assert_eq!((peers.look(2_000), peers.failures()), (None, 1), "as wrong as before");
        fs::remove_file(&file.path).unwrap();
        assert_eq!((peers.look(3_000), peers.look(4_000), peers.failures()), (None, None, 3));
        assert_eq!(text(&peers), good);
        file.write("10.0.0.9 9\n", 3_000);
        assert_eq!((peers.look(5_000), peers.version()), (None, 3_000));
        fs::remove_file(&file.path).unwrap();
        assert!(peers.look(6_000).is_some(), "it had been well");
    }
}
