//! What memory a node has: the kernel's pools of huge pages, and what is free besides.
//!
//! Figures come from sysfs and procfs below a root folder that is a parameter, so that tests bring their own machine.
//! They are a moment's truth: another process may take what is free. `region` therefore asks the kernel as well
//! (it reserves pages when it maps, and populates the first one).
//!
//! What it does not do: count surplus pages (`nr_overcommit_hugepages`). The kernel builds those when they are touched,
//! and may fail to; a region that must be prefaulted cannot rely on them.

use crate::{PageKind, cgroup};
use std::fs;
use std::path::{Path, PathBuf};

/// The pool of one size of huge pages, of one node or of the whole machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Pages that the pool holds.
    pub pages_total: u64,
    /// Pages that a new region can have: neither in use nor, machine-wide, promised to others.
    pub pages_free: u64,
}

/// Where the figures are read from.
#[derive(Clone, Debug)]
pub struct Kernel {
    root: PathBuf,
}

impl Kernel {
    /// The running kernel.
    pub fn this() -> Kernel {
        Kernel::at(Path::new("/"))
    }

    /// A folder that holds `proc` and `sys`.
    pub fn at(root: &Path) -> Kernel {
        Kernel { root: root.to_owned() }
    }

    /// The pool of `kind` that a region bound to `node` draws from; `None` if the kernel has no such pages.
    pub fn pool(&self, kind: PageKind, node: Option<usize>) -> Option<Pool> {
        let machine = self.pool_at(&pool_folder(kind, None)?)?;
        match node {
            None => Some(machine),
            Some(_) => {
                let of_node = self.pool_at(&pool_folder(kind, node)?)?;
                // Promises (reservations) are kept machine-wide only, so a node can have no more than the machine.
                Some(Pool { pages_free: of_node.pages_free.min(machine.pages_free), ..of_node })
            }
        }
    }

    /// Whether transparent huge pages can be asked for.
    pub fn thp_enabled(&self) -> bool {
        self.text("sys/kernel/mm/transparent_hugepage/enabled")
            .is_some_and(|modes| !modes.contains("[never]"))
    }

    /// Bytes that could be had without swapping, on one node or on the machine, and within our control group; `None`
    /// if the kernel does not tell.
    pub fn bytes_available(&self, node: Option<usize>) -> Option<u64> {
        let of_group = cgroup::memory_left_bytes(&self.root);
        of_group.into_iter().chain(self.bytes_on(node)).min()
    }

    /// All memory of the machine.
    pub fn bytes_total(&self) -> Option<u64> {
        Some(field_kib(&self.text("proc/meminfo")?, "MemTotal:")? << 10)
    }

    /// CPUs' worth of time that our control group grants; `None` = no bound.
    pub fn quota_cpus(&self) -> Option<f64> {
        cgroup::quota_cpus(&self.root)
    }

    /// Whether the kernel has this node.
    pub fn has_node(&self, node: usize) -> bool {
        self.root.join(format!("sys/devices/system/node/node{node}")).is_dir()
    }

    fn bytes_on(&self, node: Option<usize>) -> Option<u64> {
        let kib = match node {
            None => field_kib(&self.text("proc/meminfo")?, "MemAvailable:")?,
            // Hot-added memory of a virtual machine may be missing in the figures of its only node.
            Some(_) if self.has_one_node() => return self.bytes_on(None),
            Some(node) => {
                let text = self.text(&format!("sys/devices/system/node/node{node}/meminfo"))?;
                // Nodes have no MemAvailable; this is its main part: free pages, page cache, reclaimable slabs.
                ["MemFree:", "Active(file):", "Inactive(file):", "SReclaimable:"]
                    .iter()
                    .filter_map(|name| field_kib(&text, name))
                    .sum()
            }
        };
        Some(kib << 10)
    }

    fn has_one_node(&self) -> bool {
        self.text("sys/devices/system/node/online").is_none_or(|nodes| nodes.trim().parse::<usize>().is_ok())
    }

    fn pool_at(&self, folder: &str) -> Option<Pool> {
        let number = |name| self.text(&format!("{folder}/{name}"))?.trim().parse::<u64>().ok();
        // A node's folder has no resv_hugepages.
        let promised = number("resv_hugepages").unwrap_or(0);
        Some(Pool {
            pages_total: number("nr_hugepages")?,
            pages_free: number("free_hugepages")?.saturating_sub(promised),
        })
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }
}

/// What makes `pages_missing` more pages of `kind` available, on `node` or anywhere: a command, or, where the kernel has no
/// pool of such pages, what to boot it with. A sentence that goes on behind a semicolon.
pub fn remedy(kind: PageKind, node: Option<usize>, pool: Option<Pool>, pages_missing: u64) -> String {
    match (pool_folder(kind, node), pool) {
        (None, _) => "run: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled".to_owned(),
        (Some(folder), Some(pool)) => {
            format!("run: echo {} > /{folder}/nr_hugepages", pool.pages_total + pages_missing)
        }
        (Some(_), None) => {
            let on_node = node.map_or_else(String::new, |node| format!("{node}:"));
            format!("boot with hugepagesz={} hugepages={on_node}{pages_missing}", boot_size(kind))
        }
    }
}

/// A page size in the words of the kernel's command line.
fn boot_size(kind: PageKind) -> String {
    match kind.bytes() {
        bytes if bytes.is_multiple_of(1 << 30) => format!("{}G", bytes >> 30),
        bytes => format!("{}M", bytes >> 20),
    }
}

fn pool_folder(kind: PageKind, node: Option<usize>) -> Option<String> {
    let size_kib = kind.is_pooled().then(|| kind.bytes() >> 10)?;
    Some(match node {
        None => format!("sys/kernel/mm/hugepages/hugepages-{size_kib}kB"),
        Some(node) => format!("sys/devices/system/node/node{node}/hugepages/hugepages-{size_kib}kB"),
    })
}

/// `Name:  123 kB` of meminfo; a node's lines start with `Node 0`.
fn field_kib(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.split_whitespace().skip_while(|word| *word != name).nth(1)?.parse::<u64>().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine in a folder of its own, gone with the value.
    struct Machine {
        folder: tempfile::TempDir,
    }

    impl Machine {
        fn new(files: &[(&str, &str)]) -> Machine {
            let folder = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let path = folder.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Machine { folder }
        }

        fn kernel(&self) -> Kernel {
            Kernel::at(self.folder.path())
        }
    }

    #[test]
    fn promised_pages_are_not_free() {
        let machine = Machine::new(&[
            ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "64\n"),
            ("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "40\n"),
            ("sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "30\n"),
            ("sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", "32\n"),
            ("sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages", "32\n"),
        ]);
        let pool = |node| machine.kernel().pool(PageKind::TwoMib, node);
        assert_eq!(pool(None), Some(Pool { pages_total: 64, pages_free: 10 }));
        assert_eq!(pool(Some(1)), Some(Pool { pages_total: 32, pages_free: 10 }));
        assert_eq!(pool(Some(2)), None);
        assert_eq!(machine.kernel().pool(PageKind::OneGib, None), None);
        assert_eq!(machine.kernel().pool(PageKind::Thp, None), None);
    }

    #[test]
    fn available_bytes_of_the_machine_and_of_a_node() {
        let machine = Machine::new(&[
            ("proc/meminfo", "MemTotal:  100 kB\nMemFree:  10 kB\nMemAvailable:  50 kB\n"),
            ("sys/devices/system/node/online", "0-1\n"),
            (
                "sys/devices/system/node/node0/meminfo",
                "Node 0 MemFree:  10 kB\nNode 0 Active(file):  2 kB\nNode 0 Inactive(file):  3 kB\n",
            ),
        ]);
        assert_eq!(machine.kernel().bytes_available(None), Some(50 << 10));
        assert_eq!(machine.kernel().bytes_available(Some(0)), Some(15 << 10));
        assert_eq!(machine.kernel().bytes_available(Some(1)), None);
        assert!(machine.kernel().has_node(0) && !machine.kernel().has_node(1));
    }

    #[test]
    fn the_only_node_has_what_the_machine_has() {
        let machine = Machine::new(&[
            ("proc/meminfo", "MemTotal:  100 kB\nMemAvailable:  50 kB\n"),
            ("sys/devices/system/node/online", "0\n"),
            ("sys/devices/system/node/node0/meminfo", "Node 0 MemFree:  10 kB\n"),
        ]);
        assert_eq!(machine.kernel().bytes_available(Some(0)), Some(50 << 10));
        assert_eq!(machine.kernel().bytes_total(), Some(100 << 10));
    }

    #[test]
    fn thp_is_off_only_when_never_is_chosen() {
        let path = "sys/kernel/mm/transparent_hugepage/enabled";
        for (text, enabled) in [("always [madvise] never", true), ("always madvise [never]", false)] {
            assert_eq!(Machine::new(&[(path, text)]).kernel().thp_enabled(), enabled);
        }
        assert!(!Machine::new(&[]).kernel().thp_enabled());
    }

    #[test]
    fn the_remedy_is_for_the_pages_and_the_node_that_lack_them() {
        let pool = Some(Pool { pages_total: 64, pages_free: 4 });
        let thp = "run: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled";
        let expected = [
            (
                PageKind::TwoMib,
                None,
                pool,
                "run: echo 70 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
            ),
            (
                PageKind::TwoMib,
                Some(1),
                pool,
                "run: echo 70 > /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages",
            ),
            (PageKind::TwoMib, None, None, "boot with hugepagesz=2M hugepages=6"),
            (PageKind::TwoMib, Some(1), None, "boot with hugepagesz=2M hugepages=1:6"),
            (
                PageKind::OneGib,
                None,
                pool,
                "run: echo 70 > /sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages",
            ),
            (
                PageKind::OneGib,
                Some(0),
                pool,
                "run: echo 70 > /sys/devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages",
            ),
            (PageKind::OneGib, None, None, "boot with hugepagesz=1G hugepages=6"),
            (PageKind::OneGib, Some(0), None, "boot with hugepagesz=1G hugepages=0:6"),
            (PageKind::Thp, None, None, thp),
            (PageKind::Thp, Some(1), None, thp),
        ];
        for (kind, node, pool, words) in expected {
            assert_eq!(remedy(kind, node, pool, 6), words, "{kind} {node:?}");
        }
    }
}
