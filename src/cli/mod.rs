//! The command line: one small file per subcommand.

pub mod hist;
pub mod load;
pub mod out;
pub mod panics;
pub mod serve;
pub mod simulate;
pub mod top;
pub mod topo;

use clap::{Parser, Subcommand};
use nix::sys::signal::{SigSet, Signal};
use std::process::ExitCode;

/// What a subcommand ends with: an exit code, or one line (with the remedy) that becomes exit code 1.
pub type ExitResult = Result<ExitCode, Box<dyn std::error::Error>>;

/// A memcached-compatible cache over UDP, TCP and UNIX sockets, and the tools to drive and read it.
#[derive(Parser, Debug)]
#[command(name = "sherwood", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Tool,
}

#[derive(Subcommand, Debug)]
enum Tool {
    /// Serve a cache
    Serve(Box<serve::Args>),
    /// Drive a memcached-compatible server and measure it
    Load(Box<load::Args>), // boxed: it has five times the flags of any other
    /// Show latency histograms
    Hist(hist::Args),
    /// Replay a trace through the cache policy and print its hit ratio
    Simulate(simulate::Args),
    /// Show what hwloc sees and where each thread and byte would go
    Topo(topo::Args),
    /// Show what a running server does, live (q quits)
    Top(top::Args),
}

/// The program.
pub fn main() -> ExitCode {
    // A file that may not grow (`ulimit -f`) is an error of its write, and nothing to die of.
    if let Err(error) = SigSet::from(Signal::SIGXFSZ).thread_block() {
        return out::failed(error);
    }
    match Cli::try_parse() {
        Ok(cli) => cli.run().unwrap_or_else(out::failed),
        Err(answer) => out::answer_of_clap(&answer),
    }
}

impl Cli {
    /// Runs what the command line asks for.
    ///
    /// # Errors
    /// One line for people, with the remedy.
    pub fn run(&self) -> ExitResult {
        match &self.command {
            Tool::Serve(args) => serve::run(args),
            Tool::Load(args) => load::run(args),
            Tool::Hist(args) => hist::run(args),
            Tool::Simulate(args) => simulate::run(args),
            Tool::Topo(args) => topo::run(args),
            Tool::Top(args) => top::run(args),
        }
    }
}
