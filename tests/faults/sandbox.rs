//! What a sandbox denies: io_uring as a whole or one call of it, locked memory, the plain calls. Found out at start.

use crate::support::client::Client;
use crate::support::program::{drain, sherwood};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Runs a program without some system calls (`seccomp(2)`), or without more locked memory than so many bytes and without
/// the right to lock more.
const SANDBOX: &str = r#"
import ctypes, os, resource, struct, sys
denied, memlock, argv = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
prctl = ctypes.CDLL(None, use_errno=True).prctl
def must(result):
    if result != 0: sys.exit("prctl: " + os.strerror(ctypes.get_errno()))
if memlock >= 0:
    PR_CAPBSET_DROP, CAP_IPC_LOCK = 24, 14
    must(prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0))
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (memlock, memlock))
calls = [int(number) for number in denied.split(",") if number]
if calls:
    step = lambda code, jt, jf, k: struct.pack("HBBI", code, jt, jf, k)
    program = step(0x20, 0, 0, 0)                                   # load the number of the call
    for i, number in enumerate(calls):
        program += step(0x15, len(calls) - i, 0, number)            # to the end if it is this one
    program += step(0x06, 0, 0, 0x7fff0000) + step(0x06, 0, 0, 0x00050001)  # allow, or EPERM
    code = ctypes.create_string_buffer(program)
    filter = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.create_string_buffer(filter), 0, 0))
os.execv(argv[0], argv)
"#;

/// A server in a sandbox.
struct Sandboxed {
    child: Child,
    /// The line that it prints when it is ready; empty if it ends before.
    ready: String,
}

impl Drop for Sandboxed {
    fn drop(&mut self) {
        // It has ended already if it was refused.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sandboxed {
    fn start(denied: &[i64], memlock: Option<usize>, io: &str, workers: usize) -> Sandboxed {
        let denied: Vec<_> = denied.iter().map(i64::to_string).collect();
        let memlock = memlock.map_or("-1".to_owned(), |bytes| bytes.to_string());
        let workers = workers.to_string();
        let mut child = Command::new("python3")
            .args(["-c", SANDBOX, &denied.join(","), &memlock])
            .arg(sherwood().get_program())
            .args(["serve", "--listen", "127.0.0.1:0", "--memory", "32MiB", "--huge", "off"])
            .args(["--io", io, "--workers", &workers])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        Sandboxed { child, ready: ready.trim_end().to_owned() }
    }

    /// Asks for its version, and ends it; returns what it printed for people.
    fn check_serves(mut self, io: &str) -> String {
        if !self.ready.ends_with(&format!(", {io}")) {
            let text = self.end().1;
            panic!("{:?} is not with {io}: {text}", self.ready);
        }
        let addr = self.ready.split(' ').nth(3).unwrap().parse().unwrap();
        let version = Client::new(addr).ask(b"version\r\n").expect("an answer");
        assert!(version.starts_with(b"VERSION "));
        self.end().1
    }

    /// Checks that it did not start; returns what it printed for people.
    fn check_refuses(mut self) -> String {
        assert_eq!(self.ready, "");
        let (code, text) = self.end();
        assert_eq!(code, Some(1), "{text}");
        text
    }

    fn end(&mut self) -> (Option<i32>, String) {
        if !self.ready.is_empty() {
            self.child.kill().unwrap();
        }
        let text = drain(self.child.stderr.take().unwrap());
        (self.child.wait().unwrap().code(), text)
    }
}

/// Whether sandboxes can be made, and two workers run.
fn can_sandbox() -> bool {
    match Command::new("python3").args(["-c", "import ctypes, resource"]).status() {
        Ok(status) if status.success() => true,
        other => {
            println!("SKIPPED: no python3 to make sandboxes with: {other:?}");
            false
        }
    }
}

const URING_CALLS: [(&str, i64); 3] = [
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("io_uring_register", libc::SYS_io_uring_register),
    ("io_uring_enter", libc::SYS_io_uring_enter),
];

fn worker_counts() -> std::ops::RangeInclusive<usize> {
    1..=std::thread::available_parallelism().map_or(1, |count| count.get().min(2))
}

/// Only a denied io_uring_setup was noticed: a denied io_uring_register ended the start, a denied io_uring_enter the
/// server that had said that it was ready.
#[test]
fn whichever_call_of_io_uring_is_denied_auto_falls_back_and_says_so() {
    if !can_sandbox() {
        return;
    }
    for workers in worker_counts() {
        for (name, call) in URING_CALLS {
            let text = Sandboxed::start(&[call], None, "auto", workers).check_serves("mmsg");
            let line = text.lines().find(|line| line.contains("falling back")).expect(&text);
            assert!(line.contains(name), "{line}");
        }
    }
    for (name, call) in URING_CALLS {
        let text = Sandboxed::start(&[call], None, "uring", 1).check_refuses();
        assert!(text.contains(name) && text.contains("--io mmsg"), "{text}");
    }
}

/// The memory of a ring counts against a limit for processes without CAP_IPC_LOCK. Where it was enough to try a ring and not
/// for all workers' rings, the start was refused.
#[test]
fn with_little_locked_memory_auto_falls_back() {
    if !can_sandbox() {
        return;
    }
    for workers in worker_counts() {
        for kib in [0, 100, 150, 200, 250, 300, 400, 500] {
            let server = Sandboxed::start(&[], Some(kib << 10), "auto", workers);
            let io = if server.ready.ends_with(", uring") { "uring" } else { "mmsg" };
            assert!(kib >= 100 || io == "mmsg", "the limit is not kept");
            let text = server.check_serves(io);
            assert_eq!(text.contains("falling back"), io == "mmsg", "{text}");
        }
    }
    let text = Sandboxed::start(&[], Some(0), "uring", 1).check_refuses();
    assert!(text.contains("io_uring_setup") && text.contains("locked memory"), "{text}");
}

/// A server said that it was ready and ended when the first datagram came.
#[test]
fn without_the_plain_calls_a_server_does_not_start() {
    if !can_sandbox() {
        return;
    }
    let calls = [
        ("recvmmsg", libc::SYS_recvmmsg),
        ("sendmsg", libc::SYS_sendmsg),
        ("epoll_create1", libc::SYS_epoll_create1),
    ];
    for (name, call) in calls {
        let text = Sandboxed::start(&[call], None, "mmsg", 1).check_refuses();
        assert!(text.contains(&format!("{name} is refused")), "{text}");
        // There is nothing to fall back to.
        let denied = [libc::SYS_io_uring_setup, call];
        let text = Sandboxed::start(&denied, None, "auto", 1).check_refuses();
        assert!(text.contains(&format!("{name} is refused")), "{text}");
    }
}
