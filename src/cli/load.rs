//! `sherwood load`.

use super::Outcome;

/// Arguments of `sherwood load`.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Runs the subcommand.
///
/// # Errors
/// One line for people, with the remedy.
pub fn run(_args: &Args) -> Outcome {
    Err("not built yet".into())
}
