//! Two servers that are made to talk to each other by a forged datagram stop at once: no reply is a request.
//!
//! ```text
//! forged datagram ─▶ A ─ its reply ─▶ B ─ its reply ─▶ A …      at most one reply, whoever trusts whom and whatever is muted
//! ```

use crate::support::batch::{frame, get, op, set, with_cookie};
use crate::support::stepped::Stepped;
use cache::base::random::Random;
use protocol::batch::Code;
use sherwood::guard::Secret;
use sherwood::limits::SOURCE_BUDGET_PER_S;
use sherwood::net::PeerAddr;
use sherwood::worker::Access;
use std::net::SocketAddr;
use std::time::Duration;

/// Replies that may follow one datagram: the one of the server that it was forged for.
const REPLIES_MAX: usize = 1;
/// So many are looked at before a loop is called endless.
const ROUNDS_MAX: usize = 20;

/// How a server sees the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sees {
    Admin,
    Data,
    Stranger(&'static [u8]),
}

const OURS: Sees = Sees::Stranger(b"a secret that both may share");
const THEIRS: Sees = Sees::Stranger(b"a secret of another cluster");

fn server(sees: Sees) -> Stepped {
    let network = || vec!["10.77.0.0/24".parse().unwrap()];
    Stepped::with_access(match sees {
        Sees::Admin => Access { admin: network(), ..Access::default() },
        Sees::Data => Access { allow: network(), ..Access::default() },
        Sees::Stranger(secret) => Access { secret: Some(Secret::new(secret).unwrap()), ..Access::default() },
    })
}

fn peer(last: u8) -> PeerAddr {
    PeerAddr::from(SocketAddr::from(([10, 77, 0, last], 11211)))
}

/// Two servers and the network between them.
struct Pair {
    servers: [Stepped; 2],
    /// How long a datagram is on its way.
    delay: Duration,
}

impl Pair {
    /// Lets `to` receive a datagram in the other's name; its replies.
    fn deliver(&mut self, to: usize, datagram: &[u8]) -> Vec<Vec<u8>> {
        let server = &mut self.servers[to];
        let peer = peer(1 - to as u8);
        server.send_from(to, peer, datagram);
        self.servers[to].settle();
        self.servers.iter().for_each(|server| server.advance(self.delay));
        std::iter::from_fn(|| (0..2).find_map(|worker| self.servers[to].receive(worker))).collect()
    }

    /// Forges a datagram and delivers all that follows from it; how many rounds of replies that were.
    fn rounds(&mut self, datagram: &[u8]) -> usize {
        let (mut to, mut rounds, mut on_the_way) = (0, 0, vec![datagram.to_vec()]);
        while rounds < ROUNDS_MAX {
            let replies: Vec<_> = on_the_way.iter().flat_map(|datagram| self.deliver(to, datagram)).collect();
            if replies.is_empty() {
                break;
            }
            (to, rounds, on_the_way) = (1 - to, rounds + 1, replies);
        }
        rounds
    }

    /// Uses up what either may be told of its errors.
    fn mute(&mut self) {
        for to in 0..2 {
            for _ in 0..3 {
                self.deliver(to, &text(&b"nonsense\r\n".repeat(SOURCE_BUDGET_PER_S as usize / 2)));
                self.deliver(to, &text(b"cookie ................\r\n"));
            }
        }
    }
}

fn text(body: &[u8]) -> Vec<u8> {
    [&[0, 7, 0, 0, 0, 1, 0, 0][..], body].concat()
}

/// Everything that a client may send, and much that it may not.
fn datagrams() -> Vec<Vec<u8>> {
    let long = [b"set long 0 0 4000\r\n", &b"get long\r\n".repeat(400)[..], b"\r\n"].concat();
    let bodies: [&[u8]; 46] = [
        b"set a 0 0 5\r\nget a\r\n",
        b"set a 0 0 7\r\nget a\r\n\r\n",
        b"set b 0 0 22\r\nVALUE b 0 7\r\nget b\r\nEND\r\n",
        b"set n 0 0 2\r\n12\r\n",
        b"set t 0 0 3\r\nabc\r\n",
        &long,
        b"get long\r\n",
        b"get a\r\n",
        b"gets a b\r\n",
        b"gat 0 a b\r\n",
        b"gats 0 a\r\n",
        b"get missing\r\n",
        b"add a 0 0 1\r\nx\r\n",
        b"replace missing 0 0 1\r\nx\r\n",
        b"append t 0 0 1\r\nx\r\n",
        b"prepend t 0 0 1\r\nx\r\n",
        b"cas a 0 0 1 1\r\nx\r\n",
        b"cas missing 0 0 1 1\r\nx\r\n",
        b"incr n 5\r\n",
        b"decr n 1\r\n",
        b"incr t 1\r\n",
        b"incr missing 1\r\n",
        b"touch a 0\r\n",
        b"touch missing 0\r\n",
        b"delete t\r\n",
        b"delete missing\r\n",
        b"version\r\n",
        b"verbosity 1\r\n",
        b"cache_memlimit 100\r\n",
        b"stats\r\n",
        b"flush_all 1000\r\n",
        b"mg a v f t k q\r\n",
        b"mg missing v\r\n",
        b"mg a N30 v\r\n",
        b"ms c 2 T0\r\nhi\r\n",
        b"ms c 2 ME\r\nhi\r\n",
        b"ma n v\r\n",
        b"ma n N0 v t c\r\n",
        b"md missing\r\n",
        b"md c\r\n",
        b"me n\r\n",
        b"mn\r\n",
        b"nonsense\r\n",
        b"\r\n",
        b"set a 0 0 999999\r\nx\r\n",
        b"cookie 0123456789abcdef\r\nget a\r\n",
    ];
    let mut all: Vec<_> = bodies.iter().map(|body| text(body)).collect();
    // Every reply that a server may send, as a request.
    let replies = "ERROR|CLIENT_ERROR x|SERVER_ERROR x|STORED|NOT_STORED|EXISTS|NOT_FOUND|DELETED|TOUCHED|OK|RESET|END|\
        VERSION 1|STAT a 1|VALUE a 0 5\r\nget a\r\nEND|VA 5\r\nget a|HD|EN|NF|NS|EX|MN|ME a b=c|7|COOKIE 0123456789abcdef|\
        cookie 0123456789abcdef|BUSY x|MEMLIMIT_ADJUST_FAILED x";
    all.extend(replies.split('|').map(|line| text(format!("{line}\r\n").as_bytes())));
    let many: Vec<_> = (0..200).map(|_| get("a")).collect();
    all.extend([
        frame(&[set("a", "x"), get("a"), op(Code::Delete, "a"), get("a")]),
        frame(&many),
        with_cookie(0x0123_4567_89ab_cdef, &[get("a")]),
        [&frame(&[get("a")])[..24], &[0xff; 9]].concat(),
    ]);
    all
}

/// Each with a few bytes changed, the frame's among them.
fn mutated(random: &mut Random, datagram: &[u8]) -> Vec<u8> {
    let mut datagram = datagram.to_vec();
    for _ in 0..1 + random.below(3) {
        let at = random.below(datagram.len() as u64) as usize;
        datagram[at] = random.bits() as u8;
    }
    datagram
}

#[test]
fn no_two_servers_answer_each_other_for_ever() {
    let kinds = [Sees::Admin, Sees::Data, OURS, THEIRS];
    let starts = datagrams();
    let mut random = Random::new(13);
    for (a, b) in kinds.iter().flat_map(|&a| kinds.iter().map(move |&b| (a, b))) {
        for (is_muted, delay) in
            [(false, Duration::ZERO), (true, Duration::ZERO), (false, Duration::from_secs(70))]
        {
            let mut pair = Pair { servers: [server(a), server(b)], delay };
            if is_muted {
                pair.mute();
            }
            let mutants: Vec<_> = starts.iter().map(|start| mutated(&mut random, start)).collect();
            for start in starts.iter().chain(&mutants) {
                let rounds = pair.rounds(start);
                assert!(
                    rounds <= REPLIES_MAX,
                    "{a:?} and {b:?}, muted {is_muted}, delay {delay:?}: {rounds} rounds of {}",
                    start.escape_ascii()
                );
            }
        }
    }
}

#[test]
fn a_reply_of_several_commands_is_no_request_either() {
    let mut random = Random::new(14);
    let starts: Vec<_> = datagrams().into_iter().filter(|datagram| datagram[5] == 1).collect();
    let mut pair = Pair { servers: [server(Sees::Data), server(Sees::Data)], delay: Duration::ZERO };
    for _ in 0..2_000 {
        let mut bodies = Vec::new();
        for _ in 0..1 + random.below(4) {
            bodies.extend_from_slice(&starts[random.below(starts.len() as u64) as usize][8..]);
        }
        let rounds = pair.rounds(&text(&bodies));
        assert!(rounds <= REPLIES_MAX, "{rounds} rounds of {}", bodies.escape_ascii());
    }
}

#[test]
fn a_datagram_whose_error_is_muted_gets_no_answer_at_all() {
    let mut pair = Pair { servers: [server(Sees::Data), server(Sees::Data)], delay: Duration::ZERO };
    let (ours, others) = (Stepped::key_of(0, 0), Stepped::key_of(1, 0));
    let store = |key: &str| format!("set {key} 0 0 1\r\nx\r\n");
    for key in [&ours, &others] {
        assert_eq!(pair.deliver(0, &text(store(key).as_bytes())).len(), 1);
    }
    pair.mute();
    // The rest of what would have been a value, first, behind a command of each worker, and in each dialect.
    for lines in [
        "nonsense\r\nget {}\r\n".to_owned(),
        format!("get {ours}\r\nnonsense\r\nget {ours}\r\n"),
        format!("{}nonsense\r\n", store(&others)),
        format!("{}stats\r\n", store(&others)),
        "flush_all\r\nmn\r\n".into(),
        "mg !!! b v\r\nmn\r\n".into(),
        "get\r\nmn\r\n".into(),
    ] {
        let replies = pair.deliver(0, &text(lines.as_bytes()));
        assert!(replies.is_empty(), "{lines:?} -> {}", replies[0].escape_ascii());
    }
    let cut_off = [&frame(&[get("a")])[..24], &[0xff; 9]].concat();
    assert!(pair.deliver(0, &cut_off).is_empty());
    // What is right is served all the same, and in the next second errors are, too.
    assert_eq!(pair.deliver(0, &text(store(&others).as_bytes())).len(), 1);
    // A store is right, too, whose value is longer than is taken.
    for line in ["set big 0 0 2000000\r\n", "ms big 2000000\r\n"] {
        let replies = pair.deliver(0, &text(line.as_bytes()));
        assert!(replies[0].ends_with(b"SERVER_ERROR object too large for cache\r\n"), "{line}");
    }
    pair.servers[0].advance(Duration::from_secs(1));
    assert_eq!(pair.deliver(0, &text(b"nonsense\r\n")).len(), 1);
}
