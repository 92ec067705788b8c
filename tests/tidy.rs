//! What can be checked of the style is checked here: who imports whom, where unsafe lives, how long files and functions are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A folder of sources, its rooms, and what each of them may import beside itself: rooms of the same crate, and other crates
/// of the workspace by their names.
struct House {
    sources: &'static str,
    rooms: &'static [(&'static str, &'static [&'static str])],
    /// What every room may import.
    foundations: &'static [&'static str],
}

/// What crates forbid needs no row: `cache` and `protocol` know nothing of each other, and nothing of the server.
const HOUSES: &[House] = &[
    House {
        sources: "src",
        rooms: &[
            ("cli", &["config", "server", "load", "stats", "protocol"]),
            ("server", &["config", "worker", "session", "guard", "net", "stats", "protocol"]),
            ("load", &["config", "net", "stats", "protocol"]),
            ("config", &["worker", "guard", "net"]),
            ("worker", &["session", "guard", "net", "stats::counters"]),
            ("session", &["guard", "udp", "net", "protocol", "stats::counters", "stats::times"]),
            ("guard", &["udp", "net", "protocol", "stats::counters"]),
            ("udp", &["net", "protocol"]),
            ("net", &[]),
            ("stats", &[]),
        ],
        foundations: &["VERSION", "limits", "cache", "numa"],
    },
    House {
        sources: "cache/src",
        rooms: &[
            ("builder", &["reader", "shard", "policy", "table", "memory", "ring"]),
            ("reader", &["shard", "table", "memory"]),
            ("shard", &["table", "memory", "ring"]),
            ("policy", &["ring"]),
            ("table", &["memory"]),
            ("memory", &[]),
            ("ring", &[]),
            ("base", &[]),
        ],
        foundations: &["base", "limits", "numa", "counters", "figure"],
    },
];

/// Where the product's code is.
const SOURCES: &[&str] = &["src", "cache/src", "protocol/src"];

/// The files that may say `unsafe`.
const UNSAFE_ROOMS: &[&str] = &[
    "numa/src/region.rs",
    "numa/src/bind.rs",
    "cache/src/memory/item/",
    "cache/src/memory/slab.rs", // the owner reads its own pages, and makes slots that are its alone
    "cache/src/shard/view.rs",  // a pinned thread reads what it found
    "cache/src/table/simd.rs",
    "benches/table/field.rs", // REF reads items without a table's look
    "cache/src/base/prefetch.rs",
    "src/net/uring/",
    "src/net/mmsg/",
    "src/net/socket/headers.rs",
    "src/net/socket/connection.rs", // one ioctl
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

/// The paths in code that lead to other rooms or crates of the workspace, without `crate::`.
fn paths(code: &str) -> BTreeSet<String> {
    const STARTS: [&str; 4] = ["crate::", "cache::", "protocol::", "numa::"];
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut paths = BTreeSet::new();
    for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for word in
            line.split(|c| !is_path(c)).filter(|word| STARTS.iter().any(|start| word.starts_with(start)))
        {
            let path = word.strip_prefix("crate::").unwrap_or(word);
            paths.insert(path.trim_end_matches(':').to_owned());
        }
    }
    paths
}

/// The code of a file without the tests at its end, which may look at anything.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap().split("#[cfg(all(test").next().unwrap()
}

#[test]
fn rooms_import_only_what_they_may() {
    for house in HOUSES {
        for (file, text) in sources(&[house.sources]) {
            let room = file[house.sources.len() + 1..].split(['/', '.']).next().unwrap().to_owned();
            let is_test = file.ends_with("/tests.rs") || file.contains("/tests/");
            if ["lib", "main", "limits"].contains(&room.as_str()) || is_test {
                continue;
            }
            let Some((_, allowed)) = house.rooms.iter().find(|(name, _)| *name == room) else {
                panic!("{file}: room {room} has no row in HOUSES")
            };
            for path in paths(without_tests(&text)) {
                let target = path.split("::").next().unwrap();
                let starts_with = |f: &&str| path == **f || path.starts_with(&format!("{f}::"));
                let is_allowed = house.foundations.iter().chain(*allowed).any(starts_with);
                assert!(target == room || is_allowed, "{file}: {room} may not import {path}");
            }
        }
    }
}

#[test]
fn a_house_has_no_circles() {
    for House { rooms, .. } in HOUSES {
        for (at, (room, allowed)) in rooms.iter().enumerate() {
            let is_above = |other: &&&str| rooms[..at].iter().any(|(above, _)| above == *other);
            let back = allowed.iter().find(is_above);
            assert!(back.is_none(), "{room} imports {back:?}, which stands above it");
        }
    }
}

#[test]
fn unsafe_lives_in_its_rooms() {
    for (file, text) in sources(&["src", "cache", "protocol/src", "numa/src", "tests", "benches"]) {
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
    for (file, text) in sources(&["src", "cache", "protocol/src", "numa/src", "tests", "benches"]) {
        let lines = text.lines().count();
        assert!(lines <= 500, "{file} has {lines} lines; 500 is the most");
        assert!(text.starts_with("//!") || text.starts_with("#!["), "{file} does not begin with its page");
    }
}

/// Lines of the longest function, its signature included.
const FUNCTION_LINES_MAX: usize = 60;

/// The functions of a file without its tests: their names and lengths in lines. It relies on the layout of `cargo fmt`: an
/// item ends with the first line that is indented as its first line is, and closes it.
fn functions(text: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim_start();
        if line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test") {
            at = end_of_item(&lines, at + 1);
            continue;
        }
        if let Some(name) = function_name(line) {
            found.push((name, end_of_item(&lines, at) - at));
        }
        at += 1;
    }
    found
}

/// The line behind the item that begins at line `start`.
fn end_of_item(lines: &[&str], start: usize) -> usize {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut rest = lines.iter().enumerate().skip(start);
    let closes = |line: &str| {
        let is_level = !line.is_empty() && indent(line) == indent(lines[start]);
        is_level && (line.ends_with(';') || line.ends_with('}'))
    };
    rest.find(|(_, line)| closes(line)).map_or(lines.len(), |(at, _)| at + 1)
}

/// The name of the function that a line begins, if it begins one.
fn function_name(line: &str) -> Option<&str> {
    let (before, behind) = line.split_once("fn ")?;
    // `pub(in crate::net)` is two words.
    let is_qualifier = |word: &str| {
        ["const", "async", "unsafe", "extern", "\"C\"", "pub"].contains(&word)
            || word.starts_with("pub(")
            || word.ends_with(')')
    };
    let begins = before.is_empty() || before.ends_with(' ');
    let is_function = begins && before.split_whitespace().all(is_qualifier);
    is_function.then(|| behind.split(['(', '<']).next().unwrap())
}

#[test]
fn functions_are_measured() {
    let text = "\
fn one_line() {}
trait Port {
    fn declared(&self) -> u32;
    fn turn(
        &mut self,
        inbox: &mut Inbox,
    ) -> Result<()>;
}
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests {
    fn of_a_test() {
    }
}
pub(in crate::net) const unsafe fn long<P: Port>(
    port: P,
) -> u32 {
    match port {
        _ => {}
    }

    if_fn ()
}
";
    let measured = functions(text);
    assert_eq!(measured, [("one_line", 1), ("declared", 1), ("turn", 4), ("long", 9)]);
}

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for (file, text) in sources(&["src", "cache/src", "protocol/src", "numa/src", "benches"]) {
        if file.ends_with("tests.rs") || file.contains("/tests/") {
            continue;
        }
        let over = functions(&text).into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES_MAX);
        long.extend(over.map(|(name, lines)| format!("{file}: {name} has {lines} lines")));
    }
    assert!(long.is_empty(), "{FUNCTION_LINES_MAX} lines is the most:\n{}", long.join("\n"));
}

/// `println!` panics where the reader is gone or the disk is full.
#[test]
fn everything_is_printed_in_one_place() {
    const MACROS: [&str; 4] = ["println!(", "print!(", "eprintln!(", "eprint!("];
    // The ready line goes out whoever listens; `top` asks for a terminal, and draws on it.
    const OWN: [&str; 4] =
        ["src/cli/out.rs", "src/cli/serve.rs", "src/cli/top.rs", "src/cli/top/terminal.rs"];
    for (file, text) in sources(&["src", "cache/src", "protocol/src", "numa/src"]) {
        if file.ends_with("tests.rs") || file.contains("/tests/") {
            continue;
        }
        let code = without_tests(&text).lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            let by_macro = MACROS.iter().any(|name| line.contains(name));
            assert!(!by_macro, "{file} prints by itself; cli/out.rs is for that: {line}");
            let has_stdout = line.contains("stdout()") && !OWN.contains(&file.as_str());
            assert!(!has_stdout, "{file} writes to standard output; cli/out.rs is for that: {line}");
        }
    }
}

#[test]
fn atomics_come_from_sync() {
    // Memory that is lent to others as it is, the kernel's words, and figures for people.
    let own = [
        "cache/src/base/sync.rs",
        "cache/src/memory/item/",
        "cache/src/memory/slab.rs", // the owner reads its own pages, and makes slots that are its alone
        "cache/src/shard/view.rs",  // a pinned thread reads what it found
        "src/net/uring/buffers.rs",
        "src/cli/",
        "src/load/",
    ];
    for (file, text) in sources(SOURCES) {
        let code = text.split("#[cfg(test)]").next().unwrap();
        let from_std = code.contains("std::sync::atomic") || code.contains("core::sync::atomic");
        assert!(
            !from_std || own.iter().any(|room| file.starts_with(room)),
            "{file}: atomics come from base::sync"
        );
    }
}

#[test]
fn no_lock_and_no_map_of_std_on_the_data_path() {
    const DATA_PATH: &[&str] = &[
        "cache/src/table",
        "cache/src/memory",
        "cache/src/shard",
        "cache/src/ring",
        "protocol/src",
        "src/session",
        "src/guard",
        "src/worker",
        "src/net",
    ];
    for (file, text) in sources(DATA_PATH) {
        let code = text.split("#[cfg(test)]").next().unwrap();
        // The models' queue is no part of the product.
        if file.ends_with("tests.rs") || file.contains("/tests/") || file == "cache/src/ring/model.rs" {
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
    for (file, text) in sources(SOURCES) {
        let code = text.split("#[cfg(test)]").next().unwrap();
        let declares = |line: &str| {
            let line = line.trim_start();
            !line.starts_with("//")
                && !line.starts_with("use ")
                && ["AtomicBool", "AtomicU32", "AtomicU64"].iter().any(|atomic| {
                    line.contains(&format!(": {atomic}")) || line.contains(&format!("<{atomic}>,"))
                })
        };
        if file != "cache/src/base/sync.rs" && !file.ends_with("tests.rs") && code.lines().any(declares) {
            let name = file.split_once("src/").unwrap().1;
            assert!(
                rows.contains(name),
                "{file} declares an atomic; docs/concurrency.md has no row for {name}"
            );
        }
    }
}

/// A mistake that no build has would be "found" by a model that finds nothing.
#[test]
fn mutants_of_the_models_are_those_of_the_code() {
    let script = fs::read_to_string(Path::new(ROOT).join("scripts/models")).unwrap();
    let list = script.split("mutants='").nth(1).unwrap().split('\'').next().unwrap();
    let named: BTreeSet<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let (mut built, mut asked) = (BTreeSet::new(), BTreeSet::new());
    for (_, text) in sources(&["cache/src"]) {
        let names = |mark: &str| {
            let behind = text.split(mark).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
            behind.collect::<Vec<_>>()
        };
        let cfgs = names("sherwood_mutant = \"");
        asked.extend(names("mutant::is(\""));
        asked.extend(cfgs.iter().filter(|_| text.contains("#[cfg(sherwood_mutant")).cloned());
        built.extend(cfgs);
    }
    assert_eq!(built.iter().map(String::as_str).collect::<BTreeSet<_>>(), named);
    assert_eq!(asked, built);
}
