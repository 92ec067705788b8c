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
//! ```
//! use numa::{Huge, Region, RegionRequest, Request, Topology, Workers};
//! # fn main() -> Result<(), numa::Error> {
//! let machine = Topology::this_system()?;
//! let plan = numa::plan(&machine, &Request {
//!     workers: Workers::Auto,
//!     workers_max: 64,
//!     cpus: None,
//!     node: None,
//!     bytes: 4 << 20,
//!     huge: Huge::Auto,
//!     allowed: Some(numa::allowed_cpus()?),
//!     quota_cpus: numa::pool::Kernel::this().quota_cpus(),
//!     pin: numa::Pin::Cores,
//!     taken: numa::Taken::default(),
//! })?;
//! let table = Region::map(&RegionRequest {
//!     name: "table",
//!     bytes: 4 << 20,
//!     node: plan.memory.node,
//!     huge: Huge::Auto,
//!     mlock: false,
//! })?;
//! table.prefault_parallel(&plan.worker_cpus(), &|_bytes| ())?;
//! println!("{}", table.report()); // table: asked 4 MiB (auto), granted 4 MiB in 2 MiB pages of …
//! let (low, high) = table.words().split_at(1024);
//! # assert_eq!(low.len() + high.len(), table.bytes() / 8);
//! std::thread::scope(|scope| {
//!     for cpu in plan.worker_cpus() {
//!         scope.spawn(move || numa::pin_current_thread(cpu).expect("the plan knows what is allowed"));
//!     }
//! });
//! # Ok(())
//! # }
//! ```
//!
//! `unsafe` lives in `region` and `bind` only.

mod bind;
pub mod busy;
pub mod cgroup;
pub mod cpulist;
pub mod error;
pub mod forecast;
pub mod hwloc;
pub mod page;
pub mod pin;
pub mod pinning;
pub mod placement;
pub mod pool;
pub mod prefault;
pub mod region;
pub mod report;
pub mod topology;

pub use bind::prefer_huge_pages;
pub use cpulist::CpuList;
pub use error::Error;
pub use page::{Huge, PageKind};
pub use pin::{Affinity, allowed_cpus, confine_current_thread, pin_current_thread};
pub use pinning::{Pin, Taken};
pub use placement::{Plan, Request, Seat, Workers, plan};
pub use region::{Region, RegionRequest};
pub use report::RegionReport;
pub use topology::Topology;
