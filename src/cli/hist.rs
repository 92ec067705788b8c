//! `sherwood hist`: histogram logs → tables and plots.

use super::{ExitResult, out};
use crate::stats::view::{Log, Series, Unit, ascii, html, png, read_all, table};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `sherwood hist`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// HdrHistogram logs (.hlog), of any tool; - is standard input
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
    let Log { series: all, warnings } = read_all(&args.files, args.unit)?;
    warnings.iter().for_each(|warning| out::say(format_args!("sherwood: {warning}")));
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
    out::print(&text)?;
    Ok(ExitCode::SUCCESS)
}
