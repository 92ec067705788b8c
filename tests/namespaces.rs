//! Namespaces over real sockets: a delete of `NAME:` invalidates every key that begins so, whatever shard owns it.

mod support;

use sherwood::config::serve::{Config, Io};
use sherwood::server::Server;
use support::peer::Peer;
use support::{KINDS, config};

fn with_namespaces(io: Io, workers: usize) -> Config {
    let mut config = config(io, workers);
    config.namespace_separator = Some(b':');
    config
}

/// Servers of every kind that this machine can run.
fn servers() -> impl Iterator<Item = Server> {
    KINDS.into_iter().filter_map(|(io, workers)| match Server::start(with_namespaces(io, workers), &|_| ()) {
        Ok(server) => Some(server),
        Err(error) => {
            println!("SKIPPED: {io:?} with {workers} workers: {error}");
            None
        }
    })
}

fn set(peer: &mut Peer, key: &str, value: &str) {
    let request = format!("set {key} 0 0 {}\r\n{value}\r\n", value.len());
    assert_eq!(peer.ask(request.as_bytes()), b"STORED\r\n", "{key}");
}

fn is_there(peer: &mut Peer, key: &str) -> bool {
    peer.ask(format!("mg {key}\r\n").as_bytes()) == b"HD\r\n"
}

#[test]
fn a_delete_of_the_name_invalidates_the_namespace_in_every_shard() {
    for server in servers() {
        let mut peer = Peer::new(server.addr());
        let keys: Vec<String> = (0..40).map(|i| format!("user:{i}:name")).collect();
        keys.iter().for_each(|key| set(&mut peer, key, "old"));
        ["user", "users:1", "other:1"].iter().for_each(|key| set(&mut peer, key, "kept"));
        assert_eq!(peer.ask(b"delete user:\r\n"), b"DELETED\r\n");
        for key in &keys {
            assert!(!is_there(&mut peer, key), "{key}");
            assert_eq!(peer.ask(format!("append {key} 0 0 1\r\nx\r\n").as_bytes()), b"NOT_STORED\r\n");
        }
        for key in ["user", "users:1", "other:1"] {
            assert!(is_there(&mut peer, key), "{key} is of no or another namespace");
        }
        keys.iter().for_each(|key| set(&mut peer, key, "new"));
        assert!(keys.iter().all(|key| is_there(&mut peer, key)));
        server.stop().unwrap();
    }
}

#[test]
fn every_spelling_of_a_delete_will_do() {
    let cases: [(&[u8], &[u8]); 6] = [
        (b"delete user:\r\n", b"DELETED\r\n"),
        (b"delete user: noreply\r\nmn\r\n", b"MN\r\n"),
        (b"md user:\r\n", b"HD\r\n"),
        (b"md user: q k\r\nmn\r\n", b"MN\r\n"),
        (b"md user: k Oabc\r\n", b"HD kuser: Oabc\r\n"),
        (b"md dXNlcjo= b k\r\n", b"HD kdXNlcjo= b\r\n"),
    ];
    for server in servers() {
        let mut peer = Peer::new(server.addr());
        for (request, reply) in cases {
            set(&mut peer, "user:1", "value");
            assert_eq!(peer.ask(request), reply, "{}", request.escape_ascii());
            assert!(!is_there(&mut peer, "user:1"), "{}", request.escape_ascii());
        }
        server.stop().unwrap();
    }
}

/// Commands around it in one datagram keep their order.
#[test]
fn an_invalidation_keeps_its_place_in_a_datagram() {
    for server in servers() {
        let mut peer = Peer::new(server.addr());
        let request = b"set n:a 0 0 1\r\n1\r\nset n:b 0 0 1\r\n2\r\ndelete n:\r\nget n:a n:b\r\nset n:a 0 0 1\r\n3\r\nget n:a n:b\r\n";
        let reply = b"STORED\r\nSTORED\r\nDELETED\r\nEND\r\nSTORED\r\nVALUE n:a 0 1\r\n3\r\nEND\r\n";
        assert_eq!(peer.ask(request).escape_ascii().to_string(), reply.escape_ascii().to_string());
        server.stop().unwrap();
    }
}

/// What is about one item stays about one item.
#[test]
fn a_delete_that_leaves_something_behind_is_of_one_key() {
    for server in servers() {
        let mut peer = Peer::new(server.addr());
        for request in [&b"md user: I\r\n"[..], b"md user: x\r\n", b"md user: C0\r\n"] {
            set(&mut peer, "user:1", "value");
            set(&mut peer, "user:", "itself");
            peer.ask(request);
            assert!(is_there(&mut peer, "user:1"), "{}", request.escape_ascii());
        }
        server.stop().unwrap();
    }
}

/// An item that lives while numbers wrap is as alive as before: each walk gives it the number of then.
#[test]
fn what_lives_stays_alive_while_others_are_invalidated() {
    const STEPS: usize = 1 << 18;
    const PER_DATAGRAM: usize = 512;
    let server = Server::start(with_namespaces(Io::Mmsg, 1), &|_| ()).unwrap();
    let mut peer = Peer::new(server.addr());
    (0..50).for_each(|i| set(&mut peer, &format!("kept{i}:x"), "value"));
    let steps =
        [b"set n:x 0 0 1 noreply\r\nx\r\n", &b"md n: q\r\n".repeat(PER_DATAGRAM)[..], b"mn\r\n"].concat();
    for _ in 0..STEPS / PER_DATAGRAM {
        assert_eq!(peer.ask(&steps), b"MN\r\n");
        assert!(!is_there(&mut peer, "n:x"));
    }
    assert!((0..50).all(|i| is_there(&mut peer, &format!("kept{i}:x"))));
    // And dies when its own namespace does.
    (0..50).for_each(|i| assert_eq!(peer.ask(format!("delete kept{i}:\r\n").as_bytes()), b"DELETED\r\n"));
    assert!(!(0..50).any(|i| is_there(&mut peer, &format!("kept{i}:x"))));
    server.stop().unwrap();
}

#[test]
fn without_a_separator_a_name_is_a_key() {
    let server = Server::start(config(Io::Mmsg, 1), &|_| ()).unwrap();
    let mut peer = Peer::new(server.addr());
    set(&mut peer, "user:1", "value");
    assert_eq!(peer.ask(b"delete user:\r\n"), b"NOT_FOUND\r\n");
    assert!(is_there(&mut peer, "user:1"));
    server.stop().unwrap();
}

/// A number has 2^17 values. After so many steps an old item's number is the current one again; it must be gone by then,
/// whether namespaces or flushes took the steps.
#[test]
fn nothing_lives_again_when_generations_wrap() {
    const STEPS: usize = 1 << 17;
    const PER_DATAGRAM: usize = 512;
    // A namespace without items is not invalidated: something is stored in it again and again.
    let store = b"set n:last 0 0 1 noreply\r\nx\r\n";
    for step in [&b"md n: q\r\n"[..], b"flush_all noreply\r\n"] {
        let server = Server::start(with_namespaces(Io::Mmsg, 1), &|_| ()).unwrap();
        let mut peer = Peer::new(server.addr());
        (0..50).for_each(|i| set(&mut peer, &format!("n:{i}"), "of old"));
        let steps = [&store[..], &step.repeat(PER_DATAGRAM), b"mn\r\n"].concat();
        for _ in 0..STEPS / PER_DATAGRAM {
            assert_eq!(peer.ask(&steps), b"MN\r\n", "no step is refused: the walk keeps up");
        }
        for i in 0..50 {
            assert!(!is_there(&mut peer, &format!("n:{i}")), "{i} lives again");
        }
        let stats = String::from_utf8(peer.ask(b"stats\r\n")).unwrap();
        let scrubbed = stats.lines().find_map(|line| line.strip_prefix("STAT scrubbed ")).unwrap();
        assert!(scrubbed.parse::<u32>().unwrap() >= 50, "{stats}");
        server.stop().unwrap();
    }
}
