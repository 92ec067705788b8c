//! One look at a server: the answers to all its `stats`, as numbers.

use super::ask::Asker;
use crate::load::target::Peer;
use crate::stats::live::Reading;
use std::collections::BTreeMap;
use std::time::Instant;

/// Everything that a server told at one time.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Who told it.
    pub target: Peer,
    /// When it was told.
    pub at: Instant,
    /// `stats`.
    pub general: Figures,
    /// `stats workers`.
    pub workers: Figures,
    /// `stats buckets`.
    pub buckets: Figures,
    /// `stats hotkeys`.
    pub hot: Figures,
}

/// The figures of one answer, by name.
#[derive(Clone, Debug, Default)]
pub struct Figures(BTreeMap<String, String>);

impl Snapshot {
    /// Asks for everything.
    ///
    /// # Errors
    /// One line for people: nobody answers, or not to us.
    pub fn take(asker: &mut Asker) -> Result<Snapshot, String> {
        let general =
            asker.stats("")?.ok_or("what answers there is no memcached: it does not know `stats`")?;
        let at = Instant::now();
        // Other servers do not know the rest.
        let mut more = |what| Ok::<_, String>(Figures::of(asker.stats(what)?.unwrap_or_default()));
        let (workers, buckets, hot) = (more("workers")?, more("buckets")?, more("hotkeys")?);
        let target = asker.target().clone();
        Ok(Snapshot { target, at, general: Figures::of(general), workers, buckets, hot })
    }
}

impl Figures {
    /// The figures of an answer.
    pub fn of(told: impl IntoIterator<Item = (String, String)>) -> Figures {
        Figures(told.into_iter().collect())
    }

    /// The text of a figure; empty if it was not told.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Whether a figure was told.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A figure; 0 if it was not told.
    pub fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    /// A histogram told as `MAX VALUE:COUNT,…`.
    pub fn reading(&self, name: &str) -> Reading {
        let pair = |pair: &str| {
            let (value, count) = pair.split_once(':')?;
            Some((value.parse().ok()?, count.parse().ok()?))
        };
        let (max, pairs) = self.text(name).split_once(' ').unwrap_or_default();
        Reading::of_buckets(max.parse().unwrap_or(0), pairs.split(',').filter_map(pair))
    }
}
