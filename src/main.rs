//! Arguments → configuration → run → wait.

use std::process::ExitCode;

fn main() -> ExitCode {
    use clap::Parser;
    match sherwood::cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sherwood: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The models need no program.
#[cfg(any(loom, shuttle))]
fn main() -> ExitCode {
    ExitCode::SUCCESS
}
