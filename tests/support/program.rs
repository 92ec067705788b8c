//! The program as an operator has it: started with options and limits, its lines read, signalled, and waited for.

use super::client::Client;
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

/// The program under test.
pub fn sherwood() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sherwood"))
}

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

    /// The small server with more options, or other values of its own.
    pub fn serve(options: &[&str]) -> Program {
        let (subcommand, small) = SMALL.split_first().expect("it is a command line");
        let kept = small.chunks(2).filter(|pair| !options.contains(&pair[0])).flatten().copied();
        Program::start(&[&[*subcommand], kept.collect::<Vec<_>>().as_slice(), options].concat())
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

    /// Waits for its first line, and takes it.
    pub fn first_line(&self) -> String {
        self.out.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no line: {:?}", self.said()))
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

/// A running `sherwood serve` on a free port of loopback, killed if a test fails before it stops it.
pub struct Serve {
    program: Program,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Serve {
    /// Starts a server and waits for its ready line.
    pub fn start(options: &[&str]) -> Serve {
        Serve::with(&[&["serve", "--listen", "127.0.0.1:0"], options].concat())
    }

    /// The same with all arguments.
    pub fn with(arguments: &[&str]) -> Serve {
        let program = Program::start(arguments);
        let addr = program.ready();
        Serve { program, addr }
    }

    /// Sends SIGTERM and waits; also says how long it took.
    pub fn terminate(self) -> (ExitStatus, Duration) {
        let (status, _, took) = self.program.terminate();
        (status, took)
    }

    /// Waits for its end; also says how long it took.
    pub fn wait(self) -> (ExitStatus, Duration) {
        let (status, _, took) = self.program.wait();
        (status, took)
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.program.pid()
    }

    /// A figure of `stats`.
    pub fn stat(&self, name: &str) -> u64 {
        let reply = Client::new(self.addr).ask(b"stats\r\n").expect("stats are answered");
        let text = String::from_utf8(reply).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().parse().unwrap()
    }
}

/// Runs the program to its end; status, stdout, stderr.
pub fn run(arguments: &[&str]) -> (ExitStatus, String, String) {
    let output = sherwood().args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status, text(output.stdout), text(output.stderr))
}

/// `sherwood load` against a server, as its JSON report.
pub fn load(addr: SocketAddr, arguments: &[&str]) -> serde_json::Value {
    let target = addr.to_string();
    let mut all = vec!["load", "--target", &target, "--json", "-"];
    all.extend_from_slice(arguments);
    let (status, out, err) = run(&all);
    assert!(status.success(), "load failed: {err}{out}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
}

/// Reads all that is left of a stream.
pub fn drain(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
