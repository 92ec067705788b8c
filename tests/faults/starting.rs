//! A start: ended by a signal at any moment, and refused for whatever an operator can have got wrong before it takes long.

use crate::support::program::{PATIENCE, Program, has, run};
use nix::sys::signal::Signal;
use std::net::TcpListener;
use std::process::Command;
use std::time::Instant;

/// Enough to take a while, and for any machine to have.
const MUCH: &[&str] =
    &["serve", "--listen", "127.0.0.1:0", "--workers", "1", "--memory", "2GiB", "--huge", "off"];

/// A figure of /proc/PID/status, in its unit; 0 before there is any.
fn status_of(program: &Program, name: &str, radix: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|line| line.split_whitespace().next()).unwrap_or("0");
    u64::from_str_radix(word, radix).unwrap()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what} never was");
    }
}

#[test]
fn a_signal_at_any_moment_of_the_start_ends_it() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        // As soon as it listens to signals at all, and with so many MiB of its memory there.
        for rss_mib in [0, 100, 500, 1000] {
            let program = Program::start(MUCH);
            let blocked = 1 << (signal as u64 - 1);
            until("a handler", || status_of(&program, "SigBlk:", 16) & blocked != 0);
            until("the memory", || status_of(&program, "VmRSS:", 10) >> 10 >= rss_mib);
            program.signal(signal);
            let (status, rest, took) = program.wait();
            assert_eq!(status.code(), Some(0), "{signal} at {rss_mib} MiB: {rest}");
            assert_eq!(
                rest, "sherwood: stopped before it served",
                "{signal} at {rss_mib} MiB, after {took:?}"
            );
        }
    }
}

/// What is refused before memory is taken: more of it than any machine has is never noticed.
#[test]
fn what_is_wrong_is_found_before_memory_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let (fifo, folder) = (fifo.display().to_string(), folder.path().display().to_string());
    for (option, value, why) in [
        ("--metrics", &taken[..], "in use"),
        ("--metrics", "192.0.2.1:9100", "--allow"),
        ("--hist-log", &fifo, "is a pipe: give a regular file"),
        ("--hist-log", &folder, "Is a directory"),
        ("--hist-log", "/nowhere/serve.hlog", "No such file"),
    ] {
        let (status, _, error) = run(&[&MUCH[..6], &["4096TiB", "--huge", "off", option, value]].concat());
        assert!(matches!(status.code(), Some(1 | 2)), "{error}");
        assert!(error.contains(option) && error.contains(why), "{option} {value}: {error}");
    }
}

#[test]
fn an_older_log_survives_a_start_that_fails() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "what led to the crash").unwrap();
    let path = file.path().display().to_string();
    let (status, ..) = run(&[&MUCH[..6], &["4096TiB", "--huge", "off", "--hist-log", &path]].concat());
    assert_eq!(status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "what led to the crash");
}

/// Denies one system call to itself with EPERM, and becomes the command behind it.
const DENY: &str = "
import ctypes, os, struct, sys
AUDIT = {'x86_64': (0xc000003e, 204), 'aarch64': (0xc00000b7, 123)}[os.uname().machine]
f = lambda code, jt, jf, k: struct.pack('HBBI', code, jt, jf, k)
program = f(0x20, 0, 0, 0) + f(0x15, 0, 1, AUDIT[1]) + f(6, 0, 0, 0x00050001) + f(6, 0, 0, 0x7fff0000)
buffer = ctypes.create_string_buffer(program)
fprog = ctypes.create_string_buffer(struct.pack('HxxxxxxP', len(program) // 8, ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(fprog), 0, 0):
    sys.exit(77)
os.execv(sys.argv[1], sys.argv[1:])
";

#[test]
fn a_kernel_that_does_not_tell_the_affinity_is_an_error_and_no_endless_wait() {
    if !has("python3") {
        return;
    }
    let sherwood = crate::support::program::sherwood();
    for arguments in [MUCH, &["topo"]] {
        let mut command = Command::new("python3");
        command.args(["-c", DENY]).arg(sherwood.get_program()).args(arguments);
        let (status, error, _) = Program::run(command).wait();
        if status.code() == Some(77) {
            return println!("SKIPPED: system calls cannot be filtered here");
        }
        assert_eq!(status.code(), Some(1), "{error}");
        assert!(error.contains("CPU affinity") && error.contains("sched_getaffinity"), "{error}");
    }
}
