//! Memory: items in slab pages, owned by one worker each, read by all.
//!
//! ```text
//! region (numa) ─▶ pages of 2 MiB at most ─▶ pool of free pages (crossbeam ArrayQueue, all owners)
//!                                     │ take / give back
//!                      owner's slab ──┴─ class 48 B: page page     one owner writes, no atomics but the page's own words
//!                                        class 160 B: page page page
//!                      unlinked item ─▶ retired ── grace passed ──▶ free slot
//! ```
//!
//! Not here: who is evicted (`crate::policy`, `crate::shard`), how keys lead to items (`crate::table`), where the
//! region lies (`numa`).

#[cfg(not(any(loom, shuttle)))]
mod chunks;
pub mod class;
pub mod grace;
pub mod item;
#[cfg(not(any(loom, shuttle)))]
pub mod page;
#[cfg(not(any(loom, shuttle)))]
pub mod pool;
#[cfg(not(any(loom, shuttle)))]
pub mod retired;
#[cfg(not(any(loom, shuttle)))]
pub mod slab;
#[cfg(not(any(loom, shuttle)))]
pub mod slab_stats;
#[cfg(not(any(loom, shuttle)))]
mod unfinished;

#[cfg(not(any(loom, shuttle)))]
pub use chunks::Used;
pub use item::{Head, Item, Items, Lent, OwnedSlot, Parts, Size, State, Unfinished, Value};
#[cfg(not(any(loom, shuttle)))]
pub use page::Layout;
#[cfg(not(any(loom, shuttle)))]
pub use pool::PagePool;
#[cfg(not(any(loom, shuttle)))]
pub use slab::Slab;
#[cfg(not(any(loom, shuttle)))]
pub use slab_stats::SlabStats;
#[cfg(not(any(loom, shuttle)))]
pub use unfinished::UnfinishedSlots;
