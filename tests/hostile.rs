//! A hostile network: whatever a datagram holds, the answer is short or none, it is counted, nothing is stored, and the
//! next datagram is served as if nothing had been.

mod support;

use cache::base::random::Random;
use protocol::frame::Header;
use sherwood::config::serve::Io;
use sherwood::server::Server;
use sherwood::stats::counters::Counter;
use support::config;
use support::peer::Peer;

/// Longest answer to something that is no command.
const SHORT_BYTES: usize = 200;

fn start() -> Server {
    Server::start(config(Io::Mmsg, 1), &|_| ()).unwrap()
}

fn items(peer: &mut Peer) -> String {
    let stats = peer.ask(b"stats\r\n");
    let stats = String::from_utf8(stats).unwrap();
    stats.lines().find(|line| line.starts_with("STAT total_items ")).unwrap().to_owned()
}

#[test]
fn random_bytes_do_nothing() {
    let server = start();
    let mut peer = Peer::new(server.addr());
    let mut random = Random::new(3);
    for _ in 0..5_000 {
        let bytes: Vec<u8> = (0..random.below(64)).map(|_| random.bits() as u8).collect();
        if random.below(2) == 0 {
            // Not even a frame; what looks like one by chance may be answered.
            peer.send_raw(&bytes[..bytes.len().min(7)]);
        } else {
            peer.send(&bytes);
            assert!(peer.until_fence().len() <= SHORT_BYTES);
        }
    }
    assert!(items(&mut peer).ends_with(" 0"), "something was stored");
    server.stop().unwrap();
}

#[test]
fn random_frames_do_nothing() {
    let server = start();
    let mut peer = Peer::new(server.addr());
    let mut random = Random::new(4);
    for round in 0..5_000u32 {
        let mut bytes: Vec<u8> = (0..random.below(200)).map(|_| random.bits() as u8).collect();
        if round % 2 == 0 && bytes.len() >= 16 {
            // A preamble that may be right, so that operations are looked at; no code is that of a store.
            bytes[4..8].copy_from_slice(&[0, random.below(20) as u8, 0, 1]);
            bytes[16..].iter_mut().for_each(|byte| *byte &= 0xef);
        }
        let datagram = [&[0, 1, 0, 0, 0, 0, 0x53, 1][..], &bytes].concat();
        peer.send_whole(&datagram);
        // A result for each operation, and no value: at most as long as this.
        let answered = peer.until_fence().len();
        assert!(answered <= 512, "{answered} bytes");
    }
    assert!(items(&mut peer).ends_with(" 0"), "something was stored");
    server.stop().unwrap();
}

#[test]
fn a_command_that_is_cut_off_anywhere_stores_nothing() {
    let server = start();
    let (mut attacker, mut victim) = (Peer::new(server.addr()), Peer::new(server.addr()));
    assert_eq!(victim.ask(b"set mine 0 0 4\r\nmine\r\n"), b"STORED\r\n");
    let commands: [&[u8]; 6] = [
        b"set mine 5 0 10\r\n0123456789\r\n",
        b"ms mine 10 T100\r\n0123456789\r\n",
        b"append mine 0 0 3\r\nabc\r\n",
        b"cas mine 0 0 3 1\r\nabc\r\n",
        b"incr mine 1\r\n",
        b"delete mine\r\n",
    ];
    for command in commands {
        for length in 1..command.len() {
            attacker.send(&command[..length]);
            assert!(attacker.until_fence().len() <= SHORT_BYTES);
            // Neither the same client's next datagram nor another's is taken for the rest of it.
            assert_eq!(attacker.ask(b"mn\r\n"), b"MN\r\n");
            assert_eq!(victim.ask(b"get mine\r\n"), b"VALUE mine 0 4\r\nmine\r\nEND\r\n");
        }
    }
    server.stop().unwrap();
}

#[test]
fn sizes_that_lie_touch_no_other_key() {
    let server = start();
    let (mut attacker, mut victim) = (Peer::new(server.addr()), Peer::new(server.addr()));
    for size in [
        "11",
        "70000",
        "1048577",
        "2147483645",
        "2147483646",
        "4294967295",
        "-1",
        "-2",
        "18446744073709551615",
    ] {
        for head in ["set mine 0 0", "ms mine"] {
            assert_eq!(
                victim.ask(b"set mine 0 0 4\r\nmine\r\nset other 0 0 0\r\n\r\n"),
                b"STORED\r\nSTORED\r\n"
            );
            let reply = attacker.ask(format!("{head} {size}\r\n0123456789\r\n").as_bytes());
            assert!(reply.starts_with(b"CLIENT_ERROR ") || reply.starts_with(b"SERVER_ERROR "), "{size}");
            assert!(reply.len() <= SHORT_BYTES);
            // One that is too large, and not wrong, removes what its own key has.
            let want: &[u8] = match reply.starts_with(b"SERVER_ERROR object too large") {
                true => b"EN\r\nHD\r\n",
                false => b"VA 4\r\nmine\r\nHD\r\n",
            };
            assert_eq!(victim.ask(b"mg mine v\r\nmg other\r\n"), want, "{head} {size}");
        }
    }
    server.stop().unwrap();
}

#[test]
fn what_is_refused_is_counted() {
    let server = start();
    let mut peer = Peer::new(server.addr());
    let figures = server.figures();
    let of =
        |pick: fn(&sherwood::stats::counters::WorkerCounters) -> &Counter| pick(&figures.workers[0]).get();
    peer.send_raw(b"");
    peer.send_raw(b"\0\x01\0\0\0\x01\0\0");
    peer.send_raw(b"abc");
    peer.send_frame(Header { total: 2, ..Header::default() }, b"get a\r\n");
    peer.send_frame(Header { total: 0, ..Header::default() }, b"get a\r\n");
    peer.send(b"\x80\0\0\0");
    assert_eq!(peer.until_fence(), b"");
    assert_eq!(peer.ask(b"nonsense\r\nset k 0 0 x noreply\r\n"), b"ERROR\r\n");
    assert_eq!(peer.until_fence(), b"");
    assert_eq!(of(|w| &w.refused_fragments), 2);
    assert_eq!(of(|w| &w.refused_binary), 1);
    // The kernel may hand over a datagram without a byte, or not.
    assert!((2..=3).contains(&of(|w| &w.refused_short)));
    assert_eq!(of(|w| &w.protocol_errors), 2);
    server.stop().unwrap();
}
