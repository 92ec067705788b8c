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

use crate::server::exposition::{Exposition, Type};
use crate::server::figures::{Figures, stat};
use crate::server::stats_reply::sums;
use crate::stats::counters::{Counter, OwnerCounters};
use cache::memory::SlabStats;
use cache::memory::class::{CLASSES_MAX, Class};
use cache::memory::slab_stats::{Losses, Tally};
use numa::{PageKind, RegionReport};

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

/// The same for Prometheus. What the owners count is among their metrics already.
pub fn metrics(figures: &Figures, out: &mut Exposition) {
    regions(figures, out);
    let breakdown = memory_breakdown(figures);
    let is_bytes = |(name, ..): &&(&str, &str, u64)| name.ends_with("_bytes") || *name == "backlog_slots";
    for (name, help, value) in breakdown.iter().filter(is_bytes) {
        out.family(&format!("memory_{name}"), help, Type::Gauge).sample(&[], value);
    }
    let mut pages = out.family("memory_pages", "Pages of the region, by who has them.", Type::Gauge);
    for (name, _, value) in &breakdown {
        if let Some(who) = name.strip_prefix("pages_").filter(|who| !["total", "moved"].contains(who)) {
            pages.sample(&[("use", &who)], value);
        }
    }
    classes(&SlabStats::read_all(&figures.slab_stats), out);
    losses(figures, out);
}

fn regions(figures: &Figures, out: &mut Exposition) {
    let mut family = out.family("memory_bytes", "Memory of a region, as granted.", Type::Gauge);
    for report in &figures.reports {
        for (kind, bytes) in by_page_size(report) {
            family.sample(&[("region", &report.name), ("pages", &kind)], bytes);
        }
    }
    let mut family = out.family("memory_node_bytes", "Memory of a region on a node.", Type::Gauge);
    for report in &figures.reports {
        for (node, bytes) in &report.placed.bytes_by_node {
            family.sample(&[("region", &report.name), ("node", node)], bytes);
        }
    }
}

fn classes(classes: &[(Class, Tally)], out: &mut Exposition) {
    let mut pages =
        out.family("slab_pages", "Pages of a size class, by the bytes of its slots.", Type::Gauge);
    for (_, tally) in classes {
        pages.sample(&[("slot", &tally.slot_bytes)], tally.pages);
    }
    let mut slots =
        out.family("slab_slots", "Slots of a size class, by what they are used for.", Type::Gauge);
    for (_, tally) in classes {
        let states = [
            ("live", tally.live),
            ("unfinished", tally.unfinished),
            ("retired", tally.retired),
            ("free", tally.free()),
        ];
        for (state, count) in states {
            slots.sample(&[("slot", &tally.slot_bytes), ("state", &state)], count);
        }
    }
    let mut bytes =
        out.family("slab_item_bytes", "Bytes of live items of a size class, headers included.", Type::Gauge);
    for (_, tally) in classes {
        bytes.sample(&[("slot", &tally.slot_bytes)], tally.item_bytes);
    }
}

/// What went of each class that has lost an item, also where its pages are another's by now: a counter must not vanish.
fn losses(figures: &Figures, out: &mut Exposition) {
    let layout = figures.pool.layout();
    let of_class = |i| {
        let class = Class::from_index(i);
        let lost = sums(figures.slab_stats.iter().map(|owner| owner.losses(class).figures()));
        (layout.slots(class).slot_bytes, lost)
    };
    let classes: Vec<_> = (0..CLASSES_MAX).map(of_class).collect();
    for (i, figure) in Losses::default().figures().into_iter().enumerate() {
        let mut family = out.family(&format!("slab_{}", figure.name), figure.help, figure.kind.into());
        for (slot_bytes, lost) in classes.iter().filter(|(_, lost)| lost[i] > 0) {
            family.sample(&[("slot", slot_bytes)], lost[i]);
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
    let unfinished = slots(|tally| tally.unfinished);
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
        ("unfinished_bytes", "Bytes of slots of items whose values are still coming.", unfinished),
        ("backlog_slots", "Slots that wait for grace.", classes.iter().map(|(_, tally)| tally.retired).sum()),
        ("backlog_bytes", "Bytes of slots that wait for grace.", backlog),
        (
            "external_waste_bytes",
            "Bytes by which pages of size classes are longer than their used slots.",
            slab.saturating_sub(live + unfinished + backlog),
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
