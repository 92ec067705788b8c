//! What can go wrong, each with its remedy. One line for people, without a full stop.

use crate::PageKind;
use nix::errno::Errno;
use thiserror::Error;

/// Why memory or a thread is not where it was asked to be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// A region of no bytes, or of more than the address space.
    #[error(
        "{region}: {bytes} bytes cannot be mapped; ask for more than none and less than the address space"
    )]
    Size {
        /// Name of the region.
        region: &'static str,
        /// What was asked.
        bytes: usize,
    },
    /// A pool has too few huge pages.
    #[error("{region}: {needed} × {kind} pages{} asked, {free} free; {remedy}", on_node(.node))]
    HugePages {
        /// Name of the region.
        region: &'static str,
        /// Size of the pages.
        kind: PageKind,
        /// Node whose pool it is; `None` = the machine's.
        node: Option<usize>,
        /// Pages that the region takes.
        needed: u64,
        /// Pages that it could have had.
        free: u64,
        /// What grants them: a command, or what to boot with.
        remedy: String,
    },
    /// Transparent huge pages are switched off.
    #[error("{region}: transparent huge pages are switched off; {remedy}")]
    ThpDisabled {
        /// Name of the region.
        region: &'static str,
        /// What switches them on.
        remedy: String,
    },
    /// More memory asked than can be had; mapping it would end in the kernel's out-of-memory killer.
    #[error("{region}: {bytes} bytes asked{}, {available} available; lower --memory or free some", on_node(.node))]
    Memory {
        /// Name of the region.
        region: &'static str,
        /// What was asked.
        bytes: u64,
        /// Node it was asked of; `None` = the machine.
        node: Option<usize>,
        /// What could be had.
        available: u64,
    },
    /// The kernel refused to map or to advise.
    #[error("{region}: {call} of {bytes} bytes failed: {errno}; lower --memory, or see ulimit -v")]
    Map {
        /// Name of the region.
        region: &'static str,
        /// The system call.
        call: &'static str,
        /// What was asked.
        bytes: usize,
        /// Why.
        errno: Errno,
    },
    /// No such node.
    #[error("node {node} does not exist; `sherwood topo` lists the nodes")]
    NoSuchNode {
        /// The node.
        node: usize,
    },
    /// The kernel refused to bind memory.
    #[error(
        "{region}: binding to node {node} failed: {errno}; in a container allow mbind \
         (--cap-add SYS_NICE), or leave out --node"
    )]
    Bind {
        /// Name of the region.
        region: &'static str,
        /// The node.
        node: usize,
        /// Why.
        errno: Errno,
    },
    /// The kernel could not populate pages that it had promised.
    #[error("{region}: populating {kind} pages{} failed: {errno}; {remedy}", on_node(.node))]
    Populate {
        /// Name of the region.
        region: &'static str,
        /// Size of the pages.
        kind: PageKind,
        /// Node they are bound to.
        node: Option<usize>,
        /// Why: EFAULT is a pool that ran dry, ENOMEM a machine that did, EINVAL a kernel before 5.14.
        errno: Errno,
        /// What helps.
        remedy: String,
    },
    /// The kernel refused to keep memory out of swap.
    #[error(
        "{region}: locking {bytes} bytes failed: {errno}; run: ulimit -l unlimited (systemd: LimitMEMLOCK=infinity)"
    )]
    Lock {
        /// Name of the region.
        region: &'static str,
        /// What was asked.
        bytes: usize,
        /// Why.
        errno: Errno,
    },
    /// The kernel starts no more threads.
    #[error("cannot start a thread: {errno}; raise ulimit -u, or pids.max of the control group")]
    Thread {
        /// Why.
        errno: Errno,
    },
    /// A range that does not lie within the region.
    #[error("{region}: bytes {start}..{end} asked of a region of {bytes}")]
    Range {
        /// Name of the region.
        region: &'static str,
        /// First byte.
        start: usize,
        /// One past the last byte.
        end: usize,
        /// Bytes of the region.
        bytes: usize,
    },
    /// A machine that hwloc cannot read.
    #[error("hwloc cannot read {what}: {why}")]
    Topology {
        /// Which machine.
        what: String,
        /// Why.
        why: String,
    },
    /// CPUs that were asked for and may not be used, or none at all.
    #[error("{}; CPUs that may be used: {usable} (see --cpus, --node, taskset, cpuset)", denial(.denied, .node))]
    CpusDenied {
        /// Those that may not, as a list; empty = none was left.
        denied: String,
        /// Those that may, as a list.
        usable: String,
        /// The node that was asked for.
        node: Option<usize>,
    },
    /// No workers, or more than there are CPUs for.
    #[error("{asked} workers asked, 1 to {most} are possible; change --workers or widen --cpus")]
    WorkerCount {
        /// What was asked.
        asked: usize,
        /// Usable CPUs, or the limit on workers.
        most: usize,
    },
    /// A thread cannot be put on a CPU.
    #[error(
        "pinning to CPU {cpus} failed: {errno}; choose among CPUs {allowed} (see --cpus, taskset, cpuset)"
    )]
    Pin {
        /// The CPU, or the list of them.
        cpus: String,
        /// Why.
        errno: Errno,
        /// CPUs that this process may use, as a list.
        allowed: String,
    },
    /// The kernel does not tell where this process may run.
    #[error(
        "reading the CPU affinity failed: {errno}; allow sched_getaffinity (seccomp); machines of more than 1024 CPUs are not \
         supported"
    )]
    Affinity {
        /// Why.
        errno: Errno,
    },
}

fn on_node(node: &Option<usize>) -> String {
    node.map_or_else(String::new, |node| format!(" on node {node}"))
}

fn denial(denied: &str, node: &Option<usize>) -> String {
    match denied {
        "" => format!("no CPU is left{}", on_node(node)),
        cpus => format!("CPU {cpus} cannot be used{}", on_node(node)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_one_line_with_the_remedy_and_no_full_stop() {
        let remedy = "run: echo 70 > /sys/x".to_owned();
        let errors = [
            Error::HugePages {
                region: "table",
                kind: PageKind::TwoMib,
                node: Some(1),
                needed: 6,
                free: 0,
                remedy: remedy.clone(),
            },
            Error::ThpDisabled { region: "table", remedy: remedy.clone() },
            Error::Bind { region: "table", node: 1, errno: Errno::EPERM },
            Error::Lock { region: "table", bytes: 1, errno: Errno::ENOMEM },
            Error::Pin { cpus: "9".to_owned(), errno: Errno::EINVAL, allowed: "0-1".to_owned() },
        ];
        for error in errors {
            let line = error.to_string();
            assert!(!line.contains('\n') && !line.ends_with('.') && !line.contains("  "), "{line}");
        }
        let line = Error::HugePages {
            region: "table",
            kind: PageKind::TwoMib,
            node: Some(1),
            needed: 6,
            free: 0,
            remedy,
        };
        assert_eq!(line.to_string(), "table: 6 × 2 MiB pages on node 1 asked, 0 free; run: echo 70 > /sys/x");
    }
}
