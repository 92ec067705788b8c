//! The plan that the tests of the load generator start from.

use sherwood::load::keys::{Distribution, KeySpace};
use sherwood::load::plan::{Plan, Protocol};
use sherwood::load::schedule::Arrivals;
use sherwood::load::sizes::Size;
use sherwood::load::target::Targets;
use sherwood::load::transport::Kind;
use sherwood::load::wait::Polling;
use std::net::SocketAddr;
use std::time::Duration;

/// A short closed-loop run of text gets and sets against these servers.
pub fn plan(servers: &[SocketAddr]) -> Plan {
    Plan {
        targets: Targets::new(servers.to_vec()),
        transport: Kind::Udp,
        protocol: Protocol::Text,
        rate_per_s: None,
        arrivals: Arrivals::Constant,
        window: 8,
        connections: 1,
        threads: 1,
        cpus: Vec::new(),
        duration: Duration::from_secs(60),
        requests_max: 2000,
        warmup: Duration::ZERO,
        seed: 1,
        keys: KeySpace::numbered(200, Size::Fixed(16)).unwrap(),
        distribution: Distribution::Uniform,
        mix: "get:70,set:30".parse().unwrap(),
        value_size: Size::Fixed(100),
        ttl_s: 0,
        batch: 1,
        owners: 1,
        seal: None,
        coalesce: true,
        verify: true,
        trace: None,
        recorded: false,
        // Far longer than a busy machine keeps a thread from running: only what a fault swallows is lost.
        timeout: Duration::from_secs(3),
        polling: Polling::Block,
        interval: Duration::from_millis(100),
    }
}
