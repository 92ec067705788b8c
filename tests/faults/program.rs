//! The program as an operator has it: started with options and limits, its lines read, signalled, and waited for.

use crate::common::sherwood;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longer than a busy machine keeps a process from running, so that only a fault runs into it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A small server that any machine can grant.
pub const SMALL: &[&str] = &[
    "serve",
    "--listen",
    "127.0.0.1:0",
    "--workers",
    "1",
    "--memory",
    "16MiB",
    "--huge",
    "off",
    "--poll",
    "block",
];

/// A running program, killed if a test fails before it has ended.
pub struct Program {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

/// The lines of a stream, as they come; the channel ends with it.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (line, lines) = channel();
    std::thread::spawn(move || {
        for text in BufReader::new(stream).lines().map_while(Result::ok) {
            if line.send(text).is_err() {
                return;
            }
        }
    });
    lines
}

impl Program {
    /// `sherwood` with these arguments.
    pub fn start(arguments: &[&str]) -> Program {
        let mut command = sherwood();
        command.args(arguments);
        Program::run(command)
    }

    /// The small server with more options.
    pub fn serve(options: &[&str]) -> Program {
        Program::start(&[SMALL, options].concat())
    }

    /// Any command.
    pub fn run(command: Command) -> Program {
        Program::run_with_stdout(command, Stdio::piped())
    }

    /// Any command, whose stdout is not ours unless it is piped.
    pub fn run_with_stdout(mut command: Command, stdout: Stdio) -> Program {
        let mut child = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let out = child.stdout.take().map_or_else(|| channel().1, lines);
        let err = lines(child.stderr.take().unwrap());
        Program { child, out, err }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Waits for the ready line; where it serves.
    pub fn ready(&self) -> SocketAddr {
        self.ready_or_refused().unwrap_or_else(|| panic!("no ready line: {:?}", self.said()))
    }

    /// Waits for the ready line; `None` if it ends without one.
    pub fn ready_or_refused(&self) -> Option<SocketAddr> {
        let line = self.out.recv_timeout(PATIENCE).ok()?;
        let addr = line.strip_prefix("sherwood ready on ").and_then(|rest| rest.split(' ').next());
        Some(addr.unwrap_or_else(|| panic!("{line}")).parse().unwrap())
    }

    /// Waits for a line of stderr that has this in it.
    pub fn says(&self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        while let Ok(line) = self.err.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if line.contains(text) {
                return line;
            }
        }
        panic!("nothing was said of {text}");
    }

    /// What it has said on stderr and nobody has read yet.
    pub fn said(&self) -> Vec<String> {
        self.err.try_iter().collect()
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for its end; also the rest of stderr, and how long it took.
    pub fn wait(mut self) -> (ExitStatus, String, Duration) {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "it did not end: {:?}", self.said());
            std::thread::sleep(Duration::from_millis(1));
        };
        let took = began.elapsed();
        let rest: Vec<String> = self.err.iter().collect();
        (status, rest.join("\n"), took)
    }

    /// SIGTERM, and its end.
    pub fn terminate(self) -> (ExitStatus, String, Duration) {
        self.signal(Signal::SIGTERM);
        self.wait()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program with limits of prlimit(1), such as `--fsize=4096`.
pub fn limited(limits: &[&str], arguments: &[&str]) -> Command {
    let mut command = Command::new("prlimit");
    command.args(limits).arg("--").arg(sherwood().get_program()).args(arguments);
    command
}

/// Sets limits of a running process.
pub fn limit(pid: Pid, limits: &[&str]) {
    let status = Command::new("prlimit").arg(format!("--pid={pid}")).args(limits).status().unwrap();
    assert!(status.success(), "prlimit {limits:?}");
}

/// Whether this command exists; says so if it does not.
pub fn has(command: &str) -> bool {
    let is_there =
        Command::new(command).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if is_there.is_err() {
        println!("SKIPPED: there is no {command} here");
    }
    is_there.is_ok()
}
