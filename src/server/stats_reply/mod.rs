//! What `stats` answers, under memcached's names: exporters and clients read them and must find each.
//!
//! ```text
//! stats [WORD …] ─▶ general · settings · classes (slabs, items) · conns · memory, policy, latency, hotkeys, workers
//! stats reset    ─▶ baseline: what was counted until now is taken off
//! ```
//! What memcached counts and this server cannot is 0, never missing.

mod baseline;
mod classes;
mod conns;
mod general;
mod settings;
mod unknown;

pub use baseline::{Baseline, sums};

use crate::server::figures::{Figures, stat};
use crate::server::{hotkeys, latency, memory};
use crate::stats::times::Measure;
use cache::memory::class::CLASSES_MAX;
use cache::shard::View;
use protocol::token::{Number, Tokens};

impl Figures {
    /// What `stats WORDS` answers: lines, and mostly `END`; `None` for words that we do not know. The caller is within a tick,
    /// because keys may be looked at.
    pub fn stats(&self, mut words: Tokens<'_>, view: View<'_>) -> Option<Vec<u8>> {
        let mut text = String::new();
        match words.next().unwrap_or_default() {
            b"" => general::stats(self, &mut text),
            b"settings" => settings::stats(self, &mut text),
            b"conns" => conns::stats(self, &mut text),
            b"slabs" => classes::slabs(self, &mut text),
            b"items" => classes::items(self, &mut text),
            b"sizes" => stat(&mut text, "sizes_status", "disabled"),
            b"memory" => memory::stats(self, &mut text),
            b"policy" => self.policy(&mut text),
            b"workers" => self.per_worker(&mut text),
            b"hotkeys" => {
                let (popular, names) = (self.hot_key_snapshot.read(), self.hot_key_names);
                hotkeys::stats(&popular, names, self.shown_hash, view, &mut text);
            }
            b"buckets" => latency::buckets(&self.times, &mut text),
            b"latency" => latency::stats(&self.times, &mut text),
            b"extstore" => {}
            b"reset" => {
                self.baseline.take(self);
                return Some(b"RESET\r\n".to_vec());
            }
            b"detail" => return Some(detail(words).to_vec()),
            b"cachedump" => return Some(cachedump(words).to_vec()),
            _ => return None,
        }
        text.push_str("END\r\n");
        Some(text.into_bytes())
    }

    fn policy(&self, text: &mut String) {
        for (i, policy) in self.policies.iter().enumerate() {
            for (name, value) in policy.figures() {
                stat(text, &format!("{i}:{name}"), value);
            }
        }
    }

    fn per_worker(&self, text: &mut String) {
        for (i, worker) in self.workers.iter().enumerate() {
            for figure in worker.figures() {
                stat(text, &format!("{i}:{}", figure.name), figure.counter.get());
            }
            // With `ticks` they say how busy a worker is.
            let tick = self.times[i].read(Measure::Tick);
            stat(text, &format!("{i}:profiled_ticks"), tick.count());
            stat(text, &format!("{i}:profiled_ticks_ns"), tick.sum());
        }
    }
}

/// Nothing is counted by prefix: it may be turned on, and the dump is empty.
fn detail(mut words: Tokens<'_>) -> &'static [u8] {
    match words.next() {
        Some(b"on" | b"off") => b"OK\r\n",
        Some(b"dump") => b"END\r\n",
        _ => b"CLIENT_ERROR usage: stats detail on|off|dump\r\n",
    }
}

/// No item is shown to anybody: the dump is always empty.
fn cachedump(mut words: Tokens<'_>) -> &'static [u8] {
    let (Some(class), Some(limit)) = (words.next(), words.next()) else {
        return b"CLIENT_ERROR bad command line\r\n";
    };
    match (u64::parse(class), u64::parse(limit)) {
        (Some(class), Some(_)) if class < CLASSES_MAX as u64 => b"END\r\n",
        (Some(_), Some(_)) => b"CLIENT_ERROR Illegal slab id\r\n",
        _ => b"CLIENT_ERROR bad command line format\r\n",
    }
}
