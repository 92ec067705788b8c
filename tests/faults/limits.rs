//! Limits of memory that a control group sets: a server that does not fit says so, and one that is told to fit does.

use crate::support::client::Client;
use crate::support::program::{PATIENCE, Program};
use nix::sys::signal::Signal;
use numa::{Huge, Workers};
use sherwood::config::serve::{Io, Options};
use sherwood::limits::RECEIVE_BUFFERS;
use sherwood::server::reckon::Reckoning;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

const MIB: usize = 1 << 20;

/// A control group of memory, made for a test below our own and taken away again.
struct Group(PathBuf);

impl Group {
    /// `None`, with a line that says so, where none can be made.
    fn with_limit(bytes: usize) -> Option<Group> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let of = |line: &str, controller: &str| line.split_once(controller).map(|(_, path)| path.to_owned());
        let places = own.lines().flat_map(|line| {
            let v1 = of(line, ":memory:")
                .map(|path| (format!("/sys/fs/cgroup/memory{path}"), "memory.limit_in_bytes"));
            let v2 = of(line, "0::").map(|path| (format!("/sys/fs/cgroup{path}"), "memory.max"));
            v1.into_iter().chain(v2)
        });
        for (parent, limit) in places {
            let folder = PathBuf::from(parent).join(format!("sherwood-test-{}-{bytes}", std::process::id()));
            if fs::create_dir(&folder).is_ok() {
                let group = Group(folder);
                if fs::write(group.0.join(limit), bytes.to_string()).is_ok() {
                    return Some(group);
                }
            }
        }
        println!("SKIPPED: no control group of memory can be made here");
        None
    }

    /// The program in this group.
    fn start(&self, arguments: &[&str]) -> Program {
        let mut command = Command::new("sh");
        let joined = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.0.display());
        command
            .args(["-c", &joined, "sh"])
            .arg(crate::support::program::sherwood().get_program())
            .args(arguments);
        Program::run(command)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It is busy until the kernel has reaped its last process.
        let began = Instant::now();
        while fs::remove_dir(&self.0).is_err() && self.0.exists() && began.elapsed() < PATIENCE {}
    }
}

fn serve(memory: &str) -> Vec<&str> {
    vec![
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--workers",
        "1",
        "--huge",
        "off",
        "--poll",
        "block",
        // What connections may have at most is more than these groups.
        "--transport",
        "udp",
        "--memory",
        memory,
    ]
}

/// The size behind the last `--memory` of a line.
fn remedy(line: &str) -> String {
    let behind = line.rsplit_once("--memory ").unwrap_or_else(|| panic!("{line}")).1;
    behind.split([' ', ',']).next().unwrap().to_owned()
}

#[test]
fn a_server_that_does_not_fit_its_group_says_what_would() {
    let Some(group) = Group::with_limit(100 * MIB) else { return };
    for memory in ["120MiB", "100MiB", "99MiB", "95MiB", "90MiB"] {
        let (status, error, _) = group.start(&serve(memory)).wait();
        assert_eq!(status.code(), Some(1), "--memory {memory}: {error}");
        assert!(error.contains("does not fit") && error.contains("are available"), "{error}");
        let fits = remedy(&error);
        let program = group.start(&serve(&fits));
        program.ready();
        assert!(program.terminate().0.success(), "--memory {fits}");
    }
}

#[test]
fn a_server_that_is_told_what_fits_survives_the_smallest_items() {
    let Some(group) = Group::with_limit(96 * MIB) else { return };
    let program = group.start(&serve("64MiB"));
    program.ready();
    let warning = program.says("memory may run out");
    assert!(program.terminate().0.success());
    let program = group.start(&serve(&remedy(&warning)));
    let addr = program.ready();
    let mut client = Client::new(addr);
    // More than there is room for, each of one byte under a short key.
    for part in 0..1_000 {
        let sets: String =
            (0..1_500).map(|i| format!("set {:x} 0 0 1 noreply\r\nx\r\n", part * 1_500 + i)).collect();
        answered(&mut client, format!("{sets}mn\r\n").as_bytes());
    }
    let stats = String::from_utf8(answered(&mut client, b"stats\r\n")).unwrap();
    let figure = |name: &str| -> u64 {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
        line.unwrap().trim().parse().unwrap()
    };
    assert!(figure("evictions") > 0, "memory was full");
    assert!(program.terminate().0.success());
}

/// The answer to a request that may be sent more than once; a server that was killed gives none.
fn answered(client: &mut Client, body: &[u8]) -> Vec<u8> {
    let began = Instant::now();
    loop {
        if let Some(answer) = client.ask(body) {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "no answer: it was killed");
    }
}

/// Resident bytes of a running program.
fn resident(program: &Program) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[test]
fn what_is_reckoned_is_what_is_taken() {
    for (io, workers) in [("mmsg", 1), ("uring", 1), ("mmsg", 2), ("uring", 2)] {
        for memory_mib in [32, 128] {
            let (count, memory) = (workers.to_string(), format!("{memory_mib}MiB"));
            let mut arguments = serve(&memory);
            arguments.extend(["--io", io]);
            arguments[4] = &count;
            let program = Program::start(&arguments);
            let Some(addr) = program.ready_or_refused() else {
                println!("SKIPPED: {io} with {workers} workers cannot start here");
                continue;
            };
            exercise(&program, addr);
            let beside = resident(&program) - memory_mib * MIB;
            let options = Options {
                workers: Workers::Count(workers),
                memory_bytes: memory_mib * MIB,
                huge: Huge::Off,
                io: if io == "mmsg" { Io::Mmsg } else { Io::Uring },
                ..Options::default()
            };
            let config = options.check().unwrap();
            let reckoned = Reckoning::of(&config, &sherwood::server::plan(&config).unwrap()).fixed;
            assert!(
                beside <= reckoned && reckoned <= 2 * beside,
                "{io}, {workers} workers, {memory_mib} MiB: {} KiB beside the region, {} KiB reckoned",
                beside >> 10,
                reckoned >> 10
            );
            assert!(program.terminate().0.success());
        }
    }
}

/// Uses what a server uses in its life: it finds so many large datagrams at once that its receive buffers are full, and their
/// answers its outbox.
fn exercise(program: &Program, addr: SocketAddr) {
    let (flood, mut fence) = (Client::new(addr), Client::new(addr));
    let value = "x".repeat(1000);
    let sets: String = (0..50).map(|i| format!("set {i} 0 0 1000 noreply\r\n{value}\r\n")).collect();
    let keys: String = (0..50).map(|i| format!(" {i}")).collect();
    let datagram =
        [&[0, 0, 0, 0, 0, 1, 0, 0][..], sets.as_bytes(), format!("get{keys}\r\n").as_bytes()].concat();
    for _ in 0..3 {
        program.signal(Signal::SIGSTOP);
        (0..2 * RECEIVE_BUFFERS).for_each(|_| flood.send_raw(&datagram));
        program.signal(Signal::SIGCONT);
        answered(&mut fence, b"mn\r\n");
    }
}
