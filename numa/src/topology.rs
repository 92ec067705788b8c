//! A machine as plain data: nodes, packages, cores, CPUs, memory, huge pages, distances.
//!
//! ```text
//! Topology ─┬─ nodes: Node { memory, pools of huge pages, distances }
//!           └─ cpus:  Cpu  { core, package, node }          one per hardware thread that the cpuset allows
//! ```
//!
//! Numbers of CPUs and nodes are the operating system's, those that taskset, numactl and sysfs use. Numbers of cores
//! and packages only tell them apart.
//!
//! What it does not do: ask the machine; `hwloc` fills it in, and a test may write one down.

use crate::PageKind;
use serde::Serialize;

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Topology {
    /// Whether this is the machine we run on, and not a synthetic or a recorded one.
    pub is_this_system: bool,
    /// Whether transparent huge pages can be asked for; taken for granted of a machine that is not ours.
    pub thp_enabled: bool,
    /// Memory nodes, by index.
    pub nodes: Vec<Node>,
    /// Hardware threads, by index.
    pub cpus: Vec<Cpu>,
}

/// A NUMA node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// The operating system's number.
    pub index: usize,
    /// Local memory; `None` if unknown.
    pub memory_bytes: Option<u64>,
    /// Its pools of huge pages, by size.
    pub pools: Vec<HugePool>,
    /// Distance to each node of the machine, in the order of [`Topology::nodes`], 10 = local; empty if unknown.
    pub distances: Vec<u64>,
}

/// The huge pages of one size on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HugePool {
    /// Which pages.
    pub kind: PageKind,
    /// Pages that the pool holds.
    pub pages_total: u64,
    /// Pages that nobody uses.
    pub pages_free: u64,
}

/// A hardware thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cpu {
    /// The operating system's number.
    pub index: usize,
    /// Which core; siblings share it.
    pub core: usize,
    /// Which package (socket).
    pub package: usize,
    /// The operating system's number of its nearest node.
    pub node: usize,
}

impl Topology {
    /// The CPU of that number.
    pub fn cpu(&self, index: usize) -> Option<&Cpu> {
        self.cpus.iter().find(|cpu| cpu.index == index)
    }

    /// The node of that number.
    pub fn node(&self, index: usize) -> Option<&Node> {
        self.nodes.iter().find(|node| node.index == index)
    }

    /// CPUs of a node.
    pub fn cpus_of(&self, node: usize) -> impl Iterator<Item = &Cpu> {
        self.cpus.iter().filter(move |cpu| cpu.node == node)
    }

    /// How far `to` is from `from`: 10 for the node itself, 20 where the machine does not tell.
    pub fn distance(&self, from: usize, to: usize) -> u64 {
        let position = self.nodes.iter().position(|node| node.index == to);
        let told = self.node(from).zip(position).and_then(|(node, at)| node.distances.get(at).copied());
        told.unwrap_or(if from == to { DISTANCE_LOCAL } else { DISTANCE_UNKNOWN })
    }

    /// How many packages the CPUs are in.
    pub fn packages(&self) -> usize {
        distinct(self.cpus.iter().map(|cpu| cpu.package))
    }

    /// How many cores the CPUs are in.
    pub fn cores(&self) -> usize {
        distinct(self.cpus.iter().map(|cpu| cpu.core))
    }

    /// Free pages of `kind` on one node, or on all.
    pub fn pages_free(&self, kind: PageKind, node: Option<usize>) -> u64 {
        let nodes = self.nodes.iter().filter(|each| node.is_none_or(|index| each.index == index));
        nodes.flat_map(|each| &each.pools).filter(|pool| pool.kind == kind).map(|pool| pool.pages_free).sum()
    }
}

/// Distance of a node to itself (ACPI SLIT).
pub const DISTANCE_LOCAL: u64 = 10;
/// Distance between nodes where the machine does not tell (Linux's REMOTE_DISTANCE).
pub const DISTANCE_UNKNOWN: u64 = 20;

fn distinct(numbers: impl Iterator<Item = usize>) -> usize {
    numbers.collect::<std::collections::BTreeSet<_>>().len()
}
