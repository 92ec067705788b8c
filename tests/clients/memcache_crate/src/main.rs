//! The crate `memcache` against a server: each of its commands, over UDP or TCP, in text or binary. Prints what passed.
//!
//! `memcache-crate-client URL…`, for example `memcache+udp://127.0.0.1:11211?protocol=ascii`
//!
//! Every command runs on a client of its own with a read timeout, because over UDP one that fails leaves its bytes to the
//! next one on the same connection.

use memcache::{Client, MemcacheError};
use std::time::Duration;

type Check = (&'static str, fn(&Client) -> Result<bool, MemcacheError>);

const CHECKS: [Check; 14] = [
    ("version", |c| Ok(c.version()?.iter().all(|(_, version)| !version.is_empty()))),
    ("set", |c| c.set("set", "value", 0).map(|()| true)),
    ("set, 30 KB", |c| c.set("large", "v".repeat(30_000).as_str(), 0).map(|()| true)),
    ("set, with a time to live", |c| c.set("ttl", "value", 100).map(|()| true)),
    ("add", |c| {
        c.delete("add")?;
        c.add("add", "value", 0).map(|()| true)
    }),
    ("replace", |c| {
        c.set("replace", "old", 0)?;
        c.replace("replace", "new", 0).map(|()| true)
    }),
    ("append, prepend", |c| {
        c.set("join", "b", 0)?;
        c.append("join", "c")?;
        c.prepend("join", "a").map(|()| true)
    }),
    ("delete", |c| {
        c.set("delete", "value", 0)?;
        Ok(c.delete("delete")? && !c.delete("delete")?)
    }),
    ("touch", |c| {
        c.set("touch", "value", 0)?;
        Ok(c.touch("touch", 100)? && !c.touch("nothing", 100)?)
    }),
    ("get", |c| {
        c.set("get", "value", 0)?;
        Ok(c.get::<String>("get")?.as_deref() == Some("value"))
    }),
    ("gets, many keys", |c| {
        c.set("many1", "1", 0)?;
        c.set("many2", "2", 0)?;
        Ok(c.gets::<String>(&["many1", "many2", "none"])?.len() == 2)
    }),
    ("incr, decr", |c| {
        c.set("count", 40, 0)?;
        Ok(c.increment("count", 5)? == 45 && c.decrement("count", 3)? == 42)
    }),
    ("get, 30 KB", |c| {
        c.set("getlarge", "v".repeat(30_000).as_str(), 0)?;
        Ok(c.get::<String>("getlarge")?.is_some_and(|value| value.len() == 30_000))
    }),
    ("flush_all", |c| c.flush().map(|()| true)),
];

fn main() {
    for url in std::env::args().skip(1) {
        let (mut passed, mut failed) = (0, Vec::new());
        for (name, check) in CHECKS {
            match run(&url, check) {
                Ok(true) => passed += 1,
                Ok(false) => failed.push(format!("{name}: wrong")),
                Err(error) => failed.push(format!("{name}: {error}")),
            }
        }
        println!("{url}: {passed} of {} passed", CHECKS.len());
        failed.iter().for_each(|line| println!("    {line}"));
    }
}

/// One check on a thread of its own: connecting asks for the version before a timeout of reads can be set, and a client that
/// waits for ever is given up.
fn run(url: &str, check: fn(&Client) -> Result<bool, MemcacheError>) -> Result<bool, String> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let url = url.to_owned();
    std::thread::spawn(move || {
        let client = Client::builder()
            .add_server(url)
            .map(|builder| builder.with_max_pool_size(1).with_read_timeout(Duration::from_secs(1)))
            // Its pool asks for the version again and again, for 30 s unless it is told otherwise, before it says what is wrong.
            .and_then(|builder| builder.with_connection_timeout(Duration::from_secs(1)).build());
        let result = client.and_then(|client| check(&client));
        // Nobody listens any more after the time is over.
        let _ = sender.send(result.map_err(|error| error.to_string()));
    });
    receiver.recv_timeout(Duration::from_secs(3)).unwrap_or(Err("no answer in 3 s".into()))
}
