//! Pins threads to CPUs, and believes it only after reading it back.
//!
//! What it does not do: choose CPUs; `placement` does.

use crate::Error;
use crate::cpulist::list;
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

const THIS_THREAD: i32 = 0;

/// Puts the calling thread on `cpu` and keeps it there. The kernel's answer is read back: a cpuset may narrow a mask.
///
/// # Errors
/// The CPU does not exist, is offline, or is not allowed to this process.
pub fn pin_current_thread(cpu: usize) -> Result<(), Error> {
    let refused = |errno| Error::Pin { cpu, errno, allowed: list(&allowed_cpus().unwrap_or_default()) };
    let mut wanted = CpuSet::new();
    wanted.set(cpu).map_err(refused)?;
    sched_setaffinity(Pid::from_raw(THIS_THREAD), &wanted).map_err(refused)?;
    let granted = sched_getaffinity(Pid::from_raw(THIS_THREAD)).map_err(refused)?;
    let runs_on = sched_getcpu().map_err(refused)?;
    if granted != wanted || runs_on != cpu {
        return Err(refused(Errno::EBUSY));
    }
    Ok(())
}

/// The CPUs that the calling thread may use, ascending: its affinity, which a cpuset has already narrowed.
/// Call it on the main thread before pinning anything.
///
/// # Errors
/// The machine has more than 1024 CPUs.
pub fn allowed_cpus() -> Result<Vec<usize>, Error> {
    let set = sched_getaffinity(Pid::from_raw(THIS_THREAD)).map_err(|errno| Error::Affinity { errno })?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu) == Ok(true)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_pinned_thread_may_use_one_cpu() {
        for cpu in allowed_cpus().unwrap() {
            let seen = thread::spawn(move || pin_current_thread(cpu).and_then(|()| allowed_cpus()));
            assert_eq!(seen.join().unwrap(), Ok(vec![cpu]));
        }
    }

    #[test]
    fn a_cpu_that_is_not_there_is_an_error_that_lists_those_that_are() {
        for cpu in [1023, 1024, usize::MAX] {
            let error = thread::spawn(move || pin_current_thread(cpu)).join().unwrap().unwrap_err();
            assert!(error.to_string().contains(&list(&allowed_cpus().unwrap())), "{error}");
        }
    }
}
