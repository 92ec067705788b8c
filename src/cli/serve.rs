//! `sherwood serve`.

mod progress;
mod signals;

use self::progress::Progress;
use self::signals::{Asked, Stage};
use super::ExitResult;
use crate::cli::out::{self, say};
use crate::cli::panics;
use crate::config::address::Address;
use crate::config::options::{Flags, Options};
use crate::config::printed;
use crate::server::{self, Server};
use numa::Plan;
use numa::report::Bytes;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Arguments of `sherwood serve`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
    /// TOML file with the same options, _ for - (flags win over it)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the effective configuration, print it as TOML, with a comment for each key that is not set, and exit
    #[arg(long)]
    print_config: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// One line for people, with the remedy.
pub fn run(args: &Args) -> ExitResult {
    panics::end_the_process();
    let stage = Arc::new(Stage::default());
    let signals = signals::watch(Arc::clone(&stage))?;
    let options = args.flags.over(args.config.as_deref())?;
    if args.print_config {
        return print_config(options);
    }
    let config = options.check()?;
    for (flag, address) in [("listen", Some(&config.listen)), ("metrics", config.metrics.as_ref())] {
        if let Some((name, addr)) = address.and_then(Address::found) {
            say(format_args!("--{flag} {name} is {addr}"));
        }
    }
    let server = Server::start(config.clone(), &progress(config.memory_bytes))?;
    stage.serves();
    server.reports().iter().for_each(say);
    server.plan().reasons.iter().for_each(say);
    if let Some(addr) = server.metrics_addr() {
        say(format_args!("metrics on http://{addr}/metrics"));
    }
    // Whoever closed our stdout does not wait for the line; clients are served all the same.
    let _ = announce(&server);
    wait(&server, &signals);
    let stopped = server.stop();
    if !stage.ends() {
        // A second signal has come, and the thread that read it ends the process.
        loop {
            std::thread::park();
        }
    }
    stopped?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a configuration that a server could start with.
///
/// # Errors
/// What a start would refuse, as far as it is known without binding an address or taking memory.
fn print_config(options: Options) -> ExitResult {
    let text = printed::with_comments(&options)?;
    server::plan(&options.check()?)?;
    out::print(text)?;
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
        "sherwood ready on {} with {} on {}, {}, policy on {}, {}",
        addresses(server),
        match server.plan().workers.len() {
            1 => "1 worker".to_owned(),
            count => format!("{count} workers"),
        },
        cpus(server.plan(), &server.plan().worker_cpus()),
        granted.join(", "),
        match server.plan().policy {
            Some(_) => cpus(server.plan(), &[server.plan().policy_cpu()]),
            None => "the last worker".to_owned(),
        },
        server.figures().io,
    )?;
    out.flush()
}

/// `127.0.0.1:11211 (UDP, TCP), unix:/run/sherwood.sock`: scripts take the first word.
fn addresses(server: &Server) -> String {
    let settings = &server.figures().settings;
    let inet = match (settings.transport.udp, settings.transport.tcp) {
        (true, true) => Some("UDP, TCP"),
        (true, false) => Some("UDP"),
        (false, true) => Some("TCP"),
        (false, false) => None,
    };
    let inet = inet.map(|transports| format!("{} ({transports})", server.addr()));
    let unix = settings.unix.as_ref().map(|(path, _)| format!("unix:{}", path.display()));
    inet.into_iter().chain(unix).collect::<Vec<_>>().join(", ")
}

/// `CPU 0-2`, or `any of CPU 0-3` where threads are not pinned.
fn cpus(plan: &Plan, pinned: &[usize]) -> String {
    match plan.is_pinned {
        true => format!("CPU {}", numa::cpulist::list(pinned)),
        false => format!("any of CPU {}", numa::cpulist::list(&plan.cpus)),
    }
}

/// Until a signal to end comes, or a thread ends that should not.
fn wait(server: &Server, signals: &Receiver<Asked>) {
    const WATCH: Duration = Duration::from_millis(500);
    while !server.has_failed() {
        match signals.recv_timeout(WATCH) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Asked::Reopen) if server.reopen_hist_log() => {}
            Ok(Asked::Reopen) => {
                say("sherwood: SIGHUP: there is no --hist-log to reopen; SIGTERM ends the server")
            }
            Ok(Asked::End) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Tells how much memory is there already, now and then.
fn progress(total_bytes: usize) -> impl Fn(usize) + Sync {
    let progress = Progress::new(total_bytes, std::io::stderr().is_terminal());
    let began = Instant::now();
    move |bytes| {
        if let Some(line) = progress.add(bytes, began.elapsed()) {
            say(line);
        }
    }
}
