//! Memory: one region for all indexes and all slabs, on the plan's node.
//!
//! ```text
//! page 0 … │ index of shard 0 │ index of shard 1 │ free pages: slabs, and one day the indexes of tables that grew │
//! ```

use crate::config::serve::Config;
use cache::memory::Items;
use numa::{Huge, Plan, Region, RegionReport, RegionRequest};

/// Maps, binds and prefaults what `plan` says; `progress` is told bytes as they become ours. With it comes what was asked for
/// and what was granted.
///
/// # Errors
/// One line with the remedy.
pub fn memory(
    config: &Config,
    plan: &Plan,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<(Items, RegionReport), String> {
    let request = RegionRequest {
        name: "cache",
        bytes: config.memory_bytes,
        node: plan.memory.node,
        huge: config.huge,
        mlock: config.mlock,
    };
    let region = Region::map(&request).map_err(|e| e.to_string())?;
    region.prefault_on(&plan.worker_affinities(), progress).map_err(|e| e.to_string())?;
    let report = region.report();
    Ok((Items::in_region(region), report))
}

/// Memory for the receive buffers of one worker's port.
///
/// # Errors
/// One line with the remedy.
pub fn port_memory(plan: &Plan, huge: Huge, bytes: usize) -> Result<Region, numa::Error> {
    // A forced page size is about the cache; the buffers take what there is.
    let huge = if huge == Huge::Off { Huge::Off } else { Huge::Auto };
    let region =
        Region::map(&RegionRequest { name: "receive", bytes, node: plan.memory.node, huge, mlock: false })?;
    region.prefault(0..region.bytes(), &|_| ())?;
    Ok(region)
}
