//! `sherwood serve`.

use super::Outcome;
use crate::config::serve::{Options, effective};
use crate::server::Server;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use numa::report::Bytes;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Arguments of `sherwood serve`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    options: Options,
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
pub fn run(args: &Args) -> Outcome {
    let options = effective(args.options.clone(), args.config.as_ref())?;
    if args.print_config {
        print!("{}", options.to_toml());
        return Ok(ExitCode::SUCCESS);
    }
    let config = options.check()?;
    // Blocked before any thread starts, so that all inherit it and only the descriptor below sees them.
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block()?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?;

    let server = Server::start(config.clone(), &progress(config.memory_bytes))?;
    for report in server.reports() {
        eprintln!("{report}");
    }
    for reason in &server.plan().reasons {
        eprintln!("{reason}");
    }
    announce(&server)?;
    wait(&server, &signals)?;
    server.stop()?;
    Ok(ExitCode::SUCCESS)
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
        format_args!("CPU {}", numa::pin::list(&server.plan().worker_cpus())),
        granted.join(", "),
        server.plan().policy_cpu(),
        server.figures().io,
    )?;
    out.flush()
}

/// Until a signal comes, or a thread ends that should not.
fn wait(server: &Server, signals: &SignalFd) -> std::io::Result<()> {
    const WATCH_MS: u16 = 500;
    loop {
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(WATCH_MS)) {
            Ok(1..) => return Ok(()),
            Ok(_) if server.has_failed() => return Ok(()),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
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
            eprintln!("memory: {} of {}", Bytes((before + bytes) as u64), Bytes(total_bytes as u64));
        }
    }
}
