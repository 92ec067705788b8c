//! Arguments → configuration → run → wait.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match sherwood::cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sherwood: {error}");
            ExitCode::FAILURE
        }
    }
}
