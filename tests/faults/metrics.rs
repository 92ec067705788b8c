//! The metrics endpoint among clients that are idle, slow, dripping or not wanted.

use crate::support::client::Client;
use crate::support::config;
use crate::support::program::{PATIENCE, Program, has, limit};
use sherwood::config::serve::{Io, Options};
use sherwood::server::Server;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
const IDLE: usize = 100;
const DRIPPING: usize = 20;

fn start() -> (Server, SocketAddr) {
    let mut config = config(Io::Mmsg, 1);
    config.metrics = Some("127.0.0.1:0".parse().unwrap());
    let server = Server::start(config, &|_| ()).unwrap();
    let addr = server.metrics_addr().unwrap();
    (server, addr)
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The answer to a request; empty when the connection is closed without one.
fn ask(addr: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(addr);
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // Whoever was closed without an answer may see a reset.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

#[test]
fn nobody_delays_a_scrape_or_the_end() {
    let (server, addr) = start();
    let mut others: Vec<_> = (0..IDLE + DRIPPING).map(|_| connect(addr)).collect();
    let began = Instant::now();
    for _ in 0..10 {
        // Each drips a byte; who made room for others is closed already.
        others[IDLE..].iter_mut().for_each(|other| drop(other.write_all(b"G")));
        let answer = ask(addr, GET);
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\nsherwood_ticks_total{"),
            "{answer}"
        );
    }
    // One second each is what every idle connection once took.
    assert!(began.elapsed() < Duration::from_secs(10), "ten scrapes took {:?}", began.elapsed());
    let scrapes = &server.figures().scrapes;
    assert_eq!(scrapes.metrics_answered.get(), 10);
    assert!(scrapes.metrics_closed.get() >= (IDLE + DRIPPING + 10 - 64) as u64 - 10);
    let began = Instant::now();
    server.stop().unwrap();
    assert!(began.elapsed() < Duration::from_secs(4), "the end took {:?}", began.elapsed());
}

#[test]
fn a_request_has_its_time_as_a_whole() {
    let (server, addr) = start();
    let (mut idle, mut dripping) = (connect(addr), connect(addr));
    dripping.write_all(b"GET /metrics HTTP/1.1\r\nX: ").unwrap();
    dripping.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let began = Instant::now();
    loop {
        let is_waiting = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        // The wait for an answer is the pause between two drops.
        match dripping.read(&mut [0; 9]) {
            Err(error) if is_waiting(&error) => {}
            Ok(0) | Err(_) => break,
            Ok(_) => panic!("answered to half a request"),
        }
        assert!(began.elapsed() < PATIENCE, "still open");
        if dripping.write_all(b"a").is_err() {
            break;
        }
    }
    assert!(!matches!(idle.read(&mut [0; 9]), Ok(1..)), "answered to nothing");
    assert_eq!(server.figures().scrapes.metrics_closed.get(), 2);
    server.stop().unwrap();
}

#[test]
fn whoever_may_not_read_data_may_not_scrape() {
    let mut config = config(Io::Mmsg, 1);
    config.metrics = Some("127.0.0.1:0".parse().unwrap());
    config.access.distrust_loopback = true;
    let server = Server::start(config, &|_| ()).unwrap();
    assert_eq!(ask(server.metrics_addr().unwrap(), GET), "");
    assert_eq!(server.figures().scrapes.metrics_refused.get(), 1);
    server.stop().unwrap();
}

#[test]
fn an_open_metrics_address_needs_a_network() {
    let options = |metrics: &str, allow: &[&str], admin: &[&str]| Options {
        metrics: Some(metrics.parse().unwrap()),
        allow: allow.iter().map(|network| network.parse().unwrap()).collect(),
        admin: admin.iter().map(|network| network.parse().unwrap()).collect(),
        ..Options::default()
    };
    for addr in ["0.0.0.0:9100", "[::]:9100", "192.0.2.1:9100"] {
        let error = options(addr, &[], &[]).check().unwrap_err();
        assert!(error.contains(addr) && error.contains("--allow") && error.contains("127.0.0.1"), "{error}");
        assert!(options(addr, &["192.0.2.0/24"], &[]).check().is_ok());
        assert!(options(addr, &[], &["192.0.2.0/24"]).check().is_ok());
    }
    for addr in ["127.0.0.1:9100", "[::1]:9100", "127.0.0.2:9100"] {
        assert!(options(addr, &[], &[]).check().is_ok(), "{addr}");
    }
}

#[test]
fn head_tells_the_length_and_other_paths_are_not_found() {
    let (server, addr) = start();
    let head = ask(addr, b"HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(!head.contains("content-length: 0"), "{head}");
    assert!(ask(addr, b"GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 Not Found\r\n"));
    assert!(ask(addr, b"GET /metricsandmore HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 Not Found\r\n"));
    server.stop().unwrap();
}

/// Requests that people type, and old scripts send: a line ends with LF as well.
#[test]
fn lines_may_end_with_a_line_feed_alone() {
    let (server, addr) = start();
    for request in [
        "GET /metrics HTTP/1.1\n\n",
        "GET /metrics HTTP/1.0\n\n",
        "GET /metrics HTTP/1.1\nHost: x\n\n",
        "GET /metrics HTTP/1.1\r\nHost: x\n\r\n",
        "\r\n\nGET /metrics HTTP/1.1\r\n\r\n",
    ] {
        let answer = ask(addr, request.as_bytes());
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\nsherwood_ticks_total{"),
            "{request}"
        );
    }
    server.stop().unwrap();
}

#[test]
fn what_is_wrong_with_a_request_is_told() {
    let (server, addr) = start();
    let body = "x".repeat(30_000);
    let post = format!("POST /metrics HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let put = post.replace("POST", "PUT").replace("\r\n", "\n");
    for (request, want) in [
        // The answer arrives although most of the body was never looked at.
        (post.as_str(), "405 Method Not Allowed\r\nallow: GET, HEAD\r\n"),
        (put.as_str(), "405 Method Not Allowed\r\nallow: GET, HEAD\r\n"),
        ("DELETE /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed\r\nallow: GET, HEAD\r\n"),
        ("POST / HTTP/1.1\r\n\r\n", "404 Not Found\r\n"),
        ("GET /metrics\r\n\r\n", "400 Bad Request\r\n"),
        ("metrics, please\n\n", "400 Bad Request\r\n"),
        ("GET /metrics HTTP/2.0\r\n\r\n", "505 HTTP Version Not Supported\r\n"),
        (&format!("GET /metrics HTTP/1.1\r\nX: {body}"), "431 Request Header Fields Too Large\r\n"),
    ] {
        let (answer, begin) = (ask(addr, request.as_bytes()), &request[..request.len().min(40)]);
        assert!(answer.starts_with(&format!("HTTP/1.1 {want}")), "{begin}: {answer}");
    }
    let scrapes = &server.figures().scrapes;
    assert_eq!((scrapes.metrics_answered.get(), scrapes.metrics_closed.get()), (8, 0));
    server.stop().unwrap();
}

/// A client that sends on for ever after its answer is cut off.
#[test]
fn what_follows_a_request_is_thrown_away_and_no_more_than_a_bound_of_it() {
    let (server, addr) = start();
    let mut stream = connect(addr);
    stream.write_all(b"POST /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut sent = 0;
    while sent < 64 << 20 {
        match stream.write(&[b'x'; 4096]) {
            Ok(bytes) => sent += bytes,
            Err(_) => break,
        }
    }
    assert!(sent < 64 << 20, "all of {sent} bytes were taken");
    assert!(ask(addr, GET).starts_with("HTTP/1.1 200 OK\r\n"));
    server.stop().unwrap();
}

#[test]
fn without_descriptors_it_pauses_and_goes_on_when_there_are_some() {
    if !has("prlimit") {
        return;
    }
    let program = Program::serve(&["--metrics", "127.0.0.1:0"]);
    let line = program.says("metrics on http://");
    let addr = line.split(['/', ' ']).find_map(|word| word.parse().ok()).expect("an address");
    let server = program.ready();
    // The lowest three are taken, so that no new one is to be had.
    limit(program.pid(), &["--nofile=3:"]);
    let _waiting = connect(addr);
    let failures = || {
        let stats = Client::new(server).ask(b"stats\r\n").expect("stats are answered");
        let stats = String::from_utf8(stats).unwrap();
        let figure = stats.lines().find_map(|line| line.strip_prefix("STAT metrics_accept_failures "));
        figure.unwrap().trim().parse::<u64>().unwrap()
    };
    let until_failures = |count: u64| {
        let began = Instant::now();
        while failures() < count {
            assert!(began.elapsed() < PATIENCE, "{} failures", failures());
        }
    };
    until_failures(1);
    let (first, began) = (failures(), Instant::now());
    until_failures(first + 5);
    let (more, took) = (failures() - first, began.elapsed());
    // A pause of 100 ms each; the first may have been nearly over.
    assert!(took >= Duration::from_millis(80) * (more as u32 - 1), "{more} failures in {took:?}");
    limit(program.pid(), &["--nofile=1024:"]);
    assert!(ask(addr, GET).starts_with("HTTP/1.1 200 OK\r\n"));
    let (status, ..) = program.terminate();
    assert!(status.success());
}
