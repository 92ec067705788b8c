//! What to call files: by as much of their paths as tells them apart.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

/// A name for each path: its last parts, without an ending where the rest is enough; as few parts as no other path has. The same
/// path again, or one that reads the same, gets a number.
pub fn tell_apart(paths: &[PathBuf]) -> Vec<String> {
    let mut counted: HashMap<String, usize> = HashMap::new();
    let mut names = shortest(paths);
    for name in &mut names {
        let times = counted.entry(name.clone()).or_default();
        *times += 1;
        if *times > 1 {
            *name += &format!(" ({times})");
        }
    }
    names
}

fn shortest(paths: &[PathBuf]) -> Vec<String> {
    let most = paths.iter().map(|path| path.components().count()).max().unwrap_or(0);
    let mut names: Vec<Option<String>> = vec![None; paths.len()];
    for (with_ending, parts) in
        [false, true].into_iter().flat_map(|e| (1..=most).map(move |parts| (e, parts)))
    {
        let told: Vec<String> = paths.iter().map(|path| last_parts(path, parts, with_ending)).collect();
        let mut times: HashMap<&str, usize> = HashMap::new();
        told.iter().for_each(|name| *times.entry(name).or_default() += 1);
        for (name, told) in names.iter_mut().zip(&told) {
            if times[told.as_str()] == 1 {
                name.get_or_insert_with(|| told.clone());
            }
        }
    }
    // What no part tells apart is the same path, or differs in bytes that are no text.
    let or_last =
        |(name, path): (Option<String>, &PathBuf)| name.unwrap_or_else(|| last_parts(path, 1, false));
    names.into_iter().zip(paths).map(or_last).collect()
}

fn last_parts(path: &Path, parts: usize, with_ending: bool) -> String {
    let all: Vec<Component> = path.components().collect();
    let mut last: PathBuf = all[all.len().saturating_sub(parts)..].iter().collect();
    if !with_ending {
        last.set_extension("");
    }
    printable(&last.to_string_lossy())
}

/// Text of strangers without the characters that move a terminal's cursor or change its colours.
pub fn printable(text: &str) -> String {
    let safe = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    fn told(paths: &[&str]) -> Vec<String> {
        tell_apart(&paths.iter().map(PathBuf::from).collect::<Vec<_>>())
    }

    #[test]
    fn as_much_of_the_path_as_tells_files_apart() {
        assert_eq!(told(&["x/a.hlog", "y/b.hlog"]), ["a", "b"]);
        assert_eq!(told(&["a/run.hlog", "b/run.hlog", "c/other.hlog"]), ["a/run", "b/run", "other"]);
        assert_eq!(told(&["/1/a/run.hlog", "/2/a/run.hlog"]), ["1/a/run", "2/a/run"]);
        assert_eq!(told(&["run.hlog", "run.log"]), ["run.hlog", "run.log"]);
        assert_eq!(told(&["run.hlog", "a/run.hlog"]), ["run", "a/run"]);
        assert_eq!(told(&["a.hlog", "a.hlog", "a.hlog"]), ["a", "a (2)", "a (3)"]);
        assert_eq!(told(&["a/run.1.hlog", "a/run.2.hlog"]), ["run.1", "run.2"]);
    }

    #[test]
    fn names_that_are_no_text_are_shown_and_told_apart() {
        let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        let names = tell_apart(&[path(b"\xff.hlog"), path(b"\xfe.hlog"), path(b"r\xffn.hlog")]);
        assert_eq!(names, ["\u{fffd}", "\u{fffd} (2)", "r\u{fffd}n"]);
        assert_eq!(told(&["\x1b[2Ja.hlog"]), ["\\u{1b}[2Ja"]);
    }
}
