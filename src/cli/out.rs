//! The one place through which the program prints, so that every subcommand ends alike where its reader is gone or its disk is
//! full: a reader who has seen enough (`| head`) is no error, anything else is one line and exit code 1. `println!` and its like
//! panic there; tests/tidy.rs keeps them out.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// Prints to standard output.
///
/// # Errors
/// One line: it cannot be written, as on a full disk.
pub fn print(text: impl Display) -> Result<(), String> {
    let mut out = io::stdout().lock();
    // As a whole: a reader sees no half of a table.
    let printed = out.write_all(text.to_string().as_bytes()).and_then(|()| out.flush());
    fate(printed)
}

/// Prints a line to standard output.
///
/// # Errors
/// As [`print()`].
pub fn line(text: impl Display) -> Result<(), String> {
    print(format_args!("{text}\n"))
}

/// Tells a person a line on standard error; that nobody listens ends nothing.
pub fn say(text: impl Display) {
    show(format_args!("{text}\n"));
}

/// The same without a line end, for progress.
pub fn show(text: impl Display) {
    let _ = io::stderr().lock().write_all(text.to_string().as_bytes());
}

/// What clap ends with: help and the version are answers, anything else is an error.
pub fn answer_of_clap(answer: &clap::Error) -> ExitCode {
    if answer.use_stderr() {
        let _ = answer.print();
        return ExitCode::from(answer.exit_code() as u8);
    }
    match fate(answer.print().and_then(|()| io::stdout().flush())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => failed(why),
    }
}

/// Says why the program ends.
pub fn failed(why: impl Display) -> ExitCode {
    say(format_args!("sherwood: {why}"));
    ExitCode::FAILURE
}

fn fate(printed: io::Result<()>) -> Result<(), String> {
    match printed {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("standard output: {error}")),
        _ => Ok(()),
    }
}
