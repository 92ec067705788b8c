//! Cores for this server alone: a claim on each CPU that it pins a thread to, which other servers of the machine see.
//!
//! ```text
//! look: which CPUs are busy, which are claimed ─▶ plan ─▶ claim its CPUs ─▶ all ours: go
//!                                                  ▲          └─ one was claimed since: let go of all, plan without it
//!                                                  └──────────────────────────────────┘
//! ```
//! A claim is an abstract unix socket (`unix(7)`) named after the CPU, as `net::socket::claim` has for ports: the kernel frees the
//! name when the process ends, however it ends. Names belong to a network namespace, so servers in containers with networks of
//! their own do not see each other's claims; what they do on a CPU is seen when it is busy. A claim is advice: `--pin cores` and
//! `--cpus` pin also where another server has claimed.

use crate::limits::{PIN_BUSY_PERCENT, PIN_SAMPLE_MS, PIN_SAMPLES_MAX};
use crate::net::socket::claim::{is_taken, lock};
use nix::errno::Errno;
use numa::{Pin, Plan, Request, Taken, Topology, busy};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Claims that a server holds while it runs.
#[derive(Debug, Default)]
pub struct Claims(Vec<OwnedFd>);

/// Plans, and claims what threads will be pinned to.
///
/// # Errors
/// The request is impossible on this machine.
pub fn plan(machine: &Topology, request: Request) -> Result<(Plan, Claims), numa::Error> {
    let looks = request.pin == Pin::Auto && request.cpus.is_none() && machine.is_this_system;
    let busy = if looks { busy_cpus() } else { Default::default() };
    plan_beside(
        machine,
        Request { taken: Taken { busy, ..request.taken.clone() }, ..request },
        "sherwood cpu",
    )
}

fn busy_cpus() -> std::collections::BTreeMap<usize, u32> {
    let pause = || std::thread::sleep(Duration::from_millis(PIN_SAMPLE_MS));
    let look = || std::fs::read_to_string("/proc/stat").ok();
    busy::steady(|| busy::sample(look, pause, PIN_BUSY_PERCENT as f64 / 100.0), PIN_SAMPLES_MAX)
}

/// The same, and who is busy is known. `family` is what names of claims begin with.
fn plan_beside(
    machine: &Topology,
    mut request: Request,
    family: &str,
) -> Result<(Plan, Claims), numa::Error> {
    let is_claimed = |cpu: &usize| machine.is_this_system && is_taken(&format!("{family} {cpu}"));
    request.taken.claimed.extend(machine.cpus.iter().map(|cpu| cpu.index).filter(is_claimed));
    // Each round but the last finds one more CPU that is another server's.
    loop {
        let plan = numa::plan(machine, &request)?;
        if !machine.is_this_system {
            return Ok((plan, Claims::default()));
        }
        let (claims, others) = Claims::take(&plan.pinned_cpus(), family);
        let may_choose = request.pin == Pin::Auto && request.cpus.is_none();
        match others[..] {
            [] => return Ok((plan, claims)),
            [..] if may_choose => request.taken.claimed.extend(others),
            [..] => return Ok((with_warning(plan, &others), claims)),
        }
    }
}

fn with_warning(mut plan: Plan, others: &[usize]) -> Plan {
    plan.reasons.push(format!(
        "CPU {} is pinned by another server as well: they will wait for each other; give each --cpus of its own",
        numa::cpulist::list(others)
    ));
    plan
}

impl Claims {
    /// Claims these CPUs; also those that others have.
    fn take(cpus: &[usize], family: &str) -> (Claims, Vec<usize>) {
        let (mut claims, mut others) = (Claims::default(), Vec::new());
        for &cpu in cpus {
            match lock(&format!("{family} {cpu}")) {
                Ok(claim) => claims.0.push(claim),
                Err(Errno::EADDRINUSE) => others.push(cpu),
                // A sandbox without unix sockets: there is nobody to see a claim.
                Err(_) => {}
            }
        }
        (claims, others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use numa::{Huge, Workers};

    fn request(pin: Pin) -> Request {
        Request {
            workers: Workers::Count(1),
            workers_max: 64,
            cpus: None,
            node: None,
            bytes: 1 << 20,
            huge: Huge::Off,
            allowed: None,
            quota_cpus: None,
            pin,
            taken: Taken::default(),
        }
    }

    /// A machine of two CPUs that is taken for this one.
    fn two_cpus() -> Topology {
        Topology { is_this_system: true, ..Topology::from_synthetic("core:2 pu:1").unwrap() }
    }

    #[test]
    fn the_second_server_takes_other_cores_or_none() {
        let four = Topology { is_this_system: true, ..Topology::from_synthetic("core:4 pu:1").unwrap() };
        let family = format!("sherwood test {} cpu", std::process::id());
        let start = |machine: &Topology, pin| plan_beside(machine, request(pin), &family).unwrap();
        let (first, claims) = start(&two_cpus(), Pin::Auto);
        assert_eq!(first.pinned_cpus(), [0, 1]);
        let (second, _none) = start(&two_cpus(), Pin::Auto);
        assert!(
            !second.is_pinned && second.reasons.join(" ").contains("CPU 0-1 is pinned by another server")
        );
        // Whoever asks for it is pinned beside the first, and is told.
        let (third, _none) = start(&two_cpus(), Pin::Cores);
        assert_eq!(third.pinned_cpus(), [0, 1]);
        assert!(third.reasons.join(" ").contains("CPU 0-1 is pinned by another server as well"));
        let (elsewhere, _others) = start(&four, Pin::Auto);
        assert_eq!(elsewhere.pinned_cpus(), [2, 3]);
        // A claim ends with its server.
        drop(claims);
        assert_eq!(start(&two_cpus(), Pin::Auto).0.pinned_cpus(), [0, 1]);
    }

    #[test]
    fn a_busy_core_is_not_pinned_to() {
        let family = format!("sherwood test {} busy cpu", std::process::id());
        let taken = Taken { busy: [(0, 80)].into(), ..Taken::default() };
        let (plan, claims) =
            plan_beside(&two_cpus(), Request { taken, ..request(Pin::Auto) }, &family).unwrap();
        assert!(!plan.is_pinned && claims.0.is_empty());
    }
}
