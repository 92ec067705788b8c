//! What clients may ask of the server as a whole: its figures, the servers of `--peers`, and its end.

use crate::config::serve::Config;
use crate::server::figures::Figures;
use crate::server::peers::Peers;
use crate::session::serial::Administration;
use cache::base::sync::Arc;
use cache::shard::View;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::token::Tokens;
use std::io::Write;
use std::sync::Mutex;

/// What a running server has for its administrators.
pub(super) struct Office {
    figures: Arc<Figures>,
    /// Rarely asked for: whoever does looks at the file, once a second at most, and others wait for that.
    peers: Option<Mutex<Peers>>,
    allows_shutdown: bool,
}

impl Office {
    /// For a server with this configuration.
    ///
    /// # Errors
    /// One line: the file of `--peers` cannot be read, or which line of it is wrong.
    pub(super) fn open(config: &Config, figures: Arc<Figures>) -> Result<Office, String> {
        let now_ms = config.clock.now().ms();
        let peers = config.peers.as_deref().map(|path| Peers::open(path, now_ms)).transpose()?;
        Ok(Office { figures, peers: peers.map(Mutex::new), allows_shutdown: config.allow_shutdown })
    }
}

impl Administration for Office {
    fn stats(&self, words: Tokens<'_>, view: View<'_>) -> Option<Vec<u8>> {
        self.figures.stats(words, view)
    }

    fn cluster(&self) -> Option<Vec<u8>> {
        let mut peers = self.peers.as_ref()?.lock().ok()?;
        let failures = peers.failures();
        if let Some(line) = peers.look(self.figures.clock.now().ms()) {
            let _ = writeln!(std::io::stderr(), "sherwood: {line} (peers_file_failures)");
        }
        self.figures.peers.peers_file_failures.add(peers.failures() - failures);
        Some(peers.reply().to_vec())
    }

    fn shut_down(&self) -> bool {
        // As if whoever runs the server had asked: what has come in is answered.
        self.allows_shutdown && kill(Pid::this(), Signal::SIGTERM).is_ok()
    }
}
