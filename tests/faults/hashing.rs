//! Keys that are made to share one line of the index, or to be told from what the server shows of them.

use crate::support::peer::Peer;
use crate::support::{KINDS, config};
use sherwood::server::Server;

/// A key that ended in the public numbers of the hash had hash 0 in every process: of 400 such keys an empty server kept
/// 128, and all others of their line went with them.
#[test]
fn keys_that_end_in_the_numbers_of_the_hash_are_kept_as_any_others() {
    const NUMBER: &[u8] = b"\xdd\x50\x7c\xc9\xb7\x29\xac\xc0";
    for (io, workers) in KINDS {
        let server = match Server::start(config(io, workers), &|_| ()) {
            Ok(server) => server,
            Err(error) => {
                println!("SKIPPED: {io:?} with {workers} workers: {error}");
                continue;
            }
        };
        let mut peer = Peer::new(server.addr());
        let keys: Vec<Vec<u8>> =
            (0..400).map(|i| [format!("{i:06}").as_bytes(), NUMBER, NUMBER].concat()).collect();
        for key in &keys {
            assert_eq!(peer.ask(&[b"set ", &key[..], b" 0 0 1\r\nx\r\n"].concat()), b"STORED\r\n");
        }
        let here = keys.iter().filter(|key| peer.ask(&[b"mg ", &key[..], b"\r\n"].concat()) == b"HD\r\n");
        assert_eq!(here.count(), keys.len());
        let stats = String::from_utf8(peer.ask(b"stats\r\n")).unwrap();
        assert!(stats.contains("STAT evicted_by_crowding 0\r\n"), "{stats}");
        server.stop().unwrap();
    }
}
