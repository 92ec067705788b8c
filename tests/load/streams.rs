//! The load generator over streams, against a TCP server whose faults are known: every request is accounted for.

use crate::stream_server::{Faults, StreamServer};
use crate::support::plan::plan;
use sherwood::load::plan::{Plan, Protocol, Stage};
use sherwood::load::run::{Context, Measured, run};
use sherwood::load::schedule::Arrivals;
use sherwood::load::sizes::Size;
use sherwood::load::transport::Kind;
use sherwood::load::workload::Verb;
use std::time::Duration;

const BOTH: [Protocol; 2] = [Protocol::Text, Protocol::Meta];

/// Runs a changed plan against a server with these faults; checks what must hold in every run.
fn check(faults: Faults, change: impl Fn(&mut Plan)) -> (Measured, StreamServer) {
    let server = StreamServer::start(faults);
    let mut plan = plan(&[server.address]);
    plan.transport = Kind::Tcp;
    change(&mut plan);
    let context = Context::new(&plan);
    let measured = run(&plan, &context, Stage::Measure, &mut |_| {}).unwrap();
    for command in Verb::ALL {
        let c = measured.tally.of(command);
        assert_eq!(c.sent, c.hits + c.misses + c.lost + c.errors, "{}: {c:?}", command.name());
        let recorded = measured.latencies.of(command).count();
        assert_eq!(recorded, c.sent - c.lost, "a latency for each answer: {}", command.name());
    }
    assert_eq!(measured.latencies.lost.count(), measured.tally.lost());
    assert!(measured.tally.sent() > 20, "{:?}", measured.tally);
    (measured, server)
}

#[test]
fn without_faults_nothing_is_lost_or_wrong() {
    for protocol in BOTH {
        for (batch, connections, window) in [(1, 1, 8), (10, 1, 4), (1, 5, 1), (64, 3, 2)] {
            for cut in [false, true] {
                let (measured, server) = check(Faults { cut, ..Faults::default() }, |plan| {
                    (plan.protocol, plan.batch) = (protocol, batch);
                    (plan.connections, plan.window) = (connections, window);
                    plan.mix = "get:70,set:20,delete:5,touch:5".parse().unwrap();
                    plan.requests_max = if cut { 300 } else { 3000 };
                });
                let (tally, events) = (measured.tally, measured.tally.events);
                assert_eq!(server.commands(), tally.sent(), "what was sent is what the server saw");
                assert_eq!(server.connections(), connections as u64);
                assert_eq!((tally.lost(), tally.errors(), events.wrong, events.stale), (0, 0, 0, 0));
                assert_eq!((events.late, events.unknown, events.garbage, events.mismatched), (0, 0, 0, 0));
                assert_eq!((events.disconnects, events.reconnects), (0, 0));
                assert_eq!(events.checked, tally.of(Verb::Get).hits);
                assert!(tally.of(Verb::Touch).sent > 0 && tally.of(Verb::Delete).sent > 0);
            }
        }
    }
}

/// It sent nothing but what it was behind with since the warm-up, and so had nothing to report.
#[test]
fn an_overloaded_open_loop_says_what_was_answered_and_what_was_never_sent() {
    const RATE_PER_S: f64 = 50e6;
    for (arrivals, tolerance) in [(Arrivals::Constant, 1), (Arrivals::Poisson, 100_000)] {
        let (measured, _server) = check(Faults::default(), |plan| {
            (plan.rate_per_s, plan.arrivals, plan.requests_max) = (Some(RATE_PER_S), arrivals, u64::MAX);
            (plan.warmup, plan.duration) = (Duration::from_millis(100), Duration::from_millis(400));
        });
        let (sent, offered) = (measured.tally.sent(), RATE_PER_S as u64 * 4 / 10);
        assert_eq!((measured.tally.lost(), measured.tally.answered()), (0, sent));
        assert!((sent + measured.unsent).abs_diff(offered) <= tolerance, "{sent} + {}", measured.unsent);
        assert!(measured.unsent > sent, "{sent} + {}", measured.unsent);
    }
}

#[test]
fn long_values_are_whole_however_they_are_cut() {
    for protocol in BOTH {
        let (measured, _server) = check(Faults::default(), |plan| {
            plan.protocol = protocol;
            plan.value_size = Size::Range { from: 1, to: 3 << 20, seed: 1 };
            plan.requests_max = 60;
            plan.mix = "get:50,set:50".parse().unwrap();
            plan.keys = sherwood::load::keys::KeySpace::numbered(3, Size::Fixed(16)).unwrap();
            plan.timeout = Duration::from_secs(30);
        });
        let events = measured.tally.events;
        assert_eq!((measured.tally.lost(), events.wrong, events.clamped), (0, 0, 0));
        assert!(events.checked > 10, "{events:?}");
    }
}

#[test]
fn a_wrong_value_is_found() {
    let (measured, _server) = check(Faults { flip: 50, ..Faults::default() }, |_| {});
    assert!(measured.tally.events.wrong > 0);
}

#[test]
fn a_connection_that_breaks_is_opened_again_and_its_requests_are_lost() {
    for in_the_middle in [false, true] {
        let (measured, server) = check(Faults { close: (100, in_the_middle), ..Faults::default() }, |_| {});
        let (tally, events) = (measured.tally, measured.tally.events);
        assert!(events.disconnects >= 10 && tally.lost() >= events.disconnects, "{tally:?}");
        assert_eq!(events.reconnects, events.disconnects);
        assert!(server.connections() > events.reconnects, "{events:?}");
        assert_eq!((events.wrong, events.stale, events.given_up), (0, 0, 0));
        assert!(tally.answered() > tally.lost());
    }
}

#[test]
fn garbage_ends_a_connection_and_an_error_does_not() {
    let (measured, _server) = check(Faults { garbage: 200, ..Faults::default() }, |_| {});
    let events = measured.tally.events;
    assert!(events.garbage > 0 && events.garbage == events.disconnects, "{events:?}");
    for protocol in BOTH {
        let (measured, _server) = check(Faults { error: 10, ..Faults::default() }, |plan| {
            (plan.protocol, plan.batch) = (protocol, 5);
        });
        let tally = measured.tally;
        assert!(tally.errors() > 20 && tally.lost() == 0, "{tally:?}");
        assert_eq!((tally.events.disconnects, tally.events.garbage), (0, 0));
        assert_eq!(tally.first_error.text().as_deref(), Some("SERVER_ERROR busy"));
    }
}

#[test]
fn a_reply_that_nobody_asked_for_ends_a_connection() {
    let (measured, _server) = check(Faults { extra: 100, ..Faults::default() }, |plan| plan.window = 1);
    let (tally, events) = (measured.tally, measured.tally.events);
    // With one request in flight it stands behind all that were asked for, or comes while nothing is.
    assert!(events.unknown + events.garbage + tally.lost() > 0, "{tally:?}");
    assert!(events.unknown > 0 && events.disconnects >= events.unknown, "{events:?}");
    assert_eq!((events.wrong, events.stale, events.given_up), (0, 0, 0));
}

#[test]
fn a_late_reply_is_counted_and_its_request_stays_lost() {
    let hold = (500, Duration::from_millis(200));
    let (measured, server) = check(Faults { hold, ..Faults::default() }, |plan| {
        plan.timeout = Duration::from_millis(20);
        plan.requests_max = 1900;
        plan.mix = "get:1".parse().unwrap();
    });
    let (tally, events) = (measured.tally, measured.tally.events);
    // Those behind the held one are lost, too; the run may end before the replies to the last ones.
    assert!(tally.lost() >= 8 && events.late > 0 && events.late <= tally.lost(), "{tally:?}");
    assert_eq!((events.disconnects, server.connections(), events.unknown), (0, 1, 0));
}

#[test]
fn in_an_open_loop_the_wait_for_a_full_window_is_latency_and_not_the_clients() {
    // Every tenth reply takes 2 ms, so that 500 requests a connection and second are 5 times what the window lets through.
    let hold = (1, Duration::from_millis(10));
    let (measured, _server) = check(Faults { hold, ..Faults::default() }, |plan| {
        (plan.rate_per_s, plan.window) = (Some(1000.0), 1);
        plan.requests_max = 60;
        plan.timeout = Duration::from_secs(30);
        plan.mix = "get:1".parse().unwrap();
    });
    let events = measured.tally.events;
    assert!(events.window_full > 0 && events.ids_exhausted == 0, "{events:?}");
    // 60 requests were due within 60 ms and answered within 600 ms.
    let latency_us = measured.latencies.of(Verb::Get).summary();
    let lag_us = measured.latencies.send_lag.summary();
    assert!(latency_us.max > 500_000.0 && lag_us.p50 < latency_us.p50 / 2.0, "{latency_us:?} {lag_us:?}");
}

#[test]
fn a_server_that_is_gone_ends_the_run() {
    let server = StreamServer::start(Faults { full: true, ..Faults::default() });
    let mut plan = plan(&[server.address]);
    (plan.transport, plan.connections) = (Kind::Tcp, 2);
    let measured = run(&plan, &Context::new(&plan), Stage::Fill, &mut |_| {}).unwrap();
    let events = measured.tally.events;
    let tally = &measured.tally;
    assert_eq!((tally.answered(), events.given_up), (tally.errors(), 2), "{tally:?}");
    assert_eq!(measured.unfilled, plan.keys.keys());
    let said = measured.tally.first_error.text().unwrap();
    assert_eq!(said, "ERROR Too many open connections");
    drop(server);
    let error = run(&plan, &Context::new(&plan), Stage::Fill, &mut |_| {}).err().unwrap();
    assert!(error.contains("is a server listening there?"), "{error}");
}

#[test]
fn batch_frames_do_not_go_over_streams() {
    let server = StreamServer::start(Faults::default());
    let mut plan = plan(&[server.address]);
    (plan.transport, plan.protocol) = (Kind::Tcp, Protocol::Batch);
    let error = run(&plan, &Context::new(&plan), Stage::Measure, &mut |_| {}).err().unwrap();
    assert!(error.contains("--transport udp"), "{error}");
}

#[test]
fn several_servers_are_one_cache() {
    let servers = [StreamServer::start(Faults::default()), StreamServer::start(Faults::default())];
    let mut plan = plan(&[servers[0].address, servers[1].address]);
    (plan.transport, plan.connections) = (Kind::Tcp, 3);
    let measured = run(&plan, &Context::new(&plan), Stage::Fill, &mut |_| {}).unwrap();
    assert_eq!((measured.unfilled, measured.tally.lost()), (0, 0));
    assert!(servers.iter().all(|server| server.commands() > 50 && server.connections() == 3));
}
