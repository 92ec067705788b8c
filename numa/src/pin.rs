//! Pins threads to CPUs, and believes it only after reading it back; or keeps them on a set of CPUs.
//!
//! What it does not do: choose CPUs; `placement` does.

use crate::Error;
use crate::cpulist::list;
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

const THIS_THREAD: i32 = 0;

/// Where a thread may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// On one CPU: it is pinned.
    Core(usize),
    /// On any of these, where the kernel puts it.
    Any(Vec<usize>),
}

impl Affinity {
    /// Makes it so for the calling thread.
    ///
    /// # Errors
    /// As [`pin_current_thread`] and [`confine_current_thread`].
    pub fn apply(&self) -> Result<(), Error> {
        match self {
            Affinity::Core(cpu) => pin_current_thread(*cpu),
            Affinity::Any(cpus) => confine_current_thread(cpus),
        }
    }
}

/// Puts the calling thread on `cpu` and keeps it there. The kernel's answer is read back: a cpuset may narrow a mask.
///
/// # Errors
/// The CPU does not exist, is offline, or is not allowed to this process.
pub fn pin_current_thread(cpu: usize) -> Result<(), Error> {
    confine_current_thread(&[cpu])?;
    let runs_on = sched_getcpu().map_err(|errno| refused(&[cpu], errno))?;
    match runs_on == cpu && allowed_cpus()? == [cpu] {
        true => Ok(()),
        false => Err(refused(&[cpu], Errno::EBUSY)),
    }
}

/// Keeps the calling thread on `cpus`, as far as they exist and are allowed to this process; at least one must be.
///
/// # Errors
/// None of the CPUs is there, or one has a number that Linux does not know.
pub fn confine_current_thread(cpus: &[usize]) -> Result<(), Error> {
    let mut wanted = CpuSet::new();
    let set = cpus.iter().try_for_each(|cpu| wanted.set(*cpu));
    set.and_then(|()| sched_setaffinity(Pid::from_raw(THIS_THREAD), &wanted)).map_err(|e| refused(cpus, e))
}

fn refused(cpus: &[usize], errno: Errno) -> Error {
    Error::Pin { cpus: list(cpus), errno, allowed: list(&allowed_cpus().unwrap_or_default()) }
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
    fn a_confined_thread_may_use_those_that_are_there() {
        let allowed = allowed_cpus().unwrap();
        let cpus: Vec<usize> = allowed.iter().copied().chain([1023]).collect();
        let seen = thread::spawn(move || confine_current_thread(&cpus).and_then(|()| allowed_cpus()));
        assert_eq!(seen.join().unwrap(), Ok(allowed));
        for none in [vec![], vec![1023], vec![0, 1024]] {
            let error = thread::spawn(move || confine_current_thread(&none)).join().unwrap().unwrap_err();
            assert!(error.to_string().contains("pinning to CPU"), "{error}");
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
