//! Histogram logs: what `load --out` leaves behind whatever ends it, and what `hist` makes of the logs that there are.

use crate::server::{Faults, Server};
use crate::support::program::{self, PATIENCE};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

/// 900 events of 30 µs, 99 of 1 ms and one of 9 ms.
const LINE: &str =
    "0.100,1.000,9.0,HISTFAAAACx4nJNpmSzMwMDAyQABTBDKT4GB0zST3YmBwf4DRISxg6/0GONUViYAfo0GTg==\n";

fn hist(arguments: &[&OsStr]) -> Output {
    program::sherwood().arg("hist").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn written(path: PathBuf, log: &[u8]) -> PathBuf {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, log).unwrap();
    path
}

#[test]
fn files_of_one_name_are_told_apart_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| written(folder.path().join(name), LINE.as_bytes());
    let (a, b, page) = (file("a/run.hlog"), file("b/run.hlog"), folder.path().join("page.html"));
    for flags in [&[][..], &["--compare"], &["--percentiles"]] {
        let mut all = vec![a.as_os_str(), b.as_os_str(), OsStr::new("--html"), page.as_os_str()];
        all.extend(flags.iter().map(OsStr::new));
        let output = hist(&all);
        let shown = text(&output.stdout);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(shown.contains("a/run") && shown.contains("b/run"), "{flags:?}: {shown}");
        let html = std::fs::read_to_string(&page).unwrap();
        assert!(html.contains("\"a/run\"") && html.contains("\"b/run\""));
    }
    let strange = [b"\xff.hlog", b"\xfe.hlog"].map(|name| folder.path().join(OsStr::from_bytes(name)));
    strange.iter().for_each(|path| drop(written(path.clone(), LINE.as_bytes())));
    let shown = text(&hist(&[strange[0].as_os_str(), strange[1].as_os_str()]).stdout);
    assert!(shown.contains("\u{fffd} (2)"), "{shown}");
}

#[test]
fn a_log_that_is_cut_or_odd_shows_the_rest_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let log = format!("#[StartTime: 5]\n{LINE}what is this?\n{LINE}{}", &LINE[..60]);
    let file = written(folder.path().join("cut.hlog"), log.as_bytes());
    let output = hist(&[file.as_os_str()]);
    let (shown, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && shown.contains("2 000"), "{shown}{said}");
    assert!(said.contains("cut.hlog: 2 lines of 5 are left out; the first is line 3: "), "{said}");
    // Without a single good line there is nothing to show.
    let file = written(folder.path().join("none.hlog"), &LINE.as_bytes()[..60]);
    let output = hist(&[file.as_os_str()]);
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("none.hlog: line 1: "), "{said}");
    assert!(said.contains("cut"), "{said}");
    let output = hist(&[OsStr::new("/")]);
    assert!(text(&output.stderr).starts_with("sherwood: /: "), "{}", text(&output.stderr));
}

#[test]
fn standard_input_is_read_and_endless_input_is_left() {
    let fed = |feed: &dyn Fn(&mut dyn Write)| {
        let mut command = program::sherwood();
        command.args(["hist", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        feed(&mut child.stdin.take().unwrap());
        child.wait_with_output().unwrap()
    };
    let output = fed(&|stdin| stdin.write_all(LINE.as_bytes()).unwrap());
    assert!(output.status.success() && text(&output.stdout).contains("stdin"), "{}", text(&output.stderr));
    for endless in [&b"y\n"[..], &[0; 100]] {
        let output = fed(&|stdin| while stdin.write_all(endless).is_ok() {});
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("standard input: line 1: "), "{}", text(&output.stderr));
    }
    let output = hist(&[OsStr::new("/dev/zero")]);
    let said = text(&output.stderr);
    assert!(
        output.status.code() == Some(1) && said.contains("/dev/zero: line 1: it has more than"),
        "{said}"
    );
}

/// A long run that writes a log, as soon as three intervals are in it.
fn long_run(server: &Server, log: &Path, arguments: &[&str]) -> Child {
    let target = server.address.to_string();
    let mut command = program::sherwood();
    command.args(["load", "--target", &target, "--keys", "100", "--warmup", "0s", "--duration", "20s"]);
    command.args(["--rate", "1000", "--out"]).arg(log).args(arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let until = Instant::now() + PATIENCE;
    let lines = || std::fs::read(log).unwrap_or_default().iter().filter(|&&b| b == b'\n').count();
    while lines() < 5 + 3 {
        assert!(Instant::now() < until, "no intervals");
        std::thread::yield_now();
    }
    child
}

#[test]
fn a_log_is_readable_while_it_is_written_and_after_the_writer_was_killed() {
    let server = Server::start(Faults::default());
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("k.hlog");
    let mut child = long_run(&server, &log, &[]);
    let while_written = hist(&[log.as_os_str()]);
    child.kill().unwrap();
    child.wait().unwrap();
    for output in [while_written, hist(&[log.as_os_str()])] {
        assert!(
            output.status.success() && text(&output.stdout).contains("k get"),
            "{}",
            text(&output.stderr)
        );
    }
    let bytes = std::fs::read(&log).unwrap();
    assert!(bytes.starts_with(b"#[Histogram log format version 1.3]\n") && bytes.ends_with(b"\n"));
    assert!(hist(&[log.as_os_str()]).stderr.is_empty());
}

#[test]
fn every_polite_signal_ends_a_run_with_its_result() {
    for signal in [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT] {
        let server = Server::start(Faults::default());
        let folder = tempfile::tempdir().unwrap();
        let (log, json) = (folder.path().join("s.hlog"), folder.path().join("s.json"));
        let child = long_run(&server, &log, &["--json", json.to_str().unwrap()]);
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{signal}: {}", text(&output.stderr));
        assert!(text(&output.stdout).contains("open loop"), "{}", text(&output.stdout));
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
        assert!(json["seconds"].as_f64().unwrap() < 20.0, "{signal}: {json}");
    }
}

#[test]
fn a_full_disk_costs_the_log_its_intervals_and_the_run_nothing() {
    let server = Server::start(Faults::default());
    let target = server.address.to_string();
    let run = |mut command: Command, out: &Path| {
        command.args(["load", "--target", &target, "--keys", "100", "--warmup", "0s", "--duration", "1s"]);
        command.args(["--rate", "500", "--json", "-", "--out"]).arg(out).output().unwrap()
    };
    // Nothing fits: that is told before the run.
    let output = run(program::sherwood(), Path::new("/dev/full"));
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("--out /dev/full: No space left"), "{said}");
    assert!(output.stdout.is_empty());
    if !program::has("prlimit") {
        return;
    }
    // The head fits, and some intervals.
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("full.hlog");
    let mut command = Command::new("prlimit");
    command.args(["--fsize=1200", "--"]).arg(program::sherwood().get_program());
    let output = run(command, &log);
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("intervals are missing: "), "{said}");
    assert!(serde_json::from_slice::<serde_json::Value>(&output.stdout).is_ok(), "{}", text(&output.stdout));
    assert!(std::fs::read(&log).unwrap().ends_with(b"\n"));
    let shown = hist(&[log.as_os_str()]);
    assert!(shown.status.success() && shown.stderr.is_empty(), "{}", text(&shown.stderr));
}
