//! Namespaces of many: what one client invalidates is its own.

use crate::support::peer::Peer;
use crate::support::{KINDS, config};
use sherwood::server::Server;

const FOREIGN: usize = 2_000;
const PER_DATAGRAM: usize = 500;

/// Runs `work` against a server of each kind in which 2,000 namespaces have an item each.
fn with_foreign_namespaces(work: impl Fn(&Server, &mut Peer)) {
    for (io, workers) in KINDS {
        let mut config = config(io, workers);
        config.namespace_separator = Some(b':');
        let server = match Server::start(config, &|_| ()) {
            Ok(server) => server,
            Err(error) => {
                println!("SKIPPED: {io:?} with {workers} workers: {error}");
                continue;
            }
        };
        let mut peer = Peer::new(server.addr());
        for i in 0..FOREIGN {
            assert_eq!(peer.ask(format!("set foreign{i}:x 0 0 1\r\nx\r\n").as_bytes()), b"STORED\r\n");
        }
        work(&server, &mut peer);
        server.stop().unwrap();
    }
}

fn valid(peer: &mut Peer) -> usize {
    (0..FOREIGN).filter(|i| peer.ask(format!("mg foreign{i}:x\r\n").as_bytes()) == b"HD\r\n").count()
}

fn invalidated(server: &Server) -> u64 {
    server.figures().owners.iter().map(|owner| owner.namespaces_invalidated.get()).sum()
}

/// Names shared 4,096 generations, so 20,000 invalidations of one client left 15 of 2,000 foreign namespaces valid.
#[test]
fn invalidations_of_names_without_items_invalidate_nothing() {
    with_foreign_namespaces(|server, peer| {
        for first in (0..20_000).step_by(PER_DATAGRAM) {
            let deletes: String =
                (first..first + PER_DATAGRAM).map(|i| format!("delete z{i:06}: noreply\r\n")).collect();
            assert_eq!(peer.ask((deletes + "mn\r\n").as_bytes()), b"MN\r\n");
        }
        assert_eq!(valid(peer), FOREIGN);
        // One name of some hundred is taken for one that has items.
        assert!(invalidated(server) < 1_000, "{}", invalidated(server));
    });
}

/// The same of names that had an item each.
#[test]
fn invalidations_of_namespaces_with_items_invalidate_no_others() {
    with_foreign_namespaces(|server, peer| {
        for first in (0..20_000).step_by(PER_DATAGRAM) {
            let names = first..first + PER_DATAGRAM;
            let commands: String = names
                .clone()
                .map(|i| format!("set z{i:06}:x 0 0 1 noreply\r\nx\r\ndelete z{i:06}: noreply\r\n"))
                .collect();
            assert_eq!(peer.ask((commands + "mn\r\n").as_bytes()), b"MN\r\n");
            let last = names.end - 1;
            assert_eq!(peer.ask(format!("mg z{last:06}:x\r\n").as_bytes()), b"EN\r\n");
        }
        // A table that is far from full has no set that is.
        assert_eq!(valid(peer), FOREIGN);
        assert!(invalidated(server) >= 20_000, "{}", invalidated(server));
        for i in [0, 7, 1_999] {
            assert_eq!(peer.ask(format!("delete foreign{i}:\r\n").as_bytes()), b"DELETED\r\n");
            assert_eq!(peer.ask(format!("mg foreign{i}:x\r\n").as_bytes()), b"EN\r\n");
        }
        assert_eq!(valid(peer), FOREIGN - 3);
    });
}
