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

/// Without the lines that say how far a start is, which a slow one has.
fn without_progress(said: &str) -> String {
    said.lines().filter(|line| !line.starts_with("memory: ")).collect::<Vec<_>>().join("\n")
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
                without_progress(&rest),
                "sherwood: stopped before it served",
                "{signal} at {rss_mib} MiB, after {took:?}"
            );
        }
    }
}

/// A terminal that is closed, or a reload by a supervisor that is too eager.
#[test]
fn a_signal_that_does_not_end_a_server_does_not_end_its_start() {
    let program = Program::start(MUCH);
    until("the memory", || status_of(&program, "VmRSS:", 10) >> 10 >= 100);
    for signal in [Signal::SIGHUP, Signal::SIGUSR1] {
        program.signal(signal);
        program.says(signal.as_str());
    }
    program.signal(Signal::SIGTERM);
    let (status, rest, _) = program.wait();
    assert_eq!(status.code(), Some(0), "{rest}");
    assert_eq!(without_progress(&rest), "sherwood: stopped before it served");
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

/// Where the workers and the policy of a server may run, by its threads' names.
fn places(program: &Program) -> Vec<(String, String)> {
    let mut places = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{}/task", program.pid())).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let of =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        if ["worker-", "policy"].iter().any(|name| of("Name:").starts_with(name)) {
            places.push((of("Name:"), of("Cpus_allowed_list:")));
        }
    }
    places
}

/// Whoever is pinned waits for what else runs on its CPU, while others may idle.
#[test]
fn without_pins_every_thread_may_run_on_every_cpu() {
    let program = Program::serve(&["--pin", "none"]);
    program.ready();
    let ours = std::fs::read_to_string("/proc/self/status").unwrap();
    let ours = ours.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    let places = places(&program);
    assert!(places.iter().any(|(name, _)| name == "worker-0"), "{places:?}");
    assert!(places.iter().all(|(_, cpus)| cpus == ours), "{places:?} and not {ours}");
    assert!(program.terminate().0.success());
}

/// Every server of a host once had its first worker on the first CPU.
#[test]
fn two_servers_pin_nothing_to_the_same_cpu() {
    let first_cpu = numa::allowed_cpus().unwrap()[0].to_string();
    let first = Program::serve(&["--cpus", &first_cpu]);
    first.ready();
    assert_eq!(places(&first), [("worker-0".to_owned(), first_cpu.clone())]);
    let second = Program::serve(&[]);
    second.ready();
    assert!(places(&second).iter().all(|(_, cpus)| *cpus != first_cpu), "{:?}", places(&second));
    // It says where it is, and why.
    let (_, topo, _) = run(&["topo", "--workers", "1", "--memory", "16MiB"]);
    let line = topo.lines().find(|line| line.contains("is pinned by another server")).expect(&topo);
    assert!(line.contains(&format!("CPU {first_cpu}")), "{line}");
    assert!(first.terminate().0.success() && second.terminate().0.success());
}

/// What `--print-config` is for: to know before a restart that the server would start.
#[test]
fn a_configuration_that_no_server_would_start_with_is_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sherwood.toml");
    let config = file.display().to_string();
    for (text, why) in [
        ("listen = \"0.0.0.0:11211\"", "--allow"),
        ("listen = \"239.0.0.1:11211\"", "multicast"),
        ("metrics = \"0.0.0.0:9100\"", "--admin"),
        ("memory = \"1MiB\"", "too small"),
        ("memory = \"16MiB\"\nworkers = 9999", "workers"),
        ("value_max = \"1GiB\"", "--value-max"),
        ("secret_file = \"/nowhere/secret\"", "/nowhere/secret"),
        ("cpus = \"1000\"", "CPU 1000 cannot be used"),
        ("node = 900", "node 900 does not exist"),
        ("memroy = \"1GiB\"", "line 1: unknown key memroy; did you mean memory?"),
        ("poll = \"never\"", "line 1, poll:"),
    ] {
        std::fs::write(&file, text).unwrap();
        let (status, printed, printed_error) = run(&["serve", "--config", &config, "--print-config"]);
        assert_eq!((status.code(), printed.as_str()), (Some(1), ""), "{text}: {printed_error}");
        assert!(printed_error.contains(why), "{text}: {printed_error}");
        let (status, _, error) = run(&["serve", "--config", &config]);
        assert_eq!((status.code(), error), (Some(1), printed_error), "a start says the same: {text}");
    }
    std::fs::write(&file, "memory = \"64MiB\"").unwrap();
    let (status, printed, error) = run(&["serve", "--config", &config, "--print-config"]);
    assert!(status.success(), "{error}");
    assert!(
        printed.contains("memory = \"64MiB\"\n") && printed.contains("# hist_log = \"FILE\"  # "),
        "{printed}"
    );
    std::fs::write(&file, &printed).unwrap();
    assert_eq!(run(&["serve", "--config", &config, "--print-config"]).1, printed, "it is a file again");
}

/// As people write addresses; what was taken for a name is told.
#[test]
fn names_are_addresses() {
    let mut arguments = MUCH.to_vec();
    (arguments[2], arguments[6]) = ("localhost:0", "16MiB");
    arguments.extend(["--metrics", "localhost:0"]);
    let program = Program::start(&arguments);
    assert_eq!(program.says("--listen"), "--listen localhost:0 is 127.0.0.1:0");
    assert_eq!(program.says("--metrics localhost"), "--metrics localhost:0 is 127.0.0.1:0");
    assert!(program.says("metrics on http://").contains("http://127.0.0.1:"));
    assert!(program.ready().ip().is_loopback());
    assert!(program.terminate().0.success());
    for (flag, value, why) in [
        ("--listen", "no.such.name.invalid:1", "the name is not found"),
        ("--metrics", "localhost", "no address with a port"),
    ] {
        let (status, _, error) = run(&["serve", flag, value]);
        assert_eq!(status.code(), Some(2), "{error}");
        assert!(error.contains(flag) && error.contains(why), "{error}");
    }
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
