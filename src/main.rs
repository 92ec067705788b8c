//! Arguments → configuration → run → wait.

use std::process::ExitCode;

fn main() -> ExitCode {
    sherwood::cli::main()
}

/// The models need no program.
#[cfg(any(loom, shuttle))]
fn main() -> ExitCode {
    ExitCode::SUCCESS
}
