//! `sherwood topo`: what hwloc sees, and where each thread and byte would go.
//!
//! The plan is the one that `serve` would follow with the same flags, beside the servers that run now; nothing is mapped or pinned. A machine that is
//! described or recorded (`--synthetic`, `--xml`) is planned for as if we had all of it.

use super::{ExitResult, out};
use crate::config::size;
use crate::limits::WORKERS_MAX;
use crate::server::plan_and_claim;
use numa::page::Huge;
use numa::pool::Kernel;
use numa::report::Bytes;
use numa::topology::Node;
use numa::{CpuList, Pin, Plan, Request, Taken, Topology, Workers};
use serde::Serialize;
use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `sherwood topo`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Plan for a machine in hwloc's words, such as "pack:2 numa:1 core:8 pu:2"
    #[arg(long, value_name = "STRING", conflicts_with = "xml")]
    synthetic: Option<String>,
    /// Plan for a machine recorded with `lstopo FILE.xml`
    #[arg(long, value_name = "FILE")]
    xml: Option<PathBuf>,
    /// Workers, or auto: one less than the CPUs that may be used, at least one
    #[arg(long, value_name = "N|auto", default_value = "auto")]
    workers: Workers,
    /// Bound every thread to these CPUs, workers first
    #[arg(long, value_name = "LIST")]
    cpus: Option<CpuList>,
    /// Keep threads and memory on this node
    #[arg(long, value_name = "N")]
    node: Option<usize>,
    /// Pin threads: auto (where cores are free or --cpus names them), cores or none
    #[arg(long, value_name = "auto|cores|none", default_value = "auto")]
    pin: Pin,
    /// Memory to place
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size::bytes)]
    memory: usize,
    /// Which pages: auto, 1g, 2m, thp or off
    #[arg(long, value_name = "KIND", default_value = "auto")]
    huge: Huge,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// One line for people, with the remedy.
pub fn run(args: &Args) -> ExitResult {
    let machine = machine(args)?;
    let request = request(args, &machine)?;
    if args.json {
        let (plan, _claims) = plan_and_claim(&machine, request.clone())?;
        let json = serde_json::to_string(&Report::new(&machine, &request, &plan))?;
        out::line(json)?;
    } else {
        // The machine first: who asked for the impossible needs to see what there is.
        out::print(describe_machine(&machine, &request))?;
        let (plan, _claims) = plan_and_claim(&machine, request)?;
        out::print(describe_plan(&plan))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn machine(args: &Args) -> Result<Topology, numa::Error> {
    match (&args.synthetic, &args.xml) {
        (Some(description), _) => Topology::from_synthetic(description),
        (None, Some(file)) => Topology::from_xml_file(file),
        (None, None) => Topology::this_system(),
    }
}

fn request(args: &Args, machine: &Topology) -> Result<Request, numa::Error> {
    let ours = machine.is_this_system;
    Ok(Request {
        workers: args.workers,
        workers_max: WORKERS_MAX,
        cpus: args.cpus.as_ref().map(|list| list.cpus().to_vec()),
        node: args.node,
        bytes: args.memory,
        huge: args.huge,
        allowed: if ours { Some(numa::allowed_cpus()?) } else { None },
        quota_cpus: if ours { Kernel::this().quota_cpus() } else { None },
        pin: args.pin,
        taken: Taken::default(),
    })
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    /// Nodes on which a server can run: those with a CPU that may be used. `scripts/launch-per-socket` reads this.
    node_indexes: Vec<usize>,
    topology: &'a Topology,
    allowed_cpus: Vec<usize>,
    quota_cpus: Option<f64>,
    plan: &'a Plan,
}

impl<'a> Report<'a> {
    fn new(machine: &'a Topology, request: &Request, plan: &'a Plan) -> Report<'a> {
        let allowed_cpus = allowed(machine, request);
        let has_cpu = |node: &&Node| machine.cpus_of(node.index).any(|cpu| allowed_cpus.contains(&cpu.index));
        let node_indexes = machine.nodes.iter().filter(has_cpu).map(|node| node.index).collect();
        Report { node_indexes, topology: machine, allowed_cpus, quota_cpus: request.quota_cpus, plan }
    }
}

fn allowed(machine: &Topology, request: &Request) -> Vec<usize> {
    let all = machine.cpus.iter().map(|cpu| cpu.index);
    all.filter(|cpu| request.allowed.as_ref().is_none_or(|allowed| allowed.contains(cpu))).collect()
}

fn describe_machine(machine: &Topology, request: &Request) -> String {
    let mut out = String::new();
    write_machine(&mut out, machine, request).expect("a string takes any text");
    out
}

fn describe_plan(plan: &Plan) -> String {
    let mut out = String::new();
    write_threads(&mut out, plan).expect("a string takes any text");
    write_memory(&mut out, plan).expect("a string takes any text");
    out
}

fn write_machine(out: &mut String, machine: &Topology, request: &Request) -> fmt::Result {
    let whose = if machine.is_this_system { "this machine" } else { "a described machine" };
    let (packages, nodes) = (machine.packages(), machine.nodes.len());
    let (cores, cpus) = (machine.cores(), machine.cpus.len());
    writeln!(out, "Machine ({whose}): packages {packages}, nodes {nodes}, cores {cores}, CPUs {cpus}")?;
    for node in &machine.nodes {
        let cpus: Vec<usize> = machine.cpus_of(node.index).map(|cpu| cpu.index).collect();
        let memory = node.memory_bytes.map_or("unknown".to_owned(), |bytes| Bytes(bytes).to_string());
        writeln!(out, "  node {}: CPUs {}, memory {memory}", node.index, numa::cpulist::list(&cpus))?;
        for pool in &node.pools {
            writeln!(out, "    {} pages: {} of {} free", pool.kind, pool.pages_free, pool.pages_total)?;
        }
        if nodes > 1 {
            let distances = machine.nodes.iter().map(|to| machine.distance(node.index, to.index).to_string());
            writeln!(out, "    distances: {}", distances.collect::<Vec<_>>().join(" "))?;
        }
    }
    let allowed = allowed(machine, request);
    if allowed.len() < machine.cpus.len() {
        writeln!(out, "  allowed to this process: CPUs {}", numa::cpulist::list(&allowed))?;
    }
    if let Some(quota) = request.quota_cpus {
        writeln!(out, "  quota of the control group: {quota:.1} CPUs")?;
    }
    Ok(())
}

fn write_threads(out: &mut String, plan: &Plan) -> fmt::Result {
    writeln!(out, "\n{:<12} {:>4} {:>5} {:>8} {:>5}", "Thread", "CPU", "core", "package", "node")?;
    let workers = plan.workers.iter().enumerate().map(|(number, seat)| (format!("worker {number}"), *seat));
    for (name, seat) in workers.chain(plan.policy.map(|seat| ("policy".to_owned(), seat))) {
        let cpu = seat.cpu;
        let note = if seat.shares_core { "  shares its core" } else { "" };
        if plan.is_pinned {
            let (index, core, package, node) = (cpu.index, cpu.core, cpu.package, cpu.node);
            writeln!(out, "{name:<12} {index:>4} {core:>5} {package:>8} {node:>5}{note}")?;
        } else {
            writeln!(out, "{name:<12}  any of CPU {}", numa::cpulist::list(&plan.cpus))?;
        }
    }
    if plan.policy.is_none() && !plan.is_pinned {
        writeln!(out, "{:<12}  (cooperative, on the last worker)", "policy")?;
    } else if plan.policy.is_none() {
        writeln!(out, "{:<12} {:>4}  (cooperative, on the last worker)", "policy", plan.policy_cpu())?;
    }
    for reason in &plan.reasons {
        writeln!(out, "  - {reason}")?;
    }
    Ok(())
}

fn write_memory(out: &mut String, plan: &Plan) -> fmt::Result {
    let memory = &plan.memory;
    let node = memory.node.map_or("the node of first touch".to_owned(), |node| format!("node {node}"));
    let asked = Bytes(memory.asked_bytes as u64);
    match memory.kind {
        Some(kind) => {
            let granted = Bytes(memory.granted_bytes as u64);
            writeln!(
                out,
                "\nMemory: {asked} asked ({}) → {granted} in {kind} pages on {node}",
                memory.asked_huge
            )?;
        }
        None => writeln!(out, "\nMemory: {asked} asked ({}) on {node} cannot be had", memory.asked_huge)?,
    }
    for refusal in &memory.refused {
        writeln!(out, "  not granted, {}: {}", refusal.kind, refusal.reason)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn planned(words: &[&str]) -> (Topology, Request, Plan) {
        let two_sockets = ["topo", "--synthetic", "pack:2 numa:1 core:2 pu:2"];
        let args = Line::parse_from(two_sockets.iter().chain(words)).args;
        let machine = machine(&args).unwrap();
        let request = request(&args, &machine).unwrap();
        let plan = numa::plan(&machine, &request).unwrap();
        (machine, request, plan)
    }

    #[test]
    fn the_table_shows_machine_threads_and_memory() {
        let (machine, request, plan) =
            planned(&["--workers", "2", "--node", "1", "--memory", "6MiB", "--huge", "2m"]);
        let text = describe_machine(&machine, &request) + &describe_plan(&plan);
        for words in [
            "Machine (a described machine): packages 2, nodes 2, cores 4, CPUs 8",
            "node 1: CPUs 4-7",
            "distances: 20 10",
            "worker 1        6     3        1     1\n",
            "policy          5     2        1     1  shares its core",
            "Memory: 6 MiB asked (2m) on node 1 cannot be had",
            "not granted, 2 MiB: memory: 3 × 2 MiB pages on node 1 asked, 0 free; boot with hugepagesz=2M hugepages=1:3\n",
        ] {
            assert!(text.contains(words), "{words:?} is not in\n{text}");
        }
    }

    #[test]
    fn threads_that_are_not_pinned_have_no_cpu() {
        let (_, _, plan) = planned(&["--workers", "1", "--node", "1", "--pin", "none"]);
        let text = describe_plan(&plan);
        for words in
            ["worker 0      any of CPU 4-7\n", "policy        any of CPU 4-7\n", "threads are not pinned"]
        {
            assert!(text.contains(words), "{words:?} is not in\n{text}");
        }
    }

    #[test]
    fn each_kind_of_page_that_is_missing_has_its_own_remedy() {
        let (two, one) = ("2 MiB: memory: 512 × 2 MiB pages", "1 GiB: memory: 1 × 1 GiB pages");
        let (boot_two, boot_one) =
            ("boot with hugepagesz=2M hugepages=", "boot with hugepagesz=1G hugepages=");
        for (threads, place, at) in [
            ("--workers 6", "", ""),
            ("--workers 1 --node 0", " on node 0", "0:"),
            ("--workers 1 --node 1", " on node 1", "1:"),
        ] {
            let missing = |huge: &str| {
                let line = format!("--memory 1GiB --huge {huge} {threads}");
                let (_, _, plan) = planned(&line.split_whitespace().collect::<Vec<_>>());
                let text = describe_plan(&plan);
                text.lines()
                    .filter_map(|line| Some(line.split_once("not granted, ")?.1.to_owned()))
                    .collect::<Vec<_>>()
            };
            let two = format!("{two}{place} asked, 0 free; {boot_two}{at}512");
            let one = format!("{one}{place} asked, 0 free; {boot_one}{at}1");
            assert_eq!(missing("1g"), std::slice::from_ref(&one));
            assert_eq!(missing("2m"), std::slice::from_ref(&two));
            assert_eq!(missing("auto"), [one, two]);
            assert!(missing("off").is_empty() && missing("thp").is_empty(), "a described machine has those");
        }
    }

    #[test]
    fn json_lists_the_nodes_on_one_line() {
        let (machine, request, plan) = planned(&["--cpus", "0-3"]);
        let text = serde_json::to_string(&Report::new(&machine, &request, &plan)).unwrap();
        assert!(text.starts_with(r#"{"node_indexes":[0,1],"#) && !text.contains('\n'), "{text}");
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["plan"]["workers"][0]["index"], 0);
        assert_eq!(json["plan"]["memory"]["asked_bytes"], 1 << 30);
    }
}
