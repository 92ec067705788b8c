//! Message headers for `sendmsg(2)` and `recvmsg(2)`: built here once, used by io_uring and by sendmmsg/recvmmsg.
//!
//! All header memory is allocated at start; a header points into it and into the outbox, so headers are made and used
//! within one call.

#![allow(unsafe_code)]

use crate::limits::{RECEIVE_BUFFER_BYTES, TRAIN_SEGMENTS_MAX};
use crate::net::outbox::{Outbox, Run};
use crate::net::peer::{LocalAddr, PeerAddr};
use crate::net::traffic::Traffic;
use crate::net::trains::Trains;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of control data that a received message may carry: the train's segment size (24), the drop count (24), and the
/// address that it was sent to, in the form of IPv4 (32) and of IPv6 (40).
pub const CONTROL_BYTES: usize = 128;

const _: () = assert!(CONTROL_BYTES >= 24 + 24 + 32 + 40);
const _: () = assert!(16 + PeerAddr::BYTES_MAX + CONTROL_BYTES + (64 << 10) <= RECEIVE_BUFFER_BYTES);

/// Everything that one outgoing message points to.
#[repr(C)]
struct OutgoingMessage {
    header: libc::mmsghdr,
    peer: PeerAddr,
    control: Control,
    /// Bytes of each datagram.
    segment: usize,
    pieces: [libc::iovec; TRAIN_SEGMENTS_MAX],
}

/// Control messages of one outgoing message: the address that it comes from, and the segment size, each if it has to be
/// said.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control {
    bytes: [u8; Control::BYTES_MAX],
    /// Bytes that say the address; the segment size is behind them.
    local_bytes: usize,
}

/// Headers of the messages that leave together, made once.
pub struct OutgoingMessages {
    // Boxed once; headers point into their own entry, which never moves.
    messages: Box<[OutgoingMessage]>,
    sealed: usize,
    /// Sealed ones with several datagrams that nobody has taken note of.
    trains: usize,
    datagrams: [u16; OutgoingMessages::COUNT],
}

impl OutgoingMessages {
    /// Messages that can be on their way to the kernel at once.
    pub const COUNT: usize = 512;

    /// Empty messages.
    pub fn new() -> OutgoingMessages {
        // SAFETY: all-zero bytes are a valid OutgoingMessage: null pointers, zero lengths, plain integers.
        let blank = || unsafe { std::mem::zeroed::<OutgoingMessage>() };
        OutgoingMessages {
            messages: (0..Self::COUNT).map(|_| blank()).collect(),
            sealed: 0,
            trains: 0,
            datagrams: [0; Self::COUNT],
        }
    }

    /// Sealed messages.
    pub fn count(&self) -> usize {
        self.sealed
    }

    /// Whether all are sealed.
    pub fn is_full(&self) -> bool {
        self.sealed == Self::COUNT
    }

    /// How many messages with several datagrams were sealed since this was asked.
    pub fn take_trains(&mut self) -> usize {
        std::mem::take(&mut self.trains)
    }

    /// Starts again and puts as many runs of `outbox`, from place `at` on, into messages as there are.
    pub fn fill(&mut self, outbox: &Outbox, at: &mut usize, trains: &Trains, traffic: &mut Traffic) {
        self.sealed = 0;
        while !self.is_full()
            && let Some(run) = outbox.next_run(at, |peer| trains.segments_max(peer))
        {
            traffic.datagrams_sent += run.count() as u64;
            traffic.bytes_written += run.frames().map(|frame| frame.length as u64).sum::<u64>();
            traffic.sends += 1;
            self.seal(outbox, &run);
        }
    }

    /// Puts a run into the next message. Its bytes stay in `outbox`, which must not change before it is sent.
    fn seal(&mut self, outbox: &Outbox, run: &Run<'_>) {
        let message = &mut self.messages[self.sealed];
        let mut pieces = 0;
        let mut end = usize::MAX;
        for frame in run.frames() {
            let bytes = outbox.bytes(frame);
            if frame.start as usize == end {
                // Neighbours in the buffer are one piece.
                message.pieces[pieces - 1].iov_len += bytes.len();
            } else {
                let iov_base = bytes.as_ptr().cast_mut().cast();
                message.pieces[pieces] = libc::iovec { iov_base, iov_len: bytes.len() };
                pieces += 1;
            }
            end = frame.start as usize + bytes.len();
        }
        message.peer = *run.peer;
        message.segment = run.segment;
        let header = &mut message.header.msg_hdr;
        header.msg_name = message.peer.as_raw().as_ptr().cast_mut().cast();
        header.msg_namelen = message.peer.as_raw().len() as u32;
        header.msg_iov = message.pieces.as_mut_ptr();
        header.msg_iovlen = pieces as _;
        let segment = if run.count() > 1 { Some(run.segment as u16) } else { None };
        header.msg_controllen = message.control.fill(run.peer.local(), segment) as _;
        // Not looked at where its length is 0.
        header.msg_control = message.control.bytes.as_mut_ptr().cast();
        self.trains += (run.count() > 1) as usize;
        self.datagrams[self.sealed] = run.count() as u16;
        self.sealed += 1;
    }

    /// The header of message `index`, for one message.
    pub fn header(&self, index: usize) -> *const libc::msghdr {
        &raw const self.messages[index].header.msg_hdr
    }

    /// Sends the sealed messages from `from` on with `sendmsg`, one by one; returns how many went, and why the next
    /// did not.
    pub fn send_from(&self, fd: std::os::fd::RawFd, from: usize) -> (usize, Option<std::io::Error>) {
        for index in from..self.sealed {
            // SAFETY: the header points into its message and into the outbox, both borrowed for this call.
            let sent =
                unsafe { libc::sendmsg(fd, self.header(index), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
            if sent < 0 {
                return (index - from, Some(std::io::Error::last_os_error()));
            }
        }
        (self.sealed - from, None)
    }

    /// What can still be done for message `index`, which failed with `errno`: a train that the path to its peer does not
    /// take goes datagram by datagram. Counts the datagrams that did not go. Returns how many trains failed: 0 or 1.
    pub fn send_after_failure(
        &self,
        fd: std::os::fd::RawFd,
        index: usize,
        errno: i32,
        trains: &mut Trains,
        traffic: &mut Traffic,
    ) -> usize {
        let datagrams = self.datagrams[index] as usize;
        let mut failed = datagrams;
        if datagrams > 1 && trains.refuse(&self.messages[index].peer, errno) {
            traffic.gso_fallbacks += 1;
            traffic.sends += datagrams as u64 - 1;
            failed = self.send_singly(fd, index);
        }
        traffic.send_failures += failed as u64;
        (datagrams > 1) as usize
    }

    /// Sends the datagrams of message `index` one by one; returns how many did not go. The memory that they lie in must
    /// not have changed since the message was sealed.
    fn send_singly(&self, fd: std::os::fd::RawFd, index: usize) -> usize {
        let OutgoingMessage { header, segment, pieces, control, .. } = &self.messages[index];
        let mut failed = 0;
        for piece in &pieces[..header.msg_hdr.msg_iovlen] {
            for start in (0..piece.iov_len).step_by(*segment) {
                // A piece is made of whole datagrams, so none begins outside of it.
                let iov_base = piece.iov_base.cast::<u8>().wrapping_add(start).cast();
                let mut one = libc::iovec { iov_base, iov_len: *segment };
                let mut header = header.msg_hdr;
                (header.msg_iov, header.msg_iovlen) = (&raw mut one, 1);
                header.msg_controllen = control.local_bytes as _;
                // SAFETY: the header points to `one` and, as it did, to peer and control data of the message; `one` points into a
                // piece of the message, whose memory the caller has kept. All live longer than the call.
                let sent =
                    unsafe { libc::sendmsg(fd, &raw const header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
                failed += (sent < 0) as usize;
            }
        }
        failed
    }
}

impl Default for OutgoingMessages {
    fn default() -> OutgoingMessages {
        OutgoingMessages::new()
    }
}

impl Control {
    const BYTES_MAX: usize = 64;

    /// Replaces what is said; returns its length in bytes.
    #[inline]
    fn fill(&mut self, local: &LocalAddr, segment: Option<u16>) -> usize {
        self.local_bytes = match local.get() {
            None => 0,
            // struct in_pktinfo: interface, source, and an address that is not looked at (`ip(7)`).
            Some((IpAddr::V4(ip), _)) => {
                let [a, b, c, d] = ip.octets();
                self.put(0, (libc::SOL_IP, libc::IP_PKTINFO), &[0, 0, 0, 0, a, b, c, d, 0, 0, 0, 0])
            }
            // struct in6_pktinfo: source, interface (`ipv6(7)`).
            Some((IpAddr::V6(ip), interface)) => {
                let mut data = [0; 20];
                data[..16].copy_from_slice(&ip.octets());
                data[16..].copy_from_slice(&interface.to_ne_bytes());
                self.put(0, (libc::SOL_IPV6, libc::IPV6_PKTINFO), &data)
            }
        };
        match segment {
            None => self.local_bytes,
            // A u16 (`udp(7)`).
            Some(bytes) => {
                self.put(self.local_bytes, (libc::SOL_UDP, libc::UDP_SEGMENT), &bytes.to_ne_bytes())
            }
        }
    }

    /// Puts `{ length, level, type, data }` at `at` (`cmsg(3)`); returns where the next one would be.
    fn put(&mut self, at: usize, (level, kind): (i32, i32), data: &[u8]) -> usize {
        let message = &mut self.bytes[at..];
        message[..8].copy_from_slice(&(16 + data.len()).to_ne_bytes());
        message[8..12].copy_from_slice(&level.to_ne_bytes());
        message[12..16].copy_from_slice(&kind.to_ne_bytes());
        message[16..16 + data.len()].copy_from_slice(data);
        at + (16 + data.len()).next_multiple_of(8)
    }
}

/// What the control data of a received message says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ancillary {
    /// Bytes of each datagram of a train; 0 for a single datagram (`UDP_GRO`).
    pub segment: usize,
    /// Datagrams that this socket has dropped since it was made, modulo 2^32 (`SO_RXQ_OVFL`).
    pub drops: Option<u32>,
    /// The address of ours that it was sent to, where the socket listens on all.
    pub local: LocalAddr,
    /// Whether it was sent to a group: broadcast or multicast.
    pub is_to_group: bool,
}

impl Ancillary {
    /// Reads the control messages, in safe code: lengths are checked, unknown ones are skipped.
    pub fn parse(mut control: &[u8]) -> Ancillary {
        let mut ancillary = Ancillary::default();
        while let Some((header, _)) = control.split_first_chunk::<16>() {
            let length = usize::from_ne_bytes(header[..8].try_into().expect("8 bytes"));
            let level = i32::from_ne_bytes(header[8..12].try_into().expect("4 bytes"));
            let kind = i32::from_ne_bytes(header[12..16].try_into().expect("4 bytes"));
            let Some(data) = control.get(16..length) else { break };
            let word = data.first_chunk::<4>().map(|raw| u32::from_ne_bytes(*raw));
            match (level, kind, word) {
                (libc::SOL_UDP, libc::UDP_GRO, Some(segment)) => ancillary.segment = segment as usize,
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL, Some(drops)) => ancillary.drops = Some(drops),
                (libc::SOL_IP, libc::IP_PKTINFO, _) => ancillary.note_v4(data),
                (libc::SOL_IPV6, libc::IPV6_PKTINFO, _) => ancillary.note_v6(data),
                _ => {}
            }
            control = control.get(length.next_multiple_of(8)..).unwrap_or_default();
        }
        ancillary
    }

    /// Datagrams of a message of so many bytes.
    pub fn datagrams(&self, bytes: usize) -> u64 {
        bytes.div_ceil(if self.segment == 0 { bytes.max(1) } else { self.segment }) as u64
    }

    /// `struct in_pktinfo`: interface, address of ours, address in the packet. They differ for groups.
    fn note_v4(&mut self, data: &[u8]) {
        let Some(info) = data.first_chunk::<12>() else { return };
        let address = |at: usize| Ipv4Addr::new(info[at], info[at + 1], info[at + 2], info[at + 3]);
        let (ours, sent_to) = (address(4), address(8));
        self.local = LocalAddr::new(ours.into(), 0);
        self.is_to_group |= ours != sent_to || sent_to.is_multicast() || sent_to.is_broadcast();
    }

    /// `struct in6_pktinfo`: address in the packet, interface. What came over IPv4 says so in the other form as well.
    fn note_v6(&mut self, data: &[u8]) {
        let Some(info) = data.first_chunk::<20>() else { return };
        let (octets, interface) = info.split_first_chunk::<16>().expect("20 bytes");
        let ip = Ipv6Addr::from(*octets);
        if ip.to_ipv4_mapped().is_none() {
            let interface = u32::from_ne_bytes(interface.try_into().expect("4 bytes"));
            self.local = LocalAddr::new(ip.into(), interface);
            self.is_to_group |= ip.is_multicast();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_data_is_read_with_care() {
        let mut control = Control { bytes: [0; Control::BYTES_MAX], local_bytes: 0 };
        let length = control.fill(&LocalAddr::default(), Some(1400));
        assert_eq!(
            Ancillary::parse(&control.bytes[..length]),
            Ancillary::default(),
            "UDP_SEGMENT is not UDP_GRO"
        );
        let mut gro = [0u8; 24];
        gro[..8].copy_from_slice(&20usize.to_ne_bytes());
        gro[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
        gro[12..16].copy_from_slice(&libc::UDP_GRO.to_ne_bytes());
        gro[16..20].copy_from_slice(&1400u32.to_ne_bytes());
        assert_eq!(Ancillary::parse(&gro).segment, 1400);
        for length in [0usize, 3, 16, 100, usize::MAX] {
            gro[..8].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(Ancillary::parse(&gro).segment, 0);
        }
        for cut in 0..24 {
            let _ = Ancillary::parse(&gro[..cut]);
        }
    }

    #[test]
    fn a_reply_says_the_address_that_the_request_was_sent_to() {
        let mut control = Control { bytes: [0; Control::BYTES_MAX], local_bytes: 0 };
        for text in ["127.0.0.2", "fd77::9", "fe80::9"] {
            let local = LocalAddr::new(text.parse().unwrap(), 7);
            for segment in [None, Some(1400)] {
                let length = control.fill(&local, segment);
                let mut said = control.bytes;
                if local.get().unwrap().0.is_ipv4() {
                    // In what we receive, the address of the packet is said as well.
                    said.copy_within(20..24, 24);
                }
                let parsed = Ancillary::parse(&said[..length]);
                assert_eq!((parsed.local, parsed.is_to_group), (local, false));
                assert_eq!(length > control.local_bytes, segment.is_some());
            }
        }
    }

    #[test]
    fn groups_are_told_from_addresses_of_ours() {
        let v4 = |ours: [u8; 4], sent_to: [u8; 4]| {
            let mut ancillary = Ancillary::default();
            ancillary.note_v4(&[&[0; 4][..], &ours, &sent_to].concat());
            ancillary.is_to_group
        };
        assert!(!v4([10, 0, 0, 1], [10, 0, 0, 1]));
        for group in [[10, 0, 0, 255], [255; 4], [224, 0, 0, 1]] {
            assert!(v4([10, 0, 0, 1], group));
        }
        let mut ancillary = Ancillary::default();
        ancillary.note_v6(&[&Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets()[..], &[0; 4]].concat());
        assert!(ancillary.is_to_group);
    }
}
