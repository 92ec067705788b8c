//! Memory: one region for all indexes, one for all slabs, both on the plan's node.

use crate::config::limits;
use crate::config::serve::Config;
use crate::hash::KeyHash;
use crate::memory::{Items, Layout, PagePool};
use crate::shard::Shards;
use crate::sync::{Arc, AtomicU64};
use crate::table::{SlotMemory, Table};
use numa::{Huge, Plan, Region, RegionReport, RegionRequest};
use std::ops::Range;

/// Everything that lies in mapped memory.
pub struct Memory {
    /// Tables and items.
    pub shards: Arc<Shards>,
    /// Free pages.
    pub pool: Arc<PagePool>,
    /// Asked and granted.
    pub reports: Vec<RegionReport>,
    /// Bytes of slots that each owner may fill.
    pub budget_bytes: u64,
}

/// Maps, binds and prefaults what `plan` says; `progress` is told bytes as they become ours.
///
/// # Errors
/// One line with the remedy.
pub fn memory(config: &Config, plan: &Plan, progress: &(dyn Fn(usize) + Sync)) -> Result<Memory, String> {
    let workers = plan.workers.len();
    let lines = index_lines(config, workers);
    let slots = Table::slots_for(lines);
    let index_bytes = workers * slots * size_of::<u64>();
    let map = |name, bytes| -> Result<Region, String> {
        let request =
            RegionRequest { name, bytes, node: plan.memory.node, huge: config.huge, mlock: config.mlock };
        let region = Region::map(&request).map_err(|e| e.to_string())?;
        region.prefault_parallel(&plan.worker_cpus(), progress).map_err(|e| e.to_string())?;
        Ok(region)
    };
    let index = Arc::new(map("index", index_bytes)?);
    let slab = Arc::new(map("slab", config.memory_bytes - index_bytes)?);
    let reports = vec![index.report(), slab.report()];
    let tables = (0..workers)
        .map(|i| {
            Table::new(Box::new(Slots { region: Arc::clone(&index), range: i * slots..(i + 1) * slots }))
        })
        .collect();
    let layout = Layout::of(slab.bytes(), workers);
    let items = Items::in_region(slab);
    let budget = (layout.pages * layout.page_bytes) as u64 * limits::FILL_PERCENT / 100;
    Ok(Memory {
        shards: Shards::new(tables, items, KeyHash::new(config.seed), config.namespace_separator),
        pool: PagePool::new(layout),
        reports,
        budget_bytes: budget / workers as u64,
    })
}

/// Receive buffers of one worker's io_uring port.
///
/// # Errors
/// One line with the remedy.
pub fn receive_buffers(plan: &Plan, huge: Huge) -> Result<Region, numa::Error> {
    // A forced page size is about the cache; the buffers take what there is.
    let huge = if huge == Huge::Off { Huge::Off } else { Huge::Auto };
    let bytes = crate::io::uring::UringPort::MEMORY_BYTES;
    let region =
        Region::map(&RegionRequest { name: "receive", bytes, node: plan.memory.node, huge, mlock: false })?;
    region.prefault(0..region.bytes(), &|_| ())?;
    Ok(region)
}

/// Home lines of each index: so many that the memory, filled with items of the configured size, loads it as intended.
fn index_lines(config: &Config, workers: usize) -> u64 {
    let slot_bytes_per_item = size_of::<u64>() * 100 / limits::LOAD_PERCENT as usize + 1;
    let items = config.memory_bytes / (config.mean_item_bytes + slot_bytes_per_item);
    Table::lines_for((items / workers) as u64, limits::LOAD_PERCENT)
}

/// A piece of the index region.
struct Slots {
    region: Arc<Region>,
    range: Range<usize>,
}

impl SlotMemory for Slots {
    fn slots(&self) -> &[AtomicU64] {
        &self.region.words()[self.range.clone()]
    }
}
