//! Signals that end a run early, with the result of the time until then.

use cache::base::sync::{Arc, AtomicBool, Ordering};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// From now on the first of SIGINT (Ctrl-C), SIGTERM and SIGHUP (the terminal was closed) sets `stop`, and the next SIGINT or
/// SIGTERM ends the process. A closing terminal sends more than one SIGHUP. Under `nohup` SIGHUP stays ignored.
///
/// # Errors
/// One line: no thread or descriptor is left.
pub fn end_early(stop: &Arc<AtomicBool>) -> Result<(), String> {
    watch(stop).map_err(|e| format!("cannot watch for signals: {e}; see ulimit -u, ulimit -n and pids.max"))
}

fn watch(stop: &Arc<AtomicBool>) -> std::io::Result<()> {
    let mut ending = vec![SIGINT, SIGTERM];
    if !is_ignored(SIGHUP, &std::fs::read_to_string("/proc/self/status").unwrap_or_default()) {
        ending.push(SIGHUP);
    }
    let mut signals = Signals::new(ending)?;
    let stop = Arc::clone(stop);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            // Relaxed: a wish that publishes nothing.
            if stop.swap(true, Ordering::Relaxed) && signal != SIGHUP {
                std::process::exit(128 + signal);
            }
        }
    })?;
    Ok(())
}

/// Whether a process with this `/proc/PID/status` ignores a signal.
fn is_ignored(signal: i32, status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_seen() {
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000001\nSigCgt:\t00000000000005e2\n";
        assert!(is_ignored(SIGHUP, status) && !is_ignored(SIGINT, status) && !is_ignored(SIGHUP, ""));
    }
}
