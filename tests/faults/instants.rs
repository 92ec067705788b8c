//! The wall clock is set, or the machine was suspended, while a server runs: seals, cookies and absolute expiry times follow
//! the present time, times to live do not move.

use crate::support::batch::{sealed, statuses};
use crate::support::stepped::Stepped;
use protocol::batch::{SealKey, Status};
use sherwood::guard::Secret;
use sherwood::net::PeerAddr;
use sherwood::worker::Access;
use std::net::SocketAddr;
use std::time::Duration;

const SECRET: &[u8] = b"what nobody outside can guess";

fn server() -> Stepped {
    Stepped::with_access(Access { secret: Some(Secret::new(SECRET).unwrap()), ..Access::default() })
}

fn stranger() -> PeerAddr {
    PeerAddr::from(SocketAddr::from(([10, 77, 0, 1], 40_000)))
}

/// The body of the reply to a datagram.
fn ask(server: &mut Stepped, from: Option<PeerAddr>, datagram: &[u8]) -> Vec<u8> {
    match from {
        Some(peer) => server.send_from(0, peer, datagram),
        None => server.send(0, datagram),
    }
    server.settle();
    server.receive(0).map(|datagram| datagram[8..].to_vec()).unwrap_or_default()
}

fn text(body: &str) -> Vec<u8> {
    [&[0, 7, 0, 0, 0, 1, 0, 0][..], body.as_bytes()].concat()
}

/// By how much a clock may be wrong: an hour, a time zone, a suspended night, a date before the clock was ever set.
const WRONG_BY_S: [i64; 6] = [-3600, 3600, -7200, 31, 36_000, -300_000_000];

#[test]
fn seals_are_judged_by_the_present_wall_clock() {
    let key = SealKey::new(SECRET).unwrap();
    for wrong_by_s in WRONG_BY_S {
        let mut server = server();
        server.advance(Duration::from_secs(5));
        let ask_sealed = |server: &mut Stepped, unix_s: u64, sequence| {
            let datagram = sealed(&key, (unix_s * 1000, 1, sequence), 7, "a");
            statuses(&ask(server, Some(stranger()), &datagram))
        };
        let wrong_s = server.unix_s();
        assert_eq!(ask_sealed(&mut server, wrong_s, 1), [Status::Missing], "before");
        server.set_wall(-wrong_by_s);
        let right_s = server.unix_s();
        assert_eq!(ask_sealed(&mut server, right_s, 2), [Status::Missing], "put right by {wrong_by_s} s");
        assert_eq!(ask_sealed(&mut server, right_s, 2), [Status::Cookie], "a copy");
        assert_eq!(ask_sealed(&mut server, wrong_s, 3), [Status::Cookie], "the wrong time");
    }
}

#[test]
fn cookies_are_those_of_the_present_wall_clock() {
    let secret = Secret::new(SECRET).unwrap();
    for wrong_by_s in WRONG_BY_S {
        let mut server = server();
        server.set_wall(-wrong_by_s);
        // What another server that shares the secret, and whose clock is right, gave this client.
        let of_another = secret.challenge(stranger().ip(), server.unix_s());
        let line = String::from_utf8(of_another.to_vec()).unwrap().to_lowercase();
        assert_eq!(
            ask(&mut server, Some(stranger()), &text(&format!("{line}mn\r\n"))),
            b"MN\r\n",
            "{wrong_by_s} s"
        );
        assert_eq!(ask(&mut server, Some(stranger()), &text("cookie ????????????????\r\n")), of_another);
    }
}

#[test]
fn absolute_times_are_those_of_the_present_wall_clock_and_times_to_live_stay() {
    for wrong_by_s in WRONG_BY_S {
        let mut server = server();
        let key = Stepped::key_of(0, 0);
        let store = |server: &mut Stepped, exptime: u64| {
            let set = text(&format!("set {key} 0 {exptime} 1\r\nx\r\n"));
            assert_eq!(ask(server, None, &set), b"STORED\r\n");
        };
        let is_there =
            |server: &mut Stepped| ask(server, None, &text(&format!("get {key}\r\n"))) != b"END\r\n";
        store(&mut server, 100);
        server.set_wall(-wrong_by_s);
        server.advance(Duration::from_secs(98));
        assert!(is_there(&mut server), "a time to live of 100 s, after 98 s");
        server.advance(Duration::from_secs(4));
        assert!(!is_there(&mut server), "a time to live of 100 s, after 102 s");

        let at_s = server.unix_s() + 100;
        store(&mut server, at_s);
        server.advance(Duration::from_secs(98));
        assert!(is_there(&mut server), "2 s before its time, put right by {wrong_by_s} s");
        // What was stored is not moved by the clock any more.
        server.set_wall(7200);
        assert!(is_there(&mut server));
        server.advance(Duration::from_secs(4));
        assert!(!is_there(&mut server), "2 s after its time, put right by {wrong_by_s} s");
    }
}
