//! A page of which events were lost becomes chunks of a client's values before the policy is told again what is there. A chunk
//! was read as an item, whose lengths were the client's bytes: with 0xff the program ended.

use super::framed;
use crate::support::client::Client;
use crate::support::program::Serve;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Values of so many bytes are of different classes, so each takes a page of its own: the last pages that there are.
const SIZES: [usize; 12] = [280, 360, 440, 520, 640, 760, 900, 1100, 1300, 1600, 2000, 2500];

fn quiet_set(key: &str, value: &[u8]) -> Vec<u8> {
    [format!("set {key} 0 0 {} noreply\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

/// A figure of `stats memory`.
fn figure(client: &mut Client, name: &str) -> u64 {
    let text = String::from_utf8(client.ask(b"stats memory\r\n").expect("an answer")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// Waits until the server has done all that was sent to it.
fn settle(client: &mut Client) {
    assert_eq!(client.ask(b"mn\r\n").as_deref(), Some(&b"MN\r\n"[..]));
}

fn lose_events_and_store(serve: &Serve, client: &mut Client, round: u32) {
    let last = SIZES.len() - 1;
    for (i, &bytes) in SIZES.iter().enumerate() {
        client.send_raw(&framed(&quiet_set(&format!("z{round}:{i}"), &vec![b'z'; bytes])));
        settle(client);
    }
    // More events than the policy's ring has room for, even if it takes some between two ticks.
    let there = (0..100_000)
        .step_by(37)
        .map(|n| format!("s{n:07}"))
        .find(|key| client.ask(format!("mg {key}\r\n").as_bytes()).expect("an answer").starts_with(b"HD"));
    let touches = format!("touch {} 0 noreply\r\n", there.expect("an item")).repeat(2_200).into_bytes();
    // All that follows comes in one turn of the worker, so that the policy hears nothing of it before the end.
    let pid = Pid::from_raw(serve.stat("pid") as i32);
    kill(pid, Signal::SIGSTOP).unwrap();
    (0..30).for_each(|_| client.send_raw(&framed(&touches)));
    let order = [last - 1, last].into_iter().chain(0..last - 1);
    let deletes: String = order.map(|i| format!("delete z{round}:{i} noreply\r\n")).collect();
    client.send_raw(&framed(&[&touches, deletes.as_bytes()].concat()));
    for i in 0..9 {
        client.send_raw(&framed(&quiet_set(&format!("B{round}:{i}"), &[0xff; 60_000])));
    }
    kill(pid, Signal::SIGCONT).unwrap();
    settle(client);
}

fn survives(workers: &str, rounds: u32) {
    let cpus = if workers == "1" { "0" } else { "0,1" };
    let serve = Serve::start(&["--memory", "32MiB", "--workers", workers, "--huge", "off", "--cpus", cpus]);
    let mut client = Client::new(serve.addr);
    // Short values on all pages but the last ones.
    let mut number = 0;
    while figure(&mut client, "pages_free") > SIZES.len() as u64 {
        let sets: Vec<u8> =
            (number..number + 300).flat_map(|n| quiet_set(&format!("s{n:07}"), &[b'y'; 150])).collect();
        client.send_raw(&framed(&sets));
        settle(&mut client);
        number += 300;
    }
    for round in 0..rounds {
        lose_events_and_store(&serve, &mut client, round);
    }
    assert_eq!(client.ask(b"set after 0 0 1\r\nx\r\n").as_deref(), Some(&b"STORED\r\n"[..]));
    assert!(client.ask(b"get after\r\n").unwrap().starts_with(b"VALUE after 0 1\r\nx"));
    // Whatever is told again is told within a second of ticks.
    for _ in 0..200 {
        settle(&mut client);
    }
    assert!(serve.terminate().0.success());
}

#[test]
fn a_worker_that_runs_the_policy_itself_survives_lost_events() {
    survives("1", 3);
}

#[test]
fn two_workers_survive_lost_events() {
    if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() < 2) {
        println!("SKIPPED two_workers_survive_lost_events: one CPU");
        return;
    }
    survives("2", 3);
}
