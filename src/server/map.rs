//! Memory: one region for all indexes and all slabs, on the plan's node.
//!
//! ```text
//! page 0 … │ index of shard 0 │ index of shard 1 │ free pages: slabs, and one day the indexes of tables that grew │
//! ```

use crate::config::serve::Config;
use crate::limits;
use cache::base::hash::KeyHash;
use cache::base::sync::Arc;
use cache::memory::{Items, Layout, PagePool};
use cache::shard::Shards;
use cache::table::Table;
use numa::{Huge, Plan, Region, RegionReport, RegionRequest};

/// Everything that lies in mapped memory.
pub struct Memory {
    /// Tables and items.
    pub shards: Arc<Shards>,
    /// Free pages.
    pub pool: Arc<PagePool>,
    /// Asked and granted.
    pub reports: Vec<RegionReport>,
}

/// Maps, binds and prefaults what `plan` says; `progress` is told bytes as they become ours.
///
/// # Errors
/// One line with the remedy.
pub fn memory(config: &Config, plan: &Plan, progress: &(dyn Fn(usize) + Sync)) -> Result<Memory, String> {
    let workers = plan.workers.len();
    let request = RegionRequest {
        name: "cache",
        bytes: config.memory_bytes,
        node: plan.memory.node,
        huge: config.huge,
        mlock: config.mlock,
    };
    let region = Region::map(&request).map_err(|e| e.to_string())?;
    region.prefault_parallel(&plan.worker_cpus(), progress).map_err(|e| e.to_string())?;
    let (reports, layout) = (vec![region.report()], Layout::of(region.bytes(), workers));
    let lines = index_lines(config, workers);
    let items = Items::in_region(Arc::new(region));
    let hash = KeyHash::new(config.seed);
    let (shards, pool) = Shards::lay_out(items, layout, (workers, lines), hash, config.namespace_separator);
    Ok(Memory { reports, shards, pool })
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

/// Home lines of each index: so many that the memory, filled with items of the configured size, loads it as intended.
/// Larger items load it less, and memory is wasted; many more items make it grow.
fn index_lines(config: &Config, workers: usize) -> u64 {
    let index_bytes_per_item = size_of::<u64>() * 100 / limits::LOAD_PERCENT as usize;
    let items = config.memory_bytes / (config.mean_item_bytes + index_bytes_per_item);
    Table::lines_for((items / workers) as u64, limits::LOAD_PERCENT)
}
