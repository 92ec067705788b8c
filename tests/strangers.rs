//! Addresses that nobody vouches for: challenged, never answered with more bytes than they sent, and with a cookie
//! served as far as data goes. Loopback plays the network here: the server is told to distrust it.

mod support;

use protocol::batch::{Code, MARK, SealKey, Status};
use sherwood::config::serve::{Io, Options};
use sherwood::guard::Secret;
use sherwood::server::Server;
use sherwood::stats::counters::{Counter, WorkerCounters};
use std::time::{SystemTime, UNIX_EPOCH};
use support::batch::{frame, get, op, results, sealed, set, statuses, with_cookie};
use support::config;
use support::peer::Peer;
use support::program::sherwood;

const SECRET: &[u8] = b"what nobody outside can guess";

fn start() -> Server {
    let mut config = config(Io::Mmsg, 1);
    config.access.secret = Some(Secret::new(SECRET).unwrap());
    config.access.distrust_loopback = true;
    Server::start(config, &|_| ()).unwrap()
}

/// Asks for a challenge, and puts the cookie before all requests from now on.
fn validate(peer: &mut Peer) {
    let id = peer.send_plain(b"cookie ????????????????\r\nmn\r\n");
    let challenge = peer.reply(id);
    let digits = challenge.strip_prefix(b"COOKIE ").expect("a challenge");
    peer.set_preface(&[b"cookie ", digits].concat());
}

fn count(server: &Server, pick: fn(&WorkerCounters) -> &Counter) -> u64 {
    pick(&server.figures().workers[0]).get()
}

#[test]
fn no_command_of_a_stranger_is_amplified_or_done() {
    let server = start();
    let mut peer = Peer::new(server.addr());
    validate(&mut peer);
    let value = "x".repeat(1000);
    assert_eq!(peer.ask(format!("set large 0 0 1000\r\n{value}\r\n").as_bytes()), b"STORED\r\n");
    let mut stranger = Peer::new(server.addr());
    let commands: [&[u8]; 24] = [
        b"get large\r\n",
        b"gets large\r\n",
        b"gat 5 large\r\n",
        b"mg large v\r\n",
        b"get large large large large large\r\n",
        b"set a 0 0 1\r\nx\r\n",
        b"add a 0 0 1\r\nx\r\n",
        b"cas large 0 0 1 1\r\nx\r\n",
        b"append large 0 0 1\r\nx\r\n",
        b"ms a 1\r\nx\r\n",
        b"ma n N0 v\r\n",
        b"mg a N30 v\r\n",
        b"md large\r\n",
        b"delete large\r\n",
        b"incr large 1\r\n",
        b"touch large 1\r\n",
        b"version\r\n",
        b"stats\r\n",
        b"flush_all\r\n",
        b"verbosity 1\r\n",
        b"mn\r\n",
        b"nonsense\r\n",
        b"cookie 0123456789abcdef\r\nget large\r\n",
        b"cookie 0123456789abcdef\r\nflush_all\r\n",
    ];
    for command in commands {
        for padding in 0..3 {
            // More of the same, as an attacker would have it.
            let body = command.repeat(1 + padding * 3);
            stranger.send_plain(&body);
            // The fence of one who may ask.
            stranger.set_preface(peer.preface());
            let got = stranger.until_fence();
            assert!(got.len() <= body.len(), "{} -> {}", body.escape_ascii(), got.escape_ascii());
            assert!(
                got.is_empty() || got.starts_with(b"COOKIE ") && got.len() == 25,
                "{}",
                got.escape_ascii()
            );
            // Small datagrams are answered by nothing at all.
            assert_eq!(got.is_empty(), body.len() < 25);
        }
    }
    assert_eq!(peer.ask(b"mg large s\r\nget a n\r\n"), b"HD s1000\r\nEND\r\n");
    assert!(count(&server, |w| &w.challenges) > 0 && count(&server, |w| &w.refused_peers) > 0);
    server.stop().unwrap();
}

#[test]
fn a_cookie_admits_to_data_and_to_nothing_else() {
    let server = start();
    let mut peer = Peer::new(server.addr());
    validate(&mut peer);
    assert_eq!(peer.ask(b"set a 0 0 1\r\nx\r\nget a\r\n"), b"STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    assert_eq!(peer.ask(b"mg a v\r\nms b 1\r\n7\r\nincr b 1\r\n"), b"VA 1\r\nx\r\nHD\r\n8\r\n");
    for command in [&b"stats\r\n"[..], b"flush_all\r\n", b"verbosity 1\r\n", b"cache_memlimit 100\r\n"] {
        assert_eq!(peer.ask(command), b"CLIENT_ERROR command not allowed\r\n");
    }
    assert_eq!(peer.ask(b"get a\r\n"), b"VALUE a 0 1\r\nx\r\nEND\r\n");
    server.stop().unwrap();
}

#[test]
fn errors_of_one_source_are_bounded() {
    let server = start();
    let mut peer = Peer::new(server.addr());
    validate(&mut peer);
    let mut answered = 0;
    // Far more than the bound, in however many seconds this takes.
    for _ in 0..100 {
        peer.send(&[&b"nonsense\r\n".repeat(50)[..], b"mn\r\n"].concat());
        let reply = peer.until_fence();
        // A datagram is answered wholly or not at all.
        assert!(reply.is_empty() || reply == [&b"ERROR\r\n".repeat(50)[..], b"MN\r\n"].concat());
        answered += reply.len() / b"ERROR\r\n".len();
    }
    assert!(answered < 5_000, "{answered} of 5000 errors were answered");
    assert!(count(&server, |w| &w.errors_muted) > 0);
    // Commands that are right are served all the same.
    assert_eq!(peer.ask(b"set a 0 0 1\r\nx\r\n"), b"STORED\r\n");
    server.stop().unwrap();
}

#[test]
fn batch_frames_of_strangers_are_challenged_and_never_amplified() {
    let server = start();
    let mut peer = Peer::new(server.addr());
    validate(&mut peer);
    assert_eq!(peer.ask(format!("set large 0 0 1000\r\n{}\r\n", "x".repeat(1000)).as_bytes()), b"STORED\r\n");
    let many: Vec<_> = (0..40).map(|_| get("large")).collect();
    let frames = [
        frame(&[get("a")]),
        frame(&many),
        frame(&[set("a", "x"), op(Code::Delete, "large")]),
        with_cookie(1, &many),
        with_cookie(0x0123_4567_89ab_cdef, &[set("large", "x")]),
        [&frame(&many)[..], &[0; 500]].concat(),
    ];
    let mut stranger = Peer::new(server.addr());
    stranger.set_preface(peer.preface());
    for datagram in &frames {
        let id = stranger.send_whole(datagram);
        let body = stranger.marked_reply(id, MARK);
        assert_eq!(statuses(&body), [Status::Cookie]);
        assert_eq!(body.len(), 16, "a challenge is shorter than the shortest frame");
        for length in 0..24 {
            stranger.send_raw(&datagram[..length]);
        }
        assert_eq!(stranger.until_fence(), b"");
    }
    assert_eq!(peer.ask(b"mg large s\r\nget a n\r\n"), b"HD s1000\r\nEND\r\n");
    // Its challenge is the cookie.
    let cookie = results(&stranger.ask_frame(&frames[0]))[0].cas;
    let body = stranger.ask_frame(&with_cookie(cookie, &[set("a", "mine"), get("a"), get("large")]));
    assert_eq!(statuses(&body), [Status::Done, Status::Value, Status::Value]);
    server.stop().unwrap();
}

#[test]
fn a_sealed_frame_is_served_once_and_nothing_else_is() {
    let server = start();
    let mut peer = Peer::new(server.addr());
    validate(&mut peer);
    assert_eq!(peer.ask(b"set a 0 0 1\r\nx\r\n"), b"STORED\r\n");
    let (ours, others) = (SealKey::new(SECRET).unwrap(), SealKey::new(b"what somebody guessed").unwrap());
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let ask = |peer: &mut Peer, key, session, sequence, unix_ms| {
        // The seal is of the id, too.
        let datagram = sealed(key, (unix_ms, session, sequence), peer.last_id() + 1, "a");
        (statuses(&peer.ask_frame(&datagram))[0], datagram)
    };
    // No preface: the sender proves nothing but that it knows the secret.
    let (first, datagram) = ask(&mut peer, &ours, 1, 1, now_ms);
    assert_eq!(first, Status::Value);
    // Played again, byte for byte, from the same address and from another.
    peer.send_raw(&datagram);
    let id = u16::from_be_bytes([datagram[0], datagram[1]]);
    assert_eq!(statuses(&peer.marked_reply(id, MARK)), [Status::Cookie]);
    let mut thief = Peer::new(server.addr());
    thief.send_raw(&datagram);
    assert_eq!(statuses(&thief.marked_reply(id, MARK)), [Status::Cookie]);
    for (key, session, sequence, unix_ms, want) in [
        (&ours, 1, 1, now_ms, Status::Cookie),
        (&ours, 1, 2, now_ms, Status::Value),
        (&ours, 2, 1, now_ms, Status::Value),
        (&others, 1, 3, now_ms, Status::Cookie),
        (&ours, 1, 4, now_ms - 3_600_000, Status::Cookie),
        (&ours, 1, 5, now_ms + 3_600_000, Status::Cookie),
        (&ours, 1, 6, now_ms, Status::Value),
    ] {
        assert_eq!(ask(&mut peer, key, session, sequence, unix_ms).0, want, "{session} {sequence}");
    }
    assert_eq!(count(&server, |w| &w.seals_replayed), 3);
    assert_eq!(count(&server, |w| &w.seals_wrong), 1);
    assert_eq!(count(&server, |w| &w.seals_stale), 2);
    server.stop().unwrap();
}

#[test]
fn load_seals_its_frames_and_every_one_is_taken() {
    let server = start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, [SECRET, b"\n"].concat()).unwrap();
    let (addr, file) = (server.addr().to_string(), file.display().to_string());
    let line = format!(
        "load --target {addr} --secret-file {file} --protocol batch --verify --fill --keys 5k --batch 20 --threads 2 \
         --mix get:80,set:20 --warmup 0s --duration 300ms --json -"
    );
    let load = sherwood().args(line.split(' ')).output().unwrap();
    assert!(load.status.success(), "{}", String::from_utf8_lossy(&load.stderr));
    let report: serde_json::Value = serde_json::from_slice(&load.stdout).unwrap();
    assert!(report["verify"]["checked"].as_u64().unwrap() > 0 && report["verify"]["wrong"] == 0);
    assert_eq!(
        (&report["commands"]["get"]["errors"], &report["commands"]["set"]["errors"]),
        (&0.into(), &0.into())
    );
    let refused: [fn(&WorkerCounters) -> &Counter; 5] = [
        |w| &w.seals_wrong,
        |w| &w.seals_stale,
        |w| &w.seals_replayed,
        |w| &w.seals_crowded,
        |w| &w.challenges,
    ];
    assert_eq!(refused.map(|pick| count(&server, pick)), [0; 5]);
    server.stop().unwrap();
}

#[test]
fn whoever_is_trusted_may_send_a_cookie_all_the_same() {
    let server = Server::start(config(Io::Mmsg, 1), &|_| ()).unwrap();
    let mut peer = Peer::new(server.addr());
    assert_eq!(peer.ask(b"cookie 0123456789abcdef\r\nmn\r\n"), b"MN\r\n");
    server.stop().unwrap();
}

#[test]
fn an_error_line_is_not_answered_so_that_two_servers_do_not_talk_for_ever() {
    let server = Server::start(config(Io::Mmsg, 1), &|_| ()).unwrap();
    let mut peer = Peer::new(server.addr());
    for line in [&b"ERROR\r\n"[..], b"CLIENT_ERROR bad data chunk\r\n", b"SERVER_ERROR busy\r\n"] {
        peer.send(line);
        assert_eq!(peer.until_fence(), b"");
    }
    assert_eq!(count(&server, |w| &w.refused_replies), 3);
    server.stop().unwrap();
}

#[test]
fn an_open_address_needs_a_network_or_a_secret() {
    let options =
        |secret| Options { listen: "0.0.0.0:0".parse().unwrap(), secret_file: secret, ..Options::default() };
    assert!(options(None).check().unwrap_err().contains("--secret-file"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, SECRET).unwrap();
    assert!(options(Some(file.clone())).check().is_ok());
    std::fs::write(&file, b"short").unwrap();
    assert!(options(Some(file)).check().unwrap_err().contains("at least 16"));
}
