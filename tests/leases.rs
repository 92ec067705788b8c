//! A stampede: a thousand clients miss the same key at once, and one of them is told to fetch it.

mod support;

use sherwood::server::Server;
use support::peer::Peer;
use support::{KINDS, config};

#[test]
fn one_of_a_thousand_concurrent_misses_wins() {
    const CLIENTS: usize = 50;
    const REQUESTS: usize = 20;
    for (io, workers) in KINDS {
        let server = match Server::start(config(io, workers), &|_| ()) {
            Ok(server) => server,
            Err(error) => {
                println!("SKIPPED: {io:?} with {workers} workers: {error}");
                continue;
            }
        };
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| Peer::new(server.addr())).collect();
        // All requests are on their way before the first answer is read.
        for _ in 0..REQUESTS {
            for client in &mut clients {
                client.send(b"mg stampede N30\r\n");
            }
        }
        let (mut won, mut waiting) = (0, 0);
        for client in &mut clients {
            for _ in 0..REQUESTS {
                match &client.any_reply()[..] {
                    b"HD W\r\n" => won += 1,
                    b"HD Z\r\n" => waiting += 1,
                    other => panic!("{}", other.escape_ascii()),
                }
            }
        }
        assert_eq!((won, waiting), (1, CLIENTS * REQUESTS - 1), "{io:?}, {workers} workers");
        server.stop().unwrap();
    }
}
