//! The port by itself: waking, and streams on real sockets.

use super::*;
use crate::net::socket::{SocketConfig, Sockets, bind_group};
use numa::{Huge, Region, RegionRequest};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Longer than any machine is busy: only a wake that was lost waits for it.
const WAIT_MAX: Duration = Duration::from_secs(30);

fn port() -> UringPort {
    let config = SocketConfig {
        receive_buffer_bytes: 1 << 16,
        send_buffer_bytes: 1 << 16,
        gro: false,
        steering: false,
    };
    let socket = bind_group("127.0.0.1:0".parse().unwrap(), 1, config).unwrap().remove(0);
    let request = RegionRequest {
        name: "test",
        bytes: UringPort::MEMORY_BYTES,
        node: None,
        huge: Huge::Off,
        mlock: false,
    };
    let sockets = Sockets { datagrams: Some(socket), streams: None };
    UringPort::new(sockets, Region::map(&request).unwrap(), Clock::system())
        .map_err(|(_, refusal)| refusal)
        .unwrap()
}

/// A poll that waits until it is woken; says how long that was.
fn sleep(port: &mut UringPort) -> Duration {
    let began = Instant::now();
    let (mut outbox, mut inbox) = (Outbox::default(), Inbox::default());
    port.poll(&mut outbox, &mut inbox, PollTimeout::Until(WAIT_MAX)).unwrap();
    began.elapsed()
}

/// A turn of a port that has nothing to wait for.
fn poll(port: &mut UringPort) {
    port.poll(&mut Outbox::default(), &mut Inbox::default(), PollTimeout::None).unwrap();
}

#[test]
fn a_neighbour_wakes_by_a_message_and_without_the_eventfd() {
    if let Err(error) = UringPort::probe() {
        return println!("SKIPPED: no io_uring: {error}");
    }
    let mut sleeper = port();
    let waker = sleeper.waker();
    let neighbour = std::thread::spawn(move || {
        let mut port = port();
        port.wake(&waker).unwrap();
        poll(&mut port);
        port.neighbours.len()
    });
    assert!(sleep(&mut sleeper) < WAIT_MAX);
    assert_eq!(neighbour.join().unwrap(), 1);
    assert!(!sleeper.waker.is_ringing());
}

#[test]
fn where_a_message_cannot_go_the_eventfd_wakes() {
    if let Err(error) = UringPort::probe() {
        return println!("SKIPPED: no io_uring: {error}");
    }
    let mut sleeper = port();
    let no_ring = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let waker = sleeper.waker().with_other_ring(no_ring.as_fd());
    let neighbour = std::thread::spawn(move || {
        let mut port = port();
        port.wake(&waker).unwrap();
        // The failure is known in the poll that sends, or in the one behind it.
        poll(&mut port);
        poll(&mut port);
    });
    assert!(sleep(&mut sleeper) < WAIT_MAX);
    neighbour.join().unwrap();
}

#[test]
fn a_port_that_is_gone_may_still_be_called() {
    if let Err(error) = UringPort::probe() {
        return println!("SKIPPED: no io_uring: {error}");
    }
    let gone = std::thread::spawn(|| {
        let mut port = port();
        poll(&mut port);
        port.waker()
    });
    let mut port = port();
    port.wake(&gone.join().unwrap()).unwrap();
    poll(&mut port);
    poll(&mut port);
}
