//! Which pages memory will get, told before anything is mapped. Pure: from the pools that a topology shows.
//!
//! The same ladder as `region`'s, so that `sherwood topo` and a start agree; a start asks the kernel again, because
//! others may take pages in between.

use crate::pool::{Pool, remedy};
use crate::report::Refusal;
use crate::topology::Topology;
use crate::{Error, Huge, PageKind};
use serde::Serialize;

/// Where bytes will go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// Bytes asked for.
    pub asked_bytes: usize,
    /// Which pages were asked for.
    pub asked_huge: Huge,
    /// Node to bind to; `None` = the node of first touch.
    pub node: Option<usize>,
    /// Which pages can be had; `None` = an order that cannot be met: a start would fail.
    pub kind: Option<PageKind>,
    /// Bytes in whole pages of that kind.
    pub granted_bytes: usize,
    /// Larger pages that cannot be had, each with what would grant them.
    pub refused: Vec<Refusal>,
}

/// Tells which pages `bytes` on `node` would get.
pub fn forecast(machine: &Topology, bytes: usize, huge: Huge, node: Option<usize>) -> MemoryPlan {
    let mut plan = MemoryPlan {
        asked_bytes: bytes,
        asked_huge: huge,
        node,
        kind: None,
        granted_bytes: 0,
        refused: Vec::new(),
    };
    for kind in huge.ladder(bytes) {
        match refusal(machine, bytes, kind, node) {
            Some(error) => plan.refused.push(Refusal::new(kind, &error)),
            None => {
                plan.kind = Some(kind);
                plan.granted_bytes = kind.round_up(bytes).unwrap_or(bytes);
                break;
            }
        }
    }
    plan
}

fn refusal(machine: &Topology, bytes: usize, kind: PageKind, node: Option<usize>) -> Option<Error> {
    let region = "memory";
    if kind == PageKind::Thp && !machine.thp_enabled {
        return Some(Error::ThpDisabled { region, remedy: remedy(kind, node, None, 0) });
    }
    if !kind.is_pooled() {
        let available = memory_bytes(machine, node).filter(|most| *most < bytes as u64)?;
        return Some(Error::Memory { region, bytes: bytes as u64, node, available });
    }
    let needed = bytes.div_ceil(kind.bytes()) as u64;
    let pool = pool(machine, kind, node);
    let free = pool.map_or(0, |pool| pool.pages_free);
    (free < needed).then(|| {
        let remedy = remedy(kind, node, pool, needed - free);
        Error::HugePages { region, kind, node, needed, free, remedy }
    })
}

/// All memory of one node, or of all together; `None` if a node's is unknown.
fn memory_bytes(machine: &Topology, node: Option<usize>) -> Option<u64> {
    let nodes = machine.nodes.iter().filter(|each| node.is_none_or(|index| each.index == index));
    nodes.map(|each| each.memory_bytes).sum()
}

/// The pool of one node, or of all together.
fn pool(machine: &Topology, kind: PageKind, node: Option<usize>) -> Option<Pool> {
    let nodes = machine.nodes.iter().filter(|each| node.is_none_or(|index| each.index == index));
    let pools = nodes.flat_map(|each| &each.pools).filter(|pool| pool.kind == kind);
    pools.map(|pool| Pool { pages_total: pool.pages_total, pages_free: pool.pages_free }).reduce(|a, b| {
        Pool { pages_total: a.pages_total + b.pages_total, pages_free: a.pages_free + b.pages_free }
    })
}
