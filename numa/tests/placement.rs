//! Plans: rules as tables, invariants as properties.

use numa::{Affinity, Error, Huge, PageKind, Pin, Plan, Request, Taken, Topology, Workers, plan};
use proptest::prelude::*;
use std::collections::BTreeSet;

const MIB: usize = 1 << 20;

fn request() -> Request {
    Request {
        workers: Workers::Auto,
        workers_max: 64,
        cpus: None,
        node: None,
        bytes: 64 * MIB,
        huge: Huge::Auto,
        allowed: None,
        quota_cpus: None,
        pin: Pin::Cores,
        taken: Taken::default(),
    }
}

fn machine(description: &str) -> Topology {
    Topology::from_synthetic(description).unwrap()
}

/// 2 packages of 8 cores of 2 siblings: CPUs 2n and 2n + 1 share core n; node 1 starts at CPU 16.
fn two_sockets() -> Topology {
    machine("pack:2 numa:1 core:8 pu:2")
}

fn recorded() -> Topology {
    Topology::from_xml(include_str!("fixtures/two-node.xml")).unwrap()
}

fn check(
    machine: &Topology,
    request: Request,
    workers: &[usize],
    policy: Option<usize>,
    node: Option<usize>,
) {
    let plan = plan(machine, &request).unwrap();
    assert_eq!(plan.worker_cpus(), workers, "workers of {request:?}");
    assert_eq!(plan.policy.map(|seat| seat.cpu.index), policy, "policy of {request:?}");
    assert_eq!(plan.memory.node, node, "memory of {request:?}");
}

#[test]
fn one_node() {
    let one = machine("core:4 pu:1");
    check(&one, request(), &[0, 1, 2], Some(3), None);
    check(&one, Request { workers: Workers::Count(1), ..request() }, &[0], Some(1), None);
    check(&one, Request { workers: Workers::Count(4), ..request() }, &[0, 1, 2, 3], None, None);
    check(&one, Request { node: Some(0), ..request() }, &[0, 1, 2], Some(3), Some(0));
    check(&one, Request { cpus: Some(vec![2, 1]), ..request() }, &[1], Some(2), None);
    check(&one, Request { cpus: Some(vec![3]), ..request() }, &[3], None, None);
    check(&one, Request { allowed: Some(vec![1, 3]), ..request() }, &[1], Some(3), None);
    check(&machine("core:1 pu:1"), request(), &[0], None, None);
}

#[test]
fn cores_come_before_siblings() {
    let one = machine("core:4 pu:2");
    check(&one, Request { workers: Workers::Count(3), ..request() }, &[0, 2, 4], Some(6), None);
    check(&one, Request { workers: Workers::Count(5), ..request() }, &[0, 2, 4, 6, 1], Some(3), None);
    // Only second siblings are allowed: they are the only ones of their cores, and so no siblings at all.
    let odd = Request { allowed: Some(vec![1, 3, 5]), ..request() };
    check(&one, odd, &[1, 3], Some(5), None);
}

#[test]
fn workers_that_fit_one_node_stay_there() {
    let count = |count| Request { workers: Workers::Count(count), ..request() };
    check(&two_sockets(), count(3), &[0, 2, 4], Some(6), Some(0));
    check(&two_sockets(), Request { node: Some(1), ..count(3) }, &[16, 18, 20], Some(22), Some(1));
    // Node 1 has more of the allowed CPUs.
    let lopsided = Request { allowed: Some(vec![0, 2, 16, 18, 20]), ..count(2) };
    check(&two_sockets(), lopsided, &[16, 18], Some(20), Some(1));
    // 16 fill the node; the policy goes next door rather than on top of a worker.
    let full = plan(&two_sockets(), &count(16)).unwrap();
    assert!(full.workers.iter().all(|seat| seat.cpu.node == 0));
    assert_eq!(full.policy.unwrap().cpu.node, 1);
    assert_eq!(full.memory.node, Some(0));
}

#[test]
fn workers_that_fit_no_node_spread_over_cores_and_memory_follows_them() {
    let spread = plan(&two_sockets(), &Request { workers: Workers::Count(17), ..request() }).unwrap();
    assert_eq!(spread.memory.node, None);
    assert_eq!(spread.workers.iter().filter(|seat| seat.shares_core).count(), 1);
    assert!(spread.reasons.iter().any(|reason| reason.contains("--node N")), "{:?}", spread.reasons);
}

#[test]
fn memory_that_fits_no_node_is_not_bound() {
    let large = Request { workers: Workers::Count(1), bytes: 1000 * MIB, ..request() };
    check(&recorded(), large.clone(), &[0], Some(1), None);
    let error = plan(&recorded(), &Request { node: Some(1), ..large }).unwrap_err();
    assert!(matches!(error, Error::Memory { node: Some(1), .. }), "{error}");
}

#[test]
fn quota_bounds_auto_and_the_policys_own_cpu() {
    let quota = |quota| Request { quota_cpus: Some(quota), ..request() };
    let one = machine("core:8 pu:1");
    check(&one, quota(4.5), &[0, 1, 2], Some(3), None);
    check(&one, quota(2.0), &[0], Some(1), None);
    check(&one, quota(1.5), &[0], None, None);
    check(&one, quota(0.1), &[0], None, None);
    check(&one, quota(100.0), &[0, 1, 2, 3, 4, 5, 6], Some(7), None);
    let throttled = plan(&one, &Request { workers: Workers::Count(2), ..quota(1.5) }).unwrap();
    assert!(throttled.policy.is_none());
    assert!(throttled.reasons[0].contains("throttle"), "{:?}", throttled.reasons);
}

#[test]
fn auto_respects_the_limit_on_workers() {
    let plan = plan(&two_sockets(), &Request { workers_max: 4, ..request() }).unwrap();
    assert_eq!(plan.workers.len(), 4);
}

#[test]
fn impossible_requests_say_what_is_possible() {
    let count = |count| Request { workers: Workers::Count(count), ..request() };
    let cases: Vec<(Request, &str)> = vec![
        (count(0), "0 workers asked, 1 to 4 are possible"),
        (count(5), "5 workers asked, 1 to 4 are possible"),
        (Request { cpus: Some(vec![0, 9]), ..request() }, "CPU 9 cannot be used; CPUs that may be used: 0-3"),
        (Request { cpus: Some(vec![]), ..request() }, "no CPU is left; CPUs that may be used: 0-3"),
        (Request { cpus: Some(vec![2]), node: Some(0), ..request() }, "CPU 2 cannot be used on node 0;"),
        (Request { allowed: Some(vec![0]), node: Some(1), ..request() }, "no CPU is left on node 1"),
        (Request { node: Some(2), ..request() }, "node 2 does not exist"),
    ];
    for (request, words) in cases {
        let error = plan(&recorded(), &request).unwrap_err().to_string();
        assert!(error.contains(words), "{error:?} should say {words:?}");
    }
}

#[test]
fn pages_are_forecast_from_the_pools_of_the_node() {
    let pages = |bytes, huge, node| {
        let request = Request { bytes, huge, node, workers: Workers::Count(1), ..request() };
        plan(&recorded(), &request).unwrap().memory
    };
    assert_eq!(pages(128 * MIB, Huge::Auto, Some(1)).kind, Some(PageKind::TwoMib));
    let fallen = pages(130 * MIB, Huge::Auto, Some(1));
    assert_eq!(fallen.kind, Some(PageKind::Thp));
    assert!(
        fallen.refused[0].reason.ends_with(
            "run: echo 65 > /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages"
        )
    );
    assert_eq!(pages(130 * MIB, Huge::TwoMib, Some(1)).kind, None);
    assert_eq!(pages(1 << 40, Huge::Auto, None).kind, None);
    assert_eq!(pages(10 * MIB, Huge::Off, None).kind, Some(PageKind::Small));
}

#[test]
fn workers_are_a_number_or_auto() {
    for text in ["auto", "3"] {
        assert_eq!(text.parse::<Workers>().unwrap().to_string(), text);
    }
    assert!("many".parse::<Workers>().is_err() && "-1".parse::<Workers>().is_err());
}

fn auto(claimed: &[usize], busy: &[usize]) -> Request {
    let taken = Taken {
        claimed: claimed.iter().copied().collect(),
        busy: busy.iter().map(|cpu| (*cpu, 90)).collect(),
    };
    Request { workers: Workers::Count(1), pin: Pin::Auto, taken, ..request() }
}

/// Where worker 0 and the policy are pinned; none if they are not.
fn pinned(machine: &Topology, request: Request) -> Vec<usize> {
    plan(machine, &request).unwrap().pinned_cpus()
}

#[test]
fn auto_pins_only_where_whole_cores_are_free() {
    let one = machine("core:4 pu:1");
    assert_eq!(pinned(&one, auto(&[], &[])), [0, 1]);
    // The second server takes other cores than the first, and leaves those to others that they use.
    assert_eq!(pinned(&one, auto(&[0, 1], &[])), [2, 3]);
    assert_eq!(pinned(&one, auto(&[], &[0, 2])), [1, 3]);
    assert_eq!(pinned(&one, auto(&[1], &[0])), [2, 3]);
    // The third one finds none. It stacks nothing on CPU 0.
    for request in [auto(&[0, 1, 2, 3], &[]), auto(&[0, 1, 2], &[]), auto(&[3], &[0, 1])] {
        assert_eq!(pinned(&one, request), [0; 0]);
    }
    // A CPU whose sibling is taken is not free.
    let siblings = machine("core:3 pu:2");
    assert_eq!(pinned(&siblings, auto(&[1], &[])), [2, 4]);
    assert_eq!(pinned(&siblings, auto(&[1], &[4])), [2, 3]);
    assert_eq!(pinned(&siblings, auto(&[1], &[2, 4])), [0; 0]);
    // One CPU is enough where the policy runs on the worker's.
    assert_eq!(pinned(&machine("core:1 pu:1"), auto(&[], &[])), [0]);
    assert_eq!(pinned(&machine("core:1 pu:1"), auto(&[], &[0])), [0; 0]);
}

#[test]
fn named_cpus_are_pinned_to_unless_nothing_is() {
    let one = machine("core:4 pu:1");
    let named = |pin| Request { pin, cpus: Some(vec![0, 1]), ..auto(&[0], &[1]) };
    assert_eq!(pinned(&one, named(Pin::Auto)), [0, 1]);
    assert_eq!(pinned(&one, named(Pin::Cores)), [0, 1]);
    assert_eq!(pinned(&one, named(Pin::None)), [0; 0]);
    assert_eq!(pinned(&one, Request { cpus: None, ..named(Pin::Cores) }), [0, 1]);
    // Without a core of their own they may be on any of the named.
    let plan = plan(&one, &named(Pin::None)).unwrap();
    assert_eq!(plan.worker_affinities(), [Affinity::Any(vec![0, 1])]);
    assert_eq!(plan.policy_affinity(), Some(Affinity::Any(vec![0, 1])));
}

#[test]
fn a_plan_says_why_nothing_is_pinned() {
    let one = machine("core:2 pu:1");
    let reasons = |request| plan(&one, &request).unwrap().reasons.join("\n");
    let text = reasons(auto(&[0], &[1]));
    for words in [
        "threads are not pinned, and may run on CPU 0-1",
        "2 CPUs with free cores wanted, 0 there",
        "CPU 0 is pinned by another server",
        "CPU 1 is at least 90 % busy",
        "--pin cores",
    ] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    let four = plan(&machine("core:4 pu:1"), &auto(&[0], &[])).unwrap();
    assert!(four.reasons.join("\n").contains("pinned to free cores: CPU 0 is pinned by another server"));
    assert!(reasons(Request { pin: Pin::None, ..auto(&[], &[]) }).contains("may run on CPU 0-1"));
}

fn requests() -> impl Strategy<Value = Request> {
    let some_cpus = || prop::option::of(prop::collection::btree_set(0usize..36, 1..20));
    let workers = prop_oneof![Just(Workers::Auto), (0usize..36).prop_map(Workers::Count)];
    let node = prop::option::of(0usize..3);
    let quota = prop::option::of(0.1f64..40.0);
    (workers, 1usize..65, some_cpus(), node, some_cpus(), quota).prop_map(
        |(workers, workers_max, cpus, node, allowed, quota_cpus)| Request {
            workers,
            workers_max,
            cpus: cpus.map(Vec::from_iter),
            node,
            allowed: allowed.map(Vec::from_iter),
            quota_cpus,
            ..request()
        },
    )
}

fn machines() -> impl Strategy<Value = Topology> {
    (1usize..3, 1usize..9, 1usize..3).prop_map(|(nodes, cores, siblings)| {
        machine(&format!("pack:{nodes} numa:1 core:{cores} pu:{siblings}"))
    })
}

fn check_invariants(machine: &Topology, request: &Request, plan: &Plan) {
    let seats: Vec<_> = plan.workers.iter().chain(&plan.policy).copied().collect();
    let cpus: BTreeSet<usize> = seats.iter().map(|seat| seat.cpu.index).collect();
    assert_eq!(cpus.len(), seats.len(), "a CPU is used twice");
    assert!(!plan.workers.is_empty() && plan.workers.len() <= request.workers_max);
    for seat in &seats {
        assert_eq!(machine.cpu(seat.cpu.index), Some(&seat.cpu));
        let within = |set: &Option<Vec<usize>>| set.as_ref().is_none_or(|set| set.contains(&seat.cpu.index));
        assert!(within(&request.allowed) && within(&request.cpus));
        assert!(request.node.is_none_or(|node| node == seat.cpu.node));
    }
    match (request.workers, request.quota_cpus) {
        (Workers::Count(count), _) => assert_eq!(plan.workers.len(), count),
        (Workers::Auto, Some(quota)) => assert!(seats.len() as f64 <= quota.max(1.0)),
        (Workers::Auto, None) => {}
    }
    if let Some(node) = plan.memory.node {
        assert!(plan.workers.iter().all(|seat| seat.cpu.node == node), "memory is away from its workers");
    }
    // No sibling is used while a core of the same node is idle.
    let usable = machine.cpus.iter().filter(|cpu| {
        let within = |set: &Option<Vec<usize>>| set.as_ref().is_none_or(|set| set.contains(&cpu.index));
        within(&request.allowed) && within(&request.cpus)
    });
    for idle in usable.filter(|cpu| seats.iter().all(|seat| seat.cpu.core != cpu.core)) {
        let crowded = plan.workers.iter().any(|seat| seat.shares_core && seat.cpu.node == idle.node);
        assert!(!crowded, "core {} is idle, siblings are not", idle.core);
    }
    assert!(plan.policy.is_some() || plan.policy_cpu() == plan.workers.last().unwrap().cpu.index);
}

proptest! {
    #[test]
    fn plans_keep_their_promises(machine in machines(), request in requests()) {
        match plan(&machine, &request) {
            Ok(plan) => check_invariants(&machine, &request, &plan),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn what_can_be_planned_is_planned(machine in machines(), count in 1usize..33) {
        let request = Request { workers: Workers::Count(count), ..request() };
        prop_assert_eq!(plan(&machine, &request).is_ok(), count <= machine.cpus.len());
    }
}
