//! The harness of all integration tests.
//!
//! ```text
//! program   the program as a child process                        client   over a socket; silence is an answer, too
//! config    a server in this process, on real sockets             peer     over a socket; checks every frame that it gets
//! whole     a server in this thread, its policy with it           plan     a short run of the load generator
//! stream    over a connection, TCP or UNIX
//! duo       two workers in this thread, ticked one by one         batch, noise, script   requests and conversations
//! memcached, netns   Debian's memcached; networks of a test's own
//! ```

#![allow(dead_code)] // each test uses a part of it

pub mod batch;
pub mod client;
pub mod in_process;
pub mod memcached;
pub mod netns;
pub mod noise;
pub mod peer;
pub mod plan;
pub mod program;
pub mod script;
pub mod stepped;
pub mod stream;

use cache::base::clock::Clock;
use numa::{Huge, Pin, Workers};
use sherwood::config::serve::{Config, Io, Options};
use sherwood::server::Server;
use sherwood::worker::Poll;

/// A small configuration that any machine can grant: a free port, pages of 4 KiB, sleeping workers.
pub fn config(io: Io, workers: usize) -> Config {
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        workers: Workers::Count(workers),
        memory_bytes: workers * (32 << 20),
        huge: Huge::Off,
        io,
        // The same threads on the same CPUs whatever else runs. A clock that a test moves jumps by seconds, and a worker that is kept
        // from running between reading it and serving acts at the time before; unpinned ones are kept more often.
        pin: Pin::Cores,
        poll: Poll::Block,
        ..Options::default()
    };
    options.check().unwrap()
}

/// A server whose clock the test moves; `None`, with a line that says so, where the machine has no CPU for a worker.
pub fn server_with_clock(io: Io, workers: usize) -> Option<(Server, Clock)> {
    server_with_clock_of(config(io, workers))
}

/// The same with a configuration of the test's own.
pub fn server_with_clock_of(mut config: Config) -> Option<(Server, Clock)> {
    let clock = Clock::manual(1_000_000_000);
    config.clock = clock.clone();
    let (io, workers) = (config.io, config.workers);
    match Server::start(config, &|_| ()) {
        Ok(server) => Some((server, clock)),
        Err(error) => {
            println!("SKIPPED: {io:?} with {workers:?} workers: {error}");
            assert!(
                io != Io::Mmsg || workers != Workers::Count(1),
                "one worker with mmsg runs anywhere: {error}"
            );
            None
        }
    }
}

/// Both ports, with one worker and with two.
pub const KINDS: [(Io, usize); 4] = [(Io::Mmsg, 1), (Io::Uring, 1), (Io::Mmsg, 2), (Io::Uring, 2)];
