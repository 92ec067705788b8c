//! The server: plan, map, wire, spawn, and at the end join.
//!
//! ```text
//! Config ─plan▶ threads and bytes ─map▶ index and slab on their node ─wire▶ rings, sockets ─spawn▶ workers, policy
//! ```
//! [`Server::start`] returns when the sockets are bound and the memory is there: whoever comes then is served.

mod administration;
mod cores;
mod doorman;
pub mod exposition;
pub mod figures;
pub mod health;
pub mod histlog;
pub mod hotkeys;
mod http;
pub mod latency;
pub mod map;
mod memory;
pub mod metrics;
pub mod open_files;
pub mod peers;
pub mod policy;
mod ports;
pub mod reckon;
pub mod spawn;
mod stats_reply;
mod wiring;

pub use cores::plan as plan_and_claim;
pub use spawn::Server;

use crate::config::serve::Config;
use crate::limits;
use crate::server::cores::Claims;
use numa::pool::Kernel;
use numa::{Plan, Taken, Topology};

/// Why there is no thread, and what to do.
fn no_thread(name: &str, error: &std::io::Error) -> String {
    format!(
        "cannot start the thread {name}: {error}; see ulimit -u, ulimit -v and pids.max of the control group"
    )
}

/// What would run where.
///
/// # Errors
/// One line with the remedy.
pub fn plan(config: &Config) -> Result<Plan, String> {
    claimed_plan(config).map(|(plan, _)| plan)
}

/// The same, and the CPUs that it pins threads to are claimed.
fn claimed_plan(config: &Config) -> Result<(Plan, Claims), String> {
    let machine = Topology::this_system().map_err(|e| e.to_string())?;
    let request = numa::Request {
        workers: config.workers,
        workers_max: limits::WORKERS_MAX,
        cpus: config.cpus.as_ref().map(|list| list.cpus().to_vec()),
        node: config.node,
        bytes: config.memory_bytes,
        huge: config.huge,
        allowed: Some(numa::allowed_cpus().map_err(|e| e.to_string())?),
        quota_cpus: Kernel::this().quota_cpus(),
        pin: config.pin,
        taken: Taken::default(),
    };
    let (plan, claims) = cores::plan(&machine, request).map_err(|e| e.to_string())?;
    let workers = plan.workers.len();
    if config.memory_bytes < workers * limits::MEMORY_BYTES_MIN {
        return Err(format!(
            "--memory {} is too small for {workers} workers: give {} or use --workers {}",
            numa::report::Bytes(config.memory_bytes as u64),
            numa::report::Bytes((workers * limits::MEMORY_BYTES_MIN) as u64),
            (config.memory_bytes / limits::MEMORY_BYTES_MIN).max(1),
        ));
    }
    Ok((plan, claims))
}
