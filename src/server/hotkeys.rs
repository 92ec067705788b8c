//! The most read keys, as `stats hotkeys` tells them and as Prometheus reads them.
//!
//! The policy thread knows hashes, not keys. A key is found by whoever answers `stats`: a worker within its tick, for
//! whom looking at items is what it always does; a probe for each of at most [`HOT_KEYS_MAX`] keys. The metrics show no keys: their reader is no worker,
//! and labels that change are a burden to Prometheus.
//!
//! [`HOT_KEYS_MAX`]: crate::limits::HOT_KEYS_MAX

use crate::config::serve::KeyNames;
use crate::limits::HOT_KEYS_PREFIX_BYTES;
use crate::server::exposition::{Exposition, Type};
use crate::server::figures::stat;
use cache::base::hash::ShownHash;
use cache::policy::hot::HotKey;
use cache::policy::hot_key_snapshot::Popular;
use cache::shard::View;

/// `STAT hot:RANK NAME READS SHARE`, the share of all reads, and `STAT distinct_keys …`. The keys are looked up in `view`.
pub fn stats(popular: &Popular, names: KeyNames, shown: ShownHash, view: View<'_>, text: &mut String) {
    stat(text, "distinct_keys", popular.distinct);
    stat(text, "distinct_keys_minute", popular.distinct_minute);
    stat(text, "hot_reads", popular.reads);
    for (rank, key) in popular.hot.iter().enumerate() {
        let known = if names == KeyNames::Hash { None } else { view.key_of(key.hash) };
        let (name, share) = (name(shown.of(key.hash), names, known), share(key, popular));
        stat(text, &format!("hot:{}", rank + 1), format_args!("{name} {} {share:.6}", key.reads));
    }
}

/// The shares of the first few, by rank, and the number of different keys.
pub fn metrics(popular: &Popular, out: &mut Exposition) {
    for (name, help, value) in [
        ("distinct_keys", "Different keys read or stored since the start, about.", popular.distinct),
        (
            "distinct_keys_minute",
            "Different keys read or stored in the last full minute, about.",
            popular.distinct_minute,
        ),
    ] {
        out.family(name, help, Type::Gauge).sample(&[], value);
    }
    let mut shares = out.family("hot_key_share", "Share of the most read keys in all reads.", Type::Gauge);
    for (rank, key) in popular.hot.iter().take(METRICS_RANKS).enumerate() {
        shares.sample(&[("rank", &(rank + 1))], format_args!("{:.6}", share(key, popular)));
    }
}

const METRICS_RANKS: usize = 10;

fn share(key: &HotKey, popular: &Popular) -> f64 {
    key.reads as f64 / popular.reads.max(1) as f64
}

/// `HASH`, `HASH=KEY`, `HASH=PREFIX…` or `HASH=?`, without spaces whatever the key is made of.
fn name(hash: u32, names: KeyNames, known: Option<&[u8]>) -> String {
    let hash = format!("{hash:08x}");
    let shown = |key: &[u8]| key.escape_ascii().to_string().replace(' ', "\\x20");
    match (names, known) {
        (KeyNames::Hash, _) => hash,
        (_, None) => hash + "=?",
        (KeyNames::Prefix, Some(key)) if key.len() > HOT_KEYS_PREFIX_BYTES => {
            format!("{hash}={}…", shown(&key[..HOT_KEYS_PREFIX_BYTES]))
        }
        (_, Some(key)) => format!("{hash}={}", shown(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hot(hash: u32, reads: u32) -> HotKey {
        HotKey { hash, reads }
    }

    #[test]
    fn keys_are_shown_as_far_as_the_operator_allows() {
        let (hash, long) = (0xab, b"user:\xff 12345".as_slice());
        for (names, known, want) in [
            (KeyNames::Hash, Some(long), "000000ab"),
            (KeyNames::Prefix, Some(long), "000000ab=user:\\xff\\x201…"),
            (KeyNames::Prefix, Some(b"k".as_slice()), "000000ab=k"),
            (KeyNames::Full, Some(long), "000000ab=user:\\xff\\x2012345"),
            (KeyNames::Full, None, "000000ab=?"),
        ] {
            assert_eq!(name(hash, names, known), want);
        }
    }

    #[test]
    fn metrics_are_few_and_show_no_key() {
        let many = (0..50).map(|i| hot(i, 100 - i)).collect();
        let mut out = Exposition::default();
        metrics(&Popular { hot: many, reads: 1_000, distinct: 70, distinct_minute: 7 }, &mut out);
        let text = out.into_text();
        assert!(text.contains("sherwood_hot_key_share{rank=\"2\"} 0.099000\n"), "{text}");
        assert!(text.contains("sherwood_distinct_keys 70\n"), "{text}");
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 2 + METRICS_RANKS);
    }
}
