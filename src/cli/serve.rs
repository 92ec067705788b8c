//! `sherwood serve`.

use super::ExitResult;
use crate::cli::{out, panics};
use crate::config::options::Flags;
use crate::server::Server;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use numa::report::Bytes;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

/// Arguments of `sherwood serve`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
    /// TOML file with the same options, _ for - (flags win over it)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the effective configuration as TOML and exit
    #[arg(long)]
    print_config: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// One line for people, with the remedy.
pub fn run(args: &Args) -> ExitResult {
    panics::end_the_process();
    let serving = Arc::new(AtomicBool::new(false));
    let signals = watch_signals(Arc::clone(&serving))?;
    let options = args.flags.over(args.config.as_deref())?;
    if args.print_config {
        out::print(options.to_toml()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = options.check()?;
    let server = Server::start(config.clone(), &progress(config.memory_bytes))?;
    // Release: pairs with the Acquire load of the thread that reads signals.
    serving.store(true, Ordering::Release);
    server.reports().iter().for_each(say);
    server.plan().reasons.iter().for_each(say);
    if let Some(addr) = server.metrics_addr() {
        say(format_args!("metrics on http://{addr}/metrics"));
    }
    // Whoever closed our stdout does not wait for the line; clients are served all the same.
    let _ = announce(&server);
    wait(&server, &signals);
    server.stop()?;
    Ok(ExitCode::SUCCESS)
}

/// Tells a person something; that nobody listens ends no server.
fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Starts the thread that reads signals: SIGINT and SIGTERM end a server that is still starting at once, tell one that serves to
/// drain, and end one that is draining at once.
fn watch_signals(serving: Arc<AtomicBool>) -> Result<Receiver<()>, Box<dyn std::error::Error>> {
    let asked = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    // Blocked before any thread starts, so that all inherit it and only the descriptor below sees them. SIGXFSZ is blocked for
    // good: a log that may not grow is an error of its write, and nothing to die of.
    SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGXFSZ]).thread_block()?;
    let signals = SignalFd::with_flags(&asked, SfdFlags::SFD_CLOEXEC)?;
    let (told, signalled) = mpsc::channel();
    let watch = move || {
        let mut is_draining = false;
        loop {
            match signals.read_signal() {
                Ok(Some(_)) => {}
                Ok(None) | Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => panic!("signals cannot be read: {error}"),
            }
            // Acquire: pairs with the Release store of `run`.
            if !serving.load(Ordering::Acquire) {
                say("sherwood: stopped before it served");
                std::process::exit(0);
            }
            // The receiver is gone when draining has ended; so has the process, nearly.
            if is_draining || told.send(()).is_err() {
                say("sherwood: stopped before it had drained");
                std::process::exit(1);
            }
            is_draining = true;
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(watch).map_err(|e| {
        format!("cannot start a thread: {e}; see ulimit -u and the pids limit of the control group")
    })?;
    Ok(signalled)
}

/// One line, when everything is there.
fn announce(server: &Server) -> std::io::Result<()> {
    let granted: Vec<_> = server
        .reports()
        .iter()
        .map(|report| {
            format!("{} {} in {} pages", report.name, Bytes(report.granted_bytes as u64), report.granted_kind)
        })
        .collect();
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "sherwood ready on {} with {} on {}, {}, policy on CPU {}, {}",
        server.addr(),
        match server.plan().workers.len() {
            1 => "1 worker".to_owned(),
            count => format!("{count} workers"),
        },
        format_args!("CPU {}", numa::cpulist::list(&server.plan().worker_cpus())),
        granted.join(", "),
        server.plan().policy_cpu(),
        server.figures().io,
    )?;
    out.flush()
}

/// Until a signal comes, or a thread ends that should not.
fn wait(server: &Server, signals: &Receiver<()>) {
    const WATCH: Duration = Duration::from_millis(500);
    while signals.recv_timeout(WATCH) == Err(RecvTimeoutError::Timeout) && !server.has_failed() {}
}

/// Tells a person how much memory is there already; nothing when nobody looks.
fn progress(total_bytes: usize) -> impl Fn(usize) + Sync {
    const STEP_BYTES: usize = 256 << 20;
    let done = AtomicUsize::new(0);
    let someone_looks = std::io::stderr().is_terminal();
    move |bytes| {
        // Relaxed: a figure for people.
        let before = done.fetch_add(bytes, Ordering::Relaxed);
        if someone_looks && before / STEP_BYTES != (before + bytes) / STEP_BYTES {
            say(format_args!("memory: {} of {}", Bytes((before + bytes) as u64), Bytes(total_bytes as u64)));
        }
    }
}
