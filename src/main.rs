//! Arguments → configuration → run → wait.

use std::process::ExitCode;

fn main() -> ExitCode {
    use clap::Parser;
    use std::io::Write;
    match sherwood::cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            // Nobody may read it, or its disk be full: the code says it all the same.
            let _ = writeln!(std::io::stderr(), "sherwood: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The models need no program.
#[cfg(any(loom, shuttle))]
fn main() -> ExitCode {
    ExitCode::SUCCESS
}
