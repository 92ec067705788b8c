//! A machine with two nodes: huge pages on the node that was asked, threads on the CPU that was asked, and what
//! happens when a node has no huge pages left.
//!
//! `scripts/test-two-node` runs this in a virtual machine with `NUMA_VM_TESTS=1`; there, fewer than two nodes is a
//! failure. Elsewhere each test says that it is skipped. What `numa` reports is compared with /proc/self/numa_maps,
//! which it does not read.

use nix::errno::Errno;
use numa::pool::Kernel;
use numa::{Error, Huge, PageKind, Region, RegionRequest, Topology, pin_current_thread};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

const MIB: usize = 1 << 20;

/// The machine's huge pages are one pool: one test at a time.
static TURN: Mutex<()> = Mutex::new(());

struct Machine {
    topology: Topology,
    _turn: MutexGuard<'static, ()>,
}

impl Machine {
    /// `None` where nobody promised two nodes.
    fn two_nodes() -> Option<Machine> {
        if std::env::var_os("NUMA_VM_TESTS").is_none() {
            eprintln!("SKIPPED: scripts/test-two-node runs this on a machine with two nodes");
            return None;
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let topology = Topology::this_system().unwrap();
        assert!(topology.nodes.len() >= 2, "NUMA_VM_TESTS promises two nodes: {topology:?}");
        Some(Machine { topology, _turn: turn })
    }

    fn cpus_of(&self, node: usize) -> Vec<usize> {
        self.topology.cpus_of(node).map(|cpu| cpu.index).collect()
    }

    fn free(&self, node: usize) -> u64 {
        Kernel::this().pool(PageKind::TwoMib, Some(node)).unwrap().pages_free
    }
}

fn request(bytes: usize, node: Option<usize>, huge: Huge) -> RegionRequest {
    RegionRequest { name: "test", bytes, node, huge, mlock: false }
}

/// What numa_maps says of the region's mappings: pages by node, and the size of a page in KiB.
fn numa_maps(region: &Region) -> (BTreeMap<usize, u64>, u64) {
    let start = region.as_ptr() as usize;
    let mut pages = BTreeMap::new();
    let mut page_kib = 0;
    for line in fs::read_to_string("/proc/self/numa_maps").unwrap().lines() {
        let address = usize::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap();
        // A region with alignment slack starts within its mapping.
        if !(start.saturating_sub(2 * MIB - 1)..start + region.bytes()).contains(&address) {
            continue;
        }
        for word in line.split(' ') {
            if let Some(kib) = word.strip_prefix("kernelpagesize_kB=") {
                page_kib = kib.parse().unwrap();
            } else if let Some((node, count)) = word.strip_prefix('N').and_then(|word| word.split_once('=')) {
                *pages.entry(node.parse().unwrap()).or_default() += count.parse::<u64>().unwrap();
            }
        }
    }
    (pages, page_kib)
}

fn check_bound(machine: &Machine, huge: Huge, node: usize, kind: PageKind, page_kib: u64) {
    let region = Region::map(&request(32 * MIB, Some(node), huge)).unwrap();
    // Touched from the other node: only the binding can bring the pages here.
    region.prefault_parallel(&machine.cpus_of(1 - node), &|_| ()).unwrap();
    let report = region.report();
    assert_eq!(report.granted_kind, kind, "{report}");
    assert!(report.placed.verified && report.is_where_asked(), "{report}");
    assert_eq!(report.placed.bytes_by_node, BTreeMap::from([(node, region.bytes() as u64)]), "{report}");
    let pages = region.bytes() as u64 / 1024 / page_kib;
    assert_eq!(numa_maps(&region), (BTreeMap::from([(node, pages)]), page_kib), "{report}");
    if kind == PageKind::Thp {
        assert_eq!(report.joined_bytes, region.bytes() as u64, "{report}");
    }
}

#[test]
fn every_kind_of_page_is_on_the_node_that_was_asked() {
    let Some(machine) = Machine::two_nodes() else { return };
    for node in [0, 1] {
        check_bound(&machine, Huge::TwoMib, node, PageKind::TwoMib, 2048);
        check_bound(&machine, Huge::Auto, node, PageKind::TwoMib, 2048);
        check_bound(&machine, Huge::Thp, node, PageKind::Thp, 4);
        check_bound(&machine, Huge::Off, node, PageKind::Small, 4);
    }
}

#[test]
fn a_page_of_one_gib_is_taken_before_smaller_ones() {
    let Some(machine) = Machine::two_nodes() else { return };
    if std::env::var_os("NUMA_VM_ONE_GIB").is_none() {
        eprintln!("SKIPPED: scripts/test-two-node gives node 1 a page of 1 GiB");
        return;
    }
    let region = Region::map(&request(1000 * MIB, Some(1), Huge::Auto)).unwrap();
    region.prefault_parallel(&machine.cpus_of(1), &|_| ()).unwrap();
    let report = region.report();
    assert_eq!((report.granted_kind, report.granted_bytes), (PageKind::OneGib, 1 << 30), "{report}");
    assert_eq!(numa_maps(&region), (BTreeMap::from([(1, 1)]), 1 << 20), "{report}");
    // It was the only one.
    let error = Region::map(&request(1, Some(1), Huge::OneGib)).unwrap_err();
    assert!(matches!(error, Error::HugePages { needed: 1, free: 0, .. }), "{error}");
}

#[test]
fn memory_that_is_not_bound_is_where_it_was_touched() {
    let Some(machine) = Machine::two_nodes() else { return };
    let cpus = [machine.cpus_of(0)[0], machine.cpus_of(1)[0]];
    for huge in [Huge::TwoMib, Huge::Off] {
        let region = Region::map(&request(64 * MIB, None, huge)).unwrap();
        // The probe has touched the first page, from a thread that is nowhere in particular.
        let slack = if huge == Huge::TwoMib { 2 * MIB as u64 } else { 0 };
        region.prefault_parallel(&cpus, &|_| ()).unwrap();
        for (node, bytes) in region.placed().bytes_by_node {
            assert!(bytes.abs_diff(32 * MIB as u64) <= slack, "{bytes} bytes on node {node}");
        }
    }
}

#[test]
fn threads_run_where_they_are_pinned() {
    let Some(machine) = Machine::two_nodes() else { return };
    for cpu in machine.topology.cpus.clone() {
        let region = thread::spawn(move || {
            pin_current_thread(cpu.index).unwrap();
            let status = fs::read_to_string("/proc/thread-self/status").unwrap();
            assert!(status.contains(&format!("Cpus_allowed_list:\t{}\n", cpu.index)), "{status}");
            let region = Region::map(&request(MIB, None, Huge::Off)).unwrap();
            region.prefault(0..MIB, &|_| ()).unwrap();
            region
        });
        // What the thread touched is on its CPU's node: it ran there.
        let placed = region.join().unwrap().placed();
        assert_eq!(placed.bytes_by_node, BTreeMap::from([(cpu.node, MIB as u64)]));
    }
}

#[test]
fn a_node_without_huge_pages_falls_back_and_the_other_does_not() {
    let Some(machine) = Machine::two_nodes() else { return };
    let free = machine.free(1);
    let hog = Region::map(&request((free as usize - 4) * 2 * MIB, Some(1), Huge::TwoMib)).unwrap();
    hog.prefault(0..hog.bytes(), &|_| ()).unwrap();

    let fallen = Region::map(&request(16 * MIB, Some(1), Huge::Auto)).unwrap();
    fallen.prefault(0..fallen.bytes(), &|_| ()).unwrap();
    let report = fallen.report();
    assert_eq!(report.granted_kind, PageKind::Thp, "{report}");
    assert!(report.is_where_asked(), "{report}");
    assert!(report.refused[0].reason.contains("node 1 asked, 4 free"), "{:?}", report.refused);

    let error = Region::map(&request(16 * MIB, Some(1), Huge::TwoMib)).unwrap_err();
    assert!(matches!(error, Error::HugePages { node: Some(1), needed: 8, free: 4, .. }), "{error}");
    assert!(Region::map(&request(16 * MIB, Some(0), Huge::TwoMib)).is_ok());
}

#[test]
fn the_command_in_the_error_grants_what_was_asked() {
    let Some(machine) = Machine::two_nodes() else { return };
    let asked = request((machine.free(1) as usize + 3) * 2 * MIB, Some(1), Huge::TwoMib);
    let error = Region::map(&asked).unwrap_err().to_string();
    let command = error.split("run: ").nth(1).unwrap();
    assert!(Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
    let region = Region::map(&asked).unwrap();
    region.prefault(0..region.bytes(), &|_| ()).unwrap();
    assert!(region.report().is_where_asked());
}

/// mmap and mbind succeed for pages that the node does not have: only the first touch fails, with a SIGBUS.
#[test]
fn pages_that_were_only_promised_are_found_out_by_the_probe() {
    let Some(machine) = Machine::two_nodes() else { return };
    let hog = Region::map(&request(machine.free(1) as usize * 2 * MIB, Some(1), Huge::TwoMib)).unwrap();
    hog.prefault(0..hog.bytes(), &|_| ()).unwrap();
    assert!(machine.free(0) >= 8, "node 0 has pages, so that mmap itself succeeds");

    let root = tempfile::tempdir().unwrap();
    for folder in ["sys/kernel/mm/hugepages", "sys/devices/system/node/node1/hugepages"] {
        let folder = root.path().join(folder).join("hugepages-2048kB");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("nr_hugepages"), "64").unwrap();
        fs::write(folder.join("free_hugepages"), "64").unwrap();
    }
    let liar = Kernel::at(root.path());
    let error = Region::map_on(&request(16 * MIB, Some(1), Huge::TwoMib), &liar).unwrap_err();
    assert!(matches!(error, Error::Populate { errno: Errno::EFAULT, node: Some(1), .. }), "{error}");
    let fallen = Region::map_on(&request(16 * MIB, Some(1), Huge::Auto), &liar).unwrap();
    assert_eq!(fallen.report().granted_kind, PageKind::Small, "this kernel says nothing of THP");
}

/// Two regions are mapped before either is touched, and the node has pages for one and a half.
#[test]
fn a_pool_that_runs_dry_while_populating_gets_stand_ins_or_an_error() {
    let Some(machine) = Machine::two_nodes() else { return };
    let free = machine.free(1) as usize;
    let pages = free * 3 / 4;
    let map = |huge| Region::map(&request(pages * 2 * MIB, Some(1), huge)).unwrap();
    let cpus = machine.cpus_of(1);

    let (first, second) = (map(Huge::TwoMib), map(Huge::Auto));
    first.prefault_parallel(&cpus, &|_| ()).unwrap();
    second.words()[1].store(7, std::sync::atomic::Ordering::Relaxed);
    second.prefault_parallel(&cpus, &|_| ()).unwrap();
    let report = second.report();
    assert_eq!(report.stand_in_bytes, (2 * pages - free) * 2 * MIB, "{report}");
    assert!(report.is_where_asked() && report.placed.bytes_untouched == 0, "{report}");
    assert_eq!(second.words()[1].load(std::sync::atomic::Ordering::Relaxed), 7);
    let sum: u64 = second.words().iter().map(|word| word.load(std::sync::atomic::Ordering::Relaxed)).sum();
    assert_eq!(sum, 7, "all else is zero");
    drop((first, second));

    let (first, second) = (map(Huge::TwoMib), map(Huge::TwoMib));
    first.prefault_parallel(&cpus, &|_| ()).unwrap();
    let error = second.prefault_parallel(&cpus, &|_| ()).unwrap_err();
    assert!(matches!(error, Error::Populate { errno: Errno::EFAULT, .. }), "{error}");
    assert!(error.to_string().contains("echo "), "{error}");
}

#[test]
fn the_plan_for_a_node_names_its_cpus() {
    let Some(machine) = Machine::two_nodes() else { return };
    for node in [0, 1] {
        let request = numa::Request {
            workers: numa::Workers::Auto,
            workers_max: 64,
            cpus: None,
            node: Some(node),
            bytes: 32 * MIB,
            huge: Huge::Auto,
            allowed: Some(numa::allowed_cpus().unwrap()),
            quota_cpus: Kernel::this().quota_cpus(),
            pin: numa::Pin::Cores,
            taken: numa::Taken::default(),
        };
        let plan = numa::plan(&machine.topology, &request).unwrap();
        let mut cpus = plan.worker_cpus();
        cpus.extend(plan.policy.map(|seat| seat.cpu.index));
        assert_eq!(cpus, machine.cpus_of(node));
        assert_eq!((plan.memory.node, plan.memory.kind), (Some(node), Some(PageKind::TwoMib)));
    }
    assert_eq!(machine.topology.distance(0, 1), 21);
}
