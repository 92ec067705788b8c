//! `sherwood hist`: histogram logs → tables and plots.

use super::ExitResult;
use crate::stats::view::{Series, Unit, ascii, html, png, read, table};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `sherwood hist`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// HdrHistogram V2 logs (.hlog), of any tool
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print the whole distribution of each series
    #[arg(long)]
    percentiles: bool,
    /// Print the files beside each other, with ratios to the first
    #[arg(long)]
    compare: bool,
    /// Draw the percentiles of all series into a PNG picture
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// Write a page with percentiles, latency, rate and loss over time; it needs no network
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// What a recorded value counts (sherwood writes nanoseconds)
    #[arg(long, value_enum, default_value = "ns")]
    unit: Unit,
}

/// Runs the subcommand.
///
/// # Errors
/// One line for people, with the remedy.
pub fn run(args: &Args) -> ExitResult {
    let mut all: Vec<Series> = Vec::new();
    for file in &args.files {
        all.extend(read(file, args.unit)?);
    }
    let mut text = String::new();
    if args.percentiles {
        for series in &all {
            table::percentiles(series, &mut text)?;
            text.push('\n');
        }
    }
    if args.compare {
        text += &table::compare(&all);
    }
    if !args.percentiles && !args.compare {
        text += &table::summary(&all);
        text.push('\n');
    }
    let answered: Vec<&Series> = all.iter().filter(|s| !s.is_lost()).collect();
    text += &ascii::plot(&answered);
    if let Some(path) = &args.png {
        let picture = png::draw(&answered)?;
        std::fs::write(path, picture).map_err(|e| format!("--png {}: {e}", path.display()))?;
    }
    if let Some(path) = &args.html {
        std::fs::write(path, html::page(&all)).map_err(|e| format!("--html {}: {e}", path.display()))?;
    }
    print(&text)
}

/// Prints to standard output; a reader who has seen enough (`| head`) is no error.
fn print(text: &str) -> ExitResult {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
