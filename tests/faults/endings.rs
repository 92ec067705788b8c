//! How a server ends: by a panic at once and loudly, by a signal in bounded time, and not by a log that cannot be written.

use crate::support::client::Client;
use crate::support::program::{PATIENCE, Program, SMALL, has, limit, limited};
use clap::Parser;
use nix::sys::signal::Signal;
use sherwood::cli::{Cli, panics};
use sherwood::stats::view::{self, Unit};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Says to the next test that it is the child of the one after it.
const CHILD: &str = "SHERWOOD_TEST_PANICS";

/// `sherwood serve` as the command line runs it, in this process, and a thread beside it that panics once a worker is there.
#[test]
fn a_server_beside_a_thread_that_panics() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let name_of =
        |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    let has_worker = move || {
        std::fs::read_dir("/proc/self/task").unwrap().flatten().any(|task| name_of(task) == "worker-0\n")
    };
    let panicking = std::thread::Builder::new().name("of-a-test".into());
    panicking
        .spawn(move || {
            while !has_worker() {
                std::thread::yield_now();
            }
            panic!("the moon\nis full");
        })
        .unwrap();
    // It serves until the end of the process.
    let _ = Cli::parse_from([&["sherwood"], SMALL].concat()).run();
    unreachable!("the server ended by itself");
}

#[test]
fn a_panic_in_any_thread_ends_the_server_loudly() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "endings::a_server_beside_a_thread_that_panics", "--nocapture"]);
    command.env(CHILD, "1").env_remove("RUST_BACKTRACE");
    let program = Program::run(command);
    let line = program.says("panicked");
    assert!(line.starts_with("sherwood: thread of-a-test panicked at tests/faults/endings.rs:"), "{line}");
    assert!(line.contains(": the moon is full; the server ends"), "{line}");
    let (status, rest, took) = program.wait();
    assert_eq!(status.code(), Some(panics::EXIT_CODE), "{rest}");
    assert!(rest.is_empty(), "one line, and then {rest}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// Ctrl-C reaches a server and the launcher above it, which passes it on. The second one ended the server before it had drained.
#[test]
fn a_wish_that_comes_twice_is_one_wish() {
    for (first, second) in [(Signal::SIGINT, Signal::SIGTERM), (Signal::SIGTERM, Signal::SIGTERM)] {
        let program = Program::serve(&[]);
        program.ready();
        program.signal(first);
        program.signal(second);
        let (status, rest, _) = program.wait();
        assert_eq!((status.code(), rest.contains("stopped")), (Some(0), false), "{first}, {second}: {rest}");
    }
}

#[test]
fn every_thread_of_a_server_has_a_name() {
    let program = Program::serve(&["--metrics", "127.0.0.1:0", "--hist-log", "/dev/null"]);
    program.ready();
    let names = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", program.pid())).unwrap();
        let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
        // The kernel's own have none of ours, and the policy has a thread where there is a CPU for it.
        let is_ours = |name: &String| !name.starts_with("iou-") && name != "policy";
        let mut names: Vec<_> = names.map(|name| name.trim().to_owned()).filter(is_ours).collect();
        names.sort();
        names
    };
    // A thread names itself when it first runs, which on a busy machine may be after the ready line.
    let began = Instant::now();
    while names() != ["hist-log", "metrics", "sherwood", "signals", "worker-0"] {
        assert!(began.elapsed() < PATIENCE, "{:?}", names());
        std::thread::yield_now();
    }
    assert!(program.terminate().0.success());
}

#[test]
fn nobody_who_reads_its_lines_ends_no_server() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = crate::support::program::sherwood();
    command.args([SMALL, &["--metrics", "127.0.0.1:0"]].concat());
    let program = Program::run_with_stdout(command, writer.into());
    let line = program.says("metrics on http://");
    let addr: SocketAddr = line.split(['/', ' ']).find_map(|word| word.parse().ok()).expect("an address");
    // It serves, some time after it could not say so.
    for _ in 0..20 {
        let mut answer = String::new();
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    let (status, rest, _) = program.terminate();
    assert_eq!(status.code(), Some(0), "{rest}");
}

/// Outputs that nobody takes: a closed pipe has read enough, a full disk is said in one line, and nothing is a panic.
#[test]
fn outputs_that_cannot_be_written_are_no_panic() {
    let run = |arguments: &[&str], out: Stdio, err: Stdio| {
        let mut command = crate::support::program::sherwood();
        let child = command.args(arguments).stdout(out).stderr(err).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let full = || Stdio::from(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let closed = || Stdio::from(std::io::pipe().unwrap().1);
    for arguments in [&["serve", "--print-config"][..], &["topo"], &["topo", "--json"]] {
        assert_eq!(run(arguments, closed(), Stdio::piped()), (Some(0), String::new()), "{arguments:?}");
        let (code, error) = run(arguments, full(), Stdio::piped());
        assert_eq!((code, error.lines().count()), (Some(1), 1), "{arguments:?}: {error}");
        assert!(error.contains("standard output: No space left on device"), "{error}");
    }
    for err in [full(), closed()] {
        let wrong = ["serve", "--memory", "1MiB"];
        assert_eq!(run(&wrong, Stdio::piped(), err).0, Some(1), "the code is that of the error");
    }
}

#[test]
fn a_log_on_a_full_disk_is_said_at_once_and_the_cache_goes_on() {
    let program = Program::serve(&["--hist-log", "/dev/full"]);
    let addr = program.ready();
    let line = program.says("--hist-log /dev/full");
    assert!(line.contains("No space left on device") && line.contains("the cache goes on"), "{line}");
    until_failures(addr, 2);
    assert!(program.said().iter().all(|line| !line.contains("hist-log")), "it is said once");
    let (status, rest, _) = program.terminate();
    assert_eq!(status.code(), Some(1));
    assert!(rest.contains("the log of --hist-log is incomplete"), "{rest}");
}

#[test]
fn a_log_that_may_not_grow_kills_nobody_and_goes_on_when_it_may() {
    if !has("prlimit") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("serve.hlog");
    let path = file.display().to_string();
    let arguments = [SMALL, &["--watch-one-in", "1", "--hist-log", &path]].concat();
    // Room for the head and a piece of a line; the write that reaches the limit is cut there.
    let program = Program::run(limited(&["--fsize=300:"], &arguments));
    let addr = program.ready();
    let mut client = Client::new(addr);
    let mut asked = 0;
    let began = Instant::now();
    while failures(addr) < 2 {
        assert!(client.ask(b"get a\r\n").is_some(), "the cache goes on");
        asked += 1;
        assert!(began.elapsed() < PATIENCE);
    }
    assert!(std::fs::metadata(&file).unwrap().len() <= 300);
    limit(program.pid(), &["--fsize=unlimited:"]);
    let (status, rest, _) = program.terminate();
    assert!(status.success(), "{rest}");
    // Nothing of the time in between is lost, and no line is cut.
    let series = view::read(&file, Unit::Ns).unwrap();
    let get = series.iter().find(|series| series.tag == "get").expect("gets were timed");
    assert!(get.total.len() >= asked, "{} of {asked} gets", get.total.len());
}

/// Each once ended the server at once, and the cache with it.
#[test]
fn no_signal_but_those_to_end_ends_a_server() {
    use Signal::*;
    let program = Program::serve(&[]);
    let addr = program.ready();
    assert_eq!(Client::new(addr).ask(b"set a 0 0 1\r\nx\r\n").unwrap(), b"STORED\r\n");
    for signal in [SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGSTKFLT] {
        program.signal(signal);
        let line = program.says(signal.as_str());
        assert!(line.contains("SIGTERM ends the server"), "{line}");
    }
    // These are about its writes, and nothing is said of them.
    for signal in [SIGPIPE, SIGXFSZ, SIGTTOU, SIGWINCH, SIGURG, SIGCHLD, SIGCONT] {
        program.signal(signal);
    }
    assert!(Client::new(addr).ask(b"get a\r\n").unwrap().starts_with(b"VALUE a 0 1\r\nx"));
    let (status, rest, _) = program.terminate();
    assert_eq!((status.code(), rest.as_str()), (Some(0), ""));
}

/// What an operator who wants a core dump gets.
#[test]
fn sigquit_and_sigabrt_end_a_server_at_once() {
    for signal in [Signal::SIGQUIT, Signal::SIGABRT] {
        if !has("prlimit") {
            return;
        }
        let program = Program::run(limited(&["--core=0"], SMALL));
        program.ready();
        program.signal(signal);
        let (status, ..) = program.wait();
        assert_eq!(status.signal(), Some(signal as i32));
    }
}

/// What logrotate does: the file is moved, the server is told, and a new one with a head of its own is there.
#[test]
fn sighup_reopens_a_log_that_was_moved_or_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("serve.hlog");
    let path = file.display().to_string();
    let program = Program::serve(&["--watch-one-in", "1", "--hist-log", &path]);
    let addr = program.ready();
    let mut client = Client::new(addr);
    let gets = |path: &std::path::Path| {
        let series = view::read(path, Unit::Ns).unwrap_or_default();
        series.iter().find(|series| series.tag == "get").map_or(0, |series| series.total.len())
    };
    let mut ask = |path: &std::path::Path, enough: u64| {
        let began = Instant::now();
        while gets(path) < enough {
            assert!(client.ask(b"get a\r\n").is_some());
            assert!(began.elapsed() < PATIENCE, "nothing is logged in {}", path.display());
        }
    };
    program.signal(Signal::SIGHUP);
    assert!(program.says("--hist-log").contains("was not moved: it is written on"));
    ask(&file, 1);
    let moved = folder.path().join("serve.hlog.1");
    std::fs::rename(&file, &moved).unwrap();
    program.signal(Signal::SIGHUP);
    assert!(program.says("--hist-log").contains("is reopened"));
    ask(&file, 1);
    assert!(gets(&moved) > 0);
    std::fs::remove_file(&file).unwrap();
    // It cannot be opened: the server goes on, and takes it the next time.
    std::fs::create_dir(&file).unwrap();
    program.signal(Signal::SIGHUP);
    assert!(program.says("--hist-log").contains("the file that was open before is written on"));
    std::fs::remove_dir(&file).unwrap();
    program.signal(Signal::SIGHUP);
    assert!(program.says("--hist-log").contains("is reopened"));
    ask(&file, 1);
    assert!(std::fs::read_to_string(&file).unwrap().starts_with('#'), "it has a head");
    let before = gets(&file);
    let (status, rest, _) = program.terminate();
    assert_eq!(status.code(), Some(0), "{rest}");
    // The next start appends.
    let program = Program::serve(&["--watch-one-in", "1", "--hist-log", &path]);
    let mut client = Client::new(program.ready());
    assert!(client.ask(b"get a\r\n").is_some());
    assert!(program.terminate().0.success());
    assert!(gets(&file) > before, "what an earlier process wrote is kept");
}

fn failures(addr: SocketAddr) -> u64 {
    let stats = Client::new(addr).ask(b"stats\r\n").expect("stats are answered");
    let stats = String::from_utf8(stats).unwrap();
    let figure = stats.lines().find_map(|line| line.strip_prefix("STAT hist_log_failures "));
    figure.unwrap().trim().parse().unwrap()
}

fn until_failures(addr: SocketAddr, count: u64) {
    let began = Instant::now();
    while failures(addr) < count {
        assert!(began.elapsed() < PATIENCE, "{} failures", failures(addr));
    }
}
