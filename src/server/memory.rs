//! Where the memory is: `stats memory`, and the same for Prometheus.
//!
//! ```text
//! granted   │ index │ slab pages of classes                                 │ gathered │ free pages │ rest │
//! slab      │ live: keys, values, headers + internal waste │ backlog │ external waste: free slots, page headers │
//! ```
//! Internal waste is what slots are longer than their items; external waste is what pages are longer than their used
//! slots. A gathered page waits with others for a table that grows; the rest is shorter than a page. The policy's nodes
//! and sketches lie on the heap, outside of the granted region, and are told beside it.
//!
//! One function computes each figure (`memory_breakdown`), so that a name says the same wherever it is told. Owners count while we
//! read: what a busy server tells may be off by what a tick does.

use crate::server::figures::{Figures, stat};
use crate::stats::counters::{Counter, OwnerCounters};
use cache::memory::class::Class;
use cache::memory::{SlabStats, slab_stats::Tally};
use numa::{PageKind, RegionReport};
use std::fmt::Write;

/// `STAT name value`: regions as asked and granted, then where their bytes went.
pub fn stats(figures: &Figures, text: &mut String) {
    for report in &figures.reports {
        let name = report.name;
        stat(text, &format!("{name}:asked_bytes"), report.asked_bytes);
        stat(text, &format!("{name}:asked_pages"), report.asked_huge);
        stat(text, &format!("{name}:granted_bytes"), report.granted_bytes);
        for (kind, bytes) in by_page_size(report) {
            stat(text, &format!("{name}:granted_bytes:{kind}"), bytes);
        }
        for (node, bytes) in &report.placed.bytes_by_node {
            stat(text, &format!("{name}:granted_bytes:node{node}"), bytes);
        }
        stat(text, &format!("{name}:asked_node"), report.node.map_or("any".into(), |node| node.to_string()));
    }
    for (name, _, value) in memory_breakdown(figures) {
        stat(text, name, value);
    }
}

/// The same in the text format of Prometheus.
pub fn metrics(figures: &Figures, text: &mut String) {
    let _ = writeln!(text, "# HELP sherwood_memory_bytes Memory of a region, as granted.");
    for report in &figures.reports {
        for (kind, bytes) in by_page_size(report) {
            let _ = writeln!(
                text,
                "sherwood_memory_bytes{{region=\"{}\",pages=\"{kind}\"}} {bytes}",
                report.name
            );
        }
    }
    let _ = writeln!(text, "# HELP sherwood_memory_node_bytes Memory of a region on a node.");
    for report in &figures.reports {
        for (node, bytes) in &report.placed.bytes_by_node {
            let _ = writeln!(
                text,
                "sherwood_memory_node_bytes{{region=\"{}\",node=\"{node}\"}} {bytes}",
                report.name
            );
        }
    }
    for (name, help, value) in memory_breakdown(figures) {
        let _ = writeln!(text, "# HELP sherwood_memory_{name} {help}\nsherwood_memory_{name} {value}");
    }
    let _ = writeln!(text, "# HELP sherwood_slab_pages Pages of a size class, by the bytes of its slots.");
    let classes = SlabStats::read_all(&figures.slab_stats);
    for (_, tally) in &classes {
        let _ = writeln!(text, "sherwood_slab_pages{{slot=\"{}\"}} {}", tally.slot_bytes, tally.pages);
    }
    let _ = writeln!(text, "# HELP sherwood_slab_slots Slots of a size class, by what they are used for.");
    for (_, tally) in &classes {
        for (state, count) in [("live", tally.live), ("retired", tally.retired), ("free", tally.free())] {
            let slot = tally.slot_bytes;
            let _ = writeln!(text, "sherwood_slab_slots{{slot=\"{slot}\",state=\"{state}\"}} {count}");
        }
    }
}

/// Where the bytes went: name, meaning, value.
fn memory_breakdown(figures: &Figures) -> Vec<(&'static str, &'static str, u64)> {
    let owners = |pick: fn(&OwnerCounters) -> &Counter| -> u64 {
        figures.owners.iter().map(|owner| pick(owner).get()).sum()
    };
    let (pool, page_bytes) = (&figures.pool, page_bytes(figures));
    let classes = SlabStats::read_all(&figures.slab_stats);
    let slots = |count: fn(&Tally) -> u64| -> u64 {
        classes.iter().map(|(_, tally)| count(tally) * tally.slot_bytes).sum()
    };
    let (live, backlog) = (slots(|tally| tally.live), slots(|tally| tally.retired));
    let (item, slab) = (owners(|o| &o.item_bytes), pages_of(&classes) * page_bytes);
    let granted: u64 = figures.reports.iter().map(|report| report.granted_bytes as u64).sum();
    let (pages, index) = (pool.layout().pages as u64, pool.index_pages() as u64);
    let (free, gathered) = (pool.free_pages() as u64, pool.gathered_pages() as u64);
    let policy = figures.policies.iter().map(|policy| policy.memory_bytes.get()).sum();
    vec![
        ("granted_bytes", "Bytes of the region of indexes and items.", granted),
        ("page_bytes", "Bytes of a slab page.", page_bytes),
        ("pages_total", "Pages of the region.", pages),
        ("pages_index", "Pages that indexes have.", index),
        ("pages_slab", "Pages that size classes have.", pages_of(&classes)),
        ("pages_gathered", "Pages that wait with others for an index that grows.", gathered),
        ("pages_free", "Pages that nobody has.", free),
        ("index_bytes", "Bytes of pages that indexes have.", index * page_bytes),
        ("slab_bytes", "Bytes of pages that size classes have.", slab),
        ("gathered_bytes", "Bytes of gathered pages.", gathered * page_bytes),
        ("free_bytes", "Bytes of free pages.", free * page_bytes),
        ("rest_bytes", "Bytes of the region behind its last page.", granted - pages * page_bytes),
        ("item_bytes", "Bytes of keys, values and headers of live items.", item),
        ("live_bytes", "Bytes of slots of live items, their chunks included.", live),
        (
            "internal_waste_bytes",
            "Bytes by which slots are longer than their live items.",
            live.saturating_sub(item),
        ),
        ("backlog_slots", "Slots that wait for grace.", classes.iter().map(|(_, tally)| tally.retired).sum()),
        ("backlog_bytes", "Bytes of slots that wait for grace.", backlog),
        (
            "external_waste_bytes",
            "Bytes by which pages of size classes are longer than their used slots.",
            slab.saturating_sub(live + backlog),
        ),
        ("policy_bytes", "Bytes of the policy, which lie outside of the region.", policy),
        ("pages_moved", "Pages that the mover emptied.", owners(|o| &o.pages_moved)),
        ("items_moved", "Items that the mover copied to another page.", owners(|o| &o.items_moved)),
        (
            "evicted_by_pressure",
            "Items evicted because no memory was free.",
            owners(|o| &o.evicted_by_pressure),
        ),
    ]
}

/// Bytes of a region by the size of its pages. Those that stand in for huge pages, and those that the kernel was asked to join
/// and has not, are pages of the base size.
fn by_page_size(report: &RegionReport) -> Vec<(&'static str, u64)> {
    let granted = report.granted_bytes as u64;
    let large = match report.granted_kind {
        PageKind::Small => 0,
        PageKind::Thp => report.joined_bytes.min(granted),
        PageKind::TwoMib | PageKind::OneGib => granted - (report.stand_in_bytes as u64).min(granted),
    };
    let kind = match report.granted_kind {
        PageKind::OneGib => "1g",
        PageKind::TwoMib => "2m",
        PageKind::Thp | PageKind::Small => "thp",
    };
    [(kind, large), ("4k", granted - large)].into_iter().filter(|&(_, bytes)| bytes > 0).collect()
}

pub(super) fn pages_of(classes: &[(Class, Tally)]) -> u64 {
    classes.iter().map(|(_, tally)| tally.pages).sum()
}

pub(super) fn page_bytes(figures: &Figures) -> u64 {
    figures.pool.layout().page_bytes as u64
}
