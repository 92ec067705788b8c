//! Who is answered how often: the bounds that keep a forged address from being flooded, and from being cut off.

use crate::support::stepped::Stepped;
use protocol::batch::FrameWriter;
use sherwood::guard::Secret;
use sherwood::limits::SOURCE_BUDGET_PER_S;
use sherwood::net::PeerAddr;
use sherwood::stats::counters::{Counter, WorkerCounters};
use sherwood::worker::Access;
use std::net::SocketAddr;

fn peer() -> PeerAddr {
    PeerAddr::from(SocketAddr::from(([10, 77, 0, 1], 40_000)))
}

fn strict() -> Stepped {
    let secret = Some(Secret::new(b"what nobody outside can guess").unwrap());
    Stepped::with_access(Access { secret, ..Access::default() })
}

fn trusting() -> Stepped {
    Stepped::with_access(Access { allow: vec!["10.77.0.0/24".parse().unwrap()], ..Access::default() })
}

/// Sends a text request and returns the body of its reply; empty for silence.
fn ask(server: &mut Stepped, body: &[u8]) -> Vec<u8> {
    server.send_from(0, peer(), &[&[0, 7, 0, 0, 0, 1, 0, 0][..], body].concat());
    server.settle();
    std::iter::from_fn(|| server.receive(0)).flat_map(|datagram| datagram[8..].to_vec()).collect()
}

fn count(server: &Stepped, pick: fn(&WorkerCounters) -> &Counter) -> u64 {
    pick(server.worker(0).counters()).get()
}

#[test]
fn a_flood_of_challenges_in_its_name_does_not_take_a_client_its_cookie() {
    let mut server = strict();
    let challenge = ask(&mut server, b"cookie ????????????????\r\n");
    let cookie = [b"cookie ", challenge.strip_prefix(b"COOKIE ").expect("a challenge")].concat();
    for _ in 0..10 * SOURCE_BUDGET_PER_S as usize {
        ask(&mut server, b"cookie 0123456789abcdef\r\n");
    }
    assert_eq!(ask(&mut server, b"cookie ????????????????\r\n"), b"");
    assert_eq!(count(&server, |w| &w.challenges), SOURCE_BUDGET_PER_S as u64);
    assert!(count(&server, |w| &w.challenges_muted) > 0);
    // The cookie alone is answered with the newest one, as often as it is sent.
    for _ in 0..2 * SOURCE_BUDGET_PER_S as usize {
        assert_eq!(ask(&mut server, &cookie), challenge);
    }
    // Neither its data nor its errors have to do with it.
    assert_eq!(ask(&mut server, &[&cookie[..], b"get a\r\n"].concat()), b"END\r\n");
    assert_eq!(ask(&mut server, &[&cookie[..], b"nonsense\r\n"].concat()), b"ERROR\r\n");
    assert_eq!(count(&server, |w| &w.errors_muted), 0);
}

#[test]
fn what_is_not_allowed_is_not_said_to_who_wants_no_reply() {
    let mut server = trusting();
    for command in ["flush_all", "flush_all 10", "verbosity 1", "cache_memlimit 100"] {
        let said = ask(&mut server, format!("{command}\r\nmn\r\n").as_bytes());
        assert_eq!(said, b"CLIENT_ERROR command not allowed\r\nMN\r\n", "{command}");
        let unsaid = ask(&mut server, format!("{command} noreply\r\nmn\r\n").as_bytes());
        assert_eq!(unsaid, b"MN\r\n", "{command} noreply");
    }
    assert_eq!(count(&server, |w| &w.protocol_errors), 8);
}

/// Every way to make an error, each more often than a source may.
#[test]
fn every_error_counts_against_its_source() {
    let others = Stepped::key_of(1, 0);
    for line in [
        "nonsense".to_owned(),
        "get".into(),
        "stats".into(),
        "flush_all".into(),
        "verbosity 1".into(),
        "mg !!! b v".into(),
        "ms a 2 b\r\nhi".into(),
        "mg a zz".into(),
        "set a 0 0 zz".into(),
        // Behind a command that another worker executes: the datagram goes on when its answer is there.
        format!("set {others} 0 0 1\r\nx\r\nnonsense"),
        format!("gat 0 {others}\r\nflush_all"),
    ] {
        let mut server = trusting();
        let request = format!("{line}\r\n");
        let answered = (0..3 * SOURCE_BUDGET_PER_S as usize)
            .filter(|_| !ask(&mut server, request.as_bytes()).is_empty())
            .count();
        assert_eq!(answered, SOURCE_BUDGET_PER_S as usize, "{line}");
        assert_eq!(count(&server, |w| &w.errors_muted), 2 * SOURCE_BUDGET_PER_S as u64, "{line}");
    }
}

/// A datagram whose reply finds no room stays in the inbox. It is not judged again: its seal is good once, and what is refused is
/// counted once.
#[test]
fn a_datagram_that_stays_in_the_inbox_is_judged_once() {
    const VALUE_BYTES: usize = 60_000;
    let secret = Secret::new(b"what nobody outside can guess").unwrap();
    let mut server = strict();
    let key = Stepped::key_of(0, 0);
    let set = format!("set {key} 0 0 {VALUE_BYTES}\r\n{}\r\n", "x".repeat(VALUE_BYTES));
    server.send(0, &[&[0, 7, 0, 0, 0, 1, 0, 0][..], set.as_bytes()].concat());
    server.settle();
    assert!(server.receive(0).is_some_and(|reply| reply.ends_with(b"STORED\r\n")));
    let (mut sent, frames) = (server.worker(0).counters().bytes_read.get(), 200);
    for sequence in 0..frames {
        let mut frame = Vec::new();
        let unix_ms = server.unix_s() * 1000;
        let mut writer = FrameWriter::begin(sequence as u16, &mut frame);
        writer = writer.sealed(unix_ms, 7, sequence, &mut frame);
        writer.get(key.as_bytes(), &mut frame);
        writer.finish(&mut frame);
        secret.seal.stamp(&mut frame);
        server.send_from(0, peer(), &frame);
        server.send_from(0, peer(), b"short");
        sent += frame.len() as u64 + 5;
    }
    let mut ticks = 0;
    let mut answered = std::collections::BTreeSet::new();
    while answered.len() < frames as usize && ticks < 1_000 {
        server.tick(0);
        ticks += 1;
        while let Some(reply) = server.receive(0) {
            answered.insert(u16::from_be_bytes([reply[0], reply[1]]));
        }
    }
    assert!(ticks > 2 && answered.len() == frames as usize, "{} answered in {ticks} ticks", answered.len());
    assert_eq!(count(&server, |w| &w.seals_replayed) + count(&server, |w| &w.challenges), 0);
    assert_eq!(count(&server, |w| &w.refused_short), frames);
    assert_eq!(count(&server, |w| &w.get_hits), frames);
    assert_eq!(count(&server, |w| &w.bytes_read), sent);
}
