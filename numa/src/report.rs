//! Asked and granted: what a region has in the end, read back from the kernel.

use crate::{Error, Huge, PageKind, Region, bind};
use nix::errno::Errno;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Pages looked up for one report; a larger region is sampled evenly.
pub const PAGES_LOOKED_UP_MAX: usize = 1 << 16;

/// Pages that were wanted and not had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The kind that was refused.
    pub kind: PageKind,
    /// Why, with the command that would grant it.
    pub reason: String,
}

/// What was asked for a region and what it got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegionReport {
    /// Name of the region.
    pub name: &'static str,
    /// Which pages were asked for.
    pub asked_huge: Huge,
    /// Bytes asked for.
    pub asked_bytes: usize,
    /// Which pages back it.
    pub granted_kind: PageKind,
    /// Bytes mapped: whole pages.
    pub granted_bytes: usize,
    /// Of these, bytes in ordinary memory because the pool ran dry while it was populated.
    pub stand_in_bytes: usize,
    /// Of these, bytes that the kernel has joined into transparent huge pages.
    pub joined_bytes: u64,
    /// The node it is bound to.
    pub node: Option<usize>,
    /// Larger pages that were tried first.
    pub refused: Vec<Refusal>,
    /// Where its pages are now.
    pub placed: Placed,
    /// Whether its pages stay out of swap.
    pub locked: bool,
}

/// Where the pages of a region are, by the kernel's word (move_pages).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// Bytes on each node. Scaled up from a sample when `sampled`.
    pub bytes_by_node: BTreeMap<usize, u64>,
    /// Bytes that nobody has touched yet.
    pub bytes_untouched: u64,
    /// Whether only every n-th page was looked up.
    pub sampled: bool,
    /// Whether the kernel let us look; containers may not.
    pub verified: bool,
}

impl Region {
    /// What was asked and what was granted, looked up now: at most [`PAGES_LOOKED_UP_MAX`] questions to the kernel.
    pub fn report(&self) -> RegionReport {
        RegionReport {
            name: self.request.name,
            asked_huge: self.request.huge,
            asked_bytes: self.request.bytes,
            granted_kind: self.kind,
            granted_bytes: self.bytes(),
            stand_in_bytes: self.stand_in_bytes(),
            joined_bytes: self.joined_bytes(),
            node: self.request.node,
            refused: self.refused.clone(),
            placed: self.placed(),
            locked: self.request.mlock || (self.kind.is_pooled() && self.stand_in_bytes() == 0),
        }
    }

    fn joined_bytes(&self) -> u64 {
        let start = self.as_ptr() as usize;
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        joined_bytes(&smaps, start..start + self.bytes())
    }

    /// Where the pages are now.
    pub fn placed(&self) -> Placed {
        let page = if self.kind.is_pooled() { self.kind.bytes() } else { crate::page::base_page_bytes() };
        let pages = self.bytes() / page;
        let count = pages.min(PAGES_LOOKED_UP_MAX);
        // The i-th of `count` evenly spread pages.
        let addresses: Vec<_> =
            (0..count).map(|i| self.as_ptr().wrapping_add((i * pages / count) * page)).collect();
        let mut nodes = vec![Err(Errno::ENOENT); count];
        let verified = bind::locate(&addresses, &mut nodes).is_ok();
        let sampled = count < pages || self.stand_in_bytes() > 0;
        let mut placed = Placed { sampled, verified, ..Placed::default() };
        let mut pages_by_node = BTreeMap::<Option<usize>, usize>::new();
        for node in &nodes {
            *pages_by_node.entry(node.ok()).or_default() += 1;
        }
        for (node, seen) in pages_by_node {
            let bytes = (self.bytes() as u128 * seen as u128 / count as u128) as u64;
            match node {
                Some(node) => drop(placed.bytes_by_node.insert(node, bytes)),
                None => placed.bytes_untouched = bytes,
            }
        }
        placed
    }
}

/// Sums `AnonHugePages` over the mappings that start in `range`. Ours have a name of their own, so the kernel does not
/// merge them with others'; one that starts before the range (alignment) counts as well.
fn joined_bytes(smaps: &str, range: std::ops::Range<usize>) -> u64 {
    let mut inside = false;
    let mut kib = 0;
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if let Some((start, end)) = first.split_once('-') {
            let address = |hex| usize::from_str_radix(hex, 16).unwrap_or(0);
            inside = address(start) < range.end && address(end) > range.start;
        } else if inside && first == "AnonHugePages:" {
            kib += words.next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    (kib << 10).min(range.len() as u64)
}

impl Refusal {
    pub(crate) fn new(kind: PageKind, error: &Error) -> Refusal {
        Refusal { kind, reason: error.to_string() }
    }
}

impl RegionReport {
    /// Whether every page that was touched is on the node that was asked for. True when none was.
    pub fn is_where_asked(&self) -> bool {
        self.node.is_none_or(|asked| self.placed.bytes_by_node.keys().all(|node| *node == asked))
    }
}

impl fmt::Display for RegionReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: asked {} ({})", self.name, Bytes(self.asked_bytes as u64), self.asked_huge)?;
        write!(out, ", granted {} in {} pages", Bytes(self.granted_bytes as u64), self.granted_kind)?;
        if self.granted_kind == PageKind::Thp {
            write!(out, " ({} joined)", Bytes(self.joined_bytes))?;
        }
        if self.stand_in_bytes > 0 {
            write!(out, " ({} of ordinary memory: the pool ran dry)", Bytes(self.stand_in_bytes as u64))?;
        }
        match self.node {
            Some(node) => write!(out, " bound to node {node}")?,
            None => write!(out, " of the node of first touch")?,
        }
        if !self.placed.verified {
            return write!(out, "; not verified: move_pages is not permitted here");
        }
        for (node, bytes) in &self.placed.bytes_by_node {
            write!(out, "; {} on node {node}", Bytes(*bytes))?;
        }
        if self.placed.bytes_untouched > 0 {
            write!(out, "; {} untouched", Bytes(self.placed.bytes_untouched))?;
        }
        if self.placed.sampled { write!(out, " (by sample)") } else { Ok(()) }
    }
}

/// Bytes for people: `1.5 GiB`.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let text = match units.iter().find(|(_, shift)| self.0 >> shift > 0) {
            None => format!("{} B", self.0),
            Some((unit, shift)) if self.0.trailing_zeros() >= *shift => format!("{} {unit}", self.0 >> shift),
            Some((unit, shift)) => format!("{:.1} {unit}", self.0 as f64 / (1u64 << shift) as f64),
        };
        out.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_pages_are_those_of_our_mappings() {
        let smaps = "1000-3000 rw-p 0 0:0 0 [anon:a]\nAnonHugePages:  4 kB\nVmFlags: rd\n\
                     3000-9000 rw-p 0 0:0 0 [anon:b]\nRss: 8 kB\nAnonHugePages:  8 kB\n\
                     9000-a000 rw-p 0 0:0 0\nAnonHugePages:  2 kB\n";
        assert_eq!(joined_bytes(smaps, 0x3000..0x9000), 8 << 10);
        assert_eq!(joined_bytes(smaps, 0x2000..0x9000), 12 << 10);
        assert_eq!(joined_bytes(smaps, 0xa000..0xb000), 0);
    }

    #[test]
    fn bytes_for_people() {
        let cases =
            [(0, "0 B"), (1023, "1023 B"), (1 << 10, "1 KiB"), (3 << 29, "1.5 GiB"), (4 << 30, "4 GiB")];
        for (bytes, text) in cases {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
