//! The plan: which thread on which CPU, which bytes on which node, and why. Pure: a machine and a request go in.
//!
//! ```text
//! usable  = the machine's CPUs ∩ allowed to the process ∩ --cpus ∩ --node
//! count   = --workers, or what is usable (no more than the quota) − 1, at least 1
//! home    = --node, or the one node that has CPUs for all workers and holds the memory; else none
//! pinned  = --pin: cores always, none never; auto if --cpus names them, or enough of the usable have a free core (only those
//!           are then usable)
//! order   = home first, one CPU of each core before any sibling, near nodes before far ones
//! workers = the first `count` of the order; the policy gets the next, or runs on the last worker when none is left
//! memory  = bound to home; without one, each page lies on the node of the worker that touches it first
//! ```
//!
//! A worker spins: two on one core's siblings share its pipes, so siblings come last. One node before two, even at the
//! price of siblings: a remote line costs about twice a local one, on every lookup.
//!
//! What it does not do: look at frequencies or at efficiency cores; give `--cpus`. Who else uses the CPUs is given
//! (`Request::taken`).

use crate::cpulist::list;
use crate::forecast::{MemoryPlan, forecast};
use crate::pin::Affinity;
use crate::pinning::{Choice, Pin, Taken, choose};
use crate::topology::{Cpu, Topology};
use crate::{Error, Huge};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// How many workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Workers {
    /// One less than the usable CPUs, at least one: the policy wants one too.
    #[default]
    Auto,
    /// As many as said, or an error.
    Count(usize),
}

impl FromStr for Workers {
    type Err = String;

    fn from_str(text: &str) -> Result<Workers, String> {
        match text {
            "auto" => Ok(Workers::Auto),
            number => number
                .parse()
                .map(Workers::Count)
                .map_err(|_| format!("{text:?} is neither a number nor auto")),
        }
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Workers::Auto => out.pad("auto"),
            Workers::Count(count) => count.fmt(out),
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// How many workers.
    pub workers: Workers,
    /// No more workers than this.
    pub workers_max: usize,
    /// Bounds every thread; `None` = wherever allowed.
    pub cpus: Option<Vec<usize>>,
    /// Keep threads and memory on this node.
    pub node: Option<usize>,
    /// Bytes to place.
    pub bytes: usize,
    /// In which pages.
    pub huge: Huge,
    /// CPUs that the process may use; `None` = all of the machine's (a foreign one's, for instance).
    pub allowed: Option<Vec<usize>>,
    /// CPUs' worth of time that the control group grants; `None` = no bound.
    pub quota_cpus: Option<f64>,
    /// Whether threads are pinned.
    pub pin: Pin,
    /// CPUs that [`Pin::Auto`] leaves to others.
    pub taken: Taken,
}

/// Where everything goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// A CPU for each worker, in the workers' order.
    pub workers: Vec<Seat>,
    /// A CPU for the policy thread; `None` = it runs cooperatively on the last worker.
    pub policy: Option<Seat>,
    /// Whether each thread stays on its CPU. If not, all may run on any of `cpus`, and the CPUs above only say where they
    /// would be.
    pub is_pinned: bool,
    /// CPUs that threads may be on, ascending.
    pub cpus: Vec<usize>,
    /// Where the bytes go.
    pub memory: MemoryPlan,
    /// Why, in sentences for people.
    pub reasons: Vec<String>,
}

/// A CPU that a thread has to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Seat {
    /// The CPU, its core, package and node.
    #[serde(flatten)]
    pub cpu: Cpu,
    /// Whether an earlier thread of the plan has a sibling of this CPU.
    pub shares_core: bool,
}

/// Plans.
///
/// # Errors
/// The request is impossible on this machine; the error says what would be possible.
pub fn plan(machine: &Topology, request: &Request) -> Result<Plan, Error> {
    let mut reasons = Vec::new();
    let usable = usable_cpus(machine, request)?;
    let count = worker_count(request, usable.len(), &mut reasons)?;
    let has_policy = usable.len() > count && quota_has_room(request, count);
    let cpus = indexes(&usable);
    let asked = (request.pin, &request.taken, request.cpus.is_some());
    let Choice { among, is_pinned, reason } = choose(machine, asked, usable, count + has_policy as usize);
    reasons.extend(reason);
    let home = home_node(machine, request, &among, count)?;
    let order = in_order(machine, among, home);
    let mut seats = seats(&order);
    let rest = seats.split_off(count);
    let policy = rest.first().copied().filter(|_| quota_has_room(request, count));
    if is_pinned || policy.is_none() {
        explain_policy(policy, &rest, request, count, &mut reasons);
    }
    let node = memory_node(machine, request, home, &seats, &mut reasons);
    let memory = forecast(machine, request.bytes, request.huge, node);
    Ok(Plan { workers: seats, policy, is_pinned, cpus, memory, reasons })
}

impl Plan {
    /// CPUs of the workers, in the workers' order: who prefaults, too.
    pub fn worker_cpus(&self) -> Vec<usize> {
        self.workers.iter().map(|seat| seat.cpu.index).collect()
    }

    /// Where each worker may run, in the workers' order.
    pub fn worker_affinities(&self) -> Vec<Affinity> {
        self.workers.iter().map(|seat| self.affinity(seat)).collect()
    }

    /// Where the policy's thread may run, if it has one.
    pub fn policy_affinity(&self) -> Option<Affinity> {
        self.policy.as_ref().map(|seat| self.affinity(seat))
    }

    fn affinity(&self, seat: &Seat) -> Affinity {
        if self.is_pinned { Affinity::Core(seat.cpu.index) } else { Affinity::Any(self.cpus.clone()) }
    }

    /// CPUs that threads are pinned to, ascending; none if they are not.
    pub fn pinned_cpus(&self) -> Vec<usize> {
        let seats = self.workers.iter().chain(&self.policy).filter(|_| self.is_pinned);
        let mut cpus: Vec<usize> = seats.map(|seat| seat.cpu.index).collect();
        cpus.sort_unstable();
        cpus
    }

    /// The CPU of the policy: its own, or the last worker's.
    pub fn policy_cpu(&self) -> usize {
        let last = self.workers.last().expect("a plan has a worker");
        self.policy.unwrap_or(*last).cpu.index
    }
}

fn usable_cpus(machine: &Topology, request: &Request) -> Result<Vec<Cpu>, Error> {
    let may_use = |cpu: &Cpu| request.allowed.as_ref().is_none_or(|allowed| allowed.contains(&cpu.index));
    let allowed: Vec<Cpu> = machine.cpus.iter().copied().filter(may_use).collect();
    if let Some(node) = request.node.filter(|node| machine.node(*node).is_none()) {
        return Err(Error::NoSuchNode { node });
    }
    let on_node = |cpu: &Cpu| request.node.is_none_or(|node| cpu.node == node);
    let here: Vec<Cpu> = allowed.iter().copied().filter(on_node).collect();
    let Some(asked) = &request.cpus else {
        return if here.is_empty() { Err(no_cpus(request, &allowed)) } else { Ok(here) };
    };
    let asked: BTreeSet<usize> = asked.iter().copied().collect();
    let known: BTreeSet<usize> = here.iter().map(|cpu| cpu.index).collect();
    let denied: Vec<usize> = asked.difference(&known).copied().collect();
    if asked.is_empty() || !denied.is_empty() {
        return Err(Error::CpusDenied {
            denied: list(&denied),
            usable: list(&indexes(&here)),
            node: request.node,
        });
    }
    Ok(here.into_iter().filter(|cpu| asked.contains(&cpu.index)).collect())
}

fn no_cpus(request: &Request, allowed: &[Cpu]) -> Error {
    Error::CpusDenied { denied: String::new(), usable: list(&indexes(allowed)), node: request.node }
}

fn worker_count(request: &Request, usable: usize, reasons: &mut Vec<String>) -> Result<usize, Error> {
    match (request.workers, request.quota_cpus) {
        (Workers::Count(asked), quota) => {
            let most = usable.min(request.workers_max);
            if asked == 0 || asked > most {
                return Err(Error::WorkerCount { asked, most });
            }
            if let Some(quota) = quota.filter(|quota| *quota < asked as f64) {
                reasons.push(format!(
                    "the control group's quota of {quota:.1} CPUs will throttle {asked} workers; raise it \
                     (docker run --cpus, systemd CPUQuota=) or lower --workers"
                ));
            }
            Ok(asked)
        }
        (Workers::Auto, quota) => {
            let granted = quota.map_or(usable, |quota| whole_cpus(quota).min(usable));
            if granted < usable {
                reasons.push(format!("the control group's quota grants {granted} of {usable} CPUs"));
            }
            let count = (granted - 1).clamp(1, request.workers_max);
            reasons.push(format!(
                "auto: {count} of {granted} CPUs for workers, one kept for the policy if there is one"
            ));
            Ok(count)
        }
    }
}

/// The node that everything goes to, if there is one.
fn home_node(
    machine: &Topology,
    request: &Request,
    usable: &[Cpu],
    count: usize,
) -> Result<Option<usize>, Error> {
    let holds = |node: usize| {
        let memory = machine.node(node).and_then(|node| node.memory_bytes);
        memory.is_none_or(|bytes| bytes >= request.bytes as u64)
    };
    if let Some(node) = request.node {
        if !holds(node) {
            let available = machine.node(node).and_then(|node| node.memory_bytes).unwrap_or(0);
            let bytes = request.bytes as u64;
            return Err(Error::Memory { region: "memory", bytes, node: Some(node), available });
        }
        return Ok(Some(node));
    }
    let candidates = machine.nodes.iter().filter_map(|node| {
        let cpus: Vec<Cpu> = usable.iter().copied().filter(|cpu| cpu.node == node.index).collect();
        let cores = cpus.iter().map(|cpu| cpu.core).collect::<BTreeSet<_>>().len();
        let fits = cpus.len() >= count && holds(node.index);
        // Room for the policy as well, then workers on cores of their own, then the lower number.
        fits.then_some((cpus.len() > count, cores.min(count + 1), Reverse(node.index)))
    });
    Ok(candidates.max().map(|(_, _, Reverse(node))| node))
}

fn in_order(machine: &Topology, mut usable: Vec<Cpu>, home: Option<usize>) -> Vec<Cpu> {
    usable.sort_by_key(|cpu| cpu.index);
    let all = usable.clone();
    let rank =
        |cpu: &Cpu| all.iter().filter(|other| other.core == cpu.core && other.index < cpu.index).count();
    let far = |cpu: &Cpu| home.map_or(0, |home| machine.distance(home, cpu.node));
    // Away from home comes last, as a whole; then siblings; then far nodes.
    usable.sort_by_key(|cpu| {
        (home.is_some_and(|home| home != cpu.node), rank(cpu), far(cpu), cpu.node, cpu.core, cpu.index)
    });
    usable
}

fn seats(order: &[Cpu]) -> Vec<Seat> {
    let taken = |at: usize| order[..at].iter().any(|earlier| earlier.core == order[at].core);
    (0..order.len()).map(|at| Seat { cpu: order[at], shares_core: taken(at) }).collect()
}

fn quota_has_room(request: &Request, workers: usize) -> bool {
    request.quota_cpus.is_none_or(|quota| workers < whole_cpus(quota))
}

fn explain_policy(
    policy: Option<Seat>,
    rest: &[Seat],
    request: &Request,
    workers: usize,
    reasons: &mut Vec<String>,
) {
    let last = workers - 1;
    reasons.push(match (policy, rest.first()) {
        (Some(seat), _) if seat.shares_core => {
            format!("the policy has CPU {}, the sibling of a worker's: no core is left", seat.cpu.index)
        }
        (Some(seat), _) => format!("the policy has CPU {} to itself", seat.cpu.index),
        (None, None) => format!("no CPU is left: the policy runs cooperatively on worker {last}"),
        (None, Some(_)) => format!(
            "the control group's quota of {:.1} CPUs has no room for one more thread: the policy runs \
             cooperatively on worker {last}",
            request.quota_cpus.unwrap_or_default()
        ),
    });
}

fn memory_node(
    machine: &Topology,
    request: &Request,
    home: Option<usize>,
    workers: &[Seat],
    reasons: &mut Vec<String>,
) -> Option<usize> {
    match home {
        Some(node) if machine.nodes.len() > 1 || request.node.is_some() => {
            reasons.push(format!("memory is bound to node {node}, where the workers are"));
            Some(node)
        }
        Some(_) => {
            reasons.push("one node: memory needs no binding".to_owned());
            None
        }
        None => {
            let nodes: BTreeSet<usize> = workers.iter().map(|seat| seat.cpu.node).collect();
            let why = match nodes.len() {
                1 => "no node has both the CPUs and the memory".to_owned(),
                _ => format!("no node has CPUs for {} workers", workers.len()),
            };
            reasons.push(format!(
                "{why}: each page lies on the node of the worker that touches it first, while there is room; one \
                 process per node (--node N) would keep all accesses local"
            ));
            None
        }
    }
}

/// A quota below one CPU still runs one thread, slowly.
fn whole_cpus(quota: f64) -> usize {
    (quota as usize).max(1)
}

fn indexes(cpus: &[Cpu]) -> Vec<usize> {
    cpus.iter().map(|cpu| cpu.index).collect()
}
