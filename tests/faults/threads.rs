//! A user, or a control group, that may have no more threads: one line, and no panic with its trace.

use crate::support::program::{Program, SMALL, has, sherwood};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

/// A place where the program can be run by somebody who may have few threads.
struct Place {
    user: String,
    folder: tempfile::TempDir,
}

impl Place {
    /// None, with a line that says so, where there is no such user to be had: limits of threads do not bind root.
    fn new(number: u32) -> Option<Place> {
        if !has("prlimit") || !has("setpriv") || std::fs::metadata("/proc/self").unwrap().uid() != 0 {
            println!("SKIPPED: only root becomes another user, whose threads can be limited");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(sherwood().get_program(), folder.path().join("sherwood")).unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
        // A user who has no other processes.
        let user = format!("--reuid={}", 1_000_000_000 + 10 * std::process::id() + number);
        Some(Place { user, folder })
    }

    /// The program with so many threads at most.
    fn run(&self, threads_max: usize, arguments: &[&str]) -> Program {
        let mut command = Command::new("setpriv");
        command.args([
            &self.user,
            "--clear-groups",
            "--",
            "prlimit",
            &format!("--nproc={threads_max}"),
            "--",
        ]);
        command.arg(self.folder.path().join("sherwood")).args(arguments);
        Program::run(command)
    }
}

/// Waits for the end; whether it went well. If not, one line said why.
fn ends_well(program: Program, threads_max: usize) -> bool {
    let (status, rest, _) = program.wait();
    assert!(!rest.contains("panicked") && !rest.contains("backtrace"), "{threads_max} threads: {rest}");
    if !status.success() {
        assert_eq!(status.code(), Some(1), "{threads_max} threads: {rest}");
        let lines: Vec<&str> = rest.lines().filter(|line| line.starts_with("sherwood: cannot")).collect();
        assert!(lines.len() == 1 && lines[0].contains("pids.max"), "{threads_max} threads: {rest}");
    }
    status.success()
}

#[test]
fn a_server_that_gets_no_thread_does_not_start() {
    let Some(place) = Place::new(0) else { return };
    let arguments = [SMALL, &["--metrics", "127.0.0.1:0", "--hist-log", "/dev/null"]].concat();
    let starts = |threads_max| {
        let program = place.run(threads_max, &arguments);
        if program.ready_or_refused().is_some() {
            assert!(program.terminate().0.success());
            return true;
        }
        assert!(!ends_well(program, threads_max));
        false
    };
    let least = (1..=10).find(|threads_max| starts(*threads_max)).expect("ten threads are enough");
    assert!(least > 3, "the limit is not kept");
}

/// Those that had begun once ran to the end of the load before the error was told.
#[test]
fn a_load_that_gets_no_thread_ends_at_once() {
    let Some(place) = Place::new(1) else { return };
    let server = Program::serve(&[]);
    let target = server.ready().to_string();
    let load = ["load", "--target", &target, "--keys", "10", "--warmup", "0s", "--threads", "3"];
    for threads_max in 1..=3 {
        let arguments = [&load[..], &["--connections", "3", "--duration", "1h"]].concat();
        assert!(!ends_well(place.run(threads_max, &arguments), threads_max), "{threads_max} are too few");
    }
    let arguments = [&load[..], &["--connections", "3", "--duration", "100ms"]].concat();
    assert!(ends_well(place.run(10, &arguments), 10));
    assert!(server.terminate().0.success());
}

/// The thread that is there does all of the work.
#[test]
fn a_curve_needs_no_second_thread() {
    let Some(place) = Place::new(2) else { return };
    let trace = place.folder.path().join("few.txt");
    std::fs::write(&trace, "a\nb\na\nc\n".repeat(10)).unwrap();
    let (trace, folder) = (trace.display().to_string(), place.folder.path().display().to_string());
    let curve = ["simulate", "--trace", &trace, "--items", "10", "--curve", "--curve-dir", &folder];
    assert!(ends_well(place.run(1, &curve), 1));
    assert!(place.folder.path().join("few.txt.curve.csv").exists());
}
