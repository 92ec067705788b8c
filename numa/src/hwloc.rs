//! Reads a machine through hwloc: the one at hand, a synthetic one, or one recorded as XML.
//!
//! The only file that names hwlocality; above it there is plain data. hwloc is asked to describe and never to bind: on
//! a synthetic or recorded machine every bind of hwloc's answers Ok and does nothing (see `bind` and `pin`).
//!
//! A CPU belongs to the first node, by number, whose CPUs include it. Nodes of memory alone (CXL, HBM) list the CPUs of
//! their neighbours too, and Linux numbers them after the nodes of ordinary memory.

use crate::pool::Kernel;
use crate::topology::{Cpu, HugePool, Node, Topology};
use crate::{Error, PageKind};
use hwlocality::Topology as Hwloc;
use hwlocality::object::TopologyObject;
use hwlocality::object::attributes::ObjectAttributes;
use hwlocality::object::distance::DistancesKind;
use hwlocality::object::types::ObjectType;
use std::fmt::Display;
use std::fs;
use std::path::Path;

impl Topology {
    /// The machine we run on: the part that our cpuset allows.
    ///
    /// # Errors
    /// hwloc cannot read it (is /sys mounted?), its environment variables name another machine, or the kernel does not tell
    /// where this process may run.
    pub fn this_system() -> Result<Topology, Error> {
        // hwloc asks for the affinity again and again, with a larger mask each time, until it is told.
        crate::allowed_cpus()?;
        let hwloc = Hwloc::new().map_err(|error| unreadable("this machine", &error))?;
        let mut topology = read(&hwloc);
        if !topology.is_this_system {
            let why = "HWLOC_SYNTHETIC or HWLOC_XMLFILE names another machine; unset it";
            return Err(unreadable("this machine", &why));
        }
        // hwloc tells what the pools hold; what is free in them, the kernel tells.
        let kernel = Kernel::this();
        topology.thp_enabled = kernel.thp_enabled();
        if let [only] = topology.nodes.as_mut_slice() {
            // Hot-added memory of a virtual machine may be missing in the figures of its only node.
            only.memory_bytes = kernel.bytes_total().max(only.memory_bytes);
        }
        for node in &mut topology.nodes {
            for pool in &mut node.pools {
                if let Some(now) = kernel.pool(pool.kind, Some(node.index)) {
                    (pool.pages_total, pool.pages_free) = (now.pages_total, now.pages_free);
                }
            }
        }
        Ok(topology)
    }

    /// A machine described in hwloc's words, such as `pack:2 numa:1 core:8 pu:2`.
    ///
    /// # Errors
    /// Not such a description.
    pub fn from_synthetic(description: &str) -> Result<Topology, Error> {
        let what = format!("{description:?} (like \"pack:2 numa:1 core:8 pu:2\")");
        let builder =
            Hwloc::builder().from_synthetic(description).map_err(|error| unreadable(&what, &error))?;
        Ok(read(&builder.build().map_err(|error| unreadable(&what, &error))?))
    }

    /// A machine recorded with `lstopo FILE.xml`.
    ///
    /// # Errors
    /// Not such a recording.
    pub fn from_xml(xml: &str) -> Result<Topology, Error> {
        let what = "this XML (lstopo FILE.xml records one)";
        let builder = Hwloc::builder().from_xml(xml).map_err(|error| unreadable(what, &error))?;
        Ok(read(&builder.build().map_err(|error| unreadable(what, &error))?))
    }

    /// A machine recorded in a file.
    ///
    /// # Errors
    /// The file cannot be read, or is not such a recording.
    pub fn from_xml_file(path: &Path) -> Result<Topology, Error> {
        let what = path.display().to_string();
        let xml = fs::read_to_string(path).map_err(|error| unreadable(&what, &error))?;
        Topology::from_xml(&xml).map_err(|_| unreadable(&what, &"not a recording of lstopo FILE.xml"))
    }
}

fn unreadable(what: &str, why: &dyn Display) -> Error {
    // hwloc's errors span lines; ours do not.
    let why = why.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    Error::Topology { what: what.to_owned(), why: why.trim_end_matches('.').to_owned() }
}

fn read(hwloc: &Hwloc) -> Topology {
    let mut node_objects: Vec<_> = hwloc.objects_with_type(ObjectType::NUMANode).collect();
    node_objects.sort_by_key(|object| number(object));
    let mut nodes: Vec<_> = node_objects.iter().map(|object| node(object)).collect();
    read_distances(hwloc, &mut nodes);
    let mut cpus: Vec<_> =
        hwloc.objects_with_type(ObjectType::PU).map(|object| cpu(object, &node_objects)).collect();
    cpus.sort_by_key(|cpu| cpu.index);
    Topology { is_this_system: hwloc.is_this_system(), thp_enabled: true, nodes, cpus }
}

fn cpu(object: &TopologyObject, nodes: &[&TopologyObject]) -> Cpu {
    let above = |ty| object.first_ancestor_with_type(ty).map(TopologyObject::logical_index);
    let is_near = |node: &&&TopologyObject| {
        object.cpuset().zip(node.cpuset()).is_some_and(|(cpu, near)| near.includes(cpu))
    };
    Cpu {
        index: number(object),
        // Some virtual machines have no cores or packages to show: then each CPU is a core, all in one package.
        core: above(ObjectType::Core).unwrap_or(object.logical_index()),
        package: above(ObjectType::Package).unwrap_or(0),
        node: nodes.iter().find(is_near).map_or(0, |node| number(node)),
    }
}

fn node(object: &TopologyObject) -> Node {
    let mut node =
        Node { index: number(object), memory_bytes: None, pools: Vec::new(), distances: Vec::new() };
    if let Some(ObjectAttributes::NUMANode(attributes)) = object.attributes() {
        node.memory_bytes = attributes.local_memory().map(|bytes| bytes.get());
        for pages in attributes.page_types() {
            let kinds = [PageKind::TwoMib, PageKind::OneGib].into_iter();
            let mut of_size = kinds.filter(|kind| kind.bytes() as u64 == pages.size().get());
            if let Some(kind) = of_size.next() {
                let count = pages.count();
                node.pools.push(HugePool { kind, pages_total: count, pages_free: count });
            }
        }
    }
    node
}

fn read_distances(hwloc: &Hwloc, nodes: &mut [Node]) {
    // Latencies as firmware tells them; absent on synthetic machines, and then on ours too.
    let kind = DistancesKind::FROM_OS | DistancesKind::MEANS_LATENCY;
    let Ok(matrices) = hwloc.distances_with_type(Some(kind), ObjectType::NUMANode) else { return };
    let Some(matrix) = matrices.first() else { return };
    let numbers: Vec<_> = matrix.objects().map(|object| object.map(number)).collect();
    let indexes: Vec<_> = nodes.iter().map(|node| node.index).collect();
    for ((from, to), distance) in matrix.enumerate_distances() {
        let from = nodes.iter_mut().find(|node| numbers[from] == Some(node.index));
        let at = indexes.iter().position(|index| numbers[to] == Some(*index));
        if let (Some(from), Some(at)) = (from, at) {
            from.distances.resize(indexes.len(), crate::topology::DISTANCE_UNKNOWN);
            from.distances[at] = distance;
        }
    }
}

fn number(object: &TopologyObject) -> usize {
    object.os_index().unwrap_or(object.logical_index())
}
