//! What a panic does to a server: one line, and the end of the process.
//!
//! A thread that is gone would leave a server that looks alive: a worker's port takes datagrams and answers none, the policy's
//! memory is never freed. So any panic, in whichever thread, ends all of them at once, and whoever supervises the process starts
//! it again. Other subcommands keep Rust's own behaviour.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Write as _;
use std::io::Write;
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;

/// Exit code after a panic: the one that Rust programs have.
pub const EXIT_CODE: i32 = 101;

/// Makes every panic from now on end the process.
pub fn end_the_process() {
    std::panic::set_hook(Box::new(|info| {
        say(&line(info));
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            say(&format!("{trace}\n"));
        }
        std::process::exit(EXIT_CODE);
    }));
}

/// Which thread, why, and where.
fn line(info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let why =
        text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given");
    let mut line = format!("sherwood: thread {} panicked", thread.name().unwrap_or("without a name"));
    if let Some(place) = info.location() {
        // Writing to a string does not fail.
        let _ = write!(line, " at {place}");
    }
    let _ = write!(line, ": {}; the server ends, please report this line", why.replace('\n', " "));
    line.truncate(line.floor_char_boundary(LINE_BYTES_MAX - 1));
    line.push('\n');
    line
}

/// A pipe takes so much at once, or nothing.
const LINE_BYTES_MAX: usize = 4096;
/// How long the line may wait for a reader who is slow, in ms.
const PATIENCE_MS: u16 = 500;

fn say(text: &str) {
    let stderr = std::io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    // Nobody reads: then there is nobody to tell, and the process must end.
    if matches!(poll(&mut fds, PollTimeout::from(PATIENCE_MS)), Ok(1..)) {
        let _ = stderr.lock().write_all(text.as_bytes());
    }
}
