//! Where memory and threads live. Knows no cache; alone links hwloc and maps memory.
//!
//! ```text
//! hwloc: machine ─▶ topology ─┐
//!        request, cgroup ─────┼─▶ placement: thread → CPU, bytes → node, and why ─▶ pin
//!
//! RegionRequest ─▶ page: ladder 1 GiB → 2 MiB → THP → 4 KiB ─┐
//!                  pool: what each node has free            ─┤
//!                                                            ▼
//!                  region: map → bind → probe ─▶ prefault (pinned, parallel) ─▶ report: asked vs granted
//! ```
//!
//! Nothing here is on the data path: everything happens once, at start, and everything that the kernel granted is
//! read back from the kernel, because asking is not getting.
//!
//! `unsafe` lives in `region` and `bind` only.

mod bind;
pub mod cgroup;
pub mod error;
pub mod forecast;
pub mod hwloc;
pub mod page;
pub mod pin;
pub mod placement;
pub mod pool;
pub mod prefault;
pub mod region;
pub mod report;
pub mod topology;

pub use error::Error;
pub use page::{Huge, PageKind};
pub use pin::{allowed_cpus, pin_current_thread};
pub use placement::{Plan, Request, Seat, Workers, plan};
pub use region::{Region, RegionRequest};
pub use report::RegionReport;
pub use topology::Topology;
