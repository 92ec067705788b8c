//! What can be checked of the style is checked here: who imports whom, where unsafe lives, how long a file is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Modules of the root crate and the ones that each may import, beside the foundations.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    // protocol: the key that load seals frames with.
    ("cli", &["config", "server", "load", "stats", "policy", "memory", "ring", "protocol"]),
    ("config", &["worker", "policy", "io"]),
    ("server", &["config", "worker", "policy", "io", "shard", "ring", "stats", "memory", "table"]),
    ("worker", &["io", "protocol", "shard", "ring", "table"]),
    ("shard", &["table", "memory", "protocol", "ring"]),
    ("table", &["memory"]),
    ("memory", &["table"]),
    // Of the table only the prefetch, as the test below says.
    ("policy", &["ring", "table"]),
    ("load", &["protocol", "io", "config", "stats"]),
    ("io", &[]),
    ("protocol", &[]),
    ("ring", &[]),
    ("stats", &[]),
    ("sync", &[]),
    ("clock", &[]),
    ("hash", &[]),
    ("random", &[]),
    ("item_ref", &[]),
];

/// Foundations: anybody may import them.
const FOUNDATIONS: &[&str] =
    &["sync", "clock", "hash", "random", "item_ref", "config::limits", "stats::counters", "stats::times"];

/// The files that may say `unsafe`.
const UNSAFE_ROOMS: &[&str] = &[
    "numa/src/region.rs",
    "numa/src/bind.rs",
    "src/memory/item/",
    "src/table/simd.rs",
    "src/table/prefetch.rs",
    "src/io/uring/",
    "src/io/mmsg.rs",
    "src/io/socket/headers.rs",
    "tests/no_allocation.rs", // an allocator that counts; nothing else can see what a tick takes from the heap
];

fn sources(folders: &[&str]) -> Vec<(String, String)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    folders.iter().for_each(|folder| walk(&Path::new(ROOT).join(folder), &mut files));
    files.sort();
    assert!(!files.is_empty());
    let relative = |path: &PathBuf| path.strip_prefix(ROOT).unwrap().display().to_string();
    files.iter().map(|path| (relative(path), fs::read_to_string(path).unwrap())).collect()
}

/// The paths behind `crate::` in code, as `a::b`.
fn crate_paths(text: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut paths = BTreeSet::new();
    for line in code {
        for (at, _) in line.match_indices("crate::") {
            let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            let path: String = line[at + 7..].chars().take_while(|&c| is_path(c)).collect();
            paths.insert(path.trim_end_matches(':').to_owned());
        }
    }
    paths
}

#[test]
fn modules_import_only_what_they_may() {
    for (file, text) in sources(&["src"]) {
        let module = file["src/".len()..].split(['/', '.']).next().unwrap().to_owned();
        if module == "lib" || module == "main" {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == module) else {
            panic!("{file}: module {module} has no row in MAY_IMPORT")
        };
        // Tests at the end of a file may look at anything.
        let code = text.split("#[cfg(test)]").next().unwrap().split("#[cfg(all(test").next().unwrap();
        if file.ends_with("/tests.rs") {
            continue;
        }
        for path in crate_paths(code) {
            let target = path.split("::").next().unwrap();
            let is_foundation = FOUNDATIONS.iter().any(|f| path == *f || path.starts_with(&format!("{f}::")));
            let of_config = path == "config" && code.contains("config::limits");
            assert!(
                target == module || is_foundation || of_config || allowed.contains(&target),
                "{file}: {module} may not import {path}"
            );
        }
    }
}

#[test]
fn memory_and_policy_know_of_the_table_only_how_to_prefetch() {
    for (file, text) in sources(&["src/memory", "src/policy"]) {
        for path in crate_paths(&text).iter().filter(|path| path.starts_with("table")) {
            assert!(path.starts_with("table::prefetch"), "{file}: {path}");
        }
    }
}

#[test]
fn unsafe_lives_in_its_rooms() {
    for (file, text) in sources(&["src", "numa/src", "tests", "benches"]) {
        if file == "tests/tidy.rs" {
            continue; // It speaks of it.
        }
        let code = text.lines().map(|line| line.split("//").next().unwrap());
        let has_unsafe = code.clone().any(|line| {
            ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"].iter().any(|word| line.contains(word))
        });
        let is_room = UNSAFE_ROOMS.iter().any(|room| file.starts_with(room));
        assert!(!has_unsafe || is_room, "{file} has unsafe code outside the rooms for it");
    }
}

#[test]
fn files_are_short_and_begin_with_their_page() {
    for (file, text) in sources(&["src", "numa/src", "tests", "benches"]) {
        let lines = text.lines().count();
        assert!(lines <= 500, "{file} has {lines} lines; 500 is the most");
        assert!(text.starts_with("//!") || text.starts_with("#!["), "{file} does not begin with its page");
    }
}

#[test]
fn atomics_come_from_sync() {
    // Memory that is lent to others as it is, the kernel's words, and figures for people.
    let own = ["src/sync.rs", "src/memory/item/", "src/io/uring/buffers.rs", "src/cli/", "src/load/"];
    for (file, text) in sources(&["src"]) {
        let code = text.split("#[cfg(test)]").next().unwrap();
        let from_std = code.contains("std::sync::atomic") || code.contains("core::sync::atomic");
        assert!(
            !from_std || own.iter().any(|room| file.starts_with(room)),
            "{file}: atomics come from crate::sync"
        );
    }
}

#[test]
fn no_lock_and_no_map_of_std_on_the_data_path() {
    for (file, text) in sources(&["src/table", "src/memory", "src/shard", "src/worker", "src/ring", "src/io"])
    {
        let code = text.split("#[cfg(test)]").next().unwrap();
        // The models' queue is no part of the product.
        if file.ends_with("tests.rs") || file == "src/ring/model.rs" {
            continue;
        }
        for word in ["Mutex", "RwLock", "HashMap", "BTreeMap"] {
            let used = code.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word));
            assert!(!used, "{file} uses {word}");
        }
    }
}

#[test]
fn every_atomic_has_a_row() {
    let rows = fs::read_to_string(Path::new(ROOT).join("docs/concurrency.md")).unwrap();
    for (file, text) in sources(&["src"]) {
        let code = text.split("#[cfg(test)]").next().unwrap();
        let declares = |line: &str| {
            let line = line.trim_start();
            !line.starts_with("//")
                && !line.starts_with("use ")
                && ["AtomicBool", "AtomicU32", "AtomicU64"].iter().any(|atomic| {
                    line.contains(&format!(": {atomic}")) || line.contains(&format!("<{atomic}>,"))
                })
        };
        if file != "src/sync.rs" && !file.ends_with("tests.rs") && code.lines().any(declares) {
            let name = file.strip_prefix("src/").unwrap();
            assert!(
                rows.contains(name),
                "{file} declares an atomic; docs/concurrency.md has no row for {name}"
            );
        }
    }
}
