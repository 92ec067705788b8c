//! Both ports, at the edges of what one poll takes.

use crate::limits::TICK_DATAGRAMS_MAX;
use crate::net::mmsg::MmsgPort;
use crate::net::socket::{Socket, SocketConfig, Sockets, bind_group};
use crate::net::uring::UringPort;
use crate::net::{Inbox, Outbox, PollTimeout, Port, Traffic};
use cache::base::clock::Clock;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use numa::{Huge, Region, RegionRequest};
use std::collections::BTreeMap;
use std::io::IoSlice;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Bytes of each datagram of the trains.
const BYTES: usize = 9;

fn socket() -> Socket {
    let config = SocketConfig {
        receive_buffer_bytes: 16 << 20,
        send_buffer_bytes: 1 << 16,
        gro: true,
        steering: false,
    };
    bind_group("127.0.0.1:0".parse().unwrap(), 1, config).unwrap().remove(0)
}

fn of_datagrams(socket: Socket) -> Sockets {
    Sockets { datagrams: Some(socket), streams: None }
}

/// Sends trains of as many datagrams as the kernel takes at once, all of them different; says how many datagrams.
fn send_trains(trains: usize, to: &Socket) -> usize {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = SockaddrStorage::from(to.addr);
    let mut sent = 0u64;
    // Linux 6.9 and newer take 128.
    let mut segments = 128;
    for _ in 0..trains {
        loop {
            let numbers = (sent..sent + segments).flat_map(|number| {
                let mut datagram = [0; BYTES];
                datagram[..8].copy_from_slice(&number.to_be_bytes());
                datagram
            });
            let train: Vec<u8> = numbers.collect();
            let control = [ControlMessage::UdpGsoSegments(&(BYTES as u16))];
            let pieces = [IoSlice::new(&train)];
            match sendmsg(client.as_raw_fd(), &pieces, &control, MsgFlags::empty(), Some(&to)) {
                Ok(_) => break,
                Err(nix::errno::Errno::EINVAL) if segments == 128 => segments = 64,
                Err(error) => panic!("{error}"),
            }
        }
        sent += segments;
    }
    sent as usize
}

/// Polls until nothing is left; counts each datagram.
fn receive_all(port: &mut impl Port, wanted: usize) -> BTreeMap<u64, usize> {
    let mut traffic = Traffic::default();
    let (mut outbox, mut inbox) = (Outbox::default(), Inbox::default());
    // A poll may bring nothing but the news that there was no buffer.
    let (mut seen, mut empty_turns) = (BTreeMap::new(), 0);
    while seen.len() < wanted {
        traffic += port.poll(&mut outbox, &mut inbox, PollTimeout::Until(Duration::from_secs(10))).unwrap();
        let datagrams = inbox.datagrams();
        empty_turns += datagrams.is_empty() as usize;
        assert!(empty_turns < 4, "{} of {wanted} datagrams came", seen.len());
        assert!(datagrams.len() <= TICK_DATAGRAMS_MAX);
        for datagram in datagrams {
            let bytes = port.bytes(datagram);
            assert_eq!(bytes.len(), BYTES);
            *seen.entry(u64::from_be_bytes(bytes[..8].try_into().unwrap())).or_default() += 1;
        }
    }
    assert_eq!(traffic.receive_drops, 0);
    seen
}

/// Sixty-four trains of 128 datagrams are twice what an inbox holds.
fn check(port: &mut impl Port, sent: usize) {
    let seen = receive_all(port, sent);
    assert!(seen.values().all(|&times| times == 1), "a datagram came twice");
    assert_eq!(seen.len(), sent);
}

#[test]
fn trains_that_overrun_the_inbox_go_on_in_the_next_poll() {
    let socket_of_mmsg = socket();
    let sent = send_trains(70, &socket_of_mmsg);
    check(
        &mut MmsgPort::new(of_datagrams(socket_of_mmsg), Clock::system())
            .map_err(|(_, refusal)| refusal)
            .unwrap(),
        sent,
    );

    if let Err(refusal) = UringPort::probe() {
        return println!("SKIPPED: no io_uring: {refusal}");
    }
    let bytes = UringPort::MEMORY_BYTES;
    let region = RegionRequest { name: "test", bytes, node: None, huge: Huge::Off, mlock: false };
    let socket_of_uring = socket();
    let sent = send_trains(70, &socket_of_uring);
    let port = UringPort::new(of_datagrams(socket_of_uring), Region::map(&region).unwrap(), Clock::system());
    check(&mut port.map_err(|(_, refusal)| refusal).unwrap(), sent);
}
