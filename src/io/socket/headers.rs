//! Message headers for `sendmsg(2)` and `recvmsg(2)`: built here once, used by io_uring and by sendmmsg/recvmmsg.
//!
//! All header memory is allocated at start; a header points into it and into the outbox, so headers are made and used
//! within one call.

#![allow(unsafe_code)]

use crate::config::limits::TRAIN_SEGMENTS_MAX;
use crate::io::outbox::{Outbox, Run};
use crate::io::peer::PeerAddr;
use crate::io::trains::Trains;
use crate::stats::counters::WorkerCounters;

/// Bytes of control data that a received message may carry: the train's segment size and the drop count.
pub const CONTROL_BYTES: usize = 64;

/// Everything that one outgoing message points to.
#[repr(C)]
struct Envelope {
    header: libc::mmsghdr,
    peer: PeerAddr,
    control: Control,
    /// Bytes of each datagram.
    segment: usize,
    pieces: [libc::iovec; TRAIN_SEGMENTS_MAX],
}

/// One control message that says the segment size.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 24]);

/// Envelopes for outgoing messages.
pub struct Envelopes {
    // Boxed once; headers point into their own envelope, which never moves.
    envelopes: Box<[Envelope]>,
    sealed: usize,
    /// Sealed ones with several datagrams that nobody has taken note of.
    trains: usize,
    datagrams: [u16; Envelopes::COUNT],
}

impl Envelopes {
    /// Messages that can be on their way to the kernel at once.
    pub const COUNT: usize = 512;

    /// Empty envelopes.
    pub fn new() -> Envelopes {
        // SAFETY: all-zero bytes are a valid Envelope: null pointers, zero lengths, plain integers.
        let blank = || unsafe { std::mem::zeroed::<Envelope>() };
        Envelopes {
            envelopes: (0..Self::COUNT).map(|_| blank()).collect(),
            sealed: 0,
            trains: 0,
            datagrams: [0; Self::COUNT],
        }
    }

    /// Sealed envelopes.
    pub fn count(&self) -> usize {
        self.sealed
    }

    /// Whether all are sealed.
    pub fn is_full(&self) -> bool {
        self.sealed == Self::COUNT
    }

    /// How many envelopes with several datagrams were sealed since this was asked.
    pub fn take_trains(&mut self) -> usize {
        std::mem::take(&mut self.trains)
    }

    /// Starts again and puts as many runs of `outbox`, from place `at` on, into envelopes as there are.
    pub fn fill(&mut self, outbox: &Outbox, at: &mut usize, trains: &Trains, counters: &WorkerCounters) {
        self.sealed = 0;
        while !self.is_full()
            && let Some(run) = outbox.next_run(at, |peer| trains.segments_max(peer))
        {
            counters.datagrams_sent.add(run.count() as u64);
            counters.bytes_written.add(run.frames().map(|frame| frame.length as u64).sum());
            counters.sends.add(1);
            self.seal(outbox, &run);
        }
    }

    /// Puts a run into the next envelope. Its bytes stay in `outbox`, which must not change before it is sent.
    fn seal(&mut self, outbox: &Outbox, run: &Run<'_>) {
        let envelope = &mut self.envelopes[self.sealed];
        let mut pieces = 0;
        let mut end = usize::MAX;
        for frame in run.frames() {
            let bytes = outbox.bytes(frame);
            if frame.start as usize == end {
                // Neighbours in the buffer are one piece.
                envelope.pieces[pieces - 1].iov_len += bytes.len();
            } else {
                let iov_base = bytes.as_ptr().cast_mut().cast();
                envelope.pieces[pieces] = libc::iovec { iov_base, iov_len: bytes.len() };
                pieces += 1;
            }
            end = frame.start as usize + bytes.len();
        }
        envelope.peer = *run.peer;
        envelope.segment = run.segment;
        let header = &mut envelope.header.msg_hdr;
        header.msg_name = envelope.peer.as_raw().as_ptr().cast_mut().cast();
        header.msg_namelen = envelope.peer.as_raw().len() as u32;
        header.msg_iov = envelope.pieces.as_mut_ptr();
        header.msg_iovlen = pieces as _;
        if run.count() > 1 {
            envelope.control = Control::segment(run.segment as u16);
            header.msg_control = (&raw mut envelope.control).cast();
            header.msg_controllen = size_of::<Control>() as _;
        } else {
            header.msg_control = std::ptr::null_mut();
            header.msg_controllen = 0;
        }
        self.trains += (run.count() > 1) as usize;
        self.datagrams[self.sealed] = run.count() as u16;
        self.sealed += 1;
    }

    /// The header of envelope `index`, for one message.
    pub fn header(&self, index: usize) -> *const libc::msghdr {
        &raw const self.envelopes[index].header.msg_hdr
    }

    /// Sends the sealed envelopes from `from` on with `sendmsg`, one by one; returns how many went, and why the next
    /// did not.
    pub fn send_from(&self, fd: std::os::fd::RawFd, from: usize) -> (usize, Option<std::io::Error>) {
        for index in from..self.sealed {
            // SAFETY: the header points into its envelope and into the outbox, both borrowed for this call.
            let sent =
                unsafe { libc::sendmsg(fd, self.header(index), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
            if sent < 0 {
                return (index - from, Some(std::io::Error::last_os_error()));
            }
        }
        (self.sealed - from, None)
    }

    /// What can still be done for envelope `index`, which failed with `errno`: a train that the path to its peer does not
    /// take goes datagram by datagram. Counts the datagrams that did not go. Returns how many trains failed: 0 or 1.
    pub fn send_after_failure(
        &self,
        fd: std::os::fd::RawFd,
        index: usize,
        errno: i32,
        trains: &mut Trains,
        counters: &WorkerCounters,
    ) -> usize {
        let datagrams = self.datagrams[index] as usize;
        let mut failed = datagrams;
        if datagrams > 1 && trains.refuse(&self.envelopes[index].peer, errno) {
            counters.gso_fallbacks.add(1);
            counters.sends.add(datagrams as u64 - 1);
            failed = self.send_singly(fd, index);
        }
        counters.send_failures.add(failed as u64);
        (datagrams > 1) as usize
    }

    /// Sends the datagrams of envelope `index` one by one; returns how many did not go. The memory that they lie in must
    /// not have changed since the envelope was sealed.
    fn send_singly(&self, fd: std::os::fd::RawFd, index: usize) -> usize {
        let Envelope { header, segment, pieces, .. } = &self.envelopes[index];
        let mut failed = 0;
        for piece in &pieces[..header.msg_hdr.msg_iovlen as usize] {
            for start in (0..piece.iov_len).step_by(*segment) {
                // A piece is made of whole datagrams, so none begins outside of it.
                let iov_base = piece.iov_base.cast::<u8>().wrapping_add(start).cast();
                let mut one = libc::iovec { iov_base, iov_len: *segment };
                let mut header = header.msg_hdr;
                (header.msg_iov, header.msg_iovlen) = (&raw mut one, 1);
                (header.msg_control, header.msg_controllen) = (std::ptr::null_mut(), 0);
                // SAFETY: the header points to `one` and, as the envelope's, to the envelope's peer; `one` points into a
                // piece of the envelope, whose memory the caller has kept. All live longer than the call.
                let sent =
                    unsafe { libc::sendmsg(fd, &raw const header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
                failed += (sent < 0) as usize;
            }
        }
        failed
    }
}

impl Default for Envelopes {
    fn default() -> Envelopes {
        Envelopes::new()
    }
}

impl Control {
    /// `{ cmsg_len, SOL_UDP, UDP_SEGMENT, u16 }`, see `cmsg(3)` and `udp(7)`.
    fn segment(bytes: u16) -> Control {
        let mut raw = [0u8; 24];
        // CMSG_LEN(2): 16 bytes of header and the two of the size.
        raw[..8].copy_from_slice(&18usize.to_ne_bytes());
        raw[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
        raw[12..16].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
        raw[16..18].copy_from_slice(&bytes.to_ne_bytes());
        Control(raw)
    }
}

/// What the control data of a received message says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ancillary {
    /// Bytes of each datagram of a train; 0 for a single datagram (`UDP_GRO`).
    pub segment: usize,
    /// Datagrams that this socket has dropped since it was made, modulo 2^32 (`SO_RXQ_OVFL`).
    pub drops: Option<u32>,
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
                _ => {}
            }
            control = control.get(length.next_multiple_of(8)..).unwrap_or_default();
        }
        ancillary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_data_is_read_with_care() {
        let Control(raw) = Control::segment(1400);
        assert_eq!(Ancillary::parse(&raw), Ancillary::default(), "UDP_SEGMENT is not UDP_GRO");
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
}
