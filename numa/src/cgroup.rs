//! What the control group of this process grants: CPU time and memory (cgroups v1 and v2).
//!
//! An affinity mask tells which CPUs a process may use, not how much of them: a container with a quota of 1.5 CPUs on a
//! machine of 64 sees all 64, and is throttled when busy workers use them. A plan must know both.
//!
//! Every group above ours bounds us as well, so the smallest bound on the way up counts. Inside a container the path in
//! `/proc/self/cgroup` may not exist below the mount; then the mount's own root is our group.
//!
//! What it does not do: read weights or shares, which bound nothing on an idle machine.

use std::fs;
use std::path::{Path, PathBuf};

/// CPUs' worth of time in each period; `None` = no bound. `root` holds `proc` and `sys`.
pub fn quota_cpus(root: &Path) -> Option<f64> {
    groups(root, "cpu").iter().filter_map(|group| quota_of(group)).min_by(f64::total_cmp)
}

/// Bytes that the group may still take; `None` = no bound. Page cache that can be dropped counts as free.
pub fn memory_left_bytes(root: &Path) -> Option<u64> {
    groups(root, "memory").iter().filter_map(|group| memory_left_of(group)).min()
}

/// Folders of our group for `controller` and of all above it.
fn groups(root: &Path, controller: &str) -> Vec<PathBuf> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut folders = Vec::new();
    for line in text.lines() {
        // hierarchy:controllers:path, see cgroups(7)
        let parts: Vec<_> = line.splitn(3, ':').collect();
        let &[_, controllers, path] = parts.as_slice() else { continue };
        let mounts = match controllers {
            // v2, alone or beside v1
            "" => vec!["sys/fs/cgroup".to_owned(), "sys/fs/cgroup/unified".to_owned()],
            // v1: controllers mounted together are named together ("cpu,cpuacct")
            names if names.split(',').any(|name| name == controller) => {
                vec![format!("sys/fs/cgroup/{names}")]
            }
            _ => continue,
        };
        for mount in mounts {
            let mount = root.join(mount);
            let own = mount.join(path.trim_start_matches('/'));
            folders
                .extend(own.ancestors().take_while(|folder| folder.starts_with(&mount)).map(Path::to_owned));
        }
    }
    folders
}

fn quota_of(group: &Path) -> Option<f64> {
    // v2: "max 100000" or "150000 100000"
    if let Some(text) = text(group, "cpu.max") {
        let mut words = text.split_whitespace();
        let quota_us: f64 = words.next()?.parse().ok()?;
        let period_us: f64 = words.next()?.parse().ok()?;
        return Some(quota_us / period_us);
    }
    // v1: -1 = no bound
    let quota_us: f64 = text(group, "cpu.cfs_quota_us")?.trim().parse().ok()?;
    let period_us: f64 = text(group, "cpu.cfs_period_us")?.trim().parse().ok()?;
    (quota_us > 0.0).then_some(quota_us / period_us)
}

fn memory_left_of(group: &Path) -> Option<u64> {
    let number = |name| text(group, name)?.trim().parse::<u64>().ok();
    let limit = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
    let used = number("memory.current").or_else(|| number("memory.usage_in_bytes"))?;
    let stat = text(group, "memory.stat").unwrap_or_default();
    let droppable = ["total_inactive_file ", "inactive_file "]
        .iter()
        .find_map(|name| stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok()));
    // v1 says "no bound" with the largest number of pages.
    (limit < NO_LIMIT_BYTES).then(|| limit.saturating_sub(used.saturating_sub(droppable.unwrap_or(0))))
}

/// A bound beyond any machine's memory is none.
const NO_LIMIT_BYTES: u64 = 1 << 60;

fn text(group: &Path, name: &str) -> Option<String> {
    fs::read_to_string(group.join(name)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn check_quota(files: &[(&str, &str)], expected: Option<f64>) {
        assert_eq!(quota_cpus(machine(files).path()), expected, "{files:?}");
    }

    #[test]
    fn quota_of_version_2_is_the_smallest_on_the_way_up() {
        let own = ("proc/self/cgroup", "0::/a/b\n");
        check_quota(&[own, ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n")], None);
        check_quota(&[own, ("sys/fs/cgroup/a/b/cpu.max", "150000 100000\n")], Some(1.5));
        check_quota(
            &[
                own,
                ("sys/fs/cgroup/a/b/cpu.max", "400000 100000"),
                ("sys/fs/cgroup/a/cpu.max", "200000 100000"),
            ],
            Some(2.0),
        );
        check_quota(&[own, ("sys/fs/cgroup/unified/a/b/cpu.max", "50000 100000")], Some(0.5));
    }

    #[test]
    fn quota_of_version_1_is_found_under_joint_mounts() {
        let own = ("proc/self/cgroup", "4:cpu,cpuacct:/x\n3:memory:/y\n0::/\n");
        let quota = "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us";
        let period = ("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
        check_quota(&[own, (quota, "-1\n"), period], None);
        check_quota(&[own, (quota, "250000\n"), period], Some(2.5));
    }

    #[test]
    fn in_a_container_the_mount_is_the_group() {
        let own = ("proc/self/cgroup", "0::/system.slice/docker-1.scope\n");
        check_quota(&[own, ("sys/fs/cgroup/cpu.max", "100000 100000\n")], Some(1.0));
    }

    #[test]
    fn no_groups_no_bounds() {
        check_quota(&[], None);
        assert_eq!(memory_left_bytes(machine(&[]).path()), None);
    }

    #[test]
    fn memory_left_counts_page_cache_as_free() {
        let v2 = machine(&[
            ("proc/self/cgroup", "0::/a\n"),
            ("sys/fs/cgroup/a/memory.max", "1000\n"),
            ("sys/fs/cgroup/a/memory.current", "600\n"),
            ("sys/fs/cgroup/a/memory.stat", "anon 500\ninactive_file 100\n"),
        ]);
        assert_eq!(memory_left_bytes(v2.path()), Some(500));
        let v1 = machine(&[
            ("proc/self/cgroup", "3:memory:/a\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "600\n"),
        ]);
        assert_eq!(memory_left_bytes(v1.path()), None);
    }
}
