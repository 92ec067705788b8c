//! The load generator against a server whose faults are known: every request is accounted for, every fault is found.

use crate::server::{Faults, Seen, Server};
use crate::support::plan::plan;
use sherwood::load::keys::KeySpace;
use sherwood::load::plan::{Plan, Protocol, Stage};
use sherwood::load::replay::{Step, Trace};
use sherwood::load::run::{Context, Measured, run};
use sherwood::load::sizes::Size;
use sherwood::load::workload::{Ask, Verb};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const BOTH: [Protocol; 2] = [Protocol::Text, Protocol::Meta];

/// Runs a changed plan against a server with these faults; checks what must hold in every run.
fn check(faults: Faults, change: impl Fn(&mut Plan)) -> (Measured, Seen) {
    let server = Server::start(faults);
    let mut plan = plan(&[server.address]);
    change(&mut plan);
    let context = Context::new(&plan);
    let measured = run(&plan, &context, Stage::Measure, &mut |_| {}).unwrap();
    let seen = server.seen();
    for command in Verb::ALL {
        let c = measured.tally.of(command);
        assert_eq!(c.sent, c.hits + c.misses + c.lost + c.errors, "{}: {c:?}", command.name());
        let recorded = measured.latencies.of(command).count();
        assert_eq!(recorded, c.sent - c.lost, "a latency for each answer: {}", command.name());
    }
    assert_eq!(measured.tally.sent(), seen.commands, "what was sent is what the server saw");
    assert_eq!(measured.latencies.lost.count(), measured.tally.lost());
    assert!(measured.tally.sent() > 20, "{:?}", measured.tally);
    (measured, seen)
}

#[test]
fn without_faults_nothing_is_lost_or_wrong() {
    for protocol in BOTH {
        for (batch, coalesce) in [(1, true), (1, false), (10, true)] {
            let (measured, _) = check(Faults::default(), |plan| {
                (plan.protocol, plan.batch, plan.coalesce) = (protocol, batch, coalesce);
                plan.mix = "get:70,set:20,delete:5,touch:5".parse().unwrap();
            });
            let (tally, events) = (measured.tally, measured.tally.events);
            assert_eq!((tally.lost(), events.wrong, events.stale), (0, 0, 0));
            assert_eq!((events.late, events.duplicate, events.reordered, events.mismatched), (0, 0, 0, 0));
            // A window of requests leaves as one train, or one by one.
            assert_eq!(events.sends < events.datagrams_sent, coalesce);
            assert!(events.checked > 0 && events.checked == tally.of(Verb::Get).hits);
            assert!(tally.of(Verb::Delete).hits > 0 && tally.of(Verb::Touch).misses > 0);
        }
    }
}

#[test]
fn dropped_replies_are_lost_one_for_one() {
    for (protocol, batch) in
        [(Protocol::Text, 1), (Protocol::Meta, 1), (Protocol::Text, 5), (Protocol::Meta, 5)]
    {
        let (measured, seen) = check(Faults { drop: 10, ..Faults::default() }, |plan| {
            (plan.protocol, plan.batch, plan.timeout) = (protocol, batch, Duration::from_secs(2));
            // All that are dropped wait at once.
            (plan.window, plan.requests_max) = (64, 200);
        });
        assert!(seen.dropped > 0);
        assert_eq!(measured.tally.lost(), seen.dropped);
        assert_eq!((measured.tally.events.wrong, measured.tally.events.stale), (0, 0));
    }
}

#[test]
fn doubled_replies_are_counted_and_answer_once() {
    let (measured, seen) = check(Faults { duplicate: 7, ..Faults::default() }, |_| {});
    assert_eq!(measured.tally.lost(), 0);
    // The second copy of the very last reply may come after the run.
    assert!(seen.duplicated - measured.tally.events.duplicate <= 1 && seen.duplicated > 0);
}

#[test]
fn swapped_replies_are_counted_and_not_lost() {
    let (measured, _) = check(Faults { swap: 5, ..Faults::default() }, |plan| plan.coalesce = false);
    assert!(measured.tally.events.reordered > 0);
    // A reply held at the end of the run has no next one to follow.
    assert!(measured.tally.lost() <= 1, "{:?}", measured.tally);
}

#[test]
fn late_replies_are_lost_first_and_late_then() {
    let hold = (20, Duration::from_millis(500));
    let (measured, seen) = check(Faults { hold, ..Faults::default() }, |plan| {
        (plan.window, plan.timeout, plan.requests_max) = (4, Duration::from_millis(300), 120);
    });
    let (lost, late) = (measured.tally.lost(), measured.tally.events.late);
    assert_eq!(lost, seen.held);
    assert!(late > 0 && late <= lost, "{late} of {lost}");
    assert_eq!(measured.tally.events.wrong, 0);
}

#[test]
fn errors_are_neither_hits_nor_losses() {
    for protocol in BOTH {
        let (measured, seen) =
            check(Faults { error: 9, ..Faults::default() }, |plan| plan.protocol = protocol);
        let errors: u64 = measured.tally.commands.iter().map(|c| c.errors).sum();
        assert_eq!(errors, seen.errors);
        assert_eq!((measured.tally.lost(), measured.tally.events.stale), (0, 0));
    }
}

#[test]
fn every_wrong_value_is_found() {
    for (protocol, batch) in
        [(Protocol::Text, 1), (Protocol::Meta, 1), (Protocol::Text, 4), (Protocol::Meta, 4)]
    {
        for faults in [Faults { flip: 11, ..Faults::default() }, Faults { other: 11, ..Faults::default() }] {
            let (measured, seen) = check(faults, |plan| (plan.protocol, plan.batch) = (protocol, batch));
            assert_eq!(measured.tally.events.wrong, seen.spoilt);
            assert!(seen.spoilt > 0);
        }
    }
}

#[test]
fn a_forgotten_set_is_stale_and_not_wrong() {
    for protocol in BOTH {
        let (measured, _) =
            check(Faults { forget: 10, ..Faults::default() }, |plan| plan.protocol = protocol);
        assert!(measured.tally.events.stale > 0);
        assert_eq!(measured.tally.events.wrong, 0);
    }
}

#[test]
fn long_replies_come_together_in_any_order() {
    for (backwards, split_keys) in [(false, false), (true, false), (false, true)] {
        for protocol in BOTH {
            let (measured, _) = check(Faults { backwards, split_keys, ..Faults::default() }, |plan| {
                (plan.protocol, plan.batch, plan.window) = (protocol, 3, 2);
                plan.value_size = Size::Range { from: 100, to: 9000, seed: 1 };
            });
            let events = measured.tally.events;
            assert_eq!(
                (measured.tally.lost(), events.wrong, events.garbage),
                (0, 0, 0),
                "{backwards} {split_keys}"
            );
            assert!(events.checked > 50);
        }
    }
}

#[test]
fn a_value_that_fits_no_request_is_cut_and_counted() {
    let (measured, _) = check(Faults::default(), |plan| {
        plan.value_size = Size::Fixed(100_000);
        plan.window = 1;
    });
    assert_eq!(measured.tally.events.clamped, measured.tally.of(Verb::Set).sent);
    assert_eq!((measured.tally.lost(), measured.tally.events.wrong), (0, 0));
}

#[test]
fn a_fill_sends_lost_keys_again_until_all_are_there() {
    let server = Server::start(Faults { drop: 3, ..Faults::default() });
    let mut plan = plan(&[server.address]);
    (plan.threads, plan.connections, plan.timeout) = (2, 2, Duration::from_millis(20));
    let filled = run(&plan, &Context::new(&plan), Stage::Fill, &mut |_| {}).unwrap();
    assert_eq!((filled.unfilled, filled.tally.of(Verb::Set).hits), (0, plan.keys.keys()));
    assert!(filled.tally.lost() > 0);
}

#[test]
fn the_same_seed_sends_the_same_requests() {
    let bodies = |seed| {
        let (_, seen) = check(Faults::default(), |plan| {
            (plan.window, plan.seed, plan.verify) = (1, seed, false);
            plan.value_size = Size::Fixed(10);
        });
        let mut bodies = seen.bodies;
        bodies.truncate(100);
        assert_eq!(bodies.len(), 100);
        bodies
    };
    assert_eq!(bodies(1), bodies(1));
    assert_ne!(bodies(1), bodies(2));
}

#[test]
fn several_servers_form_one_cache() {
    let servers = [Server::start(Faults::default()), Server::start(Faults::default())];
    let mut plan = plan(&[servers[0].address, servers[1].address]);
    (plan.batch, plan.connections) = (4, 3);
    let context = Context::new(&plan);
    run(&plan, &context, Stage::Fill, &mut |_| {}).unwrap();
    plan.mix = "get:1".parse().unwrap();
    let measured = run(&plan, &context, Stage::Measure, &mut |_| {}).unwrap();
    let get = measured.tally.of(Verb::Get);
    assert_eq!((get.misses, get.lost, measured.tally.events.wrong), (0, 0, 0));
    assert!(servers.iter().all(|s| s.seen().requests > 20));
}

#[test]
fn a_recorded_trace_keeps_its_times_and_a_missed_key_is_set() {
    let server = Server::start(Faults::default());
    let mut plan = plan(&[server.address]);
    let step = |i: u64| Step {
        due_ns: i * 4_000_000,
        ask: Ask { command: Verb::Get, key: (i % 5) as u32, value_bytes: 50, ttl_s: 0 },
    };
    let trace = Trace { names: (0..5).collect(), steps: (0..50).map(step).collect(), sizes_unknown: 0 };
    plan.keys = KeySpace::named(trace.names.clone(), Size::Fixed(16)).unwrap();
    (plan.trace, plan.recorded, plan.duration) = (Some(Arc::new(trace)), true, Duration::from_secs(60));
    let measured = run(&plan, &Context::new(&plan), Stage::Measure, &mut |_| {}).unwrap();
    let (get, set) = (measured.tally.of(Verb::Get), measured.tally.of(Verb::Set));
    assert_eq!((get.sent, get.misses, set.hits), (50, 5, 5));
    assert!((0.195..5.0).contains(&measured.seconds), "49 gaps of 4 ms took {} s", measured.seconds);
}

/// A real trace, where the folder with traces lies beside the project.
#[test]
fn a_shared_trace_misses_each_key_once_in_a_cache_that_forgets_nothing() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/traces/gli.ctr.zst"));
    if !path.exists() {
        println!("SKIPPED: no ../shared/traces beside the project");
        return;
    }
    for threads in [1, 2] {
        let server = Server::start(Faults::default());
        let mut plan = plan(&[server.address]);
        let trace = Trace::load(path, &Size::Fixed(100), 16).unwrap();
        let (records, keys) = (trace.steps.len() as u64, trace.names.len() as u64);
        plan.keys = KeySpace::named(trace.names.clone(), Size::Fixed(16)).unwrap();
        (plan.threads, plan.connections, plan.duration) = (threads, threads, Duration::from_secs(60));
        plan.trace = Some(Arc::new(trace));
        let measured = run(&plan, &Context::new(&plan), Stage::Measure, &mut |_| {}).unwrap();
        let get = measured.tally.of(Verb::Get);
        assert_eq!((get.sent, get.misses, get.lost), (records, keys, 0), "{threads} threads");
        assert_eq!((measured.tally.events.wrong, measured.tally.events.stale), (0, 0));
    }
}

/// The trap that an open loop avoids: a server that does nothing for a while makes a closed loop send nothing for that
/// while, so only one reply of each connection is slow.
#[test]
fn a_stall_shows_in_the_open_loop_and_hides_in_the_closed_one() {
    let stall = (100, Duration::from_millis(150));
    let faults = Faults { stall, ..Faults::default() };
    let slow = |plan: &mut Plan| {
        (plan.window, plan.timeout) = (1, Duration::from_secs(2));
    };
    let (closed, _) = check(faults, slow);
    let (open, _) = check(faults, |plan| {
        slow(plan);
        // 120 requests meet the stall; the server's socket has room for them.
        (plan.rate_per_s, plan.requests_max) = (Some(800.0), 480);
    });
    let p99_ms = |m: &Measured| m.latencies.all().summary().p99 / 1000.0;
    assert!(closed.latencies.all().summary().max / 1000.0 > 140.0, "one request met the stall");
    assert!(p99_ms(&open) > 100.0, "open: p99 {} ms", p99_ms(&open));
    assert!(p99_ms(&closed) < p99_ms(&open) / 2.0, "closed: p99 {} ms", p99_ms(&closed));
    let slower = |m: &Measured| m.latencies.all().summary().max;
    assert!(slower(&open) > 140_000.0);
}
