//! Whether threads are pinned: a CPU for each, or wherever the kernel puts them. Pure, as the plan is.
//!
//! A pinned thread that shares its CPU with other work waits for it, whole time slices long, while other CPUs may idle; an unpinned
//! one moves away. So `auto` pins only if every thread gets a core that is free: not taken by another server, and not busy.

use crate::cpulist::list;
use crate::topology::{Cpu, Topology};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// Which threads are pinned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pin {
    /// All, if each gets a core that is free, or if the CPUs are named; else none.
    #[default]
    Auto,
    /// All, whoever else uses their CPUs.
    Cores,
    /// None.
    None,
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Pin, String> {
        match text {
            "auto" => Ok(Pin::Auto),
            "cores" => Ok(Pin::Cores),
            "none" => Ok(Pin::None),
            _ => Err(format!("{text:?} is not a way to pin: give auto, cores or none")),
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Pin::Auto => "auto",
            Pin::Cores => "cores",
            Pin::None => "none",
        })
    }
}

/// CPUs that `auto` leaves to others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Those that other servers have claimed.
    pub claimed: BTreeSet<usize>,
    /// Those that run other work, with the share of their time in percent.
    pub busy: BTreeMap<usize, u32>,
}

/// Which CPUs a plan chooses from, and whether its threads stay on them.
pub(crate) struct Choice {
    pub among: Vec<Cpu>,
    pub is_pinned: bool,
    pub reason: Option<String>,
}

impl Taken {
    fn has(&self, cpu: usize) -> bool {
        self.claimed.contains(&cpu) || self.busy.contains_key(&cpu)
    }

    /// Why some of these are not free; empty if all are.
    fn explain(&self, usable: &[Cpu]) -> String {
        let of = |has: &dyn Fn(usize) -> bool| -> Vec<usize> {
            usable.iter().map(|cpu| cpu.index).filter(|cpu| has(*cpu)).collect()
        };
        let claimed = of(&|cpu| self.claimed.contains(&cpu));
        let busy = of(&|cpu| self.busy.contains_key(&cpu) && !self.claimed.contains(&cpu));
        let mut parts = Vec::new();
        if !claimed.is_empty() {
            parts.push(format!("CPU {} is pinned by another server", list(&claimed)));
        }
        if !busy.is_empty() {
            let least = busy.iter().filter_map(|cpu| self.busy.get(cpu)).min().unwrap_or(&0);
            parts.push(format!("CPU {} is at least {least} % busy with other work", list(&busy)));
        }
        parts.join(", ")
    }
}

/// Chooses for a plan of `wanted` threads on `usable`; `is_named`: the CPUs were named one by one.
pub(crate) fn choose(
    machine: &Topology,
    (pin, taken, is_named): (Pin, &Taken, bool),
    usable: Vec<Cpu>,
    wanted: usize,
) -> Choice {
    let (pinned, anywhere) =
        (|among, reason| Choice { among, is_pinned: true, reason }, list(&indexes(&usable)));
    match pin {
        Pin::Cores => return pinned(usable, None),
        Pin::Auto if is_named => return pinned(usable, None),
        Pin::None => {
            let reason = Some(format!("threads are not pinned: they may run on CPU {anywhere}"));
            return Choice { among: usable, is_pinned: false, reason };
        }
        Pin::Auto => {}
    }
    let is_free = |cpu: &Cpu| {
        let siblings = machine.cpus.iter().filter(|other| other.core == cpu.core);
        siblings.into_iter().all(|sibling| !taken.has(sibling.index))
    };
    let free: Vec<Cpu> = usable.iter().copied().filter(is_free).collect();
    let why = taken.explain(&usable);
    if free.len() >= wanted {
        let reason = (!why.is_empty()).then(|| format!("pinned to free cores: {why}"));
        return pinned(free, reason);
    }
    let why = if why.is_empty() { "siblings of their cores are taken".to_owned() } else { why };
    let reason = Some(format!(
        "threads are not pinned, and may run on CPU {anywhere}: {wanted} CPUs with free cores wanted, {} there ({why}); \
         --pin cores pins them all the same",
        free.len()
    ));
    Choice { among: usable, is_pinned: false, reason }
}

fn indexes(cpus: &[Cpu]) -> Vec<usize> {
    cpus.iter().map(|cpu| cpu.index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_to_pin_is_one_of_three() {
        for text in ["auto", "cores", "none"] {
            assert_eq!(text.parse::<Pin>().unwrap().to_string(), text);
        }
        assert!("all".parse::<Pin>().unwrap_err().contains("auto, cores or none"));
    }
}
