//! How many files the process may have open: a connection is one.
//!
//! The limit that is in force (soft) is raised as far as it may be (hard), and as root beyond that. Where even that is too low, fewer connections
//! are taken, and the server says so: accepting until the kernel refuses would also take the descriptors that logs and metrics need.

use crate::limits::{OPEN_FILES_RESERVE, WORKER_OPEN_FILES};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What the limit of open files leaves to connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// Connections that may be open at once: 1 at least.
    pub connections: usize,
    /// A line for people where that is less than was asked for.
    pub note: Option<String>,
}

/// Raises the limit of open files so that `connections_max` connections fit beside what the server and its workers need.
pub fn raise(connections_max: usize, workers: usize) -> OpenFiles {
    let limits = || getrlimit(Resource::RLIMIT_NOFILE).map_err(drop);
    raise_with(connections_max, workers, limits, |soft, hard| {
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).map_err(drop)
    })
}

/// The same with a kernel to ask: `limits` tells soft and hard limit, `set` changes them, if it may.
fn raise_with(
    connections_max: usize,
    workers: usize,
    limits: impl Fn() -> Result<(u64, u64), ()>,
    set: impl Fn(u64, u64) -> Result<(), ()>,
) -> OpenFiles {
    let beside = OPEN_FILES_RESERVE + workers * WORKER_OPEN_FILES;
    let wanted = (connections_max + beside) as u64;
    // A sandbox that hides the limit is asked to raise it all the same; what comes of that is found out by accepting.
    let Ok((soft, hard)) = limits() else {
        return OpenFiles { connections: connections_max, note: None };
    };
    let granted = if soft >= wanted || set(wanted, hard.max(wanted)).is_ok() {
        wanted
    } else if hard > soft && set(hard.min(wanted), hard).is_ok() {
        hard.min(wanted)
    } else {
        soft.min(wanted)
    };
    if granted >= wanted {
        return OpenFiles { connections: connections_max, note: None };
    }
    let connections = (granted as usize).saturating_sub(beside).max(1);
    let note = format!(
        "the limit of open files, {granted}, less {beside} for the server itself, leaves room for {connections} of --max-connections {connections_max}; to \
         have all, raise it to {wanted} (ulimit -n, LimitNOFILE= of systemd)"
    );
    OpenFiles { connections, note: Some(note) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Raises in a process with these limits, and says what came of it and of them.
    fn raised(connections: usize, limits: (u64, u64), is_root: bool) -> (OpenFiles, (u64, u64)) {
        let state = Cell::new(limits);
        let set = |soft, hard| {
            let may = soft <= hard && (is_root || hard <= state.get().1);
            if may {
                state.set((soft, hard));
            }
            may.then_some(()).ok_or(())
        };
        (raise_with(connections, 2, || Ok(state.get()), set), state.get())
    }

    #[test]
    fn the_limit_is_raised_as_far_as_it_may_be() {
        let beside = OPEN_FILES_RESERVE + 2 * WORKER_OPEN_FILES;
        let wanted = (1_000 + beside) as u64;
        for (limits, is_root, want, connections) in [
            // High enough: left as it is.
            ((1 << 20, 1 << 20), false, (1 << 20, 1 << 20), 1_000),
            ((256, 1 << 20), false, (wanted, 1 << 20), 1_000),
            ((256, wanted - 100), false, (wanted - 100, wanted - 100), 900),
            ((256, wanted - 100), true, (wanted, wanted), 1_000),
            ((256, 256), false, (256, 256), 256 - beside),
            ((16, 16), false, (16, 16), 1),
        ] {
            let (files, after) = raised(1_000, limits, is_root);
            assert_eq!((files.connections, after), (connections, want), "{limits:?} {is_root}");
            match files.note {
                None => assert_eq!(connections, 1_000),
                Some(note) => assert!(note.contains(&format!("raise it to {wanted}")), "{note}"),
            }
        }
    }

    #[test]
    fn this_process_may_raise_its_soft_limit() {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let beside = OPEN_FILES_RESERVE + WORKER_OPEN_FILES;
        let fits = (hard.min(1 << 20) as usize).saturating_sub(beside);
        if fits < 2 {
            return println!("SKIPPED: the limit of open files is {hard}");
        }
        assert_eq!(raise(fits, 1), OpenFiles { connections: fits, note: None });
        let now = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert!(now.0 >= soft && now.0 >= (fits + beside) as u64 && now.1 >= hard);
    }
}
